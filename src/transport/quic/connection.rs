//! A QUIC connection as the rest of the server sees it: streams to read and write, and the news that something has happened.
//!
//! What is written goes out with [`Connection::flush`], so that several events share a packet, and while the connection's state is still in the processor's cache: it is
//! ten kilobytes, and with a thousand connections each visit is paid in cache misses. Whatever else changes what should be sent marks the connection, and the endpoint's
//! driver sends it in its next turn. One task waits for a connection, and is woken for anything that concerns it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    task::{Context, Waker},
};

use bytes::Bytes;
use quinn_proto::{ConnectionHandle, Dir, Event, ReadError, StreamId, VarInt, WriteError};

use super::endpoint::Shared;
use crate::transport::now;

/// See the [module](self). Clones are the same connection.
#[derive(Clone)]
pub struct Connection(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) handle: ConnectionHandle,
    pub(super) proto: RefCell<quinn_proto::Connection>,
    pub(super) endpoint: Rc<Shared>,
    /// Stands in the endpoint's list of connections that have something to send.
    pub(super) marked: Cell<bool>,
    waiting: Cell<Option<Waker>>,
    lost: Cell<bool>,
}

/// What reading from a stream gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Chunk(Bytes),
    /// Nothing now.
    Blocked,
    /// All has been read.
    End,
    /// The peer gave the stream up, or the connection is lost.
    Lost,
}

/// Nothing can be written to the stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct Ended;

impl Connection {
    pub(super) fn new(handle: ConnectionHandle, proto: quinn_proto::Connection, endpoint: Rc<Shared>) -> Self {
        Self(Rc::new(Inner {
            handle,
            proto: RefCell::new(proto),
            endpoint,
            marked: Cell::new(false),
            waiting: Cell::new(None),
            lost: Cell::new(false),
        }))
    }

    /// The task to wake when anything happens; the last one counts.
    pub fn register(&self, cx: &Context<'_>) {
        // A write that is tried outside of the connection's task has nobody to wake.
        if !cx.waker().will_wake(Waker::noop()) {
            self.0.waiting.set(Some(cx.waker().clone()));
        }
    }

    /// Whether the connection has ended: by either side, or because the peer is silent.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    /// Opens a stream that only we write to; `None`: the peer does not allow it, or not yet.
    #[must_use]
    pub fn open_uni(&self) -> Option<StreamId> {
        self.0.proto.borrow_mut().streams().open(Dir::Uni)
    }

    /// The next stream that the peer has opened.
    #[must_use]
    pub fn accept(&self, direction: Dir) -> Option<StreamId> {
        self.0.proto.borrow_mut().streams().accept(direction)
    }

    /// Reads at most `most` bytes of a stream, in order.
    #[must_use]
    pub fn read(&self, stream: StreamId, most: usize) -> Read {
        let mut proto = self.0.proto.borrow_mut();
        let mut recv = proto.recv_stream(stream);
        let Ok(mut chunks) = recv.read(true) else { return Read::Lost };
        let read = match chunks.next(most) {
            Ok(Some(chunk)) => Read::Chunk(chunk.bytes),
            Ok(None) => Read::End,
            // What had come before the connection was lost has been read by now.
            Err(ReadError::Blocked) if self.is_lost() => Read::Lost,
            Err(ReadError::Blocked) => Read::Blocked,
            Err(ReadError::Reset(_)) => Read::Lost,
        };
        let credit = chunks.finalize();
        drop(proto);
        // The peer may send more now.
        if credit.should_transmit() {
            self.mark();
        }
        read
    }

    /// Writes as many bytes of the chunks as there is room for, sharing them; 0: none now, and the task is woken when there is. [`Connection::flush`] has to follow.
    ///
    /// # Errors
    /// The peer does not want the stream any more, or the connection is lost.
    pub fn write(&self, stream: StreamId, chunks: &mut [Bytes]) -> Result<usize, Ended> {
        if self.is_lost() {
            return Err(Ended);
        }
        let written = self.0.proto.borrow_mut().send_stream(stream).write_chunks(chunks);
        match written {
            Ok(written) => Ok(written.bytes),
            Err(WriteError::Blocked) => Ok(0),
            Err(_) => Err(Ended),
        }
    }

    /// Sends what was written.
    pub fn flush(&self) {
        self.0.endpoint.speak(self);
    }

    /// Says that nothing follows on a stream.
    pub fn finish(&self, stream: StreamId) {
        // A stream that the peer has stopped is finished already.
        let _ = self.0.proto.borrow_mut().send_stream(stream).finish();
        self.mark();
    }

    /// Whether the peer has acknowledged all of a finished stream, or does not want it.
    #[must_use]
    pub fn is_delivered(&self, stream: StreamId) -> bool {
        !matches!(self.0.proto.borrow_mut().send_stream(stream).stopped(), Ok(None))
    }

    /// Gives up both directions of a stream.
    pub fn refuse(&self, stream: StreamId, code: VarInt) {
        let mut proto = self.0.proto.borrow_mut();
        // Either may have ended already.
        let _ = proto.recv_stream(stream).stop(code);
        if stream.dir() == Dir::Bi {
            let _ = proto.send_stream(stream).reset(code);
        }
        drop(proto);
        self.mark();
    }

    /// Streams of lower priority wait for those of higher; 0 is what they have from the beginning.
    pub fn set_priority(&self, stream: StreamId, priority: i32) {
        let _ = self.0.proto.borrow_mut().send_stream(stream).set_priority(priority);
    }

    /// Ends the connection at once. What has not been acknowledged is abandoned.
    pub fn close(&self, code: VarInt, reason: &'static [u8]) {
        self.0.proto.borrow_mut().close(now(), code, Bytes::from_static(reason));
        self.0.lost.set(true);
        self.mark();
        self.wake();
    }

    /// Puts the connection into the endpoint's list.
    pub(super) fn mark(&self) {
        if !self.0.marked.replace(true) {
            self.0.endpoint.mark(self.0.handle);
        }
    }

    /// Takes note of what has happened, and wakes the task if it is anything.
    pub(super) fn notice(&self, event: &Event) {
        if let Event::ConnectionLost { .. } = event {
            self.0.lost.set(true);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waiting) = self.0.waiting.take() {
            waiting.wake();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("handle", &self.0.handle).field("lost", &self.0.lost).finish_non_exhaustive()
    }
}
