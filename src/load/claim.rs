//! What somebody says has to be true of a report.

use std::{fmt, str::FromStr};

use super::Report;

/// A figure of a report, compared with a number: `lost=0`, `p99<20ms`, `rate>=1000`.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    text: String,
    figure: usize,
    comparison: usize,
    wanted: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Number,
    /// µs; written with `us`, `ms` or `s`.
    Time,
}

type Figure = (&'static str, Unit, fn(&Report) -> f64);

const FIGURES: &[Figure] = &[
    ("lost", Unit::Number, |report| report.deliveries.lost as f64),
    ("told", Unit::Number, |report| report.deliveries.told as f64),
    ("gaps", Unit::Number, |report| report.deliveries.gaps as f64),
    ("recovered", Unit::Number, |report| report.deliveries.recovered as f64),
    ("duplicated", Unit::Number, |report| report.deliveries.duplicated as f64),
    ("reordered", Unit::Number, |report| report.deliveries.reordered as f64),
    ("strayed", Unit::Number, |report| report.deliveries.strayed as f64),
    ("received", Unit::Number, |report| report.deliveries.received as f64),
    ("rate", Unit::Number, |report| report.deliveries.per_second),
    ("refused", Unit::Number, |report| report.published.refused as f64),
    ("published", Unit::Number, |report| report.published.sent as f64),
    ("connected", Unit::Number, |report| report.connections.connected as f64),
    ("failed", Unit::Number, |report| report.connections.failed as f64),
    ("ended", Unit::Number, |report| report.connections.ended as f64),
    ("reconnected", Unit::Number, |report| report.connections.reconnected as f64),
    ("moved", Unit::Number, |report| report.connections.moved as f64),
    ("back_p50", Unit::Time, |report| back(report, report.connections.back_us.p50)),
    ("back_p99", Unit::Time, |report| back(report, report.connections.back_us.p99)),
    ("back_max", Unit::Time, |report| back(report, report.connections.back_us.max)),
    ("p50", Unit::Time, |report| latency(report, report.latency_us.p50)),
    ("p90", Unit::Time, |report| latency(report, report.latency_us.p90)),
    ("p99", Unit::Time, |report| latency(report, report.latency_us.p99)),
    ("p99.9", Unit::Time, |report| latency(report, report.latency_us.p99_9)),
    ("max", Unit::Time, |report| latency(report, report.latency_us.max)),
    ("connect_p50", Unit::Time, |report| report.connections.connect_us.p50 as f64),
    ("connect_p99", Unit::Time, |report| report.connections.connect_us.p99 as f64),
    ("own_cpu_share", Unit::Number, |report| report.own_cpu_share),
    ("cpu", Unit::Time, |report| report.server.map_or(f64::NAN, |server| server.cpu_us_a_delivery)),
    ("memory", Unit::Number, |report| report.server.map_or(f64::NAN, |server| server.bytes_a_connection_idle)),
];

/// Where nothing was received there is no latency, and nothing is true of it.
fn latency(report: &Report, us: u64) -> f64 {
    if report.deliveries.received == 0 { f64::NAN } else { us as f64 }
}

fn back(report: &Report, us: u64) -> f64 {
    if report.connections.moved == 0 { f64::NAN } else { us as f64 }
}

/// Why a figure is missing.
fn missing(name: &str) -> &'static str {
    match name {
        "cpu" | "memory" => "it needs --pid",
        "back_p50" | "back_p99" | "back_max" => "nobody came back from a server that was lost",
        _ => "nothing was received",
    }
}

type Comparison = (&'static str, fn(f64, f64) -> bool);

/// The longer ones first, so that `<=` is not read as `<`.
const COMPARISONS: &[Comparison] = &[
    ("<=", |figure, wanted| figure <= wanted),
    (">=", |figure, wanted| figure >= wanted),
    ("!=", |figure, wanted| figure != wanted && !figure.is_nan()),
    ("=", |figure, wanted| figure == wanted),
    ("<", |figure, wanted| figure < wanted),
    (">", |figure, wanted| figure > wanted),
];

impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cut = |(nth, (sign, _)): (usize, &Comparison)| text.split_once(sign).map(|(name, wanted)| (nth, name.trim(), wanted.trim()));
        let (comparison, name, wanted) =
            COMPARISONS.iter().enumerate().find_map(cut).ok_or("has to be FIGURE, one of < <= = != >= >, and a number")?;
        let figure = FIGURES.iter().position(|(known, ..)| *known == name).ok_or_else(|| {
            let known: Vec<_> = FIGURES.iter().map(|(name, ..)| *name).collect();
            format!("`{name}` is no figure; there are {}", known.join(", "))
        })?;
        let wanted = number(wanted, FIGURES[figure].1).ok_or_else(|| match FIGURES[figure].1 {
            Unit::Number => format!("`{wanted}` is no number"),
            Unit::Time => format!("`{wanted}` is no time such as 500us, 20ms or 1.5s"),
        })?;
        Ok(Self { text: text.to_owned(), figure, comparison, wanted })
    }
}

fn number(text: &str, unit: Unit) -> Option<f64> {
    let (digits, scale) = match unit {
        Unit::Number => (text, 1.0),
        Unit::Time => [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)]
            .into_iter()
            .find_map(|(suffix, scale)| text.strip_suffix(suffix).map(|digits| (digits, scale)))?,
    };
    digits.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(|number| number * scale)
}

impl Claim {
    /// Whether it is true.
    ///
    /// # Errors
    /// It isn't; the sentence says what is.
    pub fn check(&self, report: &Report) -> Result<(), String> {
        let (name, unit, value) = FIGURES[self.figure];
        let value = value(report);
        if (COMPARISONS[self.comparison].1)(value, self.wanted) {
            return Ok(());
        }
        match unit {
            _ if value.is_nan() => Err(format!("{self}: {name} was not measured: {}", missing(name))),
            Unit::Number => Err(format!("{self}: {name} is {value}")),
            Unit::Time => Err(format!("{self}: {name} is {value:.0} µs")),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Deliveries, Percentiles};

    #[test]
    fn claims_are_checked_in_their_unit() {
        let report = Report {
            deliveries: Deliveries { lost: 3, received: 1, ..Deliveries::default() },
            latency_us: Percentiles { p99: 20_000, ..Percentiles::default() },
            ..Report::default()
        };
        let check = |text: &str| text.parse::<Claim>().unwrap().check(&report);
        for holds in ["lost=3", "lost<=3", "lost != 4", "p99<=20ms", "p99>19999us", "p99<1s"] {
            assert_eq!(check(holds), Ok(()), "{holds}");
        }
        assert_eq!(check("lost=0"), Err("lost=0: lost is 3".into()));
        assert_eq!(check("p99<20ms"), Err("p99<20ms: p99 is 20000 µs".into()));
        assert!(check("cpu<1us").unwrap_err().contains("needs --pid"));
        assert!(check("back_max<1s").unwrap_err().contains("nobody came back"));
        let nothing = Report::default();
        assert!("p99<1s".parse::<Claim>().unwrap().check(&nothing).unwrap_err().contains("nothing was received"));
    }

    #[test]
    fn what_is_no_claim_says_why() {
        for (text, why) in [("lost", "has to be"), ("loss=0", "`loss` is no figure"), ("p99<20", "no time"), ("lost=x", "no number")] {
            let error = text.parse::<Claim>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
