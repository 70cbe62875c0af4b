//! A server that leaves says so, says when to come back, and finishes what it has begun.

use std::time::Duration;

use fanfare::protocol::{Code, ServerFrame};

use crate::common::{TestServer, WAYS, soon, until};

#[tokio::test]
async fn leaving_finishes_outboxes_and_says_when_to_come_back() {
    for workers in [1, 2] {
        let mut server = TestServer::start(workers);
        let mut clients = Vec::new();
        for way in WAYS {
            let mut client = server.client(way).await;
            client.subscribe("a", None).await;
            clients.push(client);
        }
        for n in 1..=50 {
            server.publish("a", &n.to_string()).await;
        }
        let running = server.server.take().unwrap();
        let draining = tokio::task::spawn_blocking(move || running.shutdown(Duration::from_secs(30), Duration::from_secs(5)));
        for mut client in clients {
            assert_eq!(client.offsets(50).await.len(), 50);
            let ServerFrame::Goodbye { code, reconnect, delay_ms, .. } = client.next().await else { panic!("no goodbye") };
            assert_eq!((code, reconnect), (Code::GoingAway.number().into(), true));
            assert!(delay_ms <= 5000);
            assert!(soon(client.client.recv()).await.is_err());
        }
        assert!(soon(draining).await.unwrap().clean);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_go_is_cut_off_in_time() {
    let mut server = TestServer::start(1);
    let mut stuck = server.client(WAYS[0]).await;
    stuck.subscribe("a", None).await;
    let mut published = 0.0;
    while server.metric("fanfare_outbox_bytes") == 0.0 {
        server.publish("a", &"x".repeat(40_000)).await;
        published += 1.0;
        until("it is delivered", || server.metric("fanfare_events_delivered_total") == published).await;
    }
    let running = server.server.take().unwrap();
    let draining = tokio::task::spawn_blocking(move || running.shutdown(Duration::from_millis(300), Duration::ZERO));
    assert!(!soon(draining).await.unwrap().clean);
    drop(stuck);
}
