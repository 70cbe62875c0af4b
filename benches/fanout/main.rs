//! What a delivery costs: `cargo bench --bench fanout`.
//!
//! Our own server over each of its transports against the floor. `docs/performance.md` has the method and the last results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

#[path = "../rig/mod.rs"]
mod rig;

use clap::Parser as _;
use rig::{COLUMNS, FANFARE, Options, Scenario, measure, table};

/// Measures the server against the floor and prints a table.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
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

/// A hundred thousand deliveries a second, whatever they are divided among: what a delivery costs must not depend on that.
const GROWTH: &[Scenario] = &[
    Scenario { name: "growth: 100 connections", load: &["--ws", "100", "--rate", "1000"] },
    Scenario { name: "growth: 1,000 connections", load: &["--ws", "1000", "--rate", "100"] },
    Scenario { name: "growth: 5,000 connections", load: &["--ws", "5000", "--rate", "20", "--ramp", "2500"] },
    Scenario { name: "growth: 15,000 connections", load: &["--ws", "15000", "--rate", "6.667", "--ramp", "2500"] },
    Scenario { name: "growth: 1,000 connections in 10 groups", load: &["--ws", "1000", "--groups", "10", "--rate", "1000"] },
    Scenario { name: "growth: 1,000 connections in 100 groups", load: &["--ws", "1000", "--groups", "100", "--rate", "10000"] },
];

fn main() -> anyhow::Result<()> {
    let Arguments { options } = Arguments::parse();
    if rig::is_floor(&options)? {
        return Ok(());
    }
    let cases: Vec<_> = SCENARIOS.iter().chain(GROWTH).map(|scenario| (*scenario, FANFARE)).collect();
    let samples = measure(&options, &cases)?;
    if !options.json {
        let rows: Vec<_> = samples.iter().collect();
        println!("{}\n{}", table::table("scenario", |sample| &sample.scenario, COLUMNS, &rows), table::floor_line(&samples));
    }
    Ok(())
}
