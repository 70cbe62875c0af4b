//! What crosses nodes: `cargo bench --bench cluster`.
//!
//! Two nodes on one real Redis, published to at one and followed at the other, beside bare subscribers of the same kind of Redis; and what
//! happens when a node dies. Needs `redis-server`. `docs/performance.md` has the method and the last results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

#[path = "../rig/mod.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod rig;

mod across;
mod servers;
mod storm;

use clap::Parser as _;
use rig::Options;

/// Measures two nodes against a bare Redis, and a node's death, and prints tables.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> anyhow::Result<()> {
    let Arguments { options } = Arguments::parse();
    let across = across::measure(&options)?;
    let storms = storm::measure(&options)?;
    if !options.json {
        across::print(&across);
        storm::print(&storms);
    }
    Ok(())
}
