//! The words and bytes of `fanfare.v1`: names, ids, events, frames, codes, limits, dialects.
//!
//! Owns everything that both ends of a connection have to agree on; `docs/protocol.md` says the same in prose, and a test compares the two.
//! It knows no other room of the house, does no I/O and reads no clock. Its one invariant: a value of one of these types has been checked, so nobody
//! checks it again.

mod code;
mod dialect;
mod event;
mod frame;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod json;
mod legacy;
pub mod limits;
mod msgpack;
mod name;
mod position;
mod presence;
#[cfg(test)]
mod tests;
mod timestamp;

pub use code::{Advice, Code};
pub use dialect::{Dialect, Encoding};
pub use event::{Content, ContentError, Event, EventId, EventIdError, FileSpec, IdGenerator, Kind, Level};
pub use frame::{ClientFrame, DecodeError, Gap, GapReason, Hello, Op, RawKind, Recovery, RosterRequest, ServerFrame, Subscribe, Welcome};
pub use framing::{StreamDecoder, prefix_len, read_prefix};
pub use json::{to_json, to_json_value};
pub use msgpack::{MalformedValue, check_value, from_json, value_len};
pub use name::{GroupName, IdempotencyKey, NameError, UserId};
pub use position::{Position, Retention};
pub use presence::{Attendee, Census, PresenceChange, Roster};
pub use timestamp::timestamp_ms;
