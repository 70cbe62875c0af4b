//! Wires: WebSocket and WebTransport, and the connection that ties a wire to a session, an outbox and the hub.

pub mod quic;
pub mod tls;

use std::time::Duration;

/// Bounds that hold before there is a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For TLS, the WebSocket upgrade, CONNECT, or the first frame of a stream; each in total.
    pub handshake_deadline: Duration,
    /// Handshakes that one worker has under way at once; more wait in the kernel.
    pub handshakes: usize,
    /// Connections that one worker holds; more are refused.
    pub connections: usize,
}
