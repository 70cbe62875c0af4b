//! A run: connect, publish, wait for what is under way, report.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};

use super::{
    By, Error, PATIENCE, Plan, Publish, clock,
    life::Crowd,
    limits::make_room,
    now,
    pace::Pacer,
    process::{Process, ThreadTime, Usage},
    publisher::{Frames, Http, Publisher},
    report::{self, Report, Sample},
    tally::Tally,
    wall,
    way::Road,
};

/// How long the connections are left alone before and after a measurement of memory.
const SETTLE: Duration = Duration::from_millis(500);

/// How often a sample is taken and shown.
const SAMPLE: Duration = Duration::from_secs(1);

/// The most samples that are kept: the first hours of a run that goes on for days.
const SAMPLES: usize = 20_000;

/// What to show while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Connections that are there.
    pub connected: usize,
    /// How many there should be.
    pub wanted: usize,
    /// Messages published.
    pub published: u64,
    /// The last second.
    pub last: Sample,
}

/// A run that goes on.
pub(super) struct Run<'a> {
    pub plan: &'a Plan,
    pub tally: Rc<Tally>,
    pub crowd: Rc<Crowd>,
    pub samples: RefCell<Vec<Sample>>,
    /// What went wrong besides single connections.
    pub troubles: RefCell<Vec<String>>,
    interrupted: Notify,
    /// The report is made; what happens now belongs to no run.
    over: Cell<bool>,
}

/// Connects, publishes, waits for what is under way, and reports. Must be called in a `LocalSet`. When `stop` is done, publishing ends and what was measured
/// up to there is reported.
///
/// # Errors
/// The plan can't be carried out, or nobody could connect. What goes wrong later is in the report.
pub async fn run(plan: &Plan, mut show: impl FnMut(Progress), stop: impl Future<Output = ()>) -> Result<Report, Error> {
    plan.check()?;
    make_room(plan.files())?;
    let number = getrandom::u32().unwrap_or(0) as u16;
    let run = Run {
        plan,
        tally: Tally::new(now(), number, plan.groups.len(), plan.publishers()),
        crowd: Crowd::new(plan),
        samples: RefCell::default(),
        troubles: RefCell::default(),
        interrupted: Notify::new(),
        over: Cell::new(false),
    };
    let stop = async {
        stop.await;
        run.troubles.borrow_mut().push("the run was interrupted".into());
        run.interrupted.notify_one();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = run.all() => report,
        () = run.watch(&mut show) => unreachable!("the watch never ends"),
        () = stop => unreachable!("stopping never ends"),
    }
}

impl Run<'_> {
    async fn all(&self) -> Result<Report, Error> {
        let before = self.server_usage()?;
        let tasks = RefCell::new(JoinSet::new());
        let connected = tokio::select! {
            opened = self.crowd.open(self.plan, &self.tally, &tasks) => opened.map_err(|last| self.nobody(last)).map(|()| true)?,
            () = self.interrupted.notified() => false,
        };
        if self.crowd.members.borrow().is_empty() {
            let last = self.crowd.failures.borrow_mut().pop();
            return Err(last.map_or_else(|| Error::Plan("interrupted before anybody was connected".into()), |last| self.nobody(last)));
        }
        let after = self.server_usage()?;
        tokio::time::sleep(SETTLE).await;
        let idle = self.server_usage()?;
        let publishers = self.publishers().await?;
        let (own, start, quiet) = (own_time(), now(), self.server_usage()?);
        let mut pacer =
            Pacer { plan: self.plan, tally: &self.tally, publishers, random: fastrand::Rng::with_seed(self.plan.seed), alone_since: None };
        if connected {
            self.work(&mut pacer).await;
        }
        let (sent, working) = (start.elapsed(), own_time().since(own));
        for publisher in &pacer.publishers {
            // A server that does not answer is told apart by what it accepted.
            let _ = tokio::time::timeout(PATIENCE, publisher.finish()).await;
        }
        self.tally.settle(0, PATIENCE).await;
        // What is lost was waited for, which is no time of deliveries.
        let last = self.tally.origin + Duration::from_micros(self.tally.last_us.get());
        let (elapsed, own_cpu) = (sent.max(last.saturating_duration_since(start)), own_time().since(own).cpu);
        // The server may have died, which is in the report already.
        let busy = self.server_usage().ok().flatten();
        let publishers = &pacer.publishers;
        let account = report::Account { before, connected: after, idle, quiet, busy, own_cpu, working, start, sent, elapsed, publishers };
        let report = report::report(self, &account);
        self.over.set(true);
        self.crowd.stop();
        // What has not closed by then ends with this process.
        let _ = tokio::time::timeout(PATIENCE, tasks.take().join_all()).await;
        Ok(report)
    }

    fn nobody(&self, last: super::Failure) -> Error {
        Error::NoConnection { wanted: self.plan.connections(), last }
    }

    async fn publishers(&self) -> Result<Vec<Publisher>, Error> {
        let Some(Publish { by, profile, way, connections }) = &self.plan.publish else { return Ok(Vec::new()) };
        let road = Rc::new(Road::new(way.clone(), 1).map_err(Error::Publisher)?);
        let mut publishers = Vec::new();
        for nth in 0..*connections as usize {
            let publisher = match by {
                By::Http => Http::connect(profile.clone(), road.clone(), nth, self.tally.clone()).await,
                By::Client => Frames::connect(&**profile, &road, &self.plan.groups, nth, self.tally.clone()).await,
            };
            publishers.push(publisher.map_err(Error::Publisher)?);
        }
        Ok(publishers)
    }

    /// Publishes while connections come and go, or lets them stay.
    async fn work(&self, pacer: &mut Pacer<'_>) {
        let churn = async {
            match self.plan.churn {
                Some(a_second) => self.crowd.churn(a_second).await,
                None => std::future::pending().await,
            }
        };
        let work = async {
            if pacer.publishers.is_empty() {
                tokio::time::sleep(self.plan.duration).await;
                return None;
            }
            pacer.publish().await
        };
        let trouble = tokio::select! {
            trouble = work => trouble,
            () = churn => None,
            () = self.interrupted.notified() => None,
        };
        self.troubles.borrow_mut().extend(trouble);
    }

    fn server_usage(&self) -> Result<Option<Usage>, Error> {
        let Some(server) = self.plan.server else { return Ok(None) };
        server.usage().map(Some).map_err(|error| Error::Process { pid: server.0, reason: error.to_string() })
    }

    /// Takes samples, lets connections say that they live, and looks at the clocks.
    async fn watch(&self, show: &mut impl FnMut(Progress)) {
        let mut before = reading();
        let mut counted = (self.tally.delivered.get(), self.published());
        for second in 0usize.. {
            tokio::time::sleep(SAMPLE).await;
            let after = reading();
            let latest = (self.tally.delivered.get(), self.published());
            let mut sample = self.sample(before.steady, after.steady, (latest.0 - counted.0, latest.1 - counted.1));
            sample.own_busy = after.own.since(before.own).total().as_secs_f64() / (after.steady - before.steady).as_secs_f64();
            if self.samples.borrow().len() < SAMPLES {
                self.samples.borrow_mut().push(sample);
            }
            self.troubles.borrow_mut().extend(clock::oddity(before, after, SAMPLE));
            if self.over.get() {
                continue;
            }
            show(Progress { connected: sample.connected, wanted: self.plan.connections(), published: latest.1, last: sample });
            self.crowd.keep_alive(second);
            (before, counted) = (after, latest);
        }
    }

    fn published(&self) -> u64 {
        self.tally.published.borrow().iter().sum()
    }

    fn sample(&self, from: Instant, to: Instant, (delivered, published): (u64, u64)) -> Sample {
        let latency = self.tally.sample();
        let seconds = (to - from).as_secs_f64();
        Sample {
            at: (to - self.tally.origin).as_secs_f64(),
            connected: self.crowd.present(),
            published_per_second: published as f64 / seconds,
            delivered_per_second: delivered as f64 / seconds,
            lost: self.tally.passed.get(),
            p50_us: latency.value_at_quantile(0.5),
            p99_us: latency.value_at_quantile(0.99),
            own_busy: 0.0,
        }
    }
}

/// Time of the thread that all this runs on.
fn own_time() -> ThreadTime {
    // Where there is no /proc, it is not said whether we were the bottleneck.
    Process::own_thread().unwrap_or_default()
}

fn reading() -> clock::Reading {
    clock::Reading { steady: now(), wall: wall(), own: own_time() }
}
