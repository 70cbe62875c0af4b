//! Servers whose primary changes: sentinels are believed as far as the servers confirm it, and no promotion gives an offset twice.

use std::{collections::HashSet, time::Duration};

use fanfare::{
    broker::redis::{Config, Url},
    client::Transport,
    protocol::{Dialect, ServerFrame},
    server::{self, BrokerConfig},
};

use crate::{
    common::{TestClient, TestServer, config, until},
    lives::{has_begun_anew, publish, three_events_on},
    nodes::{light_node, node_config, redis_config, text_of},
    redis::{RedisServer, free_port},
    relay::{Relay, Weather},
};

const WEBSOCKET: (Transport, Dialect) = (Transport::Websocket, Dialect::Msgpack);

/// Waits until a condition holds, for longer than elsewhere: a sentinel whose clock has jumped, as on a machine that is busy, does nothing for
/// half a minute.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(150);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A node whose clients need not look after their connections meanwhile.
async fn node(redis: Config) -> TestServer {
    let mut config = node_config(redis, 1);
    config.session.ping_interval = Duration::from_secs(300);
    let node = TestServer::with(config);
    until("the node is ready", || node.parts.broker.ready().is_ok()).await;
    node
}

/// A sentinel that alone decides, and looks often, if its version can.
fn sentinel(primary: &RedisServer, more: &str) -> RedisServer {
    let sentinel = RedisServer::sentinel(&format!(
        "sentinel monitor mymaster 127.0.0.1 {} 1
sentinel down-after-milliseconds mymaster 1500
sentinel failover-timeout mymaster 10000
{more}",
        primary.port
    ));
    sentinel.ask("SENTINEL DEBUG info-period 500 publish-period 500");
    sentinel
}

/// A node's configuration that knows only a name, and sentinels of which the first is not there.
fn by_name(sentinels: &[&RedisServer]) -> Config {
    let nobody = free_port();
    let all = std::iter::once(nobody).chain(sentinels.iter().map(|sentinel| sentinel.port));
    let sentinels = all.map(|port| Url::of_sentinel(&format!("127.0.0.1:{port}")).unwrap()).collect();
    Config { sentinels, ..redis_config("redis://mymaster") }
}

/// A replica that has what the primary has, known to the sentinel. `way`: where it thinks that the primary is.
async fn replica(way: u16, sentinel: &RedisServer) -> RedisServer {
    let replica = RedisServer::start();
    replica.ask(&format!("REPLICAOF 127.0.0.1 {way}"));
    eventually("the replica follows", || replica.ask("INFO replication").contains("master_link_status:up")).await;
    eventually("the sentinel knows the replica", || known(sentinel, "num-slaves") == "1").await;
    replica
}

/// A field of what a sentinel knows of the primary.
fn known(sentinel: &RedisServer, field: &str) -> String {
    let answer = sentinel.ask("SENTINEL MASTER mymaster");
    let mut lines = answer.lines().skip_while(|line| *line != field);
    lines.nth(2).unwrap_or_default().to_owned()
}

async fn promoted(server: &RedisServer) {
    eventually("it is promoted", || server.ask("INFO replication").contains("role:master")).await;
}

#[tokio::test]
async fn a_failover_to_a_replica_that_lacks_the_last_writes_begins_a_new_epoch() {
    let mut primary = RedisServer::start();
    let sentinel = sentinel(&primary, "");
    let between = Relay::to(primary.addr());
    let replica = replica(between.addr.port(), &sentinel).await;
    let (a, mut client, old) = three_events_on(node(by_name(&[&sentinel])).await).await;
    eventually("the replica has it all", || replica.ask("XLEN fanfare:h:team").contains(":3")).await;
    between.set(Weather::Stalled);
    let lost = publish(&a).await;
    assert_eq!((lost.epoch, lost.offset), (old.epoch, 4));
    assert_eq!(client.offsets(1).await, [4]);
    primary.stop();
    promoted(&replica).await;
    // Offset 4 of the old epoch has been seen; it must not be given again.
    has_begun_anew(&a, &mut client, lost).await;
    assert!(replica.ask("EXISTS fanfare:m:team").contains(":1"));
}

/// What a client has been given: nothing twice in one epoch, and no text twice.
#[derive(Default)]
struct Seen {
    epoch: u32,
    places: HashSet<(u32, u64)>,
    texts: HashSet<String>,
}

impl Seen {
    async fn take(&mut self, client: &mut TestClient) {
        match client.next().await {
            ServerFrame::Event { event, .. } => {
                assert!(self.places.insert((self.epoch, event.offset)), "{} came twice in epoch {}", event.offset, self.epoch);
                assert!(self.texts.insert(text_of(&event)), "{} came twice", text_of(&event));
            }
            ServerFrame::Gap { gap, .. } => self.epoch = gap.epoch,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn nodes_follow_a_primary_that_moves_to_and_fro_under_publishers() {
    let primary = RedisServer::start();
    let sentinel = sentinel(&primary, "");
    let replica = replica(primary.port, &sentinel).await;
    let (a, b) = (node(by_name(&[&sentinel])).await, node(by_name(&[&sentinel])).await);
    let mut client = b.client(WEBSOCKET).await;
    let mut seen = Seen { epoch: client.subscribe("team", None).await.position.epoch, ..Seen::default() };
    let mut published = 0;
    for (from, to) in [(&primary, &replica), (&replica, &primary)] {
        let before = seen.epoch;
        eventually("the sentinel is ready for a failover", || {
            from.ask("INFO replication").contains("connected_slaves:1") && !known(&sentinel, "flags").contains("failover")
        })
        .await;
        eventually("it begins", || sentinel.ask("SENTINEL FAILOVER mymaster").starts_with("+OK")).await;
        while seen.epoch == before {
            published += 1;
            // Whether it was done does not matter here; it has not been done twice.
            if a.try_publish("team", &published.to_string(), None).await.is_ok() {
                seen.take(&mut client).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        promoted(to).await;
        eventually("the other is a replica", || from.ask("INFO replication").contains("role:slave")).await;
    }
    eventually("both nodes are ready", || a.parts.broker.ready().is_ok() && b.parts.broker.ready().is_ok()).await;
    a.publish("team", "last").await;
    while !seen.texts.contains("last") {
        seen.take(&mut client).await;
    }
}

#[tokio::test]
async fn a_primary_that_goes_on_alone_is_left_when_the_sentinels_name_another() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let sentinel = sentinel(&old, "");
    let (a, mut client, position) = three_events_on(node(by_name(&[&sentinel])).await).await;
    sentinel.ask("SENTINEL REMOVE mymaster");
    // It takes writes, and nothing is wrong with its links.
    assert!(old.ask("INFO replication").contains("role:master"));
    a.publish("team", "4").await;
    assert_eq!(client.offsets(1).await, [4]);
    sentinel.ask(&format!("SENTINEL MONITOR mymaster 127.0.0.1 {} 1", new.port));
    eventually("the node is there", || new.ask("CLIENT LIST TYPE pubsub").contains("name=fanfare")).await;
    eventually("the node is ready", || a.parts.broker.ready().is_ok()).await;
    has_begun_anew(&a, &mut client, position).await;
}

#[tokio::test]
async fn sentinels_have_users_of_their_own_and_are_asked_in_turn() {
    let primary = RedisServer::with(&["--requirepass", "data"]);
    let lines = "sentinel auth-pass mymaster data
user default off
user fan on >watch -@all +sentinel|get-master-addr-by-name";
    let sentinel = sentinel(&primary, lines);
    let with = |login: &str| {
        let sentinels = [format!("127.0.0.1:{}", free_port()), format!("redis://{login}127.0.0.1:{}", sentinel.port)];
        let sentinels = sentinels.iter().map(|text| Url::of_sentinel(text).unwrap()).collect();
        Config { sentinels, ..redis_config("redis://:data@mymaster") }
    };
    node(with("fan:watch@")).await.publish("team", "x").await;
    let told =
        |node: &TestServer, words: &str| node.parts.broker.ready().is_err_and(|why| why.contains(words) && !why.contains("127.0.0.1"));
    let stranger = light_node(with("fan:wrong@"));
    eventually("the reason is known", || told(&stranger, "none of 2 sentinels says where mymaster is")).await;
    let other_name = Config { sentinels: with("fan:watch@").sentinels, ..redis_config("redis://:data@other") };
    let lost = light_node(other_name);
    eventually("the reason is known", || told(&lost, "none of 2 sentinels says where other is")).await;
}

#[tokio::test]
async fn a_server_that_a_sentinel_names_has_to_be_a_primary() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    // A sentinel that is wrong, as one is that was away: it names what is a replica by now.
    let sentinel = sentinel(&replica, "");
    replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    let a = light_node(by_name(&[&sentinel]));
    eventually("the reason is known", || a.parts.broker.ready().is_err_and(|why| why.contains("is a replica"))).await;
    assert!(a.try_publish("team", "x", None).await.is_err());
    assert!(primary.ask("EXISTS fanfare:m:team").contains(":0"));
}

#[tokio::test]
async fn of_several_primaries_that_sentinels_know_one_moves_and_the_groups_of_the_other_go_on() {
    let (old, new, other) = (RedisServer::start(), RedisServer::start(), RedisServer::start());
    let sentinel = sentinel(&old, &format!("sentinel monitor second 127.0.0.1 {} 1", other.port));
    let mine = by_name(&[&sentinel]);
    let second = Config { sentinels: mine.sentinels.clone(), ..redis_config("redis://second") };
    let a = TestServer::with(server::Config { broker: BrokerConfig::Redis(vec![mine, second]), ..config(1) });
    eventually("the node is ready", || a.parts.broker.ready().is_ok()).await;
    let on = |server: &RedisServer, group: &str| server.ask(&format!("EXISTS fanfare:m:{group}")).contains(":1");
    let mut client = a.client(WEBSOCKET).await;
    let groups: Vec<String> = (0..20).map(|n| format!("team_{n}")).collect();
    let mut epochs = Vec::new();
    for group in &groups {
        epochs.push(client.subscribe(group, None).await.position.epoch);
    }
    let moves: Vec<bool> = groups.iter().map(|group| on(&old, group)).collect();
    assert!(moves.contains(&true) && moves.contains(&false), "{moves:?}");
    sentinel.ask("SENTINEL REMOVE mymaster");
    sentinel.ask(&format!("SENTINEL MONITOR mymaster 127.0.0.1 {} 1", new.port));
    eventually("the node is there", || new.ask("CLIENT LIST TYPE pubsub").contains("name=fanfare")).await;
    eventually("the node is ready", || a.parts.broker.ready().is_ok()).await;
    for ((group, moves), epoch) in groups.iter().zip(moves).zip(epochs) {
        let position = a.publish(group, "x").await.position;
        assert_eq!((position.epoch != epoch, position.offset), (moves, 1), "{group}");
        assert_eq!((on(&new, group), on(&other, group)), (moves, !moves), "{group}");
    }
}
