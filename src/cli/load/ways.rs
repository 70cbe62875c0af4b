//! Which server, by which ways: from URLs, or from what a fanfare server says of itself.

use std::net::ToSocketAddrs as _;

use super::super::{Failure, env};
use crate::{
    client::{Discovery, Transport as ClientTransport, Trust, discover},
    load::{Transport, Way, profile::Kind},
    protocol::Dialect,
};

/// Where to connect to.
#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    /// How the server speaks
    #[arg(long, value_enum, value_name = "PROFILE", default_value = "fanfare", help_heading = "Server")]
    pub(super) profile: Kind,
    /// A setting of the profile, such as path=/ws/{group}; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, help_heading = "Server")]
    pub(super) set: Vec<(String, String)>,
    /// The server's HTTP address [environment: FANFARE_URL] [default: http://127.0.0.1:8080]
    #[arg(long, help_heading = "Server")]
    url: Option<String>,
    /// Where WebSocket is [default: what the server says, or --url and the profile's path]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    ws_url: Option<String>,
    /// Where WebSocket with TLS is [default: the address of WebTransport, over TCP, or --url]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    wss_url: Option<String>,
    /// Where WebTransport is [default: what the server says]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    wt_url: Option<String>,
    /// Where a bare protocol is [default: redis://127.0.0.1:6379]
    #[arg(long, value_name = "URL", help_heading = "Server")]
    tcp_url: Option<String>,
    /// SHA-256 of a certificate to trust, in hex [default: what the server says, or the system's authorities]
    #[arg(long, value_name = "HEX", help_heading = "Server")]
    cert_sha256: Option<String>,
    /// The Origin header of subscribers
    #[arg(long, value_name = "ORIGIN", help_heading = "Server")]
    origin: Option<String>,
    /// Allow a server on another machine
    #[arg(long, help_heading = "Server")]
    i_own_this_host: bool,
    /// Subscribers over WebSocket
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Connections")]
    ws: usize,
    /// Subscribers over WebSocket with TLS
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Connections")]
    wss: usize,
    /// Subscribers over WebTransport
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Connections")]
    wt: usize,
    /// Subscribers over TCP alone (profile redis)
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Connections")]
    tcp: usize,
}

/// What the options come to.
#[derive(Debug)]
pub(super) struct Ways {
    pub(super) subscribers: Vec<(Way, usize)>,
    /// Those that idle connections take in turn.
    pub(super) idle: Vec<Way>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("has to be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Reach {
    /// The server's HTTP address.
    pub(super) fn url(&self) -> String {
        self.url.clone().or_else(|| env("FANFARE_URL")).unwrap_or_else(|| "http://127.0.0.1:8080".into())
    }

    /// How many connections follow a group.
    pub(super) fn subscribers(&self) -> usize {
        self.ws + self.wss + self.wt + self.tcp
    }

    pub(super) async fn resolve(&self) -> Result<Ways, Failure> {
        let (bare, wt) = (self.profile == Kind::Redis, self.profile == Kind::Fanfare);
        for (wrong, option, rule) in [
            (self.wt > 0 && !wt, "--wt", "only the profile fanfare has WebTransport"),
            (self.tcp > 0 && !bare, "--tcp", "only the profile redis is spoken over TCP alone"),
            (self.ws + self.wss > 0 && bare, "--ws, --wss", "the profile redis is spoken over TCP alone: --tcp NUMBER"),
        ] {
            if wrong {
                return Err(Failure::usage(format!("{option}: {rule}")));
            }
        }
        self.allow_url("--url", &self.url())?;
        let found = if self.needs_discovery() { Some(discover(&self.url()).await.map_err(Failure::unreachable)?) } else { None };
        let mut subscribers = Vec::new();
        for (transport, count) in
            [(Transport::Ws, self.ws), (Transport::Wss, self.wss), (Transport::Wt, self.wt), (Transport::Tcp, self.tcp)]
        {
            if count > 0 {
                subscribers.push((self.way_of(transport, found.as_ref())?, count));
            }
        }
        let mut idle: Vec<Way> = subscribers.iter().map(|(way, _)| way.clone()).collect();
        if idle.is_empty() {
            idle.push(self.way_of(if bare { Transport::Tcp } else { Transport::Ws }, found.as_ref())?);
        }
        Ok(Ways { subscribers, idle })
    }

    /// Only what no URL tells has to be asked for.
    fn needs_discovery(&self) -> bool {
        let untold = |count: usize, url: &Option<String>| count > 0 && url.is_none();
        let nothing = self.subscribers() == 0 && self.ws_url.is_none();
        let ways = untold(self.ws, &self.ws_url) || untold(self.wss, &self.wss_url) || untold(self.wt, &self.wt_url);
        self.profile == Kind::Fanfare && (ways || nothing)
    }

    fn way_of(&self, transport: Transport, found: Option<&Discovery>) -> Result<Way, Failure> {
        let told = |transport| match found {
            Some(found) => found.target(transport, Dialect::Msgpack).map_err(Failure::unreachable).map(|target| (target.url, target.trust)),
            None => Err(Failure::usage("the URL of a transport is missing")),
        };
        let base = self.url();
        let rest = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest).trim_end_matches('/');
        let (option, given, scheme) = match transport {
            Transport::Ws => ("--ws-url", &self.ws_url, "ws"),
            Transport::Wss => ("--wss-url", &self.wss_url, "wss"),
            Transport::Wt => ("--wt-url", &self.wt_url, "https"),
            Transport::Tcp => ("--tcp-url", &self.tcp_url, "redis"),
        };
        let (url, trust) = match (given, transport) {
            (Some(url), _) => {
                let trust = found.map(|_| told(ClientTransport::Websocket)).transpose()?.map(|(_, trust)| trust);
                (url.clone(), trust.unwrap_or(Trust::Roots))
            }
            (None, Transport::Tcp) => ("redis://127.0.0.1:6379".into(), Trust::Roots),
            (None, _) if self.profile != Kind::Fanfare => (format!("{scheme}://{rest}"), Trust::Roots),
            (None, Transport::Ws) => told(ClientTransport::Websocket)?,
            (None, Transport::Wss) => told(ClientTransport::Webtransport).map(|(url, trust)| (url.replacen("https", "wss", 1), trust))?,
            (None, Transport::Wt) => told(ClientTransport::Webtransport)?,
        };
        let mut way = self.way(&url, option, scheme)?;
        way.trust = if self.cert_sha256.is_some() { way.trust } else { trust };
        Ok(way)
    }

    /// The way that a URL says. `scheme`: the only one that is allowed; empty: any.
    pub(super) fn way(&self, url: &str, option: &str, scheme: &str) -> Result<Way, Failure> {
        let parsed = reqwest::Url::parse(url).map_err(|error| Failure::usage(format!("{option} {url}: {error}")))?;
        let transport = match parsed.scheme() {
            "ws" => Transport::Ws,
            "wss" => Transport::Wss,
            "https" => Transport::Wt,
            "http" | "redis" | "tcp" => Transport::Tcp,
            other => return Err(Failure::usage(format!("{option} {url}: {other}:// is not known here"))),
        };
        if !scheme.is_empty() && parsed.scheme() != scheme {
            return Err(Failure::usage(format!("{option} {url}: has to begin with {scheme}://")));
        }
        let host = self.allow_url(option, url)?;
        let addr = resolve(&host)?;
        let path = parsed.path();
        let query = parsed.query().map_or_else(String::new, |query| format!("?{query}"));
        // `{` and `}` are escaped in a parsed URL.
        let path = (path.len() > 1).then(|| format!("{path}{query}").replace("%7B", "{").replace("%7D", "}"));
        Ok(Way { transport, host, addr, path, trust: self.trust()?, origin: self.origin.clone() })
    }

    fn trust(&self) -> Result<Trust, Failure> {
        let Some(text) = &self.cert_sha256 else { return Ok(Trust::Roots) };
        let digit = |at: usize| text.get(at * 2..at * 2 + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let digest: Option<Vec<u8>> = (0..32).map(digit).collect();
        let digest = digest.filter(|_| text.len() == 64).and_then(|digest| digest.try_into().ok());
        digest
            .map(|digest| Trust::Hashes(vec![digest]))
            .ok_or_else(|| Failure::usage(format!("--cert-sha256 {text}: has to be 64 hex digits")))
    }

    /// A load generator is a weapon: without a promise it is pointed at this machine only. Returns host and port.
    fn allow_url(&self, option: &str, url: &str) -> Result<String, Failure> {
        let host = address(option, url)?;
        let mut found = host.to_socket_addrs().map_err(|error| Failure::unreachable(format!("{option} {url}: {error}")))?;
        if self.i_own_this_host || found.all(|addr| addr.ip().is_loopback()) {
            return Ok(host);
        }
        Err(Failure::usage(format!("{host} is not on this machine: --i-own-this-host says that it may be loaded")))
    }
}

/// Servers for development mostly listen on IPv4 alone, whatever `localhost` is first.
fn resolve(host: &str) -> Result<std::net::SocketAddr, Failure> {
    let found: Vec<_> = host.to_socket_addrs().map_err(|error| Failure::unreachable(format!("{host}: {error}")))?.collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| Failure::unreachable(format!("{host} has no address")))
}

/// Host and port of a URL.
fn address(option: &str, text: &str) -> Result<String, Failure> {
    let url = reqwest::Url::parse(text).map_err(|error| Failure::usage(format!("{option} {text}: {error}")))?;
    let usual = if url.scheme() == "redis" { Some(6379) } else { url.port_or_known_default() };
    match (url.host_str(), url.port().or(usual)) {
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(Failure::usage(format!("{option} {text}: names no host and port"))),
    }
}
