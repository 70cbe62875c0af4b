//! Attacks on frames and their framing.

use bytes::Bytes;

use super::{ClientFrame, DecodeError, Dialect, ServerFrame, StreamDecoder, check_value, limits, read_prefix, to_json, value_len};

/// A frame in MessagePack: what can be read can be written, and is read again as the same; nothing is nested deeper than allowed.
pub fn msgpack(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if let Ok(len) = value_len(bytes, limits::DEPTH) {
        assert!(len <= bytes.len(), "a value of {len} bytes was found in {}", bytes.len());
        assert_eq!(check_value(&bytes[..len], limits::DEPTH), Ok(()), "what was measured is one value");
    }
    let text = to_json(bytes);
    assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "whatever it is becomes JSON");
    is_read_again(Dialect::Msgpack, &frame);
}

/// A frame in JSON. What it says is the same in MessagePack.
pub fn json(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    is_read_again(Dialect::Json, &frame);
    if let Some(read) = ClientFrame::decode(Dialect::Json, &frame).ok().filter(|read| !matches!(read, ClientFrame::Unknown { .. })) {
        same(&ClientFrame::decode(Dialect::Msgpack, &read.encode(Dialect::Msgpack)), &Ok(read), "in the other dialect");
    }
    if let Some(read) = ServerFrame::decode(Dialect::Json, &frame).ok().filter(|read| *read != ServerFrame::Unknown) {
        same(&ServerFrame::decode(Dialect::Msgpack, &read.encode(Dialect::Msgpack)), &Ok(read), "in the other dialect");
    }
}

/// In the frame's own dialect; and no frame is one of both ends.
fn is_read_again(dialect: Dialect, frame: &Bytes) {
    let (client, server) = (ClientFrame::decode(dialect, frame), ServerFrame::decode(dialect, frame));
    // A frame that is unknown has no bytes of its own: nobody writes it.
    if let Some(read) = client.as_ref().ok().filter(|read| !matches!(read, ClientFrame::Unknown { .. })) {
        same(&ClientFrame::decode(dialect, &read.encode(dialect)), &Ok(read.clone()), "a client's frame");
    }
    if let Some(read) = server.as_ref().ok().filter(|read| **read != ServerFrame::Unknown) {
        same(&ServerFrame::decode(dialect, &read.encode(dialect)), &Ok(read.clone()), "a server's frame");
    }
    let unknown = matches!(client, Ok(ClientFrame::Unknown { .. }));
    let of_both =
        matches!(client, Ok(ClientFrame::Ping(_) | ClientFrame::Pong(_) | ClientFrame::Goodbye | ClientFrame::Unsubscribe { .. }));
    assert!(unknown || of_both || client.is_err() || server.is_err(), "{client:?} and {server:?}");
}

fn same<T: PartialEq + std::fmt::Debug>(got: &Result<T, DecodeError>, wanted: &Result<T, DecodeError>, what: &str) {
    assert_eq!(got, wanted, "{what} is read otherwise than it was written");
}

/// Frames on a stream. The first two bytes say how much arrives at once and how long a frame may be: the same frames come out however they arrive, and none is longer.
pub fn stream(bytes: &[u8]) {
    let [step, limit, wire @ ..] = bytes else { return };
    let (step, limit) = (usize::from(*step).max(1), usize::from(*limit));
    let cut = frames(wire, step, limit);
    assert_eq!(cut, frames(wire, wire.len().max(1), limit), "it matters how the bytes arrive");
    let mut at = 0;
    for frame in cut.iter().flatten() {
        assert!(frame.len() <= limit);
        let (width, _) = read_prefix(&wire[at..]).expect("a frame came out, so its length was there");
        at += width;
        assert_eq!(frame[..], wire[at..at + frame.len()]);
        at += frame.len();
    }
}

fn frames(wire: &[u8], step: usize, limit: usize) -> Vec<Result<Bytes, DecodeError>> {
    let mut decoder = StreamDecoder::new(limit);
    let mut frames = Vec::new();
    for part in wire.chunks(step) {
        decoder.push(part);
        while let Some(frame) = decoder.next_frame().transpose() {
            let over = frame.is_err();
            frames.push(frame);
            if over {
                return frames;
            }
        }
    }
    frames
}
