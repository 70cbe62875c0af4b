//! The mark that every published payload carries, so that a delivery can be recognised in any encoding and any batching.
//!
//! Printable ASCII without characters that JSON escapes, of fixed length: `~FF:`, then in hex the run (4 digits), the stream (6), the
//! number in the stream (10) and the time at which the message was due, in µs since the run began (11).

/// What every mark begins with.
pub(super) const HEAD: &[u8] = b"~FF:";

/// Length of a mark in bytes; no payload can be shorter.
pub const MARKER_BYTES: usize = HEAD.len() + 4 + 6 + 10 + 11;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Which run published it, so that leftovers of another run are not counted.
    pub run: u16,
    /// Which sequence it belongs to: one for each group. Below 2^24.
    pub stream: u32,
    /// Its place in the sequence, from 1.
    pub number: u64,
    /// When it was due, in µs since the run began.
    pub due_us: u64,
}

impl Marker {
    /// The mark, filled up to `size` bytes.
    #[must_use]
    pub fn payload(&self, size: usize) -> String {
        let Self { run, stream, number, due_us } = self;
        let mut text = format!("~FF:{run:04x}{stream:06x}{number:010x}{due_us:011x}");
        text.extend(std::iter::repeat_n('.', size.saturating_sub(text.len())));
        text
    }

    fn read(digits: &[u8]) -> Option<Self> {
        Some(Self {
            run: u16::try_from(hex(digits.get(..4)?)?).ok()?,
            stream: u32::try_from(hex(digits.get(4..10)?)?).ok()?,
            number: hex(digits.get(10..20)?)?,
            due_us: hex(digits.get(20..31)?)?,
        })
    }
}

/// What each byte is worth as a digit; above 15: it is none. A mark has 31 of them and is read once a delivery, so this is worth a table.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

fn hex(digits: &[u8]) -> Option<u64> {
    let (mut value, mut all) = (0, 0);
    for digit in digits {
        let digit = DIGITS[usize::from(*digit)];
        value = value << 4 | u64::from(digit & 0x0f);
        all |= digit;
    }
    (all < 16).then_some(value)
}

/// Each mark in `bytes` that is whole, in order.
pub fn marks(bytes: &[u8]) -> impl Iterator<Item = Marker> + '_ {
    // Its first byte is rare, and looking for one byte is cheaper than looking for four.
    memchr::memchr_iter(HEAD[0], bytes).filter_map(|at| Marker::read(bytes[at..].strip_prefix(HEAD)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_found_wherever_they_are(
            run: u16, stream in 0..1u32 << 24, number in 0..1u64 << 40, due_us in 0..1u64 << 44, before: Vec<u8>, size in 0..200usize,
        ) {
            let marker = Marker { run, stream, number, due_us };
            let payload = marker.payload(size);
            prop_assert_eq!(payload.len(), size.max(MARKER_BYTES));
            let twice = [before.as_slice(), payload.as_bytes(), b"~FF:", payload.as_bytes()].concat();
            prop_assert_eq!(marks(&twice).collect::<Vec<_>>(), vec![marker; 2]);
        }

        #[test]
        fn nothing_else_is_taken_for_a_mark(bytes: Vec<u8>) {
            prop_assert_eq!(marks(&[b"~FF:", bytes.as_slice(), b"~FF:zz"].concat()).count(), 0);
        }
    }
}
