//! A node as the others see it, and what a broker finds on its own.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Answer, Deliver, Sessions};

/// A node as it describes itself. What a node of another version does not tell is empty here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Names this life of the node: no other has it, and neither has the same node after a restart.
    pub id: String,
    /// The name that its operator gave it; others may have the same.
    pub name: String,
    /// The version that it runs.
    pub version: String,
    /// When this life began, in ms since 1970-01-01 UTC by the node's own clock.
    pub started_ms: u64,
    /// Threads that own connections.
    pub workers: u64,
    /// Open connections.
    pub connections: u64,
    /// Groups that have members on it.
    pub groups: u64,
    /// Events that it hands to members in a second, over the last few seconds.
    pub deliveries_per_s: u64,
    /// Its links to what connects nodes; none if it is alone.
    pub links: Vec<Link>,
}

/// One connection of a node to what connects nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Where it leads, without user and password.
    pub to: String,
    /// What it is for: `commands` or `events`.
    pub name: String,
    /// Why it does not work; `None`: it does.
    pub broken: Option<String>,
}

/// Describes this node at the moment. The broker adds its links.
pub type Describe = Arc<dyn Fn() -> Node + Send + Sync>;

/// What a broker finds on its node.
#[derive(Clone)]
pub struct Host {
    /// Takes events to members.
    pub deliver: Arc<dyn Deliver>,
    /// Takes directives to sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Says how the node is. Always with the same id.
    pub describe: Describe,
}

/// Knows which nodes there are.
pub trait Cluster: Send + Sync + 'static {
    /// This node as it is now, with its links. Needs nobody else.
    fn node(&self) -> Node;

    /// All nodes that live, in no order. Another one is shown as it described itself last, and for as long as its lease lasts after it has
    /// died.
    fn nodes(&self) -> Answer<'_, Vec<Node>>;
}

/// The nodes as one of them sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// By name and then by id; the node that looks is among them, as it is now.
    pub nodes: Vec<Node>,
    /// The others could be asked for.
    pub complete: bool,
}

impl View {
    /// What this node sees at the moment. If the others can't be asked for, only itself.
    pub async fn of(cluster: &dyn Cluster) -> Self {
        let this = cluster.node();
        let (mut nodes, complete) = match cluster.nodes().await {
            Ok(nodes) => (nodes, true),
            Err(_) => (Vec::new(), false),
        };
        nodes.retain(|node| node.id != this.id);
        nodes.push(this);
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Self { nodes, complete }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
