//! The protocol of Redis, RESP2: commands out, replies in. No I/O.
//!
//! RESP2 and not 3, because all that a subscriber needs is in it, and every server and proxy speaks it.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A word, such as `OK`.
    Text(Bytes),
    /// A command failed. Begins with a word that tells how.
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    Nil,
    Array(Vec<Self>),
}

/// Bytes that are no reply, or one that is larger than anything that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no RESP2: {0}")]
pub struct Malformed(&'static str);

/// The longest reply in bytes: a page of history with events of the largest size, and as much again.
const REPLY_BYTES: usize = 128 << 20;

/// The deepest nesting: a page of history is an array of entries, an entry has fields.
const DEPTH: usize = 8;

/// A line that only holds a length or a number is no longer than this; errors may be.
const LINE_BYTES: usize = 64 << 10;

/// Takes the next whole reply off the buffer, `None` if it is not there yet. Payloads share the buffer's memory.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    match measure(buffer, DEPTH)? {
        None if buffer.len() > REPLY_BYTES => Err(Malformed("longer than 128 MiB")),
        None => Ok(None),
        Some(len) => {
            let mut bytes = buffer.split_to(len).freeze();
            build(&mut bytes).map(Some)
        }
    }
}

/// The length of the reply that `bytes` begin with, if it is whole.
fn measure(bytes: &[u8], depth: usize) -> Result<Option<usize>, Malformed> {
    let Some((kind, line, mut len)) = head(bytes)? else { return Ok(None) };
    let items = match kind {
        b'$' => {
            len += length(&bytes[line])?.map_or(0, |payload| payload + 2);
            return Ok((bytes.len() >= len).then_some(len));
        }
        b'*' => length(&bytes[line])?.unwrap_or(0),
        b'+' | b'-' | b':' => return Ok(Some(len)),
        _ => return Err(Malformed("an unknown type")),
    };
    if depth == 0 {
        return Err(Malformed("nested too deep"));
    }
    for _ in 0..items {
        match measure(&bytes[len..], depth - 1)? {
            Some(item) => len += item,
            None => return Ok(None),
        }
    }
    Ok(Some(len))
}

/// The type, where the first line's text stands, and where the rest begins.
fn head(bytes: &[u8]) -> Result<Option<(u8, Range<usize>, usize)>, Malformed> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE_BYTES)]) {
        Some(end) if end > 1 && bytes[end - 1] == b'\r' => Ok(Some((kind, 1..end - 1, end + 1))),
        Some(_) => Err(Malformed("a line that does not end in CR LF")),
        None if bytes.len() >= LINE_BYTES => Err(Malformed("a line without end")),
        None => Ok(None),
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Malformed("a number that is none"))
}

/// A length; `None` for -1, which means nil.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match number(line)? {
        -1 => Ok(None),
        n => usize::try_from(n).ok().filter(|n| *n <= REPLY_BYTES).map(Some).ok_or(Malformed("a length beyond any bound")),
    }
}

/// Builds the reply that `bytes` begin with; [`measure`] has found it whole.
fn build(bytes: &mut Bytes) -> Result<Reply, Malformed> {
    let (kind, line, next) = head(bytes)?.ok_or(Malformed("cut off"))?;
    let line = bytes.slice(line);
    bytes.advance(next);
    Ok(match kind {
        b'+' => Reply::Text(line),
        b'-' => Reply::Error(String::from_utf8_lossy(&line).into_owned()),
        b':' => Reply::Integer(number(&line)?),
        b'$' => match length(&line)? {
            None => Reply::Nil,
            Some(len) => {
                let payload = bytes.split_to(len);
                bytes.advance(2);
                Reply::Bulk(payload)
            }
        },
        _ => match length(&line)? {
            None => Reply::Nil,
            Some(items) => Reply::Array((0..items).map(|_| build(bytes)).collect::<Result<_, _>>()?),
        },
    })
}

/// Writes a command: an array of its words.
pub(super) fn put_command<'a>(out: &mut BytesMut, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    put_head(out, b'*', words.len());
    words.for_each(|word| put_bulk(out, word));
}

pub(super) fn put_bulk(out: &mut BytesMut, bytes: &[u8]) {
    put_head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn put_head(out: &mut BytesMut, kind: u8, n: usize) {
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(n.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

impl Reply {
    /// The items of an array.
    pub(super) fn array(self) -> Option<Vec<Self>> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bulk(bytes) | Self::Text(bytes) => Some(bytes),
            Self::Error(_) | Self::Integer(_) | Self::Nil | Self::Array(_) => None,
        }
    }

    /// A number, also one that is written as text.
    pub(super) fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Integer(n) => u64::try_from(*n).ok(),
            Self::Bulk(bytes) | Self::Text(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Error(_) | Self::Nil | Self::Array(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec().into())
    }

    #[test]
    fn replies_come_in_pieces_and_in_rows() {
        let stream = b"+OK\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*2\r\n$0\r\n\r\n*1\r\n:1\r\n-ERR no\r\n";
        let wanted = [
            Reply::Text(Bytes::from_static(b"OK")),
            Reply::Integer(-7),
            bulk("a\r\nbc"),
            Reply::Nil,
            Reply::Nil,
            Reply::Array(vec![bulk(""), Reply::Array(vec![Reply::Integer(1)])]),
            Reply::Error("ERR no".into()),
        ];
        for step in 1..stream.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(reply) = decode(&mut buffer).unwrap() {
                    found.push(reply);
                }
            }
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [&b"?1\r\n"[..], b":x\r\n", b"$-2\r\n", b"+\n", b"$999999999999\r\n", &b"*1\r\n".repeat(20)] {
            assert!(decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn commands_are_arrays_of_words() {
        let mut out = BytesMut::new();
        put_command(&mut out, [&b"GET"[..], b"k"].into_iter());
        assert_eq!(&out[..], b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    proptest! {
        /// No bytes make it panic, and none make it take more than there is.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), Just(b'1'), any::<u8>()], 0..80)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer) {}
            prop_assert!(buffer.len() <= bytes.len());
        }
    }
}
