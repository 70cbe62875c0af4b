//! The nodes that make up the server.
//!
//! Shows what the broker knows; decides nothing.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    problem::{Common, Problem},
};
use crate::{
    broker::{self, View},
    protocol::timestamp_ms,
};

/// The nodes that live.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cluster {
    /// By name. A node that has died stays in the list until its lease ends (`redis.lease`).
    nodes: Vec<Node>,
    /// False if the other nodes can't be asked for at the moment: then there is only the one that answers.
    complete: bool,
}

/// A node as it describes itself: the one that answers at this moment, others as of their latest renewal (a third of `redis.lease`).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Node {
    /// Names this life of the node.
    id: String,
    /// The name that its operator gave it.
    name: String,
    /// Whether this is the node that answers.
    this: bool,
    /// The version that it runs.
    version: String,
    /// When it started, by its own clock.
    #[schema(format = DateTime)]
    started: String,
    /// Threads that own connections.
    workers: u64,
    /// Open connections.
    connections: u64,
    /// Groups that have members on it.
    groups: u64,
    /// Events that it hands to members in a second, over the last five seconds.
    deliveries_per_second: u64,
    /// Its links to Redis; none without Redis.
    links: Vec<Link>,
}

/// A connection of a node to Redis.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Link {
    /// Where it leads.
    to: String,
    /// `commands` or `events`.
    name: String,
    /// Whether it works.
    up: bool,
    /// Why not; null if it does.
    error: Option<String>,
}

/// The nodes of this server
#[utoipa::path(get, path = "/v1/cluster", tag = "operations", responses((status = 200, description = "Those that live", body = Cluster), Common))]
pub(super) async fn show(State(api): State<Arc<Api>>) -> Result<Json<Cluster>, Problem> {
    let View { nodes, complete } = View::of(&*api.cluster).await;
    let this = api.cluster.node().id;
    let nodes = nodes.into_iter().map(|node| Node { this: node.id == this, ..node.into() }).collect();
    Ok(Json(Cluster { nodes, complete }))
}

impl From<broker::Node> for Node {
    fn from(node: broker::Node) -> Self {
        Self {
            id: node.id,
            name: node.name,
            this: false,
            version: node.version,
            started: timestamp_ms(node.started_ms),
            workers: node.workers,
            connections: node.connections,
            groups: node.groups,
            deliveries_per_second: node.deliveries_per_s,
            links: node.links.into_iter().map(Link::from).collect(),
        }
    }
}

impl From<broker::Link> for Link {
    fn from(broker::Link { to, name, broken }: broker::Link) -> Self {
        Self { to, name, up: broken.is_none(), error: broken }
    }
}
