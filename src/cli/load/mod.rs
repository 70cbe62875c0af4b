//! `fanfare load`: connections and publishers against a server, and an account of every message.

mod command_line;
mod network;
mod show;
mod ways;

use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use super::{Failure, api_key, env};
use crate::load::{By, Claim, Error, Pace, Plan, Process, Publish, Report, Sizes, Spread, Transport, page, profile::Kind, run};

/// Loads a server.
///
/// `docs/load.md` has an example of every option and says how each figure is defined.
#[derive(Debug, clap::Args)]
pub struct Load {
    #[command(flatten)]
    ways: ways::Reach,
    /// Connections that follow nothing and only stay
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Connections")]
    idle: usize,
    /// Share of the subscribers that reads slowly, such as 5%; nothing is due to them
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share, help_heading = "Connections")]
    slow: f64,
    /// Bytes a second that a slow reader takes
    #[arg(long, value_name = "BYTES", default_value_t = 1000, help_heading = "Connections")]
    slow_rate: u32,
    /// Share of the subscribers that stops reading once it follows
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share, help_heading = "Connections")]
    stopped: f64,
    /// New connections a second
    #[arg(long, value_name = "NUMBER", default_value_t = 500.0, help_heading = "Connections")]
    ramp: f64,
    /// Handshakes that may be under way at once
    #[arg(long, value_name = "NUMBER", default_value_t = 64, help_heading = "Connections")]
    handshakes: usize,
    /// Addresses of 127.0.0.0/8 to connect from [default: one for every 20,000 connections]
    #[arg(long, value_name = "NUMBER", help_heading = "Connections")]
    sources: Option<usize>,
    /// Connections a second that end and come back while messages are published
    #[arg(long, value_name = "NUMBER", help_heading = "Connections")]
    churn: Option<f64>,
    /// Those that come back ask for what they missed
    #[arg(long, help_heading = "Connections")]
    resume: bool,
    /// Groups, over which messages are dealt out in turn
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Groups")]
    groups: usize,
    /// Groups, in a row, that each subscriber follows
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Groups")]
    groups_each: usize,
    /// What the groups' names begin with; the policy that applies decides whether history is kept
    #[arg(long, value_name = "NAME", default_value = "load", help_heading = "Groups")]
    prefix: String,
    /// How subscribers are dealt out to groups: even, zipf or zipf:EXPONENT
    #[arg(long, value_name = "SPREAD", default_value = "even", help_heading = "Groups")]
    spread: Spread,
    /// How messages are published [default: http where the profile can, else client; none with nothing but idle connections]
    #[arg(long, value_enum, value_name = "WAY", help_heading = "Publishing")]
    publish_by: Option<PublishBy>,
    /// Where to publish [default: --url for http, where the first subscribers are for client, redis://127.0.0.1:6379 for redis]
    #[arg(long, value_name = "URL", help_heading = "Publishing")]
    publish_url: Option<String>,
    /// Connections that publish, in turn
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Publishing")]
    publishers: u32,
    /// With --publish-by redis: the channel of a group
    #[arg(long, value_name = "TEMPLATE", default_value = "{group}", help_heading = "Publishing")]
    redis_channel: String,
    /// With --publish-by redis: what is published
    #[arg(long, value_name = "TEMPLATE", default_value = "{payload}", help_heading = "Publishing")]
    redis_message: String,
    /// Messages a second, however fast the server is; latency counts from when each was due
    #[arg(long, value_name = "NUMBER", default_value_t = 100.0, conflicts_with = "window", help_heading = "Publishing")]
    rate: f64,
    /// Instead of a rate: so many messages that not everybody has received yet
    #[arg(long, value_name = "NUMBER", help_heading = "Publishing")]
    window: Option<u64>,
    /// Bytes of a message: 128, 100..2000 (evenly between), or 128:9,4096:1 (nine parts and one)
    #[arg(long, value_name = "BYTES", default_value = "128", help_heading = "Publishing")]
    size: Sizes,
    /// Seconds to publish, or to stay
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, help_heading = "Publishing")]
    duration: f64,
    /// The API key; without it, that of a fanfare development server on this machine [environment: FANFARE_API_KEY]
    #[arg(long, allow_hyphen_values = true, value_name = "KEY", help_heading = "Publishing")]
    api_key: Option<String>,
    #[command(flatten)]
    network: network::Network,
    /// What has to be true of the report, such as 'lost=0,p99<20ms'; then only this decides the exit code
    #[arg(long, value_name = "CLAIMS", value_delimiter = ',', help_heading = "Report")]
    assert: Vec<Claim>,
    /// Print the report as JSON
    #[arg(long, help_heading = "Report")]
    json: bool,
    /// Write the report as one page of HTML
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    report: Option<PathBuf>,
    /// The server's process on this machine, to measure what it and its children use
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pid: Option<u32>,
    /// What chance begins with; the same seed deals and chooses the same
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Report")]
    seed: u64,
}

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PublishBy {
    /// By HTTP requests
    Http,
    /// By what a client of the profile says
    Client,
    /// By PUBLISH of Redis
    Redis,
    /// Nobody publishes
    None,
}

/// Ctrl-C, or being asked to end. Where signals can't be listened to, they end the process as usual.
async fn interrupted() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let terminated = async {
        match terminate {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// A share, as `0.05` or `5%`.
fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let value: f64 = number.parse().map_err(|_| "has to be a share such as 5% or 0.05".to_owned())?;
    Ok(value / scale)
}

impl Load {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut plan = self.plan().await?;
        let relay = self.network.relay(&mut plan)?;
        let mut live = show::Live::new(std::io::stderr().is_terminal(), self.json);
        let ran = tokio::task::LocalSet::new().run_until(run(&plan, |progress| live.show(&progress), interrupted())).await;
        live.end();
        let mut report = ran.map_err(failure)?;
        report.network = relay.map(|relay| relay.mishaps());
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report).map_err(Failure::running)?);
        } else {
            print!("{}", show::table(&report));
        }
        // A page that can't be written costs nobody what was measured.
        if let Some(path) = &self.report {
            std::fs::write(path, page(&report)).map_err(|error| Failure::running(format!("--report {}: {error}", path.display())))?;
        }
        self.verdict(&report)
    }

    fn verdict(&self, report: &Report) -> Result<(), Failure> {
        let broken: Vec<String> = self.assert.iter().filter_map(|claim| claim.check(report).err()).collect();
        match (self.assert.is_empty(), broken.is_empty()) {
            (true, _) if !report.is_clean() => Err(Failure::running(show::unclean(report))),
            (false, false) => Err(Failure::running(format!("--assert does not hold: {}", broken.join("; ")))),
            _ => Ok(()),
        }
    }

    async fn plan(&self) -> Result<Plan, Failure> {
        let kind = self.ways.profile;
        if self.resume && self.churn.is_none() && !self.ways.has_failover() {
            return Err(Failure::usage("--resume: nobody comes back without --churn or --failover"));
        }
        if matches!(self.publish_by, Some(by) if by != PublishBy::None) && self.ways.subscribers() == 0 {
            return Err(Failure::usage("--publish-by: nobody follows anything: --ws NUMBER, --wss, --wt or --tcp"));
        }
        let publish_by = self.publish_by.unwrap_or(PublishBy::Http);
        let needs_key = kind == Kind::Fanfare && publish_by == PublishBy::Http && self.publishes();
        let key = match &self.api_key {
            None if needs_key => api_key(None)?.expose().into(),
            given => given.clone().or_else(|| env("FANFARE_API_KEY")).unwrap_or_default(),
        };
        let profile = kind.profile(&self.ways.settings(), &key).map_err(Failure::usage)?;
        let ways = self.ways.resolve().await?;
        let duration = Duration::try_from_secs_f64(self.duration);
        let mut plan = Plan {
            profile,
            subscribers: ways.subscribers,
            idle: ways::deal(self.idle, ways.idle),
            failover: ways.failover,
            relayed: false,
            resumes: self.resume,
            slow: self.slow,
            slow_rate: self.slow_rate,
            stopped: self.stopped,
            ramp: self.ramp,
            handshakes: self.handshakes,
            sources: self.sources,
            groups: (0..self.groups).map(|at| format!("{}_{at}", self.prefix)).collect(),
            groups_each: self.groups_each,
            spread: self.spread,
            churn: self.churn,
            publish: None,
            pace: self.window.map_or(Pace::Rate(self.rate), Pace::Window),
            sizes: self.size.clone(),
            duration: duration.map_err(|error| Failure::usage(format!("--duration {}: {error}", self.duration)))?,
            server: self.pid.map(Process),
            seed: self.seed,
            command: command_line::masked(std::env::args()),
        };
        plan.publish = if self.publishes() { self.publish(&plan)? } else { None };
        Ok(plan)
    }

    fn publishes(&self) -> bool {
        self.publish_by != Some(PublishBy::None) && self.ways.subscribers() > 0
    }

    fn publish(&self, plan: &Plan) -> Result<Option<Publish>, Failure> {
        let has_http = plan.profile.request("group", "payload", 0).is_some();
        let asked = self.publish_by.unwrap_or(if has_http { PublishBy::Http } else { PublishBy::Client });
        let at = |scheme: &str, default: &str| self.ways.way(self.publish_url.as_deref().unwrap_or(default), "--publish-url", scheme);
        let (by, profile, way) = match asked {
            PublishBy::None => return Ok(None),
            PublishBy::Http if !has_http => {
                return Err(Failure::usage("--publish-by http: this profile does not publish by HTTP, or needs --set http=PATH"));
            }
            PublishBy::Http => (By::Http, plan.profile.clone(), at("http", &self.ways.url())?),
            PublishBy::Client => (By::Client, plan.profile.clone(), self.client_way(plan)?),
            PublishBy::Redis => {
                let mut settings =
                    vec![("channel".to_owned(), self.redis_channel.clone()), ("message".to_owned(), self.redis_message.clone())];
                settings.extend(self.publish_url.as_deref().and_then(ways::password));
                let profile = Kind::Redis.profile(&settings, "").map_err(Failure::usage)?;
                (By::Client, profile, at("redis", "redis://127.0.0.1:6379")?)
            }
        };
        Ok(Some(Publish { by, profile, way, connections: self.publishers }))
    }

    fn client_way(&self, plan: &Plan) -> Result<crate::load::Way, Failure> {
        if let Some(url) = &self.publish_url {
            return self.ways.way(url, "--publish-url", "");
        }
        let way = plan.subscribers.iter().map(|(way, _)| way).find(|way| way.transport != Transport::Wt);
        way.cloned().ok_or_else(|| Failure::usage("--publish-by client: publishers need ws, wss or tcp: --publish-url ws://…"))
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::NoConnection { .. } | Error::Publisher { .. } => Failure::unreachable(error),
        Error::Process { .. } | Error::Plan(_) | Error::OpenFiles { .. } => Failure::usage(error),
    }
}
