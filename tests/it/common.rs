//! A real server on ports that the kernel chose, with the memory broker and a certificate of its own.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use axum::Router;
use fanfare::{
    auth::Secret,
    broker::{Publication, Receipt, memory},
    client::{Client, Target, Transport, Trust},
    hub::OutboxLimits,
    limit::Rate,
    policy::{Interruption, Pattern, Policies, Policy, Presence, SlowConsumer, Who},
    protocol::{ClientFrame, Code, Content, Dialect, Event, GroupName, Hello, Position, Retention, ServerFrame, Subscribe, UserId},
    server::{BrokerConfig, Config, Http, Listen, Parts, Server, Tls},
    session::{self, Identity},
    transport::{
        Limits,
        tls::{self, Certificates},
    },
};

pub const KEPT: Retention = Retention { size: 100, ttl: Duration::from_secs(60) };

/// A server that stops when it is dropped.
pub struct TestServer {
    pub server: Option<Server>,
    pub parts: Parts,
}

/// What a test may want otherwise.
pub fn config(workers: usize) -> Config {
    let any = "127.0.0.1:0".parse().ok();
    let policy = |pattern: &str, publish, history, slow| Policy { publish, history, slow, ..Policy::new(Pattern::parse(pattern).unwrap()) };
    let fallback = policy("*", Who::Anyone, Some(KEPT), SlowConsumer::Disconnect);
    let present = |pattern: &str, presence| Policy { presence, ..policy(pattern, Who::Anyone, Some(KEPT), SlowConsumer::Disconnect) };
    let rules = vec![
        present("room_*", Presence::Live),
        present("quiet_*", Presence::List),
        policy("live_*", Who::Anyone, None, SlowConsumer::Disconnect),
        policy("deep_*", Who::Anyone, Some(Retention { size: 1000, ..KEPT }), SlowConsumer::Disconnect),
        Policy { interruption: Interruption::Tell, ..policy("told_*", Who::Anyone, Some(KEPT), SlowConsumer::Disconnect) },
        Policy { interruption: Interruption::Tell, ..policy("told-live_*", Who::Anyone, None, SlowConsumer::Disconnect) },
        policy("lossy_*", Who::Anyone, Some(KEPT), SlowConsumer::DropOldest),
        policy("readonly_*", Who::Server, Some(KEPT), SlowConsumer::Disconnect),
        Policy { max_members: Some(3), ..policy("room-for-3", Who::Anyone, Some(KEPT), SlowConsumer::Disconnect) },
        Policy { max_payload: 20, ..policy("short_*", Who::Anyone, Some(KEPT), SlowConsumer::Disconnect) },
        Policy { rate: "1/h burst 2".parse::<Rate>().ok(), ..policy("calm_*", Who::Anyone, Some(KEPT), SlowConsumer::Disconnect) },
        Policy { subscribe: Who::Owner, publish: Who::Owner, ..policy("desk.{user}", Who::Owner, Some(KEPT), SlowConsumer::Disconnect) },
        Policy { subscribe: Who::Server, ..policy("closed_*", Who::Server, Some(KEPT), SlowConsumer::Disconnect) },
    ];
    Config {
        workers,
        listen: Listen { http: any, secure: any, quic: any, api: None },
        tls: Some(tls()),
        quic_secret: Secret::new("test"),
        session: session::Config {
            max_frame: 65_536,
            max_groups: 200,
            ping_interval: Duration::from_secs(25),
            hello_deadline: Duration::from_secs(5),
            server: "fanfare/test".into(),
            node: "test".into(),
        },
        outbox: OutboxLimits { bytes: 1 << 20, age: Duration::from_secs(30) },
        limits: Limits {
            handshake_deadline: Duration::from_secs(10),
            http_lifetime: Duration::from_secs(600),
            http_connections: 1000,
            handshakes: 64,
            connections: 10_000,
        },
        policies: Arc::new(Policies::new(rules, fallback)),
        presence_grace: Duration::from_secs(5),
        legacy_path: Some("/ws/tasks/".into()),
        // A token is the name of the user, and maybe groups after a colon; `bad` is refused.
        authenticate: Arc::new(|token| match token {
            None => Ok(Identity::default()),
            Some("bad") => Err(Code::TokenInvalid),
            Some(token) => {
                let (user, groups) = token.split_once(':').unwrap_or((token, ""));
                let groups = groups.split(',').filter_map(|name| GroupName::parse(name).ok()).collect();
                Ok(Identity { user: UserId::parse(user).ok(), groups, ..Identity::default() })
            }
        }),
        broker: BrokerConfig::Memory(memory::Config::default()),
    }
}

/// One certificate for all servers of a test run.
fn certificates() -> &'static Arc<Certificates> {
    static CERTIFICATES: OnceLock<Arc<Certificates>> = OnceLock::new();
    CERTIFICATES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        Certificates::new(tls::development(dir.path(), SystemTime::now(), false).unwrap(), [])
    })
}

fn tls() -> Tls {
    Tls { tcp: certificates().tcp().unwrap(), quic: certificates().quic().unwrap() }
}

impl TestServer {
    pub fn start(workers: usize) -> Self {
        Self::with(config(workers))
    }

    pub fn with(config: Config) -> Self {
        let mut parts = None;
        let server = Server::start(config, |made| {
            parts = Some(made.clone());
            let allows_origin = Arc::new(|origin: Option<&str>| origin.is_none_or(|origin| origin == "https://good.example"));
            Http { public: Router::new(), api: Router::new(), allows_origin }
        });
        Self { server: Some(server.unwrap()), parts: parts.unwrap() }
    }

    pub fn listen(&self) -> Listen {
        self.server.as_ref().unwrap().listen
    }

    pub async fn publish(&self, group: &str, text: &str) -> Receipt {
        let group = GroupName::parse(group).unwrap();
        let retention = self.parts.policies.load().of(&group).history;
        let content = Content::message(text, None).unwrap();
        self.parts.broker.publish(Publication { group, content, sender: None, key: None, retention }).await.unwrap()
    }
}

/// The ways in which everything has to work.
pub const WAYS: [(Transport, Dialect); 4] = [
    (Transport::Websocket, Dialect::Msgpack),
    (Transport::Websocket, Dialect::Json),
    (Transport::Webtransport, Dialect::Msgpack),
    (Transport::Webtransport, Dialect::Json),
];

/// Longer than anything here takes on a busy machine; only there so that a hanging test ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never happened")
}

/// Waits until a condition holds, looking at it again and again.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl TestServer {
    pub fn target(&self, (transport, dialect): (Transport, Dialect)) -> Target {
        let listen = self.listen();
        let url = match transport {
            Transport::Websocket => format!("ws://{}/fanfare", listen.http.unwrap()),
            Transport::Webtransport => format!("https://{}/fanfare", listen.quic.unwrap()),
        };
        Target { transport, url, dialect, trust: Trust::Hashes(vec![certificates().get(0).unwrap().sha256()]), origin: None }
    }

    /// A client that has been welcomed.
    pub async fn client(&self, way: (Transport, Dialect)) -> TestClient {
        self.user(way, None).await
    }

    /// The same with a token.
    pub async fn user(&self, way: (Transport, Dialect), user: Option<&str>) -> TestClient {
        let hello = Hello { version: 1, token: user.map(str::to_owned), ..Hello::default() };
        let (client, _) = soon(Client::open(&self.target(way), hello)).await.unwrap();
        TestClient { client, request: 0 }
    }

    /// What a metric says now: the sum of its series that have these labels, such as `name` or `name{label="value"}`; 0 if there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let wanted: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
        let text = self.parts.metrics.encode();
        let found = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('{'))?;
            wanted.iter().all(|label| labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        found.sum()
    }
}

/// A client with words for what tests do.
pub struct TestClient {
    pub client: Client,
    pub request: u32,
}

/// What `subscribed` told.
#[derive(Debug, Clone)]
pub struct Subscribed {
    pub number: u32,
    pub position: Position,
    pub recovery: fanfare::protocol::Recovery,
    pub missed: u64,
}

impl TestClient {
    pub async fn send(&mut self, frame: ClientFrame) {
        soon(self.client.send(&frame)).await.unwrap();
    }

    pub async fn next(&mut self) -> ServerFrame {
        soon(self.client.recv()).await.unwrap()
    }

    pub async fn subscribe(&mut self, group: &str, since: Option<Position>) -> Subscribed {
        self.request += 1;
        self.send(ClientFrame::Subscribe(Subscribe { request: self.request, group: group.into(), since })).await;
        match self.next().await {
            ServerFrame::Subscribed { request, number, group: named, position, recovery, missed } => {
                assert_eq!((request, named.as_str()), (self.request, group));
                Subscribed { number, position, recovery, missed }
            }
            other => panic!("{other:?} instead of subscribed"),
        }
    }

    pub async fn event(&mut self) -> Event {
        match self.next().await {
            ServerFrame::Event { event, .. } => event,
            other => panic!("{other:?} instead of an event"),
        }
    }

    pub async fn offsets(&mut self, count: usize) -> Vec<u64> {
        let mut offsets = Vec::new();
        for _ in 0..count {
            offsets.push(self.event().await.offset);
        }
        offsets
    }

    /// The code of the goodbye that comes next, and of the close after it, if the transport told one.
    pub async fn goodbye(&mut self) -> (Code, Option<u64>) {
        let code = match self.next().await {
            ServerFrame::Goodbye { code, .. } => Code::from_number(code).unwrap(),
            other => panic!("{other:?} instead of goodbye"),
        };
        match soon(self.client.recv()).await {
            Err(fanfare::client::Error::Closed { code: close, .. }) => (code, close),
            other => panic!("{other:?} after goodbye"),
        }
    }
}
