//! The load generator: many connections, publishers, and an account of every message, against any server that a profile describes.
//!
//! It runs on one thread, so that it can be given a core of its own and the server another. It knows `client` and `protocol`, and no
//! more of the server than any other client does. Its invariant: every delivery that was due to a connection ends in exactly one of
//! received, lost or told by a gap, and every arrival in exactly one of received, duplicated or strayed.
//!
//! - [`profile`]: how a kind of server speaks; no I/O
//! - `plan`: what to do; `way`: where to; `limits`: whether this process may
//! - `websocket`, `connection`: cheap wires and what is said on them; `life`: connections that come, stay, go and come back
//! - `publisher`, `pace`: publishing, and when
//! - [`relay`]: a bad network between subscribers and server
//! - `marker`, `ledger`, `member`, `tally`: the account
//! - `run`: everything together; `clock`, `process`: what is measured beside it; `report`, `page`, `claim`: what was found

mod claim;
mod clock;
mod connection;
mod ledger;
mod life;
mod limits;
mod marker;
mod member;
mod pace;
mod page;
mod plan;
mod process;
pub mod profile;
mod publisher;
pub mod relay;
mod report;
mod run;
mod tally;
mod way;
mod websocket;

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

pub use claim::Claim;
pub use ledger::{Arrival, Ledger};
pub use limits::make_room;
pub use marker::{MARKER_BYTES, Marker, marks};
pub use page::page;
pub use plan::{By, Pace, Plan, Publish, Sizes, Spread};
pub use process::{Process, ThreadTime, Usage};
pub use report::{Connections, Deliveries, Latency, Percentiles, Published, Report, Sample, ServerUse};
pub use run::{Progress, run};
pub use way::{Transport, Way};

use crate::client::Error as ClientError;

/// When nothing has come for so long, what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a publisher may take to be let in, or a server to take some of what a publisher has to say.
const PUBLISHER_DEADLINE: Duration = Duration::from_secs(15);

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one connection could be made.
    #[error("none of {wanted} connections could be made: {last}")]
    NoConnection {
        /// How many there should have been.
        wanted: usize,
        /// What the last one was told.
        last: Failure,
    },
    /// Nobody takes publishes.
    #[error("can't publish: {0}")]
    Publisher(Failure),
    /// The server's process can't be measured.
    #[error("process {pid} can't be measured: {reason}")]
    Process {
        /// Its number.
        pid: u32,
        /// What the system said.
        reason: String,
    },
    /// This process may not open enough files.
    #[error(
        "this run needs {needed} open files and {allowed} are allowed at most: raise the hard limit (as root `ulimit -Hn {needed}` before it, or \
         LimitNOFILE={needed} in a systemd unit, or nofile in /etc/security/limits.conf)"
    )]
    OpenFiles {
        /// How many it needs.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A number or name is out of its bounds.
    #[error("{0}")]
    Plan(String),
}

/// Why a connection can't be made or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was never there.
    #[error("connecting to {to} failed: {reason}")]
    Connect {
        /// Host and port.
        to: String,
        /// What was in the way.
        reason: String,
    },
    /// It has ended.
    #[error("the connection ended: {0}")]
    Closed(#[from] io::Error),
    /// The client says so.
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "some servers want requests to be signed with the time")]
fn wall() -> SystemTime {
    SystemTime::now()
}

fn unix_seconds() -> u64 {
    wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
