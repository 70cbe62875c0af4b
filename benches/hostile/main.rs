//! What strangers cost, and what those who behave notice of them: `cargo bench --bench hostile`.
//!
//! First each kind of stranger alone: CPU time, memory and file descriptors of the server for one of them. Then a thousand quiet subscribers, alone and beside strangers of each kind who come as
//! fast as a core lets them. Strangers share that core with the load generator, at a lower priority, so what they add to latency is an upper bound. `docs/hostile-peers.md` has the last results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

#[path = "../rig/mod.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod rig;
mod strangers;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use fanfare::load::{Process, Report};
use rig::{FANFARE, Options, generator, pinned, server::Running};
use strangers::{Kind, Prey};

/// Strangers of a kind whose cost is measured: fewer than half of the handshakes that a worker has under way at once, so that QUIC asks nobody for a proof of his address.
const COUNTED: usize = 100;

/// Strangers who come at the same time.
const TOGETHER: usize = 16;

#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Which strangers this process is to be, when the bench starts itself
    #[arg(long, hide = true)]
    strangers: Option<Kind>,
    /// The server that they come to
    #[arg(long, hide = true, default_value = "")]
    url: String,
    /// How many come and stay; absent: they come and go without end
    #[arg(long, hide = true)]
    stay: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { options, strangers, url, stay } = Arguments::parse();
    if let Some(kind) = strangers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(tokio::task::LocalSet::new().run_until(be_strangers(kind, &url, stay)));
    }
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.title().contains(&options.only)).collect();
    println!("| a stranger | CPU, µs | memory, KiB | file descriptors |\n| --- | ---: | ---: | ---: |");
    for kind in &kinds {
        println!("{}", cost(&options, *kind)?);
    }
    println!(
        "\n| 1,000 subscribers, 100 messages/s, beside | p50, ms | p99, ms | delivered | strangers/s |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for kind in std::iter::once(None).chain(kinds.into_iter().map(Some)) {
        println!("{}", attack(&options, kind)?);
    }
    Ok(())
}

/// A row of what one stranger costs the server; medians over the rounds.
fn cost(options: &Options, kind: Kind) -> anyhow::Result<String> {
    let (mut cpu, mut memory, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}: {}", options.rounds, kind.title());
        let running = Running::start(&FANFARE, options.server_core)?;
        let process = Process(running.pid().parse()?);
        // What the first ones need is not what one needs.
        drop(Strangers::start(options, &running, kind, Some(COUNTED / 4))?);
        let (before, open) = (process.usage()?, file_descriptors(process)?);
        let strangers = Strangers::start(options, &running, kind, Some(COUNTED))?;
        let (after, opened) = (process.usage()?, file_descriptors(process)?);
        drop(strangers);
        cpu.push((after.cpu - before.cpu).as_secs_f64() * 1e6 / COUNTED as f64);
        memory.push((after.resident as f64 - before.resident as f64) / 1024.0 / COUNTED as f64);
        files.push((opened as f64 - open as f64) / COUNTED as f64);
    }
    let stays = |values: Vec<f64>| if kind.stays() { format!("{:.1}", median(values).max(0.0)) } else { "–".to_owned() };
    Ok(format!("| {} | {:.0} | {} | {} |", kind.title(), median(cpu), stays(memory), stays(files)))
}

/// A row of what subscribers notice; the round with the median p99.
fn attack(options: &Options, kind: Option<Kind>) -> anyhow::Result<String> {
    let title = kind.map_or("nobody", Kind::title);
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}: subscribers beside {title}", options.rounds);
        let running = Running::start(&FANFARE, options.server_core)?;
        let strangers = kind.map(|kind| Strangers::start(options, &running, kind, None)).transpose()?;
        let mut command = generator(options, &running);
        command.args(["--ws", "1000", "--rate", "100"]).args(running.filled(FANFARE.load));
        let output = command.output().context("taskset (of util-linux) has to be there")?;
        let came = strangers.map(Strangers::end).transpose()?.unwrap_or_default();
        let report: Report =
            serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        rounds.push((report, came));
    }
    rounds.sort_by_key(|(report, _)| report.latency_us.p99);
    let worst =
        rounds.iter().map(|(report, _)| report.deliveries.received as f64 / report.deliveries.due.max(1) as f64).fold(1.0, f64::min);
    let (report, came) = &rounds[rounds.len() / 2];
    let ms = |us: u64| us as f64 / 1e3;
    let latency = report.latency_us;
    Ok(format!("| {title} | {:.1} | {:.1} | {:.2} % | {came:.0} |", ms(latency.p50), ms(latency.p99), worst * 100.0))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn file_descriptors(process: Process) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", process.0))?.count())
}

/// Strangers in a process of their own, and what they say; they go when it is dropped.
struct Strangers(Child, BufReader<ChildStdout>);

impl Strangers {
    /// Waits until those who are to stay have come, or the others have begun.
    fn start(options: &Options, running: &Running, kind: Kind, stay: Option<usize>) -> anyhow::Result<Self> {
        let bench = std::env::current_exe()?;
        let name = clap::ValueEnum::to_possible_value(&kind).context("every kind has a name")?;
        let mut command: Command = pinned(&options.load_core.to_string(), "nice");
        command.args(["-n", "5"]).arg(bench).args(["--strangers", name.get_name(), "--url"]);
        command.args(running.filled(&["http://127.0.0.1:{port}"])).args(stay.map(|count| format!("--stay={count}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().context("it was piped")?);
        said.read_line(&mut line)?;
        let strangers = Self(child, said);
        ensure!(line.trim() == "here", "{} could not come", kind.title());
        Ok(strangers)
    }

    /// Tells them to go; how many have come a second.
    fn end(mut self) -> anyhow::Result<f64> {
        drop(self.0.stdin.take());
        let mut rate = String::new();
        self.1.read_line(&mut rate)?;
        rate.trim().parse().context("how many have come a second")
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        // They go when nobody holds the other end of their input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Comes until standard input ends.
async fn be_strangers(kind: Kind, url: &str, stay: Option<usize>) -> anyhow::Result<()> {
    let prey = Prey::find(url).await?;
    let mut staying = Vec::new();
    for _ in 0..stay.unwrap_or_default() {
        staying.push(prey.approach(kind).await?);
    }
    // What they have sent has been looked at before anybody is told.
    tokio::time::sleep(Duration::from_millis(200)).await;
    println!("here");
    let gone = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    if stay.is_some() {
        gone.await?;
        return Ok(());
    }
    let came = std::cell::Cell::new(0u64);
    let one = || async {
        loop {
            // A server that refuses is what the attack is for.
            if prey.approach(kind).await.is_ok() {
                came.set(came.get() + 1);
            }
            tokio::task::yield_now().await;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    let begin = std::time::Instant::now();
    tokio::select! {
        _ = futures_util::future::join_all((0..TOGETHER).map(|_| one())) => {}
        _ = gone => {}
    }
    println!("{}", came.get() as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}
