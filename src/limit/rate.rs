//! A rate, as people write it.

use std::{fmt, str::FromStr, time::Duration};

/// So many in a time, on average; and so many at once.
///
/// As text `50/s`, `100/m`, `1000/h`, `1MiB/s`; `50/s burst 200` where more may come at once than in one period. Without `burst` all of one period may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// At least 1.
    count: u64,
    /// At least 1.
    burst: u64,
    /// One second, minute or hour.
    period: Duration,
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rate looks like 50/s, 100/m, 1MiB/s or 50/s burst 200; its numbers are from 1 to {MOST}")]
pub struct BadRate;

/// Largest number in a rate: with it the time of a whole burst is less than a century, so sums of times can't overflow.
const MOST: u64 = 1 << 40;

/// The periods, by their names.
const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

/// No wait is longer, whatever a bucket owes.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Rate {
    /// So many a second, and as many at once. 0 counts as 1.
    #[must_use]
    pub const fn per_second(count: u64) -> Self {
        Self { count: at_least_one(count), burst: at_least_one(count), period: Duration::from_secs(1) }
    }

    /// The same, but so many at once. 0 counts as 1.
    #[must_use]
    pub const fn with_burst(self, burst: u64) -> Self {
        Self { burst: at_least_one(burst), ..self }
    }

    /// How many may come at once.
    #[must_use]
    pub const fn burst(self) -> u64 {
        self.burst
    }

    /// How long it takes until so many more may come. Rounded up, so that whoever waits so long does not come too early.
    #[must_use]
    pub fn time_of(self, n: u64) -> Duration {
        let nanos = (u128::from(n) * self.period.as_nanos()).div_ceil(u128::from(self.count));
        u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos).min(LONGEST)
    }
}

const fn at_least_one(n: u64) -> u64 {
    if n == 0 { 1 } else { n }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let (count, rest) = text.split_once('/').ok_or(BadRate)?;
        let mut words = rest.split_whitespace();
        let name = words.next().ok_or(BadRate)?;
        let (_, seconds) = PERIODS.into_iter().find(|(period, _)| *period == name).ok_or(BadRate)?;
        let count = number(count.trim())?;
        let burst = match (words.next(), words.next(), words.next()) {
            (None, None, None) => count,
            (Some("burst"), Some(burst), None) => number(burst)?,
            _ => return Err(BadRate),
        };
        Ok(Self { count, burst, period: Duration::from_secs(seconds) })
    }
}

/// A number, perhaps with a unit of bytes.
fn number(text: &str) -> Result<u64, BadRate> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(BadRate),
    };
    let number = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|number| (1..=MOST).contains(number)).ok_or(BadRate)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = PERIODS.into_iter().find(|(_, seconds)| *seconds == self.period.as_secs()).map_or("s", |(name, _)| name);
        write!(f, "{}/{period}", self.count)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_shown() {
        for text in ["50/s", "100/m", "1000/h", "50/s burst 200", "1048576/s burst 2097152"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("1MiB/s burst 2MiB".parse(), Ok(Rate::per_second(1 << 20).with_burst(2 << 20)));
        assert_eq!("50/s".parse(), Ok(Rate::per_second(50)));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "50",
            "50/",
            "/s",
            "50/d",
            "0/s",
            "50/s burst",
            "50/s burst 0",
            "50/s burst 1 2",
            "-1/s",
            "1.5/s",
            "2MB/s",
            "1000GiB/s burst 99999999999999",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(BadRate), "{text}");
        }
    }

    #[test]
    fn times_are_rounded_up() {
        assert_eq!(Rate::per_second(3).time_of(1), Duration::from_nanos(333_333_334));
        assert_eq!("1/h".parse::<Rate>().unwrap().time_of(u64::MAX), LONGEST);
    }
}
