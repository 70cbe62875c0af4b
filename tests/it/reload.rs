//! A configuration that changes under a running server: policies over both transports and on all workers, a file that is not right, and what needs a restart.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fanfare::{
    client::{Client, Transport, discover},
    protocol::{ClientFrame, Code, Dialect, Hello, RawKind, ServerFrame, Subscribe},
};

use crate::{
    common::{TestClient, soon, until},
    running::{PATIENCE, Running},
};

const OPEN: &str = "[[groups]]\nmatch = 'team_*'\npublish = 'anyone'\n[[groups]]\nmatch = 'late_*'\nhistory_size = 0\n";

/// A server with a configuration file, and what it logs.
struct Server {
    running: Running,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(text: &str, workers: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), text);
        let mut running = Running::start_at(home, &["--config", "fanfare.toml", "--workers", workers]);
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), running.child.stderr.take().unwrap());
        // Ends with the server.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { running, log }
    }

    /// Replaces the file, and waits until the server has said this of it.
    fn reload(&self, text: &str, says: &str) -> String {
        write(self.running.home.path(), text);
        let before = self.log.lock().unwrap().len();
        self.running.signal("HUP");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.log.lock().unwrap()[before..].iter().find(|line| line.contains(says)) {
                return line.clone();
            }
            assert!(Instant::now() < end, "never: {says}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    async fn client(&self, transport: Transport) -> TestClient {
        // Set already if another test was first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let target = discover(&self.running.http).await.unwrap().target(transport, Dialect::Msgpack).unwrap();
        let (client, _) = soon(Client::open(&target, Hello { version: 1, ..Hello::default() })).await.unwrap();
        TestClient { client, request: 0 }
    }
}

fn write(home: &Path, text: &str) {
    std::fs::write(home.join("fanfare.toml"), text).unwrap();
}

const RELOADED: &str = "the configuration has been reloaded";
const WAYS: [Transport; 2] = [Transport::Websocket, Transport::Webtransport];

#[tokio::test]
async fn who_may_no_longer_follow_a_group_is_told_and_new_policies_hold_for_sessions_that_are_there() {
    for workers in ["1", "2"] {
        let server = Server::start(OPEN, workers);
        let mut clients = Vec::new();
        for n in 0..6 {
            let mut client = server.client(WAYS[n % 2]).await;
            client.subscribe("team_a", None).await;
            client.subscribe("other", None).await;
            clients.push(client);
        }
        let line = server.reload("[[groups]]\nmatch = 'team_*'\nsubscribe = 'authenticated'\npublish = 'server'\n", RELOADED);
        assert!(line.contains("groups"), "{line}");
        for client in &mut clients {
            let ended = ServerFrame::Unsubscribed { request: 0, group: "team_a".into(), code: Some(Code::NotAllowed) };
            assert_eq!(client.next().await, ended, "{workers} workers");
            client.send(ClientFrame::Subscribe(Subscribe { request: 9, group: "team_a".into(), since: None })).await;
            let kind = RawKind::Name("message".into());
            let publish = ClientFrame::Publish { request: 10, group: "team_b".into(), kind, body: None, data: None, key: None };
            client.send(publish).await;
            for request in [9, 10] {
                assert!(matches!(client.next().await, ServerFrame::Error { request: of, code: 4302, .. } if of == request));
            }
        }
        // Nobody has lost the other group by it.
        let sent = server.running.run(&["send", "message", "other", "hello"]);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        for client in &mut clients {
            assert!(matches!(client.next().await, ServerFrame::Event { .. }));
        }
        // It is opened again, and sessions that are there may come back.
        server.reload(OPEN, RELOADED);
        for client in &mut clients {
            client.subscribe("team_a", None).await;
        }
        assert_eq!(server.running.metric("fanfare_reloads_total{outcome=\"done\"}"), 2);
    }
}

#[tokio::test]
async fn a_file_that_is_not_right_changes_nothing_and_says_why() {
    let server = Server::start(OPEN, "1");
    let mut client = server.client(WAYS[0]).await;
    client.subscribe("team_a", None).await;
    for (text, says) in [
        ("[[groups]]\nmatch = '*'\nsubscribe = 'nobody'\n", "has to be anyone, authenticated"),
        ("[[groups]]\nmatch = '*'\nsubscribe = 'server'\n[log]\nlevel = '='\n", "is no filter"),
        ("[[groups", "fanfare.toml"),
    ] {
        let line = server.reload(text, "everything stays as it was");
        assert!(line.contains(says), "{line}");
        let sent = server.running.run(&["send", "message", "team_a", "still here"]);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        client.event().await;
    }
    assert_eq!(server.running.metric("fanfare_reloads_total{outcome=\"refused\"}"), 3);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_holds_for_those_who_come_later() {
    let server = Server::start(OPEN, "1");
    let text = format!("node = 'another'\n[limits]\ngroups_per_session = 1\n[log]\nlevel = 'debug'\n{OPEN}");
    let line = server.reload(&text, "need a restart");
    assert!(line.contains("node") && !line.contains("limits"), "{line}");
    let mut client = server.client(WAYS[1]).await;
    client.subscribe("a", None).await;
    client.send(ClientFrame::Subscribe(Subscribe { request: 9, group: "b".into(), since: None })).await;
    assert!(matches!(client.next().await, ServerFrame::Error { code: 4303, .. }));
    until("the log level has changed, too", || server.log.lock().unwrap().iter().any(|line| line.contains("DEBUG"))).await;
}

#[tokio::test]
async fn a_group_that_begins_to_keep_history_goes_on_for_those_who_follow_it() {
    let server = Server::start(OPEN, "1");
    let mut clients = [server.client(WAYS[0]).await, server.client(WAYS[1]).await];
    for client in &mut clients {
        assert_eq!(client.subscribe("late_a", None).await.position.epoch, 0);
    }
    server.reload(&OPEN.replace("history_size = 0", "history_size = 5"), RELOADED);
    for text in ["one", "two"] {
        assert!(server.running.run(&["send", "message", "late_a", text]).status.success());
    }
    for client in &mut clients {
        let ServerFrame::Gap { gap, .. } = client.next().await else { panic!("no gap tells the new epoch") };
        assert_eq!(client.offsets(2).await, [1, 2]);
        // The position that this gives is good for coming back.
        let since = fanfare::protocol::Position { epoch: gap.epoch, offset: 1 };
        let subscribed = client.subscribe("late_a", Some(since)).await;
        assert_eq!((subscribed.recovery, subscribed.missed), (fanfare::protocol::Recovery::Recovered, 1));
        client.event().await;
    }
}
