//! The HTTP API: publish, look at groups, manage users, operate the server, discovery, and the pages that come with it.
//!
//! Owns routes, bodies, problem documents and the description `docs/openapi.json`. Knows groups and members only through [`Directory`], events only
//! through the broker; holds no state of its own. Its invariant: whatever lies under `/v1` is answered to holders of an API key alone.

mod body;
mod cluster;
mod discovery;
mod drafts;
mod files;
mod gate;
mod groups;
mod openapi;
mod operations;
mod problem;
mod publish;
#[cfg(test)]
mod tests;
mod users;

use std::{fmt, sync::Arc};

use axum::{Router, http::Uri, middleware, routing::get};

pub use discovery::{CertificateHashes, Discovery, Rule, WebSocketListener, WebTransportListener};
pub use gate::KeyCheck;
pub use groups::{Directory, GroupInfo};
pub use operations::{About, Readiness};

use crate::{
    broker::{Broker, Cluster, Users},
    metrics::Metrics,
    policy,
};
use problem::{Problem, Reason};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The route of the metrics, whose access depends on the configuration.
const METRICS: &str = "/metrics";

/// Whether pages of an origin (`https://example.org`) may talk to this server.
pub type Origins = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Everything that the HTTP API needs.
#[derive(Clone)]
pub struct Api {
    /// Where events go.
    pub broker: Arc<dyn Broker>,
    /// What the application wants done with the sessions of users.
    pub users: Arc<dyn Users>,
    /// Which nodes there are.
    pub cluster: Arc<dyn Cluster>,
    /// What is kept in which group.
    pub policies: policy::InForce,
    /// Who follows what on this node.
    pub directory: Arc<dyn Directory>,
    /// The API keys.
    pub keys: Arc<dyn KeyCheck>,
    /// The allowed origins; has to include the server's own if its console is to be used.
    pub origins: Origins,
    /// Where requests and events are counted.
    pub metrics: Arc<Metrics>,
    /// What clients are told about connecting.
    pub discovery: Discovery,
    /// Whether new connections are welcome.
    pub readiness: Readiness,
    /// Name and age of the server.
    pub about: About,
    /// Serve the console at `/`. Otherwise there is a short page that names the endpoints.
    pub console: bool,
    /// Answer `/metrics` without a key: for a listener that only operators reach.
    pub open_metrics: bool,
}

impl Api {
    /// Everything: management API, metrics, and what [`Self::public_router`] has. It can be cloned and served on any number of threads.
    #[must_use = "a router does nothing until it is served"]
    pub fn router(self) -> Router {
        let (routes, description) = openapi::described_routes();
        let description = bytes::Bytes::from(openapi::text(&description));
        let description = get(move || std::future::ready(openapi::answer(description.clone())));
        self.finished(routes.route("/v1/openapi.json", description).fallback(unknown))
    }

    /// What browsers and probes need, and nothing else: discovery, pages, `/healthz`, `/readyz`. For public listeners of a server whose management API
    /// has a listener of its own.
    #[must_use = "a router does nothing until it is served"]
    pub fn public_router(self) -> Router {
        self.finished(openapi::open_routes().split_for_parts().0.fallback(unknown_here))
    }

    fn finished(self, routes: Router<Arc<Self>>) -> Router {
        let api = Arc::new(self);
        let gate = middleware::from_fn_with_state(api.clone(), gate::pass);
        routes.merge(files::routes(api.console)).layer(gate).with_state(api)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("discovery", &self.discovery).field("about", &self.about).finish_non_exhaustive()
    }
}

async fn unknown(uri: Uri) -> Problem {
    let known = "POST /v1/groups/{group}/messages, POST /v1/users/{user}/messages, POST /v1/batch, GET /v1/groups, \
                 POST /v1/users/{user}/groups, POST /v1/users/{user}/disconnect, GET /v1/cluster, GET /v1/health, \
                 GET /v1/openapi.json (all of them), GET /.well-known/fanfare, GET /healthz, GET /";
    Problem::new(Reason::NotFound, format!("{:?} is no path of this server; there are {known}", uri.path()))
}

async fn unknown_here(uri: Uri) -> Problem {
    let known = "GET /.well-known/fanfare, GET /healthz, GET /readyz, GET /; the management API has an address of its own";
    Problem::new(Reason::NotFound, format!("{:?} is no path of this address; there are {known}", uri.path()))
}
