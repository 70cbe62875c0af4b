//! How long to wait before a link is made anew.

use std::time::Duration;

use super::random;

/// Pauses between attempts to make a link anew: longer and longer, never quite the same on two nodes.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

/// The first pause and the longest one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A link that lived for so long was a good one.
const GOOD: Duration = Duration::from_secs(5);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let pause = (FIRST_PAUSE * 2u32.saturating_pow(self.failures.min(10))).min(LONGEST_PAUSE);
        self.failures += 1;
        let part = f64::from(u32::try_from(random() % 1000).unwrap_or_default()) / 1000.0;
        pause.mul_f64(0.5 + part / 2.0)
    }

    pub(super) fn worked_for(&mut self, time: Duration) {
        if time >= GOOD {
            self.failures = 0;
        }
    }
}
