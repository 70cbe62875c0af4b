//! Discovery: where and how clients connect (`docs/protocol.md` section 2.1).

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header, uri::Authority},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    problem::{Document, Problem, Reason},
};

/// Lower-case hex SHA-256 digests of the certificates that are in use now; whoever renews a certificate writes here.
pub type CertificateHashes = Arc<RwLock<Vec<String>>>;

/// What clients are told about connecting.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The WebTransport listener, if there is one.
    pub webtransport: Option<WebTransportListener>,
    /// The WebSocket listener.
    pub websocket: WebSocketListener,
    /// Which browser engines may use WebTransport.
    pub rules: Vec<Rule>,
}

/// Where WebTransport is spoken.
#[derive(Debug, Clone)]
pub struct WebTransportListener {
    /// The UDP port as clients see it.
    pub port: u16,
    /// Empty when certificates are to be verified in the ordinary way.
    pub certificate_hashes: CertificateHashes,
}

/// Where WebSocket is spoken.
#[derive(Debug, Clone, Copy)]
pub struct WebSocketListener {
    /// The TCP port as clients see it.
    pub port: u16,
    /// Whether it is `wss`.
    pub secure: bool,
}

/// A rule about one browser engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// `chromium`, `firefox` or `webkit`.
    pub engine: String,
    /// The first major version that the rule lets through; 0: any.
    pub min_version: u32,
    /// Whether it may use WebTransport at all.
    pub allow: bool,
}

/// Where and how to connect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Discovery)]
pub(super) struct Answer {
    /// The server's version.
    #[schema(value_type = String)]
    version: &'static str,
    /// The protocols that it speaks.
    #[schema(value_type = Vec<String>, example = json!(["fanfare.v1"]))]
    protocols: [&'static str; 1],
    /// Null when there is no WebTransport listener.
    webtransport: Option<WebTransport>,
    /// Always there.
    websocket: WebSocket,
    /// Engines without a rule may use WebTransport.
    rules: Vec<Rule>,
}

/// Where WebTransport is spoken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebTransport {
    #[schema(example = "https://127.0.0.1:4433/fanfare")]
    url: String,
    /// For `serverCertificateHashes`: lower-case hex SHA-256. Empty when the certificate is to be verified in the ordinary way.
    certificate_hashes: Vec<String>,
}

/// Where WebSocket is spoken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebSocket {
    #[schema(example = "ws://localhost:8080/fanfare")]
    url: String,
}

/// Where and how to connect
#[utoipa::path(
    get, path = "/.well-known/fanfare", tag = "clients", security(()),
    responses(
        (status = 200, description = "URLs on the host that was asked", body = Answer),
        (status = 400, description = "`bad_request`: no usable Host header", body = Document, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn discover(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Json<Answer>, Problem> {
    let host =
        host(&headers).ok_or_else(|| Problem::new(Reason::BadRequest, "Host: has to be a host name or address, with a port or without"))?;
    let Discovery { webtransport, websocket, rules } = &api.discovery;
    let scheme = if websocket.secure { "wss" } else { "ws" };
    Ok(Json(Answer {
        version: super::VERSION,
        protocols: ["fanfare.v1"],
        webtransport: webtransport.as_ref().map(|listener| WebTransport {
            url: format!("https://{}:{}/fanfare", quic_host(&host), listener.port),
            certificate_hashes: listener.certificate_hashes.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }),
        websocket: WebSocket { url: format!("{scheme}://{host}:{}/fanfare", websocket.port) },
        rules: rules.clone(),
    }))
}

/// The host that the client has reached us by; IPv6 addresses in brackets.
fn host(headers: &HeaderMap) -> Option<String> {
    let authority: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    Some(authority.host().to_ascii_lowercase()).filter(|host| !host.is_empty() && !authority.as_str().contains('@'))
}

/// Browsers may take `localhost` for `::1`, and over UDP nobody answers that nothing listens there.
fn quic_host(host: &str) -> &str {
    if host == "localhost" { "127.0.0.1" } else { host }
}
