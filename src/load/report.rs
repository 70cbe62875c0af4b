//! What a run found.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Run, process::Usage, publisher::Counts};

/// The load generator's thread was busy for more than this share of the time: it may have been what limited the run.
const SATURATED: f64 = 0.9;

/// Percentiles in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half were at most this.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p99_9: u64,
    /// The largest.
    pub max: u64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max: histogram.max() }
    }
}

/// How connecting went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Subscribers that followed their group.
    pub connected: usize,
    /// Subscribers that could not connect.
    pub failed: usize,
    /// Subscribers whose connection ended during the run.
    pub ended: usize,
    /// From the first packet until the group was followed.
    pub connect_us: Percentiles,
    /// What one of those that failed or ended was told.
    pub trouble: Option<String>,
}

/// How publishing went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Messages sent to the server.
    pub sent: u64,
    /// Those that it accepted.
    pub accepted: u64,
    /// Those that it refused.
    pub refused: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
    /// What the first refusal, or the end of the publisher's connection, said.
    pub trouble: Option<String>,
}

/// What became of every delivery that was due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Messages times those who followed their group.
    pub due: u64,
    /// Came, each counted once.
    pub received: u64,
    /// Did not come.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Came to somebody who does not follow the group.
    pub strayed: u64,
    /// Received a second, over the whole run.
    pub per_second: f64,
}

/// From when a message was due until it was received.
pub type Latency = Percentiles;

/// What the server's process used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// CPU time of a delivery, in µs, publishing included.
    pub cpu_us_a_delivery: f64,
    /// CPU time of a connection from the first packet until the group was followed, in µs.
    pub cpu_us_a_connect: f64,
    /// Resident bytes that a connection added, before anything was sent.
    pub bytes_a_connection_idle: f64,
    /// The same after the run.
    pub bytes_a_connection_busy: f64,
    /// Share of a core while messages were sent.
    pub cpu_share: f64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How connecting went.
    pub connections: Connections,
    /// How publishing went.
    pub published: Published,
    /// What became of every delivery.
    pub deliveries: Deliveries,
    /// From due to received.
    pub latency_us: Latency,
    /// What the server used, if its process was named.
    pub server: Option<ServerUse>,
    /// Share of a core that the load generator itself used.
    pub own_cpu_share: f64,
    /// CPU time of the load generator for a delivery, in µs.
    pub own_cpu_us_a_delivery: f64,
    /// The load generator itself may have been what limited the run.
    pub saturated: bool,
}

impl Report {
    /// Whether all that was due came, once, in order, to everybody who should have been there.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Deliveries { lost, duplicated, reordered, strayed, .. } = self.deliveries;
        let Connections { failed, ended, .. } = self.connections;
        lost + duplicated + reordered + strayed + self.published.refused == 0 && failed + ended == 0 && self.published.trouble.is_none()
    }
}

/// What was read off during a run.
pub(super) struct Account {
    pub before: Option<Usage>,
    pub connected: Option<Usage>,
    pub idle: Option<Usage>,
    pub quiet: Option<Usage>,
    pub busy: Option<Usage>,
    pub own_cpu: Duration,
    pub sent: Duration,
    pub elapsed: Duration,
    pub answers: Counts,
    pub trouble: Option<String>,
}

pub(super) fn report(run: &Run<'_>, account: Account) -> Report {
    let deliveries = deliveries(run, account.elapsed);
    let received = deliveries.received.max(1) as f64;
    let own_cpu_share = account.own_cpu.as_secs_f64() / account.elapsed.as_secs_f64();
    Report {
        connections: connections(run),
        server: server(run, &account, received),
        published: Published {
            sent: run.published.borrow().iter().sum(),
            accepted: account.answers.accepted,
            refused: account.answers.refused,
            seconds: account.sent.as_secs_f64(),
            trouble: account.trouble.or(account.answers.trouble),
        },
        deliveries,
        latency_us: Percentiles::from(&*run.tally.latency.borrow()),
        own_cpu_share,
        own_cpu_us_a_delivery: account.own_cpu.as_secs_f64() * 1e6 / received,
        saturated: own_cpu_share > SATURATED,
    }
}

fn connections(run: &Run<'_>) -> Connections {
    let (failures, ended) = (run.failures.borrow(), run.ended.borrow());
    Connections {
        connected: run.members.borrow().len(),
        failed: failures.len(),
        ended: ended.len(),
        connect_us: Percentiles::from(&*run.connect_us.borrow()),
        trouble: failures.iter().chain(ended.iter()).next().map(ToString::to_string),
    }
}

fn deliveries(run: &Run<'_>, elapsed: Duration) -> Deliveries {
    let published = run.published.borrow();
    let strayed = run.tally.strayed.get();
    let mut sum = Deliveries { due: run.due(), received: 0, lost: 0, duplicated: 0, reordered: 0, strayed, per_second: 0.0 };
    for member in run.members.borrow().iter() {
        let ledger = member.ledger.borrow();
        sum.received += ledger.received;
        sum.lost += ledger.lost(published[member.stream() as usize]);
        sum.duplicated += ledger.duplicated;
        sum.reordered += ledger.reordered;
    }
    sum.per_second = sum.received as f64 / elapsed.as_secs_f64();
    sum
}

fn server(run: &Run<'_>, account: &Account, received: f64) -> Option<ServerUse> {
    let Account { before: Some(before), connected: Some(connected), idle: Some(idle), quiet: Some(quiet), busy: Some(busy), .. } = account
    else {
        return None;
    };
    let connections = run.members.borrow().len().max(1) as f64;
    let cpu = |from: &Usage, to: &Usage| to.cpu.saturating_sub(from.cpu).as_secs_f64();
    let grown = |to: &Usage| (to.resident as f64 - before.resident as f64) / connections;
    Some(ServerUse {
        cpu_us_a_delivery: cpu(quiet, busy) * 1e6 / received,
        cpu_us_a_connect: cpu(before, connected) * 1e6 / connections,
        bytes_a_connection_idle: grown(idle),
        bytes_a_connection_busy: grown(busy),
        cpu_share: cpu(quiet, busy) / account.elapsed.as_secs_f64(),
    })
}
