//! Many events in one request.

use super::*;

const PATH: &str = "/v1/batch";

#[tokio::test]
async fn good_and_bad_events_are_answered_one_by_one_and_in_order() {
    let world = world();
    let answer = world
        .post(
            PATH,
            &json!([
                {"group": "a", "kind": "message", "message": "1"},
                {"group": "a b", "kind": "message", "message": "2"},
                {"user": "ann", "kind": "notification", "message": "3", "type": "warning", "title": "t"},
                {"group": "a", "kind": "message", "message": "4", "title": "not of a message"},
                {"group": "a", "user": "ann", "kind": "message", "message": "5"},
                {"kind": "message", "message": "6"},
                {"group": "a", "kind": "message"},
                {"group": "a", "kind": "message", "message": "7", "colour": "red"},
                7,
                {"group": "a", "kind": "file", "url": "/f", "size": 1, "name": "n", "message": "m"},
                {"group": "a", "kind": "order.shipped", "body": {"x": 1}, "data": {}, "key": "k"},
                {"group": "a", "kind": "order.shipped", "body": {"x": 2}, "data": {}, "key": "k"},
                {"group": "a", "kind": "message", "message": "8", "key": ""},
            ]),
        )
        .await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let ok: Vec<bool> = results.iter().map(|result| result["ok"].as_bool().unwrap()).collect();
    assert_eq!(ok, [true, false, true, false, false, false, false, false, false, true, true, true, false]);
    for (at, name, words) in [
        (1, "bad_group_name", "contains ' ' at character 2"),
        (3, "bad_event", "no field `title`"),
        (4, "bad_event", "either a field `group` or a field `user`"),
        (5, "bad_event", "either a field `group` or a field `user`"),
        (6, "bad_event", "missing field `message`"),
        (7, "bad_event", "unknown field `colour`"),
        (8, "bad_event", "invalid type: integer `7`"),
        (12, "bad_idempotency_key", "is empty"),
    ] {
        let error = &results[at]["error"];
        assert_eq!(error["type"], format!("urn:fanfare:problem:{name}"), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!((&results[0]["subscribers"], &results[0]["id"]), (&json!(2), &json!("1764042123456-0")));
    assert_eq!((&results[11]["duplicate"], &results[11]["id"]), (&json!(true), &results[10]["id"]));
    assert_eq!(
        world.delivered(),
        [
            json!(["a", "message", "1", null]),
            json!(["user.ann", "notification", ["warning", "t", "3"], null]),
            json!(["a", "file", ["/f", "n", "m", 1], null]),
            json!(["a", "order.shipped", {"x": 1}, {}]),
        ]
    );
}

#[tokio::test]
async fn lines_and_messagepack_mean_the_same() {
    let world = world();
    let lines = "{\"group\":\"a\",\"kind\":\"message\",\"message\":\"1\"}\r\n\n{broken\n{\"user\":\"b\",\"kind\":\"x\"}\n";
    let results = world.post_as(PATH, "application/x-ndjson", lines).await.json()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 3);
    assert_eq!((&results[0]["ok"], &results[2]["ok"]), (&json!(true), &json!(true)));
    assert_eq!(results[1]["error"]["type"], "urn:fanfare:problem:malformed_body");
    assert_eq!(results[1]["error"]["status"], 400);
    let packed = protocol::from_json(&json!([{"group": "a", "kind": "message", "message": "2"}, 5]));
    let results = world.post_as(PATH, "application/msgpack", packed).await.json()["results"].clone();
    assert_eq!((&results[0]["ok"], &results[1]["ok"]), (&json!(true), &json!(false)));
    let delivered = world.delivered();
    assert_eq!(delivered, [json!(["a", "message", "1", null]), json!(["user.b", "x", null, null]), json!(["a", "message", "2", null])]);
}

#[tokio::test]
async fn after_an_event_that_the_node_has_no_room_for_none_is_tried() {
    let world = world();
    world.members.room.store(2, Ordering::Relaxed);
    let event = |n: usize| json!({"group": "a", "kind": "message", "message": n.to_string()});
    let results = world.post(PATH, &(0..5).map(event).collect()).await.json()["results"].clone();
    let ok: Vec<_> = results.as_array().unwrap().iter().map(|result| result["ok"] == true).collect();
    assert_eq!(ok, [true, true, false, false, false]);
    assert_eq!(results[2]["error"]["retry_after_ms"], 100);
    let (first, second) = (&results[2]["error"]["detail"], results[4]["error"]["detail"].as_str().unwrap());
    assert_eq!(second, format!("Not tried, because of an event before it: {}", first.as_str().unwrap()));
    assert_eq!(world.delivered().len(), 2);
}

#[tokio::test]
async fn a_batch_that_can_not_be_read_publishes_nothing() {
    let world = world();
    let event = json!({"group": "a", "kind": "message", "message": "x"});
    world.post_as(PATH, "application/json", format!("[{event},{event}")).await.problem(400, "malformed_body");
    assert!(world.post(PATH, &event).await.problem(422, "bad_event").contains("an array of events"));
    let many: Value = std::iter::repeat_n(event.clone(), 1001).collect();
    world.post(PATH, &many).await.problem(413, "too_many_events");
    world.post_as(PATH, "application/msgpack", protocol::from_json(&many)).await.problem(413, "too_many_events");
    world.post_as(PATH, "application/x-ndjson", format!("{event}\n").repeat(1001)).await.problem(413, "too_many_events");
    world.post_as(PATH, "application/x-ndjson", "\n".repeat(8 * 1024 * 1024 + 1)).await.problem(413, "body_too_large");
    world.post_as(PATH, "text/plain", "[]").await.problem(415, "unsupported_media_type");
    let keyed = with_key(Method::POST, PATH).header("idempotency-key", "k").header("content-type", "application/json");
    world.send(keyed.body(Body::from("[]")).unwrap()).await.problem(422, "bad_idempotency_key");
    assert_eq!(world.delivered(), [Value::Null; 0]);
    let full: Value = std::iter::repeat_n(event, 1000).collect();
    assert_eq!(world.post(PATH, &full).await.json()["results"].as_array().unwrap().len(), 1000);
    assert_eq!(world.post(PATH, &json!([])).await.json(), json!({"results": []}));
}
