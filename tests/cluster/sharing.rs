//! The ordinary life of several nodes.

use fanfare::{
    client::Transport,
    protocol::{Dialect, GapReason, GroupName, Recovery, ServerFrame},
};

use crate::{
    common::{WAYS, until},
    nodes::node,
    redis::RedisServer,
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);
const WEBTRANSPORT: (Transport, Dialect) = (Transport::Webtransport, Dialect::Msgpack);

#[tokio::test]
async fn what_is_published_anywhere_comes_everywhere_once_and_in_one_order() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    let mut members = Vec::new();
    for (at, way) in WAYS.into_iter().enumerate() {
        let server = if at % 2 == 0 { &a } else { &b };
        let mut client = server.client(way).await;
        assert_eq!(client.subscribe("team", None).await.position.offset, 0);
        members.push(client);
    }
    for n in 0..50 {
        let server = if n % 3 == 0 { &a } else { &b };
        assert_eq!(server.publish("team", "x").await.position.offset, n + 1);
    }
    for member in &mut members {
        assert_eq!(member.offsets(50).await, (1..=50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_group_without_history_is_carried_too() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    let mut client = b.client(WEBSOCKET).await;
    client.subscribe("live_x", None).await;
    let receipt = a.publish("live_x", "x").await;
    let event = client.event().await;
    assert_eq!((event.id, event.offset), (receipt.id, 0));
    assert_eq!(redis.ask("KEYS *live_x*").trim(), "*0", "nothing is kept of it");
}

#[tokio::test]
async fn who_comes_back_to_another_node_by_the_other_transport_misses_nothing() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    let mut client = a.client(WEBSOCKET).await;
    let position = client.subscribe("team", None).await.position;
    a.publish("team", "1").await;
    assert_eq!(client.offsets(1).await, [1]);
    drop(client);
    for n in 2..=6 {
        a.publish("team", &n.to_string()).await;
    }
    let since = fanfare::protocol::Position { offset: 1, ..position };
    let mut client = b.client(WEBTRANSPORT).await;
    let subscribed = client.subscribe("team", Some(since)).await;
    assert_eq!((subscribed.recovery, subscribed.missed, subscribed.position.offset), (Recovery::Recovered, 5, 6));
    assert_eq!(client.offsets(5).await, [2, 3, 4, 5, 6]);
    a.publish("team", "7").await;
    assert_eq!(client.offsets(1).await, [7]);
    let mut late = b.client(WEBSOCKET).await;
    let subscribed = late.subscribe("deep_x", Some(since)).await;
    assert_eq!(subscribed.recovery, Recovery::Lost, "a position of another group means nothing here");
    assert!(matches!(late.next().await, ServerFrame::Gap { gap, .. } if gap.reason == GapReason::Epoch));
}

#[tokio::test]
async fn events_that_come_while_the_past_is_read_come_after_it() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    let mut first = a.client(WEBSOCKET).await;
    let position = first.subscribe("deep_x", None).await.position;
    let publishing = async {
        for n in 0..600 {
            a.publish("deep_x", &n.to_string()).await;
        }
    };
    let coming_back = async {
        for _ in 0..20 {
            let mut client = b.client(WEBSOCKET).await;
            let subscribed = client.subscribe("deep_x", Some(position)).await;
            assert_eq!(subscribed.recovery, Recovery::Recovered);
            let count = usize::try_from(subscribed.missed).unwrap() + 3;
            let wanted: Vec<u64> = (1..=count as u64).collect();
            if count < 500 {
                assert_eq!(client.offsets(count).await, wanted);
            }
        }
    };
    tokio::join!(publishing, coming_back);
}

#[tokio::test]
async fn a_key_makes_a_repetition_on_another_node_harmless() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url()).await, node(&redis.url()).await);
    for group in ["team", "live_x"] {
        let first = a.try_publish(group, "x", Some("k")).await.unwrap();
        let again = b.try_publish(group, "x", Some("k")).await.unwrap();
        assert_eq!((again.id, again.position, first.duplicate, again.duplicate), (first.id, first.position, false, true));
        let other = b.try_publish("team2", "x", Some("k")).await.unwrap();
        assert_ne!(other.id, first.id);
    }
}

#[tokio::test]
async fn a_node_subscribes_to_what_its_members_follow_and_to_nothing_else() {
    let redis = RedisServer::start();
    let a = node(&redis.url()).await;
    // All nodes also listen for directives, on a channel that no group can have.
    let count = || redis.ask("PUBSUB CHANNELS fanfare:g:[^:]*").matches("fanfare:g:").count();
    let mut one = a.client(WEBSOCKET).await;
    let mut two = a.client(WEBTRANSPORT).await;
    one.subscribe("team", None).await;
    two.subscribe("team", None).await;
    assert_eq!((count(), redis.number("PUBSUB NUMPAT")), (1, 0));
    assert!(redis.ask("PUBSUB NUMSUB fanfare:g:team").contains(":1"));
    drop(one);
    two.subscribe("other", None).await;
    assert_eq!(count(), 2);
    drop(two);
    until("nobody follows, so nothing is subscribed", || count() == 0).await;
    assert!((a.metric("fanfare_redis_groups")).abs() < 0.5);
    let mut back = a.client(WEBSOCKET).await;
    back.subscribe("team", None).await;
    a.publish("team", "x").await;
    assert_eq!(back.offsets(1).await, [1]);
}

#[tokio::test]
async fn history_is_bounded_by_number_and_age_of_the_servers_clock() {
    let redis = RedisServer::start();
    let a = node(&redis.url()).await;
    let group = GroupName::parse("team").unwrap();
    for n in 1..=120 {
        a.publish("team", &n.to_string()).await;
    }
    let history = a.parts.broker.history(&group, 0, u64::MAX, 1000).await.unwrap();
    assert_eq!((history.events.len(), history.start, history.top.offset), (100, 20, 120));
    let page = a.parts.broker.history(&group, 30, 40, 5).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.offset).collect::<Vec<_>>(), [36, 37, 38, 39, 40]);
    redis.command(&["EVAL", AGE, "0"]);
    let history = a.parts.broker.history(&group, 0, u64::MAX, 1000).await.unwrap();
    assert_eq!((history.events.len(), history.start, history.top.offset), (10, 110, 120));
    assert_eq!(redis.number("XLEN fanfare:h:team"), 10);
    assert!(redis.number("PTTL fanfare:h:team") <= 60_000 && redis.number("PTTL fanfare:m:team") > 80_000_000);
}

/// Makes the first 110 events of `team` look as if they had been published in 1970.
const AGE: &str = "local h = 'fanfare:h:team' local all = redis.call('XRANGE', h, '-', '+') redis.call('DEL', h)
    for _, e in ipairs(all) do
        local d = e[2][2]
        if tonumber(string.match(e[1], '^%d+')) <= 110 then d = string.sub(d, 1, 12) .. struct.pack('>I8', 1) .. string.sub(d, 21) end
        redis.call('XADD', h, e[1], 'd', d)
    end
    redis.call('PEXPIRE', h, 60000)";
