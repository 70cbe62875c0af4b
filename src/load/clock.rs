//! Notices when time does not pass as it should: the system's clock is set, or the process stands still.

use std::time::{Duration, Instant, SystemTime};

use super::process::ThreadTime;

/// Further apart than clock adjustment moves two clocks in a second.
const JUMP: Duration = Duration::from_millis(250);

/// How much later than asked for a busy machine may wake us.
const LATE: Duration = Duration::from_secs(2);

/// What the clocks said at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub steady: Instant,
    pub wall: SystemTime,
    /// Of the thread that should read it.
    pub own: ThreadTime,
}

/// What is odd between two readings that should be `apart`.
pub(super) fn oddity(before: Reading, after: Reading, apart: Duration) -> Option<String> {
    let steady = after.steady.saturating_duration_since(before.steady);
    let (wall, back) = match after.wall.duration_since(before.wall) {
        Ok(forward) => (forward, false),
        Err(error) => (error.duration(), true),
    };
    let jump = if back { wall + steady } else { wall.abs_diff(steady) };
    if jump > JUMP {
        let sign = if back || wall < steady { '-' } else { '+' };
        return Some(format!("the system's clock jumped by {sign}{:.1} s during the run", jump.as_secs_f64()));
    }
    let idle = steady.saturating_sub(after.own.since(before.own).cpu);
    let still = idle.saturating_sub(apart);
    (still > LATE).then(|| format!("the load generator stood still for {:.1} s: what was due then was late", still.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_and_standstills_are_told_apart_from_being_busy() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let steady = Instant::now();
        let before = Reading { steady, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000), own: ThreadTime::default() };
        let second = Duration::from_secs(1);
        let later = |steady: u64, wall: i64, cpu: u64| {
            let distance = Duration::from_secs(wall.unsigned_abs());
            let wall = if wall < 0 { before.wall - distance } else { before.wall + distance };
            let own = ThreadTime { cpu: Duration::from_secs(cpu), ..ThreadTime::default() };
            oddity(before, Reading { steady: before.steady + Duration::from_secs(steady), wall, own }, second)
        };
        assert_eq!(later(1, 1, 0), None);
        assert_eq!(later(9, 9, 9), None);
        assert!(later(1, 61, 0).unwrap().contains("jumped by +60.0 s"));
        assert!(later(1, -59, 0).unwrap().contains("jumped by -60.0 s"));
        assert!(later(9, 9, 1).unwrap().contains("stood still for 7.0 s"));
    }
}
