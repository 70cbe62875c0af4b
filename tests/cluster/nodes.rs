//! Nodes with short times, so that a test that waits for a condition does not wait for long.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fanfare::{
    broker::{self, Deliver, Directive, Host, Item, Node, Overflow, Publication, Receipt, Sessions, redis},
    protocol::{Content, GroupName, IdempotencyKey, ServerFrame},
    server::{BrokerConfig, Config, Listen},
};

use crate::common::{TestClient, TestServer, config, until};

/// How a node of a test uses Redis.
pub fn redis_config(url: &str) -> redis::Config {
    redis::Config {
        connect_timeout: Duration::from_millis(500),
        timeout: Duration::from_millis(600),
        probe_interval: Duration::from_millis(100),
        check_interval: Duration::from_millis(200),
        linger: Duration::from_millis(200),
        ..redis::Config::new(url.parse().unwrap())
    }
}

pub fn node_config(redis: redis::Config, workers: usize) -> Config {
    Config { broker: BrokerConfig::Redis(vec![redis]), ..config(workers) }
}

/// How a node of a test uses several, of which groups are spread.
pub fn spread_config(urls: &[String]) -> Config {
    let redis = urls.iter().map(|url| redis_config(url)).collect();
    Config { broker: BrokerConfig::Redis(redis), ..config(1) }
}

/// A node that is ready.
pub async fn node(url: &str) -> TestServer {
    node_with(redis_config(url), 2).await
}

pub async fn node_with(redis: redis::Config, workers: usize) -> TestServer {
    let node = TestServer::with(node_config(redis, workers));
    until("the node is ready", || node.parts.broker.ready().is_ok()).await;
    node
}

/// A node without TLS and QUIC, which starts at once.
pub fn light_node(redis: redis::Config) -> TestServer {
    let listen = Listen { http: "127.0.0.1:0".parse().ok(), ..Listen::default() };
    TestServer::with(Config { listen, tls: None, ..node_config(redis, 1) })
}

/// Takes what a broker delivers when there is no server around it.
#[derive(Default)]
pub struct Sink(pub Mutex<Vec<Item>>);

impl Deliver for Sink {
    fn deliver(&self, _: &GroupName, item: Item) -> Result<usize, Overflow> {
        self.0.lock().unwrap().push(item);
        Ok(1)
    }

    fn members(&self, _: &GroupName) -> usize {
        1
    }
}

impl Sessions for Sink {
    fn direct(&self, _: &Arc<Directive>) -> Result<usize, Overflow> {
        Ok(0)
    }

    fn review(&self) -> Result<(), Overflow> {
        Ok(())
    }
}

/// What a broker finds on a node that is only this.
pub fn host(sink: Arc<Sink>, id: &str) -> Host {
    let node = Node { id: id.to_owned(), name: id.to_owned(), ..Node::default() };
    Host { deliver: sink.clone(), sessions: sink, describe: Arc::new(move || node.clone()) }
}

impl TestServer {
    pub async fn try_publish(&self, group: &str, text: &str, key: Option<&str>) -> Result<Receipt, broker::Error> {
        let group = GroupName::parse(group).unwrap();
        let retention = self.parts.policies.load().of(&group).history;
        let content = Content::message(text, None).unwrap();
        let key = key.map(|key| IdempotencyKey::parse(key).unwrap());
        self.parts.broker.publish(Publication { group, content, sender: None, key, retention }).await
    }
}

/// The offsets that come next, and what gaps come before them, as text: `1`, `gap 2-3 broker`, `gap epoch`.
pub async fn told(client: &mut TestClient, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        told.push(match client.next().await {
            ServerFrame::Event { event, .. } => event.offset.to_string(),
            ServerFrame::Gap { gap, .. } if gap.to == 0 => format!("gap {}", gap.reason.name()),
            ServerFrame::Gap { gap, .. } => format!("gap {}-{} {}", gap.from, gap.to, gap.reason.name()),
            other => format!("{other:?}"),
        });
    }
    told
}

/// The text of an event's message.
pub fn text_of(event: &fanfare::protocol::Event) -> String {
    fanfare::protocol::to_json_value(&event.body).as_str().unwrap_or_default().to_owned()
}
