//! What a run found.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    member::Reader,
    process::{ThreadTime, Usage},
    publisher::{Counts, Publisher},
    relay::Mishaps,
    run::Run,
};

/// The load generator's thread was busy, or waited for a core, for more than this share of the time: it may have been what limited the run.
const SATURATED: f64 = 0.9;

/// Percentiles in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half were at most this.
    pub p50: u64,
    /// 9 of 10.
    pub p90: u64,
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
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: histogram.max() }
    }
}

/// How connecting went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections that were made, and followed their group if they have one.
    pub connected: usize,
    /// Those that could not be made.
    pub failed: usize,
    /// Connections that ended during the run although nobody had told them to.
    pub ended: usize,
    /// Those among the connected that follow nothing.
    pub idle: usize,
    /// Those among the connected that read slowly or not at all; nothing is due to them, and they may be ended.
    pub slow: usize,
    /// How often one ended on purpose and came back.
    pub reconnected: u64,
    /// How often one lost its server and followed its group at another again.
    pub moved: u64,
    /// From when it had lost it until then.
    pub back_us: Percentiles,
    /// From the first packet until the group was followed.
    pub connect_us: Percentiles,
    /// What the first of those that failed or ended was told.
    pub trouble: Option<String>,
}

/// How publishing went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Deliveries {
    /// What should have come: each message to each connection that followed its group when it was published, or that came back and asked for it.
    pub due: u64,
    /// Came, each counted once.
    pub received: u64,
    /// Did not come, and the server did not say so.
    pub lost: u64,
    /// Did not come, and the server said so by a gap.
    pub told: u64,
    /// How often it said so.
    pub gaps: u64,
    /// Came although it was published while the connection was away.
    pub recovered: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Came to somebody who does not follow the group.
    pub strayed: u64,
    /// Received a second, over the whole run.
    pub per_second: f64,
    /// Bytes of the messages that were received a second, over the whole run.
    pub bytes_per_second: f64,
}

/// One second of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, in seconds since the run began.
    pub at: f64,
    /// Connections that are there.
    pub connected: usize,
    /// Messages.
    pub published_per_second: f64,
    /// Deliveries.
    pub delivered_per_second: f64,
    /// Deliveries that were passed over up to now and have not come since.
    pub lost: u64,
    /// Median latency in this second, in µs.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// Share of this second in which the load generator was busy, or would have been if it had had a core.
    #[serde(default)]
    pub own_busy: f64,
}

/// A point of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Share of the values that are at most this.
    pub quantile: f64,
    /// In µs.
    pub us: u64,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How the run was asked for, without secrets.
    pub command: String,
    /// How connecting went.
    pub connections: Connections,
    /// How publishing went.
    pub published: Published,
    /// What became of every delivery.
    pub deliveries: Deliveries,
    /// From due to received.
    pub latency_us: Latency,
    /// The same as a curve.
    pub latency_curve: Vec<Point>,
    /// From the first packet until the group was followed, as a curve.
    pub connect_curve: Vec<Point>,
    /// Second by second.
    pub samples: Vec<Sample>,
    /// What the server used, if its process was named.
    pub server: Option<ServerUse>,
    /// Share of a core that the load generator itself used.
    pub own_cpu_share: f64,
    /// CPU time of the load generator for a delivery, in µs.
    pub own_cpu_us_a_delivery: f64,
    /// The load generator itself may have been what limited the run: it was busy all the time, or in some of its seconds.
    pub saturated: bool,
    /// Seconds in which it was.
    #[serde(default)]
    pub saturated_seconds: usize,
    /// What went wrong on the network on purpose, if anything was to.
    pub network: Option<Mishaps>,
    /// What else went wrong: an interruption, a clock that jumped, a publisher that ended.
    pub troubles: Vec<String>,
}

impl Report {
    /// Whether the load generator may have been what limited the run, as a sentence.
    #[must_use]
    pub fn saturation(&self) -> Option<String> {
        let when = if self.saturated_seconds > 0 { format!("in {} seconds", self.saturated_seconds) } else { "all the time".into() };
        self.saturated.then(|| format!("the load generator was busy {when}: it may have been what limited the run"))
    }

    /// Whether all that was due came, once, in order, to everybody who should have been there. Slow readers may be ended.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Deliveries { lost, told, duplicated, reordered, strayed, .. } = self.deliveries;
        let Connections { failed, ended, slow, .. } = self.connections;
        lost + told + duplicated + reordered + strayed + self.published.refused == 0
            && failed == 0
            && ended <= slow
            && self.published.trouble.is_none()
            && self.troubles.is_empty()
    }
}

/// What was read off during a run.
pub(super) struct Account<'a> {
    pub before: Option<Usage>,
    pub connected: Option<Usage>,
    pub idle: Option<Usage>,
    pub quiet: Option<Usage>,
    pub busy: Option<Usage>,
    pub own_cpu: Duration,
    /// The own time until all was sent.
    pub working: ThreadTime,
    pub start: Instant,
    pub sent: Duration,
    pub elapsed: Duration,
    pub publishers: &'a [Publisher],
}

pub(super) fn report(run: &Run<'_>, account: &Account<'_>) -> Report {
    let deliveries = deliveries(run, account.elapsed);
    let received = deliveries.received.max(1) as f64;
    let own_cpu_share = account.own_cpu.as_secs_f64() / account.elapsed.as_secs_f64();
    let saturated_seconds = saturated_seconds(run, account);
    let latency = run.tally.latency();
    Report {
        command: run.plan.command.clone(),
        connections: connections(run),
        server: server(run, account, received),
        published: published(account),
        deliveries,
        latency_us: Percentiles::from(&latency),
        latency_curve: curve(&latency),
        connect_curve: curve(&run.crowd.connect_us.borrow()),
        samples: run.samples.borrow().clone(),
        own_cpu_share,
        own_cpu_us_a_delivery: account.own_cpu.as_secs_f64() * 1e6 / received,
        saturated: saturated_seconds > 0 || account.working.total().as_secs_f64() > SATURATED * account.sent.as_secs_f64(),
        saturated_seconds,
        network: None,
        troubles: run.troubles.borrow().clone(),
    }
}

/// Seconds of publishing in which the load generator was busy all the time.
fn saturated_seconds(run: &Run<'_>, account: &Account<'_>) -> usize {
    let from = (account.start - run.tally.origin).as_secs_f64();
    // The end of the first sample that lies in it as a whole.
    let whole = from + 1.0..=from + account.elapsed.as_secs_f64() + 1.0;
    run.samples.borrow().iter().filter(|sample| whole.contains(&sample.at) && sample.own_busy > SATURATED).count()
}

/// Quantiles ever closer to 1, ten for each further nine.
fn curve(histogram: &Histogram<u64>) -> Vec<Point> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let nines = (histogram.len() as f64).log10().max(1.0);
    let steps = (nines * 10.0).ceil() as u32;
    let quantiles = (0..=steps).map(|step| 1.0 - 10f64.powf(-f64::from(step) / 10.0)).chain([1.0]);
    quantiles.map(|quantile| Point { quantile, us: histogram.value_at_quantile(quantile) }).collect()
}

fn connections(run: &Run<'_>) -> Connections {
    let crowd = &run.crowd;
    let (failures, ended, members) = (crowd.failures.borrow(), crowd.ended.borrow(), crowd.members.borrow());
    let back = crowd.back_us.borrow();
    let count = |wanted: fn(Reader) -> bool| members.iter().filter(|member| wanted(member.reader)).count();
    Connections {
        connected: members.len(),
        failed: failures.len(),
        ended: ended.len(),
        idle: count(|reader| reader == Reader::Idle),
        slow: count(|reader| matches!(reader, Reader::Slow(_) | Reader::Stopped)),
        reconnected: crowd.reconnected.get(),
        moved: back.len(),
        back_us: Percentiles::from(&*back),
        connect_us: Percentiles::from(&*crowd.connect_us.borrow()),
        trouble: failures.iter().chain(ended.iter()).next().map(ToString::to_string),
    }
}

fn published(account: &Account<'_>) -> Published {
    let mut sum = Published { sent: 0, accepted: 0, refused: 0, seconds: account.sent.as_secs_f64(), trouble: None };
    for publisher in account.publishers {
        let (sent, Counts { accepted, refused, trouble, .. }) = publisher.counts();
        sum.sent += sent;
        sum.accepted += accepted;
        sum.refused += refused;
        sum.trouble = sum.trouble.or(trouble);
    }
    sum
}

fn deliveries(run: &Run<'_>, elapsed: Duration) -> Deliveries {
    let (strayed, gaps) = (run.tally.strayed.get(), run.tally.gaps.get());
    let a_second = |count: u64| count as f64 / elapsed.as_secs_f64();
    let mut sum = Deliveries {
        due: 0,
        received: 0,
        lost: 0,
        told: 0,
        gaps,
        recovered: 0,
        duplicated: 0,
        reordered: 0,
        strayed,
        per_second: 0.0,
        bytes_per_second: a_second(run.tally.bytes.get()),
    };
    for member in run.crowd.members.borrow().iter() {
        for ledger in member.ledgers.borrow().iter() {
            sum.duplicated += ledger.duplicated;
            sum.reordered += ledger.reordered;
            if member.reader == Reader::Prompt {
                sum.received += ledger.received;
                sum.recovered += ledger.recovered;
            }
        }
        if member.reader == Reader::Prompt {
            let (lost, told) = member.lost();
            sum.lost += lost;
            sum.told += told;
        }
    }
    sum.due = sum.received + sum.lost + sum.told;
    sum.per_second = a_second(sum.received);
    sum
}

fn server(run: &Run<'_>, account: &Account<'_>, received: f64) -> Option<ServerUse> {
    let Account { before: Some(before), connected: Some(connected), idle: Some(idle), quiet: Some(quiet), busy: Some(busy), .. } = account
    else {
        return None;
    };
    let connections = run.crowd.members.borrow().len().max(1) as f64;
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
