//! What the application wants done with the sessions of a user, when these are on several nodes and links fail.

use std::time::Duration;

use fanfare::{
    broker::{Demand, Disconnect, Error, Reached, redis},
    client::Transport,
    protocol::{Code, Dialect, GroupName, ServerFrame, UserId},
};

use crate::{
    common::{TestClient, TestServer, until},
    nodes::{node_with, redis_config, spread_config, until_cut},
    redis::RedisServer,
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

/// A node whose lease lasts longer than any test.
async fn node(url: &str) -> TestServer {
    node_with(redis::Config { lease: Duration::from_secs(600), ..redis_config(url) }, 2).await
}

fn ann() -> UserId {
    UserId::parse("ann").unwrap()
}

fn grant(group: &str, standing: bool) -> Demand {
    Demand::Grant { groups: vec![GroupName::parse(group).unwrap()], standing }
}

fn revoke(group: &str) -> Demand {
    Demand::Revoke { groups: vec![GroupName::parse(group).unwrap()] }
}

impl TestServer {
    /// Wants something of all sessions of ann.
    async fn direct(&self, demand: Demand) -> Result<Reached, Error> {
        self.parts.users.direct(&ann(), demand).await
    }

    /// The same, until a node can do it.
    async fn direct_at_last(&self, demand: Demand) -> Reached {
        loop {
            match self.direct(demand.clone()).await {
                Ok(reached) => return reached,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn standing(&self) -> Vec<String> {
        self.parts.users.standing(&ann()).await.unwrap().groups.iter().map(ToString::to_string).collect()
    }

    /// A session of ann that is told of what it follows.
    async fn ann(&self, follows: &[&str]) -> TestClient {
        let mut client = self.user(WEBSOCKET, Some("ann")).await;
        for group in std::iter::chain(["user.ann"], follows.iter().copied()) {
            follows_now(&mut client, group).await;
        }
        client
    }
}

async fn follows_now(client: &mut TestClient, group: &str) {
    let next = client.next().await;
    assert!(matches!(&next, ServerFrame::Subscribed { request: 0, group: named, .. } if named == group), "{next:?} instead of {group}");
}

async fn follows_no_longer(client: &mut TestClient, group: &str) {
    let ended = ServerFrame::Unsubscribed { request: 0, group: group.to_owned(), code: Some(Code::Revoked) };
    assert_eq!(client.next().await, ended);
}

/// Two nodes of one server, the second behind a relay, and a session of ann on each.
async fn two_sessions(redis: &RedisServer) -> (Relay, [TestServer; 2], [TestClient; 2]) {
    let relay = Relay::to(redis.addr());
    let (a, b) = (node(&redis.url()).await, node(&relay.url()).await);
    // Both listen for directives, and both have their lease.
    until("the second is known", || {
        redis.number("ZCARD fanfare:nodes") == 2 && redis.ask("PUBSUB NUMSUB fanfare:g::directives").contains(":2")
    })
    .await;
    let sessions = [a.ann(&[]).await, b.ann(&[]).await];
    (relay, [a, b], sessions)
}

#[tokio::test]
async fn every_node_carries_it_out_and_says_so() {
    let redis = RedisServer::start();
    let (_relay, [a, b], [mut on_a, mut on_b]) = two_sessions(&redis).await;
    let everybody = Reached { sessions: 2, nodes: 2, pending: 0 };
    // The server has to be told the script again.
    redis.ask("SCRIPT FLUSH");
    assert_eq!(a.direct(grant("sales", true)).await, Ok(everybody));
    assert_eq!(b.direct(grant("team", false)).await, Ok(everybody));
    for session in [&mut on_a, &mut on_b] {
        follows_now(session, "sales").await;
        follows_now(session, "team").await;
    }
    a.publish("team", "x").await;
    assert_eq!((on_a.offsets(1).await, on_b.offsets(1).await), (vec![1], vec![1]));
    assert_eq!((a.standing().await, b.standing().await), (vec!["sales".to_owned()], vec!["sales".to_owned()]));
    let _late = b.ann(&["sales"]).await;
    assert_eq!(b.direct(revoke("sales")).await, Ok(Reached { sessions: 3, ..everybody }));
    follows_no_longer(&mut on_a, "sales").await;
    follows_no_longer(&mut on_b, "sales").await;
    let end = Disconnect { code: Code::Disconnected, reason: Some("enough".into()), delay: Duration::ZERO };
    assert_eq!(a.direct(Demand::Disconnect(end)).await.unwrap().sessions, 3);
    for mut session in [on_a, on_b] {
        let goodbye = ServerFrame::Goodbye { code: 4206, sentence: "enough".into(), reconnect: false, delay_ms: 0 };
        assert_eq!(session.next().await, goodbye);
    }
    assert!(a.standing().await.is_empty());
}

#[tokio::test]
async fn no_more_may_stand_than_may_and_a_refusal_changes_nothing() {
    let redis = RedisServer::start();
    let a = node(&redis.url()).await;
    let many = |from: usize, to: usize| Demand::Grant {
        groups: (from..to).map(|n| GroupName::parse(&format!("g{n}")).unwrap()).collect(),
        standing: true,
    };
    a.direct(many(0, 60)).await.unwrap();
    assert_eq!(a.direct(many(50, 101)).await, Err(Error::TooManyStanding { limit: 100 }));
    assert_eq!(a.standing().await.len(), 60);
    a.direct(many(50, 100)).await.unwrap();
    assert_eq!(a.standing().await.len(), 100);
    a.direct(Demand::RevokeAll).await.unwrap();
    assert!(a.standing().await.is_empty());
}

#[tokio::test]
async fn a_node_whose_link_is_cut_is_counted_as_pending_and_carries_it_out_when_it_is_back() {
    let redis = RedisServer::start();
    let (relay, [a, b], [mut on_a, mut on_b]) = two_sessions(&redis).await;
    relay.set(Weather::Cut);
    until_cut(&b).await;
    until("Redis knows", || redis.ask("PUBSUB NUMSUB fanfare:g::directives").contains(":1")).await;
    assert!(matches!(b.direct(grant("sales", false)).await, Err(Error::Away { .. })));
    let half = Reached { sessions: 1, nodes: 1, pending: 1 };
    assert_eq!(a.direct(grant("sales", false)).await, Ok(half));
    assert_eq!(a.direct(grant("team", true)).await, Ok(half));
    assert_eq!(a.direct(revoke("sales")).await, Ok(half));
    // Somebody comes to the node meanwhile, and can't be told what stands.
    let mut late = b.user(WEBSOCKET, Some("ann")).await;
    follows_now(&mut late, "user.ann").await;
    relay.set(Weather::Fair);
    for session in [&mut on_a, &mut on_b] {
        follows_now(session, "sales").await;
        // What ends need not wait for a join of another group.
        let (ended, mut team) = (ServerFrame::Unsubscribed { request: 0, group: "sales".to_owned(), code: Some(Code::Revoked) }, false);
        for _ in 0..2 {
            let next = session.next().await;
            team |= matches!(&next, ServerFrame::Subscribed { request: 0, group, .. } if group == "team");
            assert!(next == ended || team, "{next:?}");
        }
        assert!(team);
    }
    // By the directive or by reading again what stands, whichever comes first.
    while !matches!(late.next().await, ServerFrame::Subscribed { group, .. } if group == "team") {}
    assert_eq!(b.metric("fanfare_directives_lost_total"), 0.0);
    assert_eq!(b.direct_at_last(grant("news", false)).await.sessions, 3);
}

#[tokio::test]
async fn directives_that_are_no_longer_kept_are_counted_and_sessions_compare_with_what_stands() {
    let redis = RedisServer::start();
    let (relay, [a, b], [mut on_a, mut on_b]) = two_sessions(&redis).await;
    a.direct(grant("old", true)).await.unwrap();
    follows_now(&mut on_a, "old").await;
    follows_now(&mut on_b, "old").await;
    relay.set(Weather::Cut);
    until_cut(&b).await;
    a.direct(grant("sales", true)).await.unwrap();
    a.direct(revoke("old")).await.unwrap();
    redis.ask("XTRIM fanfare:h::directives MAXLEN 0");
    relay.set(Weather::Fair);
    follows_no_longer(&mut on_b, "old").await;
    follows_now(&mut on_b, "sales").await;
    assert_eq!(b.metric("fanfare_directives_lost_total"), 2.0);
}

#[tokio::test]
async fn a_server_that_begins_anew_ends_nobodys_subscription() {
    let mut redis = RedisServer::start();
    let (_relay, [a, b], [mut on_a, mut on_b]) = two_sessions(&redis).await;
    a.direct(grant("sales", true)).await.unwrap();
    follows_now(&mut on_a, "sales").await;
    follows_now(&mut on_b, "sales").await;
    redis.stop();
    redis.run();
    until("both are back", || a.parts.broker.ready().is_ok() && b.parts.broker.ready().is_ok()).await;
    assert!(b.direct_at_last(grant("team", true)).await.sessions >= 1);
    // What it says of the groups that began anew stands before.
    for session in [&mut on_a, &mut on_b] {
        let mut gaps = 0;
        loop {
            match session.next().await {
                ServerFrame::Gap { .. } if gaps < 4 => gaps += 1,
                ServerFrame::Subscribed { request: 0, group, .. } if group == "team" => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(a.standing().await, ["team"], "what stood is gone with the server");
}

#[tokio::test]
async fn a_link_that_stalls_delays_the_answer_and_not_for_long() {
    let redis = RedisServer::start();
    let (relay, [a, _b], [mut on_a, mut on_b]) = two_sessions(&redis).await;
    relay.set(Weather::HalfOpen);
    assert_eq!(a.direct(grant("sales", false)).await, Ok(Reached { sessions: 1, nodes: 1, pending: 1 }));
    follows_now(&mut on_a, "sales").await;
    relay.set(Weather::Fair);
    follows_now(&mut on_b, "sales").await;
}

#[tokio::test]
async fn with_several_servers_each_user_has_one_and_a_server_that_fails_concerns_only_its_own() {
    let mut servers = [RedisServer::start(), RedisServer::start()];
    let urls: Vec<String> = servers.iter().map(RedisServer::url).collect();
    let (a, b) = (TestServer::with(spread_config(&urls)), TestServer::with(spread_config(&urls)));
    for node in [&a, &b] {
        until("the node is ready", || node.parts.broker.ready().is_ok()).await;
    }
    let listen = |server: &RedisServer| server.ask("PUBSUB NUMSUB fanfare:g::directives").contains(":2");
    until("all listen", || servers.iter().all(listen)).await;
    let users: Vec<UserId> = (0..8).map(|n| UserId::parse(&format!("user{n}")).unwrap()).collect();
    let mut sessions = Vec::new();
    for user in &users {
        let mut session = b.user(WEBSOCKET, Some(user.as_str())).await;
        follows_now(&mut session, GroupName::personal(user).as_str()).await;
        assert_eq!(a.parts.users.direct(user, grant("live_x", true)).await, Ok(Reached { sessions: 1, nodes: 2, pending: 0 }));
        follows_now(&mut session, "live_x").await;
        sessions.push(session);
    }
    let kept = |server: &RedisServer| server.ask("KEYS fanfare:u:*").matches("fanfare:u:").count();
    let (first, second) = (kept(&servers[0]), kept(&servers[1]));
    assert!(first > 0 && second > 0 && first + second == users.len(), "{first} and {second}");
    servers[0].stop();
    until("a knows", || a.parts.broker.ready().is_err()).await;
    let mut standing = 0;
    for user in &users {
        standing += usize::from(a.parts.users.standing(user).await.is_ok_and(|standing| standing.groups.len() == 1));
    }
    assert_eq!(standing, second);
}
