//! WebTransport as a wire: sessions on our own QUIC endpoint.
//!
//! Frames of a connection go over the one stream that the client opened first; every later stream carries one replay. One task does all of a connection: it reads its streams, and writes replays
//! whenever there is room. Bytes of events are given to QUIC directly, so that they are shared by all connections until they are encrypted.

mod http3;
mod session;

use std::{
    cell::RefCell,
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
            _ = farewell.wait_for(Option::is_some) => return endpoint.set_server_config(None),
        };
        let Ok(permit) = context.handshakes.clone().try_acquire_owned() else {
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
    let connection = Guarded(incoming.accept().map_err(|error| {
        debug!(%error, "a client's first packet was refused");
        "failed"
    })?);
    let mut session = Session::new(connection.0.clone(), context.limits.handshake_deadline);
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
    let mut decoder = StreamDecoder::new(context.session.max_frame);
    decoder.push(&bytes);
    let shared = Rc::new(Shared { connection: connection.0.clone(), main, replies: RefCell::default() });
    let max_frame = context.session.max_frame;
    let alarm = Alarm::default();
    let peer = WebTransport { guarded: connection, shared, session, decoder, waiting: Vec::new(), alarm, max_frame };
    Ok((Box::new(peer), permit))
}

/// Ends the QUIC connection when it is dropped, whatever the reason.
struct Guarded(Connection);

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.0.is_lost() {
            self.0.close(quic::NO_ERROR, b"");
        }
    }
}

/// A session with its main stream.
struct WebTransport {
    shared: Rc<Shared>,
    session: Session,
    decoder: StreamDecoder,
    /// Streams for a replay that have not said which.
    waiting: Vec<Waiting>,
    alarm: Alarm,
    max_frame: usize,
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
    whole: bool,
}

impl WebTransport {
    fn poll_receive(&mut self, cx: &mut TaskContext<'_>) -> Poll<Received> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(Received::Frame(frame)),
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
        loop {
            if let Some((stream, frame)) = self.next_replay() {
                return Poll::Ready(Received::Replay(stream, frame));
            }
            let first = self.waiting.iter().map(|waiting| waiting.until).min();
            if self.alarm.poll(cx, first).is_pending() {
                break;
            }
        }
        self.shared.write_replies();
        Poll::Pending
    }

    fn begin_replay(&mut self, stream: StreamId, bytes: &[u8], until: Instant) {
        let mut decoder = StreamDecoder::new(self.max_frame);
        decoder.push(bytes);
        self.shared.connection.set_priority(stream, REPLAY_PRIORITY);
        self.waiting.push(Waiting { stream, decoder, until });
    }

    /// The first frame of a stream for a replay that has come whole. A stream that can't have one any more is refused.
    fn next_replay(&mut self) -> Option<(u64, Bytes)> {
        let connection = &self.shared.connection;
        let mut found = None;
        self.waiting.retain_mut(|waiting| {
            if found.is_some() {
                return true;
            }
            match waiting.read(connection) {
                Ok(Some(frame)) => found = Some((waiting.stream, frame)),
                Ok(None) if waiting.until > now() => return true,
                Ok(None) | Err(()) => connection.refuse(waiting.stream, VarInt::from_u32(code::REQUEST_CANCELLED)),
            }
            false
        });
        let (stream, frame) = found?;
        self.shared.replies.borrow_mut().push(Reply { stream, bytes: VecDeque::new(), whole: false });
        Some((VarInt::from(stream).into_inner(), frame))
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
        self.shared.reply(stream, |reply| reply.bytes.push_back(bytes));
    }

    fn end_reply(&self, stream: u64) {
        self.shared.reply(stream, |reply| reply.whole = true);
        self.shared.write_replies();
    }

    fn farewell(&self, _: Code) -> Option<Bytes> {
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
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            self.guarded.0.close(VarInt::from_u32(code.number().into()), code.name().as_bytes());
        }
    }
}

impl Shared {
    fn reply(&self, stream: u64, change: impl FnOnce(&mut Reply)) {
        let mut replies = self.replies.borrow_mut();
        if let Some(reply) = replies.iter_mut().find(|reply| VarInt::from(reply.stream).into_inner() == stream) {
            change(reply);
        }
    }

    /// Writes what there is room for. The task is woken when there is more, and comes here again.
    fn write_replies(&self) {
        let mut replies = self.replies.borrow_mut();
        if replies.is_empty() {
            return;
        }
        replies.retain_mut(|reply| {
            while !reply.bytes.is_empty() {
                let chunks = reply.bytes.make_contiguous();
                let most = chunks.len().min(FRAMES_A_WRITE);
                match self.connection.write(reply.stream, &mut chunks[..most]) {
                    Ok(0) => return true,
                    // Chunks that were taken are empty now, and the last one may have been taken in part.
                    Ok(_) => while reply.bytes.pop_front_if(|chunk| chunk.is_empty()).is_some() {},
                    Err(quic::Ended) => return false,
                }
            }
            if reply.whole {
                self.connection.finish(reply.stream);
            }
            !reply.whole
        });
        if replies.is_empty() {
            *replies = Vec::new();
        }
        self.connection.flush();
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
