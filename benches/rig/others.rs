//! Whether a measurement had its core for itself.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The kernel counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Reads of a core's clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Core {
    number: usize,
    at: Instant,
    busy: Duration,
}

impl Core {
    /// As of now.
    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
    pub(super) fn read(number: usize) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let busy = busy(&text, number).with_context(|| format!("/proc/stat has no cpu{number}"))?;
        Ok(Self { number, at: Instant::now(), busy })
    }

    /// Which share of the core went to others since then, if `ours` was used by those who should have been on it.
    pub(super) fn others(self, ours: Duration) -> anyhow::Result<f64> {
        let now = Self::read(self.number)?;
        let busy = now.busy.saturating_sub(self.busy);
        Ok(busy.saturating_sub(ours).as_secs_f64() / now.at.duration_since(self.at).as_secs_f64())
    }
}

/// All but idling and waiting for disks, the fourth and fifth number of the core's line.
fn busy(stat: &str, core: usize) -> Option<Duration> {
    let name = format!("cpu{core}");
    let mut words = stat.lines().map(str::split_whitespace).find_map(|mut words| (words.next() == Some(&name)).then_some(words))?;
    let ticks: u32 =
        words.by_ref().take(8).enumerate().filter(|(at, _)| !(3..5).contains(at)).filter_map(|(_, word)| word.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}
