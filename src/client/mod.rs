//! A client of the protocol, for the command line, tests and load.
//!
//! Speaks to any server of `fanfare.v1`: it knows `protocol` and nothing else of the house, so that it can't share the server's mistakes. It does not reconnect and keeps no positions; who needs that builds it
//! on top. Its invariant: [`Client::recv`] can be cancelled at any time without losing a frame.

mod discovery;
mod trust;
mod websocket;
mod webtransport;

use bytes::Bytes;

pub use discovery::{Discovery, discover};
pub use trust::Trust;
pub use websocket::{Io, open_stream};

use crate::protocol::{ClientFrame, DecodeError, Dialect, Hello, ServerFrame, Subscribe, Welcome};

/// A way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// QUIC, HTTP/3.
    Webtransport,
    /// TCP, with TLS if the URL says so.
    Websocket,
}

/// Which server, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The way.
    pub transport: Transport,
    /// `https://…/fanfare` for WebTransport, `ws://…` or `wss://…` for WebSocket.
    pub url: String,
    /// The encoding of frames.
    pub dialect: Dialect,
    /// Whom to believe.
    pub trust: Trust,
    /// The `Origin` header, if any.
    pub origin: Option<String>,
}

/// Why a connection can't be made or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server can't be reached, or does not want this client.
    #[error("connecting to {url} failed: {reason}")]
    Connect {
        /// Which server.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The connection has ended.
    #[error("connection closed{}: {reason}", .code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Closed {
        /// The transport's close code, if it told one.
        code: Option<u64>,
        /// What it said.
        reason: String,
    },
    /// The server sent what is no frame.
    #[error("the server sent what is no frame: {0}")]
    Frame(#[from] DecodeError),
    /// The server said goodbye instead of welcome.
    #[error("the server refused the session: {code} {sentence}")]
    Refused {
        /// The code of its goodbye.
        code: u64,
        /// Its sentence.
        sentence: String,
    },
    /// Only WebTransport can do this.
    #[error("a WebSocket has no second stream")]
    NoStreams,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    dialect: Dialect,
    /// Whether pings of the server are answered by [`Client::recv`] itself.
    pub answer_pings: bool,
}

#[derive(Debug)]
enum Wire {
    WebSocket(Box<websocket::Socket>),
    WebTransport(Box<webtransport::Session>),
}

impl Client {
    /// Connects, and says nothing yet.
    ///
    /// # Errors
    /// The server can't be reached, its certificate is not trusted, or it refuses the handshake.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let wire = match target.transport {
            Transport::Websocket => Wire::WebSocket(Box::new(websocket::Socket::connect(target).await?)),
            Transport::Webtransport => Wire::WebTransport(Box::new(webtransport::Session::connect(target).await?)),
        };
        Ok(Self { wire, dialect: target.dialect, answer_pings: true })
    }

    /// Connects, says hello and waits for welcome.
    ///
    /// # Errors
    /// As [`Client::connect`], or the server refuses the session.
    pub async fn open(target: &Target, hello: Hello) -> Result<(Self, Welcome), Error> {
        let mut client = Self::connect(target).await?;
        client.send(&ClientFrame::Hello(hello)).await?;
        loop {
            match client.recv().await? {
                ServerFrame::Welcome(welcome) => return Ok((client, welcome)),
                ServerFrame::Goodbye { code, sentence, .. } => return Err(Error::Refused { code, sentence }),
                _ => {}
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), Error> {
        self.send_raw(&frame.encode(self.dialect)).await
    }

    /// Sends bytes as if they were a frame.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send_raw(&mut self, frame: &[u8]) -> Result<(), Error> {
        match &mut self.wire {
            Wire::WebSocket(socket) => socket.send(frame).await,
            Wire::WebTransport(session) => session.send(frame).await,
        }
    }

    /// The next frame. Can be cancelled without losing one.
    ///
    /// # Errors
    /// The connection has ended, or the server sent what is no frame.
    pub async fn recv(&mut self) -> Result<ServerFrame, Error> {
        loop {
            let bytes = self.recv_raw().await?;
            let frame = ServerFrame::decode(self.dialect, &bytes)?;
            match frame {
                ServerFrame::Ping(n) if self.answer_pings => self.send(&ClientFrame::Pong(n)).await?,
                frame => return Ok(frame),
            }
        }
    }

    /// The next frame as bytes. Can be cancelled without losing one.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn recv_raw(&mut self) -> Result<Bytes, Error> {
        match &mut self.wire {
            Wire::WebSocket(socket) => socket.recv().await,
            Wire::WebTransport(session) => session.recv().await,
        }
    }

    /// Subscribes on a stream of its own and returns all that the server answers there.
    ///
    /// # Errors
    /// It is a WebSocket, the connection has ended, or the server sent what is no frame.
    pub async fn replay(&mut self, subscribe: Subscribe) -> Result<Vec<ServerFrame>, Error> {
        let Wire::WebTransport(session) = &mut self.wire else { return Err(Error::NoStreams) };
        let frames = session.replay(&ClientFrame::Subscribe(subscribe).encode(self.dialect)).await?;
        frames.iter().map(|frame| ServerFrame::decode(self.dialect, frame).map_err(Error::from)).collect()
    }

    /// The WebTransport session, for tests that misbehave.
    #[must_use]
    pub fn webtransport(&self) -> Option<&wtransport::Connection> {
        match &self.wire {
            Wire::WebSocket(_) => None,
            Wire::WebTransport(session) => Some(&session.connection),
        }
    }

    /// Says goodbye and ends the connection.
    pub async fn close(mut self) {
        // A connection that can't take the goodbye has ended already.
        let _ = self.send(&ClientFrame::Goodbye).await;
        match self.wire {
            Wire::WebSocket(socket) => socket.close().await,
            Wire::WebTransport(session) => session.close().await,
        }
    }
}
