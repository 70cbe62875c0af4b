//! WebTransport as a wire: wtransport's sessions on our own QUIC endpoint.
//!
//! Frames of a connection go over the one stream that the client opened first; every later stream carries one replay. wtransport is used for HTTP/3 and the session; bytes are given to quinn
//! directly, so that the frames of an event are shared by all connections until they are encrypted.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future as _,
    io,
    pin::pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::TaskTracker;
use tracing::debug;
use wtransport::{
    Connection, RecvStream, SendStream, VarInt,
    endpoint::{IncomingSessionFuture, SessionRequest},
};

use super::{
    Context, PATH,
    connection::{self, Peer, Received},
    http::guard,
};
use crate::{
    hub::{Outbox, Wire},
    protocol::{Code, Dialect, Encoding, StreamDecoder},
};

/// Frames that go into one write.
const FRAMES_A_WRITE: usize = 32;

/// Bytes that are taken from a stream at once.
const READ: usize = 16 * 1024;

/// Replays that wait for the connection's task; a client may have no more than 16 streams open.
const WAITING_REPLAYS: usize = 16;

/// Replays yield to live events.
const REPLAY_PRIORITY: i32 = -1;

/// The HTTP/3 error code for a request that was given up (RFC 9114, section 8.1).
const H3_REQUEST_CANCELLED: u32 = 0x010c;

/// Accepts sessions until the server leaves.
pub async fn listen(endpoint: quinn::Endpoint, context: Rc<Context>, tasks: TaskTracker) {
    let mut farewell = context.farewell.clone();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = farewell.wait_for(Option::is_some) => return endpoint.set_server_config(None),
        };
        let Some(incoming) = incoming else { return };
        let Ok(permit) = context.handshakes.clone().try_acquire_owned() else {
            context.metrics.handshake("webtransport", "overloaded");
            incoming.refuse();
            continue;
        };
        let inner = tasks.clone();
        let task_context = context.clone();
        tasks.spawn_local(guard(context.clone(), async move { serve(incoming, task_context, inner, permit).await }));
    }
}

async fn serve(incoming: quinn::Incoming, context: Rc<Context>, tasks: TaskTracker, handshake: OwnedSemaphorePermit) {
    let opened = tokio::time::timeout(context.limits.handshake_deadline, Box::pin(open(incoming, &context))).await;
    drop(handshake);
    let (connection, main, permit) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(outcome)) => return context.metrics.handshake("webtransport", outcome),
        Err(_) => return context.metrics.handshake("webtransport", "timeout"),
    };
    context.metrics.handshake("webtransport", "accepted");
    let (replays, waiting) = mpsc::channel(WAITING_REPLAYS);
    let shared = Rc::new(Shared { send: RefCell::new(main.0), replies: RefCell::default() });
    let streams = accept_replays(connection.clone(), shared.clone(), context.clone(), tasks.clone(), replays);
    let peer = WebTransport {
        connection: connection.clone(),
        shared,
        recv: main.1,
        decoder: StreamDecoder::new(context.session.max_frame),
        waiting,
        tasks,
        context: context.clone(),
    };
    // Ends with the connection, because it waits for its streams.
    let _ = futures_util::future::join(connection::run(peer, context, permit), streams).await;
}

type Opened = (Rc<Connection>, (SendStream, RecvStream), OwnedSemaphorePermit);

/// From the first packet to the main stream; the error is the outcome for the metrics.
async fn open(incoming: quinn::Incoming, context: &Context) -> Result<Opened, &'static str> {
    let request: SessionRequest = IncomingSessionFuture::with_quic_incoming(incoming).await.map_err(failed)?;
    if request.path().split('?').next() != Some(PATH) {
        request.not_found().await;
        return Err("not_found");
    }
    if !(context.allows_origin)(request.origin()) {
        request.forbidden().await;
        return Err("origin");
    }
    let Ok(permit) = context.connections.clone().try_acquire_owned() else {
        request.too_many_requests().await;
        return Err("overloaded");
    };
    let connection = Rc::new(request.accept().await.map_err(failed)?);
    let main = connection.accept_bi().await.map_err(failed)?;
    Ok((connection, main, permit))
}

fn failed(error: wtransport::error::ConnectionError) -> &'static str {
    debug!(%error, "WebTransport handshake failed");
    "failed"
}

/// A session with its main stream.
struct WebTransport {
    connection: Rc<Connection>,
    shared: Rc<Shared>,
    recv: RecvStream,
    decoder: StreamDecoder,
    waiting: mpsc::Receiver<(u64, Bytes)>,
    tasks: TaskTracker,
    context: Rc<Context>,
}

/// What the connection's task, the hub and the replays' tasks hold.
struct Shared {
    send: RefCell<SendStream>,
    replies: RefCell<HashMap<u64, (SendStream, Vec<Bytes>)>>,
}

/// Takes every stream after the first, each with a deadline for its first frame.
async fn accept_replays(
    connection: Rc<Connection>,
    shared: Rc<Shared>,
    context: Rc<Context>,
    tasks: TaskTracker,
    replays: mpsc::Sender<(u64, Bytes)>,
) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        let (shared, replays) = (shared.clone(), replays.clone());
        let (deadline, limit) = (context.limits.handshake_deadline, context.session.max_frame);
        let task = async move {
            let mut streams = (send, recv);
            match tokio::time::timeout(deadline, first_frame(&mut streams.1, limit)).await {
                Ok(Some(frame)) => {
                    let id = streams.0.id().into_u64();
                    let _ = streams.0.quic_stream().set_priority(REPLAY_PRIORITY);
                    shared.replies.borrow_mut().insert(id, (streams.0, Vec::new()));
                    let _ = replays.send((id, frame)).await;
                }
                Ok(None) | Err(_) => {
                    let _ = streams.0.reset(VarInt::from_u32(H3_REQUEST_CANCELLED));
                    streams.1.stop(VarInt::from_u32(H3_REQUEST_CANCELLED));
                }
            }
        };
        tasks.spawn_local(guard(context.clone(), task));
    }
}

async fn first_frame(recv: &mut RecvStream, limit: usize) -> Option<Bytes> {
    let mut decoder = StreamDecoder::new(limit);
    loop {
        if let Some(frame) = decoder.next_frame().ok()? {
            return Some(frame);
        }
        let chunk = recv.quic_stream_mut().read_chunk(READ, true).await.ok()??;
        decoder.push(&chunk.bytes);
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
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Received::Frame(frame),
                Ok(None) => {}
                Err(error) => return Received::Undecodable(error),
            }
            tokio::select! {
                chunk = self.recv.quic_stream_mut().read_chunk(READ, true) => match chunk {
                    Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                    Ok(None) | Err(_) => return Received::Closed,
                },
                Some((stream, frame)) = self.waiting.recv() => return Received::Replay(stream, frame),
            }
        }
    }

    fn reply(&self, stream: u64, bytes: Bytes) {
        if let Some((_, reply)) = self.shared.replies.borrow_mut().get_mut(&stream) {
            reply.push(bytes);
        }
    }

    fn end_reply(&self, stream: u64) {
        let Some((mut send, mut reply)) = self.shared.replies.borrow_mut().remove(&stream) else { return };
        let task = async move {
            if send.quic_stream_mut().write_all_chunks(&mut reply).await.is_ok() {
                let _ = send.finish().await;
            }
        };
        self.tasks.spawn_local(guard(self.context.clone(), task));
    }

    fn farewell(&self, _: Code) -> Option<Bytes> {
        None
    }

    async fn close(&mut self, code: Code) {
        // A close abandons what the peer has not got yet, so the stream is finished first; the client ends the session when it has read goodbye.
        let _ = self.shared.send.borrow_mut().quic_stream_mut().finish();
        let closed = tokio::time::timeout(Duration::from_secs(1), self.connection.closed()).await;
        if closed.is_err() {
            self.connection.close(VarInt::from_u32(code.number().into()), code.name().as_bytes());
        }
    }
}

impl Drop for WebTransport {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

impl Wire for Shared {
    fn poll_write(&self, cx: &mut TaskContext<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        let mut send = self.send.borrow_mut();
        loop {
            let mut chunks: [Bytes; FRAMES_A_WRITE] = std::array::from_fn(|_| Bytes::new());
            let filled = match outbox.chunks(&mut chunks, now) {
                0 => return Poll::Ready(Ok(())),
                filled => filled,
            };
            let written = ready!(pin!(send.quic_stream_mut().write_chunks(&mut chunks[..filled])).poll(cx)).map_err(io::Error::other)?;
            outbox.advance(written.bytes);
        }
    }
}
