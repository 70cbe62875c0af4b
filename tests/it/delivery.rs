//! Events reach everybody who follows, in order, exactly once, also after a reconnection; by every transport, in every dialect, with one worker and with two.

use std::time::Duration;

use fanfare::{
    hub::OutboxLimits,
    protocol::{ClientFrame, Code, Gap, GapReason, Position, RawKind, Recovery, ServerFrame, Subscribe, from_json, to_json_value},
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{TestServer, WAYS, config, soon, until};

#[tokio::test]
async fn a_person_with_websocat_follows_a_group() {
    let server = TestServer::start(2);
    let url = format!("ws://{}/fanfare", server.listen().http.unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut say = async |text: &str| socket.send(Message::text(text)).await.unwrap();
    say(r#"["hello",1]"#).await;
    say(r#"["subscribe",1,"sales_team"]"#).await;
    let mut hear = async || soon(socket.next()).await.unwrap().unwrap().into_text().unwrap();
    let welcome = hear().await;
    assert!(welcome.starts_with(r#"["welcome",1,"#), "{welcome}");
    let subscribed = hear().await;
    assert!(subscribed.starts_with(r#"["subscribed",1,0,"sales_team","#), "{subscribed}");
    assert_eq!(server.publish("sales_team", "hi").await.subscribers, 1);
    let event = hear().await;
    assert!(event.starts_with(r#"["event",0,1,""#) && event.ends_with(r#","message","hi"]"#), "{event}");
}

#[tokio::test]
async fn everybody_gets_every_event_in_order() {
    for workers in [1, 2] {
        let server = TestServer::start(workers);
        let mut clients = Vec::new();
        for way in WAYS.into_iter().cycle().take(12) {
            let mut client = server.client(way).await;
            client.subscribe("a", None).await;
            clients.push(client);
        }
        for n in 1..=200 {
            assert_eq!(server.publish("a", &n.to_string()).await.subscribers, 12);
        }
        for client in &mut clients {
            assert_eq!(client.offsets(200).await, (1..=200).collect::<Vec<_>>());
        }
        assert_eq!(server.metric("fanfare_events_delivered_total"), 2400.0);
    }
}

#[tokio::test]
async fn who_has_said_goodbye_is_told_and_counted_no_more_however_long_the_wire_stays() {
    for workers in [1, 2] {
        let server = TestServer::start(workers);
        for way in WAYS {
            let mut client = server.client(way).await;
            client.subscribe("a", None).await;
            client.send(ClientFrame::Goodbye).await;
            assert!(matches!(client.next().await, ServerFrame::Goodbye { .. }), "{way:?}");
            // The client keeps its end of the wire open.
            assert_eq!(server.publish("a", "to nobody").await.subscribers, 0, "{way:?}");
        }
    }
}

#[tokio::test]
async fn frames_that_come_together_are_answered_one_by_one_and_in_order() {
    let server = TestServer::start(1);
    for way in WAYS {
        let mut client = server.client(way).await;
        // More answers than wait for each other.
        for n in 0..4000 {
            client.send(ClientFrame::Ping(n)).await;
        }
        for n in 0..4000 {
            assert_eq!(client.next().await, ServerFrame::Pong(n), "{way:?}");
        }
    }
}

#[tokio::test]
async fn secure_websockets_work_too() {
    let server = TestServer::start(2);
    let mut target = server.target(WAYS[0]);
    target.url = format!("wss://{}/fanfare", server.listen().secure.unwrap());
    let hello = fanfare::protocol::Hello { version: 1, ..Default::default() };
    let (mut client, _) = soon(fanfare::client::Client::open(&target, hello)).await.unwrap();
    soon(client.send(&ClientFrame::Subscribe(Subscribe { request: 1, group: "a".into(), since: None }))).await.unwrap();
    assert!(matches!(soon(client.recv()).await.unwrap(), ServerFrame::Subscribed { .. }));
    server.publish("a", &"x".repeat(50_000)).await;
    assert!(matches!(soon(client.recv()).await.unwrap(), ServerFrame::Event { .. }));
    assert_eq!(server.metric("fanfare_connections{transport=\"websocket_tls\"}"), 1.0);
}

#[tokio::test]
async fn clients_publish_to_each_other_with_acknowledgement_and_key() {
    let server = TestServer::start(2);
    for way in WAYS {
        let group = format!("talk_{way:?}").replace(|c: char| !c.is_alphanumeric(), "_");
        let (mut ann, mut bob) = (server.user(way, Some("ann")).await, server.client(way).await);
        assert!(matches!(ann.next().await, ServerFrame::Subscribed { request: 0, group, .. } if group == "user.ann"));
        bob.subscribe(&group, None).await;
        let publish = |request| ClientFrame::Publish {
            request,
            group: group.clone(),
            kind: RawKind::Number(1),
            body: Some(from_json(&json!(["success", "", "done"])).into()),
            data: Some(from_json(&json!({"n": 1})).into()),
            key: Some("k".into()),
        };
        ann.send(publish(5)).await;
        let ServerFrame::Published { request: 5, id, position } = ann.next().await else { panic!("no answer") };
        assert_eq!(position.offset, 1);
        let event = bob.event().await;
        assert_eq!((event.id, event.offset, event.sender.unwrap().as_str()), (id, 1, "ann"));
        assert_eq!(to_json_value(&event.body), json!(["success", "", "done"]));
        assert_eq!(to_json_value(&event.data.unwrap()), json!({"n": 1}));
        ann.send(publish(6)).await;
        assert_eq!(ann.next().await, ServerFrame::Published { request: 6, id, position });
        ann.send(ClientFrame::Publish {
            request: 7,
            group: "readonly_x".into(),
            kind: RawKind::Number(0),
            body: None,
            data: None,
            key: None,
        })
        .await;
        assert_eq!(ann.next().await, ServerFrame::error(7, Code::NotAllowed));
    }
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_by_any_transport() {
    let server = TestServer::start(2);
    let mut client = server.client(WAYS[0]).await;
    let epoch = client.subscribe("a", None).await.position.epoch;
    server.publish("a", "1").await;
    assert_eq!(client.offsets(1).await, [1]);
    client.client.close().await;
    for n in 2..=5 {
        server.publish("a", &n.to_string()).await;
    }
    for way in WAYS {
        let mut client = server.client(way).await;
        let subscribed = client.subscribe("a", Some(Position { epoch, offset: 1 })).await;
        assert_eq!((subscribed.recovery, subscribed.missed, subscribed.position.offset), (Recovery::Recovered, 4, 5));
        assert_eq!(client.offsets(4).await, [2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn what_history_no_longer_has_is_told_as_a_gap() {
    let server = TestServer::start(1);
    for way in WAYS {
        let group = format!("gap_{way:?}").replace(|c: char| !c.is_alphanumeric(), "_");
        let mut client = server.client(way).await;
        let epoch = client.subscribe(&group, None).await.position.epoch;
        for n in 1..=150 {
            server.publish(&group, &n.to_string()).await;
        }
        let mut late = server.client(way).await;
        let subscribed = late.subscribe(&group, Some(Position { epoch, offset: 10 })).await;
        assert_eq!((subscribed.recovery, subscribed.missed), (Recovery::Lost, 100));
        let gap = Gap { epoch, from: 11, to: 50, count: Some(40), reason: GapReason::Expired };
        assert!(matches!(late.next().await, ServerFrame::Gap { gap: told, .. } if told == gap));
        assert_eq!(late.offsets(100).await, (51..=150).collect::<Vec<_>>());
        let mut stranger = server.client(way).await;
        assert_eq!(stranger.subscribe(&group, Some(Position { epoch: epoch ^ 1, offset: 3 })).await.recovery, Recovery::Lost);
        assert!(matches!(stranger.next().await, ServerFrame::Gap { gap: Gap { reason: GapReason::Epoch, .. }, .. }));
    }
}

#[tokio::test]
async fn resuming_while_events_are_published_loses_and_repeats_nothing() {
    let server = TestServer::start(2);
    let mut first = server.client(WAYS[0]).await;
    let epoch = first.subscribe("deep_busy", None).await.position.epoch;
    let publishing = async {
        for n in 1..=600u64 {
            server.publish("deep_busy", &n.to_string()).await;
            tokio::task::yield_now().await;
        }
    };
    let resuming = async {
        let mut seen = 0;
        let mut round = 0;
        while seen < 600 {
            let way = WAYS[round % WAYS.len()];
            round += 1;
            let mut client = server.client(way).await;
            let subscribed = client.subscribe("deep_busy", Some(Position { epoch, offset: seen })).await;
            assert_eq!(subscribed.recovery, Recovery::Recovered, "the first {seen} of 600");
            // Reads on past what was missed, then leaves in the middle of things.
            for _ in 0..(subscribed.missed + 20).min(600 - seen) {
                let offset = client.event().await.offset;
                assert_eq!(offset, seen + 1);
                seen = offset;
            }
        }
    };
    futures_util::future::join(publishing, resuming).await;
}

#[tokio::test]
async fn a_replay_has_its_own_stream_on_webtransport() {
    let server = TestServer::start(2);
    for way in [WAYS[2], WAYS[3]] {
        let group = format!("replay_{way:?}").replace(|c: char| !c.is_alphanumeric(), "_");
        let mut client = server.client(way).await;
        let epoch = client.subscribe(&group, None).await.position.epoch;
        for n in 1..=30 {
            server.publish(&group, &n.to_string()).await;
        }
        assert_eq!(client.offsets(30).await.len(), 30);
        let mut late = server.client(way).await;
        let since = Some(Position { epoch, offset: 10 });
        let frames = soon(late.client.replay(Subscribe { request: 1, group: group.clone(), since })).await.unwrap();
        assert!(
            matches!(&frames[0], ServerFrame::Subscribed { request: 1, recovery: Recovery::Recovered, missed: 20, .. }),
            "{:?}",
            frames[0]
        );
        let offset = |frame: &ServerFrame| if let ServerFrame::Event { event, .. } = frame { event.offset } else { 0 };
        assert_eq!(frames[1..].iter().map(offset).collect::<Vec<_>>(), (11..=30).collect::<Vec<_>>());
        server.publish(&group, "live").await;
        assert_eq!(late.event().await.offset, 31);
        let refused = soon(late.client.replay(Subscribe { request: 2, group: "a b".into(), since })).await.unwrap();
        assert!(matches!(&refused[..], [ServerFrame::Error { request: 2, code: 4300, .. }]));
    }
}

#[tokio::test]
async fn a_connection_may_replay_as_often_as_it_likes() {
    let server = TestServer::start(1);
    let mut client = server.client(WAYS[2]).await;
    let position = client.subscribe("a", None).await.position;
    server.publish("a", "x").await;
    client.event().await;
    // Many times as many as may be open at once.
    for request in 1..=50 {
        let replay = client.client.replay(Subscribe { request, group: "a".into(), since: Some(position) });
        let frames = soon(replay).await.unwrap();
        assert!(matches!(&frames[..], [ServerFrame::Subscribed { missed: 1, .. }, ServerFrame::Event { .. }]), "{frames:?}");
    }
}

/// More is missed than an outbox holds: the connection is not listened to until it has taken that, and then it is.
#[tokio::test]
async fn after_a_long_past_the_connection_is_listened_to_again() {
    for way in [WAYS[0], WAYS[2]] {
        let mut config = config(1);
        config.outbox = OutboxLimits { bytes: 100_000, ..config.outbox };
        // Nothing but the request itself makes the server look at this connection in the time that the test waits.
        config.session.ping_interval = Duration::from_secs(120);
        let server = TestServer::with(config);
        let mut first = server.client(way).await;
        let since = Some(first.subscribe("deep_a", None).await.position);
        for n in 1..=200 {
            server.publish("deep_a", &format!("{n}{}", "x".repeat(40_000))).await;
            first.event().await;
        }
        let mut late = server.client(way).await;
        assert_eq!(late.subscribe("deep_a", since).await.missed, 200);
        assert_eq!(late.offsets(200).await.len(), 200);
        late.subscribe("b", None).await;
    }
}

#[tokio::test]
async fn a_user_gets_what_is_for_the_user_and_nobody_else_does() {
    let server = TestServer::start(2);
    for way in WAYS {
        let mut john = server.user(way, Some("john")).await;
        assert!(matches!(john.next().await, ServerFrame::Subscribed { request: 0, .. }));
        let mut ann = server.user(way, Some("ann")).await;
        assert!(matches!(ann.next().await, ServerFrame::Subscribed { request: 0, .. }));
        ann.send(ClientFrame::Subscribe(Subscribe { request: 1, group: "user.john".into(), since: None })).await;
        assert_eq!(ann.next().await, ServerFrame::error(1, Code::NotAllowed));
        assert_eq!(server.publish("user.john", "for you").await.subscribers, 1);
        assert_eq!(to_json_value(&john.event().await.body), json!("for you"));
        drop(john);
        until("john has gone", || server.metric("fanfare_members") < 2.0).await;
        ann.client.close().await;
        until("ann has gone", || server.metric("fanfare_members") == 0.0).await;
    }
}

#[tokio::test]
async fn subscribing_twice_and_unsubscribing_from_nothing_are_harmless() {
    let server = TestServer::start(1);
    for way in WAYS {
        let group = format!("twice_{way:?}").replace(|c: char| !c.is_alphanumeric(), "_");
        let mut client = server.client(way).await;
        let first = client.subscribe(&group, None).await;
        assert_eq!(client.subscribe(&group, None).await.number, first.number);
        assert_eq!(server.publish(&group, "1").await.subscribers, 1);
        assert_eq!(client.event().await.offset, 1);
        for request in [8, 9] {
            client.send(ClientFrame::Unsubscribe { request, group: group.clone() }).await;
            assert_eq!(client.next().await, ServerFrame::Unsubscribed { request, group: group.clone(), code: None });
        }
        assert_eq!(server.publish(&group, "2").await.subscribers, 0);
        client.send(ClientFrame::Ping(77)).await;
        assert_eq!(client.next().await, ServerFrame::Pong(77));
    }
}
