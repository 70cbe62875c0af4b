//! The broker of many nodes: Redis or Valkey gives events their place, keeps them, and carries them to every node that follows the group.
//!
//! Two links, on a thread of their own: one for commands (`pipeline`), one for events (`follower`, with the state of each group in
//! `table`). What is atomic is a script (`publish.lua`), so a node that dies anywhere leaves nothing half-done. Nothing here depends on the
//! clocks of nodes agreeing: order comes from offsets, expiry from the server's clock, and only an event's id carries the time of its node.
//!
//! Its invariant is that of [`Broker`]: what a node delivers of a group is one order without holes, and a gap stands where something is
//! missing.

mod backoff;
mod command;
mod directive;
mod examine;
mod follower;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod lease;
mod message;
mod pipeline;
mod presence;
mod resp;
mod roll;
mod sentinel;
mod spread;
mod status;
mod table;
mod url;
mod users;
mod wire;

use std::{
    fmt, io,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

pub use examine::{Facts, Persistence, Told, examine, examine_sentinels};
pub use lease::Lease;
pub use spread::Spread;
pub use url::{Url, UrlError};
pub use wire::LinkError;

use self::{
    backoff::Backoff,
    command::{Commands, Range},
    follower::{Attach, Detached, Follower},
    lease::Keeper,
    pipeline::{Driver, Pipeline, Role},
    presence::{Register, Registrar},
    resp::Reply,
    sentinel::Locator,
    status::Status,
    users::{Courier, Ends, Waiting},
};
use super::{
    Answer, Attendance, Broker, Cluster, Deliver, Demand, Describe, Error, History, Host, Node, Publication, Reached, Receipt, Standing,
    Users, memory::Clock,
};
use crate::{
    metrics::{Metrics, RedisMetrics},
    protocol::{Event, EventId, GroupName, IdGenerator, Position, Retention, Roster, UserId},
};

/// How a node uses Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it is and how to get in. With sentinels the host is the name by which they know it.
    pub url: Url,
    /// Who is asked where the primary is, and how to get in there; empty: nobody.
    pub sentinels: Vec<Url>,
    /// Certificates to trust, in PEM; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// What every key and channel begins with, so that several installations can share a server.
    pub prefix: String,
    /// What a start without Redis means.
    pub required: Required,
    /// For connecting and logging in, in total.
    pub connect_timeout: Duration,
    /// A link that has not answered for so long is made anew.
    pub timeout: Duration,
    /// How often the link for events is probed.
    pub probe_interval: Duration,
    /// Every group's position is checked once in this time.
    pub check_interval: Duration,
    /// How long a group that nobody follows any more is kept subscribed.
    pub linger: Duration,
    /// How long a publish waits for a link that is down before it fails.
    pub publish_wait: Duration,
    /// A node that has been silent for so long is taken to be gone.
    pub lease: Duration,
}

/// What a start without Redis means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// The server starts, says that it isn't ready, and goes on trying.
    Wait,
    /// It does not start.
    Fail,
}

impl Config {
    /// The defaults for a server at this address.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            sentinels: Vec::new(),
            ca: None,
            prefix: "fanfare".to_owned(),
            required: Required::Wait,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(4),
            probe_interval: Duration::from_secs(2),
            check_interval: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            publish_wait: Duration::ZERO,
            lease: Duration::from_secs(10),
        }
    }

    /// What people know it by: its address, or its name with sentinels, and the database.
    #[must_use]
    pub fn name(&self) -> String {
        let Url { host, port, database, .. } = &self.url;
        match (self.sentinels.is_empty(), host.contains(':')) {
            (false, _) => format!("{host}/{database}"),
            (true, false) => format!("{host}:{port}/{database}"),
            (true, true) => format!("[{host}]:{port}/{database}"),
        }
    }
}

/// When to try again what failed because a link is down: longer than the first attempts to make it anew.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the [module](self).
pub struct Redis {
    config: Arc<Config>,
    commands: Commands,
    pipeline: Pipeline,
    attaching: mpsc::Sender<Attach>,
    detached: Arc<Detached>,
    deliver: Arc<dyn Deliver>,
    ids: Arc<IdGenerator>,
    clock: Clock,
    status: Arc<Status>,
    metrics: RedisMetrics,
    lease: Lease,
    describe: Describe,
    waiting: Arc<Waiting>,
    register: Register,
}

/// The thread behind the broker. It ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic has been logged by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What is one and the same in a node, however many servers it uses.
#[derive(Clone)]
struct Common {
    host: Host,
    ids: Arc<IdGenerator>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Common {
    fn new(host: Host, clock: Clock, metrics: Arc<Metrics>) -> Self {
        // Until Redis has given the node a number, which with several may be later than the first event.
        let number = u16::try_from(random() % 1024).unwrap_or_default();
        Self { host, ids: Arc::new(IdGenerator::new(number)), clock, metrics }
    }
}

impl Redis {
    /// Starts the broker's thread. The links are made there; until they are, everything is answered with [`Error::Away`].
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(config: Config, host: Host, clock: Clock, metrics: Arc<Metrics>) -> io::Result<(Arc<Self>, Running)> {
        Self::start_in(Common::new(host, clock, metrics), config, Role::ALONE)
    }

    fn start_in(common: Common, config: Config, role: Role) -> io::Result<(Arc<Self>, Running)> {
        let Common { host, ids, clock, metrics: all_metrics } = common;
        let config = Arc::new(config);
        let metrics = all_metrics.redis(&config.name());
        let locator = Arc::new(Locator::new(config.clone()));
        let commands = Commands::new(&config.prefix);
        let status = Arc::new(Status::new(config.name(), metrics.clone()));
        let node = (host.describe)().id;
        let ends = Ends::new(&host, &node, all_metrics.clone(), metrics.clone());
        let (waiting, sorter) = (ends.waiting.clone(), ends.sorter.clone());
        let Host { deliver, describe, .. } = host;
        let register = Register::new(&node);
        let (driver, pipeline) = Driver::new(
            config.clone(),
            locator.clone(),
            commands.clone(),
            status.clone(),
            metrics.clone(),
            ids.clone(),
            node.clone(),
            role,
        );
        let (follower, attaching, detached) = Follower::new(
            config.clone(),
            locator.clone(),
            commands.clone(),
            pipeline.clone(),
            sorter,
            waiting.clone(),
            status.clone(),
            metrics.clone(),
            register.clone(),
            &node,
        );
        let (keeper, lease) = Keeper::new(config.clone(), commands.clone(), pipeline.clone(), status.clone(), describe.clone());
        let (stop, stopping) = watch::channel(false);
        let registrar = Registrar::new(
            config.clone(),
            commands.clone(),
            pipeline.clone(),
            status.clone(),
            lease.clone(),
            register.clone(),
            all_metrics,
        );
        let courier = ends.courier(commands.clone(), pipeline.clone(), attaching.clone());
        let thread = spawn(driver, follower, registrar, keeper, courier, locator, stopping)?;
        let redis = Self {
            config,
            commands,
            pipeline,
            attaching,
            detached,
            deliver,
            ids,
            clock,
            status,
            metrics,
            lease,
            describe,
            waiting,
            register,
        };
        Ok((Arc::new(redis), Running { stop, thread: Some(thread) }))
    }

    /// Connects once, for a start that must not happen without Redis.
    ///
    /// # Errors
    /// Says why it can't be used.
    pub fn check(config: &Config) -> Result<(), LinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Locator::new(Arc::new(config.clone())).connect()).map(drop)
    }

    /// What says that this node lives.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn publish_now(&self, publication: Publication) -> Result<Receipt, Error> {
        let Publication { group, content, sender, key, retention } = publication;
        self.status.wait(self.config.publish_wait).await;
        let id = self.ids.next((self.clock)());
        let event = content.placed(id, 0, sender);
        let plain = retention.is_none() && key.is_none();
        let command = if plain {
            Commands::tell(&self.commands.channel(&group), &message::encode_unplaced(event))
        } else {
            self.commands.publish(&group, &message::encode(event), id.number(), retention, key.as_ref(), random_epoch())
        };
        let began = now();
        let reply = self.pipeline.call(command).await?;
        self.metrics.publish.observe((now() - began).as_secs_f64());
        let subscribers = self.deliver.members(&group);
        if plain {
            return Ok(Receipt { id, position: Position::NONE, subscribers, duplicate: false });
        }
        receipt(reply, subscribers).ok_or(Error::Unconfirmed { retry_after: RETRY_AFTER })
    }

    async fn attach_now(&self, group: &GroupName, retention: Option<Retention>) -> Result<Position, Error> {
        let (answer, outcome) = oneshot::channel();
        let away = Error::Away { retry_after: RETRY_AFTER };
        let mut attaching = Attaching { group, outcome, detached: &self.detached };
        self.attaching.send(Attach { group: group.clone(), retention, answer }).await.map_err(|_| away)?;
        (&mut attaching.outcome).await.unwrap_or(Err(away))
    }

    async fn history_now(&self, group: &GroupName, after: u64, up_to: u64, limit: usize) -> Result<History, Error> {
        let reply = self.pipeline.call(self.commands.read(group, None, Range::Newest { after, up_to, limit })).await?;
        let page = follower::page(reply).ok_or(Error::Unconfirmed { retry_after: RETRY_AFTER })?;
        let mut events: Vec<Event> =
            page.events.into_iter().filter(|(epoch, _)| *epoch == page.top.epoch).map(|(_, event)| event).collect();
        events.reverse();
        Ok(History { events, start: page.start, top: page.top })
    }
}

/// Waits to be attached. Whoever does not wait any more when the answer comes detaches again.
struct Attaching<'a> {
    group: &'a GroupName,
    outcome: oneshot::Receiver<Result<Position, Error>>,
    detached: &'a Detached,
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        self.outcome.close();
        if matches!(self.outcome.try_recv(), Ok(Ok(_))) {
            self.detached.push(self.group.clone());
        }
    }
}

impl Broker for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn ready(&self) -> Result<(), String> {
        // Without its address: anybody may ask.
        self.status.trouble().map_or(Ok(()), |why| Err(format!("Redis: {why}")))
    }

    fn publish(&self, publication: Publication) -> Answer<'_, Receipt> {
        Box::pin(self.publish_now(publication))
    }

    fn attach<'a>(&'a self, group: &'a GroupName, retention: Option<Retention>) -> Answer<'a, Position> {
        Box::pin(self.attach_now(group, retention))
    }

    fn detach(&self, group: &GroupName) {
        self.detached.push(group.clone());
    }

    fn history<'a>(&'a self, group: &'a GroupName, after: u64, up_to: u64, limit: usize) -> Answer<'a, History> {
        Box::pin(self.history_now(group, after, up_to, limit))
    }

    fn attend(&self, attendances: Vec<Attendance>) {
        self.register.attend(attendances);
    }

    fn roster<'a>(&'a self, group: &'a GroupName, after: Option<&'a UserId>, limit: usize) -> Answer<'a, Roster> {
        Box::pin(presence::roster(&self.commands, &self.pipeline, group, after, limit))
    }
}

impl Users for Redis {
    fn direct<'a>(&'a self, user: &'a UserId, demand: Demand) -> Answer<'a, Reached> {
        Box::pin(self.direct_now(user, demand))
    }

    fn standing<'a>(&'a self, user: &'a UserId) -> Answer<'a, Standing> {
        Box::pin(self.standing_now(user))
    }
}

impl Cluster for Redis {
    fn node(&self) -> Node {
        lease::described(&self.describe, &self.status)
    }

    fn nodes(&self) -> Answer<'_, Vec<Node>> {
        Box::pin(lease::nodes(&self.commands, &self.pipeline))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Reads what the script answered.
fn receipt(reply: Reply, subscribers: usize) -> Option<Receipt> {
    let mut items = reply.array()?.into_iter();
    let (epoch, offset, id) = (items.next()?.unsigned()?, items.next()?.unsigned()?, items.next()?.unsigned()?);
    let duplicate = items.next()? == Reply::Integer(-1);
    let position = Position { epoch: u32::try_from(epoch).ok()?, offset };
    Some(Receipt { id: EventId::from_number(id), position, subscribers, duplicate })
}

fn spawn(
    driver: Driver,
    follower: Follower,
    registrar: Registrar,
    keeper: Keeper,
    courier: Courier,
    locator: Arc<Locator>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("broker".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = driver.run() => error!("the link for commands has ended"),
                () = follower.run() => error!("the link for events has ended"),
                () = locator.watch() => error!("the watch over sentinels has ended"),
                () = registrar.run() => error!("telling who is here has ended"),
                () = courier.run() => error!("directives have ended"),
                () = keeper.run(stop.wait_for(|stop| *stop)) => {}
            }
        });
        runtime.shutdown_background();
    })
}

/// The one place of this room that reads the clock.
#[expect(clippy::disallowed_methods, reason = "links have timeouts; everything below them is given the time")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn random() -> u64 {
    // Without randomness nodes would be alike, and would be told so by Redis.
    getrandom::u64().unwrap_or(0)
}

/// Never 0, which stands for "no history".
fn random_epoch() -> u32 {
    getrandom::u32().unwrap_or(1).max(1)
}
