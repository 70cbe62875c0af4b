//! The tables group → members of one worker, their outboxes, and delivery.
//!
//! Everything here but the [`Router`] belongs to one worker's thread. The hub knows groups, links and the broker; it does not know
//! sessions, transports or rights. Its invariant: this node is attached to a group at the broker exactly as long as some worker has it
//! open.

mod link;
mod outbox;
mod recording;
mod router;
mod shard;
#[cfg(test)]
mod tests;
mod whereabouts;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration, time::Instant};

pub use link::{Attention, Link, Wire};
pub use outbox::{Full, Outbox, Slot};
pub use router::{Delivery, MAILBOX, Notice, Router};
use shard::Shard;

use crate::{
    broker::{Broker, Error, History},
    metrics::Metrics,
    protocol::{Encoding, Event, Gap, GapReason, GroupName, Position, Recovery, Retention, UserId},
};

/// Bounds of one connection's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes of frames that the wire has not taken yet.
    pub bytes: usize,
    /// How long the oldest of them may wait.
    pub age: Duration,
}

/// What happens to a member whose outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// Its connection ends.
    Disconnect,
    /// Its oldest events are dropped, and a gap tells it.
    DropOldest,
}

/// What a group's policy says about its members here.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How much of the past is kept.
    pub retention: Option<Retention>,
    /// What happens to a member whose outbox is full.
    pub slow: Slow,
    /// Whether members are told when events may not come for the time being, and when they come again.
    pub tell_interruptions: bool,
}

/// Events that one resume replays at most; older ones become a gap. With events of the largest size that is 60 MiB for a moment.
pub const REPLAY: usize = 1000;

/// How often the past is read before a client is told to come later. Once is enough unless more events come during a read than are kept for
/// the reader, or the epoch changes.
const READS: usize = 4;

/// When it may come.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// One worker's hub.
#[derive(Debug)]
pub struct Hub {
    worker: usize,
    shard: RefCell<Shard>,
    router: Arc<Router>,
    broker: BrokerHandle,
    limits: OutboxLimits,
    metrics: Arc<Metrics>,
}

/// Keeps `Debug` off the broker.
struct BrokerHandle(Arc<dyn Broker>);

impl std::fmt::Debug for BrokerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Broker")
    }
}

impl Hub {
    /// The hub of the worker with this index.
    #[must_use]
    pub fn new(worker: usize, router: Arc<Router>, broker: Arc<dyn Broker>, limits: OutboxLimits, metrics: Arc<Metrics>) -> Self {
        Self { worker, shard: RefCell::default(), router, broker: BrokerHandle(broker), limits, metrics }
    }

    /// Puts each event and gap into the outboxes of its group's members here, and gives each notice to its sessions. [`Hub::flush`] has to follow.
    pub fn deliver(&self, deliveries: &[Delivery], now: Instant) {
        let mut shard = self.shard.borrow_mut();
        for delivery in deliveries {
            shard.deliver(delivery, &self.limits, &self.metrics, now);
        }
    }

    /// Writes what has been delivered, one write a connection.
    pub fn flush(&self, now: Instant) {
        self.shard.borrow_mut().flush(&self.metrics, now);
    }

    /// Tells every connection that what is allowed has changed.
    pub fn announce_policies(&self) {
        self.shard.borrow().notify_all(&Notice::Policies);
    }

    /// Takes a connection in.
    #[must_use]
    pub fn connect(self: &Rc<Self>, wire: Rc<dyn Wire>, encoding: Encoding) -> Member {
        let link = Rc::new(Link::new(wire, encoding));
        let connection = self.shard.borrow_mut().connect(link.clone());
        Member { hub: self.clone(), connection, link }
    }

    /// Makes the group ready to be joined, and finds what a member that has seen everything up to `since` has missed.
    ///
    /// The answer is good until the next `await`: [`Member::join`] has to follow at once.
    ///
    /// # Errors
    /// The broker can't do it.
    pub async fn prepare(self: &Rc<Self>, group: &GroupName, terms: Terms, since: Option<Position>) -> Result<Prepared, Error> {
        let opening = self.open(group, &terms);
        let attached = self.shard.borrow().group(opening.number).map(|group| group.attached.clone()).unwrap_or_default();
        let position = *attached.get_or_try_init(|| self.broker.0.attach(group, terms.retention)).await?;
        self.note_attached(opening.number, position);
        let (since, mut missed) = match since {
            None => (None, Missed::default()),
            Some(since) => (Some(since), self.missed(&opening, group, since).await?),
        };
        let position = self.last(opening.number);
        if since.is_some() && missed.recovery == Recovery::NotAsked {
            missed.recovery = Recovery::Recovered;
        }
        let interrupted = self.shard.borrow().group(opening.number).is_some_and(|group| terms.tell_interruptions && group.interrupted);
        Ok(Prepared { opening, position, missed, interrupted })
    }

    fn open(self: &Rc<Self>, group: &GroupName, terms: &Terms) -> Opening {
        let mut shard = self.shard.borrow_mut();
        let number = match shard.number(group) {
            Some(number) => number,
            None => {
                // Before the broker is asked: whatever comes after its answer has to find its way here.
                self.router.listen(group, self.worker);
                shard.open(group, terms)
            }
        };
        if let Some(group) = shard.group_mut(number) {
            group.pending += 1;
            group.slow = terms.slow;
            group.tell_interruptions = terms.tell_interruptions;
        }
        Opening { hub: self.clone(), number }
    }

    fn note_attached(&self, number: u32, position: Position) {
        if let Some(group) = self.shard.borrow_mut().group_mut(number) {
            group.note_attached(position);
        }
    }

    fn last(&self, number: u32) -> Position {
        self.shard.borrow().group(number).map_or(Position::NONE, |group| group.last)
    }

    /// Reads from history what was before this moment, and adds what has come meanwhile: what comes later is delivered live.
    async fn missed(self: &Rc<Self>, opening: &Opening, group: &GroupName, since: Position) -> Result<Missed, Error> {
        let reading = Reading::begin(self, opening.number);
        for _ in 0..READS {
            let last = self.last(opening.number);
            if !last.is_kept() {
                return Ok(Missed::nothing_kept());
            }
            let after = if since.epoch == last.epoch { since.offset } else { 0 };
            let history = self.broker.0.history(group, after, last.offset, REPLAY).await?;
            if let Some(meanwhile) = reading.since(last) {
                let mut missed = Missed::since(since, last, history);
                missed.events.extend(meanwhile.into_iter().filter(|event| event.offset > after));
                return Ok(missed);
            }
        }
        Err(Error::Busy { retry_after: READ_AGAIN })
    }

    fn close_if_unused(&self, number: u32) {
        let closed = self.shard.borrow_mut().close_if_unused(number);
        if let Some(group) = closed {
            self.router.unlisten(&group.name, self.worker);
            if group.attached.initialized() {
                self.broker.0.detach(&group.name);
            }
        }
    }

    fn count_sessions(&self, user: &UserId) {
        self.router.count_sessions(user, self.worker, self.shard.borrow().sessions(user));
    }

    fn count_members(&self, number: u32, change: i64) {
        let shard = self.shard.borrow();
        if let Some(group) = shard.group(number) {
            self.router.count(&group.name, self.worker, group.members());
        }
        self.metrics.members.inc_by(change);
    }
}

/// What a member that comes back has missed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missed {
    /// Whether that is all.
    pub recovery: Recovery,
    /// What is lost.
    pub gap: Option<Gap>,
    /// What is not, oldest first.
    pub events: Vec<Event>,
}

impl Missed {
    /// A position in a group that keeps nothing.
    fn nothing_kept() -> Self {
        let gap = Gap { epoch: 0, from: 0, to: 0, count: None, reason: GapReason::Expired };
        Self { recovery: Recovery::Lost, gap: Some(gap), events: Vec::new() }
    }

    /// `last`: up to where `history` was read.
    fn since(since: Position, last: Position, history: History) -> Self {
        let epoch = last.epoch;
        if history.top.epoch != epoch {
            // The group has started anew, and this node does not know yet. It will, and tells everybody; of what the member missed nothing
            // is left.
            let gap = Gap { epoch, from: 0, to: 0, count: None, reason: GapReason::Epoch };
            return Self { recovery: Recovery::Lost, gap: Some(gap), events: Vec::new() };
        }
        // A member that comes from another worker or node may have more than has been delivered here yet, but not more than there is.
        if since.epoch != epoch || since.offset > history.top.offset.max(last.offset) {
            let gap = Gap { epoch, from: 0, to: 0, count: None, reason: GapReason::Epoch };
            return Self { recovery: Recovery::Lost, gap: Some(gap), events: history.events };
        }
        // Up to here nothing can be sent: history begins later, or there is more of it than is replayed at once.
        let lost_up_to = history.events.first().map_or(history.start, |first| first.offset - 1).min(last.offset);
        if since.offset < lost_up_to {
            let (from, count) = (since.offset + 1, Some(lost_up_to - since.offset));
            let gap = Gap { epoch, from, to: lost_up_to, count, reason: GapReason::Expired };
            return Self { recovery: Recovery::Lost, gap: Some(gap), events: history.events };
        }
        Self { recovery: Recovery::Recovered, gap: None, events: history.events }
    }
}

/// Keeps what a group gets while its past is read.
struct Reading<'a> {
    hub: &'a Hub,
    number: u32,
}

impl<'a> Reading<'a> {
    fn begin(hub: &'a Hub, number: u32) -> Self {
        if let Some(group) = hub.shard.borrow_mut().group_mut(number) {
            group.recording.begin();
        }
        Self { hub, number }
    }

    /// What has come since the group stood at `position`; `None` if that is not known.
    fn since(&self, position: Position) -> Option<Vec<Event>> {
        let shard = self.hub.shard.borrow();
        let group = shard.group(self.number).filter(|group| group.last.epoch == position.epoch)?;
        group.recording.between(position.offset, group.last.offset)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.hub.shard.borrow_mut().group_mut(self.number) {
            group.recording.end();
        }
    }
}

/// A group that is ready to be joined.
#[derive(Debug)]
pub struct Prepared {
    opening: Opening,
    /// Live events come after this.
    pub position: Position,
    /// What was missed before it.
    pub missed: Missed,
    /// Live events may not come for the time being, and the member is to be told.
    pub interrupted: bool,
}

impl Prepared {
    /// Stands for the group on this worker.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.opening.number
    }
}

/// Keeps a group open while a join is under way.
#[derive(Debug)]
struct Opening {
    hub: Rc<Hub>,
    number: u32,
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(group) = self.hub.shard.borrow_mut().group_mut(self.number) {
            group.pending -= 1;
        }
        self.hub.close_if_unused(self.number);
    }
}

/// A connection's place in the hub. Dropping it leaves every group.
#[derive(Debug)]
pub struct Member {
    hub: Rc<Hub>,
    connection: u32,
    link: Rc<Link>,
}

impl Member {
    /// The connection's outbox and wire.
    #[must_use]
    pub fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// From now on the connection gets the group's events. Joining again changes nothing.
    pub fn join(&self, prepared: Prepared) {
        let number = prepared.opening.number;
        if self.hub.shard.borrow_mut().join(self.connection, number) {
            self.hub.count_members(number, 1);
        }
    }

    /// The groups whose events the connection gets.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupName> {
        self.hub.shard.borrow().followed(self.connection)
    }

    /// From now on the group's members here are treated so. How much of the past is kept is said with each event.
    pub fn revise(&self, group: &GroupName, terms: Terms) {
        let mut shard = self.hub.shard.borrow_mut();
        if let Some(number) = shard.number(group)
            && let Some(group) = shard.group_mut(number)
        {
            group.slow = terms.slow;
        }
    }

    /// The connection is a session of this user: notices for the user go to it from now on.
    pub fn enlist(&self, user: &UserId) {
        self.hub.shard.borrow_mut().enlist(self.connection, user);
        self.hub.count_sessions(user);
    }

    /// The connection no longer gets the group's events. Leaving what it is no member of changes nothing.
    pub fn leave(&self, group: &GroupName) {
        let number = self.hub.shard.borrow().number(group);
        if let Some(number) = number {
            self.leave_number(number);
        }
    }

    /// The connection no longer gets any group's events nor its user's notices, and is no longer counted among those who do.
    pub fn leave_all(&self) {
        let user = self.hub.shard.borrow_mut().discharge(self.connection);
        if let Some(user) = user {
            self.hub.count_sessions(&user);
        }
        let groups = self.hub.shard.borrow().memberships(self.connection);
        groups.into_iter().for_each(|number| self.leave_number(number));
    }

    fn leave_number(&self, number: u32) {
        if self.hub.shard.borrow_mut().leave(self.connection, number) {
            self.hub.count_members(number, -1);
            self.hub.close_if_unused(number);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave_all();
        self.hub.shard.borrow_mut().disconnect(self.connection);
        self.link.discard(&self.hub.metrics);
    }
}
