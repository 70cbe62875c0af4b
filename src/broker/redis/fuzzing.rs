//! Attacks on what a Redis server says.

use bytes::{Bytes, BytesMut};

use super::resp::{self, Reply};

/// Replies of a server. The first byte says how much arrives at once: the same comes out however it arrives, no more than there was, and words are read as they were written.
pub fn replies(bytes: &[u8]) {
    let [step, wire @ ..] = bytes else { return };
    let whole = read(wire, wire.len().max(1));
    assert_eq!(read(wire, usize::from(*step).max(1)), whole, "it matters how the bytes arrive");
    let len: usize = whole.iter().flatten().map(payload).sum();
    assert!(len <= wire.len(), "{len} bytes came out of {}", wire.len());
    let words: Vec<&[u8]> = wire.split(|byte| *byte == b' ').collect();
    let mut command = BytesMut::new();
    resp::put_command(&mut command, words.iter().copied());
    let wanted = Reply::Array(words.iter().map(|word| Reply::Bulk(Bytes::copy_from_slice(word))).collect());
    assert_eq!(read(&command, command.len()), [Some(wanted)]);
}

/// What comes out; `None` at the end if the bytes are no replies.
fn read(wire: &[u8], step: usize) -> Vec<Option<Reply>> {
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for part in wire.chunks(step) {
        buffer.extend_from_slice(part);
        while let Some(reply) = resp::decode(&mut buffer).transpose() {
            let over = reply.is_err();
            found.push(reply.ok());
            if over {
                return found;
            }
        }
    }
    found
}

fn payload(reply: &Reply) -> usize {
    match reply {
        Reply::Bulk(bytes) | Reply::Text(bytes) => bytes.len(),
        Reply::Array(items) => items.iter().map(payload).sum(),
        Reply::Error(_) | Reply::Integer(_) | Reply::Nil => 0,
    }
}
