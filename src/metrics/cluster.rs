//! The nodes of the server, as this one sees them.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{Gauge, added};

/// A node of the cluster, as it is shown in metrics.
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
    /// Its links to Redis: what for, where to, and whether they work.
    pub links: Vec<(String, String, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Node {
    node: String,
    id: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Link {
    node: String,
    id: String,
    link: String,
    to: String,
}

#[derive(Debug, Default)]
struct Shown {
    nodes: HashSet<Node>,
    links: HashSet<Link>,
}

/// What is shown of all nodes.
#[derive(Debug)]
pub(super) struct Families {
    nodes: Gauge,
    connections: Family<Node, Gauge>,
    deliveries: Family<Node, Gauge>,
    links: Family<Link, Gauge>,
    /// The series of nodes that there are.
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

    /// These nodes live, and no others.
    pub(super) fn show(&self, nodes: &[ClusterNode]) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.nodes.set(number(nodes.len() as u64));
        let mut shown = Shown::default();
        for node in nodes {
            let labels = Node { node: node.name.clone(), id: node.id.clone(), version: node.version.clone() };
            self.connections.get_or_create(&labels).set(number(node.connections));
            self.deliveries.get_or_create(&labels).set(number(node.deliveries_per_s));
            shown.nodes.insert(labels);
            for (link, to, up) in &node.links {
                let labels = Link { node: node.name.clone(), id: node.id.clone(), link: link.clone(), to: to.clone() };
                self.links.get_or_create(&labels).set((*up).into());
                shown.links.insert(labels);
            }
        }
        // Of a node that is gone there shall be no series; one that goes on is never without.
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
