//! The broker of a single node: everything in this process, nothing on disk.
//!
//! The reference for what a broker promises. One lock a shard of groups orders the events of each group: whoever publishes holds it from taking the offset
//! until every worker's mailbox has the event, so no two events of a group can overtake one another.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Answer, Attendance, Broker, Deliver, Error, History, Item, Publication, Receipt, attendance::Attendees, keys::Keys};
use crate::protocol::{Event, GroupName, IdGenerator, Position, PresenceChange, Retention, Roster, UserId};

/// Bounds of the memory broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Groups that are remembered at once. One that keeps no events takes about 200 bytes.
    pub groups: usize,
    /// How long a group whose history is empty, and which nobody follows, is remembered; after that its epoch ends.
    pub linger: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { groups: 1_000_000, linger: Duration::from_secs(600) }
    }
}

/// Wall-clock time in ms since 1970-01-01 UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Locks are taken for a group at a time; more shards than any machine has cores.
const SHARDS: usize = 64;

/// What a publisher is told when a mailbox is full: about as long as a worker needs to empty it.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// See the [module](self).
pub struct Memory {
    config: Config,
    deliver: Arc<dyn Deliver>,
    clock: Clock,
    ids: IdGenerator,
    shards: Vec<Mutex<HashMap<GroupName, Log>>>,
    present: Mutex<Present>,
}

/// Who is where.
#[derive(Default)]
struct Present {
    groups: HashMap<GroupName, Attendees>,
    /// Groups of which a change could not be told, because a mailbox was full: their members are to be told that they have missed something.
    untold: HashSet<GroupName>,
}

/// What is remembered of a group.
struct Log {
    epoch: u32,
    top: u64,
    kept: VecDeque<Event>,
    retention: Option<Retention>,
    keys: Keys,
    attached: usize,
    touched_ms: u64,
}

impl Memory {
    /// A broker that remembers nothing yet and delivers to `deliver`.
    #[must_use]
    pub fn new(config: Config, deliver: Arc<dyn Deliver>, clock: Clock) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { config, deliver, clock, ids: IdGenerator::new(0), shards, present: Mutex::default() }
    }

    /// Forgets what is past its time, and tells what could not be told. To be called every few seconds.
    pub fn sweep(&self) {
        self.tell_untold();
        let now = (self.clock)();
        for shard in &self.shards {
            lock(shard).retain(|_, log| {
                log.expire(now);
                let linger = u64::try_from(self.config.linger.as_millis()).unwrap_or(u64::MAX);
                log.attached > 0 || !log.kept.is_empty() || !log.keys.is_empty() || now.saturating_sub(log.touched_ms) < linger
            });
        }
    }

    /// How many groups are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, group: &GroupName) -> MutexGuard<'_, HashMap<GroupName, Log>> {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(group);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()])
    }

    fn log<'a>(
        &self,
        logs: &'a mut HashMap<GroupName, Log>,
        group: &GroupName,
        retention: Option<Retention>,
        now: u64,
    ) -> Result<&'a mut Log, Error> {
        // A share of the bound, so that counting needs no other shard's lock.
        if logs.len() > self.config.groups / SHARDS && !logs.contains_key(group) {
            return Err(Error::TooManyGroups);
        }
        let log = logs.entry(group.clone()).or_insert_with(Log::empty);
        log.touched_ms = now;
        log.retain(retention);
        log.expire(now);
        Ok(log)
    }

    fn publish_now(&self, publication: Publication) -> Result<Receipt, Error> {
        let Publication { group, content, sender, key, retention } = publication;
        let now = (self.clock)();
        let mut logs = self.shard(&group);
        if retention.is_none() && key.is_none() && !logs.contains_key(&group) {
            let event = Arc::new(content.placed(self.ids.next(now), 0, sender));
            let subscribers = self.hand_over(&group, 0, &event)?;
            return Ok(Receipt { id: event.id, position: Position::NONE, subscribers, duplicate: false });
        }
        let log = self.log(&mut logs, &group, retention, now)?;
        if let Some(receipt) = key.as_ref().and_then(|key| log.keys.get(key)) {
            return Ok(Receipt { duplicate: true, ..*receipt });
        }
        let offset = if retention.is_some() { log.top + 1 } else { 0 };
        let event = Arc::new(content.placed(self.ids.next(now), offset, sender));
        let epoch = if offset > 0 { log.epoch } else { 0 };
        let subscribers = self.hand_over(&group, epoch, &event)?;
        let receipt = Receipt { id: event.id, position: Position { epoch: log.epoch, offset }, subscribers, duplicate: false };
        if let Some(Retention { size, .. }) = retention {
            log.top = offset;
            log.kept.push_back(Arc::unwrap_or_clone(event));
            log.kept.drain(..log.kept.len().saturating_sub(size));
        }
        if let Some(key) = key {
            log.keys.remember(key, receipt, now);
        }
        Ok(receipt)
    }

    fn hand_over(&self, group: &GroupName, epoch: u32, event: &Arc<Event>) -> Result<usize, Error> {
        self.deliver.deliver(group, Item::Event(epoch, event.clone())).map_err(|_| Error::Busy { retry_after: RETRY_AFTER })
    }

    fn attend_now(&self, Attendance { group, live, connections }: Attendance) {
        let mut present = lock(&self.present);
        let attendees = present.groups.entry(group.clone()).or_insert_with(|| Attendees::new(random_epoch()));
        let change = attendees.note(connections);
        if attendees.is_empty() {
            present.groups.remove(&group);
        }
        if let Some(change) = change.filter(|_| live)
            && self.deliver.deliver(&group, Item::Presence(Arc::new(change))).is_err()
        {
            present.untold.insert(group);
        }
    }

    fn tell_untold(&self) {
        let lost = Item::Presence(Arc::new(PresenceChange::lost()));
        lock(&self.present).untold.retain(|group| self.deliver.deliver(group, lost.clone()).is_err());
    }

    fn history_now(&self, group: &GroupName, after: u64, up_to: u64, limit: usize) -> History {
        let mut logs = self.shard(group);
        let Some(log) = logs.get_mut(group) else { return History::default() };
        log.expire((self.clock)());
        let start = log.kept.front().map_or(log.top, |oldest| oldest.offset - 1);
        let wanted = log.kept.iter().filter(|event| event.offset > after && event.offset <= up_to);
        let mut events: Vec<Event> = wanted.rev().take(limit).cloned().collect();
        events.reverse();
        History { events, start, top: Position { epoch: log.epoch, offset: log.top } }
    }
}

impl Log {
    fn empty() -> Self {
        Self { epoch: 0, top: 0, kept: VecDeque::new(), retention: None, keys: Keys::default(), attached: 0, touched_ms: 0 }
    }

    /// Takes on what the policy says now. Whenever history begins, it begins with a new epoch.
    fn retain(&mut self, retention: Option<Retention>) {
        if retention == self.retention {
            return;
        }
        match retention {
            Some(_) if self.epoch == 0 => self.epoch = random_epoch(),
            Some(_) => {}
            None => (self.epoch, self.top, self.kept) = (0, 0, VecDeque::new()),
        }
        self.retention = retention;
    }

    fn expire(&mut self, now: u64) {
        if let Some(Retention { ttl, .. }) = self.retention {
            let oldest = now.saturating_sub(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            let gone = self.kept.iter().take_while(|event| event.id.timestamp_ms() < oldest).count();
            self.kept.drain(..gone);
        }
        self.keys.expire(now);
    }
}

impl Broker for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn publish(&self, publication: Publication) -> Answer<'_, Receipt> {
        Box::pin(std::future::ready(self.publish_now(publication)))
    }

    fn attach<'a>(&'a self, group: &'a GroupName, retention: Option<Retention>) -> Answer<'a, Position> {
        let mut logs = self.shard(group);
        let position = self.log(&mut logs, group, retention, (self.clock)()).map(|log| {
            log.attached += 1;
            Position { epoch: log.epoch, offset: log.top }
        });
        Box::pin(std::future::ready(position))
    }

    fn detach(&self, group: &GroupName) {
        if let Some(log) = self.shard(group).get_mut(group) {
            log.attached = log.attached.saturating_sub(1);
            log.touched_ms = (self.clock)();
        }
    }

    fn history<'a>(&'a self, group: &'a GroupName, after: u64, up_to: u64, limit: usize) -> Answer<'a, History> {
        Box::pin(std::future::ready(Ok(self.history_now(group, after, up_to, limit))))
    }

    fn attend(&self, attendances: Vec<Attendance>) {
        attendances.into_iter().for_each(|attendance| self.attend_now(attendance));
    }

    fn roster<'a>(&'a self, group: &'a GroupName, after: Option<&'a UserId>, limit: usize) -> Answer<'a, Roster> {
        let roster = lock(&self.present).groups.get(group).map(|attendees| attendees.roster(after, limit));
        Box::pin(std::future::ready(Ok(roster.unwrap_or_default())))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A panic while the lock was held leaves a log that is still whole: each is changed only after everything that can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Never 0, which stands for "no history".
fn random_epoch() -> u32 {
    getrandom::u32().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{
        broker::Overflow,
        protocol::{Content, IdempotencyKey},
    };

    #[derive(Default)]
    struct Sink {
        delivered: Mutex<Vec<(GroupName, u64)>>,
        presence: Mutex<Vec<PresenceChange>>,
        full: Mutex<bool>,
    }

    impl Deliver for Sink {
        fn deliver(&self, group: &GroupName, item: Item) -> Result<usize, Overflow> {
            if *self.full.lock().unwrap() {
                return Err(Overflow);
            }
            match item {
                Item::Event(_, event) => self.delivered.lock().unwrap().push((group.clone(), event.offset)),
                Item::Presence(change) => self.presence.lock().unwrap().push(PresenceChange::clone(&change)),
                Item::Gap(_) | Item::Interrupted | Item::Resumed => panic!("memory loses nothing"),
            }
            Ok(3)
        }

        fn members(&self, _: &GroupName) -> usize {
            3
        }
    }

    struct World {
        broker: Memory,
        sink: Arc<Sink>,
        now: Arc<AtomicU64>,
    }

    fn world() -> World {
        let (sink, now) = (Arc::new(Sink::default()), Arc::new(AtomicU64::new(1_000_000)));
        let clock = now.clone();
        let config = Config { groups: 640, linger: Duration::from_secs(10) };
        let broker = Memory::new(config, sink.clone(), Arc::new(move || clock.load(Ordering::Relaxed)));
        World { broker, sink, now }
    }

    const KEPT: Option<Retention> = Some(Retention { size: 3, ttl: Duration::from_secs(60) });

    impl World {
        fn publish(&self, group: &str, retention: Option<Retention>, key: Option<&str>) -> Result<Receipt, Error> {
            self.broker.publish_now(Publication {
                group: GroupName::parse(group).unwrap(),
                content: Content::message("x", None).unwrap(),
                sender: None,
                key: key.map(|key| IdempotencyKey::parse(key).unwrap()),
                retention,
            })
        }

        fn offsets(&self, group: &str, after: u64, limit: usize) -> (Vec<u64>, u64, u64) {
            let history = self.broker.history_now(&GroupName::parse(group).unwrap(), after, u64::MAX, limit);
            (history.events.iter().map(|e| e.offset).collect(), history.start, history.top.offset)
        }
    }

    #[test]
    fn offsets_count_and_the_ring_is_bounded_by_count_and_age() {
        let world = world();
        for offset in 1..=5 {
            let receipt = world.publish("a", KEPT, None).unwrap();
            assert_eq!((receipt.position.offset, receipt.subscribers, receipt.duplicate), (offset, 3, false));
        }
        assert_eq!(world.offsets("a", 0, 10), (vec![3, 4, 5], 2, 5));
        assert_eq!(world.offsets("a", 3, 10), (vec![4, 5], 2, 5));
        assert_eq!(world.offsets("a", 0, 2), (vec![4, 5], 2, 5));
        world.now.fetch_add(60_001, Ordering::Relaxed);
        assert_eq!(world.offsets("a", 0, 10), (vec![], 5, 5));
        assert_eq!(world.publish("a", KEPT, None).unwrap().position.offset, 6);
    }

    #[test]
    fn a_group_without_history_has_no_offsets_and_leaves_no_trace() {
        let world = world();
        assert_eq!(world.publish("a", None, None).unwrap().position, Position::NONE);
        assert_eq!(world.broker.remembered(), 0);
        assert_eq!(world.sink.delivered.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_key_makes_a_repetition_harmless_for_five_minutes() {
        let world = world();
        let first = world.publish("a", KEPT, Some("k")).unwrap();
        assert_eq!(world.publish("a", KEPT, Some("k")), Ok(Receipt { duplicate: true, ..first }));
        assert_ne!(world.publish("b", KEPT, Some("k")).unwrap().id, first.id);
        assert_ne!(world.publish("a", None, Some("l")).unwrap().id, first.id);
        world.now.fetch_add(300_001, Ordering::Relaxed);
        assert!(!world.publish("a", KEPT, Some("k")).unwrap().duplicate);
        assert_eq!(world.sink.delivered.lock().unwrap().len(), 4);
    }

    #[test]
    fn what_no_worker_could_take_was_not_published() {
        let world = world();
        world.publish("a", KEPT, None).unwrap();
        *world.sink.full.lock().unwrap() = true;
        assert_eq!(world.publish("a", KEPT, Some("k")), Err(Error::Busy { retry_after: RETRY_AFTER }));
        *world.sink.full.lock().unwrap() = false;
        let receipt = world.publish("a", KEPT, Some("k")).unwrap();
        assert_eq!((receipt.position.offset, receipt.duplicate), (2, false));
    }

    #[test]
    fn a_forgotten_group_comes_back_with_another_epoch_and_one_that_is_followed_is_not_forgotten() {
        let world = world();
        let attach = |group: &str| {
            let group = GroupName::parse(group).unwrap();
            let attached = world.broker.attach(&group, KEPT);
            futures_util::FutureExt::now_or_never(attached).unwrap().unwrap()
        };
        let (a, b) = (attach("a"), attach("b"));
        world.broker.detach(&GroupName::parse("a").unwrap());
        world.now.fetch_add(9_000, Ordering::Relaxed);
        world.broker.sweep();
        assert_eq!(world.broker.remembered(), 2);
        world.now.fetch_add(1_001, Ordering::Relaxed);
        world.broker.sweep();
        assert_eq!(world.broker.remembered(), 1);
        assert_eq!(attach("b"), b);
        assert_ne!(attach("a").epoch, a.epoch);
    }

    #[test]
    fn a_change_of_presence_that_no_worker_could_take_is_told_as_lost() {
        let world = world();
        let group = GroupName::parse("a").unwrap();
        let attend = |count| {
            let connections = vec![(Some(UserId::parse("ann").unwrap()), count)];
            world.broker.attend(vec![Attendance { group: group.clone(), live: true, connections }]);
        };
        let told = || std::mem::take(&mut *world.sink.presence.lock().unwrap());
        attend(1);
        assert_eq!(told().iter().map(|change| (change.joined.len(), change.census.version)).collect::<Vec<_>>(), [(1, 1)]);
        *world.sink.full.lock().unwrap() = true;
        attend(0);
        world.broker.sweep();
        *world.sink.full.lock().unwrap() = false;
        world.broker.sweep();
        world.broker.sweep();
        assert_eq!(told(), [PresenceChange::lost()]);
    }

    #[test]
    fn the_number_of_groups_is_bounded() {
        let world = world();
        let results: Vec<_> = (0..2000).map(|n| world.publish(&format!("g{n}"), KEPT, None)).collect();
        assert!(results.contains(&Err(Error::TooManyGroups)));
        assert!(world.broker.remembered() <= 640 + SHARDS);
    }
}
