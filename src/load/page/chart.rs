//! A line chart as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// How values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Decades; values that are not above 0 are at the lower end.
    Log,
    /// 0 is nothing, 1 is 90 %, 2 is 99 % …
    Nines,
}

/// One line.
#[derive(Debug)]
pub(super) struct Series {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// One chart: what it shows, its axes with their labels, its lines.
#[derive(Debug)]
pub(super) struct Chart {
    pub title: &'static str,
    pub x: (&'static str, Scale),
    pub y: (&'static str, Scale),
    pub series: Vec<Series>,
}

/// What an axis covers, in the scale's own measure.
#[derive(Debug, Clone, Copy)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Chart {
    /// Draws it; nothing if there are fewer than two points.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        if points().count() < 2 {
            return String::new();
        }
        let x = Axis::over(self.x.1, points().map(|point| point.0));
        let y = Axis::over(self.y.1, points().map(|point| point.1));
        let mut svg = format!(
            "<figure>\n<figcaption>{}{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            self.title,
            self.legend(),
            self.title
        );
        self.axes(&mut svg, x, y);
        for (nth, series) in self.series.iter().enumerate() {
            line(&mut svg, nth, series, x, y);
        }
        svg + "</svg>\n</figure>\n"
    }

    fn legend(&self) -> String {
        let item = |(nth, series): (usize, &Series)| format!(" <span class=\"key line{nth}\">{}</span>", series.name);
        if self.series.len() < 2 { String::new() } else { self.series.iter().enumerate().map(item).collect() }
    }

    fn axes(&self, svg: &mut String, x: Axis, y: Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in y.ticks() {
            let at = y.place(value, bottom, TOP);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>");
            let _ = writeln!(svg, "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, at + 4.0);
        }
        for (value, label) in x.ticks() {
            let at = x.place(value, LEFT, right);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
            let _ = writeln!(svg, "<text class=\"middle\" x=\"{at:.1}\" y=\"{}\">{label}</text>", bottom + 16.0);
        }
        let middle = (LEFT + right) / 2.0;
        let _ = writeln!(svg, "<text class=\"middle\" x=\"{middle}\" y=\"{}\">{}</text>", HEIGHT - 8.0, self.x.0);
        let up = (TOP + bottom) / 2.0;
        let _ = writeln!(svg, "<text class=\"middle\" transform=\"translate(12 {up}) rotate(-90)\">{}</text>", self.y.0);
    }
}

fn line(svg: &mut String, nth: usize, series: &Series, x: Axis, y: Axis) {
    let mut path = String::new();
    for (at, (px, py)) in series.points.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        let (px, py) = (x.place(x.measure(*px), LEFT, WIDTH - RIGHT), y.place(y.measure(*py), HEIGHT - BOTTOM, TOP));
        let _ = write!(path, "{command}{px:.1} {py:.1}");
    }
    let _ = writeln!(svg, "<path class=\"line line{nth}\" d=\"{path}\"><title>{}</title></path>", series.name);
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0f64, f64::max);
        match scale {
            Scale::Linear => Self { scale, low: 0.0, high: if high > 0.0 { high } else { 1.0 } },
            Scale::Nines => Self { scale, low: 0.0, high: high.max(1.0) },
            Scale::Log => {
                let low = values.filter(|value| *value > 0.0).fold(f64::MAX, f64::min).min(high.max(1e-3));
                let (low, high) = (low.log10().floor(), high.max(1e-3).log10().ceil());
                Self { scale, low, high: if high > low { high } else { low + 1.0 } }
            }
        }
    }

    /// A value in the axis' own measure.
    fn measure(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear | Scale::Nines => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => self.low,
        }
    }

    /// Where a measured value is, between two ends.
    fn place(&self, measured: f64, from: f64, to: f64) -> f64 {
        from + (measured - self.low) / (self.high - self.low) * (to - from)
    }

    /// Measured values with what is written there.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = nice(self.high / 5.0);
                let count = (self.high / step).floor() as u32;
                (0..=count).map(|nth| f64::from(nth) * step).map(|value| (value, short(value))).collect()
            }
            Scale::Log => whole(self.low, self.high).map(|decade| (decade, short(10f64.powf(decade)))).collect(),
            Scale::Nines => whole(self.low, self.high).map(|nines| (nines, share(nines))).collect(),
        }
    }
}

fn whole(low: f64, high: f64) -> impl Iterator<Item = f64> {
    (low.ceil() as i32..=high.floor() as i32).map(f64::from)
}

/// The next of 1, 2, 5, 10, 20 …
fn nice(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * decade).find(|nice| *nice >= step * 0.999).unwrap_or(step)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", rounded(value / 1e6)),
        value if value >= 1e4 => format!("{}k", rounded(value / 1e3)),
        value => rounded(value),
    }
}

/// At most three digits after the point, and no zeros at the end.
fn rounded(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn share(nines: f64) -> String {
    let percent = 100.0 - 100.0 * 10f64.powf(-nines);
    format!("{percent:.*} %", (nines - 2.0).max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_numbers_that_people_use() {
        let labels =
            |scale, high: f64| Axis::over(scale, [0.02, high].into_iter()).ticks().into_iter().map(|tick| tick.1).collect::<Vec<_>>();
        assert_eq!(labels(Scale::Linear, 90_000.0), ["0", "20k", "40k", "60k", "80k"]);
        assert_eq!(labels(Scale::Log, 30.0), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(Scale::Nines, 4.2), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn a_line_stays_within_the_frame_and_one_point_is_no_line() {
        let chart =
            |points| Chart { title: "t", x: ("x", Scale::Linear), y: ("y", Scale::Log), series: vec![Series { name: "s", points }] };
        assert_eq!(chart(vec![(1.0, 1.0)]).svg(), "");
        let svg = chart(vec![(0.0, 0.0), (1.0, 5.0), (2.0, 500.0)]).svg();
        assert!(svg.contains(&format!("L{:.1} ", WIDTH - RIGHT)) && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
