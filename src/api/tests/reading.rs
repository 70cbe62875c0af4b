//! Groups, their past, and how the server is.

use super::*;

#[tokio::test]
async fn groups_are_listed_in_pages() {
    let world = world();
    let all = world.get("/v1/groups").await.json();
    assert_eq!(all["groups"][0], json!({"name": "kept_a", "members": 3}));
    assert_eq!((all["groups"].as_array().unwrap().len(), &all["next"]), (4, &Value::Null));
    let first = world.get("/v1/groups?prefix=team_&limit=2").await.json();
    assert_eq!(first, json!({"groups": [{"name": "team_a", "members": 1}, {"name": "team_b", "members": 2}], "next": "team_b"}));
    let second = world.get("/v1/groups?prefix=team_&limit=2&after=team_b").await.json();
    assert_eq!(second, json!({"groups": [{"name": "team_c", "members": 7}], "next": null}));
    let detail = world.get("/v1/groups?limit=0").await.problem(400, "bad_parameter");
    assert_eq!(detail, "limit: is 0; allowed are 1 to 1000");
    assert!(world.get("/v1/groups?limit=x").await.problem(400, "bad_parameter").contains("limit"));
    assert!(world.get("/v1/groups?size=2").await.problem(400, "bad_parameter").contains("unknown field `size`"));
}

#[tokio::test]
async fn a_group_shows_members_position_and_policy() {
    let world = world();
    let before = world.get("/v1/groups/kept_a").await.json();
    assert_eq!((&before["members"], &before["position"]), (&json!(3), &Value::Null));
    let receipt = world.post("/v1/groups/kept_a/messages", &json!({"message": "x"})).await.json();
    let after = world.get("/v1/groups/kept_a").await.json();
    assert_eq!(after["position"], json!({"epoch": receipt["epoch"], "offset": 1}));
    assert_eq!(
        after["policy"],
        json!({"pattern": "kept_*", "subscribe": "authenticated", "publish": "server", "slow": "disconnect", "presence": "list",
               "history": {"size": 5, "ttl_seconds": 60}})
    );
    let other = world.get("/v1/groups/other").await.json();
    assert_eq!((&other["members"], &other["policy"]["history"]), (&json!(0), &Value::Null));
    assert_eq!(world.get("/v1/groups/user.ann").await.json()["policy"]["subscribe"], "owner");
    world.get("/v1/groups/a%20b").await.problem(422, "bad_group_name");
}

#[tokio::test]
async fn history_has_the_fields_of_each_kind_and_goes_on_page_by_page() {
    let world = world();
    world.post("/v1/groups/kept_a/messages", &json!({"message": "gone: only five are kept"})).await;
    world.post("/v1/groups/kept_a/messages", &json!({"message": "gone as well"})).await;
    world.post("/v1/groups/kept_a/messages", &json!({"message": "m", "data": {"n": 1}})).await;
    world.post("/v1/groups/kept_a/notifications", &json!({"message": "n", "type": "error", "title": "t"})).await;
    world.post("/v1/groups/kept_a/files", &json!({"url": "/f", "size": 3})).await;
    world.post("/v1/groups/kept_a/events", &json!({"kind": "own", "body": ["any"]})).await;
    world.post("/v1/groups/kept_a/events", &json!({"kind": "task.update", "body": {"progress": 5}})).await;
    let page = world.get("/v1/groups/kept_a/history").await.json();
    assert_eq!((&page["top"], &page["start"], &page["next"]), (&json!(7), &json!(2), &Value::Null));
    assert!(page["epoch"].as_u64().unwrap() > 0);
    let time = "2025-11-25T03:42:03.456Z";
    assert_eq!(
        page["events"],
        json!([
            {"id": "1764042123456-2", "timestamp": time, "offset": 3, "kind": "message", "message": "m", "data": {"n": 1}, "sender": null},
            {"id": "1764042123456-3", "timestamp": time, "offset": 4, "kind": "notification", "type": "error", "title": "t", "message": "n",
             "data": null, "sender": null},
            {"id": "1764042123456-4", "timestamp": time, "offset": 5, "kind": "file", "url": "/f", "name": "f",
             "message": "File ready for download", "size": 3, "data": null, "sender": null},
            {"id": "1764042123456-5", "timestamp": time, "offset": 6, "kind": "own", "body": ["any"], "data": null, "sender": null},
            {"id": "1764042123456-6", "timestamp": time, "offset": 7, "kind": "task.update", "body": {"progress": 5}, "data": null,
             "sender": null},
        ])
    );
    let offsets =
        |page: &Value| page["events"].as_array().unwrap().iter().map(|event| event["offset"].as_u64().unwrap()).collect::<Vec<_>>();
    let newest = world.get("/v1/groups/kept_a/history?limit=2").await.json();
    assert_eq!((offsets(&newest), &newest["next"]), (vec![6, 7], &Value::Null));
    let first = world.get("/v1/groups/kept_a/history?after=0&limit=3").await.json();
    assert_eq!((offsets(&first), &first["next"]), (vec![3, 4, 5], &json!(5)));
    let second = world.get("/v1/groups/kept_a/history?after=5&limit=3").await.json();
    assert_eq!((offsets(&second), &second["next"]), (vec![6, 7], &Value::Null));
    let none = world.get("/v1/groups/never_used/history?after=9").await.json();
    assert_eq!(none, json!({"epoch": 0, "top": 0, "start": 0, "events": [], "next": null}));
    world.get("/v1/groups/kept_a/history?after=-1").await.problem(400, "bad_parameter");
    world.get("/v1/groups/a%20b/history").await.problem(422, "bad_group_name");
}

#[tokio::test]
async fn a_page_of_large_events_ends_early_and_says_where_to_go_on() {
    let mut world = world();
    let kept = Retention { size: 100, ttl: Duration::from_secs(60) };
    let mut policy = world.api.policies.load().of(&GroupName::parse("other").unwrap()).clone();
    policy.history = Some(kept);
    world.api.policies = Arc::new(arc_swap::ArcSwap::from_pointee(Policies::new(Vec::new(), policy)));
    for _ in 0..80 {
        world.post("/v1/groups/big/messages", &json!({"message": "x".repeat(60_000)})).await;
    }
    let page = world.get("/v1/groups/big/history?after=0").await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (69, &json!(69)));
}

#[tokio::test]
async fn health_and_probes_tell_how_the_server_is() {
    let world = world();
    world.api.metrics.connection_opened("websocket");
    let health = world.get("/v1/health").await.json();
    assert_eq!(
        health,
        json!({"version": VERSION, "node": "node-1", "uptime_seconds": 0, "broker": "memory", "connections": 1, "members": 0, "ready": true})
    );
    let bare = |path: &'static str| world.send(without_key(Method::GET, path).body(Body::empty()).unwrap());
    assert_eq!(bare("/readyz").await.status, 200);
    world.ready.store(false, Ordering::Relaxed);
    assert_eq!(bare("/readyz").await.problem(503, "not_ready"), "the server is draining");
    assert_eq!(bare("/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_need_a_key_unless_opened() {
    let mut world = world();
    let bare = || without_key(Method::GET, "/metrics").body(Body::empty()).unwrap();
    world.send(bare()).await.problem(401, "unauthorized");
    world.get("/v1/groups/kept_a").await;
    world.get("/no/such/path").await;
    let answer = world.get("/metrics").await;
    assert_eq!(answer.header(header::CONTENT_TYPE), crate::metrics::CONTENT_TYPE);
    for line in [
        r#"fanfare_http_requests_total{route="/v1/groups/{group}",status="200"} 1"#,
        r#"fanfare_http_requests_total{route="none",status="404"} 1"#,
        r#"fanfare_http_requests_total{route="/metrics",status="401"} 1"#,
    ] {
        assert!(answer.text().contains(line), "{line} is missing in\n{}", answer.text());
    }
    world.api.open_metrics = true;
    assert_eq!(world.send(bare()).await.status, 200);
}

#[tokio::test]
async fn who_is_in_a_group_is_counted_and_listed_in_pages() {
    let world = world();
    let nobody = world.get("/v1/groups/kept_a/presence").await.json();
    assert_eq!(nobody, json!({"users": 0, "anonymous": 0, "connections": 0, "epoch": 0, "version": 0, "list": [], "next": null}));
    let connections = [("ann", 1), ("bob", 2), ("cy", 1)].map(|(user, count)| (UserId::parse(user).ok(), count));
    let connections = connections.into_iter().chain([(None, 4)]).collect();
    let group = GroupName::parse("kept_a").unwrap();
    world.api.broker.attend(vec![Attendance { group, live: false, connections }]);
    let first = world.get("/v1/groups/kept_a/presence?limit=2").await.json();
    assert_eq!(
        (&first["users"], &first["anonymous"], &first["connections"], &first["version"]),
        (&json!(3), &json!(4), &json!(8), &json!(1))
    );
    assert_eq!(first["list"], json!([{"user": "ann", "connections": 1}, {"user": "bob", "connections": 2}]));
    let second = world.get("/v1/groups/kept_a/presence?limit=2&after=bob").await.json();
    assert_eq!((&second["list"], &second["next"]), (&json!([{"user": "cy", "connections": 1}]), &Value::Null));
    assert_eq!(first["next"], "bob");
}

#[tokio::test]
async fn a_question_who_is_there_that_breaks_a_rule_says_which() {
    let world = world();
    let detail = world.get("/v1/groups/other/presence").await.problem(422, "no_presence");
    assert!(detail.contains(r#"match = "*""#) && detail.contains(r#"set it to "list" or "live""#), "{detail}");
    let detail = world.get("/v1/groups/kept_a/presence?after=a%20b").await.problem(400, "bad_parameter");
    assert!(detail.starts_with("after: user id contains ' '"), "{detail}");
    world.get("/v1/groups/kept_a/presence?limit=1001").await.problem(400, "bad_parameter");
    world.get("/v1/groups/a%20b/presence").await.problem(422, "bad_group_name");
}
