//! What one connection has got of one stream: lost, duplicated, reordered.

use std::ops::Range;

/// Accounts for the numbers 1, 2, 3 … of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The highest number that came.
    highest: u64,
    /// What was passed over, in order.
    missing: Vec<Range<u64>>,
    /// How many different numbers came.
    pub received: u64,
    /// How often a number came that had come before.
    pub duplicated: u64,
    /// How often a number came after a higher one, for the first time.
    pub reordered: u64,
}

impl Ledger {
    /// Enters an arrival; whether it is the first of this number.
    pub fn arrived(&mut self, number: u64) -> bool {
        let first = if number > self.highest {
            if number > self.highest + 1 {
                self.missing.push(self.highest + 1..number);
            }
            self.highest = number;
            true
        } else {
            let late = self.fill(number);
            self.reordered += u64::from(late);
            late
        };
        self.received += u64::from(first);
        self.duplicated += u64::from(!first);
        first
    }

    /// Takes a number out of what is missing; `false` if it wasn't.
    fn fill(&mut self, number: u64) -> bool {
        let at = self.missing.partition_point(|range| range.end <= number);
        let Some(range) = self.missing.get(at).filter(|range| range.contains(&number)).cloned() else { return false };
        let rest = [range.start..number, number + 1..range.end].into_iter().filter(|part| !part.is_empty());
        self.missing.splice(at..=at, rest);
        true
    }

    /// How many of the first `published` numbers did not come.
    #[must_use]
    pub fn lost(&self, published: u64) -> u64 {
        let passed: u64 = self.missing.iter().map(|range| range.end.min(published + 1).saturating_sub(range.start)).sum();
        passed + published.saturating_sub(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_agree_with_counting_the_slow_way(numbers in prop::collection::vec(1..40u64, 0..100), more in 0..5u64) {
            let mut ledger = Ledger::default();
            let (mut seen, mut highest, mut duplicated, mut reordered) = (HashSet::new(), 0, 0, 0);
            for number in numbers {
                let first = seen.insert(number);
                prop_assert_eq!(ledger.arrived(number), first);
                duplicated += u64::from(!first);
                reordered += u64::from(first && number < highest);
                highest = highest.max(number);
            }
            let published = highest + more;
            let received = seen.len() as u64;
            prop_assert_eq!((ledger.received, ledger.duplicated, ledger.reordered), (received, duplicated, reordered));
            prop_assert_eq!(ledger.lost(published), published - received);
        }
    }
}
