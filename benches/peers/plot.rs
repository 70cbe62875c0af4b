//! A picture of the tables: for each server and scenario a bar as long as a delivery is expensive, in multiples of the floor, on a logarithmic scale.

use std::fmt::Write as _;

use crate::rig::{Sample, table};

/// Sizes in pixels.
const LABELS: f64 = 300.0;
const BARS: f64 = 560.0;
const BAR: f64 = 11.0;
const GAP: f64 = 9.0;
const TOP: f64 = 52.0;

/// Readable on white and on black; one for each scenario.
const COLOURS: [&str; 3] = ["#4c78a8", "#f58518", "#54a24b"];

/// The whole picture. What was measured with one subscriber is not a fan-out, and left out.
pub(crate) fn svg(samples: &[Sample]) -> String {
    let samples: Vec<_> = samples.iter().filter(|sample| sample.scenario != super::PUBLISHING.name).collect();
    let scenarios: Vec<_> = table::grouped(&samples, |sample| &sample.scenario).into_iter().map(|(name, _)| name).collect();
    let servers = table::grouped(&samples, |sample| &sample.server);
    let scale = Scale::of(samples.iter().map(|sample| table::floors(sample)));
    let block = BAR * scenarios.len() as f64 + GAP;
    let bottom = TOP + block * servers.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#808080\">\n\
         <text x=\"{LABELS}\" y=\"16\">CPU of a delivery to 1,000 subscribers, in multiples of the floor (logarithmic)</text>\n",
        LABELS + BARS + 60.0,
        bottom + 24.0
    );
    legend(&mut svg, &scenarios);
    grid(&mut svg, scale, bottom);
    for (nth, (server, rows)) in servers.iter().enumerate() {
        let y = TOP + block * nth as f64;
        let middle = y + (block - GAP) / 2.0 + 4.0;
        _ = writeln!(svg, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{server}</text>", LABELS - 8.0);
        for (at, (name, colour)) in scenarios.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let values: Vec<f64> = rows.iter().filter(|sample| sample.scenario == **name).map(|sample| table::floors(sample)).collect();
            if !values.is_empty() {
                bar(&mut svg, scale, y + BAR * at as f64, table::median(values), colour);
            }
        }
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String, scenarios: &[&str]) {
    for (nth, (name, colour)) in scenarios.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let x = LABELS + 90.0 * nth as f64;
        _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"24\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"33\">{name}</text>",
            x + 15.0
        );
    }
}

/// A line at each power of ten.
fn grid(svg: &mut String, scale: Scale, bottom: f64) {
    for power in scale.low..=scale.high {
        let value = 10f64.powi(power);
        let x = scale.x(value);
        _ = writeln!(svg, "<path d=\"M{x:.1} {}V{bottom}\" stroke=\"#808080\" stroke-opacity=\"0.4\"/>", TOP - 6.0);
        _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>", bottom + 16.0);
    }
}

fn bar(svg: &mut String, scale: Scale, y: f64, value: f64, colour: &str) {
    let end = scale.x(value);
    let width = (end - LABELS).max(1.0);
    _ = writeln!(svg, "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>", BAR - 1.0);
    _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{value:.2}</text>", end + 4.0, y + BAR - 2.0);
}

/// From a power of ten below all values to one above.
#[derive(Debug, Clone, Copy)]
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((1.0f64, 1.0f64), |(low, high), value| (low.min(value), high.max(value)));
        Self { low: low.log10().floor() as i32, high: (high.log10().ceil() as i32).max(low.log10().floor() as i32 + 1) }
    }

    fn x(self, value: f64) -> f64 {
        LABELS + (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low) * BARS
    }
}
