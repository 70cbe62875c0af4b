//! How events get their place, travel between nodes, and are kept for those who come back.
//!
//! A broker knows groups, positions and events; it knows nothing of members and connections. What it delivers goes through [`Deliver`],
//! which the hub implements. `memory` is the default and the reference, for one node;
//! `redis` is for many.

pub mod alone;
mod attendance;
mod keys;
pub mod memory;
mod node;
pub mod redis;
mod users;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

pub use attendance::Attendance;
pub use node::{Cluster, Describe, Host, Link, Node, View};
pub use users::{Demand, Directive, Disconnect, Reached, Sessions, Standing, Users};

use crate::protocol::{Content, Event, EventId, Gap, GroupName, IdempotencyKey, Position, PresenceChange, Retention, Roster, UserId};

/// A future that a broker answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An event that somebody wants to send.
#[derive(Debug, Clone)]
pub struct Publication {
    /// To whom.
    pub group: GroupName,
    /// What.
    pub content: Content,
    /// The user it is from; `None` for the application.
    pub sender: Option<UserId>,
    /// Makes a repetition recognisable within [`crate::protocol::limits::KEY_TTL`].
    pub key: Option<IdempotencyKey>,
    /// How much of the group's past is kept; `None`: nothing, and events have no offset.
    pub retention: Option<Retention>,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: EventId,
    /// The event's position; [`Position::NONE`] if the group keeps no history.
    pub position: Position,
    /// How many members on this node it was handed to. For a duplicate: what the first one's receipt said.
    pub subscribers: usize,
    /// Nothing was sent: the key was known, and id and position are those of the first publication.
    pub duplicate: bool,
}

/// A part of a group's past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The events, oldest first, offsets without holes.
    pub events: Vec<Event>,
    /// The offset before the oldest event that is still kept: a subscriber at or after it has lost nothing.
    pub start: u64,
    /// The group's epoch and its newest offset.
    pub top: Position,
}

/// Why a broker can't do it. The caller may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A worker of this node has more undelivered events than it may; nothing was published.
    #[error("this node is delivering as fast as it can; nothing was published")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// As many groups are remembered as may be.
    #[error("this node remembers as many groups as it may; nothing was done")]
    TooManyGroups,
    /// More groups would stand for a user than may.
    #[error("at most {limit} groups may stand for a user; nothing was done")]
    TooManyStanding {
        /// How many may.
        limit: usize,
    },
    /// Something stands for as many users as may be.
    #[error("this node remembers groups for as many users as it may; nothing was done")]
    TooManyUsers,
    /// What connects the nodes can't be reached, or refuses; nothing was done.
    #[error("the broker can't be reached at the moment; nothing was done")]
    Away {
        /// When to try again.
        retry_after: Duration,
    },
    /// It was asked for and not confirmed.
    #[error("the broker did not confirm it: it may have been done or not; repeat it with an idempotency key to be sure")]
    Unconfirmed {
        /// When to try again.
        retry_after: Duration,
    },
}

impl Error {
    /// When to try again, if the broker can tell.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::Away { retry_after } | Self::Unconfirmed { retry_after } => Some(retry_after),
            Self::TooManyGroups | Self::TooManyStanding { .. } | Self::TooManyUsers => None,
        }
    }
}

/// What the members of a group on this node are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event of this epoch; 0 if the group keeps no history. It continues what was given before.
    Event(u32, Arc<Event>),
    /// Events that will not come. What follows is of the gap's epoch, and after its last offset.
    Gap(Gap),
    /// Who has come and who has gone. It stands where it happened among the events, and moves no position.
    Presence(Arc<PresenceChange>),
    /// Events of other nodes may not come for the time being. Told once, until [`Item::Resumed`]; again only to a worker that is new to the group.
    Interrupted,
    /// They come again, and what did not come meanwhile has been given, or a gap in its place.
    Resumed,
}

/// Takes what has its place and brings it to this node's members.
pub trait Deliver: Send + Sync + 'static {
    /// Hands an item to every worker that has members of the group, and says to how many members. Items of one group must be given one
    /// after another, in order.
    ///
    /// # Errors
    /// A worker can't take more; then none has got the item.
    fn deliver(&self, group: &GroupName, item: Item) -> Result<usize, Overflow>;

    /// How many members the group has on this node.
    fn members(&self, group: &GroupName) -> usize;
}

/// A worker's mailbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// Gives events their place and keeps the past.
///
/// Delivery: within one group every attached node gets every event once, in the order of offsets (without history: in the order in which
/// they were published), or a gap in its place.
pub trait Broker: Send + Sync + 'static {
    /// What it is, in one word.
    fn name(&self) -> &'static str;

    /// Whether it works; if not, a sentence that says why.
    ///
    /// # Errors
    /// Publishing would fail, or events of other nodes don't come.
    fn ready(&self) -> Result<(), String>;

    /// Gives the event its place, keeps it if asked to, and brings it to all nodes that are attached.
    fn publish(&self, publication: Publication) -> Answer<'_, Receipt>;

    /// From now on this node's [`Deliver`] gets the group's events. Answers the position after which it does so: an event up to it may
    /// still be delivered and has to be skipped.
    fn attach<'a>(&'a self, group: &'a GroupName, retention: Option<Retention>) -> Answer<'a, Position>;

    /// Undoes one [`Broker::attach`].
    fn detach(&self, group: &GroupName);

    /// The events after offset `after` up to and with `up_to`, at most `limit` of them, the newest if there are more.
    fn history<'a>(&'a self, group: &'a GroupName, after: u64, up_to: u64, limit: usize) -> Answer<'a, History>;

    /// Who is in groups on this node now. Does not wait: what can't be told at the moment is told later, and the latest counts.
    /// Members of all nodes are told what that changes, where the attendance says so.
    fn attend(&self, attendances: Vec<Attendance>);

    /// Who is in the group on all nodes: the first `limit` users after `after`, in order of their ids.
    fn roster<'a>(&'a self, group: &'a GroupName, after: Option<&'a UserId>, limit: usize) -> Answer<'a, Roster>;
}
