//! The hub with a broker in memory, and wires that take everything at once and forget it.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use fanfare::{
    broker::{Item, memory},
    hub::{Delivery, Hub, Member, Outbox, OutboxLimits, Router, Slot, Slow, Terms, Wire},
    metrics::Metrics,
    protocol::{Dialect, Encoding, GroupName},
};
use futures_util::FutureExt as _;

use super::frames::event;

const LIMITS: OutboxLimits = OutboxLimits { bytes: 1 << 20, age: Duration::from_secs(30) };

const ENCODING: Encoding = Encoding::message(Dialect::Msgpack);

/// Open while one of them is joined or left.
const GROUPS: usize = 100_000;

#[divan::bench(args = [1, 100, 10_000])]
fn fan_out(bencher: Bencher<'_, '_>, members: usize) {
    let hub = hub();
    let group = name("g");
    let _members: Vec<Member> = (0..members).map(|_| member(&hub, &group)).collect();
    let (deliveries, now) = ([Delivery::Item { group, item: Item::Event(0, Arc::new(event(0))) }], now());
    bencher.counter(ItemsCount::new(members)).bench_local(|| {
        hub.deliver(&deliveries, now);
        hub.flush(now);
    });
}

#[divan::bench(args = [1, 16, 256])]
fn outbox_push_and_drain(bencher: Bencher<'_, '_>, frames: usize) {
    let frame = ENCODING.encode_event(3, &event(42));
    let (slot, now) = (Slot { number: 3, epoch: 1, offset: 42, slow: Slow::Disconnect }, now());
    let mut outbox = Outbox::new(ENCODING);
    let mut chunks = vec![Bytes::new(); 64];
    bencher.counter(ItemsCount::new(frames)).bench_local(|| {
        for _ in 0..frames {
            outbox.push(frame.clone(), slot, &LIMITS, now).expect("there is room for so few");
        }
        drain(&mut outbox, &mut chunks, now);
    });
}

/// A group that others follow.
#[divan::bench]
fn join_and_leave_a_group_of_100_000(bencher: Bencher<'_, '_>) {
    let (hub, _members) = many_groups();
    let group = name("g_77");
    let newcomer = hub.connect(Rc::new(Hole), ENCODING);
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        join(&hub, &newcomer, &group);
        newcomer.leave(&group);
    });
}

/// A group that nobody else follows, so that it is opened and closed.
#[divan::bench]
fn open_and_close_a_group_beside_100_000(bencher: Bencher<'_, '_>) {
    let (hub, _members) = many_groups();
    let group = name("another");
    let newcomer = hub.connect(Rc::new(Hole), ENCODING);
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        join(&hub, &newcomer, &group);
        newcomer.leave(&group);
    });
}

/// Takes all there is.
struct Hole;

impl Wire for Hole {
    fn poll_write(&self, _: &mut Context<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        drain(outbox, &mut [const { Bytes::new() }; 1], now);
        Poll::Ready(Ok(()))
    }
}

fn drain(outbox: &mut Outbox, chunks: &mut [Bytes], now: Instant) {
    loop {
        let filled = outbox.chunks(chunks, now);
        if filled == 0 {
            return;
        }
        outbox.advance(chunks[..filled].iter().map(Bytes::len).sum());
    }
}

fn hub() -> Rc<Hub> {
    let metrics = Arc::new(Metrics::new());
    let (router, _mailboxes) = Router::new(1, metrics.clone());
    let router = Arc::new(router);
    let broker = Arc::new(memory::Memory::new(memory::Config::default(), router.clone(), Arc::new(|| 1_764_042_123_456)));
    Rc::new(Hub::new(0, router, broker, LIMITS, metrics))
}

fn many_groups() -> (Rc<Hub>, Vec<Member>) {
    let hub = hub();
    let members = (0..GROUPS).map(|nth| member(&hub, &name(&format!("g_{nth}")))).collect();
    (hub, members)
}

fn member(hub: &Rc<Hub>, group: &GroupName) -> Member {
    let member = hub.connect(Rc::new(Hole), ENCODING);
    join(hub, &member, group);
    member
}

fn join(hub: &Rc<Hub>, member: &Member, group: &GroupName) {
    let terms = Terms { retention: None, slow: Slow::Disconnect, tell_interruptions: false };
    let prepared = hub.prepare(group, terms, None).now_or_never().expect("a broker in memory answers at once");
    member.join(prepared.expect("there is room for so many groups"));
}

fn name(text: &str) -> GroupName {
    GroupName::parse(text).expect("a name by the rules")
}

#[expect(clippy::disallowed_methods, reason = "outboxes ask how old their frames are")]
fn now() -> Instant {
    Instant::now()
}
