//! Readers that stop reading: memory stays bounded, the policy happens, it is counted, and nobody else notices.

use fanfare::{
    hub::OutboxLimits,
    protocol::{ClientFrame, Code, Dialect, GapReason, Position, ServerFrame, Subscribe},
};

use crate::common::{TestClient, TestServer, WAYS, config, soon, until};

/// Large enough that kernel and QUIC buffers fill in a few hundred events.
fn big(n: usize) -> String {
    format!("{n:05}{}", "x".repeat(40_000))
}

#[tokio::test]
async fn a_reader_that_stops_is_closed_and_the_others_get_everything() {
    for way in [WAYS[0], WAYS[2]] {
        let mut config = config(2);
        config.outbox = OutboxLimits { bytes: 200_000, ..config.outbox };
        let server = TestServer::with(config);
        let mut stopped = server.client(way).await;
        stopped.subscribe("a", None).await;
        let mut reading = server.client(way).await;
        reading.subscribe("a", None).await;
        // One reads what the other doesn't: only that makes the difference, not how fast this machine is.
        for n in 1..=1000 {
            server.publish("a", &big(n)).await;
            assert_eq!(reading.event().await.offset, n as u64);
            assert!(server.metric("fanfare_outbox_bytes") <= 2.0 * 300_000.0);
        }
        let counted = "fanfare_events_dropped_total{reason=\"disconnected\"}";
        until("the drop is counted", || server.metric(counted) > 0.0).await;
        drop(stopped);
        until("the outbox is gone", || server.metric("fanfare_outbox_bytes") == 0.0).await;
    }
}

#[tokio::test]
async fn a_slow_reader_learns_the_code_when_it_reads_again() {
    let mut config = config(1);
    config.outbox = OutboxLimits { bytes: 100_000, ..config.outbox };
    let server = TestServer::with(config);
    let mut client = server.client(WAYS[0]).await;
    client.subscribe("a", None).await;
    let mut n = 0;
    while server.metric("fanfare_events_dropped_total{reason=\"disconnected\"}") == 0.0 {
        n += 1;
        server.publish("a", &big(n)).await;
        tokio::task::yield_now().await;
    }
    let mut last = 0;
    let code = loop {
        match soon(client.client.recv()).await.unwrap() {
            ServerFrame::Event { event, .. } => {
                assert_eq!(event.offset, last + 1);
                last = event.offset;
            }
            ServerFrame::Goodbye { code, reconnect: true, .. } => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, u64::from(Code::SlowConsumer.number()));
}

#[tokio::test]
async fn where_the_policy_says_so_the_oldest_are_dropped_and_the_gap_is_told() {
    for way in [WAYS[0], WAYS[2]] {
        let mut config = config(1);
        config.outbox = OutboxLimits { bytes: 200_000, ..config.outbox };
        let server = TestServer::with(config);
        let mut client = server.client(way).await;
        client.subscribe("lossy_a", None).await;
        let mut published = 0;
        while server.metric("fanfare_events_dropped_total{reason=\"slow_consumer\"}") < 10.0 {
            published += 1;
            server.publish("lossy_a", &big(published)).await;
            tokio::task::yield_now().await;
        }
        let (mut next, mut lost) = (1, 0);
        while next <= published as u64 {
            match client.next().await {
                ServerFrame::Event { event, .. } => {
                    assert_eq!(event.offset, next);
                    next += 1;
                }
                ServerFrame::Gap { gap, .. } => {
                    assert_eq!((gap.from, gap.reason), (next, GapReason::Slow));
                    lost += gap.count.unwrap();
                    next = gap.to + 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(lost >= 10);
        assert_eq!(server.metric("fanfare_events_dropped_total{reason=\"slow_consumer\"}"), lost as f64);
    }
}

#[tokio::test]
async fn a_replay_that_is_not_taken_is_given_up_and_the_session_lives() {
    let mut config = config(1);
    config.outbox.age = std::time::Duration::from_millis(300);
    let server = TestServer::with(config);
    let mut client = server.client(WAYS[2]).await;
    let since = client.subscribe("deep_a", None).await.position;
    for n in 1..=100 {
        server.publish("deep_a", &big(n)).await;
        client.event().await;
    }
    let (mut send, mut recv) = ask_for_replay(&client, "deep_a", since).await;
    // Four megabytes are more than this client takes without reading; when it reads at last, it is too late.
    soon(send.stopped()).await;
    let mut read = 0;
    let mut buffer = vec![0; 65_536];
    let end = loop {
        match soon(recv.read(&mut buffer)).await {
            Ok(Some(len)) => read += len,
            other => break other,
        }
    };
    assert!(end.is_err(), "{read} bytes, and then {end:?}");
    assert!(read < 4_000_000, "{read}");
    server.publish("deep_a", "x").await;
    assert_eq!(client.event().await.offset, 101);
}

/// A stream of its own for what was missed.
async fn ask_for_replay(client: &TestClient, group: &str, since: Position) -> (wtransport::SendStream, wtransport::RecvStream) {
    let session = client.client.webtransport().unwrap();
    let (mut send, recv) = soon(soon(session.open_bi()).await.unwrap()).await.unwrap();
    let subscribe = Subscribe { request: 9, group: group.into(), since: Some(since) };
    let frame = ClientFrame::Subscribe(subscribe).encode(Dialect::Msgpack);
    soon(send.write_all(&[&[u8::try_from(frame.len()).unwrap()], &frame[..]].concat())).await.unwrap();
    (send, recv)
}

#[tokio::test]
async fn who_asks_for_many_replays_and_takes_none_is_made_one_after_another() {
    let server = TestServer::start(1);
    let mut client = server.client(WAYS[2]).await;
    let since = client.subscribe("deep_a", None).await.position;
    for n in 1..=100 {
        server.publish("deep_a", &big(n)).await;
        client.event().await;
    }
    let asked = || server.metric("fanfare_frames_received_total");
    let before = asked();
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(ask_for_replay(&client, "deep_a", since).await);
    }
    until("the first one is made", || asked() > before).await;
    // An answer to this says that all that came before it has been looked at.
    client.send(ClientFrame::Ping(1)).await;
    assert_eq!(client.next().await, ServerFrame::Pong(1));
    assert_eq!(asked(), before + 2.0, "one replay and the ping");
    for (_, recv) in &mut streams {
        let (mut read, mut buffer) = (0, vec![0; 65_536]);
        while let Some(len) = soon(recv.read(&mut buffer)).await.unwrap() {
            read += len;
        }
        assert!(read > 4_000_000, "{read}");
    }
    assert_eq!(asked(), before + 6.0);
}
