//! Who is in which group, on all nodes: tells Redis what the node says, and looks after those who hang on nodes that are gone.
//!
//! Redis decides, in a script, who is the first connection of a user anywhere and who the last, and tells it on the group's own channel, so that it stands
//! among the events where it happened. Everything that a node has said hangs on its lease. Whoever finds that a lease is gone condemns the node's roll,
//! after which it takes no batch any more, and sweeps it; a node that comes back finds its roll condemned and begins another one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{debug, info};

use super::{
    Config, Lease, RETRY_AFTER, command::Commands, now, pipeline::Pipeline, random_epoch, resp::Reply, roll::Roll, status::Status,
};
use crate::{
    broker::{Attendance, Error},
    metrics::Metrics,
    protocol::{Attendee, Census, GroupName, Roster, UserId},
};

/// Groups, and people of each, that are swept in one step.
const GROUPS: usize = 16;
const PEOPLE: usize = 100;

/// Rolls that are looked at: one for each node, and what dead ones have left.
const ROLLS: usize = 2048;

/// What this node says, shared by those who say it and the one who tells Redis.
#[derive(Clone)]
pub(super) struct Register {
    roll: Arc<Mutex<Roll>>,
    news: Arc<Notify>,
}

impl Register {
    pub(super) fn new(node: &str) -> Self {
        Self { roll: Arc::new(Mutex::new(Roll::new(node))), news: Arc::default() }
    }

    pub(super) fn attend(&self, attendances: Vec<Attendance>) {
        let mut roll = self.roll();
        attendances.into_iter().for_each(|attendance| roll.attend(attendance));
        self.news.notify_one();
    }

    /// Whether members of the group here are told who comes and goes.
    pub(super) fn is_live(&self, group: &str) -> bool {
        self.roll().is_live(group)
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells Redis, and sweeps.
pub(super) struct Registrar {
    config: Arc<Config>,
    commands: Commands,
    pipeline: Pipeline,
    status: Arc<Status>,
    lease: Lease,
    register: Register,
    metrics: Arc<Metrics>,
}

/// What a turn was.
enum Done {
    Looked,
    Said,
    Nothing,
}

impl Registrar {
    pub(super) fn new(
        config: Arc<Config>,
        commands: Commands,
        pipeline: Pipeline,
        status: Arc<Status>,
        lease: Lease,
        register: Register,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { config, commands, pipeline, status, lease, register, metrics }
    }

    /// Works for ever.
    pub(super) async fn run(self) {
        let (mut links, mut made) = (self.status.commands(), self.lease.made());
        let mut look_at = now();
        loop {
            // The sender lives as long as the broker.
            let _ = links.wait_for(|up| *up).await;
            let done = if now() >= look_at { self.look_around().await.map(|()| Done::Looked) } else { self.say().await };
            match done {
                Ok(Done::Said) => {}
                Ok(Done::Looked) => look_at = now() + self.config.lease / 3,
                Ok(Done::Nothing) => tokio::select! {
                    () = self.register.news.notified() => {}
                    () = tokio::time::sleep_until(look_at.into()) => {}
                    // What hung on the lease may be gone.
                    _ = made.changed() => look_at = now(),
                },
                Err(why) => {
                    debug!(%why, "presence could not be told");
                    look_at = now();
                    tokio::time::sleep((self.config.lease / 6).min(RETRY_AFTER)).await;
                }
            }
        }
    }

    /// Gives the next batch, if there is one.
    async fn say(&self) -> Result<Done, Error> {
        let Some(batch) = self.register.roll().batch(&self.commands, random_epoch()) else { return Ok(Done::Nothing) };
        match self.pipeline.call(batch).await?.unsigned() {
            Some(1) => self.register.roll().confirm(),
            _ => self.begin_anew(),
        }
        Ok(Done::Said)
    }

    fn begin_anew(&self) {
        let mut roll = self.register.roll();
        info!(roll = roll.name(), "Redis has lost who is here, or took this node for gone: all is told again");
        roll.begin_anew();
        self.metrics.presence_rebuilds.inc();
    }

    /// Looks whether Redis has what it was told, and whether there are rolls of nodes that are gone.
    async fn look_around(&self) -> Result<(), Error> {
        self.look_at_own().await?;
        let unconfirmed = Error::Unconfirmed { retry_after: RETRY_AFTER };
        let names = self.pipeline.call(self.commands.rolls(ROLLS)).await?.array().ok_or(unconfirmed)?;
        let mut names: Vec<String> = names.into_iter().filter_map(text).collect();
        let (own, is_said) = {
            let roll = self.register.roll();
            (roll.name(), roll.is_said())
        };
        names.retain(|name| *name != own);
        let mine = |name: &str| Roll::node_of(name) == self.lease.node();
        // One's own former rolls go when everything stands in the present one, so that nobody seems to leave.
        for name in names.iter().filter(|name| mine(name) && is_said) {
            self.sweep(name, true).await?;
        }
        names.retain(|name| !mine(name));
        for name in self.leaseless(names).await? {
            // Looked at again for each: a link that was made anew meanwhile knows nothing of who lives.
            if !self.knows_who_lives() {
                break;
            }
            self.sweep(&name, false).await?;
        }
        Ok(())
    }

    /// Whether a lease that is missing is that of a node that is gone. When Redis was away from all nodes, all leases may have ended: who is back first
    /// gives the others the time of a lease.
    fn knows_who_lives(&self) -> bool {
        self.status.commands_for() >= self.config.lease
    }

    async fn look_at_own(&self) -> Result<(), Error> {
        let (name, taken, is_said) = {
            let roll = self.register.roll();
            (roll.name(), roll.taken(), roll.is_said())
        };
        if taken == 0 || !is_said {
            // What is still to be said finds out by itself.
            return Ok(());
        }
        let found = self.pipeline.call(self.commands.taken(&name)).await?.unsigned();
        if found != Some(taken) && self.register.roll().taken() == taken {
            self.begin_anew();
        }
        Ok(())
    }

    /// Those of the rolls whose node has no lease.
    async fn leaseless(&self, names: Vec<String>) -> Result<Vec<String>, Error> {
        if names.is_empty() {
            return Ok(names);
        }
        let nodes: Vec<Bytes> = names.iter().map(|name| Bytes::copy_from_slice(Roll::node_of(name).as_bytes())).collect();
        let leases = self.pipeline.call(self.commands.leases(&nodes)).await?.array().unwrap_or_default();
        Ok(names.into_iter().zip(leases).filter(|(_, lease)| *lease == Reply::Nil).map(|(name, _)| name).collect())
    }

    /// Takes everybody out of groups who is there by this roll, unless its node lives.
    async fn sweep(&self, name: &str, own: bool) -> Result<(), Error> {
        if self.pipeline.call(self.commands.condemn(name, Roll::node_of(name), own)).await?.unsigned() != Some(1) {
            return Ok(());
        }
        let mut removed = 0;
        loop {
            let groups = self.pipeline.call(self.commands.groups_of_roll(name, GROUPS)).await?.array().unwrap_or_default();
            let groups: Vec<GroupName> = groups.into_iter().filter_map(text).filter_map(|name| GroupName::parse(&name).ok()).collect();
            let swept = self.pipeline.call(self.commands.sweep(name, &groups, PEOPLE, random_epoch())).await?;
            removed += swept.unsigned().unwrap_or(0);
            if groups.is_empty() || swept == Reply::Integer(-1) {
                break;
            }
        }
        if !own {
            self.metrics.presence_swept.inc_by(removed);
            info!(roll = name, removed, "a node is gone, and who was there by it");
        }
        Ok(())
    }
}

fn text(reply: Reply) -> Option<String> {
    String::from_utf8(reply.bytes()?.to_vec()).ok()
}

/// Asks who is in a group.
pub(super) async fn roster(
    commands: &Commands,
    pipeline: &Pipeline,
    group: &GroupName,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Roster, Error> {
    let reply = pipeline.call(commands.roster(group, after, limit.saturating_add(1))).await?;
    let (census, users) = read_roster(reply).ok_or(Error::Unconfirmed { retry_after: RETRY_AFTER })?;
    Ok(Roster::page(census, users, limit))
}

/// Reads what the script answered.
fn read_roster(reply: Reply) -> Option<(Census, Vec<Attendee>)> {
    let mut items = reply.array()?.into_iter();
    let mut number = || items.next()?.unsigned();
    let (epoch, version, users) = (number()?, number()?, number()?);
    let (anonymous, connections) = (number()?, number()?);
    let census = Census { epoch: u32::try_from(epoch).ok()?, version, users, anonymous, connections };
    let (list, each) = (items.next()?.array()?, items.next()?.array()?);
    let attendee = |(user, connections)| {
        let connections = text(connections)?.parse().ok()?;
        Some(Attendee { user: UserId::parse(&text(user)?).ok()?, connections })
    };
    Some((census, list.into_iter().zip(each).filter_map(attendee).collect()))
}
