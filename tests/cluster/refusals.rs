//! A server that answers, but does not do it: what that means is told, nothing is half done, and nothing is done twice.

use std::time::Duration;

use fanfare::{
    broker::{Error, redis::Config},
    client::Transport,
    protocol::{Dialect, GroupName, ServerFrame},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use crate::{
    actor::{Actor, bulk},
    common::{TestServer, soon, until},
    lives::{has_begun_anew, three_events, three_events_on},
    nodes::{light_node, node_with, redis_config, text_of, told},
    redis::RedisServer,
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

fn refusals(node: &TestServer) -> f64 {
    node.metric("fanfare_redis_refusals_total")
}

/// Fills a server with twenty values of two megabytes: between two of them a server that loads looks at commands.
const FILL: &str = "for n = 1, 20 do redis.call('SET', 'other:' .. n, string.rep('x', 2097152)) end";

#[tokio::test]
async fn a_server_that_loads_its_data_is_waited_for() {
    let mut redis = RedisServer::start();
    let patient = Config { connect_timeout: Duration::from_secs(10), timeout: Duration::from_secs(10), ..redis_config(&redis.url()) };
    let (a, mut client, old) = three_events_on(node_with(patient, 1).await).await;
    redis.command(&["EVAL", FILL, "0"]);
    redis.ask("CONFIG SET rdbcompression no");
    assert_eq!(redis.ask("SAVE").trim(), "+OK");
    redis.stop();
    // Each value takes half a second, until it is told otherwise.
    redis.set_args(&["--key-load-delay", "500000"]);
    redis.run();
    until("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains("LOADING"))).await;
    assert!(matches!(a.try_publish("team", "x", None).await, Err(Error::Away { .. })));
    redis.ask("CONFIG SET key-load-delay 0");
    has_begun_anew(&a, &mut client, old).await;
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_under_a_publisher_does_nothing() {
    let (redis, other) = (RedisServer::start(), RedisServer::start());
    // Nothing is asked between publishes.
    let quiet = Config { probe_interval: Duration::from_secs(60), timeout: Duration::from_secs(60), ..redis_config(&redis.url()) };
    let (a, mut client, old) = three_events_on(node_with(quiet, 1).await).await;
    redis.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    assert!(matches!(a.try_publish("team", "x", None).await, Err(Error::Away { .. })));
    assert!(refusals(&a) >= 1.0);
    until("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains("is a replica"))).await;
    redis.ask("REPLICAOF NO ONE");
    has_begun_anew(&a, &mut client, old).await;
}

#[tokio::test]
async fn a_server_without_memory_keeps_no_event_and_loses_none() {
    let redis = RedisServer::start();
    let (a, mut client, old) = three_events(&redis.url()).await;
    client.subscribe("live_x", None).await;
    redis.ask("CONFIG SET maxmemory 1");
    assert!(matches!(a.try_publish("team", "x", Some("key")).await, Err(Error::Away { .. })));
    assert!(matches!(a.try_publish("other", "x", None).await, Err(Error::Away { .. })));
    assert!(matches!(a.try_publish("live_x", "not told", Some("key")).await, Err(Error::Away { .. })));
    assert!(refusals(&a) >= 3.0);
    // What needs no memory goes on.
    a.publish("live_x", "told").await;
    assert!(matches!(client.next().await, ServerFrame::Event { event, .. } if text_of(&event) == "told"));
    assert_eq!(a.parts.broker.ready(), Ok(()));
    redis.ask("CONFIG SET maxmemory 0");
    let receipt = a.try_publish("team", "x", Some("key")).await.unwrap();
    assert_eq!((receipt.position.epoch, receipt.position.offset, receipt.duplicate), (old.epoch, 4, false));
    assert_eq!(told(&mut client, 1).await, ["4"]);
}

#[tokio::test]
async fn a_server_that_forgets_its_scripts_is_told_them_again() {
    let redis = RedisServer::start();
    let (a, mut client, _) = three_events(&redis.url()).await;
    for n in 4..=8 {
        redis.ask("SCRIPT FLUSH");
        assert_eq!(a.publish("team", &n.to_string()).await.position.offset, n);
    }
    assert_eq!(client.offsets(5).await, [4, 5, 6, 7, 8]);
    redis.ask("SCRIPT FLUSH");
    let history = a.parts.broker.history(&GroupName::parse("team").unwrap(), 0, u64::MAX, 100).await.unwrap();
    assert_eq!(history.events.len(), 8);
    redis.ask("SCRIPT FLUSH");
    client.subscribe("another", None).await;
    assert!(refusals(&a).abs() < 0.5);
}

#[tokio::test]
async fn a_server_in_cluster_mode_is_refused_with_what_to_do() {
    let redis = RedisServer::with(&["--cluster-enabled", "yes"]);
    let a = light_node(redis_config(&redis.url()));
    until("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains("cluster mode") && why.contains("redis.urls")))
        .await;
}

#[tokio::test]
async fn a_server_that_says_moved_is_refused_with_what_to_do() {
    for refusal in [
        "-MOVED 3999 127.0.0.1:6381\r\n",
        "-CROSSSLOT Keys in request don't hash to the same slot\r\n",
        "-CLUSTERDOWN Hash slot not served\r\n",
    ] {
        let actor = Actor::primary(move |_| Some(refusal.into()));
        let a = light_node(redis_config(&actor.url()));
        until("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains("cluster mode"))).await;
        assert!(matches!(a.try_publish("team", "x", None).await, Err(Error::Away { .. })));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_no_success() {
    // Lets the node in, and answers publishes with something else.
    let publish = |words: &[String]| words.iter().any(|word| word.ends_with(":m:team"));
    let actor = Actor::primary(move |words| match (publish(words), words[0].as_str()) {
        (true, _) => Some("+OK\r\n".into()),
        // Entering has two keys; everything else is content with a number.
        (false, "EVAL" | "EVALSHA") if words[2] == "2" => Some(bulk("life")),
        (false, _) => Some(":1\r\n".into()),
    });
    let a = light_node(redis_config(&actor.url()));
    let unconfirmed = async {
        loop {
            match a.try_publish("team", "x", None).await {
                Err(Error::Away { .. }) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    assert!(matches!(soon(unconfirmed).await, Err(Error::Unconfirmed { .. })));
    let rubbish = Actor::playing(|_| Some("HTTP/1.1 400 Bad Request\r\n\r\n".into()));
    let b = light_node(redis_config(&rubbish.url()));
    until("the reason is known", || b.parts.broker.ready().is_err_and(|why| why.contains("no RESP2"))).await;
}

#[tokio::test]
async fn a_server_that_takes_two_seconds_only_delays() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let patient = Config { timeout: Duration::from_secs(30), connect_timeout: Duration::from_secs(30), ..redis_config(&relay.url()) };
    let a = node_with(patient, 1).await;
    let mut client = a.client(WEBSOCKET).await;
    client.subscribe("team", None).await;
    relay.set(Weather::Slow(Duration::from_secs(2)));
    let (one, two) = tokio::join!(a.try_publish("team", "x", None), a.try_publish("team", "y", None));
    assert_eq!((one.unwrap().position.offset, two.unwrap().position.offset), (1, 2));
    assert_eq!(client.offsets(2).await, [1, 2]);
    assert!(a.metric("fanfare_redis_link_losses_total").abs() < 0.5);
}

#[tokio::test]
async fn what_waits_for_a_slow_server_is_bounded_and_everybody_is_told_the_truth() {
    const PUBLISHERS: usize = 12_000;
    let redis = RedisServer::start();
    let patient = Config { timeout: Duration::from_secs(60), ..redis_config(&redis.url()) };
    let a = node_with(patient, 1).await;
    a.publish("team", "x").await;
    redis.ask("CLIENT PAUSE 60000 WRITE");
    let mut publishing: FuturesUnordered<_> = (0..PUBLISHERS).map(|_| a.try_publish("team", "x", None)).collect();
    // Half of them find no room, and are told so while the server is silent.
    let mut busy = 0;
    while busy < PUBLISHERS / 4 {
        let told = publishing.next().await.unwrap();
        assert!(matches!(told, Err(Error::Busy { .. })), "{told:?}");
        busy += 1;
    }
    redis.ask("CLIENT UNPAUSE");
    let mut offsets = Vec::new();
    while let Some(told) = publishing.next().await {
        match told {
            Ok(receipt) => offsets.push(receipt.position.offset),
            Err(Error::Busy { .. }) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (2..=offsets.len() as u64 + 1).collect::<Vec<_>>());
    assert_eq!(offsets.len() + busy, PUBLISHERS);
    let top = a.parts.broker.history(&GroupName::parse("team").unwrap(), 0, 0, 0).await.unwrap().top;
    assert_eq!(top.offset, offsets.len() as u64 + 1, "what was refused was not done");
}
