//! Who is there, on several nodes: told once, right after a node, a link or Redis has failed, and whatever the nodes' clocks say.

use std::{sync::Arc, time::Duration};

use fanfare::{
    broker::{
        Attendance, Broker as _, Error, Item, View,
        redis::{Config, Redis, Running},
    },
    client::Transport,
    metrics::Metrics,
    protocol::{Dialect, GroupName, PresenceChange, Roster, UserId},
    server,
};

use crate::{
    common::{TestClient, TestServer, soon, until},
    nodes::{Sink, host, node_config, redis_config},
    people::{listed, shown},
    redis::RedisServer,
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

async fn node(url: &str, lease: Duration, grace: Duration) -> TestServer {
    let config = node_config(Config { lease, ..redis_config(url) }, 2);
    let node = TestServer::with(server::Config { presence_grace: grace, ..config });
    until("the node is ready", || node.parts.broker.ready().is_ok()).await;
    node
}

#[tokio::test]
async fn a_user_on_two_nodes_comes_once_and_goes_once() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url(), LONG, Duration::ZERO).await, node(&redis.url(), LONG, Duration::ZERO).await);
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    assert_eq!(watcher.told().await, "+watcher - 1/0");
    let mut here = a.user(WEBSOCKET, Some("ann")).await;
    here.join("room_x").await;
    assert_eq!(watcher.told().await, "+ann - 2/0");
    let mut there = b.user(WEBSOCKET, Some("ann")).await;
    there.join("room_x").await;
    let roster = watcher.counts("room_x", 2, 0, 3).await;
    assert_eq!(listed(&roster), [("ann", 2), ("watcher", 1)]);
    drop(here);
    assert_eq!(listed(&watcher.counts("room_x", 2, 0, 2).await), [("ann", 1), ("watcher", 1)]);
    let mut nobody = b.client(WEBSOCKET).await;
    nobody.join("room_x").await;
    assert_eq!(watcher.told().await, "+ - 2/1", "the next that is told after ann came is this");
    assert_eq!(listed(&there.who("room_x", None, Some(1)).await.unwrap()), [("ann", 1)]);
    drop(there);
    assert_eq!(watcher.told().await, "+ -ann 1/1");
    drop((nobody, watcher));
    until("nothing is left of the group", || redis.ask("EXISTS fanfare:wu:room_x fanfare:wc:room_x").contains(":0")).await;
}

#[tokio::test]
async fn a_change_stands_among_the_events_where_it_happened() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url(), LONG, Duration::ZERO).await, node(&redis.url(), LONG, Duration::ZERO).await);
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    assert_eq!(watcher.told().await, "+watcher - 1/0");
    for n in 1..=20 {
        let mut ann = b.user(WEBSOCKET, Some("ann")).await;
        ann.join("room_x").await;
        assert_eq!(watcher.told().await, "+ann - 2/0");
        b.publish("room_x", "while ann is here").await;
        assert_eq!(watcher.event().await.offset, n);
        drop(ann);
        assert_eq!(watcher.told().await, "+ -ann 1/0");
    }
}

#[tokio::test]
async fn when_a_node_is_killed_its_people_go_with_its_lease_and_who_has_come_back_elsewhere_has_not_gone() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = node(&redis.url(), SHORT, LONG).await;
    let b = node(&relay.url(), SHORT, LONG).await;
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    assert_eq!(watcher.told().await, "+watcher - 1/0");
    let mut crowd = Vec::new();
    for user in [Some("ann"), Some("bob"), Some("bob"), None] {
        let mut client = b.user(WEBSOCKET, user).await;
        client.join("room_x").await;
        crowd.push(client);
    }
    watcher.counts("room_x", 3, 1, 5).await;
    // From here on nothing comes from that node any more, not even a goodbye.
    relay.set(Weather::Cut);
    let mut back = a.user(WEBSOCKET, Some("ann")).await;
    back.join("room_x").await;
    drop((crowd, b));
    let roster = watcher.counts("room_x", 2, 0, 2).await;
    assert_eq!(listed(&roster), [("ann", 1), ("watcher", 1)]);
    until("it is counted", || (a.metric("fanfare_presence_swept_total") - 3.0).abs() < 0.5).await;
    // The next that comes is told right after.
    let mut last = a.user(WEBSOCKET, Some("zed")).await;
    last.join("room_x").await;
    assert_eq!(watcher.change().await.census.version, roster.census.version + 1);
    assert_eq!(redis.number("ZCARD fanfare:rolls"), 1);
}

#[tokio::test]
async fn when_a_node_stops_its_people_may_come_back_elsewhere_without_having_been_away() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url(), LONG, LONG).await, node(&redis.url(), LONG, LONG).await);
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    assert_eq!(watcher.told().await, "+watcher - 1/0");
    let mut ann = b.user(WEBSOCKET, Some("ann")).await;
    ann.join("room_x").await;
    assert_eq!(watcher.told().await, "+ann - 2/0");
    drop(b);
    assert!(redis.ask("EXISTS fanfare:nodes").contains(":1"));
    let mut back = a.user(WEBSOCKET, Some("ann")).await;
    back.join("room_x").await;
    watcher.counts("room_x", 2, 0, 3).await;
    // As if the time had passed for which the stopped node's people are kept.
    let kept = redis.ask("KEYS fanfare:wx:*").lines().nth(2).unwrap().to_owned();
    redis.ask(&format!("DEL {kept}"));
    let mut c = node(&redis.url(), SHORT, LONG).await;
    watcher.counts("room_x", 2, 0, 2).await;
    let mut last = c.user(WEBSOCKET, Some("zed")).await;
    last.join("room_x").await;
    assert_eq!(watcher.told().await, "+zed - 3/0", "ann was never seen to go");
    drop(c.server.take());
}

#[tokio::test]
async fn when_redis_is_emptied_or_restarted_everybody_is_there_again() {
    let mut redis = RedisServer::start();
    let (a, b) = (node(&redis.url(), SHORT, LONG).await, node(&redis.url(), SHORT, LONG).await);
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    let mut ann = b.user(WEBSOCKET, Some("ann")).await;
    ann.join("room_x").await;
    let before = watcher.counts("room_x", 2, 0, 2).await;
    redis.ask("FLUSHALL");
    let after = anew(&mut watcher, &before).await;
    redis.stop();
    until("the node knows", || a.parts.broker.ready().is_err()).await;
    redis.run();
    anew(&mut watcher, &after).await;
    until("changes come again, too", || a.parts.broker.ready().is_ok() && b.parts.broker.ready().is_ok()).await;
    let mut zed = b.user(WEBSOCKET, Some("zed")).await;
    zed.join("room_x").await;
    while watcher.told().await != "+zed - 3/0" {}
}

/// Asks until both are there, in another epoch than before.
async fn anew(watcher: &mut TestClient, before: &Roster) -> Roster {
    soon(async {
        loop {
            if let Ok(roster) = watcher.who("room_x", None, None).await
                && roster.census.epoch != before.census.epoch
                && listed(&roster) == [("ann", 1), ("watcher", 1)]
            {
                return roster;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_node_that_was_cut_off_is_gone_for_the_others_and_comes_back_with_its_people() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = node(&redis.url(), SHORT, LONG).await;
    let b = node(&relay.url(), SHORT, LONG).await;
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    assert_eq!(watcher.told().await, "+watcher - 1/0");
    let mut ann = b.user(WEBSOCKET, Some("ann")).await;
    ann.join("room_x").await;
    assert_eq!(watcher.told().await, "+ann - 2/0");
    assert_eq!(ann.told().await, "+ann - 2/0");
    relay.set(Weather::Cut);
    assert_eq!(watcher.told().await, "+ -ann 1/0");
    relay.set(Weather::Fair);
    assert_eq!(watcher.told().await, "+ann - 2/0");
    // She was there all the time, and is told that she may have missed something.
    while ann.change().await != PresenceChange::lost() {}
    ann.counts("room_x", 2, 0, 2).await;
    assert!(b.metric("fanfare_presence_rebuilds_total") > 0.5);
}

#[tokio::test]
async fn an_interruption_that_is_shorter_than_the_lease_is_not_seen() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let a = node(&redis.url(), LONG, Duration::ZERO).await;
    let b = node(&relay.url(), LONG, Duration::ZERO).await;
    let mut watcher = a.user(WEBSOCKET, Some("watcher")).await;
    watcher.join("room_x").await;
    let mut ann = b.user(WEBSOCKET, Some("ann")).await;
    ann.join("room_x").await;
    watcher.counts("room_x", 2, 0, 2).await;
    for weather in [Weather::Cut, Weather::Stalled] {
        relay.set(weather);
        until("the node knows", || b.parts.broker.ready().is_err()).await;
        // What happens meanwhile is told when the link is back: this one has gone again by then.
        let mut nobody = b.client(WEBSOCKET).await;
        nobody.join("room_x").await;
        drop(nobody);
        relay.set(Weather::Fair);
        until("the node is back", || b.parts.broker.ready().is_ok()).await;
        watcher.counts("room_x", 2, 0, 2).await;
    }
    let mut zed = b.user(WEBSOCKET, Some("zed")).await;
    zed.join("room_x").await;
    while watcher.told().await != "+zed - 3/0" {}
}

#[tokio::test]
async fn when_redis_was_away_from_all_nodes_for_longer_than_their_leases_nobody_has_gone() {
    let redis = RedisServer::start();
    let relays = [Relay::to(redis.addr()), Relay::to(redis.addr())];
    let (a, b) = (node(&relays[0].url(), LONG, LONG).await, node(&relays[1].url(), LONG, LONG).await);
    let (mut watcher, _ann, before) = two_people(&a, &b).await;
    relays.iter().for_each(|relay| relay.set(Weather::Cut));
    until("both nodes know", || a.parts.broker.ready().is_err() && b.parts.broker.ready().is_err()).await;
    // As if that had lasted for so long.
    let leases = redis.ask("KEYS fanfare:lease:*");
    let leases: Vec<_> = leases.lines().filter(|line| line.starts_with("fanfare:")).collect();
    assert_eq!(leases.len(), 2);
    leases.iter().for_each(|lease| drop(redis.ask(&format!("DEL {lease}"))));
    redis.ask("CONFIG RESETSTAT");
    relays[0].set(Weather::Fair);
    until("the first that is back has looked whose lease is missing", || redis.ask("INFO commandstats").contains("cmdstat_mget:")).await;
    relays[1].set(Weather::Fair);
    until("both have leases", || redis.number("ZCARD fanfare:nodes") == 2 && redis.ask("KEYS fanfare:lease:*").starts_with("*2")).await;
    until("both are back", || a.parts.broker.ready().is_ok() && b.parts.broker.ready().is_ok()).await;
    next_is_told(&b, &mut watcher, &before).await;
    assert!(b.metric("fanfare_presence_rebuilds_total").abs() < 0.5);
}

#[tokio::test]
async fn when_redis_is_without_memory_for_longer_than_a_lease_nobody_has_gone() {
    let lease = Duration::from_secs(2);
    let redis = RedisServer::start();
    let (a, b) = (node(&redis.url(), lease, LONG).await, node(&redis.url(), lease, LONG).await);
    let (mut watcher, mut ann, before) = two_people(&a, &b).await;
    redis.ask("SET clock x");
    redis.ask("CONFIG SET maxmemory 1");
    assert!(matches!(a.try_publish("team", "x", None).await, Err(Error::Away { .. })));
    redis.ask("CLIENT KILL TYPE normal");
    for node in [&a, &b] {
        until("the link is made anew", || node.metric("fanfare_redis_link_losses_total") > 0.5 && node.parts.broker.ready().is_ok()).await;
    }
    // The server's own clock says when leases that are not renewed have ended, and others have had the time to find out.
    redis.ask(&format!("PEXPIRE clock {}", 2 * lease.as_millis()));
    until("the time has passed", || redis.ask("EXISTS clock").starts_with(":0")).await;
    for node in [&a, &b] {
        assert_eq!(View::of(&*node.parts.cluster).await.nodes.len(), 2);
    }
    assert_eq!(listed(&ann.who("room_x", None, None).await.unwrap()), [("ann", 1), ("watcher", 1)]);
    redis.ask("CONFIG SET maxmemory 0");
    next_is_told(&b, &mut watcher, &before).await;
}

/// A watcher on one node, `ann` on another, and what the watcher has seen so far.
async fn two_people(a: &TestServer, b: &TestServer) -> (TestClient, TestClient, Roster) {
    let (mut watcher, mut ann) = (a.user(WEBSOCKET, Some("watcher")).await, b.user(WEBSOCKET, Some("ann")).await);
    watcher.join("room_x").await;
    ann.join("room_x").await;
    let seen = watcher.counts("room_x", 2, 0, 2).await;
    (watcher, ann, seen)
}

/// Somebody comes, and that is the first change since.
async fn next_is_told(node: &TestServer, watcher: &mut TestClient, since: &Roster) {
    let mut zed = node.user(WEBSOCKET, Some("zed")).await;
    zed.join("room_x").await;
    let roster = watcher.counts("room_x", 3, 0, 3).await;
    assert_eq!((roster.census.epoch, roster.census.version), (since.census.epoch, since.census.version + 1));
}

/// A broker without a server around it.
fn broker(url: &str, id: &str, lease: Duration, now_ms: u64) -> (Arc<Redis>, Running, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    let config = Config { lease, ..redis_config(url) };
    let (redis, running) = Redis::start(config, host(sink.clone(), id), Arc::new(move || now_ms), Arc::new(Metrics::new())).unwrap();
    (redis, running, sink)
}

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

fn attend(broker: &Redis, name: &str, people: &[(&str, u64)]) {
    let connections = people.iter().map(|(who, count)| (UserId::parse(who).ok(), *count)).collect();
    broker.attend(vec![Attendance { group: group(name), live: true, connections }]);
}

async fn until_there(broker: &Redis, name: &str, wanted: &[(&str, u64)]) {
    soon(async {
        while broker.roster(&group(name), None, 1000).await.is_ok_and(|roster| listed(&roster) != wanted) || broker.ready().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_whose_clocks_differ_by_an_hour_agree_on_who_is_there_and_for_how_long() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let (a, _a, sink) = broker(&redis.url(), "a", SHORT, 1_764_000_000_000);
    let (b, _b, _) = broker(&relay.url(), "b", SHORT, 1_764_003_600_000);
    let (c, _c, _) = broker(&redis.url(), "c", SHORT, 1_763_996_400_000);
    for broker in [&a, &b, &c] {
        until("the node is ready", || broker.ready().is_ok()).await;
    }
    a.attach(&group("x"), None).await.unwrap();
    attend(&a, "x", &[("ann", 1)]);
    until_there(&a, "x", &[("ann", 1)]).await;
    attend(&b, "x", &[("ann", 1), ("bob", 2)]);
    until_there(&c, "x", &[("ann", 2), ("bob", 2)]).await;
    attend(&c, "x", &[("cy", 1)]);
    until_there(&a, "x", &[("ann", 2), ("bob", 2), ("cy", 1)]).await;
    relay.set(Weather::Cut);
    until_there(&a, "x", &[("ann", 1), ("cy", 1)]).await;
    until("all is told", || sink.0.lock().unwrap().len() == 4).await;
    let told: Vec<_> = sink
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|item| match item {
            Item::Presence(change) => shown(change),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["+ann - 1/0", "+bob - 2/0", "+cy - 3/0", "+ -bob 2/0"]);
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_scripts_is_told_them_again() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let (a, _a, _) = broker(&redis.url(), "a", SHORT, 0);
    let (b, _b, _) = broker(&relay.url(), "b", SHORT, 0);
    until("both are ready", || a.ready().is_ok() && b.ready().is_ok()).await;
    let forget = || redis.ask("SCRIPT FLUSH");
    forget();
    attend(&b, "x", &[("ann", 1)]);
    until_there(&b, "x", &[("ann", 1)]).await;
    forget();
    assert_eq!(listed(&a.roster(&group("x"), None, 10).await.unwrap()), [("ann", 1)]);
    // Leases are made and renewed, and then a dead node is swept, while everything is forgotten again and again.
    let lease = redis.ask("KEYS fanfare:lease:b").lines().nth(2).unwrap().to_owned();
    redis.ask(&format!("DEL {lease}"));
    until("the lease is made", || {
        forget();
        redis.ask(&format!("EXISTS {lease}")).contains(":1")
    })
    .await;
    relay.set(Weather::Cut);
    until("the dead node is swept", || {
        forget();
        redis.number("ZCARD fanfare:rolls") == 0
    })
    .await;
    until_there(&a, "x", &[]).await;
}

#[tokio::test]
async fn a_dead_node_with_many_people_in_many_groups_leaves_nothing_behind() {
    let redis = RedisServer::start();
    let relay = Relay::to(redis.addr());
    let (a, _a, sink) = broker(&redis.url(), "a", SHORT, 0);
    let (b, _b, _) = broker(&relay.url(), "b", SHORT, 0);
    until("both are ready", || a.ready().is_ok() && b.ready().is_ok()).await;
    a.attach(&group("large"), None).await.unwrap();
    attend(&a, "large", &[("u7", 1)]);
    until_there(&a, "large", &[("u7", 1)]).await;
    let names: Vec<String> = (0..450).map(|n| format!("u{n}")).collect();
    let crowd: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    crowd.chunks(100).for_each(|part| attend(&b, "large", part));
    (0..100).for_each(|n| attend(&b, &format!("g{n}"), &[("ann", 1), ("", 3)]));
    soon(async {
        while b.roster(&group("g99"), None, 0).await.is_ok_and(|roster| roster.census.connections != 4) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let roster = a.roster(&group("large"), None, 1000).await.unwrap();
    assert_eq!((roster.users.len(), roster.census.users, roster.census.connections), (450, 450, 451));
    relay.set(Weather::Cut);
    until_there(&a, "large", &[("u7", 1)]).await;
    until("nothing is left of the other groups", || {
        let keys = redis.ask("KEYS fanfare:w*");
        keys.matches("fanfare:w").count() == 4 && redis.number("ZCARD fanfare:rolls") == 1
    })
    .await;
    let items = sink.0.lock().unwrap();
    let changes: Vec<_> = items.iter().filter_map(|item| if let Item::Presence(change) = item { Some(change) } else { None }).collect();
    let versions: Vec<_> = changes.iter().map(|change| change.census.version).collect();
    assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "every change is told, in order");
    let (joined, left) = changes.iter().fold((0, 0), |(joined, left), change| (joined + change.joined.len(), left + change.left.len()));
    assert_eq!((joined, left, changes.last().unwrap().census.users), (450, 449, 1));
}
