//! Tables in Markdown: medians over the rounds.

use super::Sample;

/// Title, value, and digits after the point.
pub(crate) type Column<S = Sample> = (&'static str, fn(&S) -> f64, usize);

/// What a delivery and a connection cost.
pub(crate) const COLUMNS: &[Column] = &[
    ("CPU, µs a delivery", |sample| of_delivery(sample, server(sample, |server| server.cpu_us_a_delivery)), 2),
    ("× floor", floors, 2),
    ("deliveries/s", |sample| sample.report.deliveries.per_second, 0),
    ("p50, ms", |sample| of_delivery(sample, sample.report.latency_us.p50 as f64 / 1e3), 2),
    ("p99, ms", |sample| of_delivery(sample, sample.report.latency_us.p99 as f64 / 1e3), 2),
    ("p99.9, ms", |sample| of_delivery(sample, sample.report.latency_us.p99_9 as f64 / 1e3), 2),
    ("KiB a connection, idle", |sample| server(sample, |server| server.bytes_a_connection_idle) / 1024.0, 1),
    ("busy", |sample| server(sample, |server| server.bytes_a_connection_busy) / 1024.0, 1),
    ("CPU, µs a connect", |sample| server(sample, |server| server.cpu_us_a_connect), 0),
    ("server, % of its core", |sample| server(sample, |server| server.cpu_share) * 100.0, 0),
    ("load generator, % of its core", |sample| sample.report.own_cpu_share * 100.0, 0),
    ("others, % of the server's", |sample| sample.others * 100.0, 0),
];

/// The server's CPU time of a delivery in multiples of the floor.
pub(crate) fn floors(sample: &Sample) -> f64 {
    of_delivery(sample, server(sample, |server| server.cpu_us_a_delivery) / sample.floor())
}

/// Not a number where nothing was delivered.
fn of_delivery(sample: &Sample, value: f64) -> f64 {
    if sample.report.deliveries.received > 0 { value } else { f64::NAN }
}

/// What the server used; not a number if its process was not measured.
pub(crate) fn server(sample: &Sample, value: fn(&fanfare::load::ServerUse) -> f64) -> f64 {
    sample.report.server.as_ref().map_or(f64::NAN, value)
}

/// One row for each name, in the order in which they first come.
pub(crate) fn table<S>(head: &str, name: fn(&S) -> &str, columns: &[Column<S>], samples: &[&S]) -> String {
    let titles: String = columns.iter().map(|(title, ..)| format!(" {title} |")).collect();
    let mut text = format!("| {head} |{titles}\n| --- |{}\n", " ---: |".repeat(columns.len()));
    for (name, rows) in grouped(samples, name) {
        text += &format!("| {name} |{}\n", row(columns, &rows));
    }
    text
}

/// What the floor was during all of it.
pub(crate) fn floor_line(samples: &[Sample]) -> String {
    let floors = samples.iter().flat_map(|sample| sample.floor_us);
    let (low, high) = floors.clone().fold((f64::MAX, 0.0f64), |(low, high), floor| (low.min(floor), high.max(floor)));
    format!("The floor was {:.2} µs a send (from {low:.2} to {high:.2}).\n", median(floors.collect()))
}

/// The samples by a name, in the order in which the names first come.
pub(crate) fn grouped<'a, S>(samples: &[&'a S], name: fn(&S) -> &str) -> Vec<(&'a str, Vec<&'a S>)> {
    let mut groups: Vec<(&str, Vec<&S>)> = Vec::new();
    for sample in samples {
        match groups.iter_mut().find(|(known, _)| *known == name(sample)) {
            Some((_, group)) => group.push(sample),
            None => groups.push((name(sample), vec![sample])),
        }
    }
    groups
}

fn row<S>(columns: &[Column<S>], samples: &[&S]) -> String {
    let cell = |(_, value, digits): &Column<S>| {
        let value = median(samples.iter().map(|sample| value(sample)).collect());
        let text = if value.is_nan() { "–".into() } else { thousands(&format!("{value:.digits$}")) };
        format!(" {text} |")
    };
    columns.iter().map(cell).collect()
}

/// The middle of the values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
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
