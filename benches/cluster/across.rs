//! Published at one node, followed at the other.

use anyhow::{Context as _, ensure};

use crate::{
    rig::{
        self, Loaded, Options, Server,
        table::{Column, median, table},
    },
    servers::{BARE, FORGETTING, KEEPING},
};

/// How many follow one group, and how many connections publish to it. HTTP answers one request after the other, so a single connection
/// publishes one message a round trip.
const PEOPLE: &[People] = &[
    People { name: "1 publisher, 1 subscriber", publishers: "1", followers: "1" },
    People { name: "64 publishers, 1 subscriber", publishers: "64", followers: "1" },
    People { name: "64 publishers, 100 subscribers", publishers: "64", followers: "100" },
    People { name: "64 publishers, 1,000 subscribers", publishers: "64", followers: "1000" },
];

struct People {
    name: &'static str,
    publishers: &'static str,
    followers: &'static str,
}

/// So many messages are under way where as much as possible is to come through.
const WINDOW: &[&str] = &["--window", "64"];

/// One run.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Across {
    scenario: String,
    /// Messages a second.
    messages: f64,
    /// Of the bare Redis in this round.
    of_bare: f64,
    p50_ms: f64,
    p99_ms: f64,
    p99_of_bare: f64,
    /// CPU time of the node that is followed, or of the bare Redis, of a delivery.
    node_us: f64,
    /// Of the publishing node, of a message.
    publisher_us: f64,
    /// Of the Redis beside nodes, of a message.
    redis_us: f64,
    /// Shares of cores.
    busy: [f64; 2],
}

const COLUMNS: &[Column<Across>] = &[
    ("messages/s", |run| run.messages, 0),
    ("% of bare", |run| run.of_bare * 100.0, 0),
    ("p50, ms", |run| run.p50_ms, 2),
    ("p99, ms", |run| run.p99_ms, 2),
    ("× bare", |run| run.p99_of_bare, 2),
    ("followed, µs a delivery", |run| run.node_us, 2),
    ("published to, µs a message", |run| run.publisher_us, 2),
    ("Redis, µs a message", |run| run.redis_us, 2),
    ("servers, % of their core", |run| run.busy[0] * 100.0, 0),
    ("load generator, % of its core", |run| run.busy[1] * 100.0, 0),
];

/// As much as comes through, and half of what came through the nodes: the bare Redis first, so that it can be compared with.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Across>> {
    let mut all = Vec::new();
    for round in 1..=options.rounds {
        for people in PEOPLE.iter().filter(|people| format!("across, {}", people.name).contains(&options.only)) {
            eprintln!("round {round} of {}: across, {}", options.rounds, people.name);
            let full = three(options, people, "as much as possible", WINDOW)?;
            let least = full.iter().map(|run| run.messages).fold(f64::MAX, f64::min);
            let half = format!("{:.0}", (least / 2.0).max(1.0));
            all.extend(full);
            all.extend(three(options, people, "half of that", &["--rate", &half])?);
        }
    }
    if options.json {
        for run in &all {
            println!("{}", serde_json::to_string(run)?);
        }
    }
    Ok(all)
}

fn three(options: &Options, people: &People, load: &str, pace: &[&str]) -> anyhow::Result<Vec<Across>> {
    let mut runs: Vec<Across> = Vec::new();
    for server in [&BARE, &FORGETTING, &KEEPING] {
        let scenario = format!("{}, {load}: {}", people.name, server.name);
        let run = one(options, people, server, pace).with_context(|| scenario.clone())?;
        let bare = runs.first().map_or((run.messages, run.p99_ms), |bare| (bare.messages, bare.p99_ms));
        runs.push(Across { scenario, of_bare: run.messages / bare.0, p99_of_bare: run.p99_ms / bare.1, ..run });
    }
    Ok(runs)
}

fn one(options: &Options, people: &People, server: &Server, pace: &[&str]) -> anyhow::Result<Across> {
    let wire = if server.redis { "--ws" } else { "--tcp" };
    let arguments = [&[wire, people.followers, "--publishers", people.publishers], pace].concat();
    let Loaded { report, used, .. } = rig::load(options, &arguments, server)?;
    ensure!(report.is_clean(), "not every message reached everybody once and in order: {report:?}");
    let (received, sent) = (report.deliveries.received.max(1) as f64, report.published.sent.max(1) as f64);
    let us = |used: Option<std::time::Duration>, by: f64| used.map_or(f64::NAN, |used| used.as_secs_f64() * 1e6 / by);
    let seconds = received / report.deliveries.per_second;
    Ok(Across {
        scenario: String::new(),
        messages: report.deliveries.per_second * sent / received,
        of_bare: 1.0,
        p50_ms: report.latency_us.p50 as f64 / 1e3,
        p99_ms: report.latency_us.p99 as f64 / 1e3,
        p99_of_bare: 1.0,
        node_us: report.server.map_or(f64::NAN, |server| server.cpu_us_a_delivery),
        publisher_us: us(used.beside, sent),
        redis_us: us(used.redis, sent),
        busy: [used.sum().as_secs_f64() / seconds, report.own_cpu_share],
    })
}

/// Prints medians over the rounds.
pub(crate) fn print(runs: &[Across]) {
    if runs.is_empty() {
        return;
    }
    println!("{}", table("across nodes", |run: &Across| &run.scenario, COLUMNS, &runs.iter().collect::<Vec<_>>()));
    let mut cost: Vec<(f64, f64)> = Vec::new();
    for trio in runs.chunks_exact(3).step_by(2) {
        cost.push((trio[1].messages, trio[2].messages));
    }
    let kept = median(cost.iter().map(|(forgetting, keeping)| keeping / forgetting).collect());
    println!("With history as many messages as {:.0} % of those without.\n", kept * 100.0);
}
