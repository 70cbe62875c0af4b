//! What a group's policy bounds, over real connections: how many members, how long an event, how many in a time; and whose group it is.

use fanfare::protocol::{ClientFrame, Code, RawKind, ServerFrame, Subscribe};

use crate::common::{TestClient, TestServer, WAYS};

impl TestClient {
    /// Publishes a message of so many characters; what the server answers.
    async fn publishes(&mut self, group: &str, characters: usize) -> ServerFrame {
        self.request += 1;
        let body = fanfare::protocol::from_json(&"x".repeat(characters).into()).into();
        let kind = RawKind::Name("message".into());
        let publish = ClientFrame::Publish { request: self.request, group: group.into(), kind, body: Some(body), data: None, key: None };
        self.send(publish).await;
        self.next().await
    }

    /// Asks to follow; what the server answers.
    async fn asks_for(&mut self, group: &str) -> ServerFrame {
        self.request += 1;
        self.send(ClientFrame::Subscribe(Subscribe { request: self.request, group: group.into(), since: None })).await;
        self.next().await
    }
}

fn refusal(frame: &ServerFrame) -> Option<(Code, Option<u64>)> {
    match frame {
        ServerFrame::Error { code, retry_ms, .. } => Some((Code::from_number(*code).unwrap(), *retry_ms)),
        _ => None,
    }
}

#[tokio::test]
async fn a_node_lets_in_so_many_members_over_all_workers_and_the_next_one_when_somebody_has_left() {
    let server = TestServer::start(2);
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(server.client(WAYS[n % WAYS.len()]).await);
    }
    let mut refused = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        if let Some(refusal) = refusal(&client.asks_for("room-for-3").await) {
            assert_eq!(refusal, (Code::GroupFull, Some(5000)));
            refused.push(n);
        }
    }
    assert_eq!(refused, [3, 4, 5, 6, 7]);
    let again = clients[0].asks_for("room-for-3").await;
    assert_eq!(refusal(&again), None, "who is in may ask again");
    let request = clients[0].request + 1;
    clients[0].send(ClientFrame::Unsubscribe { request, group: "room-for-3".into() }).await;
    assert!(matches!(clients[0].next().await, ServerFrame::Unsubscribed { code: None, .. }));
    assert_eq!(refusal(&clients[7].asks_for("room-for-3").await), None);
    // Whom the application lets in comes in all the same: a token that names the group.
    let mut ann = server.user(WAYS[0], Some("ann:room-for-3")).await;
    for group in ["user.ann", "room-for-3"] {
        assert!(matches!(ann.next().await, ServerFrame::Subscribed { request: 0, group: named, .. } if named == group));
    }
}

#[tokio::test]
async fn what_is_too_long_for_a_group_is_refused_whoever_sends_it() {
    let server = TestServer::start(1);
    for way in WAYS {
        let mut client = server.client(way).await;
        // A text of 19 characters takes 20 bytes of MessagePack.
        assert!(matches!(client.publishes("short_a", 19).await, ServerFrame::Published { .. }), "{way:?}");
        let refused = client.publishes("short_a", 20).await;
        assert_eq!(refusal(&refused), Some((Code::EventTooLarge, None)), "{way:?}");
        assert!(
            matches!(refused, ServerFrame::Error { sentence, .. } if sentence == "body and data take 21 bytes; at most 20 are allowed")
        );
        assert!(matches!(client.publishes("long_a", 20).await, ServerFrame::Published { .. }), "{way:?}");
    }
}

#[tokio::test]
async fn a_group_takes_so_many_events_of_its_clients_in_a_time_through_whichever_worker() {
    let server = TestServer::start(2);
    let mut clients = Vec::new();
    for n in 0..6 {
        clients.push(server.client(WAYS[n % WAYS.len()]).await);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.publishes("calm_a", 1).await;
        match refusal(&answer) {
            None => assert!(n < 2, "the burst is 2"),
            Some((code, wait)) => {
                assert!(n >= 2 && code == Code::RateLimited, "{answer:?}");
                assert!(wait.is_some_and(|ms| (1..=3_600_000).contains(&ms)), "{answer:?}");
            }
        }
        assert!(matches!(client.publishes(&format!("calm_b{n}"), 1).await, ServerFrame::Published { .. }), "each group has its own");
    }
    // The application is not bound by it.
    assert_eq!(server.publish("calm_a", "x").await.position.offset, 3);
}

#[tokio::test]
async fn a_group_with_a_user_in_its_name_is_for_that_user() {
    let server = TestServer::start(1);
    for way in WAYS {
        let (mut ann, mut bob) = (server.user(way, Some("ann")).await, server.user(way, Some("bob")).await);
        for client in [&mut ann, &mut bob] {
            assert!(matches!(client.next().await, ServerFrame::Subscribed { request: 0, .. }));
        }
        assert!(matches!(ann.asks_for("desk.ann").await, ServerFrame::Subscribed { .. }));
        assert_eq!(refusal(&bob.asks_for("desk.ann").await), Some((Code::NotAllowed, None)));
        assert_eq!(refusal(&bob.publishes("desk.ann", 1).await), Some((Code::NotAllowed, None)));
    }
}
