//! The idempotency keys of a group's latest publishes.
//!
//! Bounded by age and by number, and each publish pays only for what it makes expire. Its invariant: `ages` names each key of `receipts` once, oldest first.

use std::collections::{HashMap, VecDeque};

use super::Receipt;
use crate::protocol::{IdempotencyKey, limits};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Keys {
    receipts: HashMap<IdempotencyKey, Receipt>,
    /// When each was remembered, in ms.
    ages: VecDeque<(u64, IdempotencyKey)>,
}

impl Keys {
    /// What the first publish with this key got.
    pub(super) fn get(&self, key: &IdempotencyKey) -> Option<&Receipt> {
        self.receipts.get(key)
    }

    /// Remembers a publish with a key that was not known; the oldest is forgotten if there are too many.
    pub(super) fn remember(&mut self, key: IdempotencyKey, receipt: Receipt, now_ms: u64) {
        if self.receipts.len() >= limits::KEYS {
            self.forget_oldest();
        }
        self.ages.push_back((now_ms, key.clone()));
        self.receipts.insert(key, receipt);
    }

    /// Forgets what is past its time.
    pub(super) fn expire(&mut self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(u64::try_from(limits::KEY_TTL.as_millis()).unwrap_or(u64::MAX));
        while self.ages.front().is_some_and(|(at, _)| *at < oldest) {
            self.forget_oldest();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.ages.pop_front() {
            self.receipts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EventId, Position};

    fn key(n: usize) -> IdempotencyKey {
        IdempotencyKey::parse(&n.to_string()).unwrap()
    }

    fn receipt(n: usize) -> Receipt {
        Receipt { id: EventId::from_number(n as u64), position: Position::NONE, subscribers: 0, duplicate: false }
    }

    #[test]
    fn keys_are_forgotten_by_number_and_by_age_and_not_before() {
        let mut keys = Keys::default();
        for n in 0..=limits::KEYS {
            keys.remember(key(n), receipt(n), 1000 + n as u64);
        }
        assert_eq!((keys.get(&key(0)), keys.get(&key(1))), (None, Some(&receipt(1))));
        let ttl = u64::try_from(limits::KEY_TTL.as_millis()).unwrap();
        keys.expire(1001 + ttl);
        assert_eq!(keys.get(&key(1)), Some(&receipt(1)));
        keys.expire(1002 + ttl);
        assert_eq!((keys.get(&key(1)), keys.get(&key(2))), (None, Some(&receipt(2))));
        keys.expire(u64::MAX);
        assert!(keys.is_empty() && keys.receipts.is_empty());
    }
}
