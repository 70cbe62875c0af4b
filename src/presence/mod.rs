//! Who is in which group on this node, as the brokers are told it.
//!
//! A connection is here from [`Presence::enter`] until its [`Stay`] ends. When it is lost it counts for the grace time longer, and if the same user (or,
//! for an anonymous one, anybody anonymous) enters meanwhile, it was never away: nobody sees people leave and come back because their network blinked, a
//! page was loaded anew or everybody was sent to another node. Changes are told in batches: the first at once, others that come soon after it together.
//!
//! Its invariant: after [`Presence::tell`] the broker has been told exactly what the table holds.

mod table;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use self::table::Table;
use crate::{
    broker::Broker,
    metrics::Metrics,
    protocol::{GroupName, UserId},
};

/// Between one batch and the next: short enough to be taken for at once, long enough that a thousand who come together are a handful of changes to each
/// member.
pub const PAUSE: Duration = Duration::from_millis(50);

/// See the [module](self).
pub struct Presence {
    table: Mutex<Table>,
    /// Something is to be told, or will be.
    some: Notify,
    broker: Arc<dyn Broker>,
    metrics: Arc<Metrics>,
    clock: fn() -> Instant,
    /// The node leaves: its connections go elsewhere, and nobody shall see them gone meanwhile.
    closed: AtomicBool,
}

impl Presence {
    /// Nobody is there yet. A connection that is lost counts for `grace` longer.
    #[must_use]
    pub fn new(grace: Duration, broker: Arc<dyn Broker>, metrics: Arc<Metrics>, clock: fn() -> Instant) -> Self {
        Self { table: Mutex::new(Table::new(grace)), some: Notify::new(), broker, metrics, clock, closed: AtomicBool::new(false) }
    }

    /// A connection of this user has come into the group. `live`: whether members are told who comes and goes.
    #[must_use = "the connection is there only as long as this"]
    pub fn enter(self: &Arc<Self>, group: &GroupName, user: Option<&UserId>, live: bool) -> Stay {
        self.table().enter(group, user, live);
        self.some.notify_one();
        Stay { presence: self.clone(), group: group.clone(), user: user.cloned(), left: false }
    }

    /// Tells nothing any more. What has been told stands until the broker finds that the node is gone.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Tells the broker what has changed. Returns when this is next due, if that is known.
    pub fn tell(&self) -> Option<Instant> {
        let mut table = self.table();
        let due = table.expire((self.clock)());
        let changes = table.take_changes();
        self.metrics.presence.set(i64::try_from(table.len()).unwrap_or(i64::MAX));
        if !changes.is_empty() && !self.closed.load(Ordering::Relaxed) {
            // Under the lock, so that nobody tells something newer before it.
            self.broker.attend(changes);
        }
        due
    }

    /// Tells whatever changes, for ever.
    pub async fn run(&self) {
        loop {
            let due = self.tell();
            tokio::time::sleep(PAUSE).await;
            match due {
                Some(due) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(due.into()) => {}
                        () = self.some.notified() => {}
                    }
                }
                None => self.some.notified().await,
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}

/// A connection's being in a group. Dropping it says that the connection was lost.
#[derive(Debug)]
pub struct Stay {
    presence: Arc<Presence>,
    group: GroupName,
    user: Option<UserId>,
    left: bool,
}

impl Stay {
    /// Where it is.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// The connection has left the group on purpose, and counts no longer.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let Self { presence, group, user, left } = self;
        if *left {
            presence.table().leave(group, user.as_ref());
        } else {
            presence.table().lose(group, user.as_ref(), (presence.clock)());
        }
        presence.some.notify_one();
    }
}
