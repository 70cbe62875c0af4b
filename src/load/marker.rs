//! The mark that every published payload carries, so that a delivery can be recognised in any encoding and any batching.
//!
//! Printable ASCII without characters that JSON escapes, of fixed length: `~FF:`, then in hex the run (4 digits), the stream (6), the
//! number in the stream (10) and the time at which the message was due, in µs since the run began (11).

use memchr::memmem::Finder;

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

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

/// Finds marks in what was received.
#[derive(Debug)]
pub struct Scanner(Finder<'static>);

impl Default for Scanner {
    fn default() -> Self {
        Self(Finder::new(HEAD))
    }
}

impl Scanner {
    /// Each mark that is whole, in order.
    pub fn marks<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Marker> + 'a {
        self.0.find_iter(bytes).filter_map(|at| Marker::read(bytes.get(at + HEAD.len()..)?))
    }
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
            prop_assert_eq!(Scanner::default().marks(&twice).collect::<Vec<_>>(), vec![marker; 2]);
        }

        #[test]
        fn nothing_else_is_taken_for_a_mark(bytes: Vec<u8>) {
            prop_assert_eq!(Scanner::default().marks(&[b"~FF:", bytes.as_slice(), b"~FF:zz"].concat()).count(), 0);
        }
    }
}
