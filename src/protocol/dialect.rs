//! Dialects, and their combinations with the framing of a transport: everything in which the bytes of one event can differ between its receivers.

use bytes::Bytes;

use super::{Event, GroupName, ServerFrame, frame, framing, legacy};

/// An encoding of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MessagePack arrays.
    Msgpack,
    /// The same in JSON.
    Json,
    /// The objects that pages of older applications know, in JSON. It has words for a part of the frames only.
    Legacy,
}

impl Dialect {
    /// The dialect that a first frame is in, by its first byte; for connections that have not negotiated one.
    #[must_use]
    pub const fn guess(first_byte: u8) -> Self {
        if first_byte == b'[' { Self::Json } else { Self::Msgpack }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Msgpack => "msgpack",
            Self::Json => "json",
            Self::Legacy => "legacy",
        }
    }
}

/// A dialect within the framing of a transport. Two connections of one encoding get the same bytes for the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// MessagePack in WebSocket messages.
    MsgpackMessage,
    /// JSON in WebSocket messages.
    JsonMessage,
    /// MessagePack on a stream, with a length before each frame.
    MsgpackStream,
    /// JSON on a stream, with a length before each frame.
    JsonStream,
    /// The legacy dialect in WebSocket messages, and pings as WebSocket has them.
    LegacyMessage,
}

impl Encoding {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; Self::COUNT] =
        [Self::MsgpackMessage, Self::JsonMessage, Self::MsgpackStream, Self::JsonStream, Self::LegacyMessage];

    /// The encoding of WebSocket messages in a dialect.
    #[must_use]
    pub const fn message(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Msgpack => Self::MsgpackMessage,
            Dialect::Json => Self::JsonMessage,
            Dialect::Legacy => Self::LegacyMessage,
        }
    }

    /// The encoding of a stream in a dialect. The legacy dialect is spoken on WebSocket alone; a stream has JSON instead.
    #[must_use]
    pub const fn stream(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Msgpack => Self::MsgpackStream,
            Dialect::Json | Dialect::Legacy => Self::JsonStream,
        }
    }

    /// A number below [`Self::COUNT`], for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The dialect.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::MsgpackMessage | Self::MsgpackStream => Dialect::Msgpack,
            Self::JsonMessage | Self::JsonStream => Dialect::Json,
            Self::LegacyMessage => Dialect::Legacy,
        }
    }

    /// A frame as it goes onto the wire; `None` if the dialect has no words for it.
    #[must_use]
    pub fn encode(self, frame: &ServerFrame) -> Option<Bytes> {
        match (self, frame) {
            // A page that never sends anything shows that it lives by the pong of its browser.
            (Self::LegacyMessage, ServerFrame::Ping(_)) => Some(framing::message(framing::PING, &[])),
            (Self::LegacyMessage, frame) => legacy::encode(frame).map(|text| self.wrap(&text)),
            _ => Some(self.wrap(&frame.encode(self.dialect()))),
        }
    }

    /// An event of the group with this number as it goes onto the wire; `None` if the dialect has no words for it.
    #[must_use]
    pub fn encode_event(self, group: &GroupName, number: u32, event: &Event) -> Option<Bytes> {
        match self {
            Self::LegacyMessage => legacy::encode_event(group, event).map(|text| self.wrap(&text)),
            _ => Some(self.wrap(&frame::encode_event(self.dialect(), number, event))),
        }
    }

    fn wrap(self, frame: &[u8]) -> Bytes {
        match self {
            Self::MsgpackMessage => framing::message(framing::BINARY, frame),
            Self::JsonMessage | Self::LegacyMessage => framing::message(framing::TEXT, frame),
            Self::MsgpackStream | Self::JsonStream => framing::prefixed(frame),
        }
    }
}
