//! How this node is, as it tells the others and its operators.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    broker::{Cluster, Node, View},
    hub,
    metrics::{ClusterNode, Metrics, NodeLink},
};

/// How often the load is measured: often enough for somebody who watches, and seldom enough that a burst does not look like a load.
pub(super) const MEASURE: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(super) struct Portrait {
    /// What does not change while the node lives.
    node: Node,
    router: Arc<hub::Router>,
    metrics: Arc<Metrics>,
    /// Deliveries when they were counted last.
    delivered: AtomicU64,
    deliveries_per_s: AtomicU64,
}

impl Portrait {
    /// A node of this name whose life begins now.
    pub(super) fn new(name: &str, started_ms: u64, workers: usize, router: Arc<hub::Router>, metrics: Arc<Metrics>) -> Self {
        // Without randomness nodes would be alike; Redis tells them so by refusing them a number.
        let id = format!("{:016x}", getrandom::u64().unwrap_or(0));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let node = Node { id, name: name.to_owned(), version, started_ms, workers: workers as u64, ..Node::default() };
        Self { node, router, metrics, delivered: AtomicU64::new(0), deliveries_per_s: AtomicU64::new(0) }
    }

    /// The node as it is now, without links.
    pub(super) fn node(&self) -> Node {
        Node {
            connections: self.metrics.connections(),
            groups: self.router.len() as u64,
            deliveries_per_s: self.deliveries_per_s.load(Ordering::Relaxed),
            ..self.node.clone()
        }
    }

    /// Shows in the metrics which nodes there are.
    pub(super) async fn show(&self, cluster: &dyn Cluster) {
        let nodes: Vec<ClusterNode> = View::of(cluster).await.nodes.into_iter().map(shown).collect();
        self.metrics.cluster(&nodes);
    }

    /// Counts what was delivered since the last call, `elapsed` ago.
    pub(super) fn measure(&self, elapsed: Duration) {
        let delivered = self.metrics.delivered.get();
        let since = delivered.saturating_sub(self.delivered.swap(delivered, Ordering::Relaxed));
        let rate = u128::from(since) * 1000 / elapsed.as_millis().max(1);
        self.deliveries_per_s.store(u64::try_from(rate).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn shown(node: Node) -> ClusterNode {
    ClusterNode {
        name: node.name,
        id: node.id,
        version: node.version,
        connections: node.connections,
        deliveries_per_s: node.deliveries_per_s,
        links: node.links.into_iter().map(|link| NodeLink { redis: link.to, link: link.name, up: link.broken.is_none() }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_was_delivered_in_the_last_interval() {
        let metrics = Arc::new(Metrics::new());
        let (router, _mailboxes) = hub::Router::new(1, metrics.clone());
        let portrait = Portrait::new("edge", 7, 1, Arc::new(router), metrics.clone());
        assert_eq!(portrait.node().deliveries_per_s, 0);
        metrics.delivered.inc_by(1000);
        portrait.measure(Duration::from_secs(5));
        assert_eq!(portrait.node().deliveries_per_s, 200);
        portrait.measure(Duration::from_secs(5));
        assert_eq!(portrait.node().deliveries_per_s, 0);
    }
}
