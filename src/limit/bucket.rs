//! What one has done lately, against a rate.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::Rate;

/// A bucket of tokens that fills at a rate up to its burst, and is full to begin with.
///
/// It keeps one moment, the one at which it is full again; so it needs no timer, loses nothing by rounding, and the rate may change between two takings. (That is the
/// generic cell rate algorithm of ATM, ITU-T I.371, with a bucket's words.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenBucket {
    /// `None`: it is full.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Takes `n` tokens. More than a burst can hold may be taken from a full bucket, which then fills for so much longer: otherwise no wait would ever be enough.
    ///
    /// # Errors
    /// There are too few; after exactly this time there will be enough. Nothing was taken.
    pub fn take(&mut self, rate: Rate, n: u64, now: Instant) -> Result<(), Duration> {
        let debt = after(self.debt(now), rate, n)?;
        self.full_at = Some(now + debt);
        Ok(())
    }

    /// Takes `n` tokens that are spent already; tells how long nothing more should be spent.
    pub fn spend(&mut self, rate: Rate, n: u64, now: Instant) -> Duration {
        let debt = self.debt(now).saturating_add(rate.time_of(n));
        self.full_at = now.checked_add(debt);
        debt.saturating_sub(rate.time_of(rate.burst()))
    }

    /// Whether it is as good as new.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.debt(now).is_zero()
    }

    fn debt(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

/// A [`TokenBucket`] that several threads draw from at once, without waiting for each other.
#[derive(Debug)]
pub struct SharedBucket {
    /// Moments are counted from here.
    since: Instant,
    /// When it is full again, in nanoseconds.
    full_at: AtomicU64,
}

impl SharedBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, full_at: AtomicU64::new(0) }
    }

    /// See [`TokenBucket::take`].
    ///
    /// # Errors
    /// The same.
    pub fn take(&self, rate: Rate, n: u64, now: Instant) -> Result<(), Duration> {
        let elapsed = nanos(now.saturating_duration_since(self.since));
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let debt = Duration::from_nanos(full_at.saturating_sub(elapsed));
            let next = elapsed.saturating_add(nanos(after(debt, rate, n)?));
            // Nothing else is published by this word, so it needs no order.
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// Whether it is as good as new.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.load(Ordering::Relaxed) <= nanos(now.saturating_duration_since(self.since))
    }
}

/// What is owed after `n` more, or how long to wait for that.
fn after(debt: Duration, rate: Rate, n: u64) -> Result<Duration, Duration> {
    let debt = debt.saturating_add(rate.time_of(n));
    match debt.saturating_sub(rate.time_of(rate.burst().max(n))) {
        Duration::ZERO => Ok(debt),
        wait => Err(wait),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_then_one_at_a_time_and_the_wait_is_exact() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        let rate = Rate::per_second(10).with_burst(3);
        assert_eq!(bucket.take(rate, 3, now), Ok(()));
        assert_eq!(bucket.take(rate, 1, now), Err(100 * MS));
        assert_eq!(bucket.take(rate, 2, now + 100 * MS), Err(100 * MS));
        assert_eq!(bucket.take(rate, 1, now + 99 * MS), Err(MS));
        assert_eq!(bucket.take(rate, 1, now + 100 * MS), Ok(()));
        assert!(!bucket.is_full(now + 399 * MS) && bucket.is_full(now + 400 * MS));
        assert_eq!(bucket.take(rate, 3, now + 10_000 * MS), Ok(()));
        assert_eq!(bucket.take(rate, 1, now + 10_000 * MS), Err(100 * MS));
    }

    #[test]
    fn more_than_a_burst_needs_a_full_bucket_and_is_paid_for_afterwards() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        let rate = Rate::per_second(10).with_burst(2);
        assert_eq!(bucket.take(rate, 5, now), Ok(()));
        assert_eq!(bucket.take(rate, 1, now), Err(400 * MS));
        assert_eq!(bucket.take(rate, 5, now + 400 * MS), Err(100 * MS));
        assert_eq!(bucket.take(rate, 5, now + 500 * MS), Ok(()));
    }

    #[test]
    fn what_is_spent_already_is_paid_for_by_waiting() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        let rate = Rate::per_second(1000).with_burst(100);
        assert_eq!(bucket.spend(rate, 100, now), Duration::ZERO);
        assert_eq!(bucket.spend(rate, 50, now), 50 * MS);
        assert!(bucket.spend(rate, u64::MAX, now) > Duration::from_secs(3600));
    }

    #[test]
    fn threads_that_draw_at_once_get_the_burst_and_no_more() {
        let now = Instant::now();
        let (bucket, rate) = (SharedBucket::new(now), Rate::per_second(1).with_burst(1000));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| bucket.take(rate, 1, now).is_ok()).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
        assert_eq!(bucket.take(rate, 1, now), Err(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn no_more_than_rate_and_burst_in_any_time_and_waiting_is_enough(steps in prop::collection::vec((0u64..2000, 1u64..20), 1..200)) {
            let start = Instant::now();
            let rate = Rate::per_second(7).with_burst(19);
            let (mut bucket, shared) = (TokenBucket::default(), SharedBucket::new(start));
            let (mut now, mut taken) = (start, 0);
            for (pause_ms, n) in steps {
                now += Duration::from_millis(pause_ms);
                let result = bucket.take(rate, n, now);
                prop_assert_eq!(result, shared.take(rate, n, now));
                if let Err(wait) = result {
                    prop_assert!(bucket.take(rate, n, now + wait - Duration::from_nanos(1)).is_err());
                    now += wait;
                    prop_assert_eq!(bucket.take(rate, n, now), Ok(()));
                    prop_assert_eq!(shared.take(rate, n, now), Ok(()));
                }
                taken += n;
                let most = 19.0 + 7.0 * (now - start).as_secs_f64();
                prop_assert!(taken as f64 <= most + 1e-6, "{} > {}", taken, most);
            }
        }
    }
}
