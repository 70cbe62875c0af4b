//! What goes in, what is dropped, and the exact frames that come out.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::protocol::Dialect;

const LIMITS: OutboxLimits = OutboxLimits { bytes: 100, age: Duration::from_secs(30) };

fn slot(offset: u64) -> Slot {
    Slot { number: 1, epoch: 9, offset, slow: Slow::DropOldest }
}

fn told(number: u32, from: u64, to: u64) -> Bytes {
    let gap = Gap { epoch: 9, from, to, count: Some(to + 1 - from), reason: GapReason::Slow };
    Encoding::stream(Dialect::Msgpack).encode(&ServerFrame::Gap { number, gap }).unwrap()
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
    assert_eq!(outbox.make_room(40, &LIMITS, now), 2);
    outbox.push(frame(40), slot(5), &LIMITS, now).unwrap();
    let frames = drain(&mut outbox, now);
    assert_eq!(frames, [frame(20), told(1, 2, 3), frame(25), frame(40)]);
    assert!(outbox.is_empty());
}

#[test]
fn what_precedes_the_dropped_is_told_before_the_gap() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    let control = |outbox: &mut Outbox, len| outbox.push_control(frame(len), now);
    control(&mut outbox, 11);
    outbox.push(frame(40), slot(1), &LIMITS, now).unwrap();
    outbox.push(frame(40), slot(2), &LIMITS, now).unwrap();
    control(&mut outbox, 12);
    assert_eq!(outbox.make_room(40, &LIMITS, now), 2);
    outbox.push(frame(40), slot(3), &LIMITS, now).unwrap();
    control(&mut outbox, 13);
    // What stands between two holes may be of the group, so they are two gaps.
    assert_eq!(outbox.make_room(50, &LIMITS, now), 1);
    outbox.push(frame(50), slot(4), &LIMITS, now).unwrap();
    assert_eq!(outbox.bytes(), 11 + 12 + 13 + 50);
    let frames = drain(&mut outbox, now);
    assert_eq!(frames, [frame(11), told(1, 1, 2), frame(12), told(1, 3, 3), frame(13), frame(50)]);
    assert_eq!((outbox.bytes(), outbox.is_empty()), (0, true));
}

#[test]
fn a_hole_grows_in_its_place_even_when_its_frame_was_made() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    let other = |offset| Slot { number: 2, ..slot(offset) };
    for offset in 1..=50 {
        for slot in [slot(offset), other(offset)] {
            if outbox.push(frame(30), slot, &LIMITS, now).is_err() {
                assert!(outbox.make_room(30, &LIMITS, now) > 0);
                outbox.push(frame(30), slot, &LIMITS, now).unwrap();
            }
        }
        // The wire looks, and takes nothing.
        outbox.chunks(&mut [const { Bytes::new() }; 9], now);
        let holes = outbox.queue.iter().filter(|queued| matches!(queued.what, What::Hole(_))).count();
        assert!(holes <= 2 && outbox.len() <= holes + 3, "{outbox:?}");
    }
    let kept =
        |number| outbox.queue.iter().filter(|queued| matches!(queued.what, What::Event(slot) if slot.number == number)).count() as u64;
    let gaps = [told(1, 1, 50 - kept(1)), told(2, 1, 50 - kept(2))];
    assert_eq!(drain(&mut outbox, now)[..2], gaps);
}

#[test]
fn a_hole_that_was_begun_is_ended_and_another_one_follows() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    for offset in 1..=3 {
        outbox.push(frame(30), slot(offset), &LIMITS, now).unwrap();
    }
    assert_eq!(outbox.make_room(40, &LIMITS, now), 1);
    outbox.chunks(&mut [Bytes::new()], now);
    outbox.advance(1);
    assert_eq!(outbox.make_room(50, &LIMITS, now), 1);
    assert_eq!(drain(&mut outbox, now), [told(1, 1, 1).slice(1..), told(1, 2, 2), frame(30)]);
}

#[test]
fn a_hole_that_the_wire_was_not_given_stays() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    outbox.push_control(frame(10), now);
    outbox.push(frame(90), slot(1), &LIMITS, now).unwrap();
    assert_eq!(outbox.make_room(1, &LIMITS, now), 1);
    outbox.chunks(&mut [Bytes::new()], now);
    outbox.advance(10);
    assert_eq!(drain(&mut outbox, now), [told(1, 1, 1)]);
}

#[test]
fn only_events_whose_group_allows_it_are_dropped() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    let strict = |offset| Slot { number: 2, slow: Slow::Disconnect, ..slot(offset) };
    outbox.push(frame(30), strict(1), &LIMITS, now).unwrap();
    outbox.push(frame(30), slot(1), &LIMITS, now).unwrap();
    outbox.push(frame(35), strict(2), &LIMITS, now).unwrap();
    assert_eq!(outbox.make_room(35, &LIMITS, now), 1);
    outbox.push(frame(35), slot(2), &LIMITS, now).unwrap();
    assert_eq!(outbox.make_room(50, &LIMITS, now), 1);
    assert_eq!(outbox.push(frame(50), slot(3), &LIMITS, now), Err(Full));
    assert_eq!(drain(&mut outbox, now), [frame(30), told(1, 1, 2), frame(35)]);
}

#[test]
fn a_started_frame_that_is_too_old_can_only_be_ended() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    outbox.push(frame(50), slot(1), &LIMITS, now).unwrap();
    outbox.advance(1);
    let late = now + Duration::from_secs(31);
    assert_eq!(outbox.make_room(10, &LIMITS, late), 0);
    assert_eq!(outbox.push(frame(10), slot(2), &LIMITS, late), Err(Full));
}

#[test]
fn a_hole_does_not_age() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Encoding::MsgpackStream);
    outbox.push(frame(50), slot(1), &LIMITS, now).unwrap();
    let late = now + Duration::from_secs(31);
    assert_eq!(outbox.make_room(50, &LIMITS, late), 1);
    let later = late + Duration::from_secs(31);
    assert_eq!(outbox.push(frame(50), slot(2), &LIMITS, later), Ok(()));
    assert_eq!(drain(&mut outbox, later), [told(1, 1, 1), frame(50)]);
}

proptest! {
    /// Bytes are counted right, and events stay within the limit, whatever is pushed and taken.
    #[test]
    fn the_count_of_bytes_is_the_sum_of_the_frames(steps in proptest::collection::vec((0..3u8, 1..60usize), 1..80)) {
        let now = Instant::now();
        let mut outbox = Outbox::new(Encoding::JsonMessage);
        for (offset, (step, len)) in (1..).zip(steps) {
            match step {
                0 => {
                    let slot = Slot { number: offset as u32 % 3, ..slot(offset) };
                    if outbox.push(frame(len), slot, &LIMITS, now).is_err() {
                        outbox.make_room(len, &LIMITS, now);
                        let _ = outbox.push(frame(len), slot, &LIMITS, now);
                    }
                }
                1 => outbox.push_control(frame(len), now),
                _ => {
                    let mut chunks = [const { Bytes::new() }; 3];
                    let filled = outbox.chunks(&mut chunks, now);
                    outbox.advance(len.min(chunks[..filled].iter().map(Bytes::len).sum()));
                }
            }
            prop_assert_eq!(outbox.bytes(), outbox.queue.iter().map(|queued| queued.frame.len()).sum::<usize>());
            prop_assert_eq!(outbox.untold, outbox.queue.iter().filter(|queued| queued.frame.is_empty()).count());
            let events = outbox.queue.iter().filter(|queued| matches!(queued.what, What::Event(_)));
            prop_assert!(events.map(|queued| queued.frame.len()).sum::<usize>() <= LIMITS.bytes);
        }
    }
}
