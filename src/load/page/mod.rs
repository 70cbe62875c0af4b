//! The report as one page of HTML that needs nothing else: no script, no font, no image from anywhere.

mod chart;

use std::fmt::Write as _;

use chart::{Chart, Scale, Series};

use super::{Report, report::Point};

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut html = String::with_capacity(64 * 1024);
    // Writing to a String does not fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>fanfare load: {}</title>\n<style>{}</style>\n<main>\n<h1>{}</h1>\n<pre>{}</pre>\n",
        escaped(&headline(report)),
        include_str!("page.css"),
        escaped(&headline(report)),
        escaped(&report.command),
    );
    for trouble in troubles(report) {
        let _ = writeln!(html, "<p class=\"trouble\">{}</p>", escaped(&trouble));
    }
    html.push_str(&table(report));
    for chart in charts(report) {
        html.push_str(&chart.svg());
    }
    html.push_str("</main>\n</html>\n");
    html
}

fn headline(report: &Report) -> String {
    let deliveries = &report.deliveries;
    let verdict = if report.is_clean() { "everything came once and in order" } else { "not everything came once and in order" };
    format!("{} of {} deliveries: {verdict}", thousands(deliveries.received as f64), thousands(deliveries.due as f64))
}

fn troubles(report: &Report) -> Vec<String> {
    let told = [&report.connections.trouble, &report.published.trouble].into_iter().flatten().chain(&report.troubles);
    told.cloned().chain(report.saturation()).collect()
}

fn table(report: &Report) -> String {
    let (connections, published, deliveries) = (&report.connections, &report.published, &report.deliveries);
    let (latency, connect) = (&report.latency_us, &connections.connect_us);
    let percentiles = |of: &super::Percentiles| {
        let parts = [("p50", of.p50), ("p90", of.p90), ("p99", of.p99), ("p99.9", of.p99_9), ("max", of.max)];
        parts.map(|(name, us)| format!("{name} {:.2} ms", us as f64 / 1e3)).join(", ")
    };
    let whole = |number: u64| thousands(number as f64);
    let moved = format!("{} times one lost its server; back after {}", connections.moved, percentiles(&connections.back_us));
    let moved = (connections.moved > 0).then_some(("moved", moved));
    let mut rows = vec![
        ("latency", percentiles(latency)),
        ("connecting", percentiles(connect)),
        (
            "connections",
            format!(
                "{} connected, {} failed, {} ended; {} idle, {} slow; {} times one came back",
                connections.connected, connections.failed, connections.ended, connections.idle, connections.slow, connections.reconnected
            ),
        ),
        (
            "published",
            format!(
                "{} in {:.1} s; {} accepted, {} refused",
                whole(published.sent),
                published.seconds,
                published.accepted,
                published.refused
            ),
        ),
        ("received", format!("{}/s, {:.1} MB/s", thousands(deliveries.per_second), deliveries.bytes_per_second / 1e6)),
        (
            "lost · duplicated · reordered · strayed",
            [deliveries.lost, deliveries.duplicated, deliveries.reordered, deliveries.strayed].map(whole).join(" · "),
        ),
        ("told by gaps · gaps · recovered", [deliveries.told, deliveries.gaps, deliveries.recovered].map(whole).join(" · ")),
        ("load generator", format!("{:.0} % of a core, {:.2} µs a delivery", report.own_cpu_share * 100.0, report.own_cpu_us_a_delivery)),
    ];
    rows.extend(moved);
    if let Some(server) = &report.server {
        let kib = |bytes: f64| bytes / 1024.0;
        let cpu = format!("{:.2} µs a delivery, {:.0} µs a connect", server.cpu_us_a_delivery, server.cpu_us_a_connect);
        rows.push(("server, CPU", format!("{cpu}, {:.0} % of a core", server.cpu_share * 100.0)));
        let (idle, busy) = (kib(server.bytes_a_connection_idle), kib(server.bytes_a_connection_busy));
        rows.push(("server, memory", format!("{idle:.1} KiB a connection idle, {busy:.1} KiB after the run")));
    }
    let rows: String = rows.iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(value))).collect();
    format!("<table>\n{rows}</table>\n")
}

fn charts(report: &Report) -> Vec<Chart> {
    let over_time = |name, value: fn(&super::Sample) -> f64| Series {
        name,
        points: report.samples.iter().map(|sample| (sample.at, value(sample))).collect(),
    };
    // Where nothing was delivered there is no latency.
    let delivered = |name, value: fn(&super::Sample) -> f64| Series {
        name,
        points: report.samples.iter().filter(|sample| sample.delivered_per_second > 0.0).map(|sample| (sample.at, value(sample))).collect(),
    };
    let distribution = |name, curve: &[Point]| Series {
        name,
        // Nines: 0 is the smallest value, 1 the 90th percentile, 2 the 99th.
        points: curve.iter().filter(|point| point.quantile < 1.0).map(|point| (nines(point.quantile), ms(point.us))).collect(),
    };
    let (seconds, milliseconds) = ("seconds since the run began", "ms");
    vec![
        Chart {
            title: "Latency by percentile",
            x: ("share of deliveries that were at most so late", Scale::Nines),
            y: (milliseconds, Scale::Log),
            series: vec![distribution("latency", &report.latency_curve)],
        },
        Chart {
            title: "Throughput",
            x: (seconds, Scale::Linear),
            y: ("a second", Scale::Linear),
            series: vec![
                over_time("received", |sample| sample.delivered_per_second),
                over_time("published", |sample| sample.published_per_second),
            ],
        },
        Chart {
            title: "Latency over time",
            x: (seconds, Scale::Linear),
            y: (milliseconds, Scale::Log),
            series: vec![delivered("p99", |sample| ms(sample.p99_us)), delivered("p50", |sample| ms(sample.p50_us))],
        },
        Chart {
            title: "Time to connect and follow, by percentile",
            x: ("share of connections that took at most so long", Scale::Nines),
            y: (milliseconds, Scale::Log),
            series: vec![distribution("connecting", &report.connect_curve)],
        },
        Chart {
            title: "Connections",
            x: (seconds, Scale::Linear),
            y: ("connected", Scale::Linear),
            series: vec![over_time("connected", |sample| sample.connected as f64)],
        },
    ]
}

fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// `1234567.8` as `1,234,568`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    #[test]
    fn the_page_shows_what_was_measured_and_fetches_nothing() {
        let sample = |at: f64| Sample { at, delivered_per_second: 1000.0 * at, p50_us: 500, p99_us: 2000, ..Sample::default() };
        let report = Report {
            command: "fanfare load --assert 'p99<1ms'".into(),
            samples: (1..=5).map(|at| sample(f64::from(at))).collect(),
            latency_curve: vec![Point { quantile: 0.0, us: 100 }, Point { quantile: 0.99, us: 2000 }, Point { quantile: 1.0, us: 9000 }],
            troubles: vec!["<script>".into()],
            ..Report::default()
        };
        let html = page(&report);
        assert!(html.contains("p99&lt;1ms") && html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
        assert!(html.matches("<svg").count() >= 3 && html.contains("Throughput"));
        for outside in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            assert!(!html.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
        assert_eq!(thousands(1_234_567.8), "1,234,568");
    }
}
