//! When to publish: at a rate, or as soon as few enough messages are under way.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Marker, PATIENCE, PUBLISHER_DEADLINE, Pace, Plan, now, publisher::Publisher, tally::Tally};

/// Everything that publishing needs.
#[derive(Debug)]
pub(super) struct Pacer<'a> {
    pub plan: &'a Plan,
    pub tally: &'a Tally,
    pub publishers: Vec<Publisher>,
    pub random: fastrand::Rng,
    /// Since when nobody has followed anything.
    pub alone_since: Option<Instant>,
}

/// So many messages are queued without letting anybody else do anything.
const BREATH: u64 = 64;

/// How long to wait before looking again whether somebody follows.
const ALONE: Duration = Duration::from_millis(5);

impl Pacer<'_> {
    /// Publishes until the time is over, or something stands in the way; then says what.
    pub(super) async fn publish(&mut self) -> Option<String> {
        let published = match self.plan.pace {
            Pace::Rate(rate) => self.at_rate(rate).await,
            Pace::Window(window) => self.in_window(window).await,
        };
        published.err().map(|error| error.to_string())
    }

    async fn at_rate(&mut self, rate: f64) -> io::Result<()> {
        let begin = now();
        for nth in 0u64.. {
            let due = Duration::from_secs_f64(nth as f64 / rate);
            if due >= self.plan.duration {
                break;
            }
            self.check()?;
            let now = now();
            if begin + due > now {
                // All that is due already goes out in one write.
                self.flush().await?;
                tokio::time::sleep_until((begin + due).into()).await;
            } else if now > begin + self.plan.duration + PATIENCE {
                let all = (self.plan.duration.as_secs_f64() * rate).ceil();
                return Err(io::Error::other(format!("the rate was not reached: {nth} of {all} messages could be published")));
            }
            self.queue(nth, begin + due)?;
            self.breathe(nth).await?;
        }
        self.flush().await
    }

    async fn in_window(&mut self, window: u64) -> io::Result<()> {
        let end = now() + self.plan.duration;
        let groups = self.plan.groups.len() as u64;
        for nth in 0u64.. {
            let next = self.tally.followers.borrow()[(nth / u64::from(self.plan.publishers()) % groups) as usize];
            if next == 0 {
                // Nothing would hold us back there; where nobody follows anything, somebody may come back.
                if self.alone_since.is_some() {
                    tokio::time::sleep(ALONE).await;
                }
                self.check()?;
                if now() >= end {
                    break;
                }
                continue;
            }
            let allowed = next * (window - 1);
            if self.tally.under_way() > allowed {
                self.flush().await?;
                if !self.tally.settle(allowed, PATIENCE).await {
                    // So that losing one does not end the run. The account of who lost what is kept elsewhere.
                    self.tally.give_up(self.tally.under_way() - allowed);
                }
            }
            if now() >= end {
                break;
            }
            self.check()?;
            self.queue(nth, now())?;
            self.breathe(nth).await?;
        }
        self.flush().await
    }

    /// Without a connection nothing can be published, without a follower nothing is delivered.
    fn check(&mut self) -> io::Result<()> {
        let alone = self.tally.followers.borrow().iter().all(|followers| *followers == 0);
        let since = *self.alone_since.get_or_insert_with(now);
        if !alone {
            self.alone_since = None;
        } else if since.elapsed() > PATIENCE {
            return Err(io::Error::other("no connection follows a group any more"));
        }
        if let Some(ended) = self.publishers.iter().find(|publisher| publisher.answers.ended()) {
            return Err(io::Error::other(ended.answers.counts().trouble.unwrap_or_default()));
        }
        Ok(())
    }

    /// Lets others do what there is to do, where messages are queued faster than time or the window says wait.
    async fn breathe(&self, nth: u64) -> io::Result<()> {
        if nth % BREATH == BREATH - 1 {
            self.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn flush(&self) -> io::Result<()> {
        for publisher in &self.publishers {
            let late = |_| io::Error::other(format!("the server has taken no publish for {} s", PUBLISHER_DEADLINE.as_secs()));
            tokio::time::timeout(PUBLISHER_DEADLINE, publisher.flush()).await.map_err(late)?;
        }
        Ok(())
    }

    fn queue(&mut self, nth: u64, due: Instant) -> io::Result<()> {
        let (groups, publishers) = (self.plan.groups.len() as u64, self.publishers.len() as u64);
        let (group, publisher) = ((nth / publishers % groups) as usize, (nth % publishers) as usize);
        let stream = group * publishers as usize + publisher;
        let number = self.tally.publish(stream);
        let marker = Marker { run: self.tally.run, stream: stream as u32, number, due_us: self.tally.micros(due) };
        let payload = marker.payload(self.plan.sizes.next(&mut self.random));
        self.publishers[publisher].queue(&self.plan.groups[group], &payload, (stream, number))
    }
}
