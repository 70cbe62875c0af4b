//! The dialect `legacy`: the objects that pages of older applications send and know, one JSON object a text message.
//!
//! Four actions come in and become the frames that every client sends; of what goes out the dialect has words for events, for two
//! confirmations and for the list of running tasks, and none for the rest: such a page is told neither errors nor gaps nor who is there.
//! Nothing that a page says ends its connection: what is no action of the four, or names nothing, is skipped.
//!
//! `fields` takes the fields of an event out of a body, and writes objects.

mod fields;

use std::borrow::Cow;

use serde::Deserialize;

use self::fields::{Body, Object};
use super::{ClientFrame, Event, GroupName, Kind, ServerFrame, Subscribe, timestamp_ms};

/// What precedes a task's id in the name of its group.
const TASK_PREFIX: &str = "task.";

/// The request number of `subscribe_group`. The dialect has no numbers, so the number says which of the two confirmations is due.
const GROUP_REQUEST: u32 = 1;

/// The request number of `subscribe`.
const TASK_REQUEST: u32 = 2;

/// What a page sends. Other fields are skipped; a field of the wrong type makes the whole frame one that is skipped.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    group_name: Option<Cow<'a, str>>,
    task_id: Option<TaskId>,
}

/// Applications number their tasks, or name them.
#[derive(Deserialize)]
#[serde(untagged)]
enum TaskId {
    Name(String),
    Number(i64),
}

impl TaskId {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Name(name) if name.is_empty())
    }

    fn group(self) -> String {
        match self {
            Self::Name(name) => format!("{TASK_PREFIX}{name}"),
            Self::Number(number) => format!("{TASK_PREFIX}{number}"),
        }
    }
}

/// Reads a text message of a page.
pub(super) fn decode(text: &[u8]) -> ClientFrame {
    let Ok(Request { action, group_name, task_id }) = serde_json::from_slice(text) else {
        return ClientFrame::Unknown { request: None };
    };
    let (request, group) = match (&*action, group_name, task_id) {
        ("subscribe_group" | "unsubscribe_group", Some(name), _) if !name.is_empty() => (GROUP_REQUEST, name.into_owned()),
        ("subscribe" | "unsubscribe", _, Some(task)) if !task.is_empty() => (TASK_REQUEST, task.group()),
        _ => return ClientFrame::Unknown { request: None },
    };
    if action.starts_with("un") {
        ClientFrame::Unsubscribe { request, group }
    } else {
        ClientFrame::Subscribe(Subscribe { request, group, since: None })
    }
}

/// Writes a frame, if the dialect has words for it. Events are written by [`encode_event`].
pub(super) fn encode(frame: &ServerFrame) -> Option<Vec<u8>> {
    match frame {
        ServerFrame::Welcome(welcome) => welcome.tasks.as_ref().map(|tasks| Object::of("active_tasks").value("tasks", tasks).end()),
        ServerFrame::Subscribed { request: GROUP_REQUEST, group, .. } => {
            Some(Object::of("group_subscription_confirmed").text("group_name", group).end())
        }
        ServerFrame::Subscribed { request: TASK_REQUEST, group, .. } => {
            Some(Object::of("subscription_confirmed").text("task_id", group.strip_prefix(TASK_PREFIX)?).end())
        }
        // What the session follows without having asked was never confirmed, and the rest had no words.
        ServerFrame::Subscribed { .. }
        | ServerFrame::Unsubscribed { .. }
        | ServerFrame::Published { .. }
        | ServerFrame::Refreshed { .. }
        | ServerFrame::Error { .. }
        | ServerFrame::Present { .. }
        | ServerFrame::Event { .. }
        | ServerFrame::Gap { .. }
        | ServerFrame::Presence { .. }
        | ServerFrame::Ping(_)
        | ServerFrame::Pong(_)
        | ServerFrame::Goodbye { .. }
        | ServerFrame::Interrupted { .. }
        | ServerFrame::Resumed { .. }
        | ServerFrame::Unknown => None,
    }
}

/// Writes an event of a group, if the dialect has a type for it: `user_…` in a personal group, `group_…` in others, `task_…` in both.
pub(super) fn encode_event(group: &GroupName, event: &Event) -> Option<Vec<u8>> {
    match &event.kind {
        Kind::Message => Some(addressed("user_message", "group_message", group).value("message", &event.body).with_data(event)),
        Kind::Notification => {
            let body = Body::of(&event.body);
            let object = addressed("user_notification", "group_notification", group).value("notification_type", body.at(0));
            Some(object.value("title", body.at(1)).value("message", body.at(2)).with_data(event))
        }
        Kind::File => {
            let body = Body::of(&event.body);
            let object = addressed("user_file", "group_file", group).value("message", body.at(2));
            Some(object.value("file_url", body.at(0)).value("file_name", body.at(1)).value("file_size", body.at(3)).with_data(event))
        }
        Kind::TaskUpdate => {
            let body = Body::of(&event.body);
            let object = task("task_update", group, body).or_text("status", body, "processing").or_text("message", body, "");
            Some(object.or("progress", body.get("progress"), b"\0").or("data", event.data.as_deref().or(body.get("data")), EMPTY_MAP).end())
        }
        Kind::TaskComplete => {
            let body = Body::of(&event.body);
            let object = task("task_complete", group, body).or_text("status", body, "completed").or_text("message", body, "");
            Some(object.or("result", body.get("result"), NIL).end())
        }
        Kind::TaskError => {
            let body = Body::of(&event.body);
            Some(task("task_error", group, body).or_text("error", body, "").or_text("message", body, "").end())
        }
        // An older page knows ten types and no others.
        Kind::Own(_) => None,
    }
}

/// MessagePack's empty map.
const EMPTY_MAP: &[u8] = &[0x80];

/// MessagePack's nil.
const NIL: &[u8] = &[0xc0];

/// The beginning of an event for a user or for a group.
fn addressed(for_user: &str, for_group: &str, group: &GroupName) -> Object {
    match group.owner() {
        Some(user) => Object::of(for_user).text("username", user),
        None => Object::of(for_group).text("group_name", group.as_str()),
    }
}

/// The beginning of an event of a task: its id stands in the body, or the group is that of the task.
fn task(kind: &str, group: &GroupName, body: Body<'_>) -> Object {
    match body.get("task_id") {
        Some(id) => Object::of(kind).value("task_id", id),
        None => Object::of(kind).text("task_id", group.as_str().strip_prefix(TASK_PREFIX).unwrap_or_default()),
    }
}

impl Object {
    /// Ends it with what every event has that is no task's.
    fn with_data(self, event: &Event) -> Vec<u8> {
        self.value("data", event.data.as_deref().unwrap_or(EMPTY_MAP)).text("timestamp", &timestamp_ms(event.id.timestamp_ms())).end()
    }
}

#[cfg(test)]
mod tests;
