//! A real server on ports that the kernel chose, with the memory broker and a certificate of its own.

use std::{
    sync::Arc,
    time::Duration,
};

use axum::Router;
use fanfare::{
    broker::{Publication, Receipt},
    hub::OutboxLimits,
    policy::{Pattern, Policies, Policy, SlowConsumer, Who},
    protocol::{Code, Content, GroupName, Retention, UserId},
    server::{Config, Http, Listen, Parts, Server},
    session::{self, Identity},
    transport::Limits,
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
    let policy = |pattern: &str, publish, history, slow| Policy { pattern: Pattern::new(pattern), subscribe: Who::Anyone, publish, history, slow };
    let fallback = policy("*", Who::Anyone, Some(KEPT), SlowConsumer::Disconnect);
    let rules = vec![
        policy("live_*", Who::Anyone, None, SlowConsumer::Disconnect),
        policy("lossy_*", Who::Anyone, Some(KEPT), SlowConsumer::DropOldest),
        policy("readonly_*", Who::Nobody, Some(KEPT), SlowConsumer::Disconnect),
    ];
    Config {
        workers,
        listen: Listen { http: any, secure: None, quic: None, api: None },
        tls: None,
        session: session::Config {
            max_frame: 65_536,
            max_groups: 200,
            ping_interval: Duration::from_secs(25),
            hello_deadline: Duration::from_secs(5),
            server: "fanfare/test".into(),
            node: "test".into(),
        },
        outbox: OutboxLimits { bytes: 1 << 20, age: Duration::from_secs(30) },
        limits: Limits { handshake_deadline: Duration::from_secs(10), handshakes: 64, connections: 10_000 },
        policies: Arc::new(Policies::new(rules, fallback)),
        // A token is the name of the user; `bad` is refused.
        authenticate: Arc::new(|token| match token {
            None => Ok(Identity::default()),
            Some("bad") => Err(Code::TokenInvalid),
            Some(user) => Ok(Identity { user: UserId::parse(user).ok(), valid: None }),
        }),
    }
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
        let retention = self.parts.policies.of(&group).history;
        let content = Content::message(text, None).unwrap();
        self.parts.broker.publish(Publication { group, content, sender: None, key: None, retention }).await.unwrap()
    }
}
