//! WebSocket as a wire (RFC 6455).

mod codec;
mod handshake;

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use codec::{Decoder, Message, Violation};
pub(super) use handshake::{Handshake, Refusal};

use super::{
    Context,
    connection::{Peer, Received},
    stream::Stream,
};
use crate::{
    hub::{Outbox, Wire},
    protocol::{Code, DecodeError, Dialect, Encoding},
};

/// Frames that go into one write. Linux takes 1,024; more than 64 of ours are over what a socket buffer takes at once.
const FRAMES_A_WRITE: usize = 64;

/// A WebSocket after its handshake.
pub(super) struct WebSocket {
    shared: Rc<Shared>,
    decoder: Decoder,
    dialect: Option<Dialect>,
    transport: &'static str,
    context: Rc<Context>,
}

/// What the connection's task and the hub both hold.
struct Shared {
    stream: RefCell<Stream>,
}

impl WebSocket {
    /// A WebSocket on a stream from which `read` has been read already.
    pub(super) fn new(stream: Stream, read: &[u8], dialect: Option<Dialect>, context: Rc<Context>) -> Self {
        let mut decoder = Decoder::new(context.session.load().max_frame);
        decoder.push(read);
        let transport = stream.transport();
        Self { shared: Rc::new(Shared { stream: RefCell::new(stream) }), decoder, dialect, transport, context }
    }

    /// Reads what has arrived into the decoder; 0 at the end of the stream.
    async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut scratch = self.context.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *self.shared.stream.borrow_mut()).poll_read(cx, &mut buffer))?;
            self.decoder.push(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    fn received(&self, message: Message) -> Received {
        match (message, self.dialect) {
            (Message::Text(frame), None | Some(Dialect::Json)) | (Message::Binary(frame), None | Some(Dialect::Msgpack)) => {
                Received::Frame(frame)
            }
            (Message::Text(_), Some(Dialect::Msgpack)) => {
                Received::Undecodable(DecodeError::Malformed("a text message in the dialect msgpack"))
            }
            (Message::Binary(_), Some(Dialect::Json)) => {
                Received::Undecodable(DecodeError::Malformed("a binary message in the dialect json"))
            }
            (Message::Ping(payload), _) => Received::Alive(Some(codec::pong(&payload))),
            (Message::Pong, _) => Received::Alive(None),
            (Message::Close, _) => Received::Closed,
        }
    }
}

impl Peer for WebSocket {
    fn transport(&self) -> &'static str {
        self.transport
    }

    fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    fn encoding(&self, dialect: Dialect) -> Encoding {
        Encoding::message(dialect)
    }

    fn wire(&self) -> Rc<dyn Wire> {
        self.shared.clone()
    }

    async fn receive(&mut self) -> Received {
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => return self.received(message),
                Ok(None) => {}
                Err(Violation::TooLarge(limit)) => return Received::Undecodable(DecodeError::TooLarge { limit }),
                Err(Violation::Protocol) => return Received::Broken(Code::WebsocketViolation),
            }
            match self.read().await {
                Ok(0) | Err(_) => return Received::Closed,
                Ok(_) => {}
            }
        }
    }

    fn farewell(&self, code: Code, reason: &str) -> Option<Bytes> {
        Some(codec::close(code.number(), reason))
    }

    async fn close(&mut self, _: Code) {
        let _ = poll_fn(|cx| Pin::new(&mut *self.shared.stream.borrow_mut()).poll_shutdown(cx)).await;
        // Until the peer has closed too: closing a socket with unread bytes resets it, and the goodbye would be lost.
        loop {
            match self.read().await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.decoder = Decoder::new(0),
            }
        }
    }
}

impl Wire for Shared {
    fn poll_write(&self, cx: &mut TaskContext<'_>, outbox: &mut Outbox, now: Instant) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        loop {
            let written = {
                let mut slices = [IoSlice::new(&[]); FRAMES_A_WRITE];
                match outbox.slices(&mut slices, now) {
                    // TLS may hold records that the socket did not take.
                    0 => return Pin::new(&mut *stream).poll_flush(cx),
                    // The usual case when it is quiet, and for sockets `send` costs less than `writev`.
                    1 => ready!(Pin::new(&mut *stream).poll_write(cx, &slices[0]))?,
                    filled => ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..filled]))?,
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(written);
        }
    }
}
