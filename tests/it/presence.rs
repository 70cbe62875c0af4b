//! Who is there: counted over all connections, told once, and nobody seems to leave whose connection only blinked.

use std::time::Duration;

use fanfare::protocol::{ClientFrame, Code, ServerFrame};

use crate::{
    common::{TestServer, WAYS, config, until},
    people::listed,
};

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(600);

fn server(grace: Duration) -> TestServer {
    TestServer::with(fanfare::server::Config { presence_grace: grace, ..config(2) })
}

#[tokio::test]
async fn users_and_connections_are_counted_and_listed_in_pages() {
    let server = server(LONG);
    let mut everybody = Vec::new();
    for (way, user) in WAYS.into_iter().cycle().zip([Some("zoe"), Some("ann"), Some("ann"), None, Some("bob"), None]) {
        let mut client = server.user(way, user).await;
        client.join("quiet_a").await;
        everybody.push(client);
    }
    for asking in &mut everybody {
        let roster = asking.counts("quiet_a", 3, 2, 6).await;
        assert_eq!((listed(&roster), roster.next.is_none()), (vec![("ann", 2), ("bob", 1), ("zoe", 1)], true));
    }
    let first = everybody[0].who("quiet_a", None, Some(2)).await.unwrap();
    assert_eq!((listed(&first), first.next.as_ref().unwrap().as_str(), first.census.users), (vec![("ann", 2), ("bob", 1)], "bob", 3));
    let second = everybody[0].who("quiet_a", Some("bob"), Some(2)).await.unwrap();
    assert_eq!((listed(&second), second.next.is_none()), (vec![("zoe", 1)], true));
    until("the metric counts users once, and anonymous connections as one", || (server.metric("fanfare_presence") - 4.0).abs() < 0.5).await;
}

#[tokio::test]
async fn members_are_told_of_first_and_last_connections_in_every_dialect() {
    let server = server(Duration::ZERO);
    for way in WAYS {
        let mut watcher = server.user(way, Some("watcher")).await;
        watcher.join("room_a").await;
        assert_eq!(watcher.told().await, "+watcher - 1/0");
        let mut one = server.user(way, Some("ann")).await;
        one.join("room_a").await;
        assert_eq!(watcher.told().await, "+ann - 2/0");
        let mut two = server.user(way, Some("ann")).await;
        two.join("room_a").await;
        watcher.counts("room_a", 2, 0, 3).await;
        let mut nobody = server.client(way).await;
        nobody.join("room_a").await;
        assert_eq!(watcher.told().await, "+ - 2/1");
        drop(one);
        watcher.counts("room_a", 2, 1, 3).await;
        two.client.close().await;
        assert_eq!(watcher.told().await, "+ -ann 1/1");
        drop(nobody);
        assert_eq!(watcher.told().await, "+ - 1/0");
        drop(watcher);
        until("nobody is there", || server.metric("fanfare_presence") < 0.5).await;
    }
}

#[tokio::test]
async fn a_storm_of_reconnections_within_the_grace_time_is_not_seen() {
    let server = server(LONG);
    let mut watcher = server.user(WAYS[0], Some("watcher")).await;
    watcher.join("room_a").await;
    let names: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
    for _ in 0..4 {
        let mut all = Vec::new();
        for (way, name) in WAYS.into_iter().cycle().zip(&names) {
            let mut client = server.user(way, Some(name)).await;
            client.join("room_a").await;
            all.push(client);
        }
        let before = server.metric("fanfare_members");
        assert!(before > 40.0, "{before}");
        drop(all);
        until("the server knows that they are gone", || server.metric("fanfare_members") < 3.0).await;
    }
    let mut last = server.user(WAYS[0], Some("zed")).await;
    last.join("room_a").await;
    let (mut joined, mut version) = (Vec::new(), 0);
    while joined.last().map(String::as_str) != Some("zed") {
        let change = watcher.change().await;
        assert_eq!((change.left.len(), change.census.version), (0, version + 1));
        version += 1;
        joined.extend(change.joined.iter().map(ToString::to_string));
    }
    joined.sort();
    joined.dedup();
    assert_eq!(joined.len(), 42, "everybody has come once");
    watcher.counts("room_a", 42, 0, 42).await;
}

#[tokio::test]
async fn who_leaves_on_purpose_has_left_at_once() {
    let server = server(LONG);
    let mut watcher = server.user(WAYS[0], Some("watcher")).await;
    watcher.join("room_a").await;
    let mut ann = server.user(WAYS[2], Some("ann")).await;
    ann.join("room_a").await;
    watcher.counts("room_a", 2, 0, 2).await;
    ann.send(ClientFrame::Unsubscribe { request: 9, group: "room_a".into() }).await;
    while watcher.told().await != "+ -ann 1/0" {}
    ann.join("room_a").await;
    assert_eq!(watcher.told().await, "+ann - 2/0");
}

#[tokio::test]
async fn only_members_may_ask_and_only_where_it_is_known() {
    let server = server(LONG);
    let mut ann = server.user(WAYS[0], Some("ann")).await;
    let not_allowed = Err(u64::from(Code::NotAllowed.number()));
    assert_eq!(ann.who("quiet_a", None, None).await, not_allowed);
    ann.join("plain").await;
    assert_eq!(ann.who("plain", None, None).await, not_allowed);
    assert_eq!(ann.who("user.ann", None, None).await, not_allowed);
    assert_eq!(ann.who("a b", None, None).await, Err(u64::from(Code::BadGroupName.number())));
    ann.join("quiet_a").await;
    ann.counts("quiet_a", 1, 0, 1).await;
    assert_eq!(ann.who("quiet_a", Some("a b"), None).await, Err(u64::from(Code::BadGroupName.number())));
}

#[tokio::test]
async fn a_group_whose_policy_only_lists_tells_nothing() {
    let server = server(Duration::ZERO);
    let mut watcher = server.user(WAYS[0], Some("watcher")).await;
    watcher.join("quiet_a").await;
    for user in ["ann", "bob"] {
        let mut client = server.user(WAYS[0], Some(user)).await;
        client.join("quiet_a").await;
        watcher.counts("quiet_a", 2, 0, 2).await;
        drop(client);
        watcher.counts("quiet_a", 1, 0, 1).await;
    }
    server.publish("quiet_a", "x").await;
    assert!(matches!(watcher.next().await, ServerFrame::Event { .. }));
}
