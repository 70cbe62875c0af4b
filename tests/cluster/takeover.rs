//! A replica takes over that lacks the last of what nodes have told: who is there is right again, and what stood only there is lost for later sessions alone.

use std::time::Duration;

use fanfare::{
    broker::{Demand, redis},
    client::Transport,
    protocol::{Dialect, GroupName, ServerFrame, UserId},
};

use crate::{
    common::{TestClient, TestServer, soon, until},
    nodes::{node_with, redis_config, text_of},
    people::listed,
    redis::RedisServer,
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

impl TestServer {
    /// Grants a group to ann, whose session follows it then.
    async fn grant_to(&self, ann: &mut TestClient, group: &str) {
        let groups = vec![GroupName::parse(group).unwrap()];
        self.parts.users.direct(&UserId::parse("ann").unwrap(), Demand::Grant { groups, standing: true }).await.unwrap();
        while !matches!(ann.next().await, ServerFrame::Subscribed { group: named, .. } if named == group) {}
    }

    async fn stands_for_ann(&self) -> Vec<String> {
        let standing = self.parts.users.standing(&UserId::parse("ann").unwrap()).await.unwrap();
        standing.groups.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn people_and_grants_that_a_replica_lacks() {
    let mut primary = RedisServer::start();
    let replica = RedisServer::start();
    let (between, way) = (Relay::to(primary.addr()), Relay::to(primary.addr()));
    replica.ask(&format!("REPLICAOF 127.0.0.1 {}", between.addr.port()));
    until("the replica follows", || replica.ask("INFO replication").contains("master_link_status:up")).await;
    let a = node_with(redis::Config { lease: Duration::from_secs(2), ..redis_config(&way.url()) }, 1).await;
    let mut ann = a.user(WEBSOCKET, Some("ann")).await;
    ann.join("room_x").await;
    a.grant_to(&mut ann, "sales").await;
    until("the replica has it all", || {
        replica.number("ZCARD fanfare:wu:room_x") == 1 && replica.ask("EXISTS fanfare:u:ann").contains(":1")
    })
    .await;
    between.set(Weather::Stalled);
    let mut bob = a.user(WEBSOCKET, Some("bob")).await;
    bob.join("room_x").await;
    assert_eq!(listed(&bob.counts("room_x", 2, 0, 2).await), [("ann", 1), ("bob", 1)]);
    a.grant_to(&mut ann, "team").await;
    assert_eq!(a.stands_for_ann().await, ["sales", "team"]);
    primary.stop();
    way.lead_to(replica.addr());
    until("the node finds the replica", || a.parts.broker.ready().is_err_and(|why| why.contains("is a replica"))).await;
    assert_eq!(replica.number("ZCARD fanfare:wu:room_x"), 1);
    replica.ask("REPLICAOF NO ONE");
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    // Both are there, each once.
    soon(async { while !bob.who("room_x", None, None).await.is_ok_and(|roster| listed(&roster) == [("ann", 1), ("bob", 1)]) {} }).await;
    // What was granted last stands no longer, and the session that has it keeps it.
    assert_eq!(a.stands_for_ann().await, ["sales"]);
    for group in ["sales", "team"] {
        while a.try_publish(group, group, None).await.is_err() {
            tokio::task::yield_now().await;
        }
        loop {
            match ann.next().await {
                ServerFrame::Event { event, .. } if text_of(&event) == group => break,
                ServerFrame::Unsubscribed { group, .. } => panic!("{group} was taken away"),
                _ => {}
            }
        }
    }
}
