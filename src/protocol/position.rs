//! Places in the history of a group, and how much of it is kept.

use std::time::Duration;

/// A place in a group's history: events up to and with `offset` of this `epoch` have been seen.
///
/// Offsets count 1, 2, 3 … without holes within an epoch. Epochs are unordered: a group whose counter could have gone back (its history was lost) gets a
/// new random one, so that an old position can't be mistaken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// Names one life of the group's counter; 0 for a group that keeps no history.
    pub epoch: u32,
    /// The last event before this place; 0 before the first.
    pub offset: u64,
}

impl Position {
    /// The position in a group that keeps no history.
    pub const NONE: Self = Self { epoch: 0, offset: 0 };

    /// Whether the group keeps history at all.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self.epoch != 0
    }
}

/// How much of a group's past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many events at most; at least 1.
    pub size: usize,
    /// How long an event is kept.
    pub ttl: Duration,
}
