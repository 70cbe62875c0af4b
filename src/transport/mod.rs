//! Wires: WebSocket and WebTransport, and the connection that ties a wire to a session, an outbox and the hub.
//!
//! `connection` is the only place that knows all four; `websocket` and `webtransport` know only their wire. Its invariant: whatever a peer does before its hello has a total
//! deadline, and whatever it does after that is bounded by its session and its outbox.

mod alarm;
pub mod connection;
pub mod http;
pub mod quic;
mod stream;
pub mod tls;
mod websocket;
pub mod webtransport;

use std::{cell::RefCell, fmt, rc::Rc, sync::Arc, time::Duration, time::Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use crate::{
    broker::{Broker, Users},
    hub::Hub,
    metrics::Metrics,
    policy,
    presence::Presence,
    protocol::Code,
    session::{self, Identity},
};

/// The path of both transports.
pub const PATH: &str = "/fanfare";

/// Bounds that hold before there is a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For TLS, the WebSocket upgrade, CONNECT, or the first frame of a stream; each in total.
    pub handshake_deadline: Duration,
    /// How long one TCP connection may carry HTTP requests; then it is asked to end, and ended.
    pub http_lifetime: Duration,
    /// Handshakes that one worker has under way at once; more wait in the kernel.
    pub handshakes: usize,
    /// Connections that one worker holds; more are refused.
    pub connections: usize,
}

/// Finds out who the holder of a token is.
pub type Authenticate = Arc<dyn Fn(Option<&str>) -> Result<Identity, Code> + Send + Sync>;

/// Says whether a page of this origin may connect; `None`: the client is no browser.
pub type AllowsOrigin = Arc<dyn Fn(Option<&str>) -> bool + Send + Sync>;

/// How the connections of a server are told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Clients come back after a time between 0 and this.
    pub spread: Duration,
    /// Connections that are not done by then are cut off.
    pub deadline: Instant,
}

/// What the connections of one worker have in common.
pub struct Context {
    /// The worker's hub.
    pub hub: Rc<Hub>,
    /// Where events go.
    pub broker: Arc<dyn Broker>,
    /// What stands for users.
    pub users: Arc<dyn Users>,
    /// What is allowed.
    pub policies: policy::InForce,
    /// Who is where.
    pub presence: Arc<Presence>,
    /// Who is who.
    pub authenticate: Authenticate,
    /// Which pages may connect.
    pub allows_origin: AllowsOrigin,
    /// What sessions have in common.
    pub session: Arc<ArcSwap<session::Config>>,
    /// Bounds before there is a session.
    pub limits: Limits,
    /// Bytes of events that may wait for one connection.
    pub outbox_bytes: usize,
    /// How long they may.
    pub outbox_age: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tells when to leave.
    pub farewell: watch::Receiver<Option<Farewell>>,
    /// Room for handshakes over TCP.
    pub handshakes: Arc<Semaphore>,
    /// Room for handshakes over QUIC, of its own, because the sender of a UDP packet may be anybody.
    pub quic_handshakes: Arc<Semaphore>,
    /// Room for connections.
    pub connections: Arc<Semaphore>,
    /// Where sockets are read into: one buffer a worker instead of one a connection.
    pub scratch: RefCell<Box<[u8]>>,
    /// Numbers the worker's connections; the first part of a session id.
    pub ids: SessionIds,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("session", &self.session).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Gives out the session ids of one worker.
#[derive(Debug)]
pub struct SessionIds {
    prefix: String,
    next: std::cell::Cell<u64>,
}

impl SessionIds {
    /// Ids for a worker of a node. `start` tells this life of the node from others.
    #[must_use]
    pub fn new(node: &str, start: u64, worker: usize) -> Self {
        Self { prefix: format!("{node}-{start:x}-{worker}"), next: std::cell::Cell::new(1) }
    }

    fn next(&self) -> String {
        let n = self.next.get();
        self.next.set(n + 1);
        format!("{}-{n:x}", self.prefix)
    }
}

/// The one place of this room that reads the clock; tests can pause it.
#[expect(clippy::disallowed_methods, reason = "the shell's one clock; sessions, hub and outboxes are given it")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
