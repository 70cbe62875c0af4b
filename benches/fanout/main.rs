//! What a delivery costs: `cargo bench --bench fanout`.
//!
//! Our own server over each of its transports against the floor. `docs/performance.md` has the method and the last results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

#[path = "../rig/mod.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod rig;
mod wtransport;

use clap::Parser as _;
use rig::{FANFARE, Options, Scenario, Server, floor::SOCKETS, measure, table, table::COLUMNS};

/// Measures the server against the floor and prints a table.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Port on which this process is to be the plain server, when the bench starts itself
    #[arg(long, hide = true)]
    wtransport: Option<u16>,
}

/// 100 messages a second: nothing can be coalesced. A window: as much as the server can do with so many messages under way.
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "WebSocket, 1,000, quiet", load: &["--ws", "1000", "--rate", "100"], sockets: SOCKETS },
    Scenario { name: "WebSocket, 1,000, W = 4", load: &["--ws", "1000", "--window", "4"], sockets: SOCKETS },
    Scenario { name: "WebSocket, 1,000, W = 64", load: &["--ws", "1000", "--window", "64"], sockets: SOCKETS },
    Scenario { name: "secure WebSocket, 1,000, quiet", load: &["--wss", "1000", "--rate", "100"], sockets: SOCKETS },
    Scenario { name: "secure WebSocket, 1,000, W = 64", load: &["--wss", "1000", "--window", "64"], sockets: SOCKETS },
    Scenario { name: "WebTransport, 500, quiet", load: &["--wt", "500", "--rate", "100"], sockets: SOCKETS },
    Scenario { name: "WebTransport, 500, W = 4", load: &["--wt", "500", "--window", "4"], sockets: SOCKETS },
    Scenario { name: "WebTransport, 500, W = 64", load: &["--wt", "500", "--window", "64"], sockets: SOCKETS },
];

/// A hundred thousand deliveries a second, whatever they are divided among: what a delivery costs must not depend on that.
const GROWTH: &[Scenario] = &[
    Scenario { name: "growth: 100 connections", load: &["--ws", "100", "--rate", "1000"], sockets: 100 },
    Scenario { name: "growth: 1,000 connections", load: &["--ws", "1000", "--rate", "100"], sockets: SOCKETS },
    Scenario { name: "growth: 5,000 connections", load: &["--ws", "5000", "--rate", "20", "--ramp", "2500"], sockets: 5_000 },
    Scenario { name: "growth: 15,000 connections", load: &["--ws", "15000", "--rate", "6.667", "--ramp", "2500"], sockets: 15_000 },
    Scenario {
        name: "growth: 1,000 connections in 10 groups",
        load: &["--ws", "1000", "--groups", "10", "--rate", "1000"],
        sockets: SOCKETS,
    },
    Scenario { name: "growth: 1 connection in 1 group", load: &["--ws", "1", "--rate", "10000"], sockets: SOCKETS },
    Scenario { name: "growth: 1,000 connections in 1 group each", load: GROUP_EACH, sockets: SOCKETS },
    Scenario { name: "growth: 1,000 connections in 100 groups each", load: HUNDRED_GROUPS_EACH, sockets: SOCKETS },
    Scenario {
        name: "growth: 1,000 connections in 100 groups",
        load: &["--ws", "1000", "--groups", "100", "--rate", "10000"],
        sockets: SOCKETS,
    },
];

/// Connections that come and stay, at ours and at [`wtransport`]: what a connect costs, with nothing else.
const CONNECTING: Scenario =
    Scenario { name: "connecting: 500 WebTransport", load: &["--wt", "500", "--publish-by", "none"], sockets: SOCKETS };

/// wtransport as its own example uses it.
const PLAIN: Server = Server { name: "plain wtransport", command: &["{bench}", "--wtransport", "{port}"], environment: &[], ..FANFARE };

/// The same with one worker and with two, where both have both cores and share one of them with the load generator.
const WORKERS: Scenario = Scenario { name: "workers: WebSocket, 1,000, quiet", load: &["--ws", "1000", "--rate", "100"], sockets: SOCKETS };

const ONE_WORKER: Server = Server { name: "fanfare, one worker", cores: Some("0-1"), ..FANFARE };

const TWO_WORKERS: Server = Server {
    name: "fanfare, two workers",
    #[rustfmt::skip]
    command: &[
        env!("CARGO_BIN_EXE_fanfare"), "dev", "--workers", "2",
        "--http", "127.0.0.1:{port}", "--secure", "127.0.0.1:{port2}", "--quic", "127.0.0.1:{port2}",
    ],
    ..ONE_WORKER
};

/// Each message to one subscriber: publishing is most of it, and the groups are what grows, from 1,000 to 100,000.
const GROUP_EACH: &[&str] = &["--ws", "1000", "--groups", "1000", "--rate", "10000"];

const HUNDRED_GROUPS_EACH: &[&str] = &["--ws", "1000", "--groups", "100000", "--groups-each", "100", "--rate", "10000"];

fn main() -> anyhow::Result<()> {
    let Arguments { options, wtransport } = Arguments::parse();
    if let Some(port) = wtransport {
        return wtransport::serve(port);
    }
    if rig::is_floor(&options)? {
        return Ok(());
    }
    let ours = SCENARIOS.iter().chain(GROWTH).map(|scenario| (*scenario, FANFARE));
    let beside = [(CONNECTING, FANFARE), (CONNECTING, PLAIN), (WORKERS, ONE_WORKER), (WORKERS, TWO_WORKERS)];
    let samples = measure(&options, &ours.chain(beside).collect::<Vec<_>>())?;
    if !options.json {
        let rows: Vec<_> = samples.iter().collect();
        println!("{}\n{}", table::table("scenario", |sample| &sample.title, COLUMNS, &rows), table::floor_line(&samples));
    }
    Ok(())
}
