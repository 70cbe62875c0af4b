//! What a node that is alone does for its users, and what it says of the cluster: there is nobody else to ask.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Answer, Cluster, Demand, Directive, Error, Host, Node, Reached, Standing, Users,
    memory::Clock,
    users::{Change, TOO_MANY},
};
use crate::protocol::{Position, UserId, limits};

/// Users for whom something stands. Each takes about 200 bytes and its groups; more than that is refused.
const USERS: usize = 100_000;

/// What a caller is told when a mailbox is full: about as long as a worker needs to empty it.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// See the [module](self).
pub struct Alone {
    host: Host,
    clock: Clock,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    /// How many directives there have been.
    directives: u64,
    by_user: HashMap<UserId, Record>,
}

/// What stands for one user.
#[derive(Debug, Clone, Default)]
struct Record {
    groups: BTreeSet<crate::protocol::GroupName>,
    began: u64,
    changed: u64,
    touched_ms: u64,
}

impl Alone {
    /// A node for whose users nothing stands yet.
    #[must_use]
    pub fn new(host: Host, clock: Clock) -> Self {
        Self { host, clock, records: Mutex::default() }
    }

    /// Forgets what is past its time. To be called every few seconds.
    pub fn sweep(&self) {
        let oldest = (self.clock)().saturating_sub(u64::try_from(limits::STANDING_TTL.as_millis()).unwrap_or(u64::MAX));
        self.records().by_user.retain(|_, record| record.touched_ms >= oldest);
    }

    /// A panic while the lock was held leaves records that are still whole.
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn direct_now(&self, user: &UserId, demand: Demand) -> Result<Reached, Error> {
        let now_ms = (self.clock)();
        // Held until every worker has the directive, so that directives have one order.
        let mut records = self.records();
        let place = records.directives + 1;
        let record = changed(&records.by_user, user, &demand, place, now_ms)?;
        let directive = Directive { user: user.clone(), demand, position: position(place) };
        let sessions = self.host.sessions.direct(&directive.into()).map_err(|_| Error::Busy { retry_after: RETRY_AFTER })?;
        records.directives = place;
        if let Some(record) = record {
            records.by_user.insert(user.clone(), record);
        }
        Ok(Reached { sessions, nodes: 1, pending: 0 })
    }

    fn standing_now(&self, user: &UserId) -> Standing {
        let mut records = self.records();
        let Some(record) = records.by_user.get_mut(user) else { return Standing::default() };
        record.touched_ms = (self.clock)();
        let groups = record.groups.iter().cloned().collect();
        Standing { groups, began: position(record.began), position: position(record.changed) }
    }
}

/// Directives of one life of one node have one epoch.
fn position(place: u64) -> Position {
    Position { epoch: 1, offset: place }
}

/// The user's record after the demand; `None`: it stays as it is.
fn changed(records: &HashMap<UserId, Record>, user: &UserId, demand: &Demand, place: u64, now_ms: u64) -> Result<Option<Record>, Error> {
    let known = records.get(user);
    let mut record = known.cloned().unwrap_or_default();
    match demand.change() {
        Change::Add(groups) => {
            record.groups.extend(groups.iter().cloned());
            if record.groups.len() > limits::STANDING_GROUPS {
                return Err(TOO_MANY);
            }
            if known.is_none() && records.len() >= USERS {
                return Err(Error::TooManyUsers);
            }
        }
        Change::Remove(groups) if known.is_some() => record.groups.retain(|group| !groups.contains(group)),
        Change::Clear if known.is_some() => record.groups.clear(),
        Change::None | Change::Remove(_) | Change::Clear => return Ok(None),
    }
    let began = if known.is_some() { record.began } else { place };
    Ok(Some(Record { began, changed: place, touched_ms: now_ms, ..record }))
}

impl Users for Alone {
    fn direct<'a>(&'a self, user: &'a UserId, demand: Demand) -> Answer<'a, Reached> {
        Box::pin(std::future::ready(self.direct_now(user, demand)))
    }

    fn standing<'a>(&'a self, user: &'a UserId) -> Answer<'a, Standing> {
        Box::pin(std::future::ready(Ok(self.standing_now(user))))
    }
}

impl Cluster for Alone {
    fn node(&self) -> Node {
        (self.host.describe)()
    }

    fn nodes(&self) -> Answer<'_, Vec<Node>> {
        Box::pin(std::future::ready(Ok(vec![self.node()])))
    }
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alone").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::{
        broker::{Deliver, Item, Overflow, Sessions},
        protocol::GroupName,
    };

    /// Two sessions of everybody, as long as there is room.
    #[derive(Default)]
    struct Everybody {
        given: Mutex<Vec<Arc<Directive>>>,
        full: Mutex<bool>,
    }

    impl Deliver for Everybody {
        fn deliver(&self, _: &GroupName, _: Item) -> Result<usize, Overflow> {
            Ok(0)
        }

        fn members(&self, _: &GroupName) -> usize {
            0
        }
    }

    impl Sessions for Everybody {
        fn direct(&self, directive: &Arc<Directive>) -> Result<usize, Overflow> {
            if *self.full.lock().unwrap() {
                return Err(Overflow);
            }
            self.given.lock().unwrap().push(directive.clone());
            Ok(2)
        }

        fn review(&self) -> Result<(), Overflow> {
            Ok(())
        }
    }

    struct World {
        alone: Alone,
        everybody: Arc<Everybody>,
        now: Arc<AtomicU64>,
    }

    fn world() -> World {
        let (everybody, now) = (Arc::new(Everybody::default()), Arc::new(AtomicU64::new(1_000_000)));
        let host = Host { deliver: everybody.clone(), sessions: everybody.clone(), describe: Arc::new(Node::default) };
        let clock = now.clone();
        World { alone: Alone::new(host, Arc::new(move || clock.load(Ordering::Relaxed))), everybody, now }
    }

    fn ann() -> UserId {
        UserId::parse("ann").unwrap()
    }

    fn names(names: &[&str]) -> Vec<GroupName> {
        names.iter().map(|name| GroupName::parse(name).unwrap()).collect()
    }

    fn grant(groups: &[&str], standing: bool) -> Demand {
        Demand::Grant { groups: names(groups), standing }
    }

    #[test]
    fn what_stands_is_what_was_granted_for_later_and_not_revoked() {
        let World { alone, everybody, .. } = world();
        let stands = || alone.standing_now(&ann()).groups.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(alone.standing_now(&ann()), Standing::default());
        assert_eq!(alone.direct_now(&ann(), grant(&["b", "a"], true)), Ok(Reached { sessions: 2, nodes: 1, pending: 0 }));
        alone.direct_now(&ann(), grant(&["c"], false)).unwrap();
        assert_eq!(stands(), ["a", "b"]);
        alone.direct_now(&ann(), Demand::Revoke { groups: names(&["a", "c"]) }).unwrap();
        assert_eq!(stands(), ["b"]);
        assert_eq!(alone.standing_now(&ann()).position.offset, 3);
        alone.direct_now(&ann(), Demand::RevokeAll).unwrap();
        assert_eq!((stands(), alone.standing_now(&ann()).position.offset), (vec![], 4));
        let places: Vec<_> = everybody.given.lock().unwrap().iter().map(|directive| directive.position.offset).collect();
        assert_eq!(places, [1, 2, 3, 4]);
    }

    #[test]
    fn what_no_worker_could_take_changed_nothing() {
        let World { alone, everybody, .. } = world();
        *everybody.full.lock().unwrap() = true;
        assert_eq!(alone.direct_now(&ann(), grant(&["a"], true)), Err(Error::Busy { retry_after: RETRY_AFTER }));
        assert_eq!(alone.standing_now(&ann()), Standing::default());
    }

    #[test]
    fn what_stands_is_bounded_and_is_forgotten_when_nobody_asks_for_it() {
        let World { alone, now, .. } = world();
        let many: Vec<String> = (0..=limits::STANDING_GROUPS).map(|n| format!("g{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(alone.direct_now(&ann(), grant(&many, true)), Err(TOO_MANY));
        alone.direct_now(&ann(), grant(&many[1..], true)).unwrap();
        assert_eq!(alone.direct_now(&ann(), grant(&many[..1], true)), Err(TOO_MANY));
        alone.direct_now(&ann(), grant(&many[1..2], true)).unwrap();
        let ttl = u64::try_from(limits::STANDING_TTL.as_millis()).unwrap();
        for _ in 0..2 {
            now.fetch_add(ttl, Ordering::Relaxed);
            alone.sweep();
            assert_eq!(alone.standing_now(&ann()).groups.len(), limits::STANDING_GROUPS);
        }
        now.fetch_add(ttl + 1, Ordering::Relaxed);
        alone.sweep();
        assert_eq!(alone.standing_now(&ann()), Standing::default());
    }
}
