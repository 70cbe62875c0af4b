//! What all connections together have got, while the run goes on.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::{
    ledger::Ledger,
    marker::{Marker, Scanner},
};

/// Longest latency that is told apart, in µs: 10 minutes.
const LONGEST_US: u64 = 600_000_000;

/// Shared by everything that runs on the thread.
#[derive(Debug)]
pub(super) struct Tally {
    /// What times count from.
    pub origin: Instant,
    /// The run's own number, in every mark.
    pub run: u16,
    /// Deliveries, each event once for each connection.
    pub delivered: Cell<u64>,
    /// Marks of this run in groups that the connection does not follow.
    pub strayed: Cell<u64>,
    /// From when a message was due until it was received, in µs.
    pub latency: RefCell<Histogram<u64>>,
    scanner: Scanner,
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

impl Tally {
    /// Begins.
    #[must_use]
    pub(super) fn new(origin: Instant, run: u16) -> Rc<Self> {
        Rc::new(Self {
            origin,
            run,
            delivered: Cell::new(0),
            strayed: Cell::new(0),
            latency: RefCell::new(histogram()),
            scanner: Scanner::default(),
            wake_at: Cell::new(u64::MAX),
            bell: Notify::new(),
        })
    }

    /// Microseconds since the run began.
    #[must_use]
    pub(super) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits until so many deliveries have come; `false` when none has come for `patience`.
    pub(super) async fn reach(&self, deliveries: u64, patience: Duration) -> bool {
        self.wake_at.set(deliveries);
        loop {
            let before = self.delivered.get();
            if before >= deliveries {
                return true;
            }
            let rung = tokio::time::timeout(patience, self.bell.notified()).await.is_ok();
            if !rung && self.delivered.get() == before {
                return false;
            }
        }
    }
}

/// One connection's view of its stream.
#[derive(Debug)]
pub(super) struct Member {
    tally: Rc<Tally>,
    stream: u32,
    /// What it has got.
    pub ledger: RefCell<Ledger>,
}

impl Member {
    /// A connection that follows one stream.
    #[must_use]
    pub(super) fn new(tally: Rc<Tally>, stream: u32) -> Self {
        Self { tally, stream, ledger: RefCell::default() }
    }

    /// The stream.
    #[must_use]
    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// Counts the marks in what was received at `now`.
    pub(super) fn take(&self, bytes: &[u8], now: Instant) {
        let tally = &self.tally;
        for marker in tally.scanner.marks(bytes).filter(|marker| marker.run == tally.run) {
            self.mark(marker, now);
        }
    }

    fn mark(&self, marker: Marker, now: Instant) {
        let tally = &self.tally;
        if marker.stream != self.stream {
            tally.strayed.set(tally.strayed.get() + 1);
        } else if self.ledger.borrow_mut().arrived(marker.number) {
            tally.latency.borrow_mut().saturating_record(tally.micros(now).saturating_sub(marker.due_us));
            tally.delivered.set(tally.delivered.get() + 1);
            if tally.delivered.get() == tally.wake_at.get() {
                tally.bell.notify_one();
            }
        }
    }
}
