//! What a person sees: the live line, and the table.

use crate::load::{Deliveries, Percentiles, Progress, Report};

/// One line that is written over while it runs; where nobody watches, one line a second.
#[derive(Debug)]
pub(super) struct Live {
    terminal: bool,
    quiet: bool,
    shown: bool,
}

impl Live {
    /// `terminal`: whether standard error is one. `quiet`: show nothing where it is none.
    pub(super) fn new(terminal: bool, quiet: bool) -> Self {
        Self { terminal, quiet: quiet && !terminal, shown: false }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        if self.quiet {
        } else if self.terminal {
            eprint!("\r\x1b[K{}", line(progress));
            self.shown = true;
        } else {
            eprintln!("{}", line(progress));
        }
    }

    /// Leaves the line.
    pub(super) fn end(&self) {
        if self.shown {
            eprintln!();
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { connected, wanted, last, .. } = progress;
    let (p50, p99) = (ms(last.p50_us), ms(last.p99_us));
    let (published, delivered, lost) = (count(last.published_per_second), count(last.delivered_per_second), last.lost);
    format!("connected {connected}/{wanted}  published {published}/s  received {delivered}/s  p50 {p50}  p99 {p99}  lost {lost}")
}

/// µs as what is easiest to read.
fn ms(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..10_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn count(number: f64) -> String {
    match number {
        number if number >= 1e6 => format!("{:.2}M", number / 1e6),
        number if number >= 1e4 => format!("{:.1}k", number / 1e3),
        number => format!("{number:.0}"),
    }
}

/// Why a run is not clean, as a sentence.
pub(super) fn unclean(report: &Report) -> String {
    let Deliveries { lost, told, duplicated, reordered, strayed, .. } = report.deliveries;
    let connections = &report.connections;
    let parts = [
        (lost, "lost"),
        (told, "told by a gap"),
        (duplicated, "duplicated"),
        (reordered, "reordered"),
        (strayed, "strayed"),
        (report.published.refused, "refused"),
        (connections.failed as u64, "connections failed"),
        (connections.ended as u64, "connections ended"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let troubles = report.troubles.iter().chain(&report.published.trouble).cloned();
    let all: Vec<_> = parts.into_iter().chain(troubles).collect();
    format!("not every message reached everybody once and in order: {}", all.join(", "))
}

/// The report for people.
pub(super) fn table(report: &Report) -> String {
    let rows = [connection_rows(report), delivery_rows(report), server_rows(report), own_rows(report)].concat();
    rows.iter().map(|(name, value)| format!("{name:<18} {value}\n")).collect()
}

type Row = (&'static str, String);

fn connection_rows(report: &Report) -> Vec<Row> {
    let connections = &report.connections;
    let mut parts = vec![format!("{} failed", connections.failed), format!("{} ended", connections.ended)];
    let more = [(connections.idle as u64, "idle"), (connections.slow as u64, "slow"), (connections.reconnected, "times one came back")];
    parts.extend(more.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    let times = |times: &Percentiles| format!("p50 {}, p99 {}, max {}", ms(times.p50), ms(times.p99), ms(times.max));
    let mut rows =
        vec![("connected", format!("{} ({})", connections.connected, parts.join(", "))), ("connecting", times(&connections.connect_us))];
    if connections.moved > 0 {
        rows.push(("moved", format!("{} times one lost its server; back after {}", connections.moved, times(&connections.back_us))));
    }
    rows
}

fn delivery_rows(report: &Report) -> Vec<Row> {
    let (published, deliveries, latency) = (&report.published, &report.deliveries, &report.latency_us);
    let mut rows = vec![
        ("published", format!("{} in {:.1} s, {} refused", published.sent, published.seconds, published.refused)),
        ("received", format!("{} of {}, {:.0}/s", deliveries.received, deliveries.due, deliveries.per_second)),
        ("lost", deliveries.lost.to_string()),
        ("duplicated", deliveries.duplicated.to_string()),
        ("reordered", deliveries.reordered.to_string()),
        ("strayed", deliveries.strayed.to_string()),
    ];
    if deliveries.gaps + deliveries.recovered > 0 {
        rows.push(("gaps reported", format!("{} for {} deliveries", deliveries.gaps, deliveries.told)));
        rows.push(("recovered", deliveries.recovered.to_string()));
    }
    let parts = [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("p99.9", latency.p99_9), ("max", latency.max)];
    rows.push(("latency", parts.map(|(name, us)| format!("{name} {}", ms(us))).join(", ")));
    rows
}

fn server_rows(report: &Report) -> Vec<Row> {
    let Some(server) = &report.server else { return Vec::new() };
    let kib = |bytes: f64| bytes / 1024.0;
    let (idle, busy) = (kib(server.bytes_a_connection_idle), kib(server.bytes_a_connection_busy));
    vec![
        ("server, CPU", format!("{:.2} µs a delivery, {:.0} µs a connect", server.cpu_us_a_delivery, server.cpu_us_a_connect)),
        ("server, CPU share", format!("{:.0} %", server.cpu_share * 100.0)),
        ("server, memory", format!("{idle:.1} KiB a connection idle, {busy:.1} KiB after the run")),
    ]
}

fn own_rows(report: &Report) -> Vec<Row> {
    let own = format!("{:.0} % of a core, {:.2} µs a delivery", report.own_cpu_share * 100.0, report.own_cpu_us_a_delivery);
    let mut rows = vec![("load generator", own)];
    if let Some(network) = &report.network {
        rows.push((
            "network",
            format!("{} packets passed, {} lost, {} reordered on purpose", network.passed, network.lost, network.reordered),
        ));
    }
    let troubles = [&report.connections.trouble, &report.published.trouble].into_iter().flatten().chain(&report.troubles);
    rows.extend(troubles.map(|trouble| ("trouble", trouble.clone())));
    rows.extend(report.saturation().map(|sentence| ("saturated", sentence)));
    rows
}
