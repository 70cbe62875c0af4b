//! What the application wants done with the sessions of a user: on every worker, by every transport, in every dialect.

use std::time::Duration;

use fanfare::{
    broker::{Demand, Disconnect, Reached},
    client::Transport,
    protocol::{ClientFrame, Code, Dialect, GroupName, Position, ServerFrame, UserId},
};

use crate::common::{TestClient, TestServer, WAYS, until};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

fn names(groups: &[&str]) -> Vec<GroupName> {
    groups.iter().map(|name| GroupName::parse(name).unwrap()).collect()
}

fn grant(groups: &[&str], standing: bool) -> Demand {
    Demand::Grant { groups: names(groups), standing }
}

fn revoke(groups: &[&str]) -> Demand {
    Demand::Revoke { groups: names(groups) }
}

impl TestServer {
    /// Wants something of all sessions of ann.
    async fn direct(&self, demand: Demand) -> Reached {
        self.parts.users.direct(&UserId::parse("ann").unwrap(), demand).await.unwrap()
    }
}

/// A session of ann, told of the groups that it follows from its beginning.
async fn ann(server: &TestServer, way: (Transport, Dialect), token: &str, follows: &[&str]) -> TestClient {
    let mut client = server.user(way, Some(token)).await;
    for group in std::iter::chain(["user.ann"], follows.iter().copied()) {
        client.is_told_of(group).await;
    }
    client
}

impl TestClient {
    /// Asserts that the session follows a group without having asked, and gives its position.
    async fn is_told_of(&mut self, group: &str) -> Position {
        match self.next().await {
            ServerFrame::Subscribed { request: 0, group: named, position, .. } if named == group => position,
            other => panic!("{other:?} instead of subscribed to {group}"),
        }
    }

    /// Asserts that the session follows a group no longer.
    async fn is_told_the_end_of(&mut self, group: &str) {
        let ended = ServerFrame::Unsubscribed { request: 0, group: group.to_owned(), code: Some(Code::Revoked) };
        assert_eq!(self.next().await, ended);
    }

    /// Asserts that nothing was sent before the answer to this.
    async fn hears_nothing(&mut self) {
        self.send(ClientFrame::Ping(77)).await;
        assert_eq!(self.next().await, ServerFrame::Pong(77));
    }
}

#[tokio::test]
async fn what_is_granted_and_revoked_reaches_every_session_of_the_user_and_nobody_else() {
    for workers in [1, 2] {
        let server = TestServer::start(workers);
        let mut sessions = Vec::new();
        for way in WAYS.iter().chain(&WAYS) {
            sessions.push(ann(&server, *way, "ann", &[]).await);
        }
        let mut bob = server.user(WEBSOCKET, Some("bob")).await;
        bob.is_told_of("user.bob").await;
        let everybody = Reached { sessions: sessions.len(), nodes: 1, pending: 0 };
        assert_eq!(server.direct(grant(&["sales"], false)).await, everybody);
        for session in &mut sessions {
            session.is_told_of("sales").await;
        }
        assert_eq!(server.publish("sales", "x").await.subscribers, sessions.len());
        assert_eq!(server.direct(grant(&["sales"], false)).await, everybody, "again");
        assert_eq!(server.direct(revoke(&["sales", "other"])).await, everybody);
        assert_eq!(server.direct(revoke(&["sales"])).await, everybody, "again");
        for session in &mut sessions {
            assert_eq!(session.offsets(1).await, [1]);
            session.is_told_the_end_of("sales").await;
            session.hears_nothing().await;
        }
        assert_eq!(server.publish("sales", "y").await.subscribers, 0);
        bob.hears_nothing().await;
        drop(sessions);
        until("they have gone", || server.parts.metrics.connections() == 1).await;
        assert_eq!(server.direct(grant(&["sales"], false)).await.sessions, 0);
    }
}

#[tokio::test]
async fn what_stands_is_followed_by_later_sessions_until_it_is_revoked() {
    let server = TestServer::start(2);
    let mut early = ann(&server, WEBSOCKET, "ann", &[]).await;
    server.direct(grant(&["b", "a"], true)).await;
    early.is_told_of("b").await;
    early.is_told_of("a").await;
    for way in WAYS {
        ann(&server, way, "ann", &["a", "b"]).await.hears_nothing().await;
    }
    server.direct(revoke(&["a"])).await;
    early.is_told_the_end_of("a").await;
    ann(&server, WEBSOCKET, "ann", &["b"]).await.hears_nothing().await;
    server.direct(Demand::RevokeAll).await;
    early.is_told_the_end_of("b").await;
    ann(&server, WEBSOCKET, "ann", &[]).await.hears_nothing().await;
}

#[tokio::test]
async fn a_token_names_groups_and_a_new_one_names_others() {
    let server = TestServer::start(1);
    for way in WAYS {
        let mut session = ann(&server, way, "ann:a,b", &["a", "b"]).await;
        session.send(ClientFrame::Refresh { request: 1, token: "ann:b,c".into() }).await;
        assert_eq!(session.next().await, ServerFrame::Refreshed { request: 1, valid_s: None });
        session.is_told_the_end_of("a").await;
        session.is_told_of("c").await;
        session.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_of_a_group_that_its_policy_keeps_from_it() {
    let server = TestServer::start(1);
    server.direct(grant(&["closed_x"], true)).await;
    let mut session = server.user(WEBSOCKET, Some("ann")).await;
    session.is_told_of("user.ann").await;
    let before = session.is_told_of("closed_x").await;
    drop(session);
    server.publish("closed_x", "missed").await;
    let mut session = ann(&server, WEBSOCKET, "ann", &["closed_x"]).await;
    assert_eq!(session.subscribe("closed_x", Some(before)).await.missed, 1);
    assert_eq!(session.offsets(1).await, [1]);
    server.direct(revoke(&["closed_x"])).await;
    session.is_told_the_end_of("closed_x").await;
    session.send(ClientFrame::Subscribe(fanfare::protocol::Subscribe { request: 9, group: "closed_x".into(), since: None })).await;
    assert_eq!(session.next().await, ServerFrame::error(9, Code::NotAllowed));
}

#[tokio::test]
async fn what_is_revoked_ends_what_the_client_asked_for_and_it_may_ask_again() {
    let server = TestServer::start(1);
    let mut session = ann(&server, WEBSOCKET, "ann", &[]).await;
    session.subscribe("team", None).await;
    server.direct(revoke(&["team"])).await;
    session.is_told_the_end_of("team").await;
    session.subscribe("team", None).await;
    server.publish("team", "x").await;
    assert_eq!(session.offsets(1).await, [1]);
}

#[tokio::test]
async fn the_application_ends_sessions_with_its_code_and_reason() {
    let server = TestServer::start(2);
    for way in WAYS {
        let mut session = ann(&server, way, "ann", &[]).await;
        server.publish("user.ann", "the last word").await;
        let end = Disconnect { code: Code::GoingAway, reason: Some("moved".into()), delay: Duration::from_millis(1500) };
        assert_eq!(server.direct(Demand::Disconnect(end)).await.sessions, 1);
        session.event().await;
        let goodbye = ServerFrame::Goodbye { code: 4000, sentence: "moved".into(), reconnect: true, delay_ms: 1500 };
        assert_eq!(session.next().await, goodbye);
        let mut session = ann(&server, way, "ann", &[]).await;
        let end = Disconnect { code: Code::Disconnected, reason: None, delay: Duration::ZERO };
        server.direct(Demand::Disconnect(end)).await;
        let (told, close) = session.goodbye().await;
        assert_eq!(told, Code::Disconnected);
        if way.0 == Transport::Websocket {
            assert_eq!(close, Some(4206));
        }
    }
    assert!(server.metric(r#"fanfare_connections_closed_total{transport="websocket",code="disconnected"}"#) >= 2.0);
}

#[tokio::test]
async fn a_client_that_left_its_personal_group_is_reached_all_the_same() {
    let server = TestServer::start(1);
    let mut session = ann(&server, WEBSOCKET, "ann", &[]).await;
    session.send(ClientFrame::Unsubscribe { request: 1, group: "user.ann".into() }).await;
    assert_eq!(session.next().await, ServerFrame::Unsubscribed { request: 1, group: "user.ann".into(), code: None });
    assert_eq!(server.direct(grant(&["a"], false)).await.sessions, 1);
    session.is_told_of("a").await;
}
