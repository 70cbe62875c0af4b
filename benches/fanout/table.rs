//! The table, in Markdown: medians over the rounds.

use super::Sample;

type Column = (&'static str, fn(&Sample) -> f64, usize);

/// Title, value, and digits after the point.
const COLUMNS: &[Column] = &[
    ("CPU, µs a delivery", |sample| server(sample, |server| server.cpu_us_a_delivery), 2),
    ("× floor", |sample| server(sample, |server| server.cpu_us_a_delivery) / sample.floor(), 2),
    ("deliveries/s", |sample| sample.report.deliveries.per_second, 0),
    ("p50, ms", |sample| sample.report.latency_us.p50 as f64 / 1e3, 2),
    ("p99, ms", |sample| sample.report.latency_us.p99 as f64 / 1e3, 2),
    ("p99.9, ms", |sample| sample.report.latency_us.p99_9 as f64 / 1e3, 2),
    ("KiB a connection, idle", |sample| server(sample, |server| server.bytes_a_connection_idle) / 1024.0, 1),
    ("busy", |sample| server(sample, |server| server.bytes_a_connection_busy) / 1024.0, 1),
    ("CPU, µs a connect", |sample| server(sample, |server| server.cpu_us_a_connect), 0),
    ("load generator, % of its core", |sample| sample.report.own_cpu_share * 100.0, 0),
];

fn server(sample: &Sample, value: fn(&fanfare::load::ServerUse) -> f64) -> f64 {
    sample.report.server.as_ref().map_or(f64::NAN, value)
}

/// One row for each scenario, in the order of the first round.
pub(super) fn table(samples: &[Sample]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for sample in samples {
        if !names.contains(&sample.scenario) {
            names.push(sample.scenario);
        }
    }
    let titles: String = COLUMNS.iter().map(|(title, ..)| format!(" {title} |")).collect();
    let mut text = format!("| scenario |{titles}\n| --- |{}\n", " ---: |".repeat(COLUMNS.len()));
    for name in names {
        let rows: Vec<&Sample> = samples.iter().filter(|sample| sample.scenario == name).collect();
        text += &format!("| {name} |{}\n", row(&rows));
    }
    let floors = samples.iter().flat_map(|sample| sample.floor_us);
    let (low, high) = floors.clone().fold((f64::MAX, 0.0f64), |(low, high), floor| (low.min(floor), high.max(floor)));
    text + &format!("\nThe floor was {:.2} µs a send (from {low:.2} to {high:.2}).\n", median(floors.collect()))
}

fn row(samples: &[&Sample]) -> String {
    let cell = |(_, value, digits): &Column| {
        let value = median(samples.iter().map(|sample| value(sample)).collect());
        format!(" {} |", thousands(&format!("{value:.digits$}")))
    };
    COLUMNS.iter().map(cell).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    values.get(low).zip(values.get(high)).map_or(f64::NAN, |(low, high)| (low + high) / 2.0)
}

/// `1234567.8` as `1,234,567.8`.
fn thousands(number: &str) -> String {
    let whole = number.split('.').next().unwrap_or(number).len();
    let mut text = String::new();
    for (at, digit) in number.chars().enumerate() {
        if at > 0 && at < whole && (whole - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
