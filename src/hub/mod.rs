//! The tables group → members of one worker, their outboxes, and delivery.

use std::time::Duration;

/// Bounds of one connection's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes of frames that the wire has not taken yet.
    pub bytes: usize,
    /// How long the oldest of them may wait.
    pub age: Duration,
}
