//! Groups that are spread over several servers.

use std::collections::HashMap;

use fanfare::{
    broker::Error,
    client::Transport,
    protocol::{Dialect, Position, Recovery},
};

use crate::{
    common::{TestClient, TestServer, until},
    nodes::{spread_config, told},
    redis::RedisServer,
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);
const GROUPS: usize = 30;

fn name(group: usize) -> String {
    format!("team_{group}")
}

fn urls(servers: &[RedisServer]) -> Vec<String> {
    servers.iter().map(RedisServer::url).collect()
}

async fn node(urls: &[String]) -> TestServer {
    let node = TestServer::with(spread_config(urls));
    until("the node is ready", || node.parts.broker.ready().is_ok()).await;
    node
}

/// A member of every group, and where it begins in each.
async fn member(node: &TestServer) -> (TestClient, Vec<Position>) {
    let mut client = node.client(WEBSOCKET).await;
    let mut positions = Vec::new();
    for group in 0..GROUPS {
        positions.push(client.subscribe(&name(group), None).await.position);
    }
    (client, positions)
}

async fn publish_to_all(node: &TestServer) {
    for group in 0..GROUPS {
        node.publish(&name(group), "x").await;
    }
}

/// Which server has which group.
fn homes(servers: &[RedisServer]) -> HashMap<usize, usize> {
    let has = |server: &RedisServer, group: usize| server.ask(&format!("EXISTS fanfare:m:{}", name(group))).contains(":1");
    let mut homes = HashMap::new();
    for group in 0..GROUPS {
        for (at, _) in servers.iter().enumerate().filter(|(_, server)| has(server, group)) {
            assert_eq!(homes.insert(group, at), None, "a group is on one server only");
        }
    }
    homes
}

#[tokio::test]
async fn nodes_agree_on_where_a_group_is_in_whatever_order_they_name_the_servers() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let a = node(&urls(&servers)).await;
    let mut turned = urls(&servers);
    turned.rotate_left(1);
    let b = node(&turned).await;
    let (mut client, _) = member(&b).await;
    publish_to_all(&a).await;
    assert_eq!(told(&mut client, GROUPS).await, vec!["1"; GROUPS]);
    let homes = homes(&servers);
    assert_eq!(homes.len(), GROUPS);
    assert!((0..3).all(|server| homes.values().any(|home| *home == server)), "{homes:?}");
    for server in &servers {
        let series = format!("fanfare_redis_publish_seconds_count{{redis=\"127.0.0.1:{}/0\"}}", server.port);
        assert!(a.metric(&series) >= 1.0, "{series}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_named_and_stops_only_its_own_groups() {
    let mut servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let a = node(&urls(&servers)).await;
    let (mut client, _) = member(&a).await;
    publish_to_all(&a).await;
    assert_eq!(told(&mut client, GROUPS).await.len(), GROUPS);
    let homes = homes(&servers);
    servers[1].stop();
    until("it is named", || a.parts.broker.ready().is_err_and(|why| why.starts_with("Redis 2 of 3: "))).await;
    assert!(a.parts.broker.ready().is_err_and(|why| !why.contains("1 of 3") && !why.contains("3 of 3")));
    let mut others = 0;
    for group in 0..GROUPS {
        let published = a.try_publish(&name(group), "x", None).await;
        assert_eq!(matches!(published, Err(Error::Away { .. })), homes[&group] == 1, "{published:?}");
        others += usize::from(published.is_ok());
    }
    assert_eq!(told(&mut client, others).await, vec!["2"; others]);
    servers[1].run();
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    let begun_anew = told(&mut client, GROUPS - others).await;
    assert_eq!(begun_anew, vec!["gap epoch"; GROUPS - others]);
}

#[tokio::test]
async fn a_server_that_is_added_takes_its_share_and_the_groups_that_move_begin_a_new_epoch() {
    let mut servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let a = node(&urls(&servers)).await;
    publish_to_all(&a).await;
    let (client, positions) = member(&a).await;
    let before = homes(&servers);
    drop((client, a));
    servers.push(RedisServer::start());
    let b = node(&urls(&servers)).await;
    let mut moved = 0;
    for (group, position) in positions.iter().enumerate() {
        let mut client = b.client(WEBSOCKET).await;
        let subscribed = client.subscribe(&name(group), Some(*position)).await;
        let has_moved = servers[3].ask(&format!("EXISTS fanfare:m:{}", name(group))).contains(":1");
        assert_eq!(subscribed.recovery == Recovery::Lost, has_moved);
        moved += usize::from(has_moved);
    }
    assert!(0 < moved && moved < GROUPS, "{moved}");
    for group in 0..GROUPS {
        let has_moved = servers[3].ask(&format!("EXISTS fanfare:m:{}", name(group))).contains(":1");
        assert_eq!(b.publish(&name(group), "x").await.position.offset, if has_moved { 1 } else { 2 });
        assert!(has_moved || servers[before[&group]].ask(&format!("XLEN fanfare:h:{}", name(group))).contains(":2"));
    }
}

/// Follows every group from where it was, and says which recovered.
async fn come_back(node: &TestServer, positions: &[Position]) -> Vec<bool> {
    let mut recovered = Vec::new();
    for (group, position) in positions.iter().enumerate() {
        let mut client = node.client(WEBSOCKET).await;
        recovered.push(client.subscribe(&name(group), Some(*position)).await.recovery == Recovery::Recovered);
    }
    recovered
}

/// Publishes with one list of servers, then with another, then comes back with the first.
async fn there_and_back(first: &[RedisServer], second: &[String]) -> Vec<bool> {
    let a = node(&urls(first)).await;
    publish_to_all(&a).await;
    let (client, positions) = member(&a).await;
    drop((client, a));
    let b = node(second).await;
    publish_to_all(&b).await;
    drop(b);
    let c = node(&urls(first)).await;
    publish_to_all(&c).await;
    come_back(&c, &positions).await
}

#[tokio::test]
async fn a_group_that_was_elsewhere_for_a_while_does_not_go_on_as_if_it_had_not() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let more = RedisServer::start();
    let mut second = urls(&servers);
    second.push(more.url());
    // What was published on the server that is gone would be missing without a word.
    assert_eq!(there_and_back(&servers, &second).await, [false; GROUPS]);
    // Where nothing changes, and a node stays, all go on.
    let staying = node(&urls(&servers)).await;
    let a = node(&urls(&servers)).await;
    let (client, positions) = member(&a).await;
    drop((client, a));
    publish_to_all(&staying).await;
    let b = node(&urls(&servers)).await;
    assert_eq!(come_back(&b, &positions).await, [true; GROUPS]);
}

#[tokio::test]
async fn a_server_that_was_out_of_the_list_for_a_while_begins_anew() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    // As if a minute had passed for the server that is left out.
    let forget = |server: &RedisServer| server.ask("HSET fanfare:life entered 0");
    let a = node(&urls(&servers)).await;
    publish_to_all(&a).await;
    let (client, positions) = member(&a).await;
    drop((client, a));
    let b = node(&urls(&servers[..2])).await;
    publish_to_all(&b).await;
    forget(&servers[2]);
    drop(b);
    let c = node(&urls(&servers)).await;
    publish_to_all(&c).await;
    assert_eq!(come_back(&c, &positions).await, [false; GROUPS]);
}
