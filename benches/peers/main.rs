//! What a delivery costs here and elsewhere: `benches/peers/run`, or `cargo bench --bench peers` where the other servers are installed already.
//!
//! The same scenarios with each server, one after another, ours between them. `docs/performance.md` has the method, the last results, and what they do not show.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

#[path = "../rig/mod.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod rig;

mod plot;
mod servers;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use rig::{
    Options, Sample, Scenario, Server,
    floor::SOCKETS,
    measure,
    table::{self, COLUMNS, Column},
};

/// Measures the servers and prints tables.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only servers whose name contains this
    #[arg(long, default_value = "")]
    server: String,
    /// Instead of measuring, read what `--json` printed in earlier runs; may be repeated
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Draw the multiples of the floor into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The same for all. Who can't do 100 messages a second is measured with fewer.
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "quiet", load: &["--ws", "1000", "--rate", "{rate}"], sockets: SOCKETS },
    Scenario { name: "W = 4", load: &["--ws", "1000", "--window", "4"], sockets: SOCKETS },
    Scenario { name: "W = 64", load: &["--ws", "1000", "--window", "64"], sockets: SOCKETS },
];

/// One subscriber a message: what a publish costs. Over several groups, because Nchan loses messages when one channel gets some 40,000 in a second.
const PUBLISHING: Scenario = Scenario { name: "publishing", load: &["--ws", "4", "--groups", "4", "--window", "64"], sockets: SOCKETS };

/// What a message to one subscriber costs; what its few connections take of memory says nothing.
const PUBLISHES: &[Column] = &[
    ("CPU, µs a message", |sample| table::server(sample, |server| server.cpu_us_a_delivery), 2),
    ("messages/s", |sample| sample.report.deliveries.per_second, 0),
    ("p50, ms", |sample| sample.report.latency_us.p50 as f64 / 1e3, 2),
    ("p99, ms", |sample| sample.report.latency_us.p99 as f64 / 1e3, 2),
    ("server, % of its core", |sample| table::server(sample, |server| server.cpu_share) * 100.0, 0),
    ("load generator, % of its core", |sample| sample.report.own_cpu_share * 100.0, 0),
];

/// What only other servers lose or need.
const LOST: &[Column] = &[
    ("lost, %", |sample| sample.report.deliveries.lost as f64 / sample.report.deliveries.due.max(1) as f64 * 100.0, 1),
    ("Redis, µs a delivery", |sample| sample.redis_us.unwrap_or(f64::NAN), 2),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if rig::is_floor(&arguments.options)? {
        return Ok(());
    }
    let samples = if arguments.from.is_empty() { measured(&arguments)? } else { read(&arguments.from)? };
    if !arguments.options.json {
        print(&samples);
    }
    if let Some(file) = &arguments.plot {
        std::fs::write(file, plot::svg(&samples)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn measured(arguments: &Arguments) -> anyhow::Result<Vec<Sample>> {
    let servers: Vec<Server> = servers::ALL.iter().filter(|server| server.name.contains(&arguments.server)).copied().collect();
    ensure!(!servers.is_empty(), "--server {}: no server has that in its name", arguments.server);
    for server in servers.iter().filter(|server| !server.is_installed()) {
        eprintln!("{} is left out: it is not installed, and benches/peers/install may say why", server.name);
    }
    let fan_out = SCENARIOS.iter().flat_map(|scenario| servers.iter().map(|server| (*scenario, *server)));
    let publishing = servers.iter().filter(|server| !server.redis).map(|server| (PUBLISHING, *server));
    measure(&arguments.options, &fan_out.chain(publishing).collect::<Vec<_>>())
}

fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for file in files {
        let place = || file.display().to_string();
        for line in std::fs::read_to_string(file).with_context(place)?.lines() {
            samples.push(serde_json::from_str(line).with_context(place)?);
        }
    }
    Ok(samples)
}

fn print(samples: &[Sample]) {
    let fan_out = [COLUMNS, LOST].concat();
    for (scenario, rows) in table::grouped(&samples.iter().collect::<Vec<_>>(), |sample| &sample.scenario) {
        let columns = if scenario == PUBLISHING.name { PUBLISHES } else { &fan_out };
        println!("{}", table::table(scenario, |sample| &sample.server, columns, &rows));
    }
    println!("{}", table::floor_line(samples));
}
