//! Frames: what is said on a connection, as types, and their one encoding as MessagePack arrays.

use bytes::Bytes;

use super::{
    Code, Dialect, Position,
    event::{Event, EventId, Kind},
    json, limits,
    msgpack::{self, Elements, MalformedValue},
    name::UserId,
    presence::{self, PresenceChange, Roster},
};

macro_rules! ops {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $name:literal,)*) => {
        /// The first element of every frame. Numbers are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl Op {
            /// Every opcode.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in documents and in the JSON dialect.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

ops! {
    /// Who the client is; its first frame.
    Hello = 0x01 "hello",
    /// Follow a group.
    Subscribe = 0x02 "subscribe",
    /// Stop following a group.
    Unsubscribe = 0x03 "unsubscribe",
    /// Send an event to a group.
    Publish = 0x04 "publish",
    /// A new token for the session.
    Refresh = 0x05 "refresh",
    /// Who is in a group?
    Who = 0x06 "who",
    /// The answer to hello.
    Welcome = 0x11 "welcome",
    /// The answer to subscribe.
    Subscribed = 0x12 "subscribed",
    /// The answer to unsubscribe.
    Unsubscribed = 0x13 "unsubscribed",
    /// The answer to publish.
    Published = 0x14 "published",
    /// The answer to refresh.
    Refreshed = 0x15 "refreshed",
    /// The answer to a request that failed.
    Error = 0x16 "error",
    /// The answer to who.
    Present = 0x17 "present",
    /// An event of a group.
    Event = 0x20 "event",
    /// Events that will not come.
    Gap = 0x21 "gap",
    /// Who has come to a group, and who has gone.
    Presence = 0x22 "presence",
    /// Events of a group may not come for the time being.
    Interrupted = 0x23 "interrupted",
    /// They come again.
    Resumed = 0x24 "resumed",
    /// Are you there?
    Ping = 0x30 "ping",
    /// I am.
    Pong = 0x31 "pong",
    /// The last frame.
    Goodbye = 0x32 "goodbye",
}

impl Op {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// The opcode with this number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.number() == number)
    }

    /// The opcode with this name, if this version knows it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.name() == name)
    }

    /// Which element of the frame is an event id.
    pub(super) const fn event_id_at(self) -> Option<usize> {
        match self {
            Self::Published => Some(2),
            Self::Event => Some(3),
            _ => None,
        }
    }

    /// Which element of the frame is a kind.
    pub(super) const fn kind_at(self) -> Option<usize> {
        match self {
            Self::Publish => Some(3),
            Self::Event => Some(4),
            _ => None,
        }
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a frame of this dialect, or an element of the wrong type.
    #[error("{0}")]
    Malformed(&'static str),
    /// Nested too deep.
    #[error("arrays or maps are nested deeper than {}", limits::DEPTH)]
    TooDeep,
    /// Longer than the limit.
    #[error("the frame is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A frame that only the other end sends.
    #[error("{} frames do not come from this end", .0.name())]
    WrongEnd(Op),
}

impl DecodeError {
    /// The code that a connection is closed with for it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed(_) => Code::MalformedFrame,
            Self::TooDeep => Code::TooDeep,
            Self::TooLarge { .. } => Code::FrameTooLarge,
            Self::WrongEnd(_) => Code::UnexpectedFrame,
        }
    }
}

impl From<MalformedValue> for DecodeError {
    fn from(value: MalformedValue) -> Self {
        match value {
            MalformedValue::TooDeep => Self::TooDeep,
            MalformedValue::Truncated => Self::Malformed("a value is cut off"),
            MalformedValue::Reserved => Self::Malformed("0xc1 begins no MessagePack value"),
            MalformedValue::Utf8 => Self::Malformed("text is not UTF-8"),
            MalformedValue::Trailing => Self::Malformed("there are bytes after the frame"),
        }
    }
}

/// The options and fields of hello.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The highest version that the client speaks.
    pub version: u64,
    /// Who the client claims to be.
    pub token: Option<String>,
    /// Name and version of the client, for logs.
    pub client: Option<String>,
    /// Why the client chose its transport.
    pub transport: Option<String>,
}

/// The fields of subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The client's number for this request.
    pub request: u32,
    /// The group's name, not yet parsed.
    pub group: String,
    /// The last event that the client has.
    pub since: Option<Position>,
}

/// The fields of who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterRequest {
    /// The client's number for this request.
    pub request: u32,
    /// The group's name, not yet parsed.
    pub group: String,
    /// The list begins after this user, not yet parsed.
    pub after: Option<String>,
    /// How many users at most.
    pub limit: Option<u64>,
}

/// A kind as it stands in a frame, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawKind {
    /// A kind that has a number.
    Number(u64),
    /// An application's own.
    Name(String),
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Who it is.
    Hello(Hello),
    /// Follow a group.
    Subscribe(Subscribe),
    /// Stop following a group.
    Unsubscribe {
        /// The client's number for this request.
        request: u32,
        /// The group's name, not yet parsed.
        group: String,
    },
    /// Send an event to a group.
    Publish {
        /// The client's number for this request.
        request: u32,
        /// The group's name, not yet parsed.
        group: String,
        /// The event's kind.
        kind: RawKind,
        /// One MessagePack value.
        body: Option<Bytes>,
        /// One MessagePack value.
        data: Option<Bytes>,
        /// Idempotency key, not yet parsed.
        key: Option<String>,
    },
    /// A new token.
    Refresh {
        /// The client's number for this request.
        request: u32,
        /// The token.
        token: String,
    },
    /// Who is in a group?
    Who(RosterRequest),
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// The client leaves.
    Goodbye,
    /// An opcode that this version doesn't know.
    Unknown {
        /// Its request number, if it looks like a request.
        request: Option<u32>,
    },
}

/// The fields of welcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Welcome {
    /// Unique for each connection.
    pub session: String,
    /// Who the server takes the client for.
    pub user: Option<String>,
    /// Ping interval in ms.
    pub ping_ms: u64,
    /// Longest frame that the client may send, in bytes.
    pub max_frame: u64,
    /// Groups that the session may follow.
    pub max_groups: u64,
    /// Name and version of the server.
    pub server: String,
    /// Name of the node.
    pub node: String,
}

/// Whether a subscriber who asked for a position gets everything since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// No position was asked for.
    #[default]
    NotAsked,
    /// All that was missed follows.
    Recovered,
    /// Something is lost; a gap frame says what.
    Lost,
}

macro_rules! gap_reasons {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $name:literal,)*) => {
        /// Why events will not come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum GapReason {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl GapReason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in documents and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

gap_reasons! {
    /// History no longer reaches back to the position asked for.
    Expired = 1 "expired",
    /// The group has started anew; the position asked for means nothing in it.
    Epoch = 2 "epoch",
    /// The connection could not keep up and the group's policy says to drop.
    Slow = 3 "slow",
    /// The link between nodes lost events that history could not replace.
    Broker = 4 "broker",
}

/// Events of a group that will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The group's epoch from now on.
    pub epoch: u32,
    /// The first offset that is lost, 0 if not known.
    pub from: u64,
    /// The last offset that is lost, 0 if not known.
    pub to: u64,
    /// How many events, if known.
    pub count: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// The session is open.
    Welcome(Welcome),
    /// The session follows the group.
    Subscribed {
        /// The request this answers, 0 for none.
        request: u32,
        /// Stands for the group from now on.
        number: u32,
        /// The group's name.
        group: String,
        /// Live events come after this.
        position: Position,
        /// Whether all that was missed follows.
        recovery: Recovery,
        /// How many events of the past follow.
        missed: u64,
    },
    /// The session no longer follows the group.
    Unsubscribed {
        /// The request this answers, 0 for none.
        request: u32,
        /// The group's name.
        group: String,
        /// Why, if the server did it.
        code: Option<Code>,
    },
    /// The event has its place.
    Published {
        /// The request this answers.
        request: u32,
        /// The event's id.
        id: EventId,
        /// The event's position.
        position: Position,
    },
    /// The new token holds.
    Refreshed {
        /// The request this answers.
        request: u32,
        /// For how many seconds, if the token ends.
        valid_s: Option<u64>,
    },
    /// The request failed.
    Error {
        /// The request this answers.
        request: u32,
        /// Why.
        code: u64,
        /// Why, for people.
        sentence: String,
        /// Repeat it after so many ms.
        retry_ms: Option<u64>,
    },
    /// Who is in the group.
    Present {
        /// The request this answers.
        request: u32,
        /// The group's name.
        group: String,
        /// Who.
        roster: Roster,
    },
    /// An event of a group.
    Event {
        /// The group's number.
        number: u32,
        /// The event.
        event: Event,
    },
    /// Events that will not come.
    Gap {
        /// The group's number.
        number: u32,
        /// Which and why.
        gap: Gap,
    },
    /// Who has come, and who has gone.
    Presence {
        /// The group's number.
        number: u32,
        /// What has changed.
        change: PresenceChange,
    },
    /// Events of the group may not come for the time being.
    Interrupted {
        /// The group's number.
        number: u32,
    },
    /// They come again; what did not come meanwhile has come, or a gap has told of it.
    Resumed {
        /// The group's number.
        number: u32,
    },
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// The connection ends.
    Goodbye {
        /// Why.
        code: u64,
        /// Why, for people.
        sentence: String,
        /// Whether the client may come back by itself.
        reconnect: bool,
        /// After how many ms at the earliest.
        delay_ms: u64,
    },
    /// An opcode, or a code within it, that this version doesn't know.
    Unknown,
}

impl ClientFrame {
    /// Reads a frame of a client.
    ///
    /// # Errors
    /// Says why the bytes are no such frame; the connection can't go on.
    pub fn decode(dialect: Dialect, frame: &Bytes) -> Result<Self, DecodeError> {
        let frame = to_msgpack(dialect, frame)?;
        let mut fields = Fields::of(&frame)?;
        let number = fields.uint("the opcode is no integer")?;
        let Some(op) = Op::from_number(number) else {
            let request = fields.next().and_then(msgpack::as_uint).and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
            return Ok(Self::Unknown { request });
        };
        Ok(match op {
            Op::Hello => Self::Hello(decode_hello(&mut fields)?),
            Op::Subscribe => Self::Subscribe(decode_subscribe(&mut fields)?),
            Op::Unsubscribe => Self::Unsubscribe { request: fields.request()?, group: fields.text("the group is no text")? },
            Op::Publish => decode_publish(&mut fields)?,
            Op::Refresh => Self::Refresh { request: fields.request()?, token: fields.text("the token is no text")? },
            Op::Who => Self::Who(decode_who(&mut fields)?),
            Op::Ping => Self::Ping(fields.uint(NO_PING)?),
            Op::Pong => Self::Pong(fields.uint(NO_PING)?),
            Op::Goodbye => Self::Goodbye,
            op @ (Op::Welcome
            | Op::Subscribed
            | Op::Unsubscribed
            | Op::Published
            | Op::Refreshed
            | Op::Error
            | Op::Present
            | Op::Event
            | Op::Gap
            | Op::Presence
            | Op::Interrupted
            | Op::Resumed) => return Err(DecodeError::WrongEnd(op)),
        })
    }

    /// Writes the frame, without any framing around it.
    #[must_use]
    pub fn encode(&self, dialect: Dialect) -> Bytes {
        from_msgpack(dialect, self.to_msgpack())
    }

    fn to_msgpack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Hello(hello) => encode_hello(&mut out, hello),
            Self::Subscribe(Subscribe { request, group, since }) => {
                begin(&mut out, Op::Subscribe, 2 + usize::from(since.is_some()));
                msgpack::put_uint(&mut out, (*request).into());
                msgpack::put_text(&mut out, group);
                if let Some(Position { epoch, offset }) = since {
                    msgpack::put_map(&mut out, 1);
                    msgpack::put_text(&mut out, "since");
                    msgpack::put_array(&mut out, 2);
                    msgpack::put_uint(&mut out, (*epoch).into());
                    msgpack::put_uint(&mut out, *offset);
                }
            }
            Self::Unsubscribe { request, group } => put_request(&mut out, Op::Unsubscribe, *request, group),
            Self::Refresh { request, token } => put_request(&mut out, Op::Refresh, *request, token),
            Self::Publish { request, group, kind, body, data, key } => {
                let optional = if key.is_some() { 2 } else { usize::from(data.is_some()) };
                begin(&mut out, Op::Publish, 4 + optional);
                msgpack::put_uint(&mut out, (*request).into());
                msgpack::put_text(&mut out, group);
                match kind {
                    RawKind::Number(number) => msgpack::put_uint(&mut out, *number),
                    RawKind::Name(name) => msgpack::put_text(&mut out, name),
                }
                put_value(&mut out, body.as_ref());
                if optional > 0 {
                    put_value(&mut out, data.as_ref());
                }
                if let Some(key) = key {
                    msgpack::put_map(&mut out, 1);
                    msgpack::put_text(&mut out, "key");
                    msgpack::put_text(&mut out, key);
                }
            }
            Self::Who(who) => encode_who(&mut out, who),
            Self::Ping(n) => put_numbers(&mut out, Op::Ping, &[*n]),
            Self::Pong(n) => put_numbers(&mut out, Op::Pong, &[*n]),
            Self::Goodbye => put_numbers(&mut out, Op::Goodbye, &[Code::GoingAway.number().into()]),
            Self::Unknown { request } => {
                msgpack::put_array(&mut out, 2);
                msgpack::put_uint(&mut out, 0x0f);
                msgpack::put_uint(&mut out, request.unwrap_or_default().into());
            }
        }
        out
    }
}

impl ServerFrame {
    /// Reads a frame of a server.
    ///
    /// # Errors
    /// Says why the bytes are no such frame.
    pub fn decode(dialect: Dialect, frame: &Bytes) -> Result<Self, DecodeError> {
        let frame = to_msgpack(dialect, frame)?;
        let mut fields = Fields::of(&frame)?;
        let number = fields.uint("the opcode is no integer")?;
        let Some(op) = Op::from_number(number) else { return Ok(Self::Unknown) };
        Ok(match op {
            Op::Welcome => Self::Welcome(decode_welcome(&mut fields)?),
            Op::Subscribed => Self::Subscribed {
                request: fields.small("the request is no integer")?,
                number: fields.small(NO_NUMBER)?,
                group: fields.text("the group is no text")?,
                position: fields.position()?,
                recovery: match fields.optional_bool() {
                    None => Recovery::NotAsked,
                    Some(true) => Recovery::Recovered,
                    Some(false) => Recovery::Lost,
                },
                missed: fields.optional_uint().unwrap_or(0),
            },
            Op::Unsubscribed => Self::Unsubscribed {
                request: fields.small("the request is no integer")?,
                group: fields.text("the group is no text")?,
                code: fields.optional_uint().and_then(Code::from_number),
            },
            Op::Published => Self::Published {
                request: fields.request()?,
                id: EventId::from_number(fields.uint("the event id is no integer")?),
                position: fields.position()?,
            },
            Op::Refreshed => Self::Refreshed { request: fields.request()?, valid_s: fields.optional_uint() },
            Op::Error => Self::Error {
                request: fields.small("the request is no integer")?,
                code: fields.uint("the code is no integer")?,
                sentence: fields.text("the sentence is no text")?,
                retry_ms: fields.optional_uint(),
            },
            Op::Present => Self::Present {
                request: fields.request()?,
                group: fields.text("the group is no text")?,
                roster: presence::decode_roster(&mut fields)?,
            },
            Op::Event => decode_event(&mut fields)?,
            Op::Gap => decode_gap(&mut fields)?,
            Op::Presence => Self::Presence { number: fields.small(NO_NUMBER)?, change: presence::decode_change(&mut fields)? },
            Op::Interrupted => Self::Interrupted { number: fields.small(NO_NUMBER)? },
            Op::Resumed => Self::Resumed { number: fields.small(NO_NUMBER)? },
            Op::Ping => Self::Ping(fields.uint(NO_PING)?),
            Op::Pong => Self::Pong(fields.uint(NO_PING)?),
            Op::Goodbye => Self::Goodbye {
                code: fields.uint("the code is no integer")?,
                sentence: fields.optional_text().unwrap_or_default(),
                reconnect: fields.optional_bool().unwrap_or(false),
                delay_ms: fields.optional_uint().unwrap_or(0),
            },
            op @ (Op::Hello | Op::Subscribe | Op::Unsubscribe | Op::Publish | Op::Refresh | Op::Who) => {
                return Err(DecodeError::WrongEnd(op));
            }
        })
    }

    /// Writes the frame, without any framing around it.
    #[must_use]
    pub fn encode(&self, dialect: Dialect) -> Bytes {
        from_msgpack(dialect, self.to_msgpack())
    }

    fn to_msgpack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Welcome(welcome) => encode_welcome(&mut out, welcome),
            Self::Subscribed { request, number, group, position, recovery, missed } => {
                begin(&mut out, Op::Subscribed, 7);
                msgpack::put_uint(&mut out, (*request).into());
                msgpack::put_uint(&mut out, (*number).into());
                msgpack::put_text(&mut out, group);
                msgpack::put_uint(&mut out, position.epoch.into());
                msgpack::put_uint(&mut out, position.offset);
                match recovery {
                    Recovery::NotAsked => msgpack::put_nil(&mut out),
                    Recovery::Recovered => msgpack::put_bool(&mut out, true),
                    Recovery::Lost => msgpack::put_bool(&mut out, false),
                }
                msgpack::put_uint(&mut out, *missed);
            }
            Self::Unsubscribed { request, group, code } => {
                begin(&mut out, Op::Unsubscribed, 3);
                msgpack::put_uint(&mut out, (*request).into());
                msgpack::put_text(&mut out, group);
                msgpack::put_uint(&mut out, code.map_or(0, |code| code.number().into()));
            }
            Self::Published { request, id, position } => {
                put_numbers(&mut out, Op::Published, &[(*request).into(), id.number(), position.epoch.into(), position.offset]);
            }
            Self::Refreshed { request, valid_s } => {
                begin(&mut out, Op::Refreshed, 2);
                msgpack::put_uint(&mut out, (*request).into());
                put_optional(&mut out, *valid_s);
            }
            Self::Error { request, code, sentence, retry_ms } => {
                begin(&mut out, Op::Error, 4);
                msgpack::put_uint(&mut out, (*request).into());
                msgpack::put_uint(&mut out, *code);
                msgpack::put_text(&mut out, sentence);
                put_optional(&mut out, *retry_ms);
            }
            Self::Present { request, group, roster } => {
                begin(&mut out, Op::Present, 9);
                msgpack::put_uint(&mut out, (*request).into());
                msgpack::put_text(&mut out, group);
                presence::put_roster(&mut out, roster);
            }
            Self::Event { number, event } => put_event(&mut out, *number, event),
            Self::Gap { number, gap } => {
                begin(&mut out, Op::Gap, 6);
                [(*number).into(), gap.epoch.into(), gap.from, gap.to].into_iter().for_each(|n| msgpack::put_uint(&mut out, n));
                put_optional(&mut out, gap.count);
                msgpack::put_uint(&mut out, gap.reason as u64);
            }
            Self::Presence { number, change } => presence::put_change(&mut out, *number, change),
            Self::Interrupted { number } => put_numbers(&mut out, Op::Interrupted, &[(*number).into()]),
            Self::Resumed { number } => put_numbers(&mut out, Op::Resumed, &[(*number).into()]),
            Self::Ping(n) => put_numbers(&mut out, Op::Ping, &[*n]),
            Self::Pong(n) => put_numbers(&mut out, Op::Pong, &[*n]),
            Self::Goodbye { code, sentence, reconnect, delay_ms } => {
                begin(&mut out, Op::Goodbye, 4);
                msgpack::put_uint(&mut out, *code);
                msgpack::put_text(&mut out, sentence);
                msgpack::put_bool(&mut out, *reconnect);
                msgpack::put_uint(&mut out, *delay_ms);
            }
            Self::Unknown => {
                msgpack::put_array(&mut out, 1);
                msgpack::put_uint(&mut out, 0x2f);
            }
        }
        out
    }

    /// The answer to a request that failed, with the sentence of the code's own.
    #[must_use]
    pub fn error(request: u32, code: Code) -> Self {
        Self::Error { request, code: code.number().into(), sentence: code.sentence().to_owned(), retry_ms: None }
    }

    /// The last frame of a connection.
    #[must_use]
    pub fn goodbye(code: Code, delay_ms: u64) -> Self {
        Self::Goodbye { code: code.number().into(), sentence: code.sentence().to_owned(), reconnect: code.may_reconnect(), delay_ms }
    }
}

/// Writes an event frame without building a [`ServerFrame`] around it: this runs once a dialect for each event.
#[must_use]
pub(super) fn encode_event(dialect: Dialect, number: u32, event: &Event) -> Bytes {
    let mut out = Vec::with_capacity(32 + event.body.len() + event.data.as_ref().map_or(0, Bytes::len));
    put_event(&mut out, number, event);
    from_msgpack(dialect, out)
}

const NO_PING: &str = "the ping's number is no integer";
const NO_NUMBER: &str = "the group number is no integer";

fn to_msgpack(dialect: Dialect, frame: &Bytes) -> Result<Bytes, DecodeError> {
    let frame = match dialect {
        Dialect::Msgpack => frame.clone(),
        Dialect::Json => json::frame_to_msgpack(frame)?.into(),
    };
    msgpack::check_value(&frame, limits::DEPTH)?;
    Ok(frame)
}

fn from_msgpack(dialect: Dialect, frame: Vec<u8>) -> Bytes {
    match dialect {
        Dialect::Msgpack => frame.into(),
        Dialect::Json => json::frame_from_msgpack(&frame).into(),
    }
}

/// The elements of a frame in order; missing ones are nil.
pub(super) struct Fields<'a> {
    frame: &'a Bytes,
    elements: Elements<'a>,
}

impl<'a> Fields<'a> {
    fn of(frame: &'a Bytes) -> Result<Self, DecodeError> {
        let elements = Elements::of_array(frame).ok_or(DecodeError::Malformed("the frame is no array"))?;
        Ok(Self { frame, elements })
    }

    /// The next element, `None` if it is missing or nil.
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        self.elements.next().filter(|element| !msgpack::is_nil(element))
    }

    pub(super) fn uint(&mut self, otherwise: &'static str) -> Result<u64, DecodeError> {
        self.next().and_then(msgpack::as_uint).ok_or(DecodeError::Malformed(otherwise))
    }

    pub(super) fn small(&mut self, otherwise: &'static str) -> Result<u32, DecodeError> {
        self.uint(otherwise).and_then(|n| u32::try_from(n).map_err(|_| DecodeError::Malformed(otherwise)))
    }

    fn request(&mut self) -> Result<u32, DecodeError> {
        match self.small("the request is no integer below 2^32")? {
            0 => Err(DecodeError::Malformed("request numbers begin at 1")),
            request => Ok(request),
        }
    }

    fn text(&mut self, otherwise: &'static str) -> Result<String, DecodeError> {
        self.next().and_then(msgpack::as_text).map(str::to_owned).ok_or(DecodeError::Malformed(otherwise))
    }

    fn position(&mut self) -> Result<Position, DecodeError> {
        Ok(Position { epoch: self.small("the epoch is no integer")?, offset: self.uint("the offset is no integer")? })
    }

    /// The next element as the bytes of one value.
    fn value(&mut self) -> Option<Bytes> {
        self.next().map(|element| self.frame.slice_ref(element))
    }

    fn optional_uint(&mut self) -> Option<u64> {
        self.next().and_then(msgpack::as_uint)
    }

    fn optional_bool(&mut self) -> Option<bool> {
        self.next().and_then(msgpack::as_bool)
    }

    pub(super) fn optional_text(&mut self) -> Option<String> {
        self.next().and_then(msgpack::as_text).map(str::to_owned)
    }

    /// Keys and values of an option map; keys that are no text are left out.
    fn options(&mut self) -> Result<impl Iterator<Item = (&'a str, &'a [u8])> + use<'a>, DecodeError> {
        let mut elements = match self.next() {
            None => None,
            Some(map) => Some(Elements::of_map(map).ok_or(DecodeError::Malformed("the options are no map"))?),
        };
        Ok(std::iter::from_fn(move || {
            let elements = elements.as_mut()?;
            Some((elements.next()?, elements.next()?))
        })
        .filter_map(|(key, value)| Some((msgpack::as_text(key)?, value))))
    }
}

fn decode_hello(fields: &mut Fields<'_>) -> Result<Hello, DecodeError> {
    let version = fields.uint("the version is no integer")?;
    let token = match fields.next() {
        None => None,
        Some(token) => Some(msgpack::as_text(token).ok_or(DecodeError::Malformed("the token is no text"))?.to_owned()),
    };
    let mut hello = Hello { version, token, ..Hello::default() };
    for (key, value) in fields.options()? {
        let text = msgpack::as_text(value).map(|text| text.chars().take(limits::HELLO_OPTION_CHARS).collect());
        match key {
            "client" => hello.client = text,
            "transport" => hello.transport = text,
            _ => {}
        }
    }
    Ok(hello)
}

fn encode_hello(out: &mut Vec<u8>, hello: &Hello) {
    begin(out, Op::Hello, 3);
    msgpack::put_uint(out, hello.version);
    match &hello.token {
        Some(token) => msgpack::put_text(out, token),
        None => msgpack::put_nil(out),
    }
    let options = [("client", &hello.client), ("transport", &hello.transport)];
    msgpack::put_map(out, options.iter().filter(|(_, value)| value.is_some()).count());
    for (key, value) in options {
        if let Some(value) = value {
            msgpack::put_text(out, key);
            msgpack::put_text(out, value);
        }
    }
}

fn decode_subscribe(fields: &mut Fields<'_>) -> Result<Subscribe, DecodeError> {
    let (request, group) = (fields.request()?, fields.text("the group is no text")?);
    let mut since = None;
    for (key, value) in fields.options()? {
        if key == "since" && !msgpack::is_nil(value) {
            since = Some(decode_position(value).ok_or(DecodeError::Malformed("since is no [epoch, offset]"))?);
        }
    }
    Ok(Subscribe { request, group, since })
}

fn decode_who(fields: &mut Fields<'_>) -> Result<RosterRequest, DecodeError> {
    let (request, group) = (fields.request()?, fields.text("the group is no text")?);
    let (mut after, mut limit) = (None, None);
    for (key, value) in fields.options()?.filter(|(_, value)| !msgpack::is_nil(value)) {
        match key {
            "after" => after = Some(msgpack::as_text(value).ok_or(DecodeError::Malformed("after is no text"))?.to_owned()),
            "limit" => limit = Some(msgpack::as_uint(value).ok_or(DecodeError::Malformed("limit is no integer"))?),
            _ => {}
        }
    }
    Ok(RosterRequest { request, group, after, limit })
}

fn encode_who(out: &mut Vec<u8>, RosterRequest { request, group, after, limit }: &RosterRequest) {
    let options = usize::from(after.is_some()) + usize::from(limit.is_some());
    begin(out, Op::Who, 2 + options.min(1));
    msgpack::put_uint(out, (*request).into());
    msgpack::put_text(out, group);
    if options > 0 {
        msgpack::put_map(out, options);
    }
    if let Some(after) = after {
        msgpack::put_text(out, "after");
        msgpack::put_text(out, after);
    }
    if let Some(limit) = limit {
        msgpack::put_text(out, "limit");
        msgpack::put_uint(out, *limit);
    }
}

fn decode_position(value: &[u8]) -> Option<Position> {
    let mut elements = Elements::of_array(value)?;
    let epoch = msgpack::as_uint(elements.next()?)?;
    Some(Position { epoch: u32::try_from(epoch).ok()?, offset: msgpack::as_uint(elements.next()?)? })
}

fn decode_publish(fields: &mut Fields<'_>) -> Result<ClientFrame, DecodeError> {
    let (request, group) = (fields.request()?, fields.text("the group is no text")?);
    let kind = decode_kind(fields)?;
    let (body, data) = (fields.value(), fields.value());
    let mut idempotency_key = None;
    for (key, value) in fields.options()? {
        if key == "key" && !msgpack::is_nil(value) {
            idempotency_key = Some(msgpack::as_text(value).ok_or(DecodeError::Malformed("the key is no text"))?.to_owned());
        }
    }
    Ok(ClientFrame::Publish { request, group, kind, body, data, key: idempotency_key })
}

fn decode_kind(fields: &mut Fields<'_>) -> Result<RawKind, DecodeError> {
    let element = fields.next().ok_or(DecodeError::Malformed("the kind is missing"))?;
    match (msgpack::as_uint(element), msgpack::as_text(element)) {
        (Some(number), _) => Ok(RawKind::Number(number)),
        (_, Some(name)) => Ok(RawKind::Name(name.to_owned())),
        (None, None) => Err(DecodeError::Malformed("the kind is neither integer nor text")),
    }
}

fn decode_welcome(fields: &mut Fields<'_>) -> Result<Welcome, DecodeError> {
    fields.uint("the version is no integer")?;
    let mut welcome = Welcome { session: fields.text("the session id is no text")?, ..Welcome::default() };
    for (key, value) in fields.options()? {
        let text = || msgpack::as_text(value).map(str::to_owned);
        let number = || msgpack::as_uint(value).unwrap_or(0);
        match key {
            "user" => welcome.user = text(),
            "ping" => welcome.ping_ms = number(),
            "maxFrame" => welcome.max_frame = number(),
            "maxGroups" => welcome.max_groups = number(),
            "server" => welcome.server = text().unwrap_or_default(),
            "node" => welcome.node = text().unwrap_or_default(),
            _ => {}
        }
    }
    Ok(welcome)
}

fn encode_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    begin(out, Op::Welcome, 3);
    msgpack::put_uint(out, 1);
    msgpack::put_text(out, &welcome.session);
    msgpack::put_map(out, 5 + usize::from(welcome.user.is_some()));
    if let Some(user) = &welcome.user {
        msgpack::put_text(out, "user");
        msgpack::put_text(out, user);
    }
    for (key, value) in [("ping", welcome.ping_ms), ("maxFrame", welcome.max_frame), ("maxGroups", welcome.max_groups)] {
        msgpack::put_text(out, key);
        msgpack::put_uint(out, value);
    }
    for (key, value) in [("server", &welcome.server), ("node", &welcome.node)] {
        msgpack::put_text(out, key);
        msgpack::put_text(out, value);
    }
}

fn decode_event(fields: &mut Fields<'_>) -> Result<ServerFrame, DecodeError> {
    let number = fields.small(NO_NUMBER)?;
    let offset = fields.uint("the offset is no integer")?;
    let id = EventId::from_number(fields.uint("the event id is no integer")?);
    let kind = match decode_kind(fields)? {
        RawKind::Number(number) => Kind::from_number(number),
        RawKind::Name(name) => Kind::parse(&name).ok(),
    };
    let body = fields.value().unwrap_or_else(|| Bytes::from_static(&[0xc0]));
    let data = fields.value();
    let sender = fields.optional_text().and_then(|sender| UserId::parse(&sender).ok());
    Ok(match kind {
        Some(kind) => ServerFrame::Event { number, event: Event { id, offset, kind, body, data, sender } },
        None => ServerFrame::Unknown,
    })
}

fn put_event(out: &mut Vec<u8>, number: u32, event: &Event) {
    let optional = if event.sender.is_some() { 2 } else { usize::from(event.data.is_some()) };
    begin(out, Op::Event, 5 + optional);
    msgpack::put_uint(out, number.into());
    msgpack::put_uint(out, event.offset);
    msgpack::put_uint(out, event.id.number());
    match event.kind.number() {
        Some(kind) => msgpack::put_uint(out, kind),
        None => msgpack::put_text(out, event.kind.name()),
    }
    out.extend_from_slice(&event.body);
    if optional > 0 {
        put_value(out, event.data.as_ref());
    }
    if let Some(sender) = &event.sender {
        msgpack::put_text(out, sender.as_str());
    }
}

fn decode_gap(fields: &mut Fields<'_>) -> Result<ServerFrame, DecodeError> {
    let number = fields.small(NO_NUMBER)?;
    let epoch = fields.small("the epoch is no integer")?;
    let from = fields.uint("from is no integer")?;
    let to = fields.uint("to is no integer")?;
    let count = fields.optional_uint();
    let reason = fields.uint("the reason is no integer")?;
    Ok(match GapReason::ALL.iter().copied().find(|&known| known as u64 == reason) {
        Some(reason) => ServerFrame::Gap { number, gap: Gap { epoch, from, to, count, reason } },
        // A gap is a gap, whatever this version calls its reason.
        None => ServerFrame::Gap { number, gap: Gap { epoch, from, to, count, reason: GapReason::Broker } },
    })
}

pub(super) fn begin(out: &mut Vec<u8>, op: Op, fields: usize) {
    msgpack::put_array(out, fields + 1);
    msgpack::put_uint(out, op.number());
}

fn put_numbers(out: &mut Vec<u8>, op: Op, numbers: &[u64]) {
    begin(out, op, numbers.len());
    numbers.iter().for_each(|&n| msgpack::put_uint(out, n));
}

fn put_request(out: &mut Vec<u8>, op: Op, request: u32, text: &str) {
    begin(out, op, 2);
    msgpack::put_uint(out, request.into());
    msgpack::put_text(out, text);
}

fn put_value(out: &mut Vec<u8>, value: Option<&Bytes>) {
    match value {
        Some(value) => out.extend_from_slice(value),
        None => msgpack::put_nil(out),
    }
}

fn put_optional(out: &mut Vec<u8>, n: Option<u64>) {
    match n {
        Some(n) => msgpack::put_uint(out, n),
        None => msgpack::put_nil(out),
    }
}

pub(super) fn put_optional_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => msgpack::put_text(out, text),
        None => msgpack::put_nil(out),
    }
}
