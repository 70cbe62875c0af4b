//! Managing the sessions of users, and the view of the cluster.

use crate::{
    broker::{Demand, Disconnect},
    protocol::{Code, limits},
};

use super::*;

impl World {
    async fn delete(&self, path: &str) -> Answer {
        self.send(with_key(Method::DELETE, path).body(Body::empty()).unwrap()).await
    }

    /// What has been wanted of the sessions of users, as text.
    fn demands(&self) -> Vec<(String, Demand)> {
        self.members.directed.lock().unwrap().iter().map(|directive| (directive.user.to_string(), directive.demand.clone())).collect()
    }
}

fn names(names: &[&str]) -> Vec<GroupName> {
    names.iter().map(|name| GroupName::parse(name).unwrap()).collect()
}

#[tokio::test]
async fn groups_are_granted_shown_and_revoked() {
    let world = world();
    let path = "/v1/users/ann@x/groups";
    let reached = world.post(path, &json!({"groups": ["b", "a"], "standing": true})).await;
    assert_eq!((reached.status, reached.json()), (StatusCode::OK, json!({"sessions": 2, "nodes": 1, "pending_nodes": 0})));
    assert_eq!(world.post(path, &json!({"groups": ["c"]})).await.status, StatusCode::OK);
    assert_eq!(world.get(path).await.json(), json!({"user": "ann@x", "standing": ["a", "b"]}));
    assert_eq!(world.delete("/v1/users/ann@x/groups/a").await.status, StatusCode::OK);
    assert_eq!(world.get(path).await.json()["standing"], json!(["b"]));
    assert_eq!(world.delete(path).await.status, StatusCode::OK);
    assert_eq!(world.get(path).await.json()["standing"], json!([]));
    let wanted = [
        Demand::Grant { groups: names(&["b", "a"]), standing: true },
        Demand::Grant { groups: names(&["c"]), standing: false },
        Demand::Revoke { groups: names(&["a"]) },
        Demand::RevokeAll,
    ];
    assert_eq!(world.demands(), wanted.map(|demand| ("ann@x".to_owned(), demand)));
}

#[tokio::test]
async fn what_can_not_be_granted_is_told_with_field_value_and_rule() {
    let world = world();
    let path = "/v1/users/ann/groups";
    for (body, name, sentence) in [
        (json!({"groups": []}), "bad_field", "groups: there are 0; 1 to 100 are allowed"),
        (json!({"groups": ["a b"]}), "bad_group_name", "group: group name contains ' ' at character 2; allowed are A-Z a-z 0-9 _ - ."),
        (
            json!({"groups": ["user.bob"]}),
            "bad_group_name",
            "group: \"user.bob\" is a personal group, which its user follows and nobody else",
        ),
    ] {
        assert_eq!(world.post(path, &body).await.problem(422, name), sentence);
    }
    assert!(world.post(path, &json!({"groups": ["a"], "stands": true})).await.problem(422, "bad_field").contains("unknown field `stands`"));
    world.post("/v1/users/a%20b/groups", &json!({"groups": ["a"]})).await.problem(422, "bad_user_id");
    world.delete("/v1/users/ann/groups/user.ann").await.problem(422, "bad_group_name");
    world.post_as(path, "text/plain", "x").await.problem(415, "unsupported_media_type");
    world.post_as(path, "application/json", "{").await.problem(400, "malformed_body");
    let many: Vec<String> = (0..limits::STANDING_GROUPS).map(|n| format!("g{n}")).collect();
    assert_eq!(world.post(path, &json!({"groups": many, "standing": true})).await.status, StatusCode::OK);
    let refused = world.post(path, &json!({"groups": ["more"], "standing": true})).await;
    assert_eq!(refused.problem(422, "too_many_groups"), "at most 100 groups may stand for a user; nothing was done");
    assert_eq!(world.demands().len(), 1);
}

#[tokio::test]
async fn sessions_end_with_a_code_that_tells_the_client_what_to_do() {
    let world = world();
    let path = "/v1/users/ann/disconnect";
    let nothing = world.send(with_key(Method::POST, path).body(Body::empty()).unwrap()).await;
    assert_eq!(nothing.json(), json!({"sessions": 2, "nodes": 1, "pending_nodes": 0}));
    world.post(path, &json!({"code": 4000, "reason": "moved", "delay_ms": 1500})).await;
    let wanted = [
        Disconnect { code: Code::Disconnected, reason: None, delay: Duration::ZERO },
        Disconnect { code: Code::GoingAway, reason: Some("moved".to_owned()), delay: Duration::from_millis(1500) },
    ];
    assert_eq!(world.demands(), wanted.map(|end| ("ann".to_owned(), Demand::Disconnect(end))));
    for (body, sentence) in [
        (
            json!({"code": 4200}),
            "code: is 4200; it has to be one of 4000 going_away, 4101 token_invalid, 4102 token_expired, 4206 disconnected",
        ),
        (json!({"reason": "x".repeat(124)}), "reason: has 124 bytes; 1 to 123 bytes of text without control characters are allowed"),
        (json!({"code": 4000, "delay_ms": 3_600_001}), "delay_ms: is 3600001; at most 3600000 are allowed"),
        (json!({"delay_ms": 1}), "delay_ms: a client that gets 4206 disconnected does not come back; leave it out"),
    ] {
        assert_eq!(world.post(path, &body).await.problem(422, "bad_field"), sentence);
    }
}

#[tokio::test]
async fn a_node_that_is_alone_is_the_cluster() {
    let node = json!({
        "id": "a1", "name": "node-1", "this": true, "version": "", "started": "2025-11-25T03:42:03.456Z", "workers": 0, "connections": 7,
        "groups": 0, "deliveries_per_second": 0, "links": [],
    });
    assert_eq!(world().get("/v1/cluster").await.json(), json!({"nodes": [node], "complete": true}));
}
