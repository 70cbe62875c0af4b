//! Dialects, and their combinations with the framing of a transport: everything in which the bytes of one event can differ between its receivers.

use bytes::Bytes;

use super::{Event, ServerFrame, frame, framing};

/// An encoding of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MessagePack arrays.
    Msgpack,
    /// The same in JSON.
    Json,
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
}

impl Encoding {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; Self::COUNT] = [Self::MsgpackMessage, Self::JsonMessage, Self::MsgpackStream, Self::JsonStream];

    /// The encoding of WebSocket messages in a dialect.
    #[must_use]
    pub const fn message(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Msgpack => Self::MsgpackMessage,
            Dialect::Json => Self::JsonMessage,
        }
    }

    /// The encoding of a stream in a dialect.
    #[must_use]
    pub const fn stream(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Msgpack => Self::MsgpackStream,
            Dialect::Json => Self::JsonStream,
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
        }
    }

    /// A frame as it goes onto the wire.
    #[must_use]
    pub fn encode(self, frame: &ServerFrame) -> Bytes {
        self.wrap(&frame.encode(self.dialect()))
    }

    /// An event frame as it goes onto the wire.
    #[must_use]
    pub fn encode_event(self, number: u32, event: &Event) -> Bytes {
        self.wrap(&frame::encode_event(self.dialect(), number, event))
    }

    fn wrap(self, frame: &[u8]) -> Bytes {
        match self {
            Self::MsgpackMessage => framing::message(framing::BINARY, frame),
            Self::JsonMessage => framing::message(framing::TEXT, frame),
            Self::MsgpackStream | Self::JsonStream => framing::prefixed(frame),
        }
    }
}
