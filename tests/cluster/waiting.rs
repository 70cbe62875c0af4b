//! A connection that waits for Redis: everything else of it goes on meanwhile, and what it asked for is done and answered in its order.

use std::time::Duration;

use fanfare::{
    broker::{Demand, Disconnect, redis},
    protocol::{ClientFrame, Code, GroupName, RawKind, ServerFrame, UserId, from_json},
    server::{BrokerConfig, Config},
    session,
};

use crate::{
    common::{TestClient, TestServer, WAYS, config, soon, until},
    nodes::{node, node_config, redis_config},
    redis::RedisServer,
    relay::{Relay, Weather},
};

/// Waits for Redis longer than any test.
fn patient(url: &str) -> redis::Config {
    redis::Config { timeout: Duration::from_secs(120), lease: Duration::from_secs(600), ..redis_config(url) }
}

async fn patient_node(relay: &Relay) -> TestServer {
    let node = TestServer::with(node_config(patient(&relay.url()), 1));
    until("the node is ready", || node.parts.broker.ready().is_ok()).await;
    node
}

impl TestClient {
    async fn publish(&mut self, group: &str, text: &str) {
        self.request += 1;
        let body = Some(from_json(&text.into()).into());
        let (request, group, kind) = (self.request, group.to_owned(), RawKind::Number(0));
        self.send(ClientFrame::Publish { request, group, kind, body, data: None, key: None }).await;
    }

    async fn is_published(&mut self, requests: impl IntoIterator<Item = u32>) {
        for wanted in requests {
            match self.next().await {
                ServerFrame::Published { request, .. } => assert_eq!(request, wanted),
                other => panic!("{other:?} instead of an answer"),
            }
        }
    }

    /// A ping of the client is answered.
    async fn is_heard(&mut self) {
        self.send(ClientFrame::Ping(77)).await;
        assert_eq!(self.next().await, ServerFrame::Pong(77));
    }
}

#[tokio::test]
async fn pings_are_answered_while_publishes_and_a_join_wait_and_these_are_answered_in_order() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = patient_node(&relay).await;
    for way in WAYS {
        let mut client = a.client(way).await;
        client.publish("team", "the server has to know the script").await;
        client.is_published([1]).await;
        relay.set(Weather::Stalled);
        client.publish("team", "x").await;
        client.publish("other", "x").await;
        client.is_heard().await;
        // What concerns another group overtakes, and what concerns the same does not.
        client.send(ClientFrame::Unsubscribe { request: 4, group: "third".into() }).await;
        assert!(matches!(client.next().await, ServerFrame::Unsubscribed { request: 4, .. }));
        client.send(ClientFrame::Unsubscribe { request: 5, group: "other".into() }).await;
        client.is_heard().await;
        relay.set(Weather::Fair);
        client.is_published([2, 3]).await;
        assert!(matches!(client.next().await, ServerFrame::Unsubscribed { request: 5, .. }));
    }
}

#[tokio::test]
async fn a_client_that_goes_on_publishing_is_not_read_from_and_nothing_of_it_is_lost() {
    const MANY: u32 = 500;
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = patient_node(&relay).await;
    for way in [WAYS[0], WAYS[2]] {
        let mut client = a.client(way).await;
        let before = client.subscribe("deep_x", None).await.position.offset;
        client.request = 0;
        let read = a.metric("fanfare_frames_received_total");
        relay.set(Weather::Stalled);
        for _ in 0..MANY {
            client.publish("deep_x", "x").await;
        }
        until("as much is read as may wait", || a.metric("fanfare_frames_received_total") > read + 60.0).await;
        let mut other = a.client(way).await;
        other.is_heard().await;
        assert!(a.metric("fanfare_frames_received_total") < read + 80.0, "the rest stays on the wire");
        relay.set(Weather::Fair);
        let (mut answers, mut offsets) = (0, before);
        while answers < MANY || offsets < before + u64::from(MANY) {
            match client.next().await {
                ServerFrame::Published { request, .. } => {
                    answers += 1;
                    assert_eq!(request, answers);
                }
                ServerFrame::Event { event, .. } => {
                    offsets += 1;
                    assert_eq!(event.offset, offsets);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_a_client_published_before_it_left_is_published() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let (a, b) = (patient_node(&relay).await, node(&redis.url()).await);
    let mut reader = b.client(WAYS[0]).await;
    let mut next = reader.subscribe("team", None).await.position.offset + 1;
    for way in WAYS {
        for says_goodbye in [true, false] {
            let mut client = a.client(way).await;
            relay.set(Weather::Stalled);
            for _ in 0..10 {
                client.publish("team", "x").await;
            }
            client.is_heard().await;
            if says_goodbye {
                client.send(ClientFrame::Goodbye).await;
            } else {
                client.client.close().await;
            }
            relay.set(Weather::Fair);
            assert_eq!(reader.offsets(10).await, (next..next + 10).collect::<Vec<_>>());
            next += 10;
        }
    }
}

#[tokio::test]
async fn a_connection_that_waits_is_asked_whether_it_lives_and_ends_if_it_does_not() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let config = node_config(patient(&relay.url()), 1);
    let session = session::Config { ping_interval: Duration::from_millis(300), ..config.session };
    let a = TestServer::with(Config { session, ..config });
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    for way in WAYS {
        let mut client = a.client(way).await;
        client.client.answer_pings = false;
        relay.set(Weather::Stalled);
        client.publish("team", "x").await;
        assert!(matches!(client.next().await, ServerFrame::Ping(_)));
        assert_eq!(client.goodbye().await.0, Code::Timeout);
        relay.set(Weather::Fair);
    }
}

#[tokio::test]
async fn a_connection_that_waits_is_told_that_the_server_leaves() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let mut a = patient_node(&relay).await;
    let mut clients = Vec::new();
    for way in WAYS {
        clients.push(a.client(way).await);
    }
    relay.set(Weather::Stalled);
    for client in &mut clients {
        client.publish("team", "x").await;
        client.is_heard().await;
    }
    let running = a.server.take().unwrap();
    let draining = tokio::task::spawn_blocking(move || running.shutdown(Duration::from_secs(30), Duration::ZERO));
    for mut client in clients {
        assert_eq!(client.goodbye().await.0, Code::GoingAway);
    }
    assert!(soon(draining).await.unwrap().clean);
}

/// Two servers, the first behind a relay; a node of both; a group on the first and one on the second.
struct Two {
    first: RedisServer,
    second: RedisServer,
    relay: Relay,
    a: TestServer,
    b: TestServer,
}

impl Two {
    async fn start() -> Self {
        let (first, second) = (RedisServer::start(), RedisServer::start());
        let relay = Relay::to(first.addr());
        let make = || {
            let servers = [relay.url(), second.url()].iter().map(|url| patient(url)).collect();
            TestServer::with(Config { broker: BrokerConfig::Redis(servers), ..config(1) })
        };
        let (a, b) = (make(), make());
        until("the nodes are ready", || [&a, &b].iter().all(|node| node.parts.broker.ready().is_ok())).await;
        Self { first, second, relay, a, b }
    }

    /// A group that lives on this server.
    async fn group_on(&self, server: &RedisServer) -> String {
        for n in 0.. {
            let group = format!("deep_{n}");
            self.a.publish(&group, "x").await;
            if server.ask(&format!("EXISTS fanfare:m:{group}")).contains(":1") {
                return group;
            }
        }
        unreachable!("half of all groups are on either")
    }

    /// A user whose directives and whose own group go by the second server.
    async fn user(&self) -> UserId {
        for n in 0.. {
            let user = UserId::parse(&format!("ann{n}")).unwrap();
            let groups = vec![GroupName::parse("granted").unwrap()];
            self.a.parts.users.direct(&user, Demand::Grant { groups, standing: true }).await.unwrap();
            if self.second.ask("KEYS *").contains(user.as_str()) {
                return user;
            }
        }
        unreachable!("half of all users are on either")
    }
}

#[tokio::test]
async fn while_one_server_stalls_events_and_directives_of_another_come_and_a_blocked_wire_goes_on() {
    let two = Two::start().await;
    let (stalled, lively) = (two.group_on(&two.first).await, two.group_on(&two.second).await);
    let user = two.user().await;
    for way in [WAYS[0], WAYS[2]] {
        let mut client = two.a.user(way, Some(user.as_str())).await;
        for _ in 0..2 {
            assert!(matches!(client.next().await, ServerFrame::Subscribed { request: 0, .. }));
        }
        client.subscribe(&lively, None).await;
        two.relay.set(Weather::Stalled);
        client.publish(&stalled, "x").await;
        client.is_heard().await;
        // More than wire and buffers take: the rest is written only if somebody waits for the wire.
        let large = "x".repeat(40_000);
        let mut sent = 0;
        while two.a.metric("fanfare_outbox_bytes") == 0.0 {
            two.b.publish(&lively, &large).await;
            sent += 1;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.offsets(sent).await.len(), sent);
        let disconnect = Disconnect { code: Code::Disconnected, reason: None, delay: Duration::ZERO };
        two.b.parts.users.direct(&user, Demand::Disconnect(disconnect)).await.unwrap();
        assert_eq!(client.goodbye().await.0, Code::Disconnected);
        two.relay.set(Weather::Fair);
    }
}
