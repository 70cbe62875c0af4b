//! What is shown of the nodes that make up the server.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{Gauge, added};

/// A node, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// The name that its operator gave it.
    pub name: String,
    /// Names this life of it.
    pub id: String,
    /// The version that it runs.
    pub version: String,
    /// Open connections.
    pub connections: u64,
    /// Events that it hands to members in a second.
    pub deliveries_per_s: u64,
    /// Its links to Redis.
    pub links: Vec<NodeLink>,
}

/// A link of a node to a Redis, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLink {
    /// Which Redis.
    pub redis: String,
    /// What for: `commands` or `events`.
    pub link: String,
    /// Whether it works.
    pub up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: String,
    id: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LinkLabels {
    node: String,
    id: String,
    redis: String,
    link: String,
}

/// The series of nodes that there are.
#[derive(Debug, Default)]
struct Shown {
    nodes: HashSet<NodeLabels>,
    links: HashSet<LinkLabels>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Families {
    nodes: Gauge,
    connections: Family<NodeLabels, Gauge>,
    deliveries: Family<NodeLabels, Gauge>,
    links: Family<LinkLabels, Gauge>,
    shown: Mutex<Shown>,
}

impl Families {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            nodes: added(r, "cluster_nodes", "Nodes of the server that live, as this node sees them"),
            connections: added(r, "cluster_node_connections", "Open connections of each node, as this node sees it"),
            deliveries: added(r, "cluster_node_deliveries_per_second", "Events that each node hands to members in a second"),
            links: added(r, "cluster_node_link_up", "Whether a link of a node to Redis works (1) or not (0)"),
            shown: Mutex::default(),
        }
    }

    pub(super) fn show(&self, nodes: &[ClusterNode]) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.nodes.set(number(nodes.len() as u64));
        let mut shown = Shown::default();
        for ClusterNode { name, id, version, connections, deliveries_per_s, links } in nodes {
            let labels = NodeLabels { node: name.clone(), id: id.clone(), version: version.clone() };
            self.connections.get_or_create(&labels).set(number(*connections));
            self.deliveries.get_or_create(&labels).set(number(*deliveries_per_s));
            shown.nodes.insert(labels);
            for NodeLink { redis, link, up } in links {
                let labels = LinkLabels { node: name.clone(), id: id.clone(), redis: redis.clone(), link: link.clone() };
                self.links.get_or_create(&labels).set((*up).into());
                shown.links.insert(labels);
            }
        }
        self.forget_all_but(shown);
    }

    /// Of a node that is gone there shall be no series; one that goes on is never without.
    fn forget_all_but(&self, shown: Shown) {
        let mut known = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.nodes.difference(&shown.nodes) {
            self.connections.remove(gone);
            self.deliveries.remove(gone);
        }
        for gone in known.links.difference(&shown.links) {
            self.links.remove(gone);
        }
        *known = shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn nodes_that_are_gone_leave_no_series() {
        let node = |id: &str| ClusterNode {
            name: "edge".to_owned(),
            id: id.to_owned(),
            version: "1".to_owned(),
            connections: 7,
            deliveries_per_s: 9,
            links: vec![NodeLink { redis: "r:6379/0".to_owned(), link: "events".to_owned(), up: false }],
        };
        let metrics = Metrics::new();
        metrics.cluster(&[node("a"), node("b")]);
        metrics.cluster(&[node("b")]);
        let text = metrics.encode();
        for line in [
            "fanfare_cluster_nodes 1",
            r#"fanfare_cluster_node_connections{node="edge",id="b",version="1"} 7"#,
            r#"fanfare_cluster_node_deliveries_per_second{node="edge",id="b",version="1"} 9"#,
            r#"fanfare_cluster_node_link_up{node="edge",id="b",redis="r:6379/0",link="events"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains(r#"id="a""#));
    }
}
