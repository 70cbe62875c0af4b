//! Delivering to one more member allocates nothing.
//!
//! Method: an allocator that counts, and one event after another to groups of different size on wires that take everything. After the first event has made the outboxes' first
//! room, the number of allocations for an event must not depend on the number of members.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
#![expect(unsafe_code, reason = "an allocator can't be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use fanfare::{
    broker::{Item, memory},
    hub::{Delivery, Hub, Outbox, OutboxLimits, Router, Slow, Terms, Wire},
    metrics::Metrics,
    protocol::{Content, Dialect, Encoding, EventId, GroupName},
};
use futures_util::FutureExt as _;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes everything and keeps nothing.
struct Sink;

impl Wire for Sink {
    fn poll_write(&self, _: &mut Context<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        let mut chunks: [Bytes; 8] = std::array::from_fn(|_| Bytes::new());
        while outbox.chunks(&mut chunks, now) > 0 {
            outbox.advance(outbox.bytes());
        }
        Poll::Ready(Ok(()))
    }
}

/// Allocations that one event costs in a group of so many members.
fn cost(members: usize) -> usize {
    let metrics = Arc::new(Metrics::new());
    let (router, _mailboxes) = Router::new(1, metrics.clone());
    let router = Arc::new(router);
    let broker = Arc::new(memory::Memory::new(memory::Config::default(), router.clone(), Arc::new(|| 0)));
    let hub = Rc::new(Hub::new(0, router, broker, OutboxLimits { bytes: 1 << 20, age: Duration::from_secs(30) }, metrics));
    let group = GroupName::parse("a").unwrap();
    let join = |_| {
        let member = hub.connect(Rc::new(Sink), Encoding::message(Dialect::Msgpack));
        let terms = Terms { retention: None, slow: Slow::Disconnect, tell_interruptions: false };
        member.join(hub.prepare(&group, terms, None).now_or_never().unwrap().unwrap());
        member
    };
    let _members: Vec<_> = (0..members).map(join).collect();
    let deliver = |n: u64| {
        let event = Arc::new(Content::message(&"x".repeat(128), None).unwrap().placed(EventId::from_number(n), n, None));
        let deliveries = [Delivery::Item { group: group.clone(), item: Item::Event(0, event) }];
        let now = Instant::now();
        let before = ALLOCATIONS.get();
        hub.deliver(&deliveries, now);
        hub.flush(now);
        ALLOCATIONS.get() - before
    };
    deliver(1);
    let costs: Vec<usize> = (2..6).map(deliver).collect();
    assert!(costs.windows(2).all(|pair| pair[0] == pair[1]), "{costs:?}");
    costs[0]
}

#[test]
fn one_more_member_costs_no_allocation() {
    let (one, thousand) = (cost(1), cost(1001));
    assert!(one > 0, "encoding has to allocate, or nothing was counted");
    assert_eq!(one, thousand);
}
