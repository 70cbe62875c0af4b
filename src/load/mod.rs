//! The load generator: many subscribers, one publisher, and an account of every message.
//!
//! It runs on one thread, so that it can be given a core of its own and the server another. It knows `client` and `protocol`, and no
//! more of the server than any other client does. Its invariant: every delivery that was due to a connection ends in exactly one of
//! received or lost, and every arrival in exactly one of received, duplicated or strayed.

mod ledger;
mod marker;
mod process;
mod publisher;
mod report;
mod subscriber;
mod tally;
mod websocket;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

pub use ledger::Ledger;
pub use marker::{MARKER_BYTES, Marker, Scanner};
pub use process::{Process, Usage};
pub use publisher::Endpoint;
pub use report::{Connections, Deliveries, Latency, Percentiles, Published, Report, ServerUse};

use crate::client::{Error as ClientError, Target};
use publisher::Publisher;
use subscriber::Subscriber;
use tally::{Member, Tally, histogram};

/// Handshakes that may be under way at once.
const CONNECTING: usize = 64;

/// When nothing has come for so long, what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the connections are left alone before and after a measurement of memory.
const SETTLE: Duration = Duration::from_millis(500);

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many connections to which target.
    pub subscribers: Vec<(Target, usize)>,
    /// New connections a second.
    pub ramp: f64,
    /// The groups, by which the connections are dealt out in turn.
    pub groups: Vec<String>,
    /// Where to publish.
    pub publish: Endpoint,
    /// How fast.
    pub pace: Pace,
    /// Bytes of a message's text, at least [`MARKER_BYTES`].
    pub size: usize,
    /// How long to publish.
    pub duration: Duration,
    /// The server's process, to measure what it uses.
    pub server: Option<Process>,
}

/// How fast messages are published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second, whether the server keeps up or not. Latency counts from when a message was due, so that a stall of the generator
    /// or the server shows.
    Rate(f64),
    /// So many that not everybody has received yet.
    Window(u64),
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one subscriber could connect.
    #[error("none of {wanted} subscribers could connect: {last}")]
    NoSubscriber {
        /// How many there should have been.
        wanted: usize,
        /// What the last one was told.
        last: ClientError,
    },
    /// Nobody listens where publishes should go.
    #[error("can't publish to {address}: {reason}")]
    Publisher {
        /// Host and port.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The server's process can't be measured.
    #[error("process {pid} can't be measured: {reason}")]
    Process {
        /// Its number.
        pid: u32,
        /// What the system said.
        reason: String,
    },
    /// A number or name is out of its bounds.
    #[error("{0}")]
    Plan(String),
}

/// What to show while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Subscribers that follow their group.
    pub connected: usize,
    /// Messages published.
    pub published: u64,
    /// Deliveries counted.
    pub delivered: u64,
    /// The median and the 99th percentile of latency so far, in µs.
    pub latency: (u64, u64),
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn now() -> Instant {
    Instant::now()
}

/// A run that goes on.
struct Run<'a> {
    plan: &'a Plan,
    tally: Rc<Tally>,
    members: RefCell<Vec<Rc<Member>>>,
    /// Messages published, by stream.
    published: RefCell<Vec<u64>>,
    connect_us: RefCell<Histogram<u64>>,
    failures: RefCell<Vec<ClientError>>,
    ended: RefCell<Vec<ClientError>>,
    done: Cell<bool>,
}

/// Connects, publishes, waits for what is under way, and reports. Must be called in a `LocalSet`.
///
/// # Errors
/// The plan can't be carried out, or nobody could connect. What goes wrong later is in the report.
pub async fn run(plan: &Plan, mut show: impl FnMut(Progress)) -> Result<Report, Error> {
    check(plan)?;
    let run_number = getrandom::u32().unwrap_or(0) as u16;
    let run = Run {
        plan,
        tally: Tally::new(now(), run_number),
        members: RefCell::default(),
        published: RefCell::new(vec![0; plan.groups.len()]),
        connect_us: RefCell::new(histogram()),
        failures: RefCell::default(),
        ended: RefCell::default(),
        done: Cell::new(false),
    };
    let all = async {
        let report = run.all().await;
        run.done.set(true);
        report
    };
    let watch = async {
        while !run.done.get() {
            show(run.progress());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        report = all => report,
        () = watch => unreachable!("the watch ends only after the report"),
    }
}

fn check(plan: &Plan) -> Result<(), Error> {
    let wrong = |rule: String| Err(Error::Plan(rule));
    let wanted: usize = plan.subscribers.iter().map(|(_, count)| count).sum();
    if wanted == 0 || plan.groups.is_empty() {
        return wrong("a run needs at least one subscriber and one group".into());
    }
    if plan.size < MARKER_BYTES {
        return wrong(format!("size = {}: a message carries a mark of {MARKER_BYTES} bytes, so it can't be shorter", plan.size));
    }
    match plan.pace {
        Pace::Rate(rate) if !(rate.is_finite() && rate > 0.0) => wrong(format!("rate = {rate}: has to be above 0")),
        Pace::Window(0) => wrong("window = 0: has to be at least 1".into()),
        _ if !(plan.ramp.is_finite() && plan.ramp > 0.0) => wrong(format!("ramp = {}: has to be above 0", plan.ramp)),
        _ => Ok(()),
    }
}

impl Run<'_> {
    async fn all(&self) -> Result<Report, Error> {
        let before = self.server_usage()?;
        let mut receivers = JoinSet::new();
        let (stop, stopped) = watch::channel(());
        self.connect(&mut receivers, &stopped).await?;
        let connected = self.server_usage()?;
        tokio::time::sleep(SETTLE).await;
        let idle = self.server_usage()?;
        let mut publisher = self.publisher().await?;
        let (own, start, quiet) = (self.own_usage(), now(), self.server_usage()?);
        let trouble = self.publish(&mut publisher).await;
        let sent = start.elapsed();
        let published = self.published.borrow().iter().sum();
        publisher.answers.reach(published).await;
        self.tally.reach(self.due(), PATIENCE).await;
        let (elapsed, busy) = (start.elapsed(), self.server_usage()?);
        let answers = publisher.answers.counts();
        let account = report::Account {
            before,
            connected,
            idle,
            quiet,
            busy,
            own_cpu: self.own_usage().cpu.saturating_sub(own.cpu),
            sent,
            elapsed,
            answers,
            trouble,
        };
        while let Some(Ok(ended)) = receivers.try_join_next() {
            self.ended.borrow_mut().extend(ended);
        }
        drop(stop);
        // What has not closed by then ends with this process.
        let _ = tokio::time::timeout(PATIENCE, receivers.join_all()).await;
        Ok(report::report(self, account))
    }

    fn server_usage(&self) -> Result<Option<Usage>, Error> {
        let Some(server) = self.plan.server else { return Ok(None) };
        server.usage().map(Some).map_err(|error| Error::Process { pid: server.0, reason: error.to_string() })
    }

    fn own_usage(&self) -> Usage {
        // Where there is no /proc, it is not said whether we were the bottleneck.
        Process::own().usage().unwrap_or_default()
    }

    fn progress(&self) -> Progress {
        let latency = self.tally.latency.borrow();
        Progress {
            connected: self.members.borrow().len(),
            published: self.published.borrow().iter().sum(),
            delivered: self.tally.delivered.get(),
            latency: (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99)),
        }
    }

    /// Opens all connections at the pace of the ramp; each goes on receiving in `receivers`.
    async fn connect(&self, receivers: &mut JoinSet<Option<ClientError>>, stop: &watch::Receiver<()>) -> Result<(), Error> {
        let scratch = websocket::scratch();
        let permits = Semaphore::new(CONNECTING);
        let begin = now();
        let targets = self.plan.subscribers.iter().flat_map(|(target, count)| std::iter::repeat_n(Rc::new(target.clone()), *count));
        let attempts = targets.enumerate().map(|(at, target)| {
            let (scratch, permits) = (scratch.clone(), &permits);
            async move {
                tokio::time::sleep_until((begin + Duration::from_secs_f64(at as f64 / self.plan.ramp)).into()).await;
                let _permit = permits.acquire().await;
                let start = now();
                let stream = at % self.plan.groups.len();
                let subscriber = Subscriber::connect(&target, &self.plan.groups[stream], &scratch).await;
                (start.elapsed(), stream as u32, target, subscriber)
            }
        });
        let mut attempts: futures_util::stream::FuturesUnordered<_> = attempts.collect();
        while let Some((took, stream, target, subscriber)) = futures_util::StreamExt::next(&mut attempts).await {
            match subscriber {
                Ok(subscriber) => {
                    self.connect_us.borrow_mut().saturating_record(took.as_micros() as u64);
                    let member = Rc::new(Member::new(self.tally.clone(), stream));
                    self.members.borrow_mut().push(member.clone());
                    receivers.spawn_local(subscriber.run(target, member, stop.clone()));
                }
                Err(error) => self.failures.borrow_mut().push(error),
            }
        }
        if !self.members.borrow().is_empty() {
            return Ok(());
        }
        let wanted = self.plan.subscribers.iter().map(|(_, count)| count).sum();
        match self.failures.borrow_mut().pop() {
            Some(last) => Err(Error::NoSubscriber { wanted, last }),
            None => Ok(()),
        }
    }

    async fn publisher(&self) -> Result<Publisher, Error> {
        let address = &self.plan.publish.address;
        let connected = Publisher::connect(&self.plan.publish).await;
        connected.map_err(|error| Error::Publisher { address: address.clone(), reason: error.to_string() })
    }

    /// Publishes until the time is over, or something stands in the way; then says what.
    async fn publish(&self, publisher: &mut Publisher) -> Option<String> {
        let published = match self.plan.pace {
            Pace::Rate(rate) => self.at_rate(publisher, rate).await,
            Pace::Window(window) => self.in_window(publisher, window).await,
        };
        published.err().map(|error| error.to_string())
    }

    async fn at_rate(&self, publisher: &mut Publisher, rate: f64) -> std::io::Result<()> {
        let begin = now();
        for nth in 0u64.. {
            let due = Duration::from_secs_f64(nth as f64 / rate);
            if due >= self.plan.duration || self.is_over(publisher) {
                break;
            }
            // All that is due already goes out in one write.
            if begin + due > now() {
                publisher.flush().await?;
                tokio::time::sleep_until((begin + due).into()).await;
            }
            self.queue(publisher, nth, begin + due);
        }
        publisher.flush().await
    }

    async fn in_window(&self, publisher: &mut Publisher, window: u64) -> std::io::Result<()> {
        let end = now() + self.plan.duration;
        let members = self.members_by_stream();
        // Deliveries that were given up, so that losing one does not end the run.
        let mut given_up = 0;
        for nth in 0u64.. {
            let next = members[(nth % members.len() as u64) as usize];
            let allowed = next * (window - 1) + given_up;
            if self.due() > self.tally.delivered.get() + allowed {
                publisher.flush().await?;
                if !self.tally.reach(self.due() - allowed, PATIENCE).await {
                    given_up = self.due() - self.tally.delivered.get();
                }
            }
            if now() >= end || self.is_over(publisher) {
                break;
            }
            self.queue(publisher, nth, now());
        }
        publisher.flush().await
    }

    /// Without a connection nothing can be published, without a listener nothing is delivered.
    fn is_over(&self, publisher: &Publisher) -> bool {
        publisher.answers.counts().ended
    }

    fn queue(&self, publisher: &mut Publisher, nth: u64, due: Instant) {
        let stream = (nth % self.plan.groups.len() as u64) as usize;
        let number = {
            let mut published = self.published.borrow_mut();
            published[stream] += 1;
            published[stream]
        };
        let marker = Marker { run: self.tally.run, stream: stream as u32, number, due_us: self.tally.micros(due) };
        publisher.queue(&self.plan.groups[stream], &marker.payload(self.plan.size));
    }

    fn members_by_stream(&self) -> Vec<u64> {
        let mut counts = vec![0; self.plan.groups.len()];
        for member in self.members.borrow().iter() {
            counts[member.stream() as usize] += 1;
        }
        counts
    }

    /// How many deliveries all that was published should bring.
    fn due(&self) -> u64 {
        let published = self.published.borrow();
        self.members_by_stream().iter().zip(published.iter()).map(|(members, published)| members * published).sum()
    }
}
