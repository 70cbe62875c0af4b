//! What says that a node lives: there while it does, gone when it does not, and made anew when it comes back.

use std::{sync::Arc, time::Duration};

use fanfare::{
    broker::{
        Cluster as _, Host, Node,
        redis::{Config, Redis, Running},
    },
    metrics::Metrics,
};

use crate::{
    common::{soon, until},
    nodes::{Sink, host, redis_config},
    redis::RedisServer,
    relay::{Relay, Weather},
};

/// Longer than any test runs: such a lease does not end by itself.
const LONG: Duration = Duration::from_secs(600);

const SHORT: Duration = Duration::from_millis(300);

fn start(url: &str, id: &str, lease: Duration) -> (Arc<Redis>, Running) {
    start_with(Config { lease, ..redis_config(url) }, host(Arc::new(Sink::default()), id))
}

fn start_with(config: Config, host: Host) -> (Arc<Redis>, Running) {
    Redis::start(config, host, Arc::new(|| 1_764_000_000_000), Arc::new(Metrics::new())).unwrap()
}

/// The nodes that Redis knows, `None` while it can't be asked.
async fn listed(redis: &Redis) -> Option<Vec<String>> {
    let mut ids: Vec<String> = redis.nodes().await.ok()?.into_iter().map(|node| node.id).collect();
    ids.sort();
    Some(ids)
}

async fn until_listed(redis: &Redis, ids: &[&str]) {
    soon(async {
        while listed(redis).await.is_none_or(|found| found != ids) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_know_one_another_until_one_stops() {
    let server = RedisServer::start();
    let (a, _running) = start(&server.url(), "a", LONG);
    let describe = || Node { id: "b".into(), name: "second".into(), connections: 7, ..Node::default() };
    let sink = Arc::new(Sink::default());
    let (b, stopping) =
        start_with(Config { lease: LONG, ..redis_config(&server.url()) }, Host { describe: Arc::new(describe), ..host(sink, "b") });
    until_listed(&a, &["a", "b"]).await;
    let seen = a.nodes().await.unwrap().into_iter().find(|node| node.id == "b").unwrap();
    assert_eq!((seen.name.as_str(), seen.connections), ("second", 7));
    assert_eq!(seen.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["commands", "events"]);
    assert_eq!(seen.links[0].broken, None);
    drop((b, stopping));
    assert_eq!(listed(&a).await.unwrap(), ["a"], "its lease has been given up");
    assert_eq!(server.number("ZCARD fanfare:nodes"), 1);
}

#[tokio::test]
async fn a_node_that_is_silent_for_longer_than_its_lease_is_gone_and_makes_it_anew_when_it_comes_back() {
    let server = RedisServer::start();
    let relay = Relay::to(server.addr());
    let (a, _first) = start(&server.url(), "a", LONG);
    let (b, _second) = start(&relay.url(), "b", SHORT);
    let mut made = b.lease().made();
    until_listed(&a, &["a", "b"]).await;
    relay.set(Weather::Cut);
    until_listed(&a, &["a"]).await;
    let before = *made.borrow();
    relay.set(Weather::Fair);
    soon(made.wait_for(|times| *times > before)).await.unwrap();
    until_listed(&a, &["a", "b"]).await;
    assert_eq!(*a.lease().made().borrow(), 1, "the other one never lost its own");
}

#[tokio::test]
async fn an_interruption_that_is_shorter_than_the_lease_changes_nothing() {
    let server = RedisServer::start();
    let relay = Relay::to(server.addr());
    let (b, _running) = start(&relay.url(), "b", LONG);
    until_listed(&b, &["b"]).await;
    server.command(&["SET", "fanfare:lease:b", &leased(&server, r#"{"id":"b","name":"old"}"#)]);
    relay.set(Weather::Cut);
    until("the node knows", || b.node().links.iter().all(|link| link.broken.is_some())).await;
    relay.set(Weather::Fair);
    // It is renewed as soon as the link is back, not only after a third of its time.
    soon(async {
        while b.nodes().await.is_ok_and(|nodes| nodes[0].name == "old") || b.nodes().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(*b.lease().made().borrow(), 1);
}

/// A lease of the server's present life that says so.
fn leased(server: &RedisServer, says: &str) -> String {
    let life = server.ask("HGET fanfare:life id");
    format!("{} {says}", life.lines().nth(1).unwrap())
}

#[tokio::test]
async fn a_server_that_begins_anew_gets_every_lease_anew() {
    let mut server = RedisServer::start();
    let (a, _running) = start(&server.url(), "a", LONG);
    let mut made = a.lease().made();
    soon(made.wait_for(|times| *times == 1)).await.unwrap();
    server.stop();
    server.run();
    soon(made.wait_for(|times| *times == 2)).await.unwrap();
    until_listed(&a, &["a"]).await;
}

#[tokio::test]
async fn a_lease_of_another_life_of_the_server_is_made_anew() {
    let server = RedisServer::start();
    let (a, _running) = start(&server.url(), "a", SHORT);
    let mut made = a.lease().made();
    soon(made.wait_for(|times| *times >= 1)).await.unwrap();
    let before = *made.borrow();
    server.ask("HSET fanfare:life id another");
    soon(made.wait_for(|times| *times > before)).await.unwrap();
}
