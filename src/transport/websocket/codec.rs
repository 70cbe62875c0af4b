//! The receiving half of RFC 6455 for a server: cuts bytes into messages. No I/O.
//!
//! Its invariant: it never keeps more than one message of the limit, a control frame within it, and what arrived with them.

use bytes::{Buf as _, Bytes, BytesMut};

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// A whole text message; it is UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping with its payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The closing handshake has begun.
    Close,
}

/// Why the connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A message is longer than the limit, in bytes.
    TooLarge(usize),
    /// RFC 6455 was violated.
    Protocol,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    limit: usize,
    fragments: Option<Begun>,
}

/// The beginning of a message that comes in fragments.
#[derive(Debug)]
struct Begun {
    opcode: u8,
    bytes: BytesMut,
    /// So many of them are known to be UTF-8, if they have to be.
    checked: usize,
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The header of a frame (section 5.2).
struct Header {
    fin: bool,
    opcode: u8,
    payload: usize,
    mask: [u8; 4],
    len: usize,
}

impl Decoder {
    /// A decoder that refuses messages of more than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit, fragments: None }
    }

    /// Takes what has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub(super) fn next_message(&mut self) -> Result<Option<Message>, Violation> {
        while let Some(header) = self.header()? {
            if self.buffer.len() < header.len + header.payload {
                break;
            }
            self.buffer.advance(header.len);
            let mut payload = self.buffer.split_to(header.payload);
            unmask(&mut payload, header.mask);
            if let Some(message) = self.frame(header.fin, header.opcode, payload)? {
                return Ok(Some(message));
            }
        }
        if self.buffer.is_empty() {
            // Keeps no memory for a connection that is idle.
            self.buffer = BytesMut::new();
        }
        Ok(None)
    }

    /// Bytes that wait for the rest of their message.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn kept(&self) -> usize {
        self.buffer.len() + self.fragments.as_ref().map_or(0, |begun| begun.bytes.len())
    }

    fn header(&self) -> Result<Option<Header>, Violation> {
        let [first, second, rest @ ..] = &self.buffer[..] else { return Ok(None) };
        let (fin, opcode, masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 || !masked {
            return Err(Violation::Protocol);
        }
        let control = opcode & 0x8 != 0;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if control && (!fin || extended > 0) {
            return Err(Violation::Protocol);
        }
        let (Some(digits), Some(mask)) = (rest.get(..extended), rest.get(extended..extended + 4)) else { return Ok(None) };
        let long = digits.iter().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
        let payload = if extended == 0 { u64::from(second & 0x7f) } else { long };
        let before = self.fragments.as_ref().map_or(0, |begun| begun.bytes.len());
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        if !control && payload.saturating_add(before) > self.limit {
            return Err(Violation::TooLarge(self.limit));
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Some(Header { fin, opcode, payload, mask, len: 2 + extended + 4 }))
    }

    fn frame(&mut self, fin: bool, opcode: u8, payload: BytesMut) -> Result<Option<Message>, Violation> {
        let mut message = match (opcode, self.fragments.take()) {
            (TEXT | BINARY, None) => Begun { opcode, bytes: payload, checked: 0 },
            (CONTINUATION, Some(mut begun)) => {
                begun.bytes.extend_from_slice(&payload);
                begun
            }
            (CLOSE | PING | PONG, fragments) => {
                self.fragments = fragments;
                return control(opcode, payload.freeze()).map(Some);
            }
            _ => return Err(Violation::Protocol),
        };
        message.check(fin)?;
        if !fin {
            self.fragments = Some(message);
            return Ok(None);
        }
        let bytes = message.bytes.freeze();
        Ok(Some(if message.opcode == TEXT { Message::Text(bytes) } else { Message::Binary(bytes) }))
    }
}

impl Begun {
    /// Text that can't become UTF-8 any more is refused with the fragment that makes it so (section 8.1). No byte is looked at twice.
    fn check(&mut self, whole: bool) -> Result<(), Violation> {
        if self.opcode != TEXT {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            // It ends within a character; the rest may come.
            Err(error) if error.error_len().is_none() && !whole => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::Protocol),
        }
        Ok(())
    }
}

fn control(opcode: u8, payload: Bytes) -> Result<Message, Violation> {
    match opcode {
        PING => Ok(Message::Ping(payload)),
        PONG => Ok(Message::Pong),
        _ if payload.is_empty() => Ok(Message::Close),
        // A close has no payload, or a code and then UTF-8 (section 5.5.1).
        _ => match payload.split_first_chunk::<2>() {
            Some((code, reason)) if may_be_sent(u16::from_be_bytes(*code)) && std::str::from_utf8(reason).is_ok() => Ok(Message::Close),
            _ => Err(Violation::Protocol),
        },
    }
}

/// The codes that are defined for close frames, and those that are for libraries and applications (section 7.4, and the registry of RFC 6455 for 1012 to 1014).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Section 5.3. Eight bytes at a time, which the compiler widens further.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word: [u8; 8] = (&*chunk).try_into().expect("chunks of eight are eight long");
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// A pong frame with this payload, at most 125 bytes.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    control_frame(PONG, &[payload])
}

/// A close frame with this code and reason; what is over 123 bytes of reason is cut off.
pub(super) fn close(code: u16, reason: &str) -> Bytes {
    let cut = (0..=123.min(reason.len())).rev().find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
    control_frame(CLOSE, &[&code.to_be_bytes(), &reason.as_bytes()[..cut]])
}

fn control_frame(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let payload = parts.concat();
    let len = u8::try_from(payload.len()).expect("control frames carry at most 125 bytes (section 5.5)");
    [&[0x80 | opcode, len], &payload[..]].concat().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | u8::try_from(len).unwrap()),
            len @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Message>, Violation> {
        let mut decoder = Decoder::new(100_000);
        decoder.push(bytes);
        std::iter::from_fn(|| decoder.next_message().transpose()).collect()
    }

    fn text(text: &str) -> Message {
        Message::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn whole_and_fragmented_messages_with_control_between() {
        let bytes = [frame(0x81, b"whole"), frame(0x01, b"in "), frame(0x89, b"p"), frame(0x00, b"three "), frame(0x80, b"parts")].concat();
        assert_eq!(decode(&bytes), Ok(vec![text("whole"), Message::Ping(Bytes::from_static(b"p")), text("in three parts")]));
        assert_eq!(decode(&frame(0x82, &[7; 70_000])), Ok(vec![Message::Binary(vec![7; 70_000].into())]));
        assert_eq!(decode(&frame(0x88, b"\x03\xe8bye")), Ok(vec![Message::Close]));
        assert_eq!(decode(&frame(0x8a, b"")), Ok(vec![Message::Pong]));
    }

    #[test]
    fn violations_are_found() {
        let unmasked = [0x81, 1, b'x'];
        let too_long_ping = frame(0x89, &[0; 126]);
        for bytes in [
            &unmasked[..],
            &too_long_ping,
            &frame(0xc1, b"reserved bit"),
            &frame(0x83, b"reserved opcode"),
            &frame(0x8b, b"reserved control"),
            &frame(0x80, b"nothing to continue"),
            &frame(0x09, b"fragmented ping"),
            &[frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            &frame(0x81, &[0xff]),
            &frame(0x88, &[3]),
            &frame(0x88, &[3, 0xe8, 0xff]),
            &frame(0x88, &1005u16.to_be_bytes()),
            // It can't become UTF-8, whatever follows.
            &frame(0x01, &[0xed, 0xa0]),
        ] {
            assert_eq!(decode(bytes), Err(Violation::Protocol), "{bytes:?}");
        }
        assert_eq!(decode(&frame(0x82, &[0; 100_001])[..14]), Err(Violation::TooLarge(100_000)));
        let in_parts = [frame(0x02, &[0; 60_000]), frame(0x80, &[0; 60_000])].concat();
        assert_eq!(decode(&in_parts), Err(Violation::TooLarge(100_000)));
    }

    #[test]
    fn close_reasons_are_cut_at_a_character() {
        let frame = close(4000, &"ä".repeat(100));
        assert_eq!((frame[0], frame[1], frame.len()), (0x88, 2 + 122, 2 + 2 + 122));
        assert_eq!(&close(4001, "slow")[..], b"\x88\x06\x0f\xa1slow");
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..5),
            step in 1..50usize,
        ) {
            let wire: Vec<u8> = payloads.iter().flat_map(|payload| frame(0x82, payload)).collect();
            let mut decoder = Decoder::new(1000);
            let mut messages = Vec::new();
            for part in wire.chunks(step) {
                decoder.push(part);
                while let Some(message) = decoder.next_message().unwrap() {
                    messages.push(message);
                }
            }
            let sent: Vec<_> = payloads.into_iter().map(|payload| Message::Binary(payload.into())).collect();
            prop_assert_eq!(messages, sent);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
