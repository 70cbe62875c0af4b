//! The task that does an endpoint's I/O.
//!
//! A turn reads what has come, calls the connections whose time has come, and then sends what all marked connections have to say.

use std::{
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use quinn_proto::ConnectionHandle;
use tracing::error;

use super::endpoint::{NO_ERROR, Shared};
use crate::transport::{alarm::Alarm, now};

/// Batches of datagrams that one turn reads; a batch is up to 32 calls' worth of aggregated datagrams.
const BATCHES_A_TURN: usize = 4;

/// Pause after reading has failed: trying at once would only burn the core.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Does the endpoint's I/O; it has to be polled as a task of its own for anything to happen. Dropping it closes all connections.
#[must_use = "nothing happens until the driver is spawned"]
pub struct Driver {
    shared: Rc<Shared>,
    alarm: Alarm,
    /// When to read again after reading has failed: then nothing else wakes us for it.
    read_again: Option<Instant>,
    /// What a batch is read into.
    buffer: Box<[u8]>,
    /// The list that is being worked off; kept for its memory.
    turn: Vec<ConnectionHandle>,
}

impl Driver {
    /// `buffer`: what a batch is read into.
    pub(super) fn new(shared: Rc<Shared>, buffer: Box<[u8]>) -> Self {
        Self { shared, alarm: Alarm::default(), read_again: None, buffer, turn: Vec::new() }
    }

    /// Reads what has come; says whether there may be more.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.read_again = None;
        for _ in 0..BATCHES_A_TURN {
            let shared = &self.shared;
            match shared.socket.poll_receive(cx, &mut self.buffer, |received| shared.handle(received, now)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    error!(%error, "reading the UDP socket failed");
                    self.read_again = Some(now + READ_PAUSE);
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }

    /// Calls the connections whose time has come.
    fn fire(&self, now: Instant) {
        let mut deadlines = self.shared.deadlines.borrow_mut();
        while let Some(at) = deadlines.pop_due(now) {
            let Some(connection) = self.shared.connection(ConnectionHandle(at)) else { continue };
            // It tells its deadline again when it has spoken, and that comes first.
            if connection.0.marked.get() {
                continue;
            }
            let mut proto = connection.0.proto.borrow_mut();
            match proto.poll_timeout() {
                Some(deadline) if deadline <= now => {
                    proto.handle_timeout(now);
                    connection.mark();
                }
                Some(deadline) => deadlines.set(at, deadline),
                None => {}
            }
        }
    }

    /// Lets every marked connection say what it has to say; pending when the kernel has no room.
    fn transmit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some((transmit, contents)) = self.shared.answers.borrow_mut().pop_front() {
            // Nobody relies on it: the client asks again.
            let _ = self.shared.socket.send(&transmit, &contents);
        }
        ready!(self.poll_flush(cx));
        self.turn.append(&mut self.shared.marked.borrow_mut());
        while let Some(handle) = self.turn.pop() {
            // It may have spoken since.
            let marked = self.shared.connection(handle).filter(|connection| connection.0.marked.get());
            if let Some(connection) = marked {
                self.shared.speak(&connection);
                if self.shared.outlet.borrow().is_stuck() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        self.poll_flush(cx)
    }

    /// Sends what has been made already.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.shared.outlet.borrow_mut().flush(&self.shared.socket) {
            ready!(self.shared.socket.poll_room(cx));
        }
        Poll::Ready(())
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        let now = now();
        // While it runs, nobody has to wake it.
        driver.shared.driver.set(None);
        let more = driver.receive(cx, now);
        let mut sent = driver.transmit(cx);
        if sent.is_ready() {
            driver.fire(now);
            sent = driver.transmit(cx);
        }
        driver.shared.driver.set(Some(cx.waker().clone()));
        // Without room in the kernel nothing can go on but reading; the socket wakes us.
        let first = if sent.is_ready() { driver.shared.deadlines.borrow().first() } else { None };
        let due = driver.alarm.poll(cx, first.into_iter().chain(driver.read_again).min()).is_ready();
        let left = sent.is_ready() && !driver.shared.marked.borrow().is_empty();
        if more || left || due {
            // Others of the worker get their turn first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let connections = std::mem::take(&mut *self.shared.connections.borrow_mut());
        for connection in connections.into_iter().flatten() {
            if !connection.is_lost() {
                connection.close(NO_ERROR, b"");
            }
            self.shared.speak(&connection);
        }
        // Without room in the kernel the last words are lost, and clients find out by silence.
        self.shared.outlet.borrow_mut().flush(&self.shared.socket);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
