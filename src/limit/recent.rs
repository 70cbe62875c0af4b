//! Something for each of the keys that were used last, in bounded memory.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use super::{Rate, TokenBucket};

/// Remembers a value for at least the `keys` keys that were used last, and for twice as many at most. What is there is found without allocating.
///
/// There are two generations. What is used is young; when so many are young as are to be remembered, the old ones are forgotten and the young ones are old.
#[derive(Debug, Clone)]
pub struct Recent<K, V> {
    keys: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Remembers at least so many keys; at least one.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { keys: keys.max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// The value of a key, made if it is not remembered.
    pub fn get_or<Q>(&mut self, key: &Q, make: impl FnOnce() -> V) -> &mut V
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key).unwrap_or_else(|| (key.to_owned(), make()));
            self.insert(key, value);
        }
        self.young.get_mut(key).expect("it is young now")
    }

    /// Remembers a value.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() == self.keys {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Takes the value of a key out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

/// A bucket for each of many keys: addresses, users, API keys. One that is forgotten is full when its key is used again, so it has to remember more keys than one peer can have.
#[derive(Debug, Clone)]
pub struct Buckets<K>(Recent<K, TokenBucket>);

impl<K: Hash + Eq> Buckets<K> {
    /// Remembers at least so many keys, and twice as many at most.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self(Recent::new(keys))
    }

    /// See [`TokenBucket::take`].
    ///
    /// # Errors
    /// The same.
    pub fn take<Q>(&mut self, key: &Q, rate: Rate, n: u64, now: Instant) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.0.get_or(key, TokenBucket::default).take(rate, n, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_were_used_last_are_remembered_and_the_number_is_bounded() {
        let mut recent: Recent<u32, u32> = Recent::new(100);
        for key in 0..100_000 {
            recent.insert(key, key + 1);
            // Since it was used last, 99 others have been: each step uses two.
            let earlier = key.saturating_sub(49);
            assert_eq!(recent.get_or(&earlier, || 0), &(earlier + 1));
            assert!(recent.len() <= 200);
        }
    }

    #[test]
    fn each_key_has_its_own_bucket() {
        let (mut buckets, now) = (Buckets::<String>::new(10), Instant::now());
        let rate = Rate::per_second(1);
        assert_eq!(buckets.take("ann", rate, 1, now), Ok(()));
        assert_eq!(buckets.take("ann", rate, 1, now), Err(Duration::from_secs(1)));
        assert_eq!(buckets.take("bob", rate, 1, now), Ok(()));
        // Nine others do not make it forget ann; twenty do.
        for n in 0..8 {
            assert_eq!(buckets.take(format!("{n}").as_str(), rate, 1, now), Ok(()));
        }
        assert!(buckets.take("ann", rate, 1, now).is_err());
        for n in 0..20 {
            assert_eq!(buckets.take(format!("other {n}").as_str(), rate, 1, now), Ok(()));
        }
        assert_eq!(buckets.take("ann", rate, 1, now), Ok(()));
    }

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut recent: Recent<u8, u8> = Recent::new(1);
        recent.insert(1, 10);
        recent.insert(2, 20);
        assert_eq!((recent.remove(&1), recent.remove(&2), recent.remove(&1)), (Some(10), Some(20), None));
        assert!(recent.is_empty());
    }
}
