//! What one connection has got of one stream: lost, duplicated, reordered, recovered.

use std::ops::Range;

/// Accounts for the numbers 1, 2, 3 … of a stream, while the connection follows it. At first it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The highest number that came.
    highest: u64,
    /// Up to here nothing is due: it was published before the connection followed. What comes all the same is welcome.
    floor: u64,
    /// Up to here it was published while the connection was away to come back for it.
    caught_up_at: u64,
    /// Whether what is published is due.
    following: bool,
    /// What was passed over although it was due, in order.
    missing: Vec<Range<u64>>,
    /// What was passed over and was not due, in order.
    spared: Vec<Range<u64>>,
    /// How many different numbers came.
    pub received: u64,
    /// How often a number came that had come before.
    pub duplicated: u64,
    /// How often a number came after a higher one, for the first time.
    pub reordered: u64,
    /// How many came that were published while the connection was away.
    pub recovered: u64,
}

/// What an arrival was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first of this number, in its place.
    Next {
        /// How many that were due it passed over.
        passed: u64,
        /// Whether this one was due.
        due: bool,
    },
    /// The first of this number, after a higher one.
    Late {
        /// Whether this one was due.
        due: bool,
    },
    /// Not the first of this number.
    Again,
}

impl Ledger {
    /// The connection follows from now on; so many have been published.
    pub fn follow(&mut self, published: u64) {
        self.floor = self.floor.max(published);
        self.following = true;
    }

    /// The connection is back, and has asked for what was published meanwhile.
    pub fn resume(&mut self, published: u64) {
        self.caught_up_at = published;
    }

    /// The connection leaves and does not ask for what comes; returns how many of the published ones are no longer due.
    pub fn leave(&mut self, published: u64) -> u64 {
        let given_up = self.under_way(published);
        self.following = false;
        given_up
    }

    /// How many are due after the last that came.
    fn under_way(&self, published: u64) -> u64 {
        if self.following { published.saturating_sub(self.highest.max(self.floor)) } else { 0 }
    }

    /// Enters an arrival.
    pub fn arrived(&mut self, number: u64) -> Arrival {
        let arrival = if number > self.highest { self.next(number) } else { self.late(number) };
        if arrival == Arrival::Again {
            self.duplicated += 1;
        } else {
            self.received += 1;
            self.recovered += u64::from(number <= self.caught_up_at);
        }
        arrival
    }

    fn next(&mut self, number: u64) -> Arrival {
        if !self.following {
            // The server has let us in, and its answer is still on the way or in the same packet.
            self.floor = self.floor.max(number);
        }
        let due = number > self.floor;
        let first_due = (self.highest.max(self.floor) + 1).min(number);
        if self.highest + 1 < first_due {
            self.spared.push(self.highest + 1..first_due);
        }
        if first_due < number {
            self.missing.push(first_due..number);
        }
        self.highest = number;
        Arrival::Next { passed: number - first_due, due }
    }

    fn late(&mut self, number: u64) -> Arrival {
        let due = fill(&mut self.missing, number);
        if !due && !fill(&mut self.spared, number) {
            return Arrival::Again;
        }
        self.reordered += 1;
        Arrival::Late { due }
    }

    /// How many of the first `published` numbers were due and did not come. Those that were `refused`, in order, were not due.
    #[must_use]
    pub fn lost(&self, published: u64, refused: &[u64]) -> u64 {
        let passed = self.missing.iter().map(|range| range.start..range.end.min(published + 1));
        let under_way = published + 1 - self.under_way(published)..published + 1;
        let not_due = |range: &Range<u64>| {
            let upto = |number: u64| refused.partition_point(|refused| *refused < number);
            (upto(range.end) - upto(range.start)) as u64
        };
        let lost = |range: Range<u64>| if range.is_empty() { 0 } else { range.end - range.start - not_due(&range) };
        passed.chain([under_way]).map(lost).sum()
    }
}

/// Takes a number out of a list of ranges; `false` if it isn't there.
fn fill(ranges: &mut Vec<Range<u64>>, number: u64) -> bool {
    let at = ranges.partition_point(|range| range.end <= number);
    let Some(range) = ranges.get(at).filter(|range| range.contains(&number)).cloned() else { return false };
    let rest = [range.start..number, number + 1..range.end].into_iter().filter(|part| !part.is_empty());
    ranges.splice(at..=at, rest);
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_agree_with_counting_the_slow_way(
            floor in 0..10u64, numbers in prop::collection::vec(1..40u64, 0..100), more in 0..5u64,
        ) {
            let mut ledger = Ledger::default();
            ledger.follow(floor);
            let (mut seen, mut highest, mut duplicated, mut reordered) = (HashSet::new(), 0, 0, 0);
            for number in numbers {
                let first = seen.insert(number);
                prop_assert_eq!(ledger.arrived(number) != Arrival::Again, first);
                duplicated += u64::from(!first);
                reordered += u64::from(first && number < highest);
                highest = highest.max(number);
            }
            let published = highest.max(floor) + more;
            let lost = (floor + 1..=published).filter(|number| !seen.contains(number)).count() as u64;
            let received = seen.len() as u64;
            prop_assert_eq!((ledger.received, ledger.duplicated, ledger.reordered), (received, duplicated, reordered));
            prop_assert_eq!(ledger.lost(published, &[]), lost);
            let refused: Vec<u64> = (1..=published).step_by(3).collect();
            let lost = (floor + 1..=published).filter(|number| !seen.contains(number) && !refused.contains(number)).count() as u64;
            prop_assert_eq!(ledger.lost(published, &refused), lost);
        }
    }

    #[test]
    fn what_is_published_while_somebody_is_gone_is_not_due_unless_they_asked() {
        let mut ledger = Ledger::default();
        ledger.follow(0);
        ledger.arrived(1);
        assert_eq!(ledger.leave(3), 2);
        assert_eq!(ledger.lost(5, &[]), 0);
        assert_eq!(ledger.arrived(4), Arrival::Next { passed: 0, due: false });
        ledger.follow(5);
        assert_eq!(ledger.arrived(7), Arrival::Next { passed: 1, due: true });
        assert_eq!(ledger.arrived(5), Arrival::Late { due: false });
        assert_eq!(ledger.lost(8, &[]), 2);
    }

    #[test]
    fn what_comes_after_coming_back_is_recovered() {
        let mut ledger = Ledger::default();
        ledger.follow(0);
        ledger.arrived(1);
        ledger.resume(3);
        for number in 2..=4 {
            ledger.arrived(number);
        }
        assert_eq!((ledger.recovered, ledger.lost(4, &[])), (2, 0));
    }
}
