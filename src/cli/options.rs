//! What `dev`, `serve`, `check-config` and `doctor` have in common.

use std::path::PathBuf;

use super::{Failure, env};
use crate::config::{Config, Mode, load};

/// Where the configuration comes from. Every key can also be set by the environment: `listen.http` is `FANFARE_LISTEN__HTTP`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerOptions {
    /// Configuration file in TOML [environment: FANFARE_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any key of the configuration, such as --set limits.frame=64KiB; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Plain HTTP and WebSocket: listen.http [environment: FANFARE_LISTEN__HTTP]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// HTTP and WebSocket with TLS: listen.secure [environment: FANFARE_LISTEN__SECURE]
    #[arg(long, value_name = "ADDRESS")]
    secure: Option<String>,
    /// WebTransport over UDP: listen.quic [environment: FANFARE_LISTEN__QUIC]
    #[arg(long, value_name = "ADDRESS")]
    quic: Option<String>,
    /// Management API on a listener of its own: listen.api [environment: FANFARE_LISTEN__API]
    #[arg(long, value_name = "ADDRESS")]
    api: Option<String>,
    /// Redis that makes several nodes one server, such as redis://user:password@host:6379/0 (rediss: with TLS): redis.url [environment: FANFARE_REDIS__URL]; repeated, groups are spread over several: redis.urls
    #[arg(long, value_name = "URL")]
    redis: Vec<String>,
    /// What a start without Redis means, wait or fail: redis.required [environment: FANFARE_REDIS__REQUIRED]
    #[arg(long, value_name = "WORD")]
    redis_required: Option<String>,
    /// Threads that own connections, 0 for one a core: workers [environment: FANFARE_WORKERS]
    #[arg(long, value_name = "NUMBER")]
    workers: Option<String>,
    /// What is logged: log.level [environment: FANFARE_LOG__LEVEL]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "has to look like key=value".into())
}

impl ServerOptions {
    /// The file that was named.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| env("FANFARE_CONFIG").map(PathBuf::from))
    }

    /// Reads everything that was typed anywhere.
    pub(super) fn load(&self, mode: Mode) -> Result<Config, Failure> {
        let named = [
            ("listen.http", &self.http),
            ("listen.secure", &self.secure),
            ("listen.quic", &self.quic),
            ("listen.api", &self.api),
            ("redis.required", &self.redis_required),
            ("workers", &self.workers),
            ("log.level", &self.log),
        ];
        let named = named.into_iter().filter_map(|(key, value)| value.as_ref().map(|value| (key.to_owned(), value.clone())));
        let redis = match &self.redis[..] {
            [] => None,
            [one] => Some(("redis.url".to_owned(), one.clone())),
            several => Some(("redis.urls".to_owned(), several.join(","))),
        };
        let named = named.chain(redis);
        load(mode, self.file().as_deref(), std::env::vars(), self.set.iter().cloned().chain(named)).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::usage(format!("the configuration is not right:\n  {}", lines.join("\n  ")))
        })
    }
}
