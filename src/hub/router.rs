//! Which workers of this node have members of which group, and the way to their mailboxes.
//!
//! The only table of the hub that threads share. It is touched when a worker gets its first or loses its last member of a group, when the number of members changes,
//! and once a publish; never once a member. Its invariant: a worker has an entry in a group exactly as long as its shard has that group.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::whereabouts::Whereabouts;
use crate::{
    broker::{Deliver, Directive, Item, Overflow, Sessions},
    metrics::Metrics,
    protocol::{GroupName, UserId},
};

/// Something for connections of one worker.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// An event or a gap for all members of a group.
    Item {
        /// The group.
        group: GroupName,
        /// The event or gap.
        item: Item,
    },
    /// A notice for all sessions of a user, or with `None` for all that have one.
    Notice(Option<UserId>, Notice),
}

/// What the sessions of a user are told, as against their clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The application wants something.
    Directive(Arc<Directive>),
    /// Directives may have been lost: compare with what stands.
    Review,
    /// What is allowed has changed.
    Policies,
}

/// Events that one worker may have before it: at 100,000 deliveries a second to 1,000 members, 40 s of work.
pub const MAILBOX: usize = 4096;

const SHARDS: usize = 64;

/// See the [module](self).
pub struct Router {
    mailboxes: Vec<mpsc::Sender<Delivery>>,
    shards: Vec<Mutex<Table>>,
    whereabouts: Whereabouts,
    metrics: Arc<Metrics>,
}

type Table = HashMap<GroupName, Vec<Listener>>;

/// A worker that has the group.
#[derive(Debug, Clone, Copy)]
struct Listener {
    worker: usize,
    members: usize,
}

impl Router {
    /// A router for so many workers, and the mailbox of each.
    #[must_use]
    pub fn new(workers: usize, metrics: Arc<Metrics>) -> (Self, Vec<mpsc::Receiver<Delivery>>) {
        let (mailboxes, receivers) = (0..workers).map(|_| mpsc::channel(MAILBOX)).unzip();
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        (Self { mailboxes, shards, whereabouts: Whereabouts::new(), metrics }, receivers)
    }

    /// From now on the worker gets the group's events.
    pub(super) fn listen(&self, group: &GroupName, worker: usize) {
        let mut table = self.table(group);
        let listeners = table.entry(group.clone()).or_default();
        if !listeners.iter().any(|listener| listener.worker == worker) {
            listeners.push(Listener { worker, members: 0 });
        }
    }

    /// The worker no longer gets the group's events.
    pub(super) fn unlisten(&self, group: &GroupName, worker: usize) {
        let mut table = self.table(group);
        if let Some(listeners) = table.get_mut(group) {
            listeners.retain(|listener| listener.worker != worker);
            if listeners.is_empty() {
                table.remove(group);
            }
        }
    }

    /// The worker now has so many members of the group.
    pub(super) fn count(&self, group: &GroupName, worker: usize, members: usize) {
        let mut table = self.table(group);
        let listeners = table.get_mut(group).into_iter().flatten();
        listeners.filter(|listener| listener.worker == worker).for_each(|listener| listener.members = members);
    }

    /// The worker now has so many sessions of the user.
    pub(super) fn count_sessions(&self, user: &UserId, worker: usize, sessions: usize) {
        self.whereabouts.count(user, worker, sessions);
    }

    /// The groups that have members on this node, with their number, in order of their names: those after `after` that begin with `prefix`, at most `limit`.
    #[must_use]
    pub fn groups(&self, prefix: &str, after: &str, limit: usize) -> Vec<(GroupName, usize)> {
        let mut page = BTreeMap::new();
        for shard in &self.shards {
            for (group, listeners) in lock(shard).iter() {
                let members: usize = listeners.iter().map(|listener| listener.members).sum();
                if members > 0 && group.as_str().starts_with(prefix) && group.as_str() > after {
                    page.insert(group.clone(), members);
                    if page.len() > limit {
                        page.pop_last();
                    }
                }
            }
        }
        page.into_iter().collect()
    }

    /// How many groups have members on this node, or are about to.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether there is no group at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self, group: &GroupName) -> MutexGuard<'_, Table> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(group);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()])
    }
}

impl Router {
    /// Puts it into the mailboxes of these workers: all or none.
    fn post(&self, workers: impl Iterator<Item = usize>, delivery: &Delivery) -> Result<(), Overflow> {
        let permits: Result<Vec<_>, _> = workers.map(|worker| self.mailboxes[worker].try_reserve()).collect();
        let Ok(permits) = permits else {
            self.metrics.mailbox_full.inc();
            return Err(Overflow);
        };
        permits.into_iter().for_each(|permit| permit.send(delivery.clone()));
        Ok(())
    }
}

impl Sessions for Router {
    fn direct(&self, directive: &Arc<Directive>) -> Result<usize, Overflow> {
        let user = &directive.user;
        let table = self.whereabouts.table(user);
        let Some(posts) = table.get(user) else { return Ok(0) };
        let notice = Delivery::Notice(Some(user.clone()), Notice::Directive(directive.clone()));
        self.post(posts.iter().map(|post| post.worker), &notice)?;
        Ok(posts.iter().map(|post| post.sessions).sum())
    }

    fn review(&self) -> Result<(), Overflow> {
        self.post(0..self.mailboxes.len(), &Delivery::Notice(None, Notice::Review))
    }
}

impl Deliver for Router {
    fn deliver(&self, group: &GroupName, item: Item) -> Result<usize, Overflow> {
        let table = self.table(group);
        let Some(listeners) = table.get(group) else { return Ok(0) };
        let delivery = Delivery::Item { group: group.clone(), item };
        self.post(listeners.iter().map(|listener| listener.worker), &delivery)?;
        Ok(listeners.iter().map(|listener| listener.members).sum())
    }

    fn members(&self, group: &GroupName) -> usize {
        self.table(group).get(group).into_iter().flatten().map(|listener| listener.members).sum()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("workers", &self.mailboxes.len()).finish_non_exhaustive()
    }
}

/// Nothing that can panic runs under the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::Demand,
        protocol::{Content, EventId, Position},
    };

    fn name(group: &str) -> GroupName {
        GroupName::parse(group).unwrap()
    }

    fn event() -> Item {
        Item::Event(7, Arc::new(Content::message("x", None).unwrap().placed(EventId::from_number(1), 1, None)))
    }

    #[test]
    fn an_event_goes_once_to_each_worker_that_has_members() {
        let (router, mut mailboxes) = Router::new(3, Arc::new(Metrics::new()));
        for worker in [0, 2] {
            router.listen(&name("a"), worker);
            router.listen(&name("a"), worker);
            router.count(&name("a"), worker, worker + 1);
        }
        assert_eq!(router.deliver(&name("a"), event()), Ok(4));
        assert_eq!(router.deliver(&name("b"), event()), Ok(0));
        assert_eq!(mailboxes.iter_mut().map(|m| m.len()).collect::<Vec<_>>(), [1, 0, 1]);
        router.unlisten(&name("a"), 0);
        assert_eq!(router.members(&name("a")), 3);
        assert_eq!(router.deliver(&name("a"), event()), Ok(3));
        assert_eq!(mailboxes.iter_mut().map(|m| m.len()).collect::<Vec<_>>(), [1, 0, 2]);
    }

    #[test]
    fn when_one_mailbox_is_full_nobody_gets_the_event() {
        let (router, mailboxes) = Router::new(2, Arc::new(Metrics::new()));
        router.listen(&name("a"), 0);
        router.listen(&name("b"), 0);
        router.listen(&name("b"), 1);
        for _ in 0..MAILBOX {
            router.deliver(&name("a"), event()).unwrap();
        }
        assert_eq!(router.deliver(&name("b"), event()), Err(Overflow));
        assert_eq!(mailboxes[1].len(), 0);
    }

    #[test]
    fn a_directive_goes_once_to_each_worker_that_has_sessions_of_its_user() {
        let (router, mut mailboxes) = Router::new(3, Arc::new(Metrics::new()));
        let user = |id: &str| UserId::parse(id).unwrap();
        router.count_sessions(&user("ann"), 0, 2);
        router.count_sessions(&user("ann"), 2, 1);
        router.count_sessions(&user("bob"), 1, 1);
        let directive = Directive { user: user("ann"), demand: Demand::RevokeAll, position: Position::NONE };
        assert_eq!(router.direct(&directive.into()), Ok(3));
        assert_eq!(mailboxes.iter_mut().map(|m| m.len()).collect::<Vec<_>>(), [1, 0, 1]);
        let nobody = Directive { user: user("eve"), demand: Demand::RevokeAll, position: Position::NONE };
        assert_eq!(router.direct(&nobody.into()), Ok(0));
        router.review().unwrap();
        assert_eq!(mailboxes.iter_mut().map(|m| m.len()).collect::<Vec<_>>(), [2, 1, 2]);
    }

    #[test]
    fn groups_are_listed_in_pages() {
        let (router, _mailboxes) = Router::new(1, Arc::new(Metrics::new()));
        for group in ["b", "a1", "a3", "a2", "c"] {
            router.listen(&name(group), 0);
            router.count(&name(group), 0, 1);
        }
        router.listen(&name("a0"), 0);
        let page = |prefix, after, limit| -> Vec<String> {
            router.groups(prefix, after, limit).into_iter().map(|(group, _)| group.to_string()).collect()
        };
        assert_eq!(page("", "", 3), ["a1", "a2", "a3"]);
        assert_eq!(page("", "a3", 3), ["b", "c"]);
        assert_eq!(page("a", "a1", 9), ["a2", "a3"]);
    }
}
