//! How much clients have published to which group lately.

use std::{
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    limit::{Buckets, Rate},
    protocol::GroupName,
};

/// Groups are spread over so many locks, so that publishers of different groups seldom wait for each other.
const SHARDS: usize = 16;

/// Groups that a shard remembers at least, of about 150 bytes each: with twice as many in every shard 20 MB. A group that is forgotten begins with a full bucket, so that is for more groups than are published to
/// within the time of a burst.
const GROUPS: usize = 4096;

/// A bucket for each group whose policy has a rate, for all workers of a node. Groups without a rate never come here.
pub struct Rates(Vec<Mutex<Buckets<GroupName>>>);

impl Rates {
    /// Nobody has published anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::new(Buckets::new(GROUPS))).collect())
    }

    /// Counts one event for the group.
    ///
    /// # Errors
    /// It is too much at the moment; after exactly this time it would not be.
    pub fn take(&self, group: &GroupName, rate: Rate, now: Instant) -> Result<(), Duration> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(group);
        let shard = &self.0[usize::try_from(hash % SHARDS as u64).unwrap_or_default()];
        // Nothing that can panic runs under the lock.
        shard.lock().unwrap_or_else(PoisonError::into_inner).take(group, rate, 1, now)
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_own_bucket_and_the_wait_is_exact() {
        let (rates, now) = (Rates::new(), Instant::now());
        let rate = Rate::per_second(10).with_burst(2);
        let take = |group: &str, now| rates.take(&GroupName::parse(group).unwrap(), rate, now);
        assert_eq!((take("a", now), take("a", now)), (Ok(()), Ok(())));
        let wait = take("a", now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(take("b", now), Ok(()));
        assert_eq!(take("a", now + wait), Ok(()));
    }
}
