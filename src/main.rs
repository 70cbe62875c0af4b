//! The `fanfare` binary: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use fanfare::cli::Command;

/// Less memory for each connection and less contention between workers than the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(clap::Parser)]
#[command(name = "fanfare", version, about = "Tells a group of browsers something: WebTransport and WebSocket out, one HTTP call in", long_about = None)]
#[command(after_help = "Exit codes: 0 fine, 1 failed while running, 2 usage or configuration, 3 can't bind or reach a dependency.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    Arguments::parse().command.run()
}
