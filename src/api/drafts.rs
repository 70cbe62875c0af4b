//! Events as callers write them, and as they are shown again.
//!
//! Owns the field names of the HTTP API. The rules about the values are the protocol's; nothing is checked here that `Content` checks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    body::Packed,
    problem::{Problem, Reason},
};
use crate::{
    broker,
    protocol::{self, Content, Event, EventId, FileSpec, Kind, Level, RawKind},
};

/// Something that can become the content of an event.
pub(super) trait Draft: serde::de::DeserializeOwned {
    /// The event, checked.
    fn content(self) -> Result<Content, Problem>;
}

/// A text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// What to say.
    #[schema(example = "New leads available in the system!")]
    message: String,
    /// Anything more for the page.
    #[schema(value_type = Option<Object>)]
    data: Option<Packed>,
}

/// A text with a level and a title.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notification {
    /// What to say.
    #[schema(example = "Monthly target achieved!")]
    message: String,
    /// How serious it is; `info` if absent.
    #[serde(rename = "type")]
    level: Option<Level>,
    /// Stands above the message; none if absent or empty.
    #[schema(example = "Great job")]
    title: Option<String>,
    /// Anything more for the page.
    #[schema(value_type = Option<Object>)]
    data: Option<Packed>,
}

/// Something to download.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Where it can be had.
    #[schema(example = "/media/reports/weekly_sales.xlsx")]
    url: String,
    /// What it is called; the last part of the URL's path if absent or empty.
    #[schema(example = "weekly_sales.xlsx")]
    name: Option<String>,
    /// What to say about it; `File ready for download` if absent or empty.
    message: Option<String>,
    /// Its size in bytes.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    size: Option<u64>,
    /// Anything more for the page.
    #[schema(value_type = Option<Object>)]
    data: Option<Packed>,
}

/// An event of any kind.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(super) struct Own {
    /// The application's own name for what this is: 1 to 64 characters out of A-Z a-z 0-9 _ - . ; or a kind of `docs/protocol.md` section 6, whose
    /// body then has the form given there.
    #[schema(example = "order.shipped")]
    kind: String,
    /// Any value.
    #[schema(value_type = Option<Value>)]
    body: Option<Packed>,
    /// Anything more for the page.
    #[schema(value_type = Option<Object>)]
    data: Option<Packed>,
}

/// One event of a batch: to whom, of which kind, and the fields of that kind.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchEvent {
    /// The group it is for. Either this or `user`.
    #[schema(example = "sales_team")]
    pub(super) group: Option<String>,
    /// The user it is for. Either this or `group`.
    pub(super) user: Option<String>,
    /// `message`, `notification`, `file`, or as for `/events`.
    #[schema(example = "message")]
    kind: String,
    /// An idempotency key, as in the header of the other routes.
    pub(super) key: Option<String>,
    /// The text of a message, notification or file.
    message: Option<String>,
    /// The level of a notification; `info` if absent.
    #[serde(rename = "type")]
    level: Option<Level>,
    /// The title of a notification.
    title: Option<String>,
    /// Where a file can be had.
    url: Option<String>,
    /// What a file is called.
    name: Option<String>,
    /// The size of a file in bytes.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    size: Option<u64>,
    /// The body of an event of any other kind.
    #[schema(value_type = Option<Value>)]
    body: Option<Packed>,
    /// Anything more for the page.
    #[schema(value_type = Option<Object>)]
    data: Option<Packed>,
}

impl Draft for Message {
    fn content(self) -> Result<Content, Problem> {
        Ok(Content::message(&self.message, self.data.map(|data| data.0))?)
    }
}

impl Draft for Notification {
    fn content(self) -> Result<Content, Problem> {
        let (level, title) = (self.level.unwrap_or(Level::Info), self.title.unwrap_or_default());
        Ok(Content::notification(level, &title, &self.message, self.data.map(|data| data.0))?)
    }
}

impl Draft for File {
    fn content(self) -> Result<Content, Problem> {
        let Self { url, name, message, size, data } = self;
        Ok(Content::file(&FileSpec { url: &url, name: name.as_deref(), message: message.as_deref(), size }, data.map(|data| data.0))?)
    }
}

impl Draft for Own {
    fn content(self) -> Result<Content, Problem> {
        Ok(Content::parse(&RawKind::Name(self.kind), self.body.map(|body| body.0), self.data.map(|data| data.0))?)
    }
}

impl BatchEvent {
    /// The event, checked: also that there is no field of another kind, which would be lost silently.
    pub(super) fn content(self) -> Result<Content, Problem> {
        let Self { kind, message, level, title, url, name, size, body, data, .. } = self;
        let given = [
            ("message", message.is_some()),
            ("type", level.is_some()),
            ("title", title.is_some()),
            ("url", url.is_some()),
            ("name", name.is_some()),
            ("size", size.is_some()),
            ("body", body.is_some()),
        ];
        let allowed: &[&str] = match kind.as_str() {
            "message" => &["message"],
            "notification" => &["message", "type", "title"],
            "file" => &["url", "name", "message", "size"],
            _ => &["body"],
        };
        if let Some((field, _)) = given.iter().find(|(field, given)| *given && !allowed.contains(field)) {
            let allowed = allowed.join("`, `");
            return Err(Problem::new(
                Reason::BadEvent,
                format!("An event of kind {kind:?} has no field `{field}`; its own is `{allowed}`"),
            ));
        }
        let missing = |field: &str| Problem::new(Reason::BadEvent, format!("missing field `{field}`"));
        match kind.as_str() {
            "message" => Message { message: message.ok_or_else(|| missing("message"))?, data }.content(),
            "notification" => Notification { message: message.ok_or_else(|| missing("message"))?, level, title, data }.content(),
            "file" => File { url: url.ok_or_else(|| missing("url"))?, name, message, size, data }.content(),
            _ => Own { kind, body, data }.content(),
        }
    }
}

/// What became of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipt {
    /// The event's id, unique, as in the event that browsers get.
    #[schema(example = "1764042123456-77")]
    id: String,
    /// When it was accepted, ISO 8601, UTC.
    #[schema(example = "2025-11-25T03:42:03.456Z")]
    timestamp: String,
    /// The epoch of its position; 0 if the group keeps no history.
    epoch: u32,
    /// The offset of its position; 0 if the group keeps no history.
    offset: u64,
    /// To how many sessions on this node it was handed.
    subscribers: usize,
    /// Nothing was sent, because the key was known: the rest is what the first request got.
    duplicate: bool,
}

impl From<broker::Receipt> for Receipt {
    fn from(receipt: broker::Receipt) -> Self {
        Self {
            id: receipt.id.to_string(),
            timestamp: timestamp(receipt.id),
            epoch: receipt.position.epoch,
            offset: receipt.position.offset,
            subscribers: receipt.subscribers,
            duplicate: receipt.duplicate,
        }
    }
}

/// An event of the past. The fields of its kind have the names that they are published under.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PastEvent {
    /// The event's id.
    id: String,
    /// When it was accepted, ISO 8601, UTC.
    timestamp: String,
    /// Its place in the group.
    offset: u64,
    /// The kind's name.
    kind: String,
    /// The fields of a message, notification or file; `body` for every other kind.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    fields: serde_json::Map<String, Value>,
    /// What was given as data.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
    /// The user who published it; null for the application.
    sender: Option<String>,
}

impl PastEvent {
    /// Its place in the group.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}

impl From<&Event> for PastEvent {
    fn from(event: &Event) -> Self {
        let body = protocol::to_json_value(&event.body);
        let names: &[&str] = match event.kind {
            Kind::Message | Kind::TaskUpdate | Kind::TaskComplete | Kind::TaskError | Kind::Own(_) => &[],
            Kind::Notification => &["type", "title", "message"],
            Kind::File => &["url", "name", "message", "size"],
        };
        let fields = match body {
            Value::Array(parts) if !names.is_empty() => names.iter().map(|&name| name.to_owned()).zip(parts).collect(),
            body if event.kind == Kind::Message => [("message".to_owned(), body)].into_iter().collect(),
            body => [("body".to_owned(), body)].into_iter().collect(),
        };
        Self {
            id: event.id.to_string(),
            timestamp: timestamp(event.id),
            offset: event.offset,
            kind: event.kind.name().to_owned(),
            fields,
            data: event.data.as_deref().map(protocol::to_json_value),
            sender: event.sender.as_ref().map(ToString::to_string),
        }
    }
}

/// When an event was accepted, as text.
fn timestamp(id: EventId) -> String {
    protocol::timestamp_ms(id.timestamp_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_milliseconds_and_are_utc() {
        assert_eq!(timestamp("1764042123456-77".parse().unwrap()), "2025-11-25T03:42:03.456Z");
        assert_eq!(timestamp(EventId::from_number(u64::MAX)), "2109-05-15T07:35:11.103Z");
    }
}
