//! What all connections together have got, while the run goes on.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::Marker;

/// Longest latency that is told apart, in µs: 10 minutes.
const LONGEST_US: u64 = 600_000_000;

/// Shared by everything that runs on the thread.
#[derive(Debug)]
pub(super) struct Tally {
    /// What times count from.
    pub origin: Instant,
    /// The run's own number, in every mark.
    pub run: u16,
    /// Messages published, by stream: of each group one for each publisher.
    pub published: RefCell<Vec<u64>>,
    /// Numbers that the server did not accept, by stream, in order.
    pub refused: RefCell<HashMap<usize, Vec<u64>>>,
    /// How many publishers each group has.
    pub publishers: u32,
    /// Connections that follow, by group.
    pub followers: RefCell<Vec<u64>>,
    /// Deliveries that should come, to those who follow.
    pub due: Cell<u64>,
    /// Deliveries, each event once for each connection.
    pub delivered: Cell<u64>,
    /// Deliveries that were passed over and have not come since.
    pub passed: Cell<u64>,
    /// Marks of this run in groups that the connection does not follow.
    pub strayed: Cell<u64>,
    /// Times that a server said that something will not come.
    pub gaps: Cell<u64>,
    /// Bytes of messages, without what is under them.
    pub bytes: Cell<u64>,
    /// From when a message was due until it was received, in µs.
    latency: RefCell<Histogram<u64>>,
    /// The same since the last sample.
    pub recent: RefCell<Histogram<u64>>,
    /// When the last of them was received, in µs.
    pub last_us: Cell<u64>,
    /// Rings when `delivered` reaches it.
    wake_at: Cell<u64>,
    bell: Notify,
}

/// A histogram of microseconds with three significant digits.
///
/// # Panics
/// Never: the bounds are constant and allowed.
#[must_use]
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds that are allowed")
}

/// Adds to a counter.
pub(super) fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

impl Tally {
    /// Begins.
    #[must_use]
    pub(super) fn new(origin: Instant, run: u16, groups: usize, publishers: u32) -> Rc<Self> {
        let zero = || Cell::new(0);
        Rc::new(Self {
            origin,
            run,
            published: RefCell::new(vec![0; groups * publishers as usize]),
            refused: RefCell::default(),
            publishers,
            followers: RefCell::new(vec![0; groups]),
            due: zero(),
            delivered: zero(),
            passed: zero(),
            strayed: zero(),
            gaps: zero(),
            bytes: zero(),
            latency: RefCell::new(histogram()),
            recent: RefCell::new(histogram()),
            last_us: zero(),
            wake_at: Cell::new(u64::MAX),
            bell: Notify::new(),
        })
    }

    /// Microseconds since the run began.
    #[must_use]
    pub(super) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }

    /// Enters a message that is about to be published; returns its number.
    pub(super) fn publish(&self, stream: usize) -> u64 {
        add(&self.due, self.followers.borrow()[stream / self.publishers as usize]);
        let mut published = self.published.borrow_mut();
        published[stream] += 1;
        published[stream]
    }

    /// Whether this mark was made by this run, and not after now: otherwise the server made it, or changed it on its way.
    pub(super) fn made(&self, marker: &Marker, now_us: u64) -> bool {
        let published = self.published.borrow().get(marker.stream as usize).copied().unwrap_or(0);
        (1..=published).contains(&marker.number) && marker.due_us <= now_us
    }

    /// The server did not accept a message: nobody is to get it, or to wait for it.
    pub(super) fn refuse(&self, stream: usize, number: u64) {
        let mut refused = self.refused.borrow_mut();
        let numbers = refused.entry(stream).or_default();
        if let Err(at) = numbers.binary_search(&number) {
            numbers.insert(at, number);
            self.give_up(self.followers.borrow()[stream / self.publishers as usize]);
        }
    }

    /// Deliveries that are under way.
    pub(super) fn under_way(&self) -> u64 {
        self.due.get().saturating_sub(self.delivered.get())
    }

    /// Takes back deliveries that will not come any more, and lets who waits look again.
    pub(super) fn give_up(&self, deliveries: u64) {
        self.due.set(self.due.get().saturating_sub(deliveries));
        self.bell.notify_one();
    }

    /// Enters a delivery.
    pub(super) fn deliver(&self, due_us: u64, now_us: u64) {
        self.recent.borrow_mut().saturating_record(now_us - due_us.min(now_us));
        self.last_us.set(now_us);
        add(&self.delivered, 1);
        if self.delivered.get() == self.wake_at.get() {
            self.bell.notify_one();
        }
    }

    /// Waits until at most so many deliveries are under way; `false` when none has come for `patience`.
    pub(super) async fn settle(&self, under_way: u64, patience: Duration) -> bool {
        loop {
            let before = self.delivered.get();
            if self.under_way() <= under_way {
                return true;
            }
            self.wake_at.set(self.due.get().saturating_sub(under_way));
            let rung = tokio::time::timeout(patience, self.bell.notified()).await.is_ok();
            if !rung && self.delivered.get() == before {
                return false;
            }
        }
    }

    /// Ends a sample: gives what was recorded since the last one, and adds it to the whole.
    pub(super) fn sample(&self) -> Histogram<u64> {
        let recent = std::mem::replace(&mut *self.recent.borrow_mut(), histogram());
        // Both have the same bounds.
        let _ = self.latency.borrow_mut().add(&recent);
        recent
    }

    /// Latency of the whole run up to now.
    pub(super) fn latency(&self) -> Histogram<u64> {
        self.sample();
        self.latency.borrow().clone()
    }
}
