//! The real router over the real memory broker; only members and keys are made up.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{
    broker::{
        Attendance, Deliver, Directive, Host, Item, Node, Overflow, Sessions,
        alone::Alone,
        memory::{Config, Memory},
    },
    policy::{Interruption, Pattern, Policies, Policy, Presence, SlowConsumer, Who},
    protocol::{self, Event, GroupName, Retention, UserId},
};

mod batch;
mod gate;
mod pages;
mod publish;
mod reading;
mod users;

const KEY: &str = "secret-key";
const ORIGIN: &str = "https://shop.example";

/// Takes what the broker delivers, and claims two members for each group; can be full after a number of events.
struct Members {
    delivered: Mutex<Vec<(GroupName, Arc<Event>)>>,
    room: AtomicUsize,
    directed: Mutex<Vec<Arc<Directive>>>,
}

impl Deliver for Members {
    fn deliver(&self, group: &GroupName, item: Item) -> Result<usize, Overflow> {
        let room = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1));
        room.map_err(|_| Overflow)?;
        let Item::Event(_, event) = item else { panic!("memory loses nothing, and nobody is told who is there") };
        self.delivered.lock().unwrap().push((group.clone(), event));
        Ok(2)
    }

    fn members(&self, _: &GroupName) -> usize {
        2
    }
}

impl Sessions for Members {
    fn direct(&self, directive: &Arc<Directive>) -> Result<usize, Overflow> {
        self.directed.lock().unwrap().push(directive.clone());
        Ok(2)
    }

    fn review(&self) -> Result<(), Overflow> {
        Ok(())
    }
}

struct Names(BTreeMap<&'static str, usize>);

impl Directory for Names {
    fn groups(&self, prefix: Option<&str>, after: Option<&str>, limit: usize) -> Vec<GroupInfo> {
        let wanted = self.0.iter().filter(|(name, _)| name.starts_with(prefix.unwrap_or_default()) && **name > after.unwrap_or_default());
        wanted.take(limit).map(|(name, members)| GroupInfo { name: GroupName::parse(name).unwrap(), members: *members }).collect()
    }

    fn members(&self, group: &GroupName) -> usize {
        assert_ne!(group.as_str(), "panic", "a test asks for a panic");
        self.0.get(group.as_str()).copied().unwrap_or_default()
    }
}

struct OneKey;

impl KeyCheck for OneKey {
    fn accepts(&self, key: &str) -> bool {
        key == KEY
    }
}

/// A server without sockets.
struct World {
    api: Api,
    members: Arc<Members>,
    ready: Arc<AtomicBool>,
    hashes: CertificateHashes,
}

#[expect(clippy::disallowed_methods, reason = "the shell's part is played here")]
fn world() -> World {
    let members = Arc::new(Members { delivered: Mutex::default(), room: AtomicUsize::new(10_000), directed: Mutex::default() });
    let broker = Memory::new(Config::default(), members.clone(), Arc::new(|| 1_764_042_123_456));
    let describe =
        || Node { id: "a1".to_owned(), name: "node-1".to_owned(), started_ms: 1_764_042_123_456, connections: 7, ..Node::default() };
    let host = Host { deliver: members.clone(), sessions: members.clone(), describe: Arc::new(describe) };
    let alone = Arc::new(Alone::new(host, Arc::new(|| 1_764_042_123_456)));
    let kept = Retention { size: 5, ttl: Duration::from_secs(60) };
    let rule = |pattern: &str, history| Policy {
        pattern: Pattern::new(pattern),
        subscribe: Who::Authenticated,
        publish: Who::Server,
        history,
        slow: SlowConsumer::Disconnect,
        presence: if pattern == "kept_*" { Presence::List } else { Presence::Off },
        interruption: Interruption::Quiet,
    };
    let (ready, hashes) = (Arc::new(AtomicBool::new(true)), Arc::new(RwLock::new(vec!["ab12".to_owned()])));
    let is_ready = ready.clone();
    let api = Api {
        broker: Arc::new(broker),
        users: alone.clone(),
        cluster: alone,
        policies: Arc::new(arc_swap::ArcSwap::from_pointee(Policies::new(vec![rule("kept_*", Some(kept))], rule("*", None)))),
        directory: Arc::new(Names([("kept_a", 3), ("team_a", 1), ("team_b", 2), ("team_c", 7)].into())),
        keys: Arc::new(OneKey),
        origins: Arc::new(|origin| origin == ORIGIN),
        metrics: Arc::new(Metrics::new()),
        discovery: Discovery {
            webtransport: Some(WebTransportListener { port: 4433, certificate_hashes: hashes.clone() }),
            websocket: WebSocketListener { port: 8080, secure: false },
            rules: vec![Rule { engine: "webkit".to_owned(), min_version: 0, allow: false }],
        },
        readiness: Arc::new(move || if is_ready.load(Ordering::Relaxed) { Ok(()) } else { Err("the server is draining".to_owned()) }),
        about: About { node: "node-1".to_owned(), broker: "memory", started: Instant::now() },
        console: true,
        open_metrics: false,
    };
    World { api, members, ready, hashes }
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a problem document of this status and type, and gives its detail.
    fn problem(&self, status: u16, name: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header(header::CONTENT_TYPE), problem::CONTENT_TYPE);
        let document = self.json();
        assert_eq!(document["type"], format!("urn:fanfare:problem:{name}"));
        assert_eq!(document["status"], status);
        assert_eq!(document["request_id"], self.header("x-request-id"));
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
        document["detail"].as_str().unwrap().to_owned()
    }
}

impl World {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.api.clone().router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(with_key(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(path, "application/json", body.to_string()).await
    }

    async fn post_as(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
        self.send(with_key(Method::POST, path).header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap()).await
    }

    /// Group, kind, body and data of all that was delivered, as JSON.
    fn delivered(&self) -> Vec<Value> {
        let delivered = self.members.delivered.lock().unwrap();
        let show = |(group, event): &(GroupName, Arc<Event>)| {
            let data = event.data.as_deref().map(protocol::to_json_value);
            json!([group.as_str(), event.kind.name(), protocol::to_json_value(&event.body), data])
        };
        delivered.iter().map(show).collect()
    }
}

fn without_key(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost:8080")
}

fn with_key(method: Method, path: &str) -> axum::http::request::Builder {
    without_key(method, path).header(header::AUTHORIZATION, format!("Bearer {KEY}"))
}
