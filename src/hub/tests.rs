//! The hub against real broker and router, with wires that can be made to block.

use std::{
    io,
    sync::Mutex,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::{
    broker::{Deliver as _, Item, Publication, memory},
    protocol::{Code, Content, Dialect, ServerFrame, StreamDecoder},
};

/// Takes `room` bytes, then blocks.
#[derive(Default)]
struct TestWire {
    taken: RefCell<Vec<u8>>,
    room: std::cell::Cell<usize>,
    writes: std::cell::Cell<usize>,
}

impl Wire for TestWire {
    fn poll_write(&self, _: &mut Context<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        self.writes.set(self.writes.get() + 1);
        let mut chunks = vec![Bytes::new(); 64];
        loop {
            let filled = outbox.chunks(&mut chunks, now);
            if filled == 0 {
                return Poll::Ready(Ok(()));
            }
            if self.room.get() == 0 {
                return Poll::Pending;
            }
            let taken = chunks[0].len().min(self.room.get());
            self.taken.borrow_mut().extend_from_slice(&chunks[0][..taken]);
            self.room.set(self.room.get() - taken);
            outbox.advance(taken);
        }
    }
}

struct World {
    hub: Rc<Hub>,
    broker: Arc<memory::Memory>,
    mailbox: RefCell<tokio::sync::mpsc::Receiver<Delivery>>,
    now: Instant,
    clock: Arc<Mutex<u64>>,
}

const KEPT: Option<Retention> = Some(Retention { size: 5, ttl: Duration::from_secs(60) });
const LIMITS: OutboxLimits = OutboxLimits { bytes: 200, age: Duration::from_secs(30) };

fn world() -> World {
    let metrics = Arc::new(Metrics::new());
    let (router, mut mailboxes) = Router::new(1, metrics.clone());
    let router = Arc::new(router);
    let clock = Arc::new(Mutex::new(1_000_000));
    let ticks = clock.clone();
    let broker = Arc::new(memory::Memory::new(memory::Config::default(), router.clone(), Arc::new(move || *ticks.lock().unwrap())));
    let hub = Rc::new(Hub::new(0, router, broker.clone(), LIMITS, metrics));
    World { hub, broker, mailbox: RefCell::new(mailboxes.remove(0)), now: Instant::now(), clock }
}

struct Peer {
    member: Member,
    wire: Rc<TestWire>,
}

fn name(group: &str) -> GroupName {
    GroupName::parse(group).unwrap()
}

impl World {
    fn peer(&self) -> Peer {
        let wire = Rc::new(TestWire::default());
        wire.room.set(usize::MAX / 2);
        Peer { member: self.hub.connect(wire.clone(), Encoding::stream(Dialect::Msgpack)), wire }
    }

    fn publish(&self, group: &str, text: &str) -> usize {
        let content = Content::message(text, None).unwrap();
        let publication = Publication { group: name(group), content, sender: None, key: None, retention: KEPT };
        self.broker.publish(publication).now_or_never().unwrap().unwrap().subscribers
    }

    fn prepare(&self, group: &str, since: Option<Position>, slow: Slow) -> Prepared {
        self.hub.prepare(&name(group), Terms { retention: KEPT, slow, tell_interruptions: true }, since).now_or_never().unwrap().unwrap()
    }

    fn join(&self, peer: &Peer, group: &str) -> Position {
        let prepared = self.prepare(group, None, Slow::Disconnect);
        let position = prepared.position;
        peer.member.join(prepared);
        position
    }

    fn tick(&self) {
        let mut deliveries = Vec::new();
        while let Ok(delivery) = self.mailbox.borrow_mut().try_recv() {
            deliveries.push(delivery);
        }
        self.hub.deliver(&deliveries, self.now);
        self.hub.flush(self.now);
        self.hub.shard.borrow().check();
    }
}

impl Peer {
    fn frames(&self) -> Vec<ServerFrame> {
        let mut decoder = StreamDecoder::new(1 << 20);
        decoder.push(&self.wire.taken.take());
        std::iter::from_fn(|| decoder.next_frame().unwrap()).map(|frame| ServerFrame::decode(Dialect::Msgpack, &frame).unwrap()).collect()
    }

    fn offsets(&self) -> Vec<u64> {
        let offset = |frame| match frame {
            ServerFrame::Event { event, .. } => Some(event.offset),
            _ => None,
        };
        self.frames().into_iter().filter_map(offset).collect()
    }
}

#[test]
fn members_get_events_in_order_with_one_write_a_tick() {
    let world = world();
    let (ann, bob) = (world.peer(), world.peer());
    world.join(&ann, "a");
    world.join(&bob, "a");
    world.join(&bob, "b");
    assert_eq!(world.publish("a", "1"), 2);
    assert_eq!(world.publish("a", "2"), 2);
    assert_eq!(world.publish("c", "3"), 0);
    world.tick();
    assert_eq!(ann.offsets(), [1, 2]);
    assert_eq!(bob.offsets(), [1, 2]);
    assert_eq!(ann.wire.writes.get(), 1);
    bob.member.leave(&name("a"));
    bob.member.leave(&name("a"));
    assert_eq!(world.publish("a", "4"), 1);
    world.tick();
    assert_eq!((ann.offsets(), bob.offsets()), (vec![3], vec![]));
}

#[test]
fn the_last_member_takes_the_group_with_it() {
    let world = world();
    let ann = world.peer();
    world.join(&ann, "a");
    world.join(&ann, "a");
    assert_eq!(world.hub.router.members(&name("a")), 1);
    drop(ann);
    assert_eq!(world.hub.router.members(&name("a")), 0);
    assert_eq!(world.publish("a", "1"), 0);
    world.tick();
    assert_eq!(world.hub.shard.borrow().number(&name("a")), None);
    assert_eq!(world.hub.metrics.members.get(), 0);
}

#[test]
fn what_is_on_its_way_while_somebody_joins_comes_exactly_once() {
    let world = world();
    let (ann, bob) = (world.peer(), world.peer());
    let epoch = world.join(&ann, "a").epoch;
    world.publish("a", "1");
    world.publish("a", "2");
    // Both are in the mailbox, neither has been delivered: the node stands at 0, so both come live.
    let prepared = world.prepare("a", Some(Position { epoch, offset: 0 }), Slow::Disconnect);
    assert_eq!((prepared.position.offset, prepared.missed.events.len()), (0, 0));
    bob.member.join(prepared);
    world.tick();
    assert_eq!((ann.offsets(), bob.offsets()), (vec![1, 2], vec![1, 2]));
}

#[test]
fn the_first_member_of_a_group_does_not_get_what_was_before() {
    let world = world();
    world.publish("a", "1");
    let ann = world.peer();
    assert_eq!(world.join(&ann, "a").offset, 1);
    world.publish("a", "2");
    world.tick();
    assert_eq!(ann.offsets(), [2]);
}

#[test]
fn a_position_gives_what_was_missed_or_the_gap() {
    let world = world();
    let ann = world.peer();
    let epoch = world.join(&ann, "a").epoch;
    (1..=8).for_each(|n| assert_eq!(world.publish("a", &n.to_string()), 1));
    world.tick();
    let missed = |epoch, offset| {
        let missed = world.prepare("a", Some(Position { epoch, offset }), Slow::Disconnect).missed;
        (missed.recovery, missed.gap, missed.events.iter().map(|event| event.offset).collect::<Vec<_>>())
    };
    assert_eq!(missed(epoch, 8), (Recovery::Recovered, None, vec![]));
    assert_eq!(missed(epoch, 6), (Recovery::Recovered, None, vec![7, 8]));
    assert_eq!(missed(epoch, 3), (Recovery::Recovered, None, vec![4, 5, 6, 7, 8]));
    let gap = Gap { epoch, from: 3, to: 3, count: Some(1), reason: GapReason::Expired };
    assert_eq!(missed(epoch, 2), (Recovery::Lost, Some(gap), vec![4, 5, 6, 7, 8]));
    let gap = Gap { epoch, from: 0, to: 0, count: None, reason: GapReason::Epoch };
    assert_eq!(missed(epoch ^ 1, 8), (Recovery::Lost, Some(gap), vec![4, 5, 6, 7, 8]));
    assert_eq!(missed(epoch, 9).0, Recovery::Lost);
    *world.clock.lock().unwrap() += 60_001;
    let gap = Gap { epoch, from: 8, to: 8, count: Some(1), reason: GapReason::Expired };
    assert_eq!(missed(epoch, 7), (Recovery::Lost, Some(gap), vec![]));
    assert_eq!(missed(epoch, 8), (Recovery::Recovered, None, vec![]));
}

#[test]
fn who_has_more_than_is_delivered_here_has_lost_nothing() {
    let world = world();
    let ann = world.peer();
    let epoch = world.join(&ann, "a").epoch;
    world.publish("a", "1");
    // The event waits in the mailbox of this worker; on another one it has been delivered.
    let missed = world.prepare("a", Some(Position { epoch, offset: 1 }), Slow::Disconnect).missed;
    assert_eq!((missed.recovery, missed.gap, missed.events), (Recovery::Recovered, None, vec![]));
}

impl World {
    fn give(&self, group: &str, item: Item) {
        self.hub.deliver(&[Delivery::Item { group: name(group), item }], self.now);
        self.hub.flush(self.now);
    }
}

fn event(offset: u64) -> Arc<Event> {
    Arc::new(Content::message("x", None).unwrap().placed(crate::protocol::EventId::from_number(offset), offset, None))
}

#[test]
fn a_gap_of_the_broker_is_told_to_everybody_once_and_moves_the_group() {
    let world = world();
    let (ann, bob) = (world.peer(), world.peer());
    let epoch = world.join(&ann, "a").epoch;
    world.join(&bob, "a");
    let lost = Gap { epoch, from: 1, to: 3, count: Some(3), reason: GapReason::Broker };
    world.give("a", Item::Gap(lost));
    world.give("a", Item::Gap(lost));
    world.give("a", Item::Event(epoch, event(3)));
    world.give("a", Item::Event(epoch, event(4)));
    for peer in [&ann, &bob] {
        let frames = peer.frames();
        assert!(
            matches!(frames[..], [ServerFrame::Gap { gap, .. }, ServerFrame::Event { ref event, .. }] if gap == lost && event.offset == 4)
        );
    }
    let anew = Gap { epoch: epoch ^ 1, from: 0, to: 0, count: None, reason: GapReason::Epoch };
    world.give("a", Item::Gap(anew));
    world.give("a", Item::Event(epoch, event(5)));
    world.give("a", Item::Event(epoch ^ 1, event(1)));
    let frames = ann.frames();
    assert!(matches!(frames[..], [ServerFrame::Gap { gap, .. }, ServerFrame::Event { ref event, .. }] if gap == anew && event.offset == 1));
    assert_eq!(world.prepare("a", None, Slow::Disconnect).position, Position { epoch: epoch ^ 1, offset: 1 });
}

#[test]
fn a_member_that_can_not_even_be_told_of_gaps_is_ended() {
    let world = world();
    let ann = world.peer();
    world.join(&ann, "a");
    ann.wire.room.set(0);
    for _ in 0..40 {
        world.give("a", Item::Gap(Gap { epoch: 0, from: 0, to: 0, count: None, reason: GapReason::Broker }));
        assert!(world.hub.metrics.outbox_bytes.get() <= 200);
    }
    assert_eq!(ann.member.link().attend(&world.hub.metrics, || world.now).now_or_never(), Some(Attention::Lost(Code::SlowConsumer)));
}

#[test]
fn a_member_that_does_not_read_is_ended_and_the_others_see_nothing() {
    let world = world();
    let (ann, bob) = (world.peer(), world.peer());
    world.join(&ann, "a");
    world.join(&bob, "a");
    ann.wire.room.set(10);
    for n in 0..20 {
        world.publish("a", &n.to_string());
        world.tick();
    }
    assert_eq!(ann.member.link().attend(&world.hub.metrics, || world.now).now_or_never(), Some(Attention::Lost(Code::SlowConsumer)));
    assert_eq!(bob.offsets().len(), 20);
    // What is left is the rest of the one frame that had been begun.
    assert!(ann.member.link().waiting() < 30);
    drop(ann);
    assert_eq!(world.hub.metrics.outbox_bytes.get(), 0);
}

#[test]
fn a_member_that_may_lose_the_oldest_gets_a_gap_and_the_newest() {
    let world = world();
    let ann = world.peer();
    ann.member.join(world.prepare("a", None, Slow::DropOldest));
    ann.wire.room.set(0);
    for n in 0..100 {
        world.publish("a", &n.to_string());
        world.tick();
        assert!(world.hub.metrics.outbox_bytes.get() <= 200);
    }
    ann.wire.room.set(1 << 20);
    assert!(ann.member.link().poll_flush(&mut Context::from_waker(std::task::Waker::noop()), &world.hub.metrics, world.now).is_ready());
    let frames = ann.frames();
    let ServerFrame::Gap { gap, .. } = &frames[0] else { panic!("{frames:?}") };
    assert_eq!((gap.from, gap.count, gap.reason), (1, Some(gap.to), GapReason::Slow));
    let rest: Vec<u64> =
        frames[1..].iter().map(|frame| if let ServerFrame::Event { event, .. } = frame { event.offset } else { 0 }).collect();
    assert_eq!(rest, (gap.to + 1..=100).collect::<Vec<_>>());
}

#[test]
fn a_member_that_may_lose_the_oldest_loses_them_for_what_everybody_is_told() {
    let world = world();
    let ann = world.peer();
    let prepared = world.prepare("a", None, Slow::DropOldest);
    let epoch = prepared.position.epoch;
    ann.member.join(prepared);
    ann.wire.room.set(0);
    for n in 0..100 {
        world.publish("a", &n.to_string());
        world.tick();
    }
    let gap = Gap { epoch, from: 101, to: 103, count: Some(3), reason: GapReason::Broker };
    world.give("a", Item::Gap(gap));
    world.tick();
    assert!(world.hub.metrics.outbox_bytes.get() <= 200);
    ann.wire.room.set(1 << 20);
    assert!(ann.member.link().poll_flush(&mut Context::from_waker(std::task::Waker::noop()), &world.hub.metrics, world.now).is_ready());
    let frames = ann.frames();
    assert!(matches!(frames.last(), Some(ServerFrame::Gap { gap: told, .. }) if *told == gap), "{frames:?}");
    assert!(matches!(frames[frames.len() - 2], ServerFrame::Event { ref event, .. } if event.offset == 100), "{frames:?}");
}

#[test]
fn what_was_queued_before_the_dropped_is_told_before_the_gap() {
    let world = world();
    let ann = world.peer();
    let prepared = world.prepare("a", None, Slow::DropOldest);
    let number = prepared.number();
    ann.member.join(prepared);
    ann.wire.room.set(0);
    let link = ann.member.link();
    for n in 0..5 {
        link.send(&ServerFrame::Pong(n), world.now);
    }
    for n in 0..100 {
        world.publish("a", &n.to_string());
        world.tick();
    }
    ann.wire.room.set(1 << 20);
    assert!(link.poll_flush(&mut Context::from_waker(std::task::Waker::noop()), &world.hub.metrics, world.now).is_ready());
    let frames = ann.frames();
    assert_eq!(frames[..5], (0..5).map(ServerFrame::Pong).collect::<Vec<_>>());
    assert!(matches!(frames[5], ServerFrame::Gap { number: of, gap } if of == number && gap.from == 1), "{frames:?}");
}

#[test]
fn a_group_that_may_lose_events_costs_the_others_none() {
    let world = world();
    let ann = world.peer();
    ann.member.join(world.prepare("strict", None, Slow::Disconnect));
    ann.member.join(world.prepare("lossy", None, Slow::DropOldest));
    ann.wire.room.set(0);
    world.publish("strict", "kept");
    for n in 0..100 {
        world.publish("lossy", &n.to_string());
        world.tick();
    }
    let link = ann.member.link();
    ann.wire.room.set(1 << 20);
    assert!(link.poll_flush(&mut Context::from_waker(std::task::Waker::noop()), &world.hub.metrics, world.now).is_ready());
    let frames = ann.frames();
    let strict = world.prepare("strict", None, Slow::Disconnect).number();
    assert!(matches!(&frames[0], ServerFrame::Event { number, event } if *number == strict && event.offset == 1), "{frames:?}");
    assert!(frames[1..].iter().all(|frame| !matches!(frame, ServerFrame::Gap { number, .. } if *number == strict)));
}

#[test]
fn a_blocked_member_is_written_to_by_its_own_task() {
    let world = world();
    let ann = world.peer();
    world.join(&ann, "a");
    ann.wire.room.set(3);
    world.publish("a", "1");
    world.tick();
    let link = ann.member.link();
    assert_eq!(link.attend(&world.hub.metrics, || world.now).now_or_never(), None);
    assert!(link.waiting() > 0);
    ann.wire.room.set(1000);
    assert_eq!(link.attend(&world.hub.metrics, || world.now).now_or_never(), Some(Attention::Written));
    assert_eq!(link.waiting(), 0);
    assert_eq!(ann.offsets(), [1]);
}

proptest! {
    /// Joins, leaves, ends and publishes in any order give every member what a naive model says.
    #[test]
    fn the_tables_do_what_a_list_of_pairs_would(steps in proptest::collection::vec((0..5u8, 0..4usize, 0..3usize), 1..80)) {
        let world = world();
        let mut peers: Vec<Peer> = (0..4).map(|_| world.peer()).collect();
        let mut model: Vec<(usize, usize)> = Vec::new();
        let groups = ["a", "b", "c"];
        for (step, peer, group) in steps {
            match step {
                0 | 1 => {
                    world.join(&peers[peer], groups[group]);
                    if !model.contains(&(peer, group)) { model.push((peer, group)); }
                }
                2 => {
                    peers[peer].member.leave(&name(groups[group]));
                    model.retain(|&pair| pair != (peer, group));
                }
                3 => {
                    peers[peer] = world.peer();
                    model.retain(|&(member, _)| member != peer);
                }
                _ => {
                    world.publish(groups[group], "x");
                    world.tick();
                    for (at, peer) in peers.iter().enumerate() {
                        prop_assert_eq!(peer.offsets().len(), usize::from(model.contains(&(at, group))));
                    }
                }
            }
            world.hub.shard.borrow().check();
            for (at, group) in groups.iter().enumerate() {
                prop_assert_eq!(world.hub.router.members(&name(group)), model.iter().filter(|&&(_, of)| of == at).count());
            }
        }
    }
}

#[test]
fn members_are_told_of_interruptions_once_and_only_where_the_policy_says_so() {
    let world = world();
    let (ann, bob) = (world.peer(), world.peer());
    world.join(&ann, "a");
    let quiet = Terms { retention: KEPT, slow: Slow::Disconnect, tell_interruptions: false };
    bob.member.join(world.hub.prepare(&name("b"), quiet, None).now_or_never().unwrap().unwrap());
    let deliver = |item: Item| {
        for group in ["a", "b"] {
            world.hub.router.deliver(&name(group), item.clone()).unwrap();
        }
        world.tick();
    };
    let number = world.hub.shard.borrow().number(&name("a")).unwrap();
    deliver(Item::Interrupted);
    deliver(Item::Interrupted);
    assert_eq!((ann.frames(), bob.frames()), (vec![ServerFrame::Interrupted { number }], vec![]));
    assert!(world.prepare("a", None, Slow::Disconnect).interrupted, "who comes now is told, too");
    assert!(!world.hub.prepare(&name("b"), quiet, None).now_or_never().unwrap().unwrap().interrupted);
    deliver(Item::Resumed);
    assert_eq!((ann.frames(), bob.frames()), (vec![ServerFrame::Resumed { number }], vec![]));
    assert!(!world.prepare("a", None, Slow::Disconnect).interrupted);
}
