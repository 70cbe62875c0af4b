//! WebTransport as a wire: sessions on our own QUIC endpoint.
//!
//! Frames of a connection go over the one stream that the client opened first; every later stream carries one replay. One task does all of a connection: it reads its streams, and writes replays
//! whenever there is room. Bytes of events are given to QUIC directly, so that they are shared by all connections until they are encrypted.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http3;
mod session;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn_proto::{StreamId, VarInt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{
    Context, PATH,
    alarm::Alarm,
    connection::{self, Peer, Received},
    http::guard,
    now,
    quic::{self, Connection, Endpoint, Incoming, Read},
};
use crate::{
    hub::{Outbox, Wire},
    protocol::{Code, Dialect, Encoding, StreamDecoder},
};
use http3::code;
use session::{Happened, READ, Session};

/// Frames that go into one write.
const FRAMES_A_WRITE: usize = 32;

/// Answers on streams for replays that wait for room, in bytes. With more no further replay is begun, so that a connection holds at most this and the longest replay, however many it asks for.
const REPLIES_BYTES: usize = 1024 * 1024;

/// Replays yield to live events.
const REPLAY_PRIORITY: i32 = -1;

/// How long a client gets to end the session after it was told why, before the connection is closed.
const GRACE: Duration = Duration::from_secs(1);

/// Accepts sessions until the server leaves.
pub async fn listen(endpoint: Endpoint, context: Rc<Context>, tasks: TaskTracker) {
    let mut farewell = context.farewell.clone();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = farewell.wait_for(Option::is_some) => return endpoint.close_door(),
        };
        // A flood of first packets with false addresses must not take all the room, so under load a client first proves that it is where it says.
        let scarce = context.quic_handshakes.available_permits() <= context.limits.handshakes / 2;
        if scarce && !incoming.remote_address_validated() {
            context.metrics.handshake("webtransport", "retry");
            incoming.retry();
            continue;
        }
        let Ok(permit) = context.quic_handshakes.clone().try_acquire_owned() else {
            context.metrics.handshake("webtransport", "overloaded");
            incoming.refuse();
            continue;
        };
        tasks.spawn_local(guard(context.clone(), serve(incoming, context.clone(), permit)));
    }
}

async fn serve(incoming: Incoming, context: Rc<Context>, handshake: OwnedSemaphorePermit) {
    let opened = tokio::time::timeout(context.limits.handshake_deadline, Box::pin(open(incoming, &context))).await;
    drop(handshake);
    let (peer, permit) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(outcome)) => return context.metrics.handshake("webtransport", outcome),
        Err(_) => return context.metrics.handshake("webtransport", "timeout"),
    };
    context.metrics.handshake("webtransport", "accepted");
    connection::run(peer, context, permit).await;
}

/// From the first packet to the main stream; the error is the outcome for the metrics.
async fn open(incoming: Incoming, context: &Rc<Context>) -> Result<(Box<WebTransport>, OwnedSemaphorePermit), &'static str> {
    let connection = incoming.accept().map_err(|error| {
        debug!(%error, "a client's first packet was refused");
        "failed"
    })?;
    let guarded = Guarded { connection: connection.clone(), code: Cell::new(None) };
    let mut session = Session::new(connection.clone(), context.limits.handshake_deadline);
    let Happened::Asked(request) = poll_fn(|cx| session.poll(cx)).await else { return Err("failed") };
    if request.path != PATH || !request.is_session {
        session.refuse(404).await;
        return Err("not_found");
    }
    if !(context.allows_origin)(request.origin.as_deref()) {
        session.refuse(403).await;
        return Err("origin");
    }
    let Ok(permit) = context.connections.clone().try_acquire_owned() else {
        session.refuse(429).await;
        return Err("overloaded");
    };
    session.accept();
    let Happened::Opened(main, bytes, _) = poll_fn(|cx| session.poll(cx)).await else { return Err("failed") };
    let mut decoder = StreamDecoder::new(context.session.load().max_frame);
    decoder.push(&bytes);
    let peer = WebTransport {
        guarded,
        shared: Rc::new(Shared { connection, main, replies: RefCell::default() }),
        session,
        decoder,
        heard: false,
        waiting: Vec::new(),
        asked: Vec::new(),
        alarm: Alarm::default(),
        max_frame: context.session.load().max_frame,
        patience: context.outbox_age,
    };
    Ok((Box::new(peer), permit))
}

/// Ends the QUIC connection when it is dropped, whatever the reason; with the code of the goodbye if there was one.
struct Guarded {
    connection: Connection,
    code: Cell<Option<Code>>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.connection.is_lost() {
            return;
        }
        match self.code.get() {
            Some(code) => self.connection.close(VarInt::from_u32(code.number().into()), code.name().as_bytes()),
            None => self.connection.close(quic::NO_ERROR, b""),
        }
    }
}

/// A session with its main stream.
struct WebTransport {
    shared: Rc<Shared>,
    session: Session,
    decoder: StreamDecoder,
    /// A frame has come on the main stream: hello comes before all replays, whatever arrives first.
    heard: bool,
    /// Streams for a replay that have not said which.
    waiting: Vec<Waiting>,
    /// Streams for a replay that have said which; they are read to their end, so that the client may open others.
    asked: Vec<StreamId>,
    alarm: Alarm,
    max_frame: usize,
    /// How long an answer on a stream for a replay may stand still.
    patience: Duration,
    guarded: Guarded,
}

/// A stream for a replay.
struct Waiting {
    stream: StreamId,
    decoder: StreamDecoder,
    until: Instant,
}

/// What the connection's task and the hub hold.
struct Shared {
    connection: Connection,
    main: StreamId,
    replies: RefCell<Vec<Reply>>,
}

/// The answer on a stream for a replay, as far as it could not be written yet.
struct Reply {
    stream: StreamId,
    bytes: VecDeque<Bytes>,
    /// How many these are.
    waiting: usize,
    whole: bool,
    /// When the client last took some of it.
    moved: Instant,
}

impl WebTransport {
    fn poll_receive(&mut self, cx: &mut TaskContext<'_>) -> Poll<Received> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    self.heard = true;
                    return Poll::Ready(Received::Frame(frame));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Received::Undecodable(error)),
            }
            match self.shared.connection.read(self.shared.main, READ) {
                Read::Chunk(bytes) => self.decoder.push(&bytes),
                Read::Blocked => break,
                Read::End | Read::Lost => return Poll::Ready(Received::Closed),
            }
        }
        loop {
            match self.session.poll(cx) {
                Poll::Ready(Happened::Opened(stream, bytes, until)) => self.begin_replay(stream, &bytes, until),
                // A second request is refused by the session itself.
                Poll::Ready(Happened::Asked(_)) => {}
                Poll::Ready(Happened::Ended) => return Poll::Ready(Received::Closed),
                Poll::Pending => break,
            }
        }
        let connection = &self.shared.connection;
        self.asked.retain(|stream| !is_over(connection, *stream));
        loop {
            self.shared.write_replies(self.patience);
            let has_room = self.shared.replies_bytes() < REPLIES_BYTES;
            if has_room && let Some((stream, frame)) = self.next_replay() {
                return Poll::Ready(Received::Replay(stream, frame));
            }
            // A stream that may not speak yet is not late.
            let waiting = self.waiting.iter().filter(|_| has_room).map(|waiting| waiting.until);
            let first = waiting.chain(self.shared.first_moved().map(|moved| moved + self.patience)).min();
            if self.alarm.poll(cx, first).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn begin_replay(&mut self, stream: StreamId, bytes: &[u8], until: Instant) {
        let mut decoder = StreamDecoder::new(self.max_frame);
        decoder.push(bytes);
        self.shared.connection.set_priority(stream, REPLAY_PRIORITY);
        self.waiting.push(Waiting { stream, decoder, until });
    }

    /// The first frame of a stream for a replay that has come whole. A stream that can't have one any more is refused.
    fn next_replay(&mut self) -> Option<(u64, Bytes)> {
        let (connection, heard) = (&self.shared.connection, self.heard);
        let mut found = None;
        self.waiting.retain_mut(|waiting| {
            if found.is_some() {
                return true;
            }
            match if heard { waiting.read(connection) } else { Ok(None) } {
                Ok(Some(frame)) => found = Some((waiting.stream, frame)),
                Ok(None) if waiting.until > now() => return true,
                Ok(None) | Err(()) => connection.refuse(waiting.stream, VarInt::from_u32(code::REQUEST_CANCELLED)),
            }
            false
        });
        let (stream, frame) = found?;
        if !is_over(&self.shared.connection, stream) {
            self.asked.push(stream);
        }
        self.shared.replies.borrow_mut().push(Reply { stream, bytes: VecDeque::new(), waiting: 0, whole: false, moved: now() });
        Some((VarInt::from(stream).into_inner(), frame))
    }
}

/// Reads what follows the one frame of a stream, forgets it, and says whether nothing more can come.
fn is_over(connection: &Connection, stream: StreamId) -> bool {
    loop {
        match connection.read(stream, READ) {
            Read::Chunk(_) => {}
            Read::Blocked => return false,
            Read::End | Read::Lost => return true,
        }
    }
}

impl Waiting {
    fn read(&mut self, connection: &Connection) -> Result<Option<Bytes>, ()> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(drop)? {
                return Ok(Some(frame));
            }
            match connection.read(self.stream, READ) {
                Read::Chunk(bytes) => self.decoder.push(&bytes),
                Read::Blocked => return Ok(None),
                Read::End | Read::Lost => return Err(()),
            }
        }
    }
}

impl Peer for WebTransport {
    fn transport(&self) -> &'static str {
        "webtransport"
    }

    fn dialect(&self) -> Option<Dialect> {
        None
    }

    fn encoding(&self, dialect: Dialect) -> Encoding {
        Encoding::stream(dialect)
    }

    fn wire(&self) -> Rc<dyn Wire> {
        self.shared.clone()
    }

    async fn receive(&mut self) -> Received {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn reply(&self, stream: u64, bytes: Bytes) {
        self.shared.reply(stream, |reply| {
            reply.waiting += bytes.len();
            reply.bytes.push_back(bytes);
        });
    }

    fn end_reply(&self, stream: u64) {
        self.shared.reply(stream, |reply| reply.whole = true);
        self.shared.write_replies(self.patience);
    }

    fn farewell(&self, code: Code, _: &str) -> Option<Bytes> {
        self.guarded.code.set(Some(code));
        None
    }

    async fn close(&mut self, code: Code) {
        let Shared { connection, main, .. } = &*self.shared;
        // Some browsers drop what they have not read yet when the session ends, so goodbye has to be there first.
        connection.finish(*main);
        self.session.delivered(*main).await;
        self.session.end(code.number(), code.name());
        let ended = poll_fn(|cx| {
            connection.register(cx);
            if connection.is_lost() { Poll::Ready(()) } else { Poll::Pending }
        });
        // After that, or when the caller loses patience, the connection is closed by being dropped.
        let _ = tokio::time::timeout(GRACE, ended).await;
    }
}

impl Shared {
    fn reply(&self, stream: u64, change: impl FnOnce(&mut Reply)) {
        let mut replies = self.replies.borrow_mut();
        if let Some(reply) = replies.iter_mut().find(|reply| VarInt::from(reply.stream).into_inner() == stream) {
            change(reply);
        }
    }

    /// Bytes of answers that wait for room.
    fn replies_bytes(&self) -> usize {
        self.replies.borrow().iter().map(|reply| reply.waiting).sum()
    }

    /// When the answer that has stood still for the longest time last moved.
    fn first_moved(&self) -> Option<Instant> {
        self.replies.borrow().iter().map(|reply| reply.moved).min()
    }

    /// Writes what there is room for; the task is woken when there is more, and comes here again. An answer that stands still for longer than `patience` is given up: nothing
    /// else bounds it.
    fn write_replies(&self, patience: Duration) {
        let mut replies = self.replies.borrow_mut();
        if replies.is_empty() {
            return;
        }
        let now = now();
        replies.retain_mut(|reply| match reply.write(&self.connection, now) {
            Ok(true) => {
                self.connection.finish(reply.stream);
                false
            }
            Ok(false) if now.saturating_duration_since(reply.moved) < patience => true,
            Ok(false) => {
                self.connection.refuse(reply.stream, VarInt::from_u32(code::REQUEST_CANCELLED));
                false
            }
            Err(quic::Ended) => false,
        });
        if replies.is_empty() {
            *replies = Vec::new();
        }
        self.connection.flush();
    }
}

impl Reply {
    /// Says whether the whole answer is written.
    fn write(&mut self, connection: &Connection, now: Instant) -> Result<bool, quic::Ended> {
        while !self.bytes.is_empty() {
            let chunks = self.bytes.make_contiguous();
            let most = chunks.len().min(FRAMES_A_WRITE);
            let written = connection.write(self.stream, &mut chunks[..most])?;
            if written == 0 {
                return Ok(false);
            }
            self.waiting -= written;
            self.moved = now;
            // Chunks that were taken are empty now, and the last one may have been taken in part.
            while self.bytes.pop_front_if(|chunk| chunk.is_empty()).is_some() {}
        }
        // An answer that is still being made has not stood still.
        self.moved = now;
        Ok(self.whole)
    }
}

impl Wire for Shared {
    fn poll_write(&self, cx: &mut TaskContext<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        let result = self.poll_fill(cx, outbox, now);
        self.connection.flush();
        result
    }
}

impl Shared {
    /// Gives the outbox to QUIC, as far as there is room for it.
    fn poll_fill(&self, cx: &TaskContext<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        loop {
            let mut chunks: [Bytes; FRAMES_A_WRITE] = std::array::from_fn(|_| Bytes::new());
            let filled = match outbox.chunks(&mut chunks, now) {
                0 => return Poll::Ready(Ok(())),
                filled => filled,
            };
            match self.connection.write(self.main, &mut chunks[..filled]).map_err(io::Error::other)? {
                0 => {
                    self.connection.register(cx);
                    return Poll::Pending;
                }
                written => outbox.advance(written),
            }
        }
    }
}
