//! A subscriber: connects, follows one group, and counts what comes until it is told to stop.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval_at},
};

use super::{
    tally::Member,
    websocket::{Scratch, Socket},
};
use crate::{
    client::{Client, Error, Target, Transport},
    protocol::{ClientFrame, Hello, ServerFrame, Subscribe},
};

/// How often a subscriber says that it lives; below the ping interval, so that the server never has to ask.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection that follows its group.
#[derive(Debug)]
pub(super) enum Subscriber {
    /// Over TCP.
    WebSocket(Socket),
    /// Over QUIC.
    WebTransport(Box<Client>),
}

impl Subscriber {
    /// Connects and waits until the group is followed.
    ///
    /// # Errors
    /// The server can't be reached, refuses the session, or refuses the group.
    pub(super) async fn connect(target: &Target, group: &str, scratch: &Scratch) -> Result<Self, Error> {
        let name = concat!("fanfare-load/", env!("CARGO_PKG_VERSION")).to_owned();
        let hello = ClientFrame::Hello(Hello { version: 1, client: Some(name), transport: Some("forced".into()), ..Hello::default() });
        let subscribe = ClientFrame::Subscribe(Subscribe { request: 1, group: group.to_owned(), since: None });
        match target.transport {
            Transport::Websocket => {
                let mut socket = Socket::connect(target, Some("fanfare.v1.msgpack"), scratch.clone()).await?;
                for frame in [hello, subscribe] {
                    socket.send(&frame.encode(target.dialect)).await.map_err(|error| closed(&error))?;
                }
                let mut joined = None;
                while joined.is_none() {
                    let each = |bytes: &[u8]| joined = joined.take().or_else(|| is_joined(target, bytes).transpose());
                    socket.receive(each).await.map_err(|error| closed(&error))?;
                }
                joined.unwrap_or(Ok(()))?;
                Ok(Self::WebSocket(socket))
            }
            Transport::Webtransport => {
                let mut client = Client::connect(target).await?;
                for frame in [hello, subscribe] {
                    client.send(&frame).await?;
                }
                while is_joined(target, &client.recv_raw().await?)?.is_none() {}
                Ok(Self::WebTransport(Box::new(client)))
            }
        }
    }

    /// Receives until the connection ends, and tells how it did; or until the other end of `stop` is dropped, and closes it.
    pub(super) async fn run(mut self, target: Rc<Target>, member: Rc<Member>, mut stop: watch::Receiver<()>) -> Option<Error> {
        let ping = ClientFrame::Ping(1).encode(target.dialect);
        let mut alive = interval_at((super::now() + KEEP_ALIVE).into(), KEEP_ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let went_well = match &mut self {
                Self::WebSocket(socket) => tokio::select! {
                    received = socket.receive(|bytes| member.take(bytes, super::now())) => received.map_err(|error| closed(&error)),
                    _ = alive.tick() => socket.send(&ping).await.map_err(|error| closed(&error)),
                    _ = stop.changed() => break,
                },
                Self::WebTransport(client) => tokio::select! {
                    received = client.recv_raw() => received.map(|bytes| member.take(&bytes, super::now())),
                    _ = alive.tick() => client.send_raw(&ping).await,
                    _ = stop.changed() => break,
                },
            };
            if let Err(error) = went_well {
                return Some(error);
            }
        }
        self.close().await;
        None
    }

    /// A TCP connection ends with its socket; the server would hold a QUIC connection that falls silent until its idle timeout.
    async fn close(self) {
        if let Self::WebTransport(client) = self {
            client.close().await;
        }
    }
}

/// Whether a frame says that the group is followed.
fn is_joined(target: &Target, bytes: &[u8]) -> Result<Option<()>, Error> {
    match ServerFrame::decode(target.dialect, &Bytes::copy_from_slice(bytes))? {
        ServerFrame::Subscribed { request: 1, .. } => Ok(Some(())),
        ServerFrame::Error { code, sentence, .. } | ServerFrame::Goodbye { code, sentence, .. } => Err(Error::Refused { code, sentence }),
        _ => Ok(None),
    }
}

fn closed(error: &std::io::Error) -> Error {
    Error::Closed { code: None, reason: error.to_string() }
}
