//! Links that fail: what is missed comes later or is told as a gap, connections stay, and everybody is told the truth meanwhile.

use std::time::Duration;

use fanfare::{
    broker::{Error, redis},
    client::Transport,
    hub::OutboxLimits,
    protocol::{Code, Dialect, Position, ServerFrame},
    server::Config,
};

use crate::{
    common::{TestServer, until},
    nodes::{node, node_config, node_with, redis_config, told, until_cut},
    redis::RedisServer,
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

/// Two nodes of one server: the first behind a relay, the second not.
async fn behind_relay(redis: &RedisServer) -> (Relay, TestServer, TestServer) {
    let relay = Relay::to(redis.addr());
    let (a, b) = (node(&relay.url()).await, node(&redis.url()).await);
    (relay, a, b)
}

fn losses(node: &TestServer, link: &str) -> f64 {
    node.metric(&format!("fanfare_redis_link_losses_total{{link=\"{link}\"}}"))
}

#[tokio::test]
async fn a_node_starts_without_redis_says_so_and_works_when_it_comes() {
    let mut redis = RedisServer::absent();
    let a = TestServer::with(node_config(redis_config(&redis.url()), 1));
    until("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains("refused"))).await;
    assert!(matches!(a.try_publish("team", "x", None).await, Err(Error::Away { .. })));
    let mut client = a.client(WEBSOCKET).await;
    client.request = 1;
    client
        .send(fanfare::protocol::ClientFrame::Subscribe(fanfare::protocol::Subscribe { request: 1, group: "team".into(), since: None }))
        .await;
    let refused = client.next().await;
    assert!(
        matches!(refused, ServerFrame::Error { code, retry_ms: Some(_), .. } if code == u64::from(Code::Unavailable.number())),
        "{refused:?}"
    );
    redis.run();
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    client.subscribe("team", None).await;
    a.publish("team", "x").await;
    assert_eq!(client.offsets(1).await, [1]);
}

#[tokio::test]
async fn while_redis_is_away_connections_stay_and_what_was_missed_comes_when_it_is_back() {
    let redis = RedisServer::start();
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = a.client(WEBSOCKET).await;
    let position = client.subscribe("team", None).await.position;
    client.subscribe("live_x", None).await;
    relay.set(Weather::Cut);
    until_cut(&a).await;
    assert!(matches!(a.try_publish("team", "x", None).await, Err(Error::Away { .. })));
    // Who only wants to follow from now on is let in, because the node stands where it stood.
    let mut late = a.client(WEBSOCKET).await;
    assert_eq!(late.subscribe("team", None).await.position, position);
    for n in 1..=5 {
        b.publish("team", &n.to_string()).await;
        b.publish("live_x", "lost").await;
    }
    relay.set(Weather::Fair);
    let mut told = told(&mut client, 6).await;
    told.sort();
    assert_eq!(told, ["1", "2", "3", "4", "5", "gap broker"]);
    assert_eq!(late.offsets(5).await, [1, 2, 3, 4, 5]);
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    a.publish("team", "6").await;
    assert_eq!(client.offsets(1).await, [6]);
    assert!(losses(&a, "commands") >= 1.0 && losses(&a, "events") >= 1.0);
    assert!(a.metric("fanfare_redis_repairs_total") >= 1.0);
}

#[tokio::test]
async fn what_history_no_longer_has_is_a_gap() {
    let redis = RedisServer::start();
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    relay.set(Weather::Cut);
    until_cut(&a).await;
    for n in 1..=130 {
        b.publish("team", &n.to_string()).await;
    }
    relay.set(Weather::Fair);
    let told = told(&mut client, 101).await;
    assert_eq!((told[0].as_str(), told[1].as_str(), told[100].as_str()), ("gap 1-30 broker", "31", "130"));
}

#[tokio::test]
async fn a_publisher_may_wait_for_redis() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let patient = redis::Config { publish_wait: Duration::from_secs(20), ..redis_config(&relay.url()) };
    let a = node_with(patient, 1).await;
    relay.set(Weather::Cut);
    until_cut(&a).await;
    let publish = a.try_publish("team", "x", None);
    let back = async {
        tokio::task::yield_now().await;
        relay.set(Weather::Fair);
    };
    let (published, ()) = tokio::join!(publish, back);
    assert_eq!(published.unwrap().position.offset, 1);
}

/// The link stalls without closing: noticed, made anew, repaired.
async fn noticed_and_repaired(weather: Weather) {
    let redis = RedisServer::start();
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    relay.set(weather);
    b.publish("team", "1").await;
    until("the node notices", || a.parts.broker.ready().is_err_and(|why| why.contains("no answer within"))).await;
    b.publish("team", "2").await;
    relay.set(Weather::Fair);
    assert_eq!(client.offsets(2).await, [1, 2]);
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    assert!(losses(&a, "commands") >= 1.0);
}

#[tokio::test]
async fn a_link_that_stalls_without_closing_is_noticed() {
    noticed_and_repaired(Weather::Stalled).await;
}

#[tokio::test]
async fn a_link_that_is_open_one_way_only_is_noticed() {
    noticed_and_repaired(Weather::HalfOpen).await;
}

#[tokio::test]
async fn a_link_that_answers_but_does_not_deliver_is_noticed() {
    let (redis, wrong) = (RedisServer::start(), RedisServer::start());
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    // The link for events comes back to another server than the one that is published to.
    relay.lead_to(wrong.addr());
    redis.ask("CLIENT KILL TYPE pubsub");
    until("the node hears nothing", || a.parts.broker.ready().is_err_and(|why| why.contains("no answer within"))).await;
    b.publish("team", "1").await;
    relay.lead_to(redis.addr());
    assert_eq!(client.offsets(1).await, [1]);
}

#[tokio::test]
async fn a_slow_link_only_delays() {
    let redis = RedisServer::start();
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    relay.set(Weather::Slow(Duration::from_millis(30)));
    for n in 1..=10 {
        b.publish("team", &n.to_string()).await;
    }
    assert_eq!(client.offsets(10).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(a.publish("team", "11").await.position.offset, 11);
    assert_eq!((losses(&a, "commands"), losses(&a, "events")), (0.0, 0.0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_nothing_half_done() {
    let redis = RedisServer::start();
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    for n in 0..10 {
        relay.set(Weather::CutMidReply);
        let key = n.to_string();
        // Whatever broke off, asking again with the key publishes once.
        while a.try_publish("team", "x", Some(&key)).await.is_err() {
            tokio::task::yield_now().await;
        }
        until("the relay has cut", || relay.weather() == Weather::Fair).await;
    }
    b.publish("team", "last").await;
    assert_eq!(client.offsets(11).await, (1..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_publish_that_is_not_confirmed_is_told_so_and_repeated_by_its_key() {
    let redis = RedisServer::start();
    let (relay, a, b) = behind_relay(&redis).await;
    let mut client = b.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    // The server has to know the script, or it would only ask for it.
    b.publish("team", "x").await;
    relay.set(Weather::HalfOpen);
    assert!(matches!(a.try_publish("team", "x", Some("k")).await, Err(Error::Unconfirmed { .. })));
    assert_eq!(client.offsets(2).await, [1, 2]);
    relay.set(Weather::Fair);
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    let again = a.try_publish("team", "x", Some("k")).await.unwrap();
    assert_eq!((again.position.offset, again.duplicate), (2, true));
}

#[tokio::test]
async fn a_subscriber_that_redis_kills_is_back_with_everything() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    for n in 0..10 {
        b.publish("team", &n.to_string()).await;
        redis.ask("CLIENT KILL TYPE pubsub");
    }
    assert_eq!(client.offsets(10).await, (1..=10).collect::<Vec<_>>());
    assert!(losses(&a, "events") >= 1.0);
}

#[tokio::test]
async fn a_subscriber_that_redis_cuts_off_for_being_slow_is_back_with_everything() {
    let redis = RedisServer::start();
    redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0"]);
    let relay = Relay::to(redis.addr());
    // Else the node would notice the silence and come back by itself before Redis has cut it off.
    let patient = redis::Config { timeout: Duration::from_secs(60), ..redis_config(&relay.url()) };
    let roomy = OutboxLimits { bytes: 1 << 28, age: Duration::from_secs(60) };
    let a = TestServer::with(Config { outbox: roomy, ..node_config(patient, 1) });
    let b = node(&redis.url()).await;
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    let subscribers = || redis.ask("CLIENT LIST TYPE pubsub").matches("name=fanfare").count();
    let before = subscribers();
    relay.set(Weather::HalfOpen);
    let large = "x".repeat(20_000);
    let mut published = 0;
    while subscribers() == before {
        b.publish("team", &large).await;
        published += 1;
        assert!(published < 5000, "Redis never cut the subscriber off");
    }
    relay.set(Weather::Fair);
    // Each event comes, or is told to be lost, once and in order.
    let mut next = 1;
    while next <= published {
        next = match client.next().await {
            ServerFrame::Event { event, .. } => {
                assert_eq!(event.offset, next);
                next + 1
            }
            ServerFrame::Gap { gap, .. } => {
                assert_eq!(gap.from, next);
                gap.to + 1
            }
            other => panic!("{other:?}"),
        };
    }
    assert!(losses(&a, "events") >= 1.0);
}

/// Keeps an event as the script does, but tells nobody: what a lost message looks like.
const SILENTLY: &str = "local o = redis.call('HINCRBY', 'fanfare:m:team', 'o', 1) local e = redis.call('XRANGE', 'fanfare:h:team', '-', '+', 'COUNT', 1)[1][2][2]
    e = string.sub(e, 1, 4) .. struct.pack('>I8', o) .. string.sub(e, 13)
    redis.call('XADD', 'fanfare:h:team', o .. '-0', 'd', e) return o";

#[tokio::test]
async fn an_event_that_was_lost_in_silence_is_found_by_the_check_or_by_the_next_event() {
    let redis = RedisServer::start();
    let a = node(&redis.url()).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    a.publish("team", "1").await;
    assert_eq!(client.offsets(1).await, [1]);
    assert_eq!(redis.command(&["EVAL", SILENTLY, "0"]).trim(), ":2");
    assert_eq!(client.offsets(1).await, [2]);
    redis.command(&["EVAL", SILENTLY, "0"]);
    a.publish("team", "4").await;
    assert_eq!(client.offsets(2).await, [3, 4]);
    assert!(a.metric("fanfare_redis_repairs_total") >= 2.0);
}

#[tokio::test]
async fn something_else_on_our_channels_is_counted_and_does_no_harm() {
    let redis = RedisServer::start();
    let a = node(&redis.url()).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    redis.ask("PUBLISH fanfare:g:team hello");
    redis.ask("PUBLISH fanfare:g:team hello-hello-hello-hello-hello");
    a.publish("team", "1").await;
    assert_eq!(client.offsets(1).await, [1]);
    until("it is counted", || a.metric("fanfare_redis_foreign_messages_total") >= 2.0).await;
}

#[tokio::test]
async fn a_node_that_dies_takes_nothing_with_it() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    let mut client = a.client(WEBSOCKET).await;
    let position = client.subscribe("team", None).await.position;
    a.publish("team", "1").await;
    assert_eq!(client.offsets(1).await, [1]);
    drop(a);
    b.publish("team", "2").await;
    let mut client = b.client(WEBSOCKET).await;
    client.subscribe("team", Some(Position { offset: 1, ..position })).await;
    assert_eq!(client.offsets(1).await, [2]);
}
