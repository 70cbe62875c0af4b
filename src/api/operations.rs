//! For those who run the server: is it alive, is it ready, how is it, what has it counted.
//!
//! Shows what others know; decides nothing.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    problem::{Common, Problem, Reason},
};
use crate::metrics;

/// Whether new connections are welcome; if not, a sentence that says why.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a server says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// Name of the node.
    pub node: String,
    /// Which broker it uses, in one word.
    pub broker: &'static str,
    /// When it started.
    pub started: Instant,
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// The server's version.
    #[schema(value_type = String)]
    version: &'static str,
    /// Name of the node that answered.
    node: String,
    /// How long it has been running, in seconds.
    uptime_seconds: u64,
    /// Which broker it uses.
    #[schema(value_type = String, example = "memory")]
    broker: &'static str,
    /// Open connections on this node.
    connections: u64,
    /// Memberships in groups on this node.
    members: i64,
    /// Whether new connections are welcome.
    ready: bool,
}

/// How this node is
#[utoipa::path(get, path = "/v1/health", tag = "operations", responses((status = 200, description = "How it is", body = Health), Common))]
pub(super) async fn health(State(api): State<Arc<Api>>) -> Json<Health> {
    Json(Health {
        version: super::VERSION,
        node: api.about.node.clone(),
        uptime_seconds: api.about.started.elapsed().as_secs(),
        broker: api.about.broker,
        connections: api.metrics.connections(),
        members: api.metrics.members.get(),
        ready: (api.readiness)().is_ok(),
    })
}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses((status = 200, description = "It does", body = String)))]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether new connections are welcome
#[utoipa::path(
    get, path = "/readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "They are", body = String),
        (status = 503, description = "`not_ready`: they are not, and why", body = super::problem::Document, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<&'static str, Problem> {
    match (api.readiness)() {
        Ok(()) => Ok("ready\n"),
        Err(why) => Err(Problem::new(Reason::NotReady, why)),
    }
}

/// All metrics as OpenMetrics text
///
/// Needs no key where the server is configured so: on a listener of its own that only operators reach.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"), Common),
)]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], api.metrics.encode()).into_response()
}
