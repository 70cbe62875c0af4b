//! The bounded queue of encoded frames for one connection.
//!
//! Holds only what the wire has not taken yet. It has no policy: [`Outbox::push`] says that there is no room, and its caller decides what that means.
//! Its invariant: events never take more than the limit in bytes; frames of control (answers, gaps, goodbye) are let in beyond it, because they only come
//! one for each frame that the peer sent, and a connection whose outbox is not empty is not read from.

use std::{collections::VecDeque, io::IoSlice, time::Instant};

use bytes::{Buf as _, Bytes};

use super::OutboxLimits;
use crate::protocol::{Encoding, Gap, GapReason, ServerFrame};

/// See the [module](self).
#[derive(Debug)]
pub struct Outbox {
    encoding: Encoding,
    queue: VecDeque<Queued>,
    bytes: usize,
    /// The wire has taken some of the first frame, but not all.
    started: bool,
    gaps: Vec<Hole>,
}

/// A frame that waits.
#[derive(Debug)]
struct Queued {
    frame: Bytes,
    /// What it is an event of; `None` for control.
    event: Option<Slot>,
    since: Instant,
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
}

/// Events of one group that were dropped and not told yet.
#[derive(Debug, Clone, Copy)]
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
        Self { encoding, queue: VecDeque::new(), bytes: 0, started: false, gaps: Vec::new() }
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
        self.queue.is_empty() && self.gaps.is_empty()
    }

    /// Queues an event.
    ///
    /// # Errors
    /// It would take the outbox over its limit in bytes, or the oldest frame has waited too long. The event is not queued.
    pub fn push(&mut self, frame: Bytes, slot: Slot, limits: &OutboxLimits, now: Instant) -> Result<(), Full> {
        // A single event may be larger than the limit: then it is let in alone.
        let fits = self.queue.is_empty() || self.bytes + frame.len() <= limits.bytes;
        if !fits || self.queue.front().is_some_and(|oldest| now.saturating_duration_since(oldest.since) > limits.age) {
            return Err(Full);
        }
        self.append(frame, Some(slot), now);
        Ok(())
    }

    /// Queues a frame that is no live event and must not be dropped.
    pub fn push_control(&mut self, frame: Bytes, now: Instant) {
        self.append(frame, None, now);
    }

    /// Drops the oldest events that have not been begun, until `len` more bytes fit and the first one is young enough, and remembers the gaps. Returns how
    /// many were dropped.
    ///
    /// # Errors
    /// Even without any event there is no room.
    pub fn make_room(&mut self, len: usize, limits: &OutboxLimits, now: Instant) -> Result<u64, Full> {
        let mut dropped = 0;
        let mut at = usize::from(self.started);
        while let Some(oldest) = self.queue.get(at) {
            if self.bytes + len <= limits.bytes && now.saturating_duration_since(oldest.since) <= limits.age {
                break;
            }
            match oldest.event {
                None => at += 1,
                Some(slot) => {
                    self.bytes -= oldest.frame.len();
                    self.queue.remove(at);
                    self.note_gap(slot);
                    dropped += 1;
                }
            }
        }
        let begun_in_time = self.queue.front().is_none_or(|first| now.saturating_duration_since(first.since) <= limits.age);
        if begun_in_time && (self.queue.is_empty() || self.bytes + len <= limits.bytes) { Ok(dropped) } else { Err(Full) }
    }

    /// Drops everything but a frame that the wire has taken a part of: the connection will only say goodbye. Returns how many events were dropped.
    pub fn abandon(&mut self) -> u64 {
        let started = if self.started { self.queue.pop_front() } else { None };
        let dropped = self.clear();
        if let Some(Queued { frame, since, .. }) = started {
            self.append(frame, None, since);
            self.started = true;
        }
        dropped
    }

    /// Drops everything; the connection has ended. Returns how many events were in it.
    pub fn clear(&mut self) -> u64 {
        let events = self.queue.iter().filter(|queued| queued.event.is_some()).count();
        (self.queue, self.gaps, self.bytes, self.started) = (VecDeque::new(), Vec::new(), 0, false);
        events as u64
    }

    /// Fills `slices` with what is to be written next; returns how many were filled.
    pub fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>], now: Instant) -> usize {
        self.tell_gaps(now);
        slices.iter_mut().zip(&self.queue).map(|(slice, queued)| *slice = IoSlice::new(&queued.frame)).count()
    }

    /// Fills `chunks` with what is to be written next, sharing the bytes; returns how many were filled.
    pub fn chunks(&mut self, chunks: &mut [Bytes], now: Instant) -> usize {
        self.tell_gaps(now);
        chunks.iter_mut().zip(&self.queue).map(|(chunk, queued)| *chunk = queued.frame.clone()).count()
    }

    /// The wire has taken so many bytes.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.queue.front_mut() {
            if written < first.frame.len() {
                self.started |= written > 0;
                first.frame.advance(written);
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

    fn append(&mut self, frame: Bytes, event: Option<Slot>, now: Instant) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { frame, event, since: now });
    }

    fn note_gap(&mut self, Slot { number, epoch, offset }: Slot) {
        match self.gaps.iter_mut().find(|hole| hole.number == number && hole.gap.epoch == epoch) {
            Some(Hole { gap, .. }) => {
                gap.to = offset;
                gap.count = gap.count.map(|count| count + 1);
            }
            None => {
                let gap = Gap { epoch, from: offset, to: offset, count: Some(1), reason: GapReason::Slow };
                self.gaps.push(Hole { number, gap });
            }
        }
    }

    /// Gaps go before all that waits: the events that they stand for were older.
    fn tell_gaps(&mut self, now: Instant) {
        for Hole { number, gap } in std::mem::take(&mut self.gaps).into_iter().rev() {
            let frame = self.encoding.encode(&ServerFrame::Gap { number, gap });
            self.bytes += frame.len();
            self.queue.insert(usize::from(self.started), Queued { frame, event: None, since: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Dialect;

    const LIMITS: OutboxLimits = OutboxLimits { bytes: 100, age: Duration::from_secs(30) };

    fn slot(offset: u64) -> Slot {
        Slot { number: 1, epoch: 9, offset }
    }

    fn frame(len: usize) -> Bytes {
        vec![b'x'; len].into()
    }

    fn drain(outbox: &mut Outbox, now: Instant) -> Vec<Bytes> {
        let mut chunks = vec![Bytes::new(); 100];
        let filled = outbox.chunks(&mut chunks, now);
        chunks.truncate(filled);
        outbox.advance(chunks.iter().map(Bytes::len).sum());
        chunks
    }

    #[test]
    fn both_limits_hold_and_control_passes() {
        let now = Instant::now();
        let mut outbox = Outbox::new(Encoding::MsgpackStream);
        assert_eq!(outbox.push(frame(60), slot(1), &LIMITS, now), Ok(()));
        assert_eq!(outbox.push(frame(41), slot(2), &LIMITS, now), Err(Full));
        assert_eq!(outbox.push(frame(40), slot(2), &LIMITS, now), Ok(()));
        outbox.push_control(frame(50), now);
        assert_eq!(outbox.bytes(), 150);
        drain(&mut outbox, now);
        assert_eq!(outbox.push(frame(1), slot(3), &LIMITS, now), Ok(()));
        assert_eq!(outbox.push(frame(1), slot(4), &LIMITS, now + Duration::from_secs(31)), Err(Full));
        outbox.clear();
        assert_eq!(outbox.push(frame(1000), slot(5), &LIMITS, now), Ok(()));
    }

    #[test]
    fn what_is_dropped_is_told_before_what_follows_and_never_inside_a_frame() {
        let now = Instant::now();
        let mut outbox = Outbox::new(Encoding::MsgpackStream);
        for offset in 1..=4 {
            outbox.push(frame(25), slot(offset), &LIMITS, now).unwrap();
        }
        outbox.advance(5);
        assert_eq!(outbox.make_room(40, &LIMITS, now), Ok(2));
        outbox.push(frame(40), slot(5), &LIMITS, now).unwrap();
        let frames = drain(&mut outbox, now);
        let gap = Gap { epoch: 9, from: 2, to: 3, count: Some(2), reason: GapReason::Slow };
        let told = Encoding::stream(Dialect::Msgpack).encode(&ServerFrame::Gap { number: 1, gap });
        assert_eq!(frames, [frame(20), told, frame(25), frame(40)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_started_frame_that_is_too_old_can_only_be_ended() {
        let now = Instant::now();
        let mut outbox = Outbox::new(Encoding::MsgpackStream);
        outbox.push(frame(50), slot(1), &LIMITS, now).unwrap();
        outbox.advance(1);
        assert_eq!(outbox.make_room(10, &LIMITS, now + Duration::from_secs(31)), Err(Full));
    }

    proptest! {
        /// Bytes are counted right, and events stay within the limit, whatever is pushed and taken.
        #[test]
        fn the_count_of_bytes_is_the_sum_of_the_frames(steps in proptest::collection::vec((0..3u8, 1..60usize), 1..80)) {
            let now = Instant::now();
            let mut outbox = Outbox::new(Encoding::JsonMessage);
            let mut control = 0;
            for (offset, (step, len)) in (1..).zip(steps) {
                match step {
                    0 => {
                        if outbox.push(frame(len), slot(offset), &LIMITS, now).is_err() && outbox.make_room(len, &LIMITS, now).is_ok() {
                            prop_assert_eq!(outbox.push(frame(len), slot(offset), &LIMITS, now), Ok(()));
                        }
                    }
                    1 => { outbox.push_control(frame(len), now); control += len; }
                    _ => outbox.advance(len.min(outbox.bytes())),
                }
                prop_assert_eq!(outbox.bytes(), outbox.queue.iter().map(|queued| queued.frame.len()).sum::<usize>());
                prop_assert!(outbox.bytes() <= LIMITS.bytes + control);
            }
        }
    }
}
