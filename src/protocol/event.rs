//! Events: what is sent to a group, before (`Content`) and after (`Event`) the broker has given it a place.

use std::{fmt, str::FromStr, sync::atomic::AtomicU64, sync::atomic::Ordering};

use bytes::Bytes;

use super::{
    frame::RawKind,
    limits,
    msgpack::{self, Elements, MalformedValue},
    name::{NameError, UserId, check_kind},
};

/// A unique event id: milliseconds since 1970 in the upper 42 bits, a suffix in the lower 22.
///
/// The timestamp is part of the id, because both together would cost an event frame 18 bytes instead of 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u64);

const SUFFIX_BITS: u32 = 22;
const SUFFIX_MASK: u64 = (1 << SUFFIX_BITS) - 1;

impl EventId {
    /// The id with this number on the wire.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// When the event was accepted, in ms since 1970-01-01 UTC.
    #[must_use]
    pub const fn timestamp_ms(self) -> u64 {
        self.0 >> SUFFIX_BITS
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.timestamp_ms(), self.0 & SUFFIX_MASK)
    }
}

/// Text that is no event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event id looks like 1764042123456-77")]
pub struct EventIdError;

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let (ms, suffix) = text.split_once('-').ok_or(EventIdError)?;
        let ms: u64 = ms.parse().map_err(|_| EventIdError)?;
        let suffix: u64 = suffix.parse().map_err(|_| EventIdError)?;
        if ms >> (64 - SUFFIX_BITS) != 0 || suffix > SUFFIX_MASK {
            return Err(EventIdError);
        }
        Ok(Self(ms << SUFFIX_BITS | suffix))
    }
}

/// Gives out the event ids of one node, always rising even if the clock goes back.
///
/// The suffix is 10 bits of node number and a 12-bit count; a node that makes more than 4,096 ids in one millisecond borrows from the next.
#[derive(Debug)]
pub struct IdGenerator {
    node: AtomicU64,
    last: AtomicU64,
}

const COUNT_BITS: u32 = 12;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const NODES: u64 = 1 << (SUFFIX_BITS - COUNT_BITS);

impl IdGenerator {
    /// A generator for the node with this number; only its lowest ten bits count.
    #[must_use]
    pub fn new(node: u16) -> Self {
        let ids = Self { node: AtomicU64::new(0), last: AtomicU64::new(0) };
        ids.become_node(node);
        ids
    }

    /// From now on the node has this number. Ids go on rising.
    pub fn become_node(&self, node: u16) {
        self.node.store((u64::from(node) % NODES) << COUNT_BITS, Ordering::Relaxed);
    }

    /// The next id, at `now_ms` since 1970-01-01 UTC.
    pub fn next(&self, now_ms: u64) -> EventId {
        let node = self.node.load(Ordering::Relaxed);
        let fresh = now_ms << SUFFIX_BITS | node;
        let after = |last: u64| {
            let same_node = last & SUFFIX_MASK & !COUNT_MASK == node;
            match last {
                last if last < fresh => fresh,
                last if same_node && last & COUNT_MASK < COUNT_MASK => last + 1,
                last => ((last >> SUFFIX_BITS) + 1) << SUFFIX_BITS | node,
            }
        };
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        EventId(after(last.unwrap_or_else(|last| last)))
    }
}

/// How serious a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something went well.
    Success,
    /// Something failed.
    Error,
    /// Good to know.
    Info,
    /// Something needs care.
    Warning,
}

impl Level {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Success, Self::Error, Self::Info, Self::Warning].into_iter().find(|level| level.name() == name)
    }
}

/// What sort of thing an event is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text.
    Message,
    /// Text with a level and an optional title.
    Notification,
    /// Something to download.
    File,
    /// A background task has moved on.
    TaskUpdate,
    /// A background task has ended well.
    TaskComplete,
    /// A background task has failed.
    TaskError,
    /// The application's own.
    Own(Box<str>),
}

/// The kinds that have a number, which is their index here.
const NUMBERED: [(&str, Kind); 6] = [
    ("message", Kind::Message),
    ("notification", Kind::Notification),
    ("file", Kind::File),
    ("task.update", Kind::TaskUpdate),
    ("task.complete", Kind::TaskComplete),
    ("task.error", Kind::TaskError),
];

impl Kind {
    /// The kind with this name.
    ///
    /// # Errors
    /// Says which rule an own kind's name breaks.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if let Some((_, kind)) = NUMBERED.iter().find(|(known, _)| *known == name) {
            return Ok(kind.clone());
        }
        check_kind(name)?;
        Ok(Self::Own(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Own(name) => name,
            known => NUMBERED.iter().find(|(_, kind)| kind == known).map_or("", |(name, _)| name),
        }
    }

    pub(super) fn number_of(name: &str) -> Option<u64> {
        NUMBERED.iter().zip(0..).find(|((known, _), _)| *known == name).map(|(_, number)| number)
    }

    pub(super) fn name_of(number: u64) -> Option<&'static str> {
        NUMBERED.get(usize::try_from(number).ok()?).map(|(name, _)| *name)
    }

    pub(super) fn from_number(number: u64) -> Option<Self> {
        NUMBERED.get(usize::try_from(number).ok()?).map(|(_, kind)| kind.clone())
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Own(_) => None,
            known => Self::number_of(known.name()),
        }
    }
}

/// An event that has its place. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique, and says when.
    pub id: EventId,
    /// Its place in the group, 0 if the group keeps no history.
    pub offset: u64,
    /// What sort of thing it is.
    pub kind: Kind,
    /// One checked MessagePack value; its form depends on the kind (`docs/protocol.md` section 6).
    pub body: Bytes,
    /// A checked MessagePack map.
    pub data: Option<Bytes>,
    /// The user who published it; `None` for the application.
    pub sender: Option<UserId>,
}

/// What somebody wants to send, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    kind: Kind,
    body: Bytes,
    data: Option<Bytes>,
}

/// Content that breaks a rule of `docs/protocol.md` sections 4 to 6. The sentence is fit for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The kind's name breaks its rule.
    #[error(transparent)]
    Kind(#[from] NameError),
    /// The kind's number is not known.
    #[error("kind {0} is not known")]
    UnknownKind(u64),
    /// The body's form is not that of its kind.
    #[error("the body of kind {kind} has to be {rule}")]
    Body {
        /// The kind's name.
        kind: String,
        /// What it has to be.
        rule: &'static str,
    },
    /// Data that is no map.
    #[error("data has to be a map or null")]
    Data,
    /// Bytes that are no value.
    #[error("body or data: {0}")]
    Malformed(#[from] MalformedValue),
    /// Over the size limit.
    #[error("body and data take {len} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Their length in bytes of MessagePack.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// A file as a publisher describes it.
#[derive(Debug, Clone, Default)]
pub struct FileSpec<'a> {
    /// Where it can be had.
    pub url: &'a str,
    /// What it is called; by default the last part of the URL's path.
    pub name: Option<&'a str>,
    /// What to say about it; by default `File ready for download`.
    pub message: Option<&'a str>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

const FILE_MESSAGE: &str = "File ready for download";

/// Values inside a frame are one level below it.
const VALUE_DEPTH: usize = limits::DEPTH - 1;

impl Content {
    /// A message.
    ///
    /// # Errors
    /// Data that is no map, or too much of either.
    pub fn message(text: &str, data: Option<Bytes>) -> Result<Self, ContentError> {
        let mut body = Vec::with_capacity(text.len() + 5);
        msgpack::put_text(&mut body, text);
        Self::checked(Kind::Message, body.into(), data)
    }

    /// A notification; an empty title means none.
    ///
    /// # Errors
    /// Data that is no map, or too much of either.
    pub fn notification(level: Level, title: &str, text: &str, data: Option<Bytes>) -> Result<Self, ContentError> {
        let mut body = Vec::with_capacity(title.len() + text.len() + 20);
        msgpack::put_array(&mut body, 3);
        [level.name(), title, text].iter().for_each(|part| msgpack::put_text(&mut body, part));
        Self::checked(Kind::Notification, body.into(), data)
    }

    /// A file.
    ///
    /// # Errors
    /// An empty URL, data that is no map, or too much of either.
    pub fn file(file: &FileSpec<'_>, data: Option<Bytes>) -> Result<Self, ContentError> {
        if file.url.is_empty() || file.size.is_some_and(|size| size >= limits::NUMBERS) {
            return Err(Self::body_rule(&Kind::File, FILE_RULE));
        }
        let name = file.name.filter(|name| !name.is_empty()).unwrap_or_else(|| last_part(file.url));
        let message = file.message.filter(|text| !text.is_empty()).unwrap_or(FILE_MESSAGE);
        let mut body = Vec::with_capacity(file.url.len() + name.len() + message.len() + 30);
        msgpack::put_array(&mut body, 4);
        [file.url, name, message].iter().for_each(|part| msgpack::put_text(&mut body, part));
        match file.size {
            Some(size) => msgpack::put_uint(&mut body, size),
            None => msgpack::put_nil(&mut body),
        }
        Self::checked(Kind::File, body.into(), data)
    }

    /// An event of any kind from MessagePack values, as in a `publish` frame. An absent body is nil.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(kind: &RawKind, body: Option<Bytes>, data: Option<Bytes>) -> Result<Self, ContentError> {
        let kind = match kind {
            RawKind::Number(number) => Kind::from_number(*number).ok_or(ContentError::UnknownKind(*number))?,
            RawKind::Name(name) => Kind::parse(name)?,
        };
        let body = body.unwrap_or_else(|| Bytes::from_static(&[0xc0]));
        let wrong = |rule| Self::body_rule(&kind, rule);
        match kind {
            Kind::Message => {
                msgpack::as_text(&body).ok_or_else(|| wrong("text"))?;
            }
            Kind::Notification => {
                let mut parts = texts(&body, 3).ok_or_else(|| wrong(NOTIFICATION_RULE))?;
                let (level, title, text) = (parts.next(), parts.next(), parts.next());
                let level = level.flatten().and_then(Level::from_name).ok_or_else(|| wrong(NOTIFICATION_RULE))?;
                let (title, text) = title.flatten().zip(text.flatten()).ok_or_else(|| wrong(NOTIFICATION_RULE))?;
                return Self::notification(level, title, text, data);
            }
            Kind::File => {
                let file = parse_file(&body).ok_or_else(|| wrong(FILE_RULE))?;
                return Self::file(&file, data);
            }
            Kind::TaskUpdate | Kind::TaskComplete | Kind::TaskError => {
                Elements::of_map(&body).ok_or_else(|| wrong("a map"))?;
            }
            Kind::Own(_) => {}
        }
        Self::checked(kind, body, data)
    }

    /// What sort of thing it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The event that this becomes at its place.
    #[must_use]
    pub fn placed(self, id: EventId, offset: u64, sender: Option<UserId>) -> Event {
        Event { id, offset, kind: self.kind, body: self.body, data: self.data, sender }
    }

    fn checked(kind: Kind, body: Bytes, data: Option<Bytes>) -> Result<Self, ContentError> {
        msgpack::check_value(&body, VALUE_DEPTH)?;
        if let Some(data) = &data {
            msgpack::check_value(data, VALUE_DEPTH)?;
            Elements::of_map(data).ok_or(ContentError::Data)?;
        }
        match body.len() + data.as_ref().map_or(0, Bytes::len) {
            len if len > limits::EVENT_BYTES => Err(ContentError::TooLarge { len, limit: limits::EVENT_BYTES }),
            _ => Ok(Self { kind, body, data }),
        }
    }

    fn body_rule(kind: &Kind, rule: &'static str) -> ContentError {
        ContentError::Body { kind: kind.name().to_owned(), rule }
    }
}

const NOTIFICATION_RULE: &str = "[type, title, text] with type success, error, info or warning";
const FILE_RULE: &str = "[url, name, text, size] with a non-empty url; name, text and size may be null, size is below 2^53";

/// The elements of an array of at most `most`, each as text if it is that; `None` inside for nil or another type.
fn texts(body: &[u8], most: usize) -> Option<impl Iterator<Item = Option<&str>>> {
    Some(Elements::of_array(body)?.take(most).map(msgpack::as_text))
}

fn parse_file(body: &[u8]) -> Option<FileSpec<'_>> {
    let mut elements = Elements::of_array(body)?;
    let url = msgpack::as_text(elements.next()?)?;
    let mut text = || match elements.next() {
        None => Some(None),
        Some(nil) if msgpack::is_nil(nil) => Some(None),
        Some(element) => msgpack::as_text(element).map(Some),
    };
    let (name, message) = (text()?, text()?);
    let size = match elements.next() {
        None => None,
        Some(nil) if msgpack::is_nil(nil) => None,
        Some(size) => Some(msgpack::as_uint(size)?),
    };
    Some(FileSpec { url, name, message, size })
}

/// The last part of a URL's path, without query and fragment; the whole URL if that is empty.
fn last_part(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    match path.rsplit('/').next() {
        Some(part) if !part.is_empty() => part,
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::to_json_value;
    use serde_json::json;

    fn file(url: &str) -> serde_json::Value {
        to_json_value(&Content::file(&FileSpec { url, ..FileSpec::default() }, None).unwrap().body)
    }

    #[test]
    fn ids_rise_whatever_the_clock_does() {
        let ids = IdGenerator::new(5);
        let mut last = ids.next(1_764_042_123_456);
        assert_eq!(last.to_string(), "1764042123456-20480");
        assert_eq!(last.to_string().parse(), Ok(last));
        for now in [1_764_042_123_456, 1_764_042_123_000, 5, 1_764_042_123_457].into_iter().cycle().take(20_000) {
            let next = ids.next(now);
            assert!(next > last);
            assert_eq!(next.number() >> COUNT_BITS & (NODES - 1), 5);
            last = next;
        }
        ids.become_node(4);
        for now in [1_764_042_123_457, 5] {
            let next = ids.next(now);
            assert!(next > last && next.number() >> COUNT_BITS & (NODES - 1) == 4);
            last = next;
        }
    }

    #[test]
    fn files_have_defaults() {
        assert_eq!(file("/media/reports/q4.pdf"), json!(["/media/reports/q4.pdf", "q4.pdf", "File ready for download", null]));
        assert_eq!(file("https://x.org/a/b.zip?t=1#p")[1], json!("b.zip"));
        assert_eq!(file("https://x.org/")[1], json!("x.org"));
        assert!(Content::file(&FileSpec::default(), None).is_err());
        let sized = |size| Content::file(&FileSpec { url: "/x", size: Some(size), ..FileSpec::default() }, None);
        assert!(sized(limits::NUMBERS - 1).is_ok());
        assert!(sized(limits::NUMBERS).unwrap_err().to_string().contains("below 2^53"));
    }

    #[test]
    fn bodies_have_the_form_of_their_kind() {
        let parse = |kind: RawKind, body: serde_json::Value| {
            Content::parse(&kind, Some(msgpack::from_json(&body).into()), None).map(|c| to_json_value(&c.body)).map_err(|e| e.to_string())
        };
        assert_eq!(parse(RawKind::Number(0), json!("hi")), Ok(json!("hi")));
        assert_eq!(parse(RawKind::Number(0), json!(1)), Err("the body of kind message has to be text".into()));
        assert_eq!(parse(RawKind::Number(1), json!(["info", "", "x"])), Ok(json!(["info", "", "x"])));
        assert!(parse(RawKind::Number(1), json!(["fatal", "", "x"])).is_err());
        assert_eq!(parse(RawKind::Number(2), json!(["/a/b"])), Ok(json!(["/a/b", "b", "File ready for download", null])));
        assert!(parse(RawKind::Number(2), json!(["/a/b", 1])).is_err());
        assert!(parse(RawKind::Number(3), json!([])).is_err());
        assert_eq!(parse(RawKind::Name("chat.typing".into()), json!({"a": [1]})), Ok(json!({"a": [1]})));
        assert_eq!(parse(RawKind::Number(99), json!(1)), Err("kind 99 is not known".into()));
    }

    #[test]
    fn the_size_is_bounded_and_data_is_a_map() {
        let long = "x".repeat(limits::EVENT_BYTES);
        assert!(matches!(Content::message(&long, None), Err(ContentError::TooLarge { .. })));
        assert_eq!(Content::message("x", Some(Bytes::from_static(&[0x90]))), Err(ContentError::Data));
        assert!(matches!(Content::message("x", Some(Bytes::from_static(&[0x81]))), Err(ContentError::Malformed(_))));
    }
}
