//! The configuration of a server: what was typed in a file, the environment and on the command line, made into values that are known to be valid.
//!
//! Flags go over the environment, the environment over the file, the file over defaults. All mistakes are found at once, each with its key, its value, where it was typed, and the rule. The rooms'
//! own types are filled here; the rooms know nothing of it.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod groups;
mod legacy;
mod quic;
mod reader;
mod redis;
mod row;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod units;

use std::{net::SocketAddr, path::Path, time::Duration};

pub use quic::Kept;
pub use source::{Origin, SourceError};
pub use tls::Tls;

use crate::{
    auth::{OriginError, Origins, Secret},
    broker,
    hub::OutboxLimits,
    policy::Policies,
    protocol::limits,
    session, transport,
};
use reader::Reader;
use source::Values;

/// What a server is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Development on one machine: everything works at once, and nothing is reachable from elsewhere.
    Dev,
    /// Production: unsafe settings are refused.
    Serve,
}

/// Valid values of everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that own connections.
    pub workers: usize,
    /// Plain TCP: pages, API, WebSocket.
    pub http: Option<SocketAddr>,
    /// TCP with TLS.
    pub secure: Option<SocketAddr>,
    /// UDP: WebTransport.
    pub quic: Option<SocketAddr>,
    /// The management API on a listener of its own.
    pub api: Option<SocketAddr>,
    /// Where certificates come from.
    pub tls: Tls,
    /// What outlives the process.
    pub kept: Kept,
    /// Whether anonymous sessions are allowed.
    pub anonymous: bool,
    /// What tokens are signed with.
    pub hmac_secret: Option<Secret>,
    /// Origins whose pages may connect, as typed.
    pub origins: Vec<String>,
    /// Keys of the management API.
    pub api_keys: Vec<Secret>,
    /// What sessions have in common, the node's name among it.
    pub session: session::Config,
    /// Bounds of an outbox.
    pub outbox: OutboxLimits,
    /// Bounds before there is a session.
    pub limits: transport::Limits,
    /// What is allowed and kept.
    pub policies: Policies,
    /// How long a connection that has ended is still counted as there.
    pub presence_grace: Duration,
    /// Where older pages connect; `None`: nowhere.
    pub legacy_path: Option<String>,
    /// What makes several nodes one server: groups are spread over them. Empty: this node is alone.
    pub redis: Vec<broker::redis::Config>,
    /// Filter of log lines, as `tracing` reads it.
    pub log_level: String,
    /// `auto`, `pretty` or `json`.
    pub log_format: &'static str,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Clients are told to come back after a time between 0 and this.
    pub drain_spread: Duration,
    /// Whether `/` is the demo page.
    pub page: bool,
    /// What is in force and where it was typed.
    pub shown: Vec<Shown>,
    /// What is allowed, but hardly meant; a sentence each.
    pub warnings: Vec<String>,
}

/// A value that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: String,
    /// The value, secrets masked.
    pub value: String,
    /// Where it was typed.
    pub origin: Origin,
    /// Tells a secret from another one that is shown in the same way.
    digest: u64,
}

impl Shown {
    /// Whether both mean the same, wherever they were typed.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.key, &self.value, self.digest) == (&other.key, &other.value, other.digest)
    }
}

/// A mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A source can't be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A key that nobody knows.
    #[error("{key} ({origin}) is no key{}", .meant.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default())]
    Unknown {
        /// What was typed.
        key: String,
        /// Where.
        origin: Origin,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// A value that breaks its rule.
    #[error("{key} = {value:?} ({origin}) {rule}")]
    Value {
        /// The key.
        key: String,
        /// What was typed.
        value: String,
        /// Where.
        origin: Origin,
        /// The rule.
        rule: String,
    },
    /// An origin that is none.
    #[error("auth.origins: {0}")]
    Origin(#[from] OriginError),
    /// Settings that may not stand together.
    #[error("{what}; {cure}")]
    Unsafe {
        /// What is not right.
        what: String,
        /// What to set.
        cure: &'static str,
    },
}

/// Keys whose value may stand in a file of its own.
const SECRETS: &[&str] = &["auth.hmac_secret", "api.keys", "quic.secret", "redis.url", "redis.urls", "redis.sentinels"];

/// Reads and checks everything. `env` is the whole environment, `flags` are keys with values.
///
/// # Errors
/// All mistakes at once.
pub fn load(
    mode: Mode,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<ConfigError>> {
    let mut values = Values::new();
    let mut errors: Vec<ConfigError> = Vec::new();
    if let Some(path) = file
        && let Err(error) = source::from_file(path, &mut values)
    {
        errors.push(error.into());
    }
    errors.extend(source::from_environment(env, SECRETS, &mut values).into_iter().map(ConfigError::from));
    source::from_flags(flags, &mut values);
    judge(mode, values, errors)
}

/// Makes of what was typed what is valid; `errors` have been found already.
fn judge(mode: Mode, values: Values, mut errors: Vec<ConfigError>) -> Result<Config, Vec<ConfigError>> {
    let mut reader = Reader::new(values);
    let mut config = read(mode, &mut reader);
    let (found, shown) = reader.finish();
    errors.extend(found);
    if errors.is_empty() {
        errors.extend(contradictions(mode, &config));
    }
    config.shown = shown;
    config.warnings = config.policies.shadowed().into_iter().map(|shadowed| shadowed.why).collect();
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

fn read(mode: Mode, reader: &mut Reader) -> Config {
    let dev = mode == Mode::Dev;
    let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let secure = reader.address("listen.secure", local(4433));
    let session = session::Config {
        max_frame: reader.size("limits.frame", limits::FRAME_BYTES, 1024, 1 << 20),
        max_groups: reader.count("limits.groups_per_session", limits::GROUPS_PER_SESSION, 1, 100_000),
        ping_interval: reader.duration("limits.ping_interval", limits::PING_INTERVAL),
        hello_deadline: reader.duration("limits.hello_deadline", limits::HELLO_DEADLINE),
        server: concat!("fanfare/", env!("CARGO_PKG_VERSION")).to_owned(),
        node: reader.text("node", &host_name()),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match reader.count("workers", 0, 0, 256) {
        0 => cores.min(256),
        workers => workers,
    };
    Config {
        workers,
        http: reader.address("listen.http", local(8080)),
        secure,
        quic: reader.address("listen.quic", secure),
        api: reader.address("listen.api", None),
        tls: tls::read(reader),
        kept: quic::read(reader),
        anonymous: reader.boolean("auth.anonymous", dev),
        hmac_secret: reader.secret("auth.hmac_secret"),
        origins: reader.texts("auth.origins"),
        api_keys: reader.secrets("api.keys"),
        session,
        outbox: OutboxLimits {
            bytes: reader.size("limits.outbox_bytes", 1 << 20, 1 << 16, 1 << 30),
            age: reader.duration("limits.outbox_age", Duration::from_secs(30)),
        },
        limits: transport::Limits {
            handshake_deadline: reader.duration("limits.handshake_deadline", limits::HANDSHAKE_DEADLINE),
            http_lifetime: reader.duration("limits.http_lifetime", limits::HTTP_LIFETIME),
            http_connections: reader.count("limits.http_connections", limits::HTTP_CONNECTIONS, 2, 1_000_000),
            handshakes: reader.count("limits.handshakes", 256, 1, 100_000),
            connections: reader.count("limits.connections", 100_000, 1, 10_000_000),
        },
        policies: groups::read(reader, dev),
        presence_grace: reader.duration("presence.grace", Duration::from_secs(5)),
        legacy_path: legacy::path(reader),
        redis: redis::read(reader),
        log_level: reader.text("log.level", "info"),
        log_format: reader.one_of("log.format", &["auto", "pretty", "json"]),
        drain_timeout: reader.duration("drain.timeout", Duration::from_secs(10)),
        drain_spread: reader.duration("drain.spread", Duration::from_secs(5)),
        page: reader.boolean("page.enabled", dev),
        shown: Vec::new(),
        warnings: Vec::new(),
    }
}

/// What each value may be, but not together with the others.
fn contradictions(mode: Mode, config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if let Err(error) = Origins::new(config.origins.iter().cloned()) {
        errors.push(error.into());
    }
    let listeners =
        [("listen.http", config.http), ("listen.secure", config.secure), ("listen.quic", config.quic), ("listen.api", config.api)];
    let listening = listeners.iter().filter_map(|(key, addr)| addr.map(|addr| (*key, addr)));
    let beyond: Vec<_> = listening.filter(|(_, addr)| !addr.ip().is_loopback()).collect();
    for (key, addr) in &beyond {
        let what = || format!("{key} = {addr} can be reached from other machines");
        if mode == Mode::Dev {
            errors.push(unsafe_setting(what(), "`dev` listens on loopback only; use `serve`"));
            continue;
        }
        if config.hmac_secret.is_none() && !config.anonymous {
            errors.push(unsafe_setting(
                format!("{}, and nothing says who may connect", what()),
                "set auth.hmac_secret to the secret that your application signs tokens with, or auth.anonymous = true if everybody may",
            ));
        }
        if config.origins.is_empty() && *key != "listen.api" {
            errors.push(unsafe_setting(
                format!("{}, and no page may use it", what()),
                "set auth.origins to the origins of your pages, such as [\"https://app.example.org\"]",
            ));
        }
        if config.tls.certificates.is_empty() && matches!(*key, "listen.secure" | "listen.quic") {
            errors.push(unsafe_setting(
                format!("{} with a development certificate", what()),
                "set tls.certificate and tls.key to the files of a certificate that browsers trust",
            ));
        }
    }
    if mode == Mode::Serve && config.api_keys.is_empty() {
        errors.push(unsafe_setting(
            "there is no API key, so nobody could send anything",
            "set api.keys (environment FANFARE_API__KEYS or FANFARE_API__KEYS_FILE)",
        ));
    }
    if let Some(redis) = config.redis.first() {
        for (key, time) in [
            ("redis.connect_timeout", redis.connect_timeout),
            ("redis.timeout", redis.timeout),
            ("redis.probe_interval", redis.probe_interval),
            ("redis.check_interval", redis.check_interval),
            ("redis.lease", redis.lease),
        ] {
            if time < Duration::from_millis(10) {
                errors.push(unsafe_setting(format!("{key} = {time:?} leaves Redis no time to answer"), "set it to 10ms or more"));
            }
        }
        errors.extend(redis::too_short_a_lease(redis.lease, redis.timeout));
    }
    if config.http.is_none() && config.secure.is_none() && config.quic.is_none() {
        errors.push(unsafe_setting("listen.http, listen.secure and listen.quic are all off", "set one of them to an address"));
    }
    errors
}

fn unsafe_setting(what: impl Into<String>, cure: &'static str) -> ConfigError {
    ConfigError::Unsafe { what: what.into(), cure }
}

/// The machine's name, which tells nodes apart for people.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}
