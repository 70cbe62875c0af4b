//! Where a frame ends: the server's WebSocket header (RFC 6455, section 5.2), and the length prefix on streams (RFC 9000, section 16).

use bytes::{Buf as _, Bytes, BytesMut};

use super::DecodeError;

/// WebSocket opcode of a text message.
pub(super) const TEXT: u8 = 0x1;
/// WebSocket opcode of a binary message.
pub(super) const BINARY: u8 = 0x2;
/// WebSocket opcode of a ping.
pub(super) const PING: u8 = 0x9;

const FIN: u8 = 0x80;

/// One unmasked WebSocket message, header and payload in one piece.
pub(super) fn message(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(FIN | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(low_byte(len)),
        len @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&[low_byte(len >> 8), low_byte(len)]);
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out.into()
}

/// One frame after its length.
pub(super) fn prefixed(payload: &[u8]) -> Bytes {
    let len = payload.len();
    let mut out = Vec::with_capacity(len + 8);
    match prefix_len(len) {
        1 => out.push(low_byte(len)),
        2 => out.extend_from_slice(&[0x40 | low_byte(len >> 8), low_byte(len)]),
        4 => out.extend_from_slice(&[0x80 | low_byte(len >> 24), low_byte(len >> 16), low_byte(len >> 8), low_byte(len)]),
        _ => out.extend_from_slice(&((len as u64) | 0xc000_0000_0000_0000).to_be_bytes()),
    }
    out.extend_from_slice(payload);
    out.into()
}

fn low_byte(n: usize) -> u8 {
    (n & 0xff) as u8
}

/// How many bytes the length prefix of a frame takes.
#[must_use]
pub const fn prefix_len(frame_len: usize) -> usize {
    match frame_len {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// The length prefix at the start of `bytes`: how many bytes it takes, and the length it tells. `None` if it is not whole yet.
#[must_use]
pub fn read_prefix(bytes: &[u8]) -> Option<(usize, u64)> {
    let first = *bytes.first()?;
    let width = 1 << (first >> 6);
    let digits = bytes.get(1..width)?;
    Some((width, digits.iter().fold(u64::from(first & 0x3f), |n, &byte| n << 8 | u64::from(byte))))
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct StreamDecoder {
    buffer: BytesMut,
    limit: usize,
}

impl StreamDecoder {
    /// A decoder that refuses frames of more than `limit` bytes, before it has kept any of them.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The next frame is over the limit; nothing after it can be read.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some((width, len)) = read_prefix(&self.buffer) else { return Ok(None) };
        let Some(len) = usize::try_from(len).ok().filter(|&len| len <= self.limit) else {
            return Err(DecodeError::TooLarge { limit: self.limit });
        };
        if self.buffer.len() < width + len {
            return Ok(None);
        }
        self.buffer.advance(width);
        let frame = self.buffer.split_to(len).freeze();
        if self.buffer.is_empty() {
            // Keeps no memory for a connection that is idle.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_those_of_rfc_9000() {
        // The examples of RFC 9000, appendix A.1.
        assert_eq!(read_prefix(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]), Some((8, 151_288_809_941_952_652)));
        assert_eq!(read_prefix(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((4, 494_878_333)));
        assert_eq!(read_prefix(&[0x7b, 0xbd]), Some((2, 15_293)));
        assert_eq!(read_prefix(&[0x25]), Some((1, 37)));
        assert_eq!(read_prefix(&[0x7b]), None);
        assert_eq!(read_prefix(&[]), None);
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        for len in [0, 1, 63, 64, 16_383, 16_384, 70_000] {
            let payload = vec![7u8; len];
            let wire = prefixed(&payload);
            assert_eq!(wire.len(), len + prefix_len(len));
            for step in [1, 1000, wire.len()] {
                let mut decoder = StreamDecoder::new(70_000);
                let mut frames = Vec::new();
                for part in wire.chunks(step) {
                    decoder.push(part);
                    frames.extend(decoder.next_frame().unwrap());
                }
                assert_eq!(frames, [Bytes::from(payload.clone())]);
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_its_prefix() {
        let mut decoder = StreamDecoder::new(100);
        decoder.push(&[0x40, 101]);
        assert_eq!(decoder.next_frame(), Err(DecodeError::TooLarge { limit: 100 }));
    }

    #[test]
    fn websocket_headers_have_the_shortest_form() {
        assert_eq!(&message(BINARY, &[1])[..], [0x82, 1, 1]);
        assert_eq!(&message(TEXT, &[b' '; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(&message(TEXT, &vec![b' '; 65_536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
