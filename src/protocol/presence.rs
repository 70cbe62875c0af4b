//! Who is in a group: how many, who, and what has changed.

use super::{
    DecodeError, UserId,
    frame::{Fields, Op, begin, put_optional_text},
    msgpack::{self, Elements},
};

/// How many are in a group, on all nodes, and after which change that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Names one life of the count; 0 when nobody is there. Versions of different epochs can't be compared.
    pub epoch: u32,
    /// Counts changes: 1, 2, 3 … within an epoch.
    pub version: u64,
    /// Users, each once however many connections they have.
    pub users: u64,
    /// Connections without a user.
    pub anonymous: u64,
    /// All connections.
    pub connections: u64,
}

/// What has changed in who is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PresenceChange {
    /// How it is after the change. Version 0: changes may have been lost; whoever wants to know has to ask.
    pub census: Census,
    /// Who was not there before.
    pub joined: Vec<UserId>,
    /// Who was there before.
    pub left: Vec<UserId>,
}

/// A part of the list of who is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// How many there are in all.
    pub census: Census,
    /// The part, in order of their ids.
    pub users: Vec<Attendee>,
    /// After whom the next part begins, if there is one.
    pub next: Option<UserId>,
}

/// A user who is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendee {
    /// Who.
    pub user: UserId,
    /// With how many connections.
    pub connections: u64,
}

impl PresenceChange {
    /// Tells that changes may have been lost.
    #[must_use]
    pub fn lost() -> Self {
        Self::default()
    }
}

impl Roster {
    /// A page of a list: `users` may have one more than `limit`, which says that there is another page.
    #[must_use]
    pub fn page(census: Census, mut users: Vec<Attendee>, limit: usize) -> Self {
        let more = users.len() > limit;
        users.truncate(limit);
        let next = users.last().filter(|_| more).map(|last| last.user.clone());
        Self { census, users, next }
    }
}

/// Elements of `present` after request and group.
pub(super) fn put_roster(out: &mut Vec<u8>, roster: &Roster) {
    let Roster { census, users, next } = roster;
    msgpack::put_uint(out, census.epoch.into());
    [census.version, census.users, census.anonymous, census.connections].iter().for_each(|&n| msgpack::put_uint(out, n));
    msgpack::put_array(out, users.len());
    for Attendee { user, connections } in users {
        msgpack::put_array(out, 2);
        msgpack::put_text(out, user.as_str());
        msgpack::put_uint(out, *connections);
    }
    put_optional_text(out, next.as_ref().map(UserId::as_str));
}

pub(super) fn decode_roster(fields: &mut Fields<'_>) -> Result<Roster, DecodeError> {
    let (epoch, version) = (fields.small(NO_COUNT)?, fields.uint(NO_COUNT)?);
    let census = decode_counts(fields, epoch, version)?;
    let users = list(fields)?.map(attendee).collect::<Option<_>>().ok_or(NO_LIST)?;
    let next = fields.optional_text().and_then(|user| UserId::parse(&user).ok());
    Ok(Roster { census, users, next })
}

/// The frame `presence`. The broker that connects nodes makes the same bytes in its scripts.
pub(super) fn put_change(out: &mut Vec<u8>, number: u32, change: &PresenceChange) {
    let PresenceChange { census, joined, left } = change;
    begin(out, Op::Presence, 8);
    [number, census.epoch].iter().for_each(|&n| msgpack::put_uint(out, n.into()));
    msgpack::put_uint(out, census.version);
    for users in [joined, left] {
        msgpack::put_array(out, users.len());
        users.iter().for_each(|user| msgpack::put_text(out, user.as_str()));
    }
    [census.users, census.anonymous, census.connections].iter().for_each(|&n| msgpack::put_uint(out, n));
}

/// The elements of `presence` after the group's number.
pub(super) fn decode_change(fields: &mut Fields<'_>) -> Result<PresenceChange, DecodeError> {
    let (epoch, version) = (fields.small(NO_COUNT)?, fields.uint(NO_COUNT)?);
    let mut users = || list(fields)?.map(user).collect::<Option<Vec<_>>>().ok_or(NO_LIST);
    let (joined, left) = (users()?, users()?);
    Ok(PresenceChange { census: decode_counts(fields, epoch, version)?, joined, left })
}

const NO_COUNT: &str = "a count of presence is no integer";
const NO_LIST: DecodeError = DecodeError::Malformed("a list of users is none");

fn decode_counts(fields: &mut Fields<'_>, epoch: u32, version: u64) -> Result<Census, DecodeError> {
    let (users, anonymous, connections) = (fields.uint(NO_COUNT)?, fields.uint(NO_COUNT)?, fields.uint(NO_COUNT)?);
    Ok(Census { epoch, version, users, anonymous, connections })
}

fn list<'a>(fields: &mut Fields<'a>) -> Result<Elements<'a>, DecodeError> {
    fields.next().and_then(Elements::of_array).ok_or(NO_LIST)
}

fn user(element: &[u8]) -> Option<UserId> {
    UserId::parse(msgpack::as_text(element)?).ok()
}

fn attendee(element: &[u8]) -> Option<Attendee> {
    let mut elements = Elements::of_array(element)?;
    Some(Attendee { user: user(elements.next()?)?, connections: msgpack::as_uint(elements.next()?)? })
}
