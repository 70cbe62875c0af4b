//! A node dies, and all that it had come to the other one at once.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use fanfare::load::Report;

use crate::{
    rig::{
        self, Options,
        server::Running,
        table::{Column, table},
    },
    servers::KEEPING,
};

/// Five thousand clients that come back when they like, all at once.
#[rustfmt::skip]
const LOAD: &[&str] = &[
    "--ws", "5000", "--ramp", "2500", "--handshakes", "5000", "--resume",
    "--url", "http://127.0.0.1:{port}", "--failover", "http://127.0.0.1:{port3}", "--publish-url", "http://127.0.0.1:{port3}",
];

/// Ten messages a second in either case, to everybody or to a five hundredth of them each.
const STORMS: &[(&str, &[&str])] =
    &[("storm: 5,000 in one group", &["--rate", "10"]), ("storm: 5,000 in 500 groups of 10", &["--rate", "500", "--groups", "500"])];

/// Longest wait until messages are delivered.
const START: Duration = Duration::from_secs(60);

/// One node's death.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Storm {
    scenario: String,
    report: Report,
    /// What the surviving node asked of Redis from the death to the end of the run: scripts and subscriptions, without publishing.
    asked: f64,
    /// CPU time of the surviving node in that time.
    node: Duration,
    /// And of Redis.
    redis: Duration,
}

const CLIENTS: f64 = 5000.0;

const COLUMNS: &[Column<Storm>] = &[
    ("back", |storm| storm.report.connections.moved as f64, 0),
    ("lost", |storm| storm.report.deliveries.lost as f64, 0),
    ("told", |storm| storm.report.deliveries.told as f64, 0),
    ("repeated", |storm| storm.report.deliveries.duplicated as f64, 0),
    ("recovered", |storm| storm.report.deliveries.recovered as f64, 0),
    ("back after, p50, ms", |storm| storm.report.connections.back_us.p50 as f64 / 1e3, 0),
    ("p99, ms", |storm| storm.report.connections.back_us.p99 as f64 / 1e3, 0),
    ("max, ms", |storm| storm.report.connections.back_us.max as f64 / 1e3, 0),
    ("latest message, ms", |storm| storm.report.latency_us.max as f64 / 1e3, 0),
    ("Redis commands a client", |storm| storm.asked / CLIENTS, 2),
    ("node, CPU µs a client", |storm| storm.node.as_secs_f64() * 1e6 / CLIENTS, 0),
    ("Redis, CPU µs a client", |storm| storm.redis.as_secs_f64() * 1e6 / CLIENTS, 0),
    ("load generator, % of its core", |storm| storm.report.own_cpu_share * 100.0, 0),
];

/// Lets a node die in each round.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Storm>> {
    let mut storms = Vec::new();
    for round in 1..=options.rounds {
        for (name, load) in STORMS.iter().filter(|(name, _)| name.contains(&options.only)) {
            eprintln!("round {round} of {}: {name}", options.rounds);
            let storm = one(options, name, load).context(*name)?;
            if options.json {
                println!("{}", serde_json::to_string(&storm)?);
            }
            storms.push(storm);
        }
    }
    Ok(storms)
}

fn one(options: &Options, name: &str, load: &[&str]) -> anyhow::Result<Storm> {
    let mut running = Running::start(&KEEPING, options.server_core)?;
    let ports = running.filled(&["{port}", "{redis}"]);
    let mut generator = rig::generator(options, &running);
    generator.args(running.filled(LOAD)).args(load);
    let generator = generator.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn()?;
    until_delivered(&ports[0])?;
    let before = (asked(&ports[1])?, running.cpu()?);
    running.kill()?;
    let output = generator.wait_with_output()?;
    let after = (asked(&ports[1])?, running.cpu()?);
    let report: Report = serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(report.is_clean(), "not everybody came back and got everything once and in order: {report:?}");
    let used = after.1.since(before.1);
    Ok(Storm {
        scenario: name.to_owned(),
        report,
        asked: (after.0 - before.0) as f64,
        node: used.beside.unwrap_or_default(),
        redis: used.redis.unwrap_or_default(),
    })
}

#[expect(clippy::disallowed_methods, reason = "another program is waited for")]
fn until_delivered(port: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let metrics = ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let delivered = metrics.lines().find_map(|line| line.strip_prefix("fanfare_events_delivered_total "));
        if delivered.is_some_and(|count| count != "0") {
            return Ok(());
        }
        ensure!(begin.elapsed() < START, "nothing is delivered after {START:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What nodes have asked of the Redis besides publishing. Every publish is a script that publishes; what else scripts do is not counted.
fn asked(port: &str) -> anyhow::Result<i64> {
    let text = ask(port, b"INFO commandstats\r\nQUIT\r\n")?;
    let calls = |name: &str| -> anyhow::Result<i64> {
        let found = text.lines().find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(name)?.strip_prefix(":calls="));
        Ok(found.and_then(|rest| rest.split(',').next()).map_or(Ok(0), str::parse)?)
    };
    Ok(calls("evalsha")? + calls("eval")? + calls("subscribe")? + calls("unsubscribe")? - calls("publish")?)
}

fn ask(port: &str, question: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    stream.write_all(question)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Prints medians over the rounds.
pub(crate) fn print(storms: &[Storm]) {
    if !storms.is_empty() {
        println!("{}", table("a node dies", |storm: &Storm| &storm.scenario, COLUMNS, &storms.iter().collect::<Vec<_>>()));
    }
}
