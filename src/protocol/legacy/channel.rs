//! Events as an application gives them to `group_send` of Django Channels: a map with a `type`, the fields beside it.

use bytes::Bytes;

use super::fields::Body;
use crate::protocol::{
    Content, ContentError, FileSpec, Kind, Level, RawKind, json, limits,
    msgpack::{self, MalformedValue},
};

/// A field that the layer adds for its own use.
const LAYERS_OWN: &str = "__asgi_channel__";

/// What stands before the kind in a `type`: whom it is for. Handlers are named with `_` for `.`, so both are written.
const SCOPES: [&str; 6] = ["group.", "user.", "task.", "group_", "user_", "task_"];

/// Why a value is no event that can be delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shape {
    /// It is no MessagePack value, or one that breaks a bound.
    #[error("it can't be read: {0}")]
    Malformed(#[from] MalformedValue),
    /// It has no `type`.
    #[error("it is no map with a type")]
    Untyped,
    /// A `type` that nobody here knows; it begins so.
    #[error("its type {0:?} is not known")]
    UnknownType(String),
    /// A field has a form that can't be delivered.
    #[error("{0}")]
    Content(#[from] ContentError),
}

impl Shape {
    /// A word for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Untyped => "untyped",
            Self::UnknownType(_) => "unknown_type",
            Self::Content(_) => "content",
        }
    }
}

/// Longest part of an unknown type that is repeated, in characters.
const TYPE_CHARS: usize = 64;

/// Reads an event. Fields that are missing get the defaults that an application's own functions give them.
///
/// # Errors
/// It has a shape that is not known here, or breaks a bound of events.
pub fn read(event: &[u8]) -> Result<Content, Shape> {
    msgpack::check_value(event, limits::DEPTH)?;
    let body = Body::of(event);
    let name = body.get("type").and_then(msgpack::as_text).ok_or(Shape::Untyped)?;
    let kind = kind(name).ok_or_else(|| Shape::UnknownType(name.chars().take(TYPE_CHARS).collect()))?;
    // An empty map says no more than none, and takes more bytes.
    let data = body.get("data").filter(|data| *data != super::EMPTY_MAP).map(Bytes::copy_from_slice);
    let text = |field| body.get(field).map(as_text).unwrap_or_default();
    Ok(match kind {
        Kind::Message => Content::message(&text("message"), data)?,
        Kind::Notification => {
            let level = Level::from_name(&text("notification_type")).unwrap_or(Level::Info);
            Content::notification(level, &text("title"), &text("message"), data)?
        }
        Kind::File => {
            let (url, name, message) = (text("file_url"), text("file_name"), text("message"));
            let size = body.get("file_size").and_then(msgpack::as_uint);
            Content::file(&FileSpec { url: &url, name: Some(&name), message: Some(&message), size }, data)?
        }
        kind => Content::parse(&RawKind::Name(kind.name().to_owned()), Some(without(body, &["type", "data", LAYERS_OWN])), data)?,
    })
}

/// The kind that a type names; `task.complete` is one, `group.complete` is not.
fn kind(name: &str) -> Option<Kind> {
    let scope = SCOPES.iter().find(|scope| name.starts_with(**scope))?;
    let rest = &name[scope.len()..];
    match (scope.starts_with("task"), rest) {
        (false, "message") => Some(Kind::Message),
        (false, "notification") => Some(Kind::Notification),
        (false, "file") => Some(Kind::File),
        (true, "update") => Some(Kind::TaskUpdate),
        (true, "complete") => Some(Kind::TaskComplete),
        (true, "error") => Some(Kind::TaskError),
        _ => None,
    }
}

/// A value as text: what is none is shown as JSON, as a page would show it.
fn as_text(value: &[u8]) -> String {
    msgpack::as_text(value).map_or_else(|| String::from_utf8_lossy(&json::to_json(value)).into_owned(), str::to_owned)
}

/// The map without some of its fields.
fn without(body: Body<'_>, names: &[&str]) -> Bytes {
    let left: Vec<_> = body.pairs().filter(|(key, _)| !msgpack::as_text(key).is_some_and(|key| names.contains(&key))).collect();
    let mut out = Vec::new();
    msgpack::put_map(&mut out, left.len());
    for (key, value) in left {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::{from_json, to_json_value};

    fn read_json(event: &Value) -> Result<(String, Value, Option<Value>), Shape> {
        let event = read(&from_json(event))?.placed("1-1".parse().unwrap(), 0, None);
        Ok((event.kind.name().to_owned(), to_json_value(&event.body), event.data.as_deref().map(to_json_value)))
    }

    #[test]
    fn every_type_becomes_its_kind() {
        for (event, kind, body) in [
            (json!({"type": "group.message", "message": "hi"}), "message", json!("hi")),
            (json!({"type": "user_message", "message": 7, "__asgi_channel__": ["a.b!c"]}), "message", json!("7")),
            (json!({"type": "group.notification", "message": "m", "notification_type": "fatal"}), "notification", json!(["info", "", "m"])),
            (
                json!({"type": "user.file", "file_url": "/a/b.pdf", "file_name": "", "file_size": null}),
                "file",
                json!(["/a/b.pdf", "b.pdf", "File ready for download", null]),
            ),
            (
                json!({"type": "task.update", "task_id": "t", "progress": 5, "timestamp": "x"}),
                "task.update",
                json!({"task_id": "t", "progress": 5, "timestamp": "x"}),
            ),
            (json!({"type": "task_complete", "task_id": 3, "result": [1]}), "task.complete", json!({"task_id": 3, "result": [1]})),
            (json!({"type": "task.error", "error": "e", "__asgi_channel__": "x"}), "task.error", json!({"error": "e"})),
        ] {
            assert_eq!(read_json(&event), Ok((kind.to_owned(), body, None)), "{event}");
        }
        let with_data = json!({"type": "group.message", "message": "m", "data": {"a": {"b": [1, 2.5]}}});
        assert_eq!(read_json(&with_data).unwrap().2, Some(json!({"a": {"b": [1, 2.5]}})));
        assert_eq!(read_json(&json!({"type": "group.message", "message": "m", "data": {}})).unwrap().2, None);
    }

    #[test]
    fn other_shapes_are_named() {
        for (event, name) in [
            (json!({"message": "no type"}), "untyped"),
            (json!([1, 2]), "untyped"),
            (json!({"type": 7}), "untyped"),
            (json!({"type": "chat.message"}), "unknown_type"),
            (json!({"type": "group.complete"}), "unknown_type"),
            (json!({"type": "group.message", "message": "m", "data": [1]}), "content"),
            (json!({"type": "group.file"}), "content"),
            (json!({"type": "group.message", "message": "x".repeat(limits::EVENT_BYTES)}), "content"),
        ] {
            assert_eq!(read_json(&event).unwrap_err().name(), name, "{event}");
        }
        assert_eq!(read(&[0x81]).unwrap_err().name(), "malformed");
        assert_eq!(read(&[0xc1]).unwrap_err().name(), "malformed");
    }
}
