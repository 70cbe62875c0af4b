//! One event to one group or user.

use super::*;
use crate::protocol::limits;

#[tokio::test]
async fn every_kind_reaches_groups_and_users() {
    let world = world();
    let bodies = [
        ("messages", json!({"message": "hi", "data": {"n": 1}})),
        ("notifications", json!({"message": "done", "type": "success", "title": "Great job"})),
        ("files", json!({"url": "/media/q4.pdf?x=1", "size": 2457600})),
        ("events", json!({"kind": "order.shipped", "body": [1, null], "data": {}})),
    ];
    let events = [
        json!(["message", "hi", {"n": 1}]),
        json!(["notification", ["success", "Great job", "done"], null]),
        json!(["file", ["/media/q4.pdf?x=1", "q4.pdf", "File ready for download", 2457600], null]),
        json!(["order.shipped", [1, null], {}]),
    ];
    let mut expected = Vec::new();
    for (to, group) in [("groups/sales_team", "sales_team"), ("users/john@example.org", "user.john@example.org")] {
        for ((part, body), event) in bodies.iter().zip(&events) {
            let answer = world.post(&format!("/v1/{to}/{part}"), body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let mut row = vec![json!(group)];
            row.extend(event.as_array().unwrap().iter().cloned());
            expected.push(Value::Array(row));
        }
    }
    assert_eq!(world.delivered(), expected);
    assert!(world.api.metrics.encode().contains(r#"fanfare_events_published_total{source="api"} 8"#));
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let world = world();
    world.post("/v1/groups/a/notifications", &json!({"message": "m", "title": null, "data": null})).await;
    world.post("/v1/groups/a/files", &json!({"url": "/a/b.zip", "name": "", "message": "ready"})).await;
    world.post("/v1/groups/a/events", &json!({"kind": "typing"})).await;
    world.post("/v1/groups/a/events", &json!({"kind": "message", "body": "by its number"})).await;
    assert_eq!(
        world.delivered(),
        [
            json!(["a", "notification", ["info", "", "m"], null]),
            json!(["a", "file", ["/a/b.zip", "b.zip", "ready", null], null]),
            json!(["a", "typing", null, null]),
            json!(["a", "message", "by its number", null]),
        ]
    );
}

#[tokio::test]
async fn the_receipt_tells_id_time_and_place() {
    let world = world();
    let answer = world.post("/v1/groups/kept_a/messages", &json!({"message": "x"})).await;
    let receipt = answer.json();
    assert_eq!(receipt["id"], "1764042123456-0");
    assert_eq!(receipt["timestamp"], "2025-11-25T03:42:03.456Z");
    assert!(receipt["epoch"].as_u64().unwrap() > 0);
    assert_eq!((&receipt["offset"], &receipt["subscribers"], &receipt["duplicate"]), (&json!(1), &json!(2), &json!(false)));
    let receipt = world.post("/v1/groups/fleeting/messages", &json!({"message": "x"})).await.json();
    assert_eq!((&receipt["epoch"], &receipt["offset"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repetition_harmless() {
    let world = world();
    let send = |key: &'static str| {
        let request =
            with_key(Method::POST, "/v1/groups/a/messages").header("idempotency-key", key).header("content-type", "application/json");
        world.send(request.body(Body::from(r#"{"message":"x"}"#)).unwrap())
    };
    let (first, second) = (send("order-1").await.json(), send("order-1").await.json());
    assert_eq!((&first["duplicate"], &second["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(first["id"], second["id"]);
    assert_eq!(world.delivered().len(), 1);
    let detail = send("naïve").await.problem(422, "bad_idempotency_key");
    assert!(detail.starts_with("key: idempotency key contains 'ï' at character 3"), "{detail}");
}

#[tokio::test]
async fn messagepack_bodies_mean_the_same_and_keep_binary() {
    let world = world();
    let mut body = protocol::from_json(&json!({"kind": "blob", "data": {"a": -1}, "body": null}));
    // The last value is nil: in its place two bytes of binary.
    let at = body.windows(5).position(|bytes| bytes == b"\xa4body").unwrap() + 5;
    body.splice(at..=at, [0xc4, 2, 0xff, 0x00]);
    assert_eq!(world.post_as("/v1/groups/a/events", "application/msgpack", body).await.status, 200);
    {
        let delivered = world.members.delivered.lock().unwrap();
        assert_eq!(&*delivered[0].1.body, [0xc4, 2, 0xff, 0x00]);
    }
    let body = protocol::from_json(&json!({"message": "m", "type": "error", "title": null, "data": {"k": 1.5}}));
    assert_eq!(world.post_as("/v1/users/ann/notifications", "application/msgpack", body).await.status, 200);
    assert_eq!(world.delivered()[1], json!(["user.ann", "notification", ["error", "", "m"], {"k": 1.5}]));
    let malformed = world.post_as("/v1/groups/a/messages", "application/msgpack", vec![0x81, 0xa1]).await;
    malformed.problem(400, "malformed_body");
    let array = world.post_as("/v1/groups/a/messages", "application/msgpack", vec![0x90]).await;
    assert_eq!(array.problem(422, "bad_event"), "An event has to be a map");
    let unknown = world.post_as("/v1/groups/a/messages", "application/msgpack", protocol::from_json(&json!({"text": 1}))).await;
    assert!(unknown.problem(422, "bad_event").contains("unknown field `text`"));
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_rule() {
    let world = world();
    for (path, body, name, words) in [
        ("/v1/groups/sales%20team/messages", json!({"message": "x"}), "bad_group_name", "contains ' ' at character 6; allowed are"),
        ("/v1/users/a%2Fb/messages", json!({"message": "x"}), "bad_user_id", "user: user id contains '/' at character 2"),
        ("/v1/groups/a/messages", json!({"mesage": "x"}), "bad_event", "unknown field `mesage`, expected `message` or `data`"),
        ("/v1/groups/a/messages", json!({"data": {}}), "bad_event", "missing field `message`"),
        ("/v1/groups/a/messages", json!({"message": 5}), "bad_event", "invalid type: integer `5`, expected a string"),
        ("/v1/groups/a/messages", json!({"message": "x", "data": [1]}), "bad_event", "data has to be a map or null"),
        ("/v1/groups/a/notifications", json!({"message": "x", "type": "fatal"}), "bad_event", "unknown variant `fatal`"),
        ("/v1/groups/a/files", json!({"url": ""}), "bad_event", "non-empty url"),
        ("/v1/groups/a/files", json!({"url": "/a", "size": -1}), "bad_event", "invalid value: integer `-1`"),
        ("/v1/groups/a/events", json!({"kind": "a b"}), "bad_event", "kind contains ' ' at character 2"),
        ("/v1/groups/a/events", json!({"kind": "task.update", "body": 1}), "bad_event", "has to be a map"),
    ] {
        let detail = world.post(path, &body).await.problem(422, name);
        assert!(detail.contains(words), "{path}: {detail}");
    }
    assert_eq!(world.delivered(), [Value::Null; 0]);
    let code = world.post("/v1/groups/a%20/messages", &json!({"message": "x"})).await.json()["code"].clone();
    assert_eq!(code, 4300);
}

#[tokio::test]
async fn bodies_that_can_not_be_read_are_refused() {
    let world = world();
    let path = "/v1/groups/a/messages";
    let broken = world.post_as(path, "application/json; charset=utf-8", r#"{"message": "#).await;
    assert!(broken.problem(400, "malformed_body").contains("line 1 column"));
    world.post_as(path, "application/json", "").await.problem(400, "malformed_body");
    let form = world.post_as(path, "application/x-www-form-urlencoded", "message=x").await;
    assert!(form.problem(415, "unsupported_media_type").contains("application/json"));
    world.post_as(path, "application/x-ndjson", "{}").await.problem(415, "unsupported_media_type");
    let untyped = world.send(with_key(Method::POST, path).body(Body::from("{}")).unwrap()).await;
    assert!(untyped.problem(415, "unsupported_media_type").starts_with("Content-Type is missing"));
    let long = json!({"message": "x".repeat(limits::EVENT_BYTES)});
    assert_eq!(world.post(path, &long).await.problem(413, "event_too_large"), "body and data take 61443 bytes; at most 61440 are allowed");
    world.post_as(path, "application/json", " ".repeat(256 * 1024 + 1)).await.problem(413, "body_too_large");
    // The same without a length that is known beforehand.
    let chunks = (0..5).map(|_| Ok::<_, std::convert::Infallible>(bytes::Bytes::from(vec![b' '; 64 * 1024])));
    let stream = Body::from_stream(futures_util::stream::iter(chunks));
    world.post_as(path, "application/json", stream).await.problem(413, "body_too_large");
    assert_eq!(world.delivered(), [Value::Null; 0]);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    tokio::time::pause();
    let endless = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>());
    world().post_as("/v1/groups/a/messages", "application/json", endless).await.problem(408, "body_timeout");
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_long_is_not_waited_for() {
    tokio::time::pause();
    let endless = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>());
    let request =
        with_key(Method::POST, "/v1/groups/a/messages").header("content-type", "application/json").header("content-length", "262145");
    world().send(request.body(endless).unwrap()).await.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_busy_node_says_when_to_try_again() {
    let world = world();
    world.members.room.store(0, Ordering::Relaxed);
    let answer = world.post("/v1/groups/a/messages", &json!({"message": "x"})).await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header(header::RETRY_AFTER), "1");
    assert_eq!((&answer.json()["retry_after_ms"], &answer.json()["code"]), (&json!(100), &json!(4400)));
}
