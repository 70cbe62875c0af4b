//! What the benches of deliveries share: two cores, the floor, servers, rounds, the table.
//!
//! Every measurement starts a fresh server on one core and `fanfare load` on another, between two measurements of the floor. Absolute times differ by a factor of
//! two between machines and hours; multiples of a floor of the same minute don't.

pub(crate) mod floor;
mod others;
pub(crate) mod server;
pub(crate) mod table;

use std::process::Command;

use anyhow::{Context as _, ensure};
use fanfare::load::Report;

pub(crate) use server::{FANFARE, Server};

use server::{Cpu, Running};

/// What the benches can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Repetitions of everything; the table shows medians
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Core of the server
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core of the load generator
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Only scenarios whose name contains this
    #[arg(long, default_value = "")]
    pub only: String,
    /// Every figure of every round, as JSON lines, instead of the table
    #[arg(long)]
    pub json: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// What this process is to be, when the bench starts itself
    #[arg(long, hide = true)]
    role: Option<floor::Role>,
    /// With how many sockets it is that
    #[arg(long, hide = true, default_value_t = floor::SOCKETS)]
    sockets: usize,
}

/// What is done to a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub name: &'static str,
    /// Arguments of `fanfare load`, with the places of [`Server`].
    pub load: &'static [&'static str],
    /// Sockets of the floor that it is compared with.
    pub sockets: usize,
}

/// One scenario with one server in one round.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sample {
    pub scenario: String,
    pub server: String,
    /// The scenario, and the server unless it is ours as it always is.
    #[serde(default)]
    pub title: String,
    /// The floor before and after, in µs a send.
    floor_us: [f64; 2],
    /// CPU time of the Redis beside the server, connecting included, in µs a delivery.
    pub redis_us: Option<f64>,
    /// Share of the server's core that others used meanwhile: above a few hundredths, the machine was not idle.
    pub others: f64,
    pub report: Report,
}

impl Sample {
    pub(crate) fn floor(&self) -> f64 {
        (self.floor_us[0] + self.floor_us[1]) / 2.0
    }
}

/// Measures each case in each round, in the order given, so that what is to be compared is measured close together.
pub(crate) fn measure(options: &Options, cases: &[(Scenario, Server)]) -> anyhow::Result<Vec<Sample>> {
    let cases: Vec<_> = cases.iter().filter(|(scenario, server)| scenario.name.contains(&options.only) && server.is_installed()).collect();
    ensure!(!cases.is_empty(), "--only {}: no scenario has that in its name", options.only);
    let mut samples = Vec::new();
    for round in 1..=options.rounds {
        let mut floor: Option<(usize, f64)> = None;
        for (scenario, server) in &cases {
            eprintln!("round {round} of {}: {}, {}", options.rounds, scenario.name, server.name);
            let known = floor.filter(|(sockets, _)| *sockets == scenario.sockets).map(|(_, floor)| Ok(floor));
            let before = known.unwrap_or_else(|| floor::measure(options, scenario.sockets)).context("the floor")?;
            let loaded = load(options, scenario.load, server).with_context(|| format!("{}, {}", scenario.name, server.name))?;
            let (redis_us, Loaded { report, others, .. }) = (loaded.redis_us(), loaded);
            let after = floor::measure(options, scenario.sockets).context("the floor")?;
            let sockets = scenario.sockets;
            let [scenario, server] = [scenario.name, server.name].map(str::to_owned);
            let title = if server == FANFARE.name { scenario.clone() } else { format!("{scenario}, {server}") };
            let sample = Sample { scenario, server, title, floor_us: [before, after], redis_us, others, report };
            if options.json {
                println!("{}", serde_json::to_string(&sample)?);
            }
            samples.push(sample);
            floor = Some((sockets, after));
        }
    }
    Ok(samples)
}

/// What was seen of one run.
pub(crate) struct Loaded {
    pub report: Report,
    /// CPU time of everything on the server's side, connecting included.
    pub used: Cpu,
    others: f64,
}

impl Loaded {
    /// Of the Redis beside the server, in µs a delivery.
    fn redis_us(&self) -> Option<f64> {
        self.used.redis.map(|used| used.as_secs_f64() * 1e6 / self.report.deliveries.received.max(1) as f64)
    }
}

/// Starts the server and loads it with these arguments.
pub(crate) fn load(options: &Options, load: &[&str], server: &Server) -> anyhow::Result<Loaded> {
    let running = Running::start(server, options.server_core)?;
    let (core, before) = (others::Core::read(options.server_core)?, running.cpu()?);
    let mut command = generator(options, &running);
    command.args(["--pid", &running.pid()]).args(running.filled(load)).args(running.filled(server.load));
    let output = command.output().context("taskset (of util-linux) has to be there")?;
    let used = running.cpu()?.since(before);
    let others = core.others(used.sum())?;
    let report: Report = serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(server.name != FANFARE.name || report.is_clean(), "not every message reached everybody once and in order: {report:?}");
    Ok(Loaded { used, others, report })
}

/// The load generator on its core, with what all its runs have in common.
pub(crate) fn generator(options: &Options, running: &Running) -> Command {
    let mut command = pinned(&options.load_core.to_string(), env!("CARGO_BIN_EXE_fanfare"));
    command.args(["load", "--json", "--duration", &options.seconds.to_string()]).env("HOME", running.home());
    command
}

/// A command on these cores.
pub(crate) fn pinned(cores: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores, program]);
    command
}

/// If the bench has started itself to be one end of the floor, is that, and says so.
pub(crate) fn is_floor(options: &Options) -> anyhow::Result<bool> {
    options.role.map_or(Ok(false), |role| floor::play(role, options.sockets).map(|()| true))
}
