//! TCP listeners: TLS, HTTP/1.1, and the way from an upgrade request to a WebSocket connection.
//!
//! Everything but `/fanfare` and the path of older pages goes to the router that it was given. Deadlines are total: for TLS, for the head of each request, and for all requests of a
//! connection together. What has been accepted and is no WebSocket yet is bounded in number, too; when half of the room is taken, each connection gets one answer and is closed.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, Version, header},
    response::IntoResponse as _,
};
use futures_util::FutureExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, net::TcpStream, sync::OwnedSemaphorePermit};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::{
    Context, PATH,
    answers::Answers,
    connection,
    stream::Stream,
    websocket::{Handshake, Refusal, WebSocket},
};
use crate::{metrics::Metrics, protocol::Dialect};

/// What a worker's TCP listeners have in common.
#[derive(Debug, Clone)]
pub struct Http {
    /// The worker's connections.
    pub context: Rc<Context>,
    /// What is no WebSocket.
    pub router: Router,
    /// Where the worker's tasks run.
    pub tasks: TaskTracker,
}

/// Pause after `accept` has failed: usually the process is out of file descriptors, and trying at once would only burn its core.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

impl Http {
    /// Accepts until the server leaves. With an acceptor every stream begins with TLS.
    pub async fn listen(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let mut farewell = self.context.farewell.clone();
        loop {
            // A full worker leaves new connections in the kernel's queue, where another worker's listener can't take them, but where they cost nothing.
            let accept = async {
                (
                    self.context.requesters.clone().acquire_owned().await,
                    self.context.handshakes.clone().acquire_owned().await,
                    listener.accept().await,
                )
            };
            let (place, permit, accepted) = tokio::select! {
                accepted = accept => accepted,
                _ = farewell.wait_for(Option::is_some) => return,
            };
            let (Ok(place), Ok(permit)) = (place, permit) else { return };
            match accepted {
                Ok((stream, _)) => {
                    let http = self.clone();
                    let tls = tls.clone();
                    let serve = http.serve(stream, tls, permit, Requester::new(place, self.context.metrics.clone()));
                    self.tasks.spawn_local(guard(self.context.clone(), serve));
                }
                Err(error) => {
                    warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection until it ends or becomes a WebSocket; `requester` is its place until then.
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>, permit: OwnedSemaphorePermit, requester: Requester) {
        // Coalescing is done by whole ticks; the kernel must not wait for more.
        let _ = stream.set_nodelay(true);
        let Context { limits, metrics, .. } = &*self.context;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => match tokio::time::timeout(limits.handshake_deadline, Box::pin(tls.accept(stream))).await {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                Ok(Err(error)) => {
                    debug!(%error, "TLS handshake failed");
                    return metrics.handshake("tls", "failed");
                }
                Err(_) => return metrics.handshake("tls", "timeout"),
            },
        };
        drop(permit);
        let deadline = limits.handshake_deadline;
        let lifetime = limits.http_lifetime;
        let mut farewell = self.context.farewell.clone();
        let service = service_fn(move |request| self.clone().answer(request));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(deadline);
        let http = http.serve_connection(TokioIo::new(Answers::new(stream)), service);
        let mut http = Box::pin(http.with_upgrades());
        tokio::select! {
            result = &mut http => log(result),
            () = async {
                // Both mean the same: answer the request that is under way, then close.
                let _ = tokio::time::timeout(lifetime, farewell.wait_for(Option::is_some)).await;
            } => {
                std::pin::Pin::new(&mut *http).graceful_shutdown();
                match tokio::time::timeout(deadline, http).await {
                    Ok(result) => log(result),
                    Err(_) => debug!("an HTTP connection that did not end has been cut off"),
                }
            }
        }
        drop(requester);
    }

    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path();
        if path == PATH {
            return Ok(self.upgrade(&mut request, None));
        }
        if self.context.legacy_path.as_deref() == Some(path) {
            return Ok(self.upgrade(&mut request, Some(Dialect::Legacy)));
        }
        let context = self.context.clone();
        let mut response = self.router.oneshot(request.map(Body::new)).await?;
        if context.requesters.available_permits() <= context.limits.http_connections / 2 {
            // Whoever comes back for another answer stands in the kernel's queue like everybody else.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// Answers a request for a WebSocket, and runs it. Where the path tells no dialect, the client does.
    fn upgrade(self, request: &mut Request<Incoming>, dialect: Option<Dialect>) -> Response<Body> {
        let Context { metrics, allows_origin, connections, .. } = &*self.context;
        let origin = request.headers().get(header::ORIGIN).map(HeaderValue::to_str);
        let origin_allowed = match origin {
            None => allows_origin(None),
            Some(origin) => origin.is_ok_and(|origin| allows_origin(Some(origin))),
        };
        if !origin_allowed {
            metrics.handshake("websocket", "origin");
            return (StatusCode::FORBIDDEN, "this origin is not allowed to connect\n").into_response();
        }
        let checked = Handshake::check(&Method::clone(request.method()), request.headers(), dialect);
        // Older versions know no upgrade (RFC 6455, section 4.2.1).
        let checked = if request.version() == Version::HTTP_11 { checked } else { Err(Refusal::NotAnUpgrade) };
        let handshake = match checked {
            Ok(handshake) => handshake,
            Err(refusal) => {
                metrics.handshake("websocket", "failed");
                return refuse(refusal);
            }
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            metrics.handshake("websocket", "overloaded");
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "this server takes no more connections\n")
                .into_response();
        };
        let upgrade = hyper::upgrade::on(request);
        let answer = handshake.answer();
        let context = self.context.clone();
        self.tasks.spawn_local(guard(self.context.clone(), run(upgrade, handshake, context, permit)));
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        *response.headers_mut() = answer;
        response
    }
}

/// The place of a TCP connection that is no WebSocket (yet), counted.
struct Requester {
    _place: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Requester {
    fn new(place: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.http_connections.inc();
        Self { _place: place, metrics }
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.metrics.http_connections.dec();
    }
}

async fn run(upgrade: hyper::upgrade::OnUpgrade, handshake: Handshake, context: Rc<Context>, permit: OwnedSemaphorePermit) {
    let Ok(upgraded) = upgrade.await else { return context.metrics.handshake("websocket", "failed") };
    let Ok(parts) = upgraded.downcast::<TokioIo<Answers<Stream>>>() else { return context.metrics.handshake("websocket", "failed") };
    // The answer to the upgrade, if frames of the client stand behind it already.
    let (mut stream, answer) = parts.io.into_inner().into_parts();
    let answered = tokio::time::timeout(context.limits.handshake_deadline, stream.write_all(&answer)).await;
    if !matches!(answered, Ok(Ok(()))) {
        return context.metrics.handshake("websocket", "failed");
    }
    context.metrics.handshake("websocket", "accepted");
    let socket = WebSocket::new(stream, &parts.read_buf, handshake.dialect, context.clone());
    drop(parts.read_buf);
    connection::run(Box::new(socket), context, permit).await;
}

fn refuse(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::NotAnUpgrade => (
            StatusCode::UPGRADE_REQUIRED,
            [(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")],
            "a WebSocket upgrade of version 13 is needed here\n",
        )
            .into_response(),
        Refusal::NoCommonProtocol => {
            (StatusCode::BAD_REQUEST, "the subprotocols here are fanfare.v1.msgpack and fanfare.v1.json\n").into_response()
        }
    }
}

fn log(result: hyper::Result<()>) {
    if let Err(error) = result {
        debug!(%error, "HTTP connection ended");
    }
}

/// Ends a task that panics, counts it, and nothing else.
///
/// No `async fn`, because that would keep room for the task twice: as an argument, and where it is polled.
pub(super) fn guard(context: Rc<Context>, task: impl Future<Output = ()>) -> impl Future<Output = ()> {
    std::panic::AssertUnwindSafe(task).catch_unwind().map(move |result| {
        if result.is_err() {
            context.metrics.panics.inc();
            tracing::error!("a connection's task panicked");
        }
    })
}

/// TLS for TCP from a shared configuration.
#[must_use]
pub fn acceptor(config: Arc<rustls::ServerConfig>) -> TlsAcceptor {
    TlsAcceptor::from(config)
}
