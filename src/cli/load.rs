//! `fanfare load`: subscribers and a publisher against a server, and an account of every message.

use std::{net::ToSocketAddrs as _, time::Duration};

use super::{Failure, api_key, env};
use crate::{
    client::{Discovery, Target, Transport, discover},
    load::{Endpoint, Error, Pace, Plan, Process, Progress, Report, run},
    protocol::Dialect,
};

/// Loads a server.
#[derive(Debug, clap::Args)]
pub struct Load {
    /// Subscribers over WebSocket
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    ws: usize,
    /// Subscribers over WebSocket with TLS
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    wss: usize,
    /// Where WebSocket with TLS is [default: the address of WebTransport, over TCP]
    #[arg(long, value_name = "URL")]
    wss_url: Option<String>,
    /// Subscribers over WebTransport
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    wt: usize,
    /// Groups, over which subscribers and messages are dealt out in turn
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    groups: usize,
    /// What the groups' names begin with; the policy that applies decides whether history is kept
    #[arg(long, value_name = "NAME", default_value = "load")]
    prefix: String,
    /// Messages a second, however fast the server is; latency counts from when each was due
    #[arg(long, value_name = "NUMBER", default_value_t = 100.0, conflicts_with = "window")]
    rate: f64,
    /// Instead of a rate: so many messages that not everybody has received yet
    #[arg(long, value_name = "NUMBER")]
    window: Option<u64>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    size: usize,
    /// Seconds to publish
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    duration: f64,
    /// New connections a second
    #[arg(long, value_name = "NUMBER", default_value_t = 500.0)]
    ramp: f64,
    /// The server's process on this machine, to measure what it uses
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The server's HTTP address [environment: FANFARE_URL] [default: http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// The API key; without it, that of a development server on this machine [environment: FANFARE_API_KEY]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Allow a server on another machine
    #[arg(long)]
    i_own_this_host: bool,
}

impl Load {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let plan = self.plan().await?;
        let json = self.json;
        let show = move |progress| {
            if !json {
                eprintln!("{}", line(progress));
            }
        };
        let report = tokio::task::LocalSet::new().run_until(run(&plan, show)).await.map_err(failure)?;
        if json {
            println!("{}", serde_json::to_string_pretty(&report).map_err(Failure::running)?);
        } else {
            print!("{}", table(&report));
        }
        if report.is_clean() { Ok(()) } else { Err(Failure::running("not every message reached everybody once and in order")) }
    }

    async fn plan(&self) -> Result<Plan, Failure> {
        let base = self.url.clone().or_else(|| env("FANFARE_URL")).unwrap_or_else(|| "http://127.0.0.1:8080".into());
        if !base.starts_with("http://") {
            return Err(Failure::usage(format!("--url {base}: publishing needs http://")));
        }
        let address = address("--url", &base)?;
        self.allow(&address)?;
        let duration = Duration::try_from_secs_f64(self.duration);
        Ok(Plan {
            subscribers: self.subscribers(&discover(&base).await.map_err(Failure::unreachable)?)?,
            ramp: self.ramp,
            groups: (0..self.groups).map(|at| format!("{}_{at}", self.prefix)).collect(),
            publish: Endpoint { address, key: api_key(self.api_key.clone())?.expose().into() },
            pace: self.window.map_or(Pace::Rate(self.rate), Pace::Window),
            size: self.size,
            duration: duration.map_err(|error| Failure::usage(format!("--duration {}: {error}", self.duration)))?,
            server: self.pid.map(Process),
        })
    }

    fn subscribers(&self, found: &Discovery) -> Result<Vec<(Target, usize)>, Failure> {
        let mut subscribers = Vec::new();
        let target = |transport| found.target(transport, Dialect::Msgpack).map_err(Failure::unreachable);
        if self.ws > 0 {
            subscribers.push((target(Transport::Websocket)?, self.ws));
        }
        if self.wss > 0 {
            let given = self.wss_url.clone().map(Ok);
            let url = given.unwrap_or_else(|| target(Transport::Webtransport).map(|found| found.url.replacen("https", "wss", 1)))?;
            subscribers.push((Target { url, ..target(Transport::Websocket)? }, self.wss));
        }
        if self.wt > 0 {
            subscribers.push((target(Transport::Webtransport)?, self.wt));
        }
        for (target, _) in &subscribers {
            self.allow(&address("--wss-url", &target.url)?)?;
        }
        Ok(subscribers)
    }

    /// A load generator is a weapon: without a promise it is pointed at this machine only.
    fn allow(&self, address: &str) -> Result<(), Failure> {
        let mut found = address.to_socket_addrs().map_err(|error| Failure::unreachable(format!("{address}: {error}")))?;
        if self.i_own_this_host || found.all(|addr| addr.ip().is_loopback()) {
            return Ok(());
        }
        Err(Failure::usage(format!("{address} is not on this machine: --i-own-this-host says that it may be loaded")))
    }
}

/// Host and port of a URL.
fn address(option: &str, text: &str) -> Result<String, Failure> {
    let url = reqwest::Url::parse(text).map_err(|error| Failure::usage(format!("{option} {text}: {error}")))?;
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(Failure::usage(format!("{option} {text}: names no host and port"))),
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::NoSubscriber { .. } | Error::Publisher { .. } => Failure::unreachable(error),
        Error::Process { .. } | Error::Plan(_) => Failure::usage(error),
    }
}

fn line(progress: Progress) -> String {
    let Progress { connected, published, delivered, latency: (p50, p99) } = progress;
    format!("connected {connected}  published {published}  delivered {delivered}  p50 {p50} µs  p99 {p99} µs")
}

fn table(report: &Report) -> String {
    let Report { connections, published, deliveries, latency_us, server, .. } = report;
    let mut rows = vec![
        ("connected", format!("{} ({} failed, {} ended)", connections.connected, connections.failed, connections.ended)),
        ("connecting", format!("p50 {} µs, p99 {} µs", connections.connect_us.p50, connections.connect_us.p99)),
        ("published", format!("{} in {:.1} s, {} refused", published.sent, published.seconds, published.refused)),
        ("received", format!("{} of {}, {:.0}/s", deliveries.received, deliveries.due, deliveries.per_second)),
        ("lost", deliveries.lost.to_string()),
        ("duplicated", deliveries.duplicated.to_string()),
        ("reordered", deliveries.reordered.to_string()),
        ("strayed", deliveries.strayed.to_string()),
        (
            "latency",
            format!("p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs", latency_us.p50, latency_us.p99, latency_us.p99_9, latency_us.max),
        ),
    ];
    if let Some(server) = server {
        let kib = |bytes: f64| bytes / 1024.0;
        rows.push(("server, CPU", format!("{:.2} µs a delivery, {:.0} µs a connect", server.cpu_us_a_delivery, server.cpu_us_a_connect)));
        rows.push(("server, CPU share", format!("{:.0} %", server.cpu_share * 100.0)));
        let (idle, busy) = (kib(server.bytes_a_connection_idle), kib(server.bytes_a_connection_busy));
        rows.push(("server, memory", format!("{idle:.1} KiB a connection idle, {busy:.1} KiB after the run")));
    }
    let own = format!("{:.0} % of a core, {:.2} µs a delivery", report.own_cpu_share * 100.0, report.own_cpu_us_a_delivery);
    rows.push(("load generator", own));
    for trouble in [&connections.trouble, &published.trouble].into_iter().flatten() {
        rows.push(("trouble", trouble.clone()));
    }
    if report.saturated {
        rows.push(("saturated", "the load generator was busy all the time: it may have been what limited the run".into()));
    }
    rows.iter().map(|(name, value)| format!("{name:<18} {value}\n")).collect()
}
