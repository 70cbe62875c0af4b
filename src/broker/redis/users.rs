//! Directives between nodes: out as events of a group of their own, in on the way of all events, and confirmed to the node that asked.
//!
//! Each node confirms on the asking node's own channel (the one of its probes) when its sessions have the directive. Who asks waits for as many as
//! listened when the directive was published, but not for long: a node whose link is down carries it out later, by reading what it missed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{
    RETRY_AFTER, Redis, backoff::FIRST_PAUSE, command::Commands, directive, follower::Attach, now, pipeline::Pipeline, random_epoch,
    resp::Reply,
};
use crate::{
    broker::{Deliver, Demand, Error, Host, Item, Overflow, Reached, Sessions, Standing, users::TOO_MANY},
    metrics::{Metrics, RedisMetrics},
    protocol::{Event, Gap, GapReason, GroupName, Position, Retention, UserId},
};

/// Directives that a node can catch up with when its link was down.
pub(super) const KEPT: Retention = Retention { size: 10_000, ttl: Duration::from_secs(600) };

/// How long an answer waits for nodes to confirm.
const CONFIRMING: Duration = Duration::from_secs(1);

/// Confirmations that wait to be sent; without one more the asking node counts this one as pending.
const CONFIRMATIONS: usize = 4096;

/// Confirmations that are being sent at once.
const SENDING: usize = 64;

/// What begins a confirmation, on a channel where probes are numbers.
const DONE: &str = "done";

/// That a node has given a directive to so many sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    directive: u64,
    sessions: usize,
}

impl Done {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(payload).ok()?.split(' ');
        if words.next() != Some(DONE) {
            return None;
        }
        Some(Self { directive: words.next()?.parse().ok()?, sessions: words.next()?.parse().ok()? })
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DONE} {} {}", self.directive, self.sessions)
    }
}

/// Those on this node who wait for confirmations.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<u64, mpsc::Sender<usize>>>);

impl Waiting {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, mpsc::Sender<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn done(&self, done: Done) {
        if let Some(asker) = self.table().get(&done.directive) {
            // One node more than there can be is no node of ours.
            let _ = asker.try_send(done.sessions);
        }
    }

    fn begin(self: &Arc<Self>, directive: u64) -> Confirmations {
        let (sender, receiver) = mpsc::channel(super::lease::NODES);
        self.table().insert(directive, sender);
        Confirmations { waiting: self.clone(), directive, receiver }
    }
}

/// What comes back for one directive. Forgotten when it is dropped.
struct Confirmations {
    waiting: Arc<Waiting>,
    directive: u64,
    receiver: mpsc::Receiver<usize>,
}

impl Confirmations {
    async fn next(&mut self) -> Option<usize> {
        self.receiver.recv().await
    }
}

impl Drop for Confirmations {
    fn drop(&mut self) {
        self.waiting.table().remove(&self.directive);
    }
}

/// Takes what comes from Redis apart: directives to sessions, all else to members.
pub(super) struct Sorter {
    deliver: Arc<dyn Deliver>,
    sessions: Arc<dyn Sessions>,
    directives: GroupName,
    node: String,
    waiting: Arc<Waiting>,
    confirm: mpsc::Sender<(String, Done)>,
    metrics: Arc<Metrics>,
    redis_metrics: RedisMetrics,
}

impl Deliver for Sorter {
    fn deliver(&self, group: &GroupName, item: Item) -> Result<usize, Overflow> {
        if *group != self.directives {
            return self.deliver.deliver(group, item);
        }
        match item {
            Item::Event(epoch, event) => self.direct(epoch, &event),
            Item::Gap(gap) => self.lost(gap),
            // Nobody is a member of it.
            Item::Presence(_) | Item::Interrupted | Item::Resumed => Ok(0),
        }
    }

    fn members(&self, group: &GroupName) -> usize {
        self.deliver.members(group)
    }
}

impl Sorter {
    fn direct(&self, epoch: u32, event: &Event) -> Result<usize, Overflow> {
        let Some((directive, from)) = directive::decode(epoch, event) else {
            self.redis_metrics.foreign.inc();
            warn!(offset = event.offset, "a directive that this version does not know");
            return Ok(0);
        };
        let sessions = self.sessions.direct(&Arc::new(directive))?;
        let done = Done { directive: event.id.number(), sessions };
        if from == self.node {
            self.waiting.done(done);
        } else {
            // Without room the asking node is told less than there is, and says so.
            let _ = self.confirm.try_send((from, done));
        }
        Ok(sessions)
    }

    fn lost(&self, gap: Gap) -> Result<usize, Overflow> {
        self.sessions.review()?;
        // A new life of the server has no past, which is not to say that anything was lost.
        if gap.reason != GapReason::Epoch {
            self.metrics.directives_lost.inc_by(gap.count.unwrap_or(1));
        }
        warn!(reason = gap.reason.name(), count = gap.count, "directives about users may be lost: sessions compare with what stands");
        Ok(0)
    }
}

/// Keeps the node among those that listen, and sends its confirmations.
pub(super) struct Courier {
    commands: Commands,
    pipeline: Pipeline,
    attaching: mpsc::Sender<Attach>,
    sessions: Arc<dyn Sessions>,
    directives: GroupName,
    confirming: mpsc::Receiver<(String, Done)>,
}

impl Courier {
    /// Works for ever.
    pub(super) async fn run(self) {
        let Self { commands, pipeline, attaching, sessions, directives, mut confirming } = self;
        while !attach(&attaching, &directives).await {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        // A session that was opened before may have missed what changed since it asked.
        while sessions.review().is_err() {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        let confirmations = stream::poll_fn(|cx| confirming.poll_recv(cx));
        let send = |(node, done): (String, Done)| {
            let tell = Commands::tell(&commands.probe_channel(&node), done.to_string().as_bytes());
            let pipeline = &pipeline;
            async move {
                // The asking node counts this one as pending then.
                let _ = pipeline.call(tell).await;
            }
        };
        confirmations.for_each_concurrent(SENDING, send).await;
        std::future::pending().await
    }
}

async fn attach(attaching: &mpsc::Sender<Attach>, directives: &GroupName) -> bool {
    let (answer, outcome) = oneshot::channel();
    let attach = Attach { group: directives.clone(), retention: Some(KEPT), answer };
    attaching.send(attach).await.is_ok() && outcome.await.is_ok_and(|outcome| outcome.is_ok())
}

/// The two ends of directives on this node, but for who attaches: that is told with [`Ends::courier`].
pub(super) struct Ends {
    pub(super) sorter: Arc<Sorter>,
    pub(super) waiting: Arc<Waiting>,
    confirming: mpsc::Receiver<(String, Done)>,
    directives: GroupName,
}

impl Ends {
    pub(super) fn new(host: &Host, node: &str, metrics: Arc<Metrics>, redis_metrics: RedisMetrics) -> Self {
        let (confirm, confirming) = mpsc::channel(CONFIRMATIONS);
        let (waiting, directives) = (Arc::new(Waiting::default()), GroupName::directives());
        let sorter = Sorter {
            deliver: host.deliver.clone(),
            sessions: host.sessions.clone(),
            directives: directives.clone(),
            node: node.to_owned(),
            waiting: waiting.clone(),
            confirm,
            metrics,
            redis_metrics,
        };
        Self { sorter: Arc::new(sorter), waiting, confirming, directives }
    }

    pub(super) fn courier(self, commands: Commands, pipeline: Pipeline, attaching: mpsc::Sender<Attach>) -> Courier {
        let sessions = self.sorter.sessions.clone();
        Courier { commands, pipeline, attaching, sessions, directives: self.directives, confirming: self.confirming }
    }
}

impl Redis {
    pub(super) async fn direct_now(&self, user: &UserId, demand: Demand) -> Result<Reached, Error> {
        self.status.wait(self.config.publish_wait).await;
        let id = self.ids.next((self.clock)());
        let encoded = directive::encode(id, self.lease.node(), user, &demand);
        let mut confirmations = self.waiting.begin(id.number());
        let command = self.commands.direct(&encoded, user, demand.change(), random_epoch());
        let placed = placed(self.pipeline.call(command).await?).ok_or(Error::Unconfirmed { retry_after: RETRY_AFTER })?;
        let Placed::At { listening, living } = placed else { return Err(TOO_MANY) };
        let mut reached = Reached::default();
        let deadline = now() + CONFIRMING;
        while reached.nodes < listening {
            match tokio::time::timeout_at(deadline.into(), confirmations.next()).await {
                Ok(Some(sessions)) => {
                    reached.nodes += 1;
                    reached.sessions += sessions;
                }
                Ok(None) | Err(_) => break,
            }
        }
        reached.pending = living.max(listening) - reached.nodes;
        Ok(reached)
    }

    pub(super) async fn standing_now(&self, user: &UserId) -> Result<Standing, Error> {
        let [read, keep] = self.commands.standing(user);
        // Whether it is kept for longer is seen by the next one who asks.
        let (read, _) = futures_util::join!(self.pipeline.call(read), self.pipeline.call(keep));
        standing(read?).ok_or(Error::Unconfirmed { retry_after: RETRY_AFTER })
    }
}

/// What became of a directive.
enum Placed {
    At { listening: usize, living: usize },
    TooMany,
}

/// Reads what the script answered.
fn placed(reply: Reply) -> Option<Placed> {
    let mut items = reply.array()?.into_iter();
    if items.next()? == Reply::Integer(-1) {
        return Some(Placed::TooMany);
    }
    let _offset = items.next()?;
    let mut count = || usize::try_from(items.next()?.unsigned()?).ok();
    Some(Placed::At { listening: count()?, living: count()? })
}

/// Reads the fields of what stands, in pairs.
fn standing(reply: Reply) -> Option<Standing> {
    let mut fields = reply.array()?.into_iter();
    let mut standing = Standing::default();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        let (field, value) = (field.bytes()?, value.bytes()?);
        match std::str::from_utf8(&field).ok()?.strip_prefix("g:") {
            Some(name) => standing.groups.extend(GroupName::parse(name).ok()),
            None if field == "p" => standing.position = position(&value)?,
            None if field == "b" => standing.began = position(&value)?,
            // Something that a later version keeps.
            None => {}
        }
    }
    standing.groups.sort();
    Some(standing)
}

fn position(text: &[u8]) -> Option<Position> {
    let (epoch, offset) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    Some(Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(text.as_bytes().into())
    }

    #[test]
    fn what_stands_is_read_whatever_else_is_kept_with_it() {
        let fields = ["g:b", "", "p", "7 12", "b", "6 3", "later", "x", "g:a", ""].map(bulk).to_vec();
        let groups = ["a", "b"].map(|name| GroupName::parse(name).unwrap()).to_vec();
        let at = |epoch, offset| Position { epoch, offset };
        assert_eq!(standing(Reply::Array(fields)), Some(Standing { groups, began: at(6, 3), position: at(7, 12) }));
        assert_eq!(standing(Reply::Array(Vec::new())), Some(Standing::default()));
        assert_eq!(standing(Reply::Array(["p", "x"].map(bulk).to_vec())), None);
    }

    #[test]
    fn confirmations_come_back_to_who_waits_and_no_longer() {
        let waiting = Arc::new(Waiting::default());
        let mut confirmations = waiting.begin(7);
        let done = Done { directive: 7, sessions: 3 };
        assert_eq!(Done::parse(done.to_string().as_bytes()), Some(done));
        assert_eq!(Done::parse(b"12"), None);
        waiting.done(done);
        waiting.done(Done { directive: 8, sessions: 1 });
        assert_eq!(confirmations.receiver.try_recv(), Ok(3));
        assert!(confirmations.receiver.try_recv().is_err());
        drop(confirmations);
        assert!(waiting.table().is_empty());
    }
}
