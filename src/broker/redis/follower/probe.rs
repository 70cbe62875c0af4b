//! Whether the link for events is as alive as it looks, and whether everything has come that should have.
//!
//! A probe goes the way of events: published over the link for commands, it has to come back here. Before it, in the same row, go questions
//! for the positions of some groups. So when the probe has come back, everything up to those positions must have come too, and what has not
//! is missing: no guessing by time, and no event on its way is taken for a lost one. A ping on this link itself finds out whether the other
//! end is there while the link for commands is down.

use std::time::{Duration, Instant};

use super::{
    Hub,
    inlet::{Done, Inlet},
    page,
};
use crate::{
    broker::{
        Error,
        redis::{
            command::Commands,
            now,
            table::{Page, Read},
            wire::LinkError,
        },
    },
    metrics::RedisLink,
    protocol::Position,
};

/// A probe is lost after so many times the timeout, even if other things come.
const PATIENCE: u32 = 5;

/// Groups that one round asks for: the row of commands has room for four times as many, and publishers stand in it too. A node that follows more than 15,000 groups takes longer than
/// `check_interval` for all of them.
const QUESTIONS: usize = 1024;

/// Positions that were read before a probe was published.
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) since: Instant,
    pub(super) returned: bool,
    /// `None`: they are still awaited.
    pub(super) checks: Option<Vec<(Read, Position)>>,
}

/// How many of so many groups are asked for with one probe.
fn questions(groups: usize, probe_interval: Duration, check_interval: Duration) -> usize {
    let share = probe_interval.as_secs_f64() / check_interval.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a count")]
    let most = (groups as f64 * share).ceil() as usize;
    most.min(QUESTIONS)
}

impl Hub {
    /// Judges what has come since the last tick. The first tick without anything only begins to count: this task may have been busy
    /// elsewhere.
    pub(super) fn listen(&mut self, now: Instant) -> Result<(), LinkError> {
        let timeout = self.config.timeout;
        self.quiet = if std::mem::take(&mut self.alive) { None } else { self.quiet.or(Some(now)) };
        let dead = self.quiet.is_some_and(|since| now - since >= timeout);
        // It answers pings, but a probe that was published does not come.
        let deaf = self.round.as_ref().is_some_and(|round| {
            let waiting = now - round.since;
            !round.returned && round.checks.is_some() && (waiting > timeout * PATIENCE || waiting > timeout && now - self.heard > timeout)
        });
        let mute = !self.listening && now - self.heard > timeout;
        if dead || deaf || mute { Err(LinkError::Silent(timeout)) } else { Ok(()) }
    }

    /// For so long nothing could be heard, which is not the link's fault.
    pub(super) fn did_not_listen(&mut self, time: Duration) {
        self.heard += time;
        if let Some(round) = &mut self.round {
            round.since += time;
        }
    }

    /// Asks where some groups are, and sends a probe after the questions.
    pub(super) fn probe(&mut self, inlet: &Inlet, since: Instant) {
        self.probes += 1;
        let number = self.probes;
        let most = questions(self.table.len(), self.config.probe_interval, self.config.check_interval);
        let questions: Vec<_> = self.table.checks(most).into_iter().map(|read| (self.question(&read), read)).collect();
        let probe = Commands::tell(&self.probe_channel, number.to_string().as_bytes());
        let pipeline = self.pipeline.clone();
        self.round = Some(Round { number, since, returned: false, checks: None });
        inlet.asked.push(Box::pin(async move {
            // All are given before the first answer is awaited: they stand in one row.
            let asked = questions.into_iter().map(|(command, read)| {
                let pipeline = &pipeline;
                async move { Ok::<_, Error>((read, pipeline.call(command).await.map(page)?)) }
            });
            let (checks, probe) = futures_util::join!(futures_util::future::try_join_all(asked), pipeline.call(probe));
            let known = |checks: Vec<(Read, Option<Page>)>| checks.into_iter().filter_map(|(read, page)| Some((read, page?.top))).collect();
            Done::Round(number, probe.and(checks.map(known)))
        }));
    }

    pub(super) fn probe_returned(&mut self, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
        if let Some(round) = self.round.as_mut().filter(|round| Some(round.number) == number) {
            round.returned = true;
            self.metrics.probe.observe((now() - round.since).as_secs_f64());
            self.status.up(RedisLink::Events);
            self.compare();
        }
    }

    /// Once probe and positions are here, groups that are behind are found.
    pub(super) fn compare(&mut self) {
        if let Some(Round { returned: true, checks: Some(checks), .. }) = &mut self.round {
            for (read, top) in std::mem::take(checks) {
                self.table.checked(&read, top);
            }
            self.round = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_asked_for_once_in_the_interval_and_no_round_is_too_large() {
        let questions = |groups| questions(groups, Duration::from_secs(2), Duration::from_secs(30));
        assert_eq!([0, 1, 15, 16, 15_000].map(questions), [0, 1, 1, 2, 1000]);
        assert_eq!([15_360, 15_361, 100_000].map(questions), [1024, 1024, 1024]);
    }
}
