//! What is seen of the nodes, while they live and when they die.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use fanfare::{
    broker::{View, redis},
    client::Transport,
    protocol::Dialect,
};

use crate::{
    common::{TestServer, soon, until},
    nodes::{node_with, redis_config},
    redis::{PROGRAM, RedisServer},
    relay::{Relay, Weather},
};

/// A process that is killed when it is dropped.
struct Process(Child);

impl Process {
    /// A node of its own, whose lease is short.
    fn node(redis: &RedisServer) -> Self {
        let args = ["serve", "--http", "127.0.0.1:0", "--secure", "off", "--quic", "off", "--redis", &redis.url()];
        let set = ["--set", "redis.lease=2s", "--set", "redis.timeout=1s", "--set", "node=other", "--set", "auth.anonymous=true"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        command.args(args).args(set).env("FANFARE_API__KEYS", "key").env_remove(PROGRAM).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a node sees so.
async fn until_seen(node: &TestServer, holds: impl Fn(&View) -> bool) {
    soon(async {
        while !holds(&View::of(&*node.parts.cluster).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn names(view: &View) -> Vec<&str> {
    view.nodes.iter().map(|node| node.name.as_str()).collect()
}

#[tokio::test]
async fn a_node_that_is_killed_is_gone_when_its_lease_is_over() {
    let redis = RedisServer::start();
    let a = node_with(redis_config(&redis.url()), 1).await;
    let mut other = Process::node(&redis);
    until_seen(&a, |view| view.complete && names(view) == ["other", "test"]).await;
    until("metrics show both", || a.metric("fanfare_cluster_nodes") > 1.5).await;
    other.kill();
    until_seen(&a, |view| view.complete && names(view) == ["test"]).await;
    until("metrics show one", || a.metric("fanfare_cluster_nodes") < 1.5).await;
}

#[tokio::test]
async fn what_a_node_says_of_itself_is_seen_on_the_others() {
    let redis = RedisServer::start();
    let a = node_with(redis_config(&redis.url()), 1).await;
    let b = node_with(redis::Config { lease: Duration::from_millis(300), ..redis_config(&redis.url()) }, 2).await;
    let mut client = b.client((Transport::Websocket, Dialect::Msgpack)).await;
    client.subscribe("team", None).await;
    let id = b.parts.cluster.node().id;
    until_seen(&a, |view| {
        let b = view.nodes.iter().find(|node| node.id == id);
        b.is_some_and(|b| (b.connections, b.groups, b.workers) == (1, 1, 2) && b.links.iter().all(|link| link.broken.is_none()))
    })
    .await;
}

#[tokio::test]
async fn without_redis_a_node_sees_itself_and_why() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = node_with(redis_config(&relay.url()), 1).await;
    until_seen(&a, |view| view.complete && view.nodes[0].links.iter().all(|link| link.broken.is_none())).await;
    relay.set(Weather::Cut);
    until_seen(&a, |view| !view.complete && view.nodes.len() == 1 && view.nodes[0].links.iter().all(|link| link.broken.is_some())).await;
    relay.set(Weather::Fair);
    until_seen(&a, |view| view.complete && view.nodes[0].links.iter().all(|link| link.broken.is_none())).await;
}
