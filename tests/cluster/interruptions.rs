//! A node that is cut off from Redis and not from its clients: they are told, where the policy says so, and told again when they have what they missed.

use fanfare::protocol::{GapReason, ServerFrame};

use crate::{
    common::{TestClient, TestServer, WAYS, until},
    nodes::{node, node_with, redis_config},
    redis::RedisServer,
    relay::{Relay, Weather},
};

async fn is_interrupted(client: &mut TestClient, number: u32) {
    assert_eq!(client.next().await, ServerFrame::Interrupted { number });
}

async fn is_resumed(client: &mut TestClient, number: u32) {
    assert_eq!(client.next().await, ServerFrame::Resumed { number });
}

fn interrupted_groups(node: &TestServer) -> f64 {
    node.metric("fanfare_redis_groups_interrupted")
}

#[tokio::test]
async fn members_are_told_that_their_node_is_cut_off_and_when_they_have_what_they_missed() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let (a, b) = (node_with(redis_config(&relay.url()), 1).await, node(&redis.url()).await);
    for way in WAYS {
        let mut client = a.client(way).await;
        let kept = client.subscribe("told_x", None).await;
        relay.set(Weather::Cut);
        is_interrupted(&mut client, kept.number).await;
        assert!(interrupted_groups(&a) >= 1.0);
        // Who comes meanwhile is told as well, after the answer.
        let mut late = a.client(way).await;
        let joined = late.subscribe("told_x", None).await;
        is_interrupted(&mut late, joined.number).await;
        for text in ["1", "2"] {
            b.publish("told_x", text).await;
        }
        relay.set(Weather::Fair);
        let next = kept.position.offset + 1;
        for client in [&mut client, &mut late] {
            assert_eq!(client.offsets(2).await, [next, next + 1]);
            is_resumed(client, joined.number).await;
        }
        until("no group is interrupted", || interrupted_groups(&a) == 0.0).await;
        // Who comes now hears nothing of it.
        let mut after = a.client(way).await;
        after.subscribe("told_x", None).await;
        b.publish("told_x", "3").await;
        assert_eq!(after.offsets(1).await, [next + 2]);
        until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    }
}

#[tokio::test]
async fn a_link_that_falls_silent_interrupts_too_and_a_group_without_history_gets_its_gap_before_it_resumes() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = node_with(redis_config(&relay.url()), 2).await;
    let mut client = a.client(WAYS[0]).await;
    let number = client.subscribe("told-live_x", None).await.number;
    let quiet = client.subscribe("team", None).await;
    relay.set(Weather::HalfOpen);
    is_interrupted(&mut client, number).await;
    relay.set(Weather::Fair);
    match client.next().await {
        ServerFrame::Gap { number: of, gap } => assert_eq!((of, gap.reason), (number, GapReason::Broker)),
        other => panic!("{other:?}"),
    }
    is_resumed(&mut client, number).await;
    // The policy of the other says nothing.
    until("the node is ready", || a.parts.broker.ready().is_ok()).await;
    a.publish("team", "x").await;
    assert_eq!(client.offsets(1).await, [quiet.position.offset + 1]);
}
