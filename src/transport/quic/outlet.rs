//! The way out of an endpoint: the packet that is being made, and those that wait for company or for room.
//!
//! Its invariant: packets leave in the order in which they were made, and while one waits for room in the kernel none is made.

use quinn_proto::Transmit;

use super::{batch::Batch, socket::Socket};

/// See the [module](self).
pub(super) struct Outlet {
    /// The packet that is being made.
    buffer: Vec<u8>,
    /// Packets that leave together at the end of the turn, or when there are enough of them.
    batch: Batch,
    /// The packet in the buffer waits for room, and comes after those of the batch.
    blocked: Option<Transmit>,
    /// The kernel had no room the last time.
    stuck: bool,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// There was none to be made.
    Nothing,
    /// It is sent, or will be at the end of the turn.
    Taken,
    /// It waits for room in the kernel, and the next one has to wait until [`Outlet::flush`] says that there is room.
    Stuck,
}

impl Outlet {
    pub(super) fn new(batch: Batch) -> Self {
        Self { buffer: Vec::new(), batch, blocked: None, stuck: false }
    }

    /// Whether no packet may be made now.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Whether something waits for the end of the turn.
    pub(super) fn is_waiting(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Makes a packet and sends it, now or with others.
    pub(super) fn send(&mut self, socket: &Socket, make: impl FnOnce(&mut Vec<u8>) -> Option<Transmit>) -> Sent {
        if self.stuck {
            return Sent::Stuck;
        }
        self.buffer.clear();
        let Some(transmit) = make(&mut self.buffer) else { return Sent::Nothing };
        // A packet that can't go with those before it begins the next batch, or goes by itself.
        let take = |outlet: &mut Self| outlet.batch.take(&transmit, &outlet.buffer[..transmit.size]);
        let taken = take(self) || (self.flush(socket) && take(self));
        if !taken {
            self.blocked = Some(transmit);
        }
        let may_wait = taken && !self.batch.is_full();
        if may_wait || self.flush(socket) { Sent::Taken } else { Sent::Stuck }
    }

    /// Sends what waits; `false`: the kernel has no room for all of it.
    pub(super) fn flush(&mut self, socket: &Socket) -> bool {
        let Self { buffer, batch, blocked, .. } = self;
        let sent = socket.send_batch(batch) && blocked.as_ref().is_none_or(|transmit| socket.send(transmit, buffer));
        if sent {
            *blocked = None;
        }
        self.stuck = !sent;
        sent
    }
}
