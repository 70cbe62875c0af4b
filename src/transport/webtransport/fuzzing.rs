//! Attacks on HTTP/3: what streams begin with, the control stream, capsules.

use super::http3::{self, Beginning, Capsules, Control, HEAD_BYTES};

/// Longest head of a frame: two numbers of eight bytes.
const FRAME_HEAD: usize = 16;

/// Bytes of a client on a stream of one kind. The first two bytes say which kind and how much arrives at once: it doesn't matter how the bytes arrive, and no more is kept than a head and what arrived with it.
pub fn http3(bytes: &[u8]) {
    let [kind, step, wire @ ..] = bytes else { return };
    let (step, whole) = (usize::from(*step).max(1), wire.len().max(1));
    match kind % 4 {
        0 => assert_eq!(begins(wire, step), begins(wire, whole), "it matters how the bytes arrive"),
        1 => assert_eq!(control(wire, step), control(wire, whole), "it matters how the bytes arrive"),
        2 => assert_eq!(capsules(wire, step), capsules(wire, whole), "it matters how the bytes arrive"),
        _ => {
            if let Some((_, width)) = http3::stream_type(wire) {
                assert!(width <= wire.len().min(8));
            }
        }
    }
}

/// What the stream begins with, and where what follows that stands.
fn begins(wire: &[u8], step: usize) -> Result<Option<Beginning>, u32> {
    let (mut kept, mut forgotten) = (Vec::new(), 0);
    for part in wire.chunks(step) {
        kept.extend_from_slice(part);
        match http3::beginning(&kept)? {
            Beginning::Incomplete(skipped) => {
                kept.drain(..skipped);
                forgotten += skipped;
                let unread = http3::beginning(&kept)?;
                assert_eq!(unread, Beginning::Incomplete(0), "what can be forgotten can be forgotten at once");
            }
            Beginning::Session(session, from) => return Ok(Some(Beginning::Session(session, forgotten + from))),
            Beginning::Request(request) => {
                assert!(!request.path.contains('?') && request.path.len() <= HEAD_BYTES);
                return Ok(Some(Beginning::Request(request)));
            }
        }
    }
    Ok(None)
}

fn control(wire: &[u8], step: usize) -> Result<(), u32> {
    let mut control = Control::default();
    for part in wire.chunks(step) {
        control.push(part)?;
        assert!(control.kept() <= HEAD_BYTES + FRAME_HEAD + step, "{} bytes are kept", control.kept());
    }
    Ok(())
}

fn capsules(wire: &[u8], step: usize) -> Result<bool, u32> {
    let mut capsules = Capsules::default();
    for part in wire.chunks(step) {
        if capsules.push(part)? {
            return Ok(true);
        }
        assert!(capsules.kept() <= 2 * (HEAD_BYTES + FRAME_HEAD + step), "{} bytes are kept", capsules.kept());
    }
    Ok(false)
}
