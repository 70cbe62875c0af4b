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
    set: Vec<(String, String)>,
    /// The server's HTTP address; of several nodes each, and subscribers are dealt out to them [environment: FANFARE_URL] [default: http://127.0.0.1:8080]
    #[arg(long, help_heading = "Server")]
    url: Vec<String>,
    /// HTTP address of a node where those go that lose theirs; may be given several times
    #[arg(long, value_name = "URL", help_heading = "Server")]
    failover: Vec<String>,
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
    /// Where those go that lose their server.
    pub(super) failover: Vec<Way>,
}

/// A node, and what it says of itself if it had to be asked.
struct Node<'a> {
    url: &'a str,
    found: Option<Discovery>,
}

/// Deals connections out over ways in turn.
pub(super) fn deal(count: usize, ways: Vec<Way>) -> Vec<(Way, usize)> {
    let among = ways.len().max(1);
    ways.into_iter().enumerate().map(|(at, way)| (way, (count + among - 1 - at) / among)).filter(|(_, count)| *count > 0).collect()
}

/// The password in a URL, as a setting.
pub(super) fn password(url: &str) -> Option<(String, String)> {
    let url = reqwest::Url::parse(url).ok()?;
    let encoded = url.password().or(Some(url.username())).filter(|password| !password.is_empty())?;
    let password = percent_encoding::percent_decode_str(encoded).decode_utf8_lossy();
    Some(("password".to_owned(), password.into_owned()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("has to be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Reach {
    /// The server's HTTP address, or that of the first of its nodes.
    pub(super) fn url(&self) -> String {
        self.url.first().cloned().or_else(|| env("FANFARE_URL")).unwrap_or_else(|| "http://127.0.0.1:8080".into())
    }

    /// The profile's settings: those that were set, and the password in the URL of a Redis.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let password = self.tcp_url.as_deref().and_then(password);
        password.into_iter().chain(self.set.iter().cloned()).collect()
    }

    /// Whether there is somewhere to go for those who lose their server.
    pub(super) fn has_failover(&self) -> bool {
        !self.failover.is_empty()
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
        if self.url.len() > 1 && (self.ws_url.is_some() || self.wss_url.is_some() || self.wt_url.is_some() || self.tcp_url.is_some()) {
            return Err(Failure::usage("--ws-url, --wss-url, --wt-url, --tcp-url: say where one server is, and --url names several"));
        }
        let first = self.url();
        let urls = if self.url.is_empty() { vec![first.as_str()] } else { self.url.iter().map(String::as_str).collect() };
        let nodes = self.nodes("--url", urls, self.needs_discovery()).await?;
        let others = self.nodes("--failover", self.failover.iter().map(String::as_str).collect(), self.profile == Kind::Fanfare).await?;
        let (mut subscribers, mut idle, mut failover) = (Vec::new(), Vec::new(), Vec::new());
        for (transport, count) in self.counts().into_iter().filter(|(_, count)| *count > 0) {
            let ways = nodes.iter().map(|node| self.way_of(transport, node)).collect::<Result<Vec<_>, _>>()?;
            subscribers.extend(deal(count, ways.clone()));
            idle.extend(ways);
            failover.extend(others.iter().map(|node| self.found_way(transport, node)).collect::<Result<Vec<_>, _>>()?);
        }
        if idle.is_empty() {
            let transport = if bare { Transport::Tcp } else { Transport::Ws };
            idle = nodes.iter().map(|node| self.way_of(transport, node)).collect::<Result<_, _>>()?;
            failover = others.iter().map(|node| self.found_way(transport, node)).collect::<Result<_, _>>()?;
        }
        Ok(Ways { subscribers, idle, failover })
    }

    fn counts(&self) -> [(Transport, usize); 4] {
        [(Transport::Ws, self.ws), (Transport::Wss, self.wss), (Transport::Wt, self.wt), (Transport::Tcp, self.tcp)]
    }

    async fn nodes<'a>(&self, option: &str, urls: Vec<&'a str>, ask: bool) -> Result<Vec<Node<'a>>, Failure> {
        let mut nodes = Vec::new();
        for url in urls {
            self.allow_url(option, url)?;
            let found = if ask { Some(discover(url).await.map_err(Failure::unreachable)?) } else { None };
            nodes.push(Node { url, found });
        }
        Ok(nodes)
    }

    /// Only what no URL tells has to be asked for.
    fn needs_discovery(&self) -> bool {
        let untold = |count: usize, url: &Option<String>| count > 0 && url.is_none();
        let nothing = self.subscribers() == 0 && self.ws_url.is_none();
        let ways = untold(self.ws, &self.ws_url) || untold(self.wss, &self.wss_url) || untold(self.wt, &self.wt_url);
        self.profile == Kind::Fanfare && (ways || nothing)
    }

    /// The way to a node: where an option says, or where the node says.
    fn way_of(&self, transport: Transport, node: &Node<'_>) -> Result<Way, Failure> {
        let (option, given) = match transport {
            Transport::Ws => ("--ws-url", &self.ws_url),
            Transport::Wss => ("--wss-url", &self.wss_url),
            Transport::Wt => ("--wt-url", &self.wt_url),
            Transport::Tcp => ("--tcp-url", &self.tcp_url),
        };
        let Some(url) = given else { return self.found_way(transport, node) };
        let mut way = self.way(url, option, scheme(transport))?;
        if let (None, Some(found)) = (&self.cert_sha256, &node.found) {
            way.trust = found.target(ClientTransport::Websocket, Dialect::Msgpack).map_err(Failure::unreachable)?.trust;
        }
        Ok(way)
    }

    /// The way that a node says, or that its address and the profile make.
    fn found_way(&self, transport: Transport, node: &Node<'_>) -> Result<Way, Failure> {
        let told = |transport| match &node.found {
            Some(found) => found.target(transport, Dialect::Msgpack).map_err(Failure::unreachable).map(|target| (target.url, target.trust)),
            None => Err(Failure::usage("the URL of a transport is missing")),
        };
        let rest = node.url.split_once("://").map_or(node.url, |(_, rest)| rest).trim_end_matches('/');
        let (url, trust) = match transport {
            Transport::Tcp if node.url.starts_with("redis") => (node.url.into(), Trust::Roots),
            Transport::Tcp => ("redis://127.0.0.1:6379".into(), Trust::Roots),
            _ if self.profile != Kind::Fanfare => (format!("{}://{rest}", scheme(transport)), Trust::Roots),
            Transport::Ws => told(ClientTransport::Websocket)?,
            Transport::Wss => told(ClientTransport::Webtransport).map(|(url, trust)| (url.replacen("https", "wss", 1), trust))?,
            Transport::Wt => told(ClientTransport::Webtransport)?,
        };
        let way = self.way(&url, "--url", scheme(transport))?;
        Ok(if self.cert_sha256.is_some() { way } else { Way { trust, ..way } })
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

fn scheme(transport: Transport) -> &'static str {
    match transport {
        Transport::Ws => "ws",
        Transport::Wss => "wss",
        Transport::Wt => "https",
        Transport::Tcp => "redis",
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
