//! What the server lets a session follow without being asked, and what the application wants done with it.
//!
//! The client is told of each by a frame with request 0. A group that can't be joined at the moment is tried again later: nobody waits for an answer
//! who could ask again.

use std::time::{Duration, Instant};

use super::{Failure, Following, Join, Lane, Output, Session, State, following::Added, following::Ground};
use crate::protocol::{Code, GroupName, Position, ServerFrame, UserId};

/// What the application wants done with a session, or what has been found out for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Follow these groups.
    Follow {
        /// Which.
        groups: Vec<GroupName>,
        /// The directive's place, if they stand for the user from now on.
        standing: Option<Position>,
    },
    /// Follow these no longer, on whatever grounds.
    End {
        /// Which.
        groups: Vec<GroupName>,
        /// The directive's place.
        position: Position,
    },
    /// Follow no longer what was granted on any ground.
    EndAll {
        /// The directive's place.
        position: Position,
    },
    /// Directives may have been lost: compare with what stands.
    Review,
    /// The answer to [`Output::ReadStanding`].
    Standing(Result<Standing, Failure>),
}

/// What stands for a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The groups.
    pub groups: Vec<GroupName>,
    /// The directive that was the first.
    pub began: Position,
    /// The directive that changed it last; [`Position::NONE`]: nothing is known.
    pub position: Position,
}

impl Standing {
    /// Whether this is what was known at a directive's place, changed since: then what it lacks has been revoked. Else it began after something was lost.
    fn continues(&self, known: Position) -> bool {
        let from_the_same_life = known.epoch == self.began.epoch && known.offset >= self.began.offset;
        let from_an_earlier_one = known.epoch == self.position.epoch && self.began.epoch != known.epoch;
        from_the_same_life || from_an_earlier_one
    }
}

/// Places of different epochs can't be compared.
fn is_before(place: Position, other: Position) -> bool {
    place.epoch == other.epoch && place.offset < other.offset
}

/// What has to be tried again.
#[derive(Debug, Default)]
pub(super) struct Later {
    groups: Vec<GroupName>,
    read: bool,
    /// `None`: there is nothing.
    pub(super) at: Option<Instant>,
}

/// When it is tried again, if the broker does not tell.
const RETRY: Duration = Duration::from_secs(1);

impl Later {
    fn after(&mut self, failure: Failure, now: Instant) {
        let at = now + failure.retry_after.unwrap_or(RETRY);
        self.at = Some(self.at.map_or(at, |known| known.max(at)));
    }
}

impl Session {
    /// A session begins, of this user or an anonymous one.
    pub(super) fn begin_grants(&mut self, user: Option<UserId>, token: Vec<GroupName>) {
        let Some(user) = user else { return self.follow(token, Ground::Token) };
        let personal = GroupName::personal(&user);
        // Before anything is read: what changes after that is told.
        self.outputs.push_back(Output::Enlist(user));
        self.join_unasked(personal);
        self.follow(token, Ground::Token);
        self.outputs.push_back(Output::ReadStanding);
    }

    pub(super) fn granted(&mut self, grant: Grant, now: Instant) {
        match grant {
            Grant::Follow { groups, standing: None } => self.follow(groups, Ground::Granted),
            Grant::Follow { groups, standing: Some(position) } => {
                self.note(position);
                self.follow(groups, Ground::Standing);
            }
            Grant::End { groups, position } => {
                self.note(position);
                groups.iter().for_each(|group| self.end(group));
            }
            Grant::EndAll { position } => {
                self.note(position);
                let granted = self.following().map(|following| following.granted()).unwrap_or_default();
                granted.iter().for_each(|group| self.end(group));
            }
            Grant::Review => {
                if matches!(&self.state, State::Open(open) if open.user.is_some()) {
                    self.outputs.push_back(Output::ReadStanding);
                }
            }
            Grant::Standing(Ok(standing)) => self.compare(standing),
            Grant::Standing(Err(failure)) => {
                if let State::Open(open) = &mut self.state {
                    open.later.read = true;
                    open.later.after(failure, now);
                }
            }
        }
    }

    /// A new token names these groups; what only the old one named is over.
    pub(super) fn replace_token_groups(&mut self, groups: Vec<GroupName>) {
        let old = self.following().map(|following| following.on(Ground::Token)).unwrap_or_default();
        for group in old.iter().filter(|group| !groups.contains(group)) {
            self.end_ground(group, Ground::Token, Code::Revoked);
        }
        self.follow(groups, Ground::Token);
    }

    /// A ground is gone, and with it the group if there is no other.
    pub(super) fn end_ground(&mut self, group: &GroupName, ground: Ground, code: Code) {
        if self.following().is_some_and(|following| following.remove(group, ground)) {
            self.tell_end(group, code);
        }
    }

    /// A group that nobody asked for could not be joined.
    pub(super) fn join_later(&mut self, group: GroupName, failure: Failure, now: Instant) {
        if let State::Open(open) = &mut self.state {
            open.later.groups.push(group);
            open.later.after(failure, now);
        }
    }

    /// Tries again what is due, and is still wanted.
    pub(super) fn try_again(&mut self, now: Instant) {
        let State::Open(open) = &mut self.state else { return };
        if open.later.at.is_none_or(|at| now < at) {
            return;
        }
        let Later { mut groups, read, .. } = std::mem::take(&mut open.later);
        groups.retain(|group| open.following.contains(group));
        groups.into_iter().for_each(|group| self.join_unasked(group));
        if read {
            self.outputs.push_back(Output::ReadStanding);
        }
    }

    fn following(&mut self) -> Option<&mut Following> {
        match &mut self.state {
            State::Open(open) => Some(&mut open.following),
            State::Opening { .. } | State::Authenticating | State::Closed => None,
        }
    }

    fn note(&mut self, position: Position) {
        if let State::Open(open) = &mut self.state {
            open.standing = position;
        }
    }

    fn follow(&mut self, groups: Vec<GroupName>, ground: Ground) {
        for group in groups {
            match self.following().map(|following| following.add(&group, ground)) {
                Some(Added::First) => self.join_unasked(group),
                Some(Added::Full) => {
                    let frame = ServerFrame::Unsubscribed { request: 0, group: group.to_string(), code: Some(Code::TooManyGroups) };
                    self.send(frame);
                }
                Some(Added::More) | None => {}
            }
        }
    }

    fn join_unasked(&mut self, group: GroupName) {
        self.outputs.push_back(Output::Join(Join { request: 0, group, since: None, lane: Lane::Main, first: true }));
    }

    fn end(&mut self, group: &GroupName) {
        if self.following().is_some_and(|following| following.end(group)) {
            self.tell_end(group, Code::Revoked);
        }
    }

    fn tell_end(&mut self, group: &GroupName, code: Code) {
        self.outputs.push_back(Output::Leave(group.clone()));
        self.send(ServerFrame::Unsubscribed { request: 0, group: group.to_string(), code: Some(code) });
    }

    /// What stands decides, unless it is older than what this session knows, or gone: then the broker has lost something, and not the user.
    fn compare(&mut self, standing: Standing) {
        let State::Open(open) = &self.state else { return };
        let known = open.standing;
        if !standing.position.is_kept() || is_before(standing.position, known) {
            return;
        }
        let stood = open.following.on(Ground::Standing);
        self.note(standing.position);
        if standing.continues(known) {
            stood.iter().filter(|group| !standing.groups.contains(group)).for_each(|group| self.end(group));
        }
        self.follow(standing.groups, Ground::Standing);
    }
}
