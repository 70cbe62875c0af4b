//! A server that begins anew: no offset comes twice in one epoch, nothing old is delivered as new, and everybody is told.

use std::{collections::HashSet, sync::Arc};

use fanfare::{
    broker::{Broker as _, Publication, redis::Redis},
    client::Transport,
    metrics::Metrics,
    protocol::{Content, Dialect, GroupName, Position, Recovery, Retention},
};

use crate::{
    common::{KEPT, TestClient, TestServer, until},
    nodes::{Sink, host, node, redis_config, spread_config, told},
    redis::RedisServer,
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

/// A node, a member, and three events that it has had.
pub async fn three_events(url: &str) -> (TestServer, TestClient, Position) {
    three_events_on(node(url).await).await
}

pub async fn three_events_on(a: TestServer) -> (TestServer, TestClient, Position) {
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    for n in 1..=3 {
        a.publish("team", &n.to_string()).await;
    }
    assert_eq!(client.offsets(3).await, [1, 2, 3]);
    let position = a.parts.broker.history(&GroupName::parse("team").unwrap(), 0, 0, 0).await.unwrap().top;
    (a, client, position)
}

/// Publishes until it is taken.
pub async fn publish(node: &TestServer) -> Position {
    loop {
        match node.try_publish("team", "new", None).await {
            Ok(receipt) => return receipt.position,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// The group has begun anew: members are told, events of the new epoch come from its first, and the old position is worth nothing.
pub async fn has_begun_anew(node: &TestServer, client: &mut TestClient, old: Position) {
    let new = publish(node).await;
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new.offset, 1);
    assert_eq!(told(client, 2).await, ["gap epoch", "1"]);
    let mut back = node.client(WEBSOCKET).await;
    let subscribed = back.subscribe("team", Some(old)).await;
    assert_eq!((subscribed.recovery, subscribed.position), (Recovery::Lost, new));
    assert_eq!(told(&mut back, 2).await, ["gap epoch", "1"]);
}

#[tokio::test]
async fn a_server_that_was_restarted_empty() {
    let mut redis = RedisServer::start();
    let (a, mut client, old) = three_events(&redis.url()).await;
    redis.stop();
    until("the node knows", || a.parts.broker.ready().is_err()).await;
    redis.run();
    has_begun_anew(&a, &mut client, old).await;
}

#[tokio::test]
async fn a_server_that_was_restarted_with_what_it_had_may_lack_the_last_writes() {
    let mut redis = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (a, mut client, old) = three_events(&redis.url()).await;
    redis.stop();
    redis.run();
    until("it has loaded its data", || redis.ask("EXISTS fanfare:m:team").contains(":1")).await;
    has_begun_anew(&a, &mut client, old).await;
}

#[tokio::test]
async fn a_server_that_was_emptied() {
    let redis = RedisServer::start();
    let (a, mut client, old) = three_events(&redis.url()).await;
    redis.ask("FLUSHALL");
    has_begun_anew(&a, &mut client, old).await;
}

#[tokio::test]
async fn a_server_that_was_emptied_is_noticed_without_any_event() {
    let redis = RedisServer::start();
    let (_a, mut client, _) = three_events(&redis.url()).await;
    redis.ask("FLUSHALL");
    assert_eq!(told(&mut client, 1).await, ["gap epoch"]);
}

/// The name of the server's life, if it has one.
fn life(redis: &RedisServer) -> Option<String> {
    let answer = redis.ask("HGET fanfare:life id");
    answer.lines().nth(1).map(|name| name.trim().to_owned())
}

#[tokio::test]
async fn a_life_that_was_lost_is_known_by_its_new_name_when_the_link_is_made_anew() {
    let (first, second) = (RedisServer::start(), RedisServer::start());
    let a = TestServer::with(spread_config(&[first.url(), second.url()]));
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    for redis in [&first, &second] {
        let before = life(redis);
        redis.ask("FLUSHALL");
        until("the life has a new name", || life(redis).is_some_and(|name| Some(name) != before)).await;
        let after = life(redis);
        // Nobody seems to have been here for a while: only who knows the life's name goes on with it.
        redis.ask("HSET fanfare:life entered 1");
        redis.ask("DEL fanfare:nodes");
        redis.ask("CLIENT KILL TYPE normal");
        until("the node has entered again", || !redis.ask("HGET fanfare:life entered").starts_with("$1\r")).await;
        assert_eq!(life(redis), after, "a new epoch for nothing");
    }
}

#[tokio::test]
async fn a_replica_that_lacks_the_last_writes_takes_over() {
    let mut primary = RedisServer::start();
    let replica = RedisServer::start();
    let between = Relay::to(primary.addr());
    replica.ask(&format!("REPLICAOF 127.0.0.1 {}", between.addr.port()));
    until("the replica follows", || replica.ask("INFO replication").contains("master_link_status:up")).await;
    let way = Relay::to(primary.addr());
    let (a, mut client, old) = three_events(&way.url()).await;
    until("the replica has it all", || replica.ask("XLEN fanfare:h:team").contains(":3")).await;
    between.set(Weather::Stalled);
    let lost = publish(&a).await;
    assert_eq!((lost.epoch, lost.offset), (old.epoch, 4));
    assert_eq!(told(&mut client, 1).await, ["4"]);
    primary.stop();
    way.lead_to(replica.addr());
    until("the node finds the replica", || a.parts.broker.ready().is_err_and(|why| why.contains("is a replica"))).await;
    replica.ask("REPLICAOF NO ONE");
    // Offset 4 of the old epoch has been seen; it must not be given again.
    has_begun_anew(&a, &mut client, lost).await;
}

#[tokio::test]
async fn a_server_that_was_demoted_and_promoted_again_under_open_links() {
    let redis = RedisServer::start();
    let other = RedisServer::start();
    let (a, mut client, old) = three_events(&redis.url()).await;
    redis.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    until("the node sees a replica", || a.parts.broker.ready().is_err()).await;
    until("it has the other's data: nothing", || redis.ask("INFO replication").contains("master_link_status:up")).await;
    redis.ask("REPLICAOF NO ONE");
    has_begun_anew(&a, &mut client, old).await;
}

#[tokio::test]
async fn nodes_whose_clocks_differ_by_an_hour_agree_on_order_and_expiry() {
    let server = RedisServer::start();
    let group = GroupName::parse("team").unwrap();
    let mut nodes = Vec::new();
    for now_ms in [1_764_000_000_000, 1_764_003_600_000, 1_763_996_400_000_u64] {
        let sink = Arc::new(Sink::default());
        let config = redis_config(&server.url());
        let (redis, running) =
            Redis::start(config, host(sink.clone(), &now_ms.to_string()), Arc::new(move || now_ms), Arc::new(Metrics::new())).unwrap();
        until("the node is ready", || redis.ready().is_ok()).await;
        redis.attach(&group, Some(KEPT)).await.unwrap();
        nodes.push((redis, sink, running));
    }
    let mut ids = HashSet::new();
    for n in 0..60 {
        let content = Content::message("x", None).unwrap();
        let retention = Some(Retention { size: 100, ..KEPT });
        let publication = Publication { group: group.clone(), content, sender: None, key: None, retention };
        let receipt = nodes[n % 3].0.publish(publication).await.unwrap();
        assert_eq!(receipt.position.offset, n as u64 + 1);
        assert!(ids.insert(receipt.id), "every id is unique");
    }
    for (redis, sink, _) in &nodes {
        until("everything is delivered", || sink.0.lock().unwrap().len() == 60).await;
        let first = nodes[0].1.0.lock().unwrap().clone();
        assert_eq!(*sink.0.lock().unwrap(), first);
        let history = redis.history(&group, 0, u64::MAX, 100).await.unwrap();
        assert_eq!(history.events.len(), 60, "none has expired, whatever its node thinks of the time");
    }
}
