//! What a delivery costs: `cargo bench --bench fanout`.
//!
//! Starts the server in a process of its own on one core and `fanfare load` on another, once for each scenario and round, with a fresh server each time. Before
//! and after every scenario it measures the floor: a loop that does nothing but send the same bytes to as many sockets. Absolute times differ by a factor of two
//! between machines and hours; multiples of a floor of the same minute don't. `docs/performance.md` has the method and the last results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

mod floor;
mod server;
mod table;

use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use fanfare::load::Report;

/// Measures the server against the floor and prints a table.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Repetitions of everything; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load generator
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Only scenarios whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Every figure of every round, as JSON lines, instead of the table
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// What this process is to be, when the bench starts itself
    #[arg(long, hide = true)]
    role: Option<floor::Role>,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    name: &'static str,
    /// Arguments of `fanfare load`.
    load: &'static [&'static str],
}

/// 100 messages a second: nothing can be coalesced. A window: as much as the server can do with so many messages under way.
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "WebSocket, 1,000, quiet", load: &["--ws", "1000", "--rate", "100"] },
    Scenario { name: "WebSocket, 1,000, W = 4", load: &["--ws", "1000", "--window", "4"] },
    Scenario { name: "WebSocket, 1,000, W = 64", load: &["--ws", "1000", "--window", "64"] },
    Scenario { name: "secure WebSocket, 1,000, quiet", load: &["--wss", "1000", "--rate", "100"] },
    Scenario { name: "secure WebSocket, 1,000, W = 64", load: &["--wss", "1000", "--window", "64"] },
    Scenario { name: "WebTransport, 500, quiet", load: &["--wt", "500", "--rate", "100"] },
    Scenario { name: "WebTransport, 500, W = 4", load: &["--wt", "500", "--window", "4"] },
    Scenario { name: "WebTransport, 500, W = 64", load: &["--wt", "500", "--window", "64"] },
];

/// One scenario in one round.
#[derive(Debug, serde::Serialize)]
struct Sample {
    scenario: &'static str,
    /// The floor before and after, in µs a send.
    floor_us: [f64; 2],
    report: Report,
}

impl Sample {
    fn floor(&self) -> f64 {
        (self.floor_us[0] + self.floor_us[1]) / 2.0
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(role) = options.role {
        return floor::play(role);
    }
    let mut samples = Vec::new();
    for round in 1..=options.rounds {
        let mut before = floor::measure(&options).context("the floor")?;
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&options.only)) {
            eprintln!("round {round} of {}: {}", options.rounds, scenario.name);
            let report = run(&options, scenario).with_context(|| scenario.name)?;
            let after = floor::measure(&options).context("the floor")?;
            let sample = Sample { scenario: scenario.name, floor_us: [before, after], report };
            if options.json {
                println!("{}", serde_json::to_string(&sample)?);
            }
            samples.push(sample);
            before = after;
        }
    }
    ensure!(!samples.is_empty(), "--only {}: no scenario has that in its name", options.only);
    if !options.json {
        print!("{}", table::table(&samples));
    }
    Ok(())
}

fn run(options: &Options, scenario: &Scenario) -> anyhow::Result<Report> {
    let server = server::Server::start(options.server_core)?;
    let mut load = pinned(options.load_core, env!("CARGO_BIN_EXE_fanfare"));
    load.args(["load", "--json", "--url", &server.url, "--duration", &options.seconds.to_string()]).args(scenario.load);
    load.env("HOME", server.home.path()).args(["--pid", &server.pid()]);
    let output = load.output().context("taskset")?;
    let report: Report = serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(report.is_clean(), "not every message reached everybody once and in order: {report:?}");
    Ok(report)
}

/// A command on one core.
fn pinned(core: usize, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}
