//! The whole server: builds the parts, starts the workers, drains and stops.
//!
//! The only place besides `worker` that knows everybody. Order of start: every socket is bound before anything runs, so that a server that starts is a server that can be reached. Order
//! of a drain: readiness says no; listeners stop; every session is told to leave and when to come back; outboxes are finished; workers end; the API goes last, so that probes and metrics see
//! all of it.

mod portrait;
pub mod reload;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::{
    auth::Secret,
    broker::{Broker, Cluster, Host, Users, alone::Alone, memory, redis},
    hub,
    metrics::Metrics,
    policy::{self, Policies},
    presence::Presence,
    session,
    transport::{
        self, AllowsOrigin, Authenticate, Farewell,
        quic::{self, Steering},
    },
    worker::{self, Shared, Worker},
};

use portrait::Portrait;
use reload::Reload;

/// Where a server listens. `None`: not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listen {
    /// TCP without TLS: pages, API, WebSocket.
    pub http: Option<SocketAddr>,
    /// TCP with TLS: the same.
    pub secure: Option<SocketAddr>,
    /// UDP: WebTransport.
    pub quic: Option<SocketAddr>,
    /// TCP without TLS, on a thread of its own: the management API alone.
    pub api: Option<SocketAddr>,
}

/// TLS for both kinds of listeners.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For TCP.
    pub tcp: Arc<rustls::ServerConfig>,
    /// For QUIC.
    pub quic: Arc<rustls::ServerConfig>,
}

/// What a server is made from.
pub struct Config {
    /// Threads; at least 1.
    pub workers: usize,
    /// Where it listens.
    pub listen: Listen,
    /// How TLS is done; needed for `secure` and `quic`.
    pub tls: Option<Tls>,
    /// What everything is derived from that QUIC has to know again after a restart (see [`quic::Secrets`]).
    pub quic_secret: Secret,
    /// What sessions have in common.
    pub session: session::Config,
    /// Bounds of an outbox.
    pub outbox: hub::OutboxLimits,
    /// Bounds before there is a session.
    pub limits: transport::Limits,
    /// What is allowed, until a reload says otherwise.
    pub policies: Arc<Policies>,
    /// How long a connection that is lost counts as there.
    pub presence_grace: Duration,
    /// Where the dialect of older pages is spoken; `None`: nowhere.
    pub legacy_path: Option<String>,
    /// Who is who.
    pub authenticate: Authenticate,
    /// What connects nodes and keeps the past.
    pub broker: BrokerConfig,
}

/// Which broker, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerConfig {
    /// This node is alone.
    Memory(memory::Config),
    /// Nodes with the same Redis and prefix are one server. Several of them have the groups between them.
    Redis(Vec<redis::Config>),
}

/// What exists once the sockets are bound: what the HTTP routers and the check of origins are made from.
#[derive(Clone)]
pub struct Parts {
    /// Where events go.
    pub broker: Arc<dyn Broker>,
    /// What the application wants done with the sessions of users.
    pub users: Arc<dyn Users>,
    /// Which nodes there are.
    pub cluster: Arc<dyn Cluster>,
    /// Which groups have members here.
    pub router: Arc<hub::Router>,
    /// What is allowed.
    pub policies: policy::InForce,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the server really listens.
    pub listen: Listen,
    /// Whether the server takes new work.
    pub ready: Arc<AtomicBool>,
}

/// What is served over HTTP.
pub struct Http {
    /// On the workers' listeners.
    pub public: Router,
    /// On the listener of the management API.
    pub api: Router,
    /// Which pages may connect.
    pub allows_origin: AllowsOrigin,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be had.
    #[error("{key} = {addr}: {source}")]
    Bind {
        /// The configuration's key.
        key: &'static str,
        /// Its value.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The UDP address can't be had.
    #[error("listen.quic: {0}")]
    Quic(#[from] quic::BindError),
    /// A listener with TLS, and no certificate.
    #[error("{0} needs a certificate: set tls.certificate and tls.key")]
    NoCertificate(&'static str),
    /// The system gives no thread.
    #[error("a thread can't be started: {0}")]
    Thread(io::Error),
    /// Redis is required, and can't be used.
    #[error("Redis at {name} can't be used: {source}; with redis.required = \"wait\" the server starts all the same, and waits")]
    Redis {
        /// Which one.
        name: String,
        /// What is wrong.
        source: redis::LinkError,
    },
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Every connection got its goodbye and all that was queued for it, as far as it read.
    pub clean: bool,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, with the ports that the kernel chose.
    pub listen: Listen,
    /// How QUIC packets find their worker; `None` without a listener.
    pub steering: Option<Steering>,
    /// The receive buffer of the UDP sockets in bytes; `None` without a listener.
    pub udp_buffer: Option<usize>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    policies: policy::InForce,
    revised: watch::Sender<()>,
    session: Arc<ArcSwap<session::Config>>,
    presence: Arc<Presence>,
    farewell: watch::Sender<Option<Farewell>>,
    stop_control: watch::Sender<bool>,
    ended: mpsc::Receiver<usize>,
    workers: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    /// Ends with the server, after everybody who uses it.
    _redis: Vec<redis::Running>,
}

/// What a reload changes for sessions that begin after it; the others keep what they were told.
const SESSION_KEYS: &[&str] = &["limits.frame", "limits.groups_per_session", "limits.ping_interval", "limits.hello_deadline"];

/// How often a node that is alone forgets what is past its time.
const SWEEP: Duration = Duration::from_secs(10);

impl Server {
    /// Binds every socket and starts every thread. `http` makes what is served over HTTP from the parts that exist by then.
    ///
    /// # Errors
    /// An address can't be had, a certificate is missing, or the system gives no thread.
    pub fn start(config: Config, http: impl FnOnce(&Parts) -> Http) -> Result<Self, StartError> {
        let Config {
            workers,
            listen,
            tls,
            quic_secret,
            session,
            outbox,
            limits,
            policies,
            presence_grace,
            legacy_path,
            authenticate,
            broker,
        } = config;
        let bound = Bound::bind(&listen, workers, tls.is_some())?;
        let metrics = Arc::new(Metrics::new());
        let (router, mailboxes) = hub::Router::new(workers, metrics.clone());
        let router = Arc::new(router);
        let start_ms = wall_clock_ms();
        let portrait = Arc::new(Portrait::new(&session.node, start_ms, workers, router.clone(), metrics.clone()));
        let describe = portrait.clone();
        let host = Host { deliver: router.clone(), sessions: router.clone(), describe: Arc::new(move || describe.node()) };
        let Brokers { broker, users, cluster, sweep, redis } = Brokers::start(broker, host, metrics.clone())?;
        let policies = Arc::new(ArcSwap::new(policies));
        let presence = Arc::new(Presence::new(presence_grace, broker.clone(), metrics.clone(), transport::now));
        let ready = Arc::new(AtomicBool::new(true));
        let parts = Parts {
            broker: broker.clone(),
            users: users.clone(),
            cluster: cluster.clone(),
            router: router.clone(),
            policies: policies.clone(),
            metrics: metrics.clone(),
            listen: bound.listen,
            ready: ready.clone(),
        };
        let Http { public, api, allows_origin } = http(&parts);
        let quic_secrets = quic_secrets(&quic_secret, &bound.listen, &session.node);
        let (farewell, leaving) = watch::channel(None);
        let session = Arc::new(ArcSwap::from_pointee(session));
        let revised = watch::Sender::new(());
        let shared = Shared {
            broker,
            users,
            router,
            policies: policies.clone(),
            revised: revised.subscribe(),
            rates: Arc::default(),
            presence: presence.clone(),
            authenticate,
            allows_origin,
            legacy_path,
            session: session.clone(),
            outbox,
            limits,
            metrics: metrics.clone(),
            farewell: leaving,
            http: public,
            tls: tls.as_ref().map(|tls| tls.tcp.clone()),
            quic_tls: tls.map(|tls| tls.quic),
            quic_secrets,
            start_ms,
        };
        let (listen, steering, udp_buffer) = (bound.listen, bound.steering.clone(), bound.udp_buffer);
        let (ended_sender, ended) = mpsc::channel(workers + 1);
        let (stop_control, stopping) = watch::channel(false);
        let control = spawn_control(sweep, portrait, presence.clone(), cluster.clone(), bound.api.try_clone_first(), api, stopping)
            .map_err(StartError::Thread)?;
        let mut threads = Vec::with_capacity(workers);
        for worker in bound.into_workers(mailboxes) {
            threads.push(worker::spawn(worker, shared.clone(), ended_sender.clone()).map_err(StartError::Thread)?);
        }
        Ok(Self {
            listen,
            steering,
            udp_buffer,
            metrics,
            ready,
            policies,
            revised,
            session,
            presence,
            farewell,
            stop_control,
            ended,
            workers: threads,
            control: Some(control),
            _redis: redis,
        })
    }

    /// Lets a reload change what this server can change while it runs: policies, and what is told in welcome to sessions that begin after it.
    pub fn hook(&self, reload: &Reload) {
        reload.count(self.metrics.clone());
        let (policies, revised) = (self.policies.clone(), self.revised.clone());
        reload.hook(&["groups", "history.", "presence.default"], move |config| {
            let (policies, revised, new) = (policies.clone(), revised.clone(), Arc::new(config.policies.clone()));
            Ok(Box::new(move || {
                if **policies.load() != *new {
                    policies.store(new);
                    revised.send_replace(());
                }
            }))
        });
        let session = self.session.clone();
        reload.hook(SESSION_KEYS, move |config| {
            let session = session.clone();
            let new = session::Config { node: session.load().node.clone(), ..config.session.clone() };
            Ok(Box::new(move || session.store(Arc::new(new))))
        });
    }

    /// Waits until a worker has ended that should not have: the server can't go on then.
    pub async fn failed(&mut self) -> usize {
        self.ended.recv().await.unwrap_or(usize::MAX)
    }

    /// Drains and stops. Blocks at most a little longer than `timeout`. Clients are told to come back after a time between 0 and `spread`.
    pub fn shutdown(mut self, timeout: Duration, spread: Duration) -> Drained {
        self.leave(timeout, spread)
    }

    fn leave(&mut self, timeout: Duration, spread: Duration) -> Drained {
        self.ready.store(false, Ordering::Relaxed);
        self.presence.close();
        let deadline = transport::now() + timeout;
        self.farewell.send_replace(Some(Farewell { spread, deadline }));
        for worker in self.workers.drain(..) {
            // A panic has been logged by the thread itself.
            let _ = worker.join();
        }
        let clean = transport::now() < deadline;
        self.stop_control.send_replace(true);
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
        info!(clean, "server stopped");
        Drained { clean }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.workers.is_empty() {
            self.leave(Duration::ZERO, Duration::ZERO);
        }
    }
}

/// The broker as everybody sees it, and what keeps it going.
struct Brokers {
    broker: Arc<dyn Broker>,
    users: Arc<dyn Users>,
    cluster: Arc<dyn Cluster>,
    /// Forgets what is past its time.
    sweep: Box<dyn Fn() + Send>,
    redis: Vec<redis::Running>,
}

impl Brokers {
    fn start(config: BrokerConfig, host: Host, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        match config {
            BrokerConfig::Memory(config) => {
                let memory = Arc::new(memory::Memory::new(config, host.deliver.clone(), Arc::new(wall_clock_ms)));
                let alone = Arc::new(Alone::new(host, Arc::new(wall_clock_ms)));
                let (broker, users, cluster) = (memory.clone(), alone.clone(), alone.clone());
                let sweep = Box::new(move || {
                    memory.sweep();
                    alone.sweep();
                });
                Ok(Self { broker, users, cluster, sweep, redis: Vec::new() })
            }
            BrokerConfig::Redis(configs) => {
                for config in configs.iter().filter(|config| config.required == redis::Required::Fail) {
                    redis::Redis::check(config).map_err(|source| StartError::Redis { name: config.name(), source })?;
                }
                let started = redis::Spread::start(configs, host, Arc::new(wall_clock_ms), metrics);
                let (broker, redis) = started.map_err(StartError::Thread)?;
                let (users, cluster) = (broker.clone(), broker.clone());
                // The server's clock does it.
                Ok(Self { broker, users, cluster, sweep: Box::new(|| {}), redis })
            }
        }
    }
}

/// A node is known again by its name and port.
fn quic_secrets(secret: &Secret, listen: &Listen, node: &str) -> quic::Secrets {
    let port = listen.quic.map_or(0, |addr| addr.port());
    quic::Secrets::derive(secret.expose().as_bytes(), &format!("{node}:{port}"))
}

/// Wall-clock time in ms since 1970-01-01 UTC. A clock before that counts as that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the shell's one wall clock; everything else is given it")]
pub fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// All sockets, bound.
struct Bound {
    listen: Listen,
    http: Vec<TcpListener>,
    secure: Vec<TcpListener>,
    quic: Vec<std::net::UdpSocket>,
    api: ApiSocket,
    steering: Option<Steering>,
    udp_buffer: Option<usize>,
    workers: usize,
}

struct ApiSocket(Option<TcpListener>);

impl ApiSocket {
    fn try_clone_first(&self) -> Option<TcpListener> {
        self.0.as_ref().and_then(|listener| listener.try_clone().ok())
    }
}

impl Bound {
    fn bind(listen: &Listen, workers: usize, certificate: bool) -> Result<Self, StartError> {
        for (key, addr) in [("listen.secure", listen.secure), ("listen.quic", listen.quic)] {
            if addr.is_some() && !certificate {
                return Err(StartError::NoCertificate(key));
            }
        }
        let http = bind_tcp("listen.http", listen.http, workers)?;
        let (secure, quic) = bind_secure(listen, workers)?;
        let api = bind_tcp("listen.api", listen.api, 1)?.pop();
        let addr = |listeners: &[TcpListener]| listeners.first().and_then(|listener| listener.local_addr().ok());
        let listen = Listen {
            http: addr(&http),
            secure: addr(&secure),
            quic: quic.as_ref().map(|group| group.local_addr),
            api: api.as_ref().and_then(|listener| listener.local_addr().ok()),
        };
        let steering = quic.as_ref().map(|group| group.steering.clone());
        let udp_buffer = quic.as_ref().map(|group| group.receive_buffer);
        let quic = quic.map(|group| group.sockets).unwrap_or_default();
        Ok(Self { listen, http, secure, quic, api: ApiSocket(api), steering, udp_buffer, workers })
    }

    fn into_workers(self, mailboxes: Vec<mpsc::Receiver<hub::Delivery>>) -> Vec<Worker> {
        let workers = self.workers;
        let (mut http, mut secure, mut quic) = (self.http.into_iter(), self.secure.into_iter(), self.quic.into_iter());
        let worker = |(index, mailbox)| Worker {
            index,
            workers,
            mailbox,
            http: http.next().into_iter().collect(),
            secure: secure.next().into_iter().collect(),
            quic: quic.next(),
            driver: None,
        };
        mailboxes.into_iter().enumerate().map(worker).collect()
    }
}

/// Binds TCP and UDP; with port 0 for both, to the same port.
fn bind_secure(listen: &Listen, workers: usize) -> Result<(Vec<TcpListener>, Option<quic::Group>), StartError> {
    let mut tries = 10;
    loop {
        let secure = bind_tcp("listen.secure", listen.secure, workers)?;
        let Some(quic) = listen.quic else { return Ok((secure, None)) };
        let same = quic.port() == 0 && listen.secure.is_some_and(|secure| secure == quic);
        let port = secure.first().filter(|_| same).and_then(|listener| listener.local_addr().ok()).map_or(quic.port(), |addr| addr.port());
        match quic::bind(SocketAddr::new(quic.ip(), port), workers) {
            Ok(group) => return Ok((secure, Some(group))),
            Err(error) if !same || tries == 0 => return Err(error.into()),
            // Somebody has that port for UDP: another may be free for both.
            Err(_) => tries -= 1,
        }
    }
}

/// Connections that wait in the kernel until a worker accepts them.
const BACKLOG: i32 = 4096;

/// A listener for each worker on one port, between which the kernel spreads connections.
fn bind_tcp(key: &'static str, addr: Option<SocketAddr>, workers: usize) -> Result<Vec<TcpListener>, StartError> {
    let Some(addr) = addr else { return Ok(Vec::new()) };
    let bind_error = |source| StartError::Bind { key, addr, source };
    let first = open_tcp(addr).map_err(bind_error)?;
    // The first takes the port without sharing, so that a port in use by another server is an error; only then it lets the others in.
    first.bind(&addr.into()).map_err(bind_error)?;
    let bound = first.local_addr().map_err(bind_error)?;
    let mut sockets = vec![first];
    if workers > 1 {
        sockets[0].set_reuse_port(true).map_err(bind_error)?;
    }
    for _ in 1..workers {
        let socket = open_tcp(addr).map_err(bind_error)?;
        socket.set_reuse_port(true).map_err(bind_error)?;
        socket.bind(&bound).map_err(bind_error)?;
        sockets.push(socket);
    }
    for socket in &sockets {
        socket.listen(BACKLOG).map_err(bind_error)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

fn open_tcp(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart need not wait for connections of the last life to be forgotten.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// The thread that does what no worker should: the management API, forgetting, and measuring the load, and telling who
/// comes and goes.
fn spawn_control(
    forget: Box<dyn Fn() + Send>,
    portrait: Arc<Portrait>,
    presence: Arc<Presence>,
    cluster: Arc<dyn Cluster>,
    api: Option<TcpListener>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            let mut stopping = stop.clone();
            let serve = async {
                let Some(api) = api else { return std::future::pending().await };
                match tokio::net::TcpListener::from_std(api) {
                    Ok(listener) => axum::serve(listener, router).await,
                    Err(error) => Err(error),
                }
            };
            let sweep = async {
                let mut ticks = tokio::time::interval(SWEEP);
                loop {
                    ticks.tick().await;
                    forget();
                }
            };
            let measure = async {
                let mut before = transport::now();
                loop {
                    portrait.show(&*cluster).await;
                    tokio::time::sleep(portrait::MEASURE).await;
                    let now = transport::now();
                    portrait.measure(now - before);
                    before = now;
                }
            };
            tokio::select! {
                result = serve => if let Err(error) = result { error!(%error, "the API listener failed") },
                () = sweep => {}
                () = measure => {}
                () = presence.run() => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            let _ = stop.wait_for(|stop| *stop).await;
        });
        runtime.shutdown_background();
    })
}
