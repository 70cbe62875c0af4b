//! What bad input gets: a named error, counted; the others see nothing.

use std::time::Duration;

use fanfare::{
    client::{Client, Error, Transport},
    protocol::{ClientFrame, Code, Dialect, Hello, ServerFrame, Subscribe},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::common::{TestServer, WAYS, config, soon, until};

fn short_deadlines() -> TestServer {
    let mut config = config(2);
    config.session.hello_deadline = Duration::from_millis(300);
    config.limits.handshake_deadline = Duration::from_millis(300);
    TestServer::with(config)
}

/// The server still serves whoever behaves.
async fn assert_others_are_served(server: &TestServer) {
    for way in WAYS {
        let mut client = server.client(way).await;
        client.subscribe("others", None).await;
        server.publish("others", "x").await;
        client.event().await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_frame_get_a_goodbye_with_the_reason() {
    let server = TestServer::start(2);
    let deep = format!(r#"["publish",1,"a","message",{}1{}]"#, "[".repeat(20), "]".repeat(20));
    let rows: [(usize, Vec<u8>, Code); 7] = [
        (0, b"\xc1".to_vec(), Code::MalformedFrame),
        (0, b"\x92\x02\xa1x".to_vec(), Code::MalformedFrame),
        (0, vec![0x91; 30], Code::TooDeep),
        (0, b"\x93\x20\x01\x02".to_vec(), Code::UnexpectedFrame),
        (0, b"\x92\x01\x01".to_vec(), Code::UnexpectedFrame),
        (1, b"{\"no\":1}".to_vec(), Code::MalformedFrame),
        (1, deep.into_bytes(), Code::TooDeep),
    ];
    for (which, bytes, code) in rows {
        for way in [WAYS[which], WAYS[which + 2]] {
            let mut client = server.client(way).await;
            soon(client.client.send_raw(&bytes)).await.unwrap();
            let (told, close) = client.goodbye().await;
            assert_eq!(told, code, "{bytes:?}");
            if way.0 == Transport::Websocket {
                assert_eq!(close, Some(code.number().into()));
            }
        }
    }
    until("closes are counted", || {
        server.metric("fanfare_connections_closed_total{transport=\"websocket\",code=\"malformed_frame\"}") >= 3.0
    })
    .await;
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn a_frame_that_is_no_subscribe_on_another_stream_ends_the_connection() {
    let server = TestServer::start(2);
    let mut client = server.client(WAYS[2]).await;
    let session = client.client.webtransport().unwrap().clone();
    let (mut send, _recv) = soon(soon(session.open_bi()).await.unwrap()).await.unwrap();
    let ping = ClientFrame::Ping(1).encode(Dialect::Msgpack);
    soon(send.write_all(&[&[u8::try_from(ping.len()).unwrap()], &ping[..]].concat())).await.unwrap();
    assert_eq!(client.goodbye().await.0, Code::UnexpectedFrame);
    until("it is no longer counted", || server.metric("fanfare_connections{transport=\"webtransport\"}") == 0.0).await;
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_at_its_head() {
    let server = TestServer::start(2);
    for way in WAYS {
        let mut client = server.client(way).await;
        // The server may have gone before all is sent.
        let _ = soon(client.client.send_raw(&vec![b' '; 70_000])).await;
        assert_eq!(client.goodbye().await.0, Code::FrameTooLarge);
    }
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn unknown_requests_get_an_error_and_unknown_frames_are_skipped() {
    let server = TestServer::start(1);
    for way in [WAYS[0], WAYS[2]] {
        let mut client = server.client(way).await;
        soon(client.client.send_raw(b"\x92\x0e\x07")).await.unwrap();
        assert_eq!(client.next().await, ServerFrame::error(7, Code::UnknownRequest));
        soon(client.client.send_raw(b"\x92\x0e\xa1x")).await.unwrap();
        soon(client.client.send_raw(b"\x95\x30\x09\xc0\x80\xa1x")).await.unwrap();
        assert_eq!(client.next().await, ServerFrame::Pong(9));
    }
    assert_eq!(server.metric("fanfare_error_replies_total{code=\"unknown_request\"}"), 2.0);
}

#[tokio::test]
async fn bad_group_names_get_the_rule_in_a_sentence() {
    let server = TestServer::start(1);
    let long = "x".repeat(100);
    for way in WAYS {
        let mut client = server.client(way).await;
        for (name, rule) in [("", "is empty"), (long.as_str(), "at most 99"), ("a b", "allowed are"), ("grüße", "allowed are")] {
            client.send(ClientFrame::Subscribe(Subscribe { request: 3, group: name.into(), since: None })).await;
            let ServerFrame::Error { request: 3, code: 4300, sentence, .. } = client.next().await else { panic!("no error for {name:?}") };
            assert!(sentence.contains(rule), "{sentence}");
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_told_by_its_code() {
    let server = TestServer::start(1);
    for way in WAYS {
        let hello = Hello { version: 1, token: Some("bad".into()), ..Hello::default() };
        let refused = soon(Client::open(&server.target(way), hello)).await;
        assert!(matches!(refused, Err(Error::Refused { code: 4101, .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_on_both_transports() {
    let server = TestServer::start(1);
    for way in WAYS {
        let mut target = server.target(way);
        target.origin = Some("https://evil.example".into());
        let Err(Error::Connect { reason, .. }) = soon(Client::connect(&target)).await else { panic!("it was let in") };
        assert!(way.0 == Transport::Webtransport || reason.contains("403"), "{reason}");
        target.origin = Some("https://good.example".into());
        assert!(soon(Client::connect(&target)).await.is_ok());
    }
    assert_eq!(server.metric("fanfare_handshakes_total{transport=\"websocket\",outcome=\"origin\"}"), 2.0);
    assert_eq!(server.metric("fanfare_handshakes_total{transport=\"webtransport\",outcome=\"origin\"}"), 2.0);
}

#[tokio::test]
async fn who_says_no_hello_is_closed_in_time() {
    let server = short_deadlines();
    // Where nothing has said which dialect it is, the goodbye is in MessagePack, which a JSON client on WebTransport can't read.
    for way in &WAYS[..3] {
        let way = *way;
        let mut client = soon(Client::connect(&server.target(way))).await.unwrap();
        let goodbye = soon(client.recv()).await;
        assert!(matches!(goodbye, Ok(ServerFrame::Goodbye { code: 4004, .. })), "{goodbye:?}");
    }
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn a_hello_that_drips_does_not_help() {
    let server = short_deadlines();
    let mut stream = TcpStream::connect(server.listen().http.unwrap()).await.unwrap();
    let request = "GET /fanfare HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(soon(stream.read(&mut answer)).await.unwrap() > 0);
    let (mut read, mut write) = stream.into_split();
    let dripping = async {
        while write.write_all(&[0x82]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut seen = Vec::new();
    tokio::select! {
        () = dripping => {}
        // Two bytes of the header are a violation already; one a time, and the deadline would come.
        result = read.read_to_end(&mut seen) => drop(result),
    }
    until("the connection is closed", || server.metric("fanfare_connections{transport=\"websocket\"}") == 0.0).await;
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn handshakes_that_stall_are_closed_in_time() {
    let server = short_deadlines();
    let listen = server.listen();
    let mut stalled = Vec::new();
    for addr in [listen.http.unwrap(), listen.secure.unwrap()] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        // The beginning of a request, or of a TLS record.
        stream.write_all(if addr == listen.http.unwrap() { b"GET /fanf" } else { b"\x16\x03\x01\x02" }).await.unwrap();
        stalled.push(stream);
    }
    for mut stream in stalled {
        let mut rest = Vec::new();
        // Closed, whether by an end or by a reset.
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
    until("the stall is counted", || server.metric("fanfare_handshakes_total{transport=\"tls\",outcome=\"timeout\"}") == 1.0).await;
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn http_connections_end_whether_they_ask_without_end_or_take_no_answers() {
    let mut config = config(1);
    config.limits.handshake_deadline = Duration::from_millis(300);
    config.limits.http_lifetime = Duration::from_millis(300);
    let server = TestServer::with(config);
    let request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    for reads in [true, false] {
        let (mut read, mut write) = TcpStream::connect(server.listen().http.unwrap()).await.unwrap().into_split();
        let asking = async {
            let many = if reads { request.to_vec() } else { request.repeat(1000) };
            // Each request is whole in time, and one follows another.
            while write.write_all(&many).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let taking = async {
            if reads {
                let mut answers = Vec::new();
                // By an end or by a reset.
                let _ = read.read_to_end(&mut answers).await;
                assert!(answers.starts_with(b"HTTP/1.1 404"));
            }
        };
        soon(async { tokio::join!(asking, taking) }).await;
    }
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn asking_for_the_websocket_without_an_upgrade_is_told_what_is_needed() {
    let server = TestServer::start(1);
    let mut stream = TcpStream::connect(server.listen().http.unwrap()).await.unwrap();
    stream.write_all(b"GET /fanfare HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("WebSocket upgrade of version 13"), "{answer}");
}

/// A session that has no stream yet, and so is a handshake for the server. The endpoint goes with it.
async fn session_without_a_stream(
    server: &TestServer,
) -> (wtransport::Endpoint<wtransport::endpoint::endpoint_side::Client>, wtransport::Connection) {
    let target = server.target(WAYS[2]);
    let fanfare::client::Trust::Hashes(hashes) = target.trust else { panic!("tests trust hashes") };
    let hashes: Vec<_> = hashes.into_iter().map(wtransport::tls::Sha256Digest::new).collect();
    let config = wtransport::ClientConfig::builder().with_bind_default().with_server_certificate_hashes(hashes).build();
    let endpoint = wtransport::Endpoint::client(config).unwrap();
    let session = soon(endpoint.connect(&target.url)).await.unwrap();
    (endpoint, session)
}

#[tokio::test]
async fn a_session_without_a_stream_is_closed_in_time() {
    let server = short_deadlines();
    let (_endpoint, session) = session_without_a_stream(&server).await;
    soon(session.closed()).await;
    assert_eq!(server.metric("fanfare_handshakes_total{transport=\"webtransport\",outcome=\"timeout\"}"), 1.0);
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn where_handshakes_are_scarce_a_client_proves_its_address_and_where_there_is_no_room_it_is_refused() {
    let mut config = config(1);
    config.limits.handshakes = 2;
    let server = TestServer::with(config);
    let outcomes = |outcome: &str| server.metric(&format!("fanfare_handshakes_total{{transport=\"webtransport\",outcome=\"{outcome}\"}}"));
    let first = session_without_a_stream(&server).await;
    assert_eq!((outcomes("retry"), outcomes("accepted")), (0.0, 0.0));
    // Half of the room is taken.
    let mut client = server.client(WAYS[2]).await;
    client.subscribe("a", None).await;
    assert_eq!((outcomes("retry"), outcomes("accepted")), (1.0, 1.0));
    // All of it.
    let second = session_without_a_stream(&server).await;
    let hello = Hello { version: 1, ..Hello::default() };
    assert!(soon(Client::open(&server.target(WAYS[2]), hello)).await.is_err());
    assert_eq!((outcomes("retry"), outcomes("overloaded")), (3.0, 1.0));
    // Who is in notices nothing.
    server.publish("a", "x").await;
    assert_eq!(client.event().await.offset, 1);
    drop((first, second));
    until("the room is free again", || outcomes("failed") == 2.0).await;
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn a_second_stream_that_withholds_its_first_frame_is_reset_and_the_session_lives() {
    let server = short_deadlines();
    let mut client = server.client(WAYS[2]).await;
    client.subscribe("a", None).await;
    let session = client.client.webtransport().unwrap();
    let (mut send, mut recv) = soon(soon(session.open_bi()).await.unwrap()).await.unwrap();
    // A length, and nothing behind it.
    soon(send.write_all(&[5])).await.unwrap();
    let mut buffer = [0; 1];
    let ended = soon(recv.read(&mut buffer)).await;
    assert!(ended.is_err() || ended == Ok(None), "{ended:?}");
    server.publish("a", "x").await;
    assert_eq!(client.event().await.offset, 1);
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn a_violation_of_the_websocket_protocol_is_named() {
    let server = TestServer::start(1);
    let mut stream = TcpStream::connect(server.listen().http.unwrap()).await.unwrap();
    let request = "GET /fanfare HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fanfare.v1.json\r\n\r\n";
    // An unmasked frame behind it.
    stream.write_all(&[request.as_bytes(), b"\x81\x02hi"].concat()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("websocket_violation") || text.contains("WebSocket protocol was violated"), "{text}");
    assert_others_are_served(&server).await;
}

#[tokio::test]
async fn the_number_of_groups_is_bounded() {
    let mut config = config(1);
    config.session.max_groups = 3;
    let server = TestServer::with(config);
    let mut client = server.client(WAYS[0]).await;
    for group in ["a", "b", "c"] {
        client.subscribe(group, None).await;
    }
    client.send(ClientFrame::Subscribe(Subscribe { request: 9, group: "d".into(), since: None })).await;
    assert_eq!(client.next().await, ServerFrame::error(9, Code::TooManyGroups));
}

#[tokio::test]
async fn silence_is_pinged_and_an_unanswered_ping_closes() {
    let mut config = config(1);
    config.session.ping_interval = Duration::from_millis(200);
    let server = TestServer::with(config);
    for way in WAYS {
        let mut client = server.client(way).await;
        client.client.answer_pings = false;
        assert!(matches!(client.next().await, ServerFrame::Ping(_)));
        assert_eq!(client.goodbye().await.0, Code::Timeout);
    }
}
