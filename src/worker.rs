//! One worker: a thread with a single-threaded runtime, its listeners, its connections and its shard of the hub.
//!
//! Nothing of a worker is shared with another but what is in [`Shared`], and nothing on the way of a delivery but the bytes of a frame. Its loop is the tick of the design: take all
//! events that wait, put them into outboxes, write each connection once, let the connections' tasks run.

use std::{
    cell::RefCell,
    net::{TcpListener, UdpSocket},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::Router;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, LocalSet},
};
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::{
    broker::{Broker, Users},
    hub::{Delivery, Hub, OutboxLimits, Router as HubRouter},
    metrics::Metrics,
    policy,
    presence::Presence,
    session,
    transport::{self, AllowsOrigin, Authenticate, Farewell, SessionIds, http, quic, webtransport},
};

/// What all workers have in common.
#[derive(Clone)]
pub struct Shared {
    /// Where events go.
    pub broker: Arc<dyn Broker>,
    /// What stands for users.
    pub users: Arc<dyn Users>,
    /// Which worker has which group.
    pub router: Arc<HubRouter>,
    /// What is allowed.
    pub policies: policy::InForce,
    /// What clients have published to groups that have a rate.
    pub rates: Arc<policy::Rates>,
    /// Tells when policies change.
    pub revised: watch::Receiver<()>,
    /// Who is where.
    pub presence: Arc<Presence>,
    /// Who is who.
    pub authenticate: Authenticate,
    /// Which pages may connect.
    pub allows_origin: AllowsOrigin,
    /// Where the dialect of older pages is spoken; `None`: nowhere.
    pub legacy_path: Option<String>,
    /// What sessions have in common.
    pub session: Arc<ArcSwap<session::Config>>,
    /// Bounds of an outbox.
    pub outbox: OutboxLimits,
    /// Bounds before there is a session.
    pub limits: transport::Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tells when to leave.
    pub farewell: watch::Receiver<Option<Farewell>>,
    /// What is no WebSocket.
    pub http: Router,
    /// How TLS on TCP is done, if there is a listener for it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// How TLS in QUIC is done, if there is a listener for it.
    pub quic_tls: Option<Arc<rustls::ServerConfig>>,
    /// What QUIC has to know again after a restart.
    pub quic_secrets: quic::Secrets,
    /// When this life of the node began, in ms since 1970-01-01 UTC.
    pub start_ms: u64,
}

/// What belongs to one worker alone. Sockets are bound already.
#[derive(Debug)]
pub struct Worker {
    /// Its index.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
    /// Where events for its members come from.
    pub mailbox: mpsc::Receiver<Delivery>,
    /// Its listeners for plain TCP.
    pub http: Vec<TcpListener>,
    /// Its listeners for TLS.
    pub secure: Vec<TcpListener>,
    /// Its UDP socket, if it has one.
    pub quic: Option<UdpSocket>,
    /// The task of its QUIC endpoint, once that runs.
    pub driver: Option<JoinHandle<()>>,
}

/// Events that one tick takes at most: enough to coalesce, few enough that the connections' tasks are not kept waiting.
const EVENTS_A_TICK: usize = 256;

/// What sockets of a worker are read into, in bytes.
const SCRATCH: usize = 64 * 1024;

impl Worker {
    /// Runs until the server leaves and all connections have ended, or their time is up.
    ///
    /// # Errors
    /// The runtime or a listener can't be set up.
    pub fn run(self, shared: Shared) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let result = runtime.block_on(local.run_until(self.serve(shared)));
        // What is left is cut off here; the QUIC driver says so to its peers when it is dropped.
        drop(local);
        runtime.shutdown_background();
        result
    }

    async fn serve(mut self, shared: Shared) -> std::io::Result<()> {
        let Shared { metrics, outbox, .. } = &shared;
        let hub = Rc::new(Hub::new(self.index, shared.router.clone(), shared.broker.clone(), *outbox, metrics.clone()));
        let tasks = TaskTracker::new();
        let (leave, leaving) = watch::channel(None);
        let context = Rc::new(context(&shared, hub.clone(), self.index, leaving));
        self.listen(&shared, &context, &tasks)?;
        let (mut farewell, mut revised) = (shared.farewell.clone(), shared.revised.clone());
        let mut events = Vec::with_capacity(EVENTS_A_TICK);
        let farewell = loop {
            tokio::select! {
                _ = self.mailbox.recv_many(&mut events, EVENTS_A_TICK) => tick(&hub, &mut events).await,
                leave = farewell.wait_for(Option::is_some) => break leave.ok().and_then(|leave| *leave),
                Ok(()) = revised.changed() => hub.announce_policies(),
                // It only ends by a panic; then this worker is deaf to QUIC, and has to say so.
                () = ended(&mut self.driver) => return Err(std::io::Error::other("the QUIC driver has ended")),
            }
        };
        let farewell = farewell.unwrap_or_else(|| Farewell { spread: Duration::ZERO, deadline: transport::now() });
        // What was accepted before the server leaves stands before the goodbye in every outbox: connections hear of leaving only now.
        for _ in 0..self.mailbox.len().div_ceil(EVENTS_A_TICK) {
            self.mailbox.recv_many(&mut events, EVENTS_A_TICK).await;
            tick(&hub, &mut events).await;
        }
        leave.send_replace(Some(farewell));
        tasks.close();
        let deadline = farewell.deadline;
        loop {
            tokio::select! {
                _ = self.mailbox.recv_many(&mut events, EVENTS_A_TICK) => tick(&hub, &mut events).await,
                () = tasks.wait() => return Ok(()),
                // Whoever has not gone by then is cut off with the worker's tasks.
                () = tokio::time::sleep_until(deadline.into()) => return Ok(()),
            }
        }
    }

    fn listen(&mut self, shared: &Shared, context: &Rc<transport::Context>, tasks: &TaskTracker) -> std::io::Result<()> {
        let http = http::Http { context: context.clone(), router: shared.http.clone(), tasks: tasks.clone() };
        let tls = shared.tls.clone().map(http::acceptor);
        let plain = self.http.drain(..).map(|listener| (listener, None));
        let secure = self.secure.drain(..).map(|listener| (listener, tls.clone()));
        for (listener, tls) in plain.chain(secure) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tasks.spawn_local(http.clone().listen(listener, tls));
        }
        if let (Some(socket), Some(tls)) = (self.quic.take(), &shared.quic_tls) {
            let (endpoint, driver) = quic::endpoint(socket, self.index, self.workers, tls.clone(), &shared.quic_secrets)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "it is not waited for: it goes on until the last connection is gone, and ends with the worker"
            )]
            let driver = tokio::task::spawn_local(driver);
            self.driver = Some(driver);
            tasks.spawn_local(webtransport::listen(endpoint, context.clone(), tasks.clone()));
        }
        Ok(())
    }
}

/// Takes the events to their members. Without tokio's budget of 128 operations a turn: the rest of a thousand writes would find it spent, take that for a
/// blocked wire, and be done by as many tasks, at almost half as much again.
async fn tick(hub: &Hub, events: &mut Vec<Delivery>) {
    let now = transport::now();
    hub.deliver(events, now);
    tokio::task::unconstrained(async { hub.flush(now) }).await;
    events.clear();
    // Lets sockets be read even when events never cease.
    tokio::task::yield_now().await;
}

async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}

fn context(shared: &Shared, hub: Rc<Hub>, worker: usize, leaving: watch::Receiver<Option<Farewell>>) -> transport::Context {
    transport::Context {
        hub,
        broker: shared.broker.clone(),
        users: shared.users.clone(),
        policies: shared.policies.clone(),
        rates: shared.rates.clone(),
        presence: shared.presence.clone(),
        authenticate: shared.authenticate.clone(),
        allows_origin: shared.allows_origin.clone(),
        legacy_path: shared.legacy_path.clone(),
        session: shared.session.clone(),
        limits: shared.limits,
        outbox_bytes: shared.outbox.bytes,
        outbox_age: shared.outbox.age,
        metrics: shared.metrics.clone(),
        farewell: leaving,
        handshakes: Arc::new(Semaphore::new(shared.limits.handshakes)),
        quic_handshakes: Arc::new(Semaphore::new(shared.limits.handshakes)),
        requesters: Arc::new(Semaphore::new(shared.limits.http_connections)),
        connections: Arc::new(Semaphore::new(shared.limits.connections)),
        scratch: RefCell::new(vec![0; SCRATCH].into()),
        ids: SessionIds::new(&shared.session.load().node, shared.start_ms, worker),
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Runs a worker on a thread of its own and tells when it has ended.
///
/// # Errors
/// The thread can't be made.
pub fn spawn(worker: Worker, shared: Shared, ended: mpsc::Sender<usize>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let index = worker.index;
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run(shared)));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(err)) => error!(%err, worker = index, "worker failed"),
            Err(_) => error!(worker = index, "worker panicked"),
        }
        let _ = ended.blocking_send(index);
    })
}
