//! The load generator on several nodes, and on Redis itself.

use std::time::{Duration, Instant};

use crate::{
    redis::RedisServer,
    running::{PATIENCE, Running, fanfare, loaded},
};

fn node(redis: &RedisServer) -> Running {
    node_with(redis, &[])
}

fn node_with(redis: &RedisServer, args: &[&str]) -> Running {
    let node = Running::start(&[&["--redis", &redis.url(), "--workers", "1"], args].concat());
    until("it is ready", || node.asked("/readyz").starts_with("HTTP/1.1 200 "));
    node
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two nodes have two homes here, and each makes a key of its own.
fn publishing_at(node: &Running) -> [String; 4] {
    ["--publish-url".into(), node.http.clone(), "--api-key".into(), node.key()]
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn subscribers_are_dealt_out_to_the_nodes_and_all_get_everything() {
    let redis = RedisServer::start();
    let (a, b) = (node(&redis), node(&redis));
    let publishing = publishing_at(&b);
    let args = ["--ws", "5", "--wt", "2", "--idle", "4", "--url", &b.http, "--rate", "100", "--duration", "1"];
    let report = loaded(&a, &[&args[..], &strs(&publishing)].concat(), 0);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.connections.connected, report.deliveries.due), (11, report.published.sent * 7), "{report:?}");
    let delivered = |node: &Running| node.metric("fanfare_events_delivered_total");
    assert_eq!((delivered(&a) + delivered(&b), delivered(&b)), (report.deliveries.due, report.published.sent * 4), "{report:?}");
}

#[test]
fn those_who_lose_their_node_go_on_at_another_and_miss_nothing() {
    let redis = RedisServer::start();
    let (mut a, b) = (node(&redis), node(&redis));
    let publishing = publishing_at(&b);
    let claims = "lost=0,told=0,duplicated=0,reordered=0,ended=0,refused=0,moved=20";
    let args = ["load", "--json", "--ws", "20", "--failover", &b.http, "--resume", "--rate", "50", "--duration", "4", "--assert", claims];
    let load = a.command(&[&args[..], &strs(&publishing)].concat()).spawn().unwrap();
    a.until_it_has_delivered();
    a.child.kill().unwrap();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: fanfare::load::Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report.deliveries.due, report.connections.moved), (report.published.sent * 20, 20), "{report:?}");
    assert!(report.connections.back_us.max > 0, "{report:?}");
}

/// How many connections a node says are in a group, on all nodes.
fn present(node: &Running, group: &str) -> u64 {
    let request = format!("GET /v1/groups/{group}/presence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", node.key());
    let answer = node.said(&(request + "Connection: close\r\n\r\n"));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let presence: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    presence["connections"].as_u64().unwrap_or_else(|| panic!("no number: {answer}"))
}

fn until_present(node: &Running, group: &str, wanted: u64) {
    until(&format!("{wanted} are in {group}"), || present(node, group) == wanted);
}

#[test]
fn when_a_node_is_killed_under_load_it_is_soon_known_again_who_is_there() {
    let redis = RedisServer::start();
    let args =
        ["--set", "presence.default=live", "--set", "presence.grace=50ms", "--set", "redis.lease=3s", "--set", "redis.timeout=1500ms"];
    let (mut a, b) = (node_with(&redis, &args), node_with(&redis, &args));
    let publishing = publishing_at(&b);
    let args = ["load", "--ws", "40", "--failover", &b.http, "--resume", "--rate", "200", "--duration", "60", "--groups", "2"];
    let mut load = a.command(&[&args[..], &strs(&publishing)].concat()).spawn().unwrap();
    a.until_it_has_delivered();
    until_present(&b, "load_0", 20);
    a.child.kill().unwrap();
    until("the dead node's people are gone", || b.metric("fanfare_presence_swept_total") >= 2);
    // Everybody is at the other node by now, and nobody is counted twice.
    ["load_0", "load_1"].iter().for_each(|group| until_present(&b, group, 20));
    assert!(load.try_wait().unwrap().is_none(), "all this happened under load");
    load.kill().unwrap();
    load.wait().unwrap();
    ["load_0", "load_1"].iter().for_each(|group| until_present(&b, group, 0));
}

#[test]
fn redis_publishes_to_channels_and_in_words_of_the_users_choice() {
    let redis = RedisServer::with(&["--requirepass", "p@ss"]);
    let (url, home) = (format!("redis://:p%40ss@127.0.0.1:{}", redis.port), tempfile::tempdir().unwrap());
    let to =
        ["--publish-by", "redis", "--publish-url", &url, "--redis-channel", "app:{group}", "--redis-message", r#"{"text":"{payload}"}"#];
    let from = ["--profile", "redis", "--tcp-url", &url, "--set", "channel=app:{group}"];
    let args = ["load", "--tcp", "6", "--groups", "2", "--publishers", "2", "--window", "4", "--duration", "0.5", "--json"];
    let output = fanfare(home.path()).args(args).args(to).args(from).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: fanfare::load::Report = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.is_clean() && report.published.sent > 8, "{report:?}");
    assert!(!report.command.contains("p%40ss"), "{}", report.command);
    assert_eq!(report.deliveries.received, report.published.accepted * 3, "{report:?}");
}
