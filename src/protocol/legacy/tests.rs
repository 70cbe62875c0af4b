//! What a page says, and what it is told: the tables of `docs/legacy.md`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::protocol::{Code, Content, Dialect, Encoding, FileSpec, Level, Position, RawKind, Recovery, Welcome, from_json};

fn said(text: &str) -> ClientFrame {
    ClientFrame::decode(Dialect::Legacy, &Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn subscribe(request: u32, group: &str) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe { request, group: group.into(), since: None })
}

#[test]
fn the_four_actions_are_understood() {
    for (text, frame) in [
        (r#"{"action":"subscribe_group","group_name":"sales_team"}"#, subscribe(GROUP_REQUEST, "sales_team")),
        (r#"{"action":"subscribe","task_id":"4f-2","more":[1]}"#, subscribe(TASK_REQUEST, "task.4f-2")),
        (r#"{"task_id":42,"action":"subscribe"}"#, subscribe(TASK_REQUEST, "task.42")),
        (
            r#"{"action":"unsubscribe_group","group_name":"sales\u005fteam"}"#,
            ClientFrame::Unsubscribe { request: GROUP_REQUEST, group: "sales_team".into() },
        ),
        (r#"{"action":"unsubscribe","task_id":"t"}"#, ClientFrame::Unsubscribe { request: TASK_REQUEST, group: "task.t".into() }),
    ] {
        assert_eq!(said(text), frame, "{text}");
    }
}

#[test]
fn whatever_else_a_page_says_is_skipped() {
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "no JSON",
        "[]",
        "null",
        "{}",
        r#"{"action":"dance"}"#,
        r#"{"action":7,"group_name":"g"}"#,
        r#"{"action":"subscribe_group"}"#,
        r#"{"action":"subscribe_group","group_name":null}"#,
        r#"{"action":"subscribe_group","group_name":["g"]}"#,
        r#"{"action":"subscribe_group","task_id":"g"}"#,
        r#"{"action":"subscribe","group_name":"g"}"#,
        r#"{"action":"subscribe","task_id":{}}"#,
        r#"{"action":"subscribe","task_id":""}"#,
        r#"{"action":"subscribe_group","group_name":""}"#,
        r#"["hello",1,null,{}]"#,
        &deep,
    ] {
        assert_eq!(said(text), ClientFrame::Unknown { request: None }, "{text:.40}");
    }
}

fn told(frame: &ServerFrame) -> Option<Value> {
    encode(frame).map(|text| serde_json::from_slice(&text).unwrap())
}

#[test]
fn what_was_asked_for_is_confirmed_and_nothing_else() {
    let subscribed = |request, group: &str| ServerFrame::Subscribed {
        request,
        number: 3,
        group: group.into(),
        position: Position::NONE,
        recovery: Recovery::NotAsked,
        missed: 0,
    };
    assert_eq!(
        told(&subscribed(GROUP_REQUEST, "sales_team")),
        Some(json!({"type": "group_subscription_confirmed", "group_name": "sales_team"}))
    );
    assert_eq!(told(&subscribed(TASK_REQUEST, "task.t")), Some(json!({"type": "subscription_confirmed", "task_id": "t"})));
    for frame in [
        subscribed(0, "user.john"),
        ServerFrame::Unsubscribed { request: GROUP_REQUEST, group: "g".into(), code: None },
        ServerFrame::error(GROUP_REQUEST, Code::NotAllowed),
        ServerFrame::goodbye(Code::GoingAway, 5),
        ServerFrame::Pong(1),
        ServerFrame::Welcome(Welcome::default()),
    ] {
        assert_eq!(told(&frame), None, "{frame:?}");
    }
    let tasks = from_json(&json!([{"task_id": "t", "progress": 40}]));
    let welcome = ServerFrame::Welcome(Welcome { tasks: Some(tasks.into()), ..Welcome::default() });
    assert_eq!(told(&welcome), Some(json!({"type": "active_tasks", "tasks": [{"task_id": "t", "progress": 40}]})));
}

#[test]
fn a_ping_is_one_of_the_websocket() {
    assert_eq!(Encoding::LegacyMessage.encode(&ServerFrame::Ping(1)).as_deref(), Some(&[0x89, 0][..]));
}

const ID: &str = "1764042123456-77";
const WHEN: &str = "2025-11-25T03:42:03.456Z";

fn event(group: &str, content: Content) -> Option<Value> {
    let event = content.placed(ID.parse().unwrap(), 7, None);
    let text = encode_event(&GroupName::parse(group).unwrap(), &event)?;
    let wire = Encoding::LegacyMessage.encode_event(&GroupName::parse(group).unwrap(), 3, &event).unwrap();
    assert!(wire[0] == 0x81 && wire.ends_with(&text), "a text message of the WebSocket");
    Some(serde_json::from_slice(&text).unwrap())
}

fn data(value: &Value) -> Option<Bytes> {
    Some(from_json(value).into())
}

fn of_kind(kind: &str, body: &Value) -> Content {
    Content::parse(&RawKind::Name(kind.into()), data(body), None).unwrap()
}

#[test]
fn events_have_the_fields_of_their_type() {
    let message = || Content::message("hi \"you\"", data(&json!({"room": 4}))).unwrap();
    assert_eq!(
        event("sales_team", message()),
        Some(json!({"type": "group_message", "group_name": "sales_team", "message": "hi \"you\"", "data": {"room": 4}, "timestamp": WHEN}))
    );
    assert_eq!(
        event("user.john", message()),
        Some(json!({"type": "user_message", "username": "john", "message": "hi \"you\"", "data": {"room": 4}, "timestamp": WHEN}))
    );
    let notification = || Content::notification(Level::Warning, "", "text", None).unwrap();
    assert_eq!(
        event("g", notification()),
        Some(
            json!({"type": "group_notification", "group_name": "g", "notification_type": "warning", "title": "", "message": "text", "data": {}, "timestamp": WHEN})
        )
    );
    assert_eq!(event("user.a", notification()).unwrap()["type"], "user_notification");
    let file = || Content::file(&FileSpec { url: "/media/q4.pdf", ..FileSpec::default() }, None).unwrap();
    assert_eq!(
        event("user.a", file()),
        Some(
            json!({"type": "user_file", "username": "a", "message": "File ready for download", "file_url": "/media/q4.pdf", "file_name": "q4.pdf",
            "file_size": null, "data": {}, "timestamp": WHEN})
        )
    );
    assert_eq!(event("g", file()).unwrap()["type"], "group_file");
    assert_eq!(event("g", of_kind("chat.typing", &json!({"on": true}))), None);
}

#[test]
fn events_of_tasks_take_their_fields_from_the_body() {
    let full = json!({"task_id": "t", "task_name": "n", "status": "running", "message": "m", "progress": 40, "data": {"a": 1}});
    assert_eq!(
        event("user.john", of_kind("task.update", &full)),
        Some(json!({"type": "task_update", "task_id": "t", "status": "running", "message": "m", "progress": 40, "data": {"a": 1}}))
    );
    assert_eq!(
        event("task.42", of_kind("task.update", &json!({}))),
        Some(json!({"type": "task_update", "task_id": "42", "status": "processing", "message": "", "progress": 0, "data": {}}))
    );
    assert_eq!(
        event("task.42", of_kind("task.complete", &json!({"result": [1], "message": "done"}))),
        Some(json!({"type": "task_complete", "task_id": "42", "status": "completed", "message": "done", "result": [1]}))
    );
    assert_eq!(
        event("g", of_kind("task.error", &json!({"task_id": 3, "error": "e"}))),
        Some(json!({"type": "task_error", "task_id": 3, "error": "e", "message": ""}))
    );
}
