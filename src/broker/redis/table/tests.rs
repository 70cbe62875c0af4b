//! The table as a conversation: one input, the exact outputs.

use super::*;
use crate::protocol::{Census, Content, EventId};

const KEPT: Option<Retention> = Some(Retention { size: 100, ttl: Duration::from_secs(60) });
const LINGER: Duration = Duration::from_secs(5);

struct World {
    table: Table,
    now: Instant,
}

fn name() -> GroupName {
    GroupName::parse("a").unwrap()
}

fn event(offset: u64) -> Event {
    Content::message("x", None).unwrap().placed(EventId::from_number(offset), offset, None)
}

fn position(epoch: u32, offset: u64) -> Position {
    Position { epoch, offset }
}

fn page(epoch: u32, top: u64, start: u64, offsets: impl IntoIterator<Item = u64>) -> Page {
    Page { top: position(epoch, top), start, events: offsets.into_iter().map(|offset| (epoch, event(offset))).collect() }
}

impl World {
    /// A table with one group that is followed from (1, 5).
    fn following() -> Self {
        let mut world = Self::new();
        let mut attached = world.attach(KEPT);
        world.table.subscribed("a");
        let read = world.asked(Why::Place);
        world.table.read(&read, page(1, 5, 0, []));
        assert_eq!(attached.try_recv().unwrap(), Ok(position(1, 5)));
        world
    }

    fn new() -> Self {
        Self { table: Table::new(LINGER), now: Instant::now() }
    }

    fn attach(&mut self, retention: Option<Retention>) -> oneshot::Receiver<Result<Position, Error>> {
        let (answer, outcome) = oneshot::channel();
        self.table.attach(name(), retention, answer, true);
        outcome
    }

    /// The one question that is asked.
    fn asked(&mut self, why: Why) -> Read {
        let read = self.table.reads.pop_front().expect("something is asked");
        assert_eq!((read.why, self.table.reads.len()), (why, 0));
        read
    }

    fn messages(&mut self, epoch: u32, offsets: impl IntoIterator<Item = u64>) {
        offsets.into_iter().for_each(|offset| self.table.message("a", epoch, event(offset)));
    }

    /// What has been delivered, as text.
    fn told(&mut self) -> String {
        let item = |(_, item)| match item {
            Item::Event(epoch, event) => format!("{epoch}:{}", event.offset),
            Item::Gap(Gap { epoch, from: 0, reason, .. }) => format!("gap {epoch} {}", reason.name()),
            Item::Gap(Gap { epoch, from, to, .. }) => format!("gap {epoch}:{from}-{to}"),
            Item::Presence(change) => format!("presence {}", change.census.version),
            Item::Interrupted => "interrupted".to_owned(),
            Item::Resumed => "resumed".to_owned(),
        };
        self.table.deliveries.drain(..).map(item).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn events_in_order_are_delivered_and_repetitions_are_not() {
    let mut world = World::following();
    world.messages(1, [5, 6, 6, 7]);
    assert_eq!((world.told().as_str(), world.table.reads.len()), ("1:6 1:7", 0));
}

#[test]
fn a_hole_is_read_once_and_what_comes_meanwhile_is_held_back() {
    let mut world = World::following();
    world.messages(1, [6, 9]);
    let read = world.asked(Why::Repair);
    assert_eq!(read.seen, position(1, 6));
    world.messages(1, [10, 11]);
    assert_eq!((world.told().as_str(), world.table.reads.len()), ("1:6", 0));
    world.table.read(&read, page(1, 10, 0, 7..=10));
    assert_eq!(world.told(), "1:7 1:8 1:9 1:10 1:11");
    assert_eq!((world.table.repairs, world.table.reads.len()), (1, 0));
}

#[test]
fn what_history_does_not_have_is_a_gap() {
    let mut world = World::following();
    world.messages(1, [12]);
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 12, 9, 10..=12));
    assert_eq!(world.told(), "gap 1:6-9 1:10 1:11 1:12");
    world.messages(1, [20]);
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 20, 20, []));
    assert_eq!(world.told(), "gap 1:13-20");
    world.messages(1, [20, 21]);
    assert_eq!(world.told(), "1:21");
}

#[test]
fn a_long_hole_is_read_in_pages() {
    let mut world = World::following();
    world.messages(1, [100]);
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 100, 0, 6..=50));
    let read = world.asked(Why::Repair);
    assert_eq!(read.seen, position(1, 50));
    world.table.read(&read, page(1, 100, 0, 51..=100));
    assert_eq!(world.told().split(' ').count(), 95);
    assert_eq!(world.table.reads.len(), 0);
}

#[test]
fn however_much_comes_during_a_read_little_is_held() {
    let mut world = World::following();
    world.messages(1, 7..=2000);
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 500, 400, 401..=500));
    assert!(world.told().starts_with("gap 1:6-400 1:401 "));
    // What was held is not enough, so it is read on.
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 2000, 1900, 1901..=2000));
    assert!(world.told().starts_with("gap 1:501-1900 1:1901 "));
    world.messages(1, [2001]);
    assert_eq!((world.told().as_str(), world.table.reads.len()), ("1:2001", 0));
}

#[test]
fn a_new_epoch_is_told_and_read_from_its_beginning() {
    let mut world = World::following();
    world.messages(2, [3]);
    let read = world.asked(Why::Repair);
    world.table.read(&read, Page { top: position(2, 3), ..Page::default() });
    let read = world.asked(Why::Repair);
    assert_eq!(read.seen, position(2, 0));
    world.table.read(&read, page(2, 3, 1, 2..=3));
    assert_eq!(world.told(), "gap 2 epoch gap 2:1-1 2:2 2:3");
    assert_eq!(world.table.reads.len(), 0);
}

#[test]
fn a_late_event_of_an_old_epoch_changes_nothing() {
    let mut world = World::following();
    world.messages(9, [77]);
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 5, 0, []));
    assert_eq!((world.told().as_str(), world.table.reads.len(), world.table.repairs), ("", 0, 0));
    world.messages(1, [6]);
    assert_eq!(world.told(), "1:6");
}

#[test]
fn a_check_finds_what_was_lost_and_not_what_is_newer() {
    let mut world = World::following();
    let reads = world.table.checks(10);
    assert_eq!(reads.len(), 1);
    world.messages(1, [6, 7]);
    world.table.checked(&reads[0], position(1, 6));
    assert_eq!(world.table.reads.len(), 0);
    world.table.checked(&reads[0], position(1, 8));
    world.asked(Why::Repair);
}

#[test]
fn after_an_interruption_positions_are_compared_and_groups_without_history_get_a_gap() {
    let mut world = World::following();
    world.table.unlink();
    assert_eq!(world.attach(KEPT).try_recv().unwrap(), Ok(position(1, 5)));
    world.table.link();
    assert_eq!(world.table.names.pop_back(), Some(Name::Subscribe(name())));
    world.table.subscribed("a");
    let read = world.asked(Why::Resume);
    world.table.read(&read, Page { top: position(1, 6), ..Page::default() });
    world.asked(Why::Repair);

    let mut world = World::new();
    let mut attached = world.attach(None);
    world.table.subscribed("a");
    assert_eq!(attached.try_recv().unwrap(), Ok(Position::NONE));
    world.messages(0, [0]);
    world.table.unlink();
    world.table.link();
    world.table.subscribed("a");
    world.messages(0, [0]);
    assert_eq!(world.told(), "0:0 interrupted gap 0 broker resumed 0:0");
}

/// The link was lost and is back; the question for the group's position is asked.
fn interrupted() -> (World, Read) {
    let mut world = World::following();
    for _ in 0..2 {
        // Another attempt that fails is no news.
        world.table.unlink();
        world.table.link();
    }
    assert_eq!((world.told().as_str(), world.table.interrupted()), ("interrupted", Some(1)));
    world.table.names.clear();
    world.table.subscribed("a");
    let read = world.asked(Why::Resume);
    (world, read)
}

#[test]
fn an_interruption_is_over_when_what_was_missed_has_come() {
    let (mut world, read) = interrupted();
    world.table.read(&read, page(1, 5, 0, []));
    assert_eq!((world.told().as_str(), world.table.interrupted(), world.table.interrupted()), ("resumed", Some(0), None));

    let (mut world, read) = interrupted();
    world.messages(1, [9]);
    let repair = world.asked(Why::Repair);
    world.table.read(&read, page(1, 8, 0, []));
    assert_eq!(world.told(), "");
    world.table.read(&repair, page(1, 9, 6, 7..=9));
    assert_eq!(world.told(), "gap 1:6-6 1:7 1:8 1:9 resumed");
}

#[test]
fn an_interruption_may_end_in_a_new_epoch() {
    let (mut world, read) = interrupted();
    world.table.read(&read, page(2, 1, 0, []));
    let repair = world.asked(Why::Repair);
    // Until it was read, it has moved on.
    world.table.read(&repair, page(3, 1, 0, []));
    let repair = world.asked(Why::Repair);
    assert_eq!(world.told(), "gap 3 epoch");
    world.table.read(&repair, page(3, 1, 0, [1]));
    assert_eq!(world.told(), "3:1 resumed");
}

#[test]
fn an_interruption_is_not_over_before_the_groups_position_is_known() {
    let (mut world, read) = interrupted();
    world.table.failed(read.clone(), world.now);
    world.table.tick(world.now);
    let again = world.asked(Why::Resume);
    world.table.unlink();
    world.table.read(&again, page(1, 5, 0, []));
    assert_eq!(world.told(), "");
    world.table.failed(read, world.now);
    world.table.tick(world.now);
    assert_eq!(world.table.reads.len(), 0);
    world.table.subscribed("a");
    let read = world.asked(Why::Resume);
    world.table.read(&read, page(1, 5, 0, []));
    assert_eq!(world.told(), "resumed");
}

#[test]
fn a_worker_that_is_new_to_a_group_is_told_of_its_interruption() {
    let mut world = World::following();
    world.table.unlink();
    assert_eq!(world.told(), "interrupted");
    assert_eq!(world.attach(KEPT).try_recv().unwrap(), Ok(position(1, 5)));
    assert_eq!(world.told(), "interrupted");
}

#[test]
fn a_group_whose_keeping_has_changed_stays_followed_when_the_link_is_lost() {
    let mut world = World::following();
    let mut attached = world.attach(None);
    assert!(attached.try_recv().is_ok());
    let mut again = world.attach(KEPT);
    let _place = world.asked(Why::Place);
    world.table.unlink();
    assert!(matches!(again.try_recv().unwrap(), Err(Error::Away { .. })));
    world.table.names.clear();
    world.table.link();
    assert_eq!(world.table.names.pop_front(), Some(Name::Subscribe(name())));
    world.table.subscribed("a");
    let read = world.asked(Why::Place);
    world.table.read(&read, page(1, 9, 0, []));
    assert_eq!(world.told(), "interrupted resumed");
    world.messages(1, [10]);
    assert_eq!(world.told(), "1:10");
}

#[test]
fn who_waits_is_told_when_the_link_or_the_read_fails() {
    let mut world = World::new();
    let mut attached = world.attach(KEPT);
    world.table.unlink();
    assert!(matches!(attached.try_recv().unwrap(), Err(Error::Away { .. })));
    assert_eq!(world.table.len(), 0);
    let mut attached = world.attach(KEPT);
    world.table.subscribed("a");
    let read = world.asked(Why::Place);
    world.table.failed(read, world.now);
    assert!(matches!(attached.try_recv().unwrap(), Err(Error::Away { .. })));
    let mut attached = world.attach(KEPT);
    let read = world.asked(Why::Place);
    world.table.read(&read, page(1, 2, 0, []));
    assert_eq!(attached.try_recv().unwrap(), Ok(position(1, 2)));
}

#[test]
fn a_read_for_repair_that_fails_is_repeated() {
    let mut world = World::following();
    world.messages(1, [8]);
    let read = world.asked(Why::Repair);
    world.table.failed(read, world.now);
    world.table.tick(world.now);
    let read = world.asked(Why::Repair);
    world.table.read(&read, page(1, 8, 0, 6..=8));
    assert_eq!(world.told(), "1:6 1:7 1:8");
}

#[test]
fn a_group_that_nobody_follows_lingers_and_then_goes() {
    let mut world = World::following();
    world.table.names.clear();
    world.table.detach(&name(), world.now);
    world.table.tick(world.now + LINGER / 2);
    assert_eq!(world.attach(KEPT).try_recv().unwrap(), Ok(position(1, 5)));
    let _also = world.attach(KEPT);
    world.table.tick(world.now + LINGER);
    assert_eq!(world.table.names.len(), 0);
    world.table.detach(&name(), world.now + LINGER);
    world.table.detach(&name(), world.now + LINGER);
    world.table.tick(world.now + LINGER * 2);
    assert_eq!((world.table.names.pop_front(), world.table.len()), (Some(Name::Unsubscribe(name())), 0));
    assert!(world.table.checks(5).is_empty());
}

/// Follows the group until it is at its place, from the beginning of epoch 1.
fn follow(table: &mut Table, group: &GroupName) {
    let (answer, mut outcome) = oneshot::channel();
    table.attach(group.clone(), KEPT, answer, true);
    table.subscribed(group.as_str());
    let read = table.reads.pop_front().expect("the place is asked for");
    table.read(&read, page(1, 0, 0, []));
    assert_eq!(outcome.try_recv().unwrap(), Ok(position(1, 0)));
}

#[test]
fn groups_that_come_and_go_neither_fill_the_round_nor_take_the_turn_of_others() {
    let World { mut table, mut now } = World::new();
    let named = |name: &str| GroupName::parse(name).unwrap();
    let checked = |table: &mut Table, most| table.checks(most).into_iter().map(|read| read.group).collect::<Vec<_>>();
    for passing in ["p", "q", "p", "p"] {
        follow(&mut table, &named(passing));
        table.detach(&named(passing), now);
        now += LINGER;
        table.tick(now);
    }
    for staying in ["p", "x", "y"] {
        follow(&mut table, &named(staying));
    }
    assert_eq!((table.len(), table.round.len()), (3, 3));
    assert_eq!(checked(&mut table, 2), [named("p"), named("x")]);
    assert_eq!(checked(&mut table, 9), [named("y"), named("p"), named("x")]);
    // Of what has no place yet nothing is left without a link.
    let (answer, _outcome) = oneshot::channel();
    table.attach(named("z"), KEPT, answer, true);
    assert_eq!(table.round.len(), 4);
    table.unlink();
    assert_eq!((table.len(), table.round.len()), (3, 3));
}

#[test]
fn who_comes_and_goes_stands_where_it_happened_among_the_events() {
    let mut world = World::following();
    let presence = |world: &mut World, version| {
        world.table.presence("a", PresenceChange { census: Census { version, ..Census::default() }, ..PresenceChange::default() });
    };
    presence(&mut world, 1);
    world.messages(1, [6]);
    presence(&mut world, 2);
    assert_eq!(world.told(), "presence 1 1:6 presence 2");
    world.messages(1, [9]);
    let read = world.asked(Why::Repair);
    presence(&mut world, 3);
    presence(&mut world, 4);
    world.messages(1, [10]);
    presence(&mut world, 5);
    assert_eq!(world.told(), "");
    world.table.read(&read, page(1, 9, 0, 7..=9));
    assert_eq!(world.told(), "1:7 1:8 1:9 presence 3 presence 4 1:10 presence 5");
}

#[test]
fn who_comes_and_goes_during_a_read_that_holds_nothing_back_is_told_after_it() {
    let mut world = World::following();
    let check = world.table.checks(1).remove(0);
    world.table.checked(&check, position(1, 7));
    let read = world.asked(Why::Repair);
    world.table.presence("a", PresenceChange::lost());
    world.table.read(&read, page(1, 7, 0, 6..=7));
    assert_eq!(world.told(), "1:6 1:7 presence 0");
}
