//! The bounded queue of encoded frames for one connection.
//!
//! Holds only what the wire has not taken yet. It has no policy: [`Outbox::push`] says that there is no room, and its caller decides what that means.
//! Its invariants:
//!
//! - Live events never take more than the limit in bytes. Frames of control (answers, what was missed, gaps, goodbye) are let in beyond it, because they
//!   only come for a frame that the peer sent, and a connection of which more than its bound waits is not read from.
//! - What was dropped is told where it stood. A gap moves the client's position, so what was queued before the gap has to reach the client before it.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, io::IoSlice, time::Instant};

use bytes::{Buf as _, Bytes};

use super::{OutboxLimits, Slow};
use crate::protocol::{Encoding, Gap, GapReason, ServerFrame};

/// See the [module](self).
#[derive(Debug)]
pub struct Outbox {
    encoding: Encoding,
    queue: VecDeque<Queued>,
    bytes: usize,
    /// The wire has taken some of the first frame, but not all.
    started: bool,
    /// Holes that have no frame yet.
    untold: usize,
}

/// A frame that waits.
#[derive(Debug)]
struct Queued {
    /// Empty only for a hole that has not been about to be written since it last grew.
    frame: Bytes,
    what: What,
    since: Instant,
}

#[derive(Debug)]
enum What {
    /// Must not be dropped. It may belong to any group.
    Control,
    Event(Slot),
    /// Boxed because there are few, and every frame that waits would be as large.
    Hole(Box<Hole>),
}

/// Where an event belongs, so that a gap can be told if it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The group's number.
    pub number: u32,
    /// The group's epoch, 0 without history.
    pub epoch: u32,
    /// The event's offset, 0 without history.
    pub offset: u64,
    /// Whether the group's policy lets it be dropped.
    pub slow: Slow,
}

/// Events of one group that were dropped, in the place of the first of them.
#[derive(Debug)]
struct Hole {
    number: u32,
    gap: Gap,
}

/// There is no room for the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    /// An empty outbox for a connection of this encoding.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, queue: VecDeque::new(), bytes: 0, started: false, untold: 0 }
    }

    /// How frames have to be encoded for this connection.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues an event.
    ///
    /// # Errors
    /// It would take the outbox over its limit in bytes, or the oldest frame has waited too long. The event is not queued.
    pub fn push(&mut self, frame: Bytes, slot: Slot, limits: &OutboxLimits, now: Instant) -> Result<(), Full> {
        if !self.fits(frame.len(), limits) || self.oldest().is_some_and(|oldest| oldest.is_overdue(limits, now)) {
            return Err(Full);
        }
        self.append(frame, What::Event(slot), now);
        Ok(())
    }

    /// Queues a frame that is no live event and must not be dropped.
    pub fn push_control(&mut self, frame: Bytes, now: Instant) {
        self.append(frame, What::Control, now);
    }

    /// Drops the oldest events that may be dropped and have not been begun, until `len` more bytes fit and the first one is young enough, and leaves holes
    /// in their place. Returns how many were dropped. There may still be no room: that is for [`Outbox::push`] to say.
    pub fn make_room(&mut self, len: usize, limits: &OutboxLimits, now: Instant) -> u64 {
        let mut dropped = 0;
        let mut at = usize::from(self.started);
        while let Some(queued) = self.queue.get(at) {
            match queued.what {
                What::Hole(_) => at += 1,
                _ if self.fits(len, limits) && !queued.is_overdue(limits, now) => break,
                What::Event(slot) if slot.slow == Slow::DropOldest => {
                    at = self.drop_event(at, slot, now);
                    dropped += 1;
                }
                What::Event(_) | What::Control => at += 1,
            }
        }
        dropped
    }

    /// Drops everything but a frame that the wire has taken a part of: the connection will only say goodbye. Returns how many events were dropped.
    pub fn abandon(&mut self) -> u64 {
        let started = if self.started { self.queue.pop_front() } else { None };
        let dropped = self.clear();
        if let Some(Queued { frame, since, .. }) = started {
            self.append(frame, What::Control, since);
            self.started = true;
        }
        dropped
    }

    /// Drops everything; the connection has ended. Returns how many events were in it.
    pub fn clear(&mut self) -> u64 {
        let events = self.queue.iter().filter(|queued| matches!(queued.what, What::Event(_))).count();
        *self = Self::new(self.encoding);
        events as u64
    }

    /// Fills `slices` with what is to be written next; returns how many were filled.
    pub fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>], now: Instant) -> usize {
        self.tell_holes(slices.len(), now);
        slices.iter_mut().zip(&self.queue).map(|(slice, queued)| *slice = IoSlice::new(&queued.frame)).count()
    }

    /// Fills `chunks` with what is to be written next, sharing the bytes; returns how many were filled.
    pub fn chunks(&mut self, chunks: &mut [Bytes], now: Instant) -> usize {
        self.tell_holes(chunks.len(), now);
        chunks.iter_mut().zip(&self.queue).map(|(chunk, queued)| *chunk = queued.frame.clone()).count()
    }

    /// The wire has taken so many bytes of what it was given last.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.queue.front_mut() {
            // A hole without a frame has not been given to the wire.
            if written < first.frame.len() || first.frame.is_empty() {
                if written > 0 {
                    self.started = true;
                    first.settle();
                    first.frame.advance(written);
                }
                return;
            }
            written -= first.frame.len();
            self.started = false;
            self.queue.pop_front();
        }
        // Memory that a burst has taken is given back, so that an idle connection stays small.
        if self.queue.capacity() > 4 {
            self.queue = VecDeque::new();
        }
    }

    fn append(&mut self, frame: Bytes, what: What, now: Instant) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { frame, what, since: now });
    }

    /// A single event may be larger than the limit: then it is let in alone.
    fn fits(&self, len: usize, limits: &OutboxLimits) -> bool {
        self.bytes == 0 || self.bytes + len <= limits.bytes
    }

    /// The frame that has waited longest. A hole is only as old as the wire's next turn.
    fn oldest(&self) -> Option<&Queued> {
        self.queue.iter().find(|queued| !matches!(queued.what, What::Hole(_)))
    }

    /// Puts a hole in the place of the event, or makes the hole before it larger. Returns where the next frame is.
    fn drop_event(&mut self, at: usize, slot: Slot, now: Instant) -> usize {
        self.bytes -= self.queue[at].frame.len();
        let Some(before) = self.hole_before(at, slot) else {
            self.queue[at] = Queued { frame: Bytes::new(), what: What::Hole(Box::new(Hole::of(slot))), since: now };
            self.untold += 1;
            return at + 1;
        };
        self.queue.remove(at);
        self.widen(before, slot);
        at
    }

    /// The hole that an event at `at` continues: of the same group and epoch, and nothing that may be of that group stands between.
    fn hole_before(&self, at: usize, slot: Slot) -> Option<usize> {
        for before in (usize::from(self.started)..at).rev() {
            match &self.queue[before].what {
                What::Control => return None,
                What::Event(other) if other.number == slot.number => return None,
                What::Hole(hole) if hole.number == slot.number => return (hole.gap.epoch == slot.epoch).then_some(before),
                What::Event(_) | What::Hole(_) => {}
            }
        }
        None
    }

    fn widen(&mut self, at: usize, slot: Slot) {
        let Queued { frame, what: What::Hole(hole), .. } = &mut self.queue[at] else { return };
        hole.widen(slot);
        self.untold += usize::from(!frame.is_empty());
        self.bytes -= std::mem::take(frame).len();
    }

    /// Makes frames of the holes among the first `most` that wait.
    fn tell_holes(&mut self, most: usize, now: Instant) {
        if self.untold == 0 {
            return;
        }
        let mut at = 0;
        while let Some(queued) = self.queue.get_mut(at).filter(|_| at < most) {
            if let (What::Hole(hole), true) = (&queued.what, queued.frame.is_empty()) {
                self.untold -= 1;
                let Some(frame) = self.encoding.encode(&ServerFrame::Gap { number: hole.number, gap: hole.gap }) else {
                    // A dialect without gaps: what was dropped is dropped.
                    self.queue.remove(at);
                    continue;
                };
                self.bytes += frame.len();
                (queued.frame, queued.since) = (frame, now);
            }
            at += 1;
        }
    }
}

impl Queued {
    fn is_overdue(&self, limits: &OutboxLimits, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > limits.age
    }

    /// The wire has taken a part of it: a hole can't grow any more.
    fn settle(&mut self) {
        if matches!(self.what, What::Hole(_)) {
            self.what = What::Control;
        }
    }
}

impl Hole {
    fn of(Slot { number, epoch, offset, .. }: Slot) -> Self {
        Self { number, gap: Gap { epoch, from: offset, to: offset, count: Some(1), reason: GapReason::Slow } }
    }

    fn widen(&mut self, slot: Slot) {
        self.gap.to = slot.offset;
        self.gap.count = self.gap.count.map(|count| count + 1);
    }
}
