//! The hub's end of one connection: its outbox and its wire.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Notice, Outbox, OutboxLimits, Slow, outbox::Slot};
use crate::{
    metrics::Metrics,
    protocol::{Code, Encoding, ServerFrame},
};

/// Notices that wait for one session at most: a session takes them at once unless it waits for the broker.
const NOTICES: usize = 256;

/// What a connection's task is called for.
#[derive(Debug, PartialEq, Eq)]
pub enum Attention {
    /// The connection has to end.
    Lost(Code),
    /// A blocked wire has taken all, so that the caller can look anew at what it may do.
    Written,
    /// The session is told these, oldest first.
    Notices(Vec<Notice>),
}

/// What takes the bytes of a connection.
pub trait Wire {
    /// Writes from the outbox what can be written without waiting. Ready when the outbox is empty.
    ///
    /// # Errors
    /// The wire is broken; nothing more can be written.
    fn poll_write(&self, cx: &mut Context<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>>;
}

/// See the [module](self). One thread owns it: the connection's task and the worker's shard.
pub struct Link {
    wire: Rc<dyn Wire>,
    outbox: RefCell<Outbox>,
    encoding: Encoding,
    /// Stands in the shard's list of connections to flush.
    pub(super) marked: Cell<bool>,
    blocked: Cell<bool>,
    lost: Cell<Option<Code>>,
    /// What the session has not been told yet.
    notices: RefCell<Vec<Notice>>,
    attention: Notify,
    /// What the gauge of waiting bytes knows of this outbox.
    gauged: Cell<usize>,
}

impl Link {
    pub(super) fn new(wire: Rc<dyn Wire>, encoding: Encoding) -> Self {
        Self {
            wire,
            outbox: RefCell::new(Outbox::new(encoding)),
            encoding,
            marked: Cell::new(false),
            blocked: Cell::new(false),
            lost: Cell::new(None),
            notices: RefCell::default(),
            attention: Notify::new(),
            gauged: Cell::new(0),
        }
    }

    /// How frames are encoded for this connection.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Queues a frame of control.
    pub fn send(&self, frame: &ServerFrame, now: Instant) {
        self.send_encoded(self.encoding.encode(frame), now);
    }

    /// Queues a frame of control that is encoded already.
    pub fn send_encoded(&self, frame: Bytes, now: Instant) {
        self.outbox.borrow_mut().push_control(frame, now);
    }

    /// Queues an event; `false` if it was dropped, or the connection is lost because of it.
    pub(super) fn offer(&self, frame: &Bytes, slot: Slot, limits: &OutboxLimits, metrics: &Metrics, now: Instant) -> bool {
        if self.lost.get().is_some() {
            return false;
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.push(frame.clone(), slot, limits, now).is_ok() {
            return true;
        }
        if slot.slow == Slow::DropOldest {
            metrics.dropped("slow_consumer", outbox.make_room(frame.len(), limits, now));
            if outbox.push(frame.clone(), slot, limits, now).is_ok() {
                return true;
            }
        }
        let lost = outbox.abandon() + 1;
        drop(outbox);
        metrics.dropped("disconnected", lost);
        self.lose(Code::SlowConsumer);
        false
    }

    /// Queues a frame that concerns every member and is no event. It can't be dropped: events that may be make room for it, and where there are too few the connection ends, and
    /// resumes.
    pub(super) fn tell(&self, frame: &Bytes, limits: &OutboxLimits, metrics: &Metrics, now: Instant) {
        if self.lost.get().is_some() {
            return;
        }
        let fits = || self.waiting() + frame.len() <= limits.bytes;
        if !fits() {
            let dropped = self.outbox.borrow_mut().make_room(frame.len(), limits, now);
            metrics.dropped("slow_consumer", dropped);
        }
        if fits() {
            return self.send_encoded(frame.clone(), now);
        }
        let lost = self.outbox.borrow_mut().abandon();
        metrics.dropped("disconnected", lost);
        self.lose(Code::SlowConsumer);
    }

    /// Leaves a notice for the session. One that takes none of them ends, and asks for what stands when it comes back.
    pub(super) fn notify(&self, notice: Notice) {
        let mut notices = self.notices.borrow_mut();
        // Several in a row that tell to look anew are one.
        if matches!(notice, Notice::Review | Notice::Policies) && notices.last() == Some(&notice) {
            return;
        }
        if notices.len() == NOTICES {
            return self.lose(Code::Overloaded);
        }
        notices.push(notice);
        self.attention.notify_one();
    }

    /// Says that the connection has to end with this code; only the first one counts.
    pub(super) fn lose(&self, code: Code) {
        if self.lost.get().is_none() {
            self.lost.set(Some(code));
            self.attention.notify_one();
        }
    }

    /// Writes what the wire takes now; if that isn't all, the connection's task is called.
    pub fn flush(&self, metrics: &Metrics, now: Instant) {
        // A blocked wire wakes the task that waits for it; another attempt here would only take its place in the queue.
        if self.blocked.get() {
            return self.gauge(metrics);
        }
        match self.poll_wire(&mut Context::from_waker(Waker::noop()), now) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.lose(Code::GoingAway),
            Poll::Pending => {
                self.blocked.set(true);
                self.attention.notify_one();
            }
        }
        self.gauge(metrics);
    }

    /// Writes on behalf of a task that waits until all is written.
    pub fn poll_flush(&self, cx: &mut Context<'_>, metrics: &Metrics, now: Instant) -> Poll<io::Result<()>> {
        let result = self.poll_wire(cx, now);
        self.blocked.set(result.is_pending());
        self.gauge(metrics);
        result
    }

    /// Writes whenever the wire is blocked. Returns when there is something for the connection's task to do. Safe to cancel and to call again.
    pub async fn attend(&self, metrics: &Metrics, clock: impl Fn() -> Instant) -> Attention {
        loop {
            if let Some(code) = self.lost.get() {
                return Attention::Lost(code);
            }
            let notices = self.notices.take();
            if !notices.is_empty() {
                return Attention::Notices(notices);
            }
            let called = self.attention.notified();
            if self.blocked.get() {
                tokio::select! {
                    result = poll_fn(|cx| self.poll_flush(cx, metrics, clock())) => match result {
                        Ok(()) => return Attention::Written,
                        Err(_) => self.lose(Code::GoingAway),
                    },
                    () = called => {}
                }
            } else {
                called.await;
            }
        }
    }

    /// Bytes that wait for the wire.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// Drops what waits, when the connection has ended.
    pub(super) fn discard(&self, metrics: &Metrics) {
        let lost = self.outbox.borrow_mut().clear();
        if lost > 0 {
            metrics.dropped("disconnected", lost);
        }
        self.gauge(metrics);
    }

    fn poll_wire(&self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        let mut outbox = self.outbox.borrow_mut();
        // A blocked wire may hold bytes of its own (TLS), so it is asked even if the outbox is empty.
        if outbox.is_empty() && !self.blocked.get() { Poll::Ready(Ok(())) } else { self.wire.poll_write(cx, &mut outbox, now) }
    }

    fn gauge(&self, metrics: &Metrics) {
        let bytes = self.outbox.borrow().bytes();
        let before = self.gauged.replace(bytes);
        if bytes != before {
            let change = i64::try_from(bytes).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX);
            metrics.outbox_bytes.inc_by(change);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("encoding", &self.encoding).field("lost", &self.lost).finish_non_exhaustive()
    }
}
