//! What a run is to do.

use std::{fmt, rc::Rc, str::FromStr, time::Duration};

use super::{Error, MARKER_BYTES, Process, profile::Profile, way::Way};

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the server speaks.
    pub profile: Rc<dyn Profile>,
    /// How many connections that follow a group, by which way.
    pub subscribers: Vec<(Way, usize)>,
    /// How many that follow nothing and only stay.
    pub idle: Vec<(Way, usize)>,
    /// Where connections go whose server is lost, in turn, and then to their own again; none: nowhere. Each takes those of its own transport.
    pub failover: Vec<Way>,
    /// Whether a relay of this process stands between subscribers and server.
    pub relayed: bool,
    /// Whether connections that come back ask for what they missed.
    pub resumes: bool,
    /// Which share of the subscribers reads slowly, from 0 to 1.
    pub slow: f64,
    /// How fast those read, in bytes a second.
    pub slow_rate: u32,
    /// Which share of the subscribers stops reading once it follows.
    pub stopped: f64,
    /// New connections a second.
    pub ramp: f64,
    /// Handshakes that may be under way at once.
    pub handshakes: usize,
    /// Addresses of 127.0.0.0/8 to come from; `None`: as many as there have to be.
    pub sources: Option<usize>,
    /// The groups.
    pub groups: Vec<String>,
    /// How many of them, that stand in a row, each subscriber follows.
    pub groups_each: usize,
    /// How the subscribers are dealt out to them.
    pub spread: Spread,
    /// How many connections a second end and come back while messages are published, over all.
    pub churn: Option<f64>,
    /// Who publishes; `None`: nobody, the connections only stay.
    pub publish: Option<Publish>,
    /// How fast.
    pub pace: Pace,
    /// Bytes of a message's text.
    pub sizes: Sizes,
    /// How long to publish, or to stay.
    pub duration: Duration,
    /// The server's process, to measure what it uses.
    pub server: Option<Process>,
    /// What chance begins with: the same seed deals and chooses the same.
    pub seed: u64,
    /// How the run was asked for, without secrets; for the report.
    pub command: String,
}

/// Who publishes.
#[derive(Debug, Clone)]
pub struct Publish {
    /// How.
    pub by: By,
    /// In whose words; it may be another server than that of the subscribers.
    pub profile: Rc<dyn Profile>,
    /// To where.
    pub way: Way,
    /// Over how many connections, in turn.
    pub connections: u32,
}

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By HTTP requests.
    Http,
    /// By what a client says.
    Client,
}

/// How fast messages are published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second, whether the server keeps up or not. Latency counts from when a message was due, so that a stall of the generator
    /// or the server shows.
    Rate(f64),
    /// So many that not everybody has received yet.
    Window(u64),
}

/// How subscribers are dealt out to groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// As many to each.
    Even,
    /// To the k-th group in proportion to 1/kˢ.
    Zipf(f64),
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent = match text.split_once(':') {
            None if text == "even" => return Ok(Self::Even),
            None if text == "zipf" => Some(1.0),
            Some(("zipf", exponent)) => exponent.parse().ok().filter(|exponent: &f64| exponent.is_finite() && *exponent >= 0.0),
            _ => None,
        };
        exponent.map(Self::Zipf).ok_or_else(|| "has to be even, zipf or zipf:EXPONENT, such as zipf:1.2".into())
    }
}

impl Spread {
    /// The group of each of `count` subscribers.
    #[must_use]
    pub fn deal(self, count: usize, groups: usize, random: &mut fastrand::Rng) -> Vec<u32> {
        let Self::Zipf(exponent) = self else { return (0..count).map(|nth| (nth % groups) as u32).collect() };
        let weights: Vec<f64> = (1..=groups).map(|k| (k as f64).powf(-exponent)).collect();
        let sum: f64 = weights.iter().sum();
        let mut dealt = Vec::with_capacity(count);
        let mut upto = 0.0;
        for (group, weight) in weights.iter().enumerate() {
            upto += weight / sum;
            // By what has been dealt so far, so that rounding does not add up.
            let until = if group + 1 == groups { count } else { (upto * count as f64).round() as usize };
            dealt.resize(until.clamp(dealt.len(), count), group as u32);
        }
        random.shuffle(&mut dealt);
        dealt
    }
}

/// How long messages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// All the same, or evenly between two bounds, both included.
    Between(usize, usize),
    /// Of each size so many parts.
    Weighted(Vec<(usize, u32)>),
}

impl Sizes {
    /// One of them.
    pub fn next(&self, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Between(low, high) if low == high => *low,
            Self::Between(low, high) => random.usize(*low..=*high),
            Self::Weighted(parts) => {
                let mut at = random.u64(..parts.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>().max(1));
                let found = parts.iter().find(|(_, weight)| {
                    let here = at < u64::from(*weight);
                    at = at.saturating_sub(u64::from(*weight));
                    here
                });
                found.map_or(MARKER_BYTES, |(size, _)| *size)
            }
        }
    }

    fn smallest(&self) -> usize {
        match self {
            Self::Between(low, _) => *low,
            Self::Weighted(parts) => parts.iter().map(|(size, _)| *size).min().unwrap_or(0),
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || "has to be BYTES, FROM..TO, or BYTES:PARTS,BYTES:PARTS, such as 128:9,4096:1".to_owned();
        let number = |text: &str| text.parse::<usize>().map_err(|_| rule());
        if let Some((low, high)) = text.split_once("..") {
            let (low, high) = (number(low)?, number(high)?);
            return if low <= high { Ok(Self::Between(low, high)) } else { Err(rule()) };
        }
        if !text.contains(':') {
            return number(text).map(|size| Self::Between(size, size));
        }
        let part = |part: &str| {
            let (size, weight) = part.split_once(':').ok_or_else(rule)?;
            Ok((number(size)?, weight.parse().ok().filter(|weight| *weight > 0).ok_or_else(rule)?))
        };
        text.split(',').map(part).collect::<Result<_, String>>().map(Self::Weighted)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(low, high) if low == high => write!(f, "{low}"),
            Self::Between(low, high) => write!(f, "{low}..{high}"),
            Self::Weighted(parts) => {
                let parts: Vec<_> = parts.iter().map(|(size, weight)| format!("{size}:{weight}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl Plan {
    /// How many connections follow a group.
    #[must_use]
    pub fn following(&self) -> usize {
        self.subscribers.iter().map(|(_, count)| count).sum()
    }

    /// How many connections there are at once, publishers left out.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.following() + self.idle.iter().map(|(_, count)| count).sum::<usize>()
    }

    /// How many files are open at once at most.
    pub(super) fn files(&self) -> usize {
        // The relay has a socket for each of the two sides of a connection.
        let each = if self.relayed { 3 } else { 1 };
        self.connections() * each + self.publishers() as usize
    }

    /// Publishers, at least one, so that streams can be numbered.
    pub(super) fn publishers(&self) -> u32 {
        self.publish.as_ref().map_or(1, |publish| publish.connections)
    }

    /// # Errors
    /// A number is out of its bounds.
    pub(super) fn check(&self) -> Result<(), Error> {
        let above_0 = |number: f64| number.is_finite() && number > 0.0;
        let share = |number: f64| (0.0..=1.0).contains(&number);
        let rate = if let Pace::Rate(rate) = self.pace { Some(rate) } else { None };
        let smallest = self.sizes.smallest();
        let streams = self.groups.len() as u64 * u64::from(self.publishers());
        let rules = [
            (self.connections() == 0 || self.groups.is_empty(), "a run needs at least one connection and one group".to_owned()),
            (
                smallest < MARKER_BYTES,
                format!("size = {smallest}: a message carries a mark of {MARKER_BYTES} bytes, so it can't be shorter"),
            ),
            (rate.is_some_and(|rate| !above_0(rate)), format!("rate = {}: has to be above 0", rate.unwrap_or_default())),
            (self.pace == Pace::Window(0), "window = 0: has to be at least 1".into()),
            (!above_0(self.ramp), format!("ramp = {}: has to be above 0", self.ramp)),
            (
                self.groups_each == 0 || !self.groups.len().is_multiple_of(self.groups_each),
                format!("groups-each = {}: has to divide the {} groups without rest", self.groups_each, self.groups.len()),
            ),
            (self.groups_each > 1 && !self.profile.follows_many(), "groups-each: only the profile fanfare follows several groups".into()),
            (self.groups_each > 1 && self.resumes, "resume: only where a connection follows one group".into()),
            (self.handshakes == 0, "handshakes = 0: has to be at least 1".into()),
            (self.churn.is_some_and(|churn| !above_0(churn)), "churn: has to be above 0".into()),
            (!share(self.slow) || !share(self.stopped), "slow and stopped readers are shares: from 0 to 1, or from 0% to 100%".into()),
            (self.slow + self.stopped > 1.0, "slow and stopped readers are more than all".into()),
            (self.publish.as_ref().is_some_and(|publish| publish.connections == 0), "publishers = 0: has to be at least 1".into()),
            (streams >= 1 << 24, format!("{streams} groups times publishers: a mark tells less than {} apart", 1 << 24)),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, rule)| Err(Error::Plan(rule)))
    }
}

/// Whether the `nth` is among the share, so that every stretch has about as many.
pub(super) fn in_share(nth: usize, share: f64) -> bool {
    ((nth + 1) as f64 * share).floor() > (nth as f64 * share).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_deals_everybody_and_the_first_group_gets_most() {
        let dealt = "zipf:1".parse::<Spread>().unwrap().deal(1000, 10, &mut fastrand::Rng::with_seed(1));
        let counts: Vec<usize> = (0..10).map(|group| dealt.iter().filter(|dealt| **dealt == group).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1000);
        assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
        assert_eq!(counts[0], 341);
        assert!("zipf:x".parse::<Spread>().is_err() && "odd".parse::<Spread>().is_err());
    }

    #[test]
    fn sizes_are_read_and_drawn() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut draw = |text: &str| {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!(sizes.to_string(), text);
            (0..1000).map(|_| sizes.next(&mut random)).collect::<Vec<_>>()
        };
        assert!(draw("128").iter().all(|size| *size == 128));
        assert!(draw("100..200").iter().all(|size| (100..=200).contains(size)));
        let large = draw("128:9,4096:1").iter().filter(|size| **size == 4096).count();
        assert!((50..200).contains(&large), "{large}");
        for wrong in ["", "x", "5..4", "128:0", "128:1,4"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let chosen: Vec<_> = (0..10).filter(|nth| in_share(*nth, 0.2)).collect();
        assert_eq!(chosen, [4, 9]);
        assert_eq!((0..10).filter(|nth| in_share(*nth, 1.0)).count(), 10);
    }
}
