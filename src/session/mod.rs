//! One connection's protocol as a state machine without I/O.

use std::time::Duration;

/// What every session of a server has in common.
#[derive(Debug, Clone)]
pub struct Config {
    /// Longest frame that a client may send, in bytes.
    pub max_frame: usize,
    /// Groups that one session may follow.
    pub max_groups: usize,
    /// Ping a connection from which nothing came for so long; close it after twice the time.
    pub ping_interval: Duration,
    /// From acceptance of the connection to the whole hello.
    pub hello_deadline: Duration,
    /// Name and version of the server, told in welcome.
    pub server: String,
    /// Name of the node, told in welcome.
    pub node: String,
}
