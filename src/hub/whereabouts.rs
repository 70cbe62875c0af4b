//! Which workers of this node have sessions of which user, and how many.
//!
//! Touched when a session finds out who it is and when it ends, and once for each directive; never for an event. Its invariant: a user stands here
//! exactly as long as some worker has a session of that user.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::protocol::UserId;

const SHARDS: usize = 64;

/// See the [module](self).
pub(super) struct Whereabouts {
    shards: Vec<Mutex<Table>>,
}

pub(super) type Table = HashMap<UserId, Vec<Post>>;

/// A worker that has sessions of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) worker: usize,
    pub(super) sessions: usize,
}

impl Whereabouts {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The worker now has so many sessions of the user.
    pub(super) fn count(&self, user: &UserId, worker: usize, sessions: usize) {
        let mut table = self.table(user);
        let posts = table.entry(user.clone()).or_default();
        posts.retain(|post| post.worker != worker);
        if sessions > 0 {
            posts.push(Post { worker, sessions });
        }
        if posts.is_empty() {
            table.remove(user);
        }
    }

    /// The part of the table in which the user stands. What is done under its lock is done in one order for each user.
    pub(super) fn table(&self, user: &UserId) -> MutexGuard<'_, Table> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(user);
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()];
        // Nothing that can panic runs under the lock.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_as_long_as_some_worker_has_a_session() {
        let (whereabouts, ann) = (Whereabouts::new(), UserId::parse("ann").unwrap());
        let posts = || whereabouts.table(&ann).get(&ann).cloned();
        whereabouts.count(&ann, 1, 2);
        whereabouts.count(&ann, 0, 1);
        whereabouts.count(&ann, 1, 1);
        assert_eq!(posts().unwrap(), [Post { worker: 0, sessions: 1 }, Post { worker: 1, sessions: 1 }]);
        whereabouts.count(&ann, 0, 0);
        whereabouts.count(&ann, 1, 0);
        assert_eq!(posts(), None);
    }
}
