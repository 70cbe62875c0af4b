//! `fanfare dev` and `fanfare serve`: the same server, made from a configuration.

use std::{
    io::IsTerminal as _,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{
    Failure,
    certificates::{self, Watch},
    env,
    options::ServerOptions,
    reloading::{self, Drain, hook_log, log_filter},
    started::Started,
    state,
};
use crate::{
    api::{About, Api, CertificateHashes, Directory, Discovery, GroupInfo, KeyCheck, Rule, WebSocketListener, WebTransportListener},
    auth::{ApiKeys, Authenticator, dev_key},
    broker::{self, Broker, Deliver as _, memory},
    config::{Config, Mode},
    hub,
    protocol::{Code, GroupName},
    server::{self, BrokerConfig, Http, Listen, Parts, Server, StartError, reload::Reload, wall_clock_ms},
    session::Identity,
};

pub(super) fn run(mode: Mode, options: &ServerOptions) -> Result<(), Failure> {
    let mut config = options.load(mode)?;
    let reload = reloading::reload(&config, mode, options);
    start_logging(&config, &reload)?;
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    let key_file = if mode == Mode::Dev && config.api_keys.is_empty() { make_dev_key(&mut config)? } else { None };
    let certificates = Watch::open(&config)?;
    let server = start(&config, certificates.as_ref(), mode, &reload).map_err(Failure::unreachable)?;
    server.hook(&reload);
    let started = Started {
        mode,
        file: options.file(),
        listen: server.listen,
        steering: server.steering.as_ref().map(ToString::to_string),
        udp_buffer: server.udp_buffer,
        certificate: certificates.as_ref().and_then(Watch::development),
        broker: match &config.redis[..] {
            [] => "memory (this node only)".to_owned(),
            [first, ..] => {
                let names: Vec<_> = config.redis.iter().map(broker::redis::Config::name).collect();
                format!("Redis at {} (prefix {}; nodes with the same are one server)", names.join(", "), first.prefix)
            }
        },
        page: config.page,
        open_files: open_file_limit(),
        key_file,
        program: program(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    runtime.block_on(watch(server, &reload, &config, &started, certificates))
}

/// Says that it has started, and reloads when asked to, until a signal asks for a drain or a worker has failed.
async fn watch(
    mut server: Server,
    reload: &Arc<Reload>,
    config: &Config,
    started: &Started,
    certificates: Option<Watch>,
) -> Result<(), Failure> {
    let drain = Drain::hooked(reload, config);
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::running)?;
    let mut certificates = pin!(certificates::watch(certificates, server.metrics.clone(), certificates::hooked(reload)));
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::running)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::running)?;
    // Whoever reads this may send a signal at once, and is to get a drain.
    print!("{}", started.text());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            worker = server.failed() => return Err(Failure::running(format!("worker {worker} has failed; see the log"))),
            () = &mut certificates => {}
            _ = hangup.recv() => {
                let reload = reload.clone();
                // It says in the log what became of it.
                let _ = tokio::task::spawn_blocking(move || reload.run()).await;
            }
        }
    }
    info!("asked to stop: draining");
    let (timeout, spread) = drain.times();
    let draining = tokio::task::spawn_blocking(move || server.shutdown(timeout, spread));
    tokio::select! {
        drained = draining => {
            if drained.is_ok_and(|drained| !drained.clean) {
                warn!("some connections did not take their goodbye in time");
            }
            Ok(())
        }
        // A second signal: whoever sends it does not want to wait.
        _ = terminate.recv() => Err(Failure::running("stopped without draining")),
        _ = interrupt.recv() => Err(Failure::running("stopped without draining")),
    }
}

fn start_logging(config: &Config, reload: &Reload) -> Result<(), Failure> {
    let filter = log_filter(config).map_err(Failure::usage)?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let pretty = match config.log_format {
        "auto" => std::io::stderr().is_terminal(),
        format => format == "pretty",
    };
    let result = if pretty {
        let subscriber = subscriber.with_ansi(env("NO_COLOR").is_none()).with_filter_reloading();
        hook_log(reload, subscriber.reload_handle());
        subscriber.try_init()
    } else {
        let subscriber = subscriber.json().with_filter_reloading();
        hook_log(reload, subscriber.reload_handle());
        subscriber.try_init()
    };
    result.map_err(Failure::running)
}

/// Makes the key of development, or finds the one that was made before; says where it is kept.
fn make_dev_key(config: &mut Config) -> Result<Option<std::path::PathBuf>, Failure> {
    let path = dev_key::default_path(env)
        .ok_or_else(|| Failure::usage("neither HOME nor XDG_STATE_HOME is set: set FANFARE_API__KEYS to a key for the API"))?;
    let key = dev_key::load_or_make(&path).map_err(|error| Failure::usage(format!("the API key in {}: {error}", path.display())))?;
    config.api_keys.push(key);
    Ok(Some(path))
}

fn start(config: &Config, certificates: Option<&Watch>, mode: Mode, reload: &Reload) -> Result<Server, StartError> {
    let authenticator = Authenticator::new(config.anonymous, config.hmac_secret.as_ref());
    let server = server::Config {
        workers: config.workers,
        listen: Listen { http: config.http, secure: config.secure, quic: config.quic, api: config.api },
        tls: certificates.map(Watch::tls),
        quic_secret: state::quic_secret(config),
        session: config.session.clone(),
        outbox: config.outbox,
        limits: config.limits,
        policies: Arc::new(config.policies.clone()),
        presence_grace: config.presence_grace,
        legacy_path: config.legacy_path.clone(),
        authenticate: Arc::new(move |token| identify(&authenticator, token)),
        broker: match &config.redis[..] {
            [] => BrokerConfig::Memory(memory::Config::default()),
            servers => BrokerConfig::Redis(servers.to_vec()),
        },
    };
    let hashes = certificates.map(Watch::hashes).unwrap_or_default();
    Server::start(server, |parts| http(config, parts, hashes, mode, reload))
}

fn identify(authenticator: &Authenticator, token: Option<&str>) -> Result<Identity, Code> {
    let now_s = wall_clock_ms() / 1000;
    let identity = authenticator.authenticate(token, now_s).map_err(crate::auth::Refusal::code)?;
    let valid = identity.expires_at_s.map(|until| Duration::from_secs(until.saturating_sub(now_s)));
    Ok(Identity { user: identity.user, valid, groups: identity.groups, rights: identity.rights, tasks: None })
}

/// What is served over HTTP, once the ports are known.
fn http(config: &Config, parts: &Parts, certificate_hashes: CertificateHashes, mode: Mode, reload: &Reload) -> Http {
    let own = if config.page { own_origins(&parts.listen) } else { Vec::new() };
    let origins = reloading::origins(reload, config, own);
    let allowed = origins.clone();
    let (ready, broker) = (parts.ready.clone(), parts.broker.clone());
    let websocket = match (parts.listen.http, parts.listen.secure) {
        // Browsers take a development certificate by its hash for WebTransport only.
        (Some(http), _) if config.tls.certificates.is_empty() => WebSocketListener { port: http.port(), secure: false },
        (_, Some(secure)) => WebSocketListener { port: secure.port(), secure: true },
        (http, None) => WebSocketListener { port: http.map_or(0, |http| http.port()), secure: false },
    };
    let api = Api {
        broker: parts.broker.clone(),
        users: parts.users.clone(),
        cluster: parts.cluster.clone(),
        policies: parts.policies.clone(),
        directory: Arc::new(Groups(parts.router.clone())),
        keys: Arc::new(Keys(ApiKeys::new(&config.api_keys))),
        origins: Arc::new(move |origin| origins.load().allows(Some(origin))),
        metrics: parts.metrics.clone(),
        discovery: Discovery {
            webtransport: parts.listen.quic.map(|quic| WebTransportListener { port: quic.port(), certificate_hashes }),
            websocket,
            rules: engine_rules(),
        },
        readiness: Arc::new(move || is_ready(&ready, &*broker)),
        about: About { node: config.session.node.clone(), broker: parts.broker.name(), started: now() },
        console: config.page,
        open_metrics: mode == Mode::Dev,
    };
    let management = Api { open_metrics: true, ..api.clone() }.router();
    let public = if parts.listen.api.is_some() { api.public_router() } else { api.router() };
    Http { public, api: management, allows_origin: Arc::new(move |origin| allowed.load().allows(origin)) }
}

#[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn is_ready(ready: &AtomicBool, broker: &dyn Broker) -> Result<(), String> {
    if ready.load(Ordering::Relaxed) { broker.ready() } else { Err("the server is draining".to_owned()) }
}

/// The origins under which the server's own page can be opened on this machine.
fn own_origins(listen: &Listen) -> Vec<String> {
    let of = |scheme: &'static str, addr: Option<std::net::SocketAddr>| {
        let local = addr.into_iter().filter(|addr| addr.ip().is_loopback());
        local.flat_map(move |addr| ["localhost", "127.0.0.1"].map(|host| format!("{scheme}://{host}:{}", addr.port())))
    };
    of("http", listen.http).chain(of("https", listen.secure)).collect()
}

/// WebKit's sessions stall after about 16 MiB, and Firefox before 114 has no WebTransport.
fn engine_rules() -> Vec<Rule> {
    let rule = |engine: &str, min_version, allow| Rule { engine: engine.to_owned(), min_version, allow };
    vec![rule("chromium", 100, true), rule("firefox", 125, true), rule("webkit", 0, false)]
}

struct Groups(Arc<hub::Router>);

impl Directory for Groups {
    fn groups(&self, prefix: Option<&str>, after: Option<&str>, limit: usize) -> Vec<GroupInfo> {
        let page = self.0.groups(prefix.unwrap_or_default(), after.unwrap_or_default(), limit);
        page.into_iter().map(|(name, members)| GroupInfo { name, members }).collect()
    }

    fn members(&self, group: &GroupName) -> usize {
        self.0.members(group)
    }
}

struct Keys(ApiKeys);

impl KeyCheck for Keys {
    fn accepts(&self, key: &str) -> bool {
        self.0.accepts(key)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many files this process may have open; a connection is one.
pub(super) fn open_file_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find(|line| line.starts_with("Max open files"))?.split_whitespace().nth(3)?.parse().ok()
}

/// This program as the user can type it: relative to the working directory if it is below, its bare name if the search path finds it.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "fanfare".into() };
    let found = std::env::var_os("PATH").is_some_and(|dirs| std::env::split_paths(&dirs).any(|dir| dir.join("fanfare") == path));
    if found {
        return "fanfare".into();
    }
    let below = std::env::current_dir().ok().and_then(|dir| path.strip_prefix(dir).ok().map(Path::to_owned));
    below.map_or_else(|| path.display().to_string(), |below| format!("./{}", below.display()))
}
