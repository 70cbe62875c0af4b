//! What is to go wrong, and what becomes of each packet.

use std::{str::FromStr, time::Duration};

/// What is to go wrong. Everything holds for each direction by itself, and bandwidth for each connection.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Share of packets that get lost.
    pub loss: f64,
    /// How long a packet is on its way.
    pub delay: Duration,
    /// By how much longer at most, evenly spread.
    pub jitter: Duration,
    /// Share of packets that later ones may overtake.
    pub reorder: f64,
    /// How much gets through.
    pub bandwidth: Option<Bandwidth>,
    /// When nothing gets through.
    pub cut: Option<Cut>,
    /// No packet of UDP gets through.
    pub udp_blocked: bool,
}

/// Bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth(pub u64);

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
        let found = units.into_iter().find_map(|(unit, scale)| text.strip_suffix(unit).map(|digits| (digits, scale)));
        let bits = found.and_then(|(digits, scale)| Some(digits.parse::<f64>().ok()? * scale)).filter(|bits| *bits >= 1e3);
        bits.map(|bits| Self(bits as u64)).ok_or_else(|| "has to be a number with kbit, mbit or gbit, such as 10mbit".into())
    }
}

/// When nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How long.
    pub lasts: Duration,
    /// From when on, since the run began.
    pub after: Duration,
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = |text: &str| Duration::try_from_secs_f64(text.strip_suffix('s').unwrap_or(text).parse().ok()?).ok();
        let parsed = text.split_once('@').and_then(|(lasts, after)| Some(Self { lasts: seconds(lasts)?, after: seconds(after)? }));
        parsed.ok_or_else(|| "has to be SECONDS@SECONDS, such as 2@5: for 2 s, 5 s after the beginning".into())
    }
}

/// The longest that a packet waits for bandwidth: what a home router's buffer holds. After that, UDP is lost and TCP has to wait.
pub(super) const LONGEST_QUEUE: Duration = Duration::from_millis(500);

/// A lost piece of TCP comes this much later: the shortest retransmission timeout of Linux.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes out then, in time since the beginning.
    At(Duration),
    /// It comes out then, and later ones may overtake it.
    Overtaken(Duration),
    /// It never comes out.
    Lost,
}

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Link {
    faults: Faults,
    random: fastrand::Rng,
    /// When all that went in before has gone over the wire.
    free_at: Duration,
    /// When the last packet of TCP comes out.
    last: Duration,
}

impl Link {
    pub(super) fn new(faults: Faults, random: fastrand::Rng) -> Self {
        Self { faults, random, free_at: Duration::ZERO, last: Duration::ZERO }
    }

    /// A packet of UDP that goes in at `now`.
    pub(super) fn packet(&mut self, now: Duration, len: usize) -> Fate {
        let Faults { loss, reorder, udp_blocked, .. } = self.faults;
        // Drawn in any case, so that what is lost does not depend on when.
        let (lost, overtaken) = (self.random.f64() < loss, self.random.f64() < reorder);
        if udp_blocked || lost || self.cut_until(now).is_some() {
            return Fate::Lost;
        }
        let queued = self.through(now, len);
        if queued.saturating_sub(now) > LONGEST_QUEUE {
            self.free_at = self.free_at.saturating_sub(self.airtime(len));
            return Fate::Lost;
        }
        let out = queued + self.latency();
        // Far enough back that the next ones are in front of it.
        if overtaken { Fate::Overtaken(out + self.faults.delay / 2 + Duration::from_millis(1)) } else { Fate::At(out) }
    }

    /// A piece of TCP that goes in at `now`: when it comes out, and whether it had to be sent again. Pieces stay in order.
    pub(super) fn piece(&mut self, now: Duration, len: usize) -> (Duration, bool) {
        let lost = self.random.f64() < self.faults.loss;
        let in_at = self.cut_until(now).unwrap_or(now);
        let again = if lost { RETRANSMISSION + self.faults.delay * 2 } else { Duration::ZERO };
        self.last = self.last.max(self.through(in_at, len) + self.latency() + again);
        (self.last, lost)
    }

    fn cut_until(&self, now: Duration) -> Option<Duration> {
        let Cut { lasts, after } = self.faults.cut?;
        (after..after + lasts).contains(&now).then_some(after + lasts)
    }

    fn airtime(&self, len: usize) -> Duration {
        self.faults.bandwidth.map_or(Duration::ZERO, |Bandwidth(bits)| Duration::from_secs_f64(len as f64 * 8.0 / bits as f64))
    }

    fn through(&mut self, now: Duration, len: usize) -> Duration {
        self.free_at = self.free_at.max(now) + self.airtime(len);
        self.free_at
    }

    fn latency(&mut self) -> Duration {
        self.faults.delay + self.faults.jitter.mul_f64(self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(faults: Faults) -> Link {
        Link::new(faults, fastrand::Rng::with_seed(7))
    }

    #[test]
    fn a_share_of_packets_is_lost_and_overtaken() {
        let mut link = link(Faults { loss: 0.1, reorder: 0.2, delay: 10 * MS, ..Faults::default() });
        let fates: Vec<Fate> = (0..1000).map(|_| link.packet(Duration::ZERO, 100)).collect();
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        let overtaken = fates.iter().filter(|fate| **fate == Fate::Overtaken(16 * MS)).count();
        assert!((60..150).contains(&lost) && (120..250).contains(&overtaken), "{lost} {overtaken}");
        assert!(fates.iter().filter(|fate| **fate == Fate::At(10 * MS)).count() == 1000 - lost - overtaken);
    }

    #[test]
    fn bandwidth_makes_a_queue_and_the_queue_has_an_end() {
        // 1,000 bytes take 8 ms.
        let mut link = link(Faults { bandwidth: Some("1mbit".parse().unwrap()), ..Faults::default() });
        assert_eq!(link.packet(Duration::ZERO, 1000), Fate::At(8 * MS));
        assert_eq!(link.packet(Duration::ZERO, 1000), Fate::At(16 * MS));
        let through = (2..1000).filter(|_| link.packet(Duration::ZERO, 1000) != Fate::Lost).count();
        assert_eq!(through, 60);
        assert_eq!(link.packet(500 * MS, 1000), Fate::At(508 * MS));
    }

    #[test]
    fn a_cut_loses_packets_and_holds_pieces_back() {
        let cut = Some("2@5s".parse().unwrap());
        let mut link = link(Faults { cut, ..Faults::default() });
        let at = |s: u64| Duration::from_secs(s);
        assert_eq!((link.packet(at(4), 1), link.packet(at(5), 1), link.packet(at(7), 1)), (Fate::At(at(4)), Fate::Lost, Fate::At(at(7))));
        let mut link = Link::new(link.faults, link.random);
        assert_eq!((link.piece(at(4), 1).0, link.piece(at(6), 1).0, link.piece(at(6), 1).0), (at(4), at(7), at(7)));
    }

    #[test]
    fn pieces_of_tcp_stay_in_order_and_blocked_udp_is_blocked() {
        let mut tcp = link(Faults { loss: 0.3, jitter: 50 * MS, udp_blocked: true, ..Faults::default() });
        let out: Vec<Duration> = (0..100).map(|nth| tcp.piece(MS * nth, 10).0).collect();
        assert!(out.is_sorted());
        assert_eq!(tcp.packet(Duration::ZERO, 1), Fate::Lost);
        assert!("10".parse::<Bandwidth>().is_err() && "1".parse::<Cut>().is_err());
    }
}
