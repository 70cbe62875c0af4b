//! What every request passes: its id and span, origins, the key, metrics, and the last touch on its answer.
//!
//! Owns who may call at all. Its invariant: no answer leaves without a request id, and none that failed without a problem document.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{
    Api,
    problem::{self, Problem, Reason},
};

/// Decides whether an API key is one of ours.
pub trait KeyCheck: Send + Sync + 'static {
    /// Whether the key is valid. Has to take the same time for every key of one length.
    fn accepts(&self, key: &str) -> bool;
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Longest request id that is taken from a caller, in bytes.
const REQUEST_ID_BYTES: usize = 64;

/// The value of the label `route` for what matches no route.
const NO_ROUTE: &str = "none";

/// See the [module](self).
pub(super) async fn pass(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| origin.to_str().is_ok_and(|origin| (api.origins)(origin)));
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let span = tracing::debug_span!("request", request = %id, method = %request.method(), route);
    let work = async {
        let response = match admit(&api, &request, route, allowed.is_some()) {
            Ok(None) => run(&api, request, next).await,
            Ok(Some(response)) => response,
            Err(problem) => problem.into_response(),
        };
        let mut response = finish(response, &id);
        across_origins(response.headers_mut(), allowed);
        api.metrics.http_requests(route, response.status().as_u16());
        response
    };
    work.instrument(span).await
}

/// Lets a request through, answers it (a preflight), or refuses it.
fn admit(api: &Api, request: &Request, route: &str, origin_allowed: bool) -> Result<Option<Response>, Problem> {
    let (headers, path) = (request.headers(), request.uri().path());
    let managed = is_managed(route) || is_managed(path);
    if request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) && origin_allowed {
        return Ok(Some(preflight()));
    }
    if managed && headers.contains_key(header::ORIGIN) && !origin_allowed {
        let detail = "Origin: the page's origin is not in the list of allowed origins; call from the application's server instead";
        return Err(Problem::new(Reason::OriginNotAllowed, detail));
    }
    let needs_key = managed || (route == super::METRICS && !api.open_metrics);
    if needs_key && !key_of(headers).is_some_and(|key| api.keys.accepts(key)) {
        let found = if key_of(headers).is_some() { "the key is not one of this server's" } else { "no key was given" };
        return Err(Problem::new(Reason::Unauthorized, format!("{found}; send `Authorization: Bearer KEY` or `X-API-Key: KEY`")));
    }
    Ok(None)
}

/// Whether a path belongs to the part that only the application may use.
fn is_managed(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

fn key_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| headers.get(API_KEY)?.to_str().ok())
}

/// A panic ends this request and nothing else.
async fn run(api: &Api, request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            api.metrics.panics.inc();
            Problem::new(Reason::Internal, "The server failed; its log has more under this request id").into_response()
        }
    }
}

/// Gives the answer its id, and a problem document if it failed.
fn finish(mut response: Response, id: &str) -> Response {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
        match problem.reason {
            Reason::Internal => tracing::error!(code = problem.reason.name(), "request failed"),
            _ => tracing::debug!(code = problem.reason.name(), err = problem.detail, "request refused"),
        }
        let document = serde_json::to_vec(&problem.document(Some(id))).expect("a problem is text and numbers");
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        *response.body_mut() = Body::from(document);
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::from_str(id).expect("a request id is letters, digits, _ - and ."));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    let asked = "authorization, content-type, idempotency-key, x-api-key, x-request-id";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(asked));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// An allowed origin is named, never `*`; other pages can't read the answer.
fn across_origins(headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, x-request-id"));
    }
}

/// The caller's own id if it is fit for a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    static PREFIX: OnceLock<u32> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let fit = |id: &&str| {
        (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    match headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(fit) {
        Some(id) => id.to_owned(),
        // Unique, not secret: the prefix keeps ids of different starts apart even where there is no randomness.
        None => format!("{:08x}-{}", PREFIX.get_or_init(|| getrandom::u32().unwrap_or_default()), COUNT.fetch_add(1, Ordering::Relaxed)),
    }
}
