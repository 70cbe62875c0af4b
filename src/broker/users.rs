//! What the application wants done with the sessions of a user, wherever they are, and what stands for those that come later.
//!
//! A *directive* is a demand about one user, at its place among all directives. It reaches every node once, in that order; each node gives it to its
//! own sessions of that user through [`Sessions`]. What stands names the directive that changed it last, so whoever missed some can compare.

use std::{sync::Arc, time::Duration};

use super::{Answer, Overflow};
use crate::protocol::{Code, GroupName, Position, UserId, limits};

/// What is wanted of all sessions of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// They follow these groups from now on.
    Grant {
        /// Which.
        groups: Vec<GroupName>,
        /// So do those that are opened later.
        standing: bool,
    },
    /// They no longer follow these groups, nor will later ones.
    Revoke {
        /// Which.
        groups: Vec<GroupName>,
    },
    /// They no longer follow any group that was granted, nor will later ones.
    RevokeAll,
    /// They end.
    Disconnect(Disconnect),
}

/// How sessions end that the application wants to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Tells the client what to do next.
    pub code: Code,
    /// For people; `None`: the code's own sentence.
    pub reason: Option<String>,
    /// A client that may come back does so after this.
    pub delay: Duration,
}

/// A demand about a user at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Whose sessions.
    pub user: UserId,
    /// What is wanted.
    pub demand: Demand,
    /// Its place among all directives.
    pub position: Position,
}

/// Whom a directive has reached within bounded time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// Sessions of the user that it was given to.
    pub sessions: usize,
    /// Nodes that have confirmed it.
    pub nodes: usize,
    /// Nodes that live and have not confirmed it yet. They carry it out when their link is back.
    pub pending: usize,
}

/// The groups that every session of a user follows from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// By name.
    pub groups: Vec<GroupName>,
    /// The directive that was the first: before it, nothing is known.
    pub began: Position,
    /// The directive that changed it last; [`Position::NONE`]: nothing is known of this user.
    pub position: Position,
}

/// Brings directives to all nodes, and keeps what stands.
pub trait Users: Send + Sync + 'static {
    /// Changes what stands, if that is wanted, and gives the demand to every session of the user; both or neither. Repeating it is harmless.
    fn direct<'a>(&'a self, user: &'a UserId, demand: Demand) -> Answer<'a, Reached>;

    /// What stands for the user.
    fn standing<'a>(&'a self, user: &'a UserId) -> Answer<'a, Standing>;
}

/// This node's sessions, as directives find them.
pub trait Sessions: Send + Sync + 'static {
    /// Hands a directive to every session of its user on this node, and says how many these are.
    ///
    /// # Errors
    /// A worker can't take more; then none has got it.
    fn direct(&self, directive: &Arc<Directive>) -> Result<usize, Overflow>;

    /// Directives may have been lost: every session that has a user compares what it follows with what stands.
    ///
    /// # Errors
    /// A worker can't take more; then none has been told.
    fn review(&self) -> Result<(), Overflow>;
}

/// What a demand does to what stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    None,
    Add(&'a [GroupName]),
    Remove(&'a [GroupName]),
    Clear,
}

impl Demand {
    pub(super) fn change(&self) -> Change<'_> {
        match self {
            Self::Grant { groups, standing: true } => Change::Add(groups),
            Self::Grant { standing: false, .. } | Self::Disconnect(_) => Change::None,
            Self::Revoke { groups } => Change::Remove(groups),
            Self::RevokeAll => Change::Clear,
        }
    }
}

/// The error of a demand that would make more stand than may.
pub(super) const TOO_MANY: super::Error = super::Error::TooManyStanding { limit: limits::STANDING_GROUPS };
