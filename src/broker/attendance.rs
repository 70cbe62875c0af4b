//! Who is in a group on a node, as it is told to a broker; and who is in it at all, as the memory broker keeps it.

use std::{collections::BTreeMap, ops::Bound};

use crate::protocol::{Attendee, Census, GroupName, PresenceChange, Roster, UserId};

/// Some of those who are in a group on this node. Who is not named stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendance {
    /// Which group.
    pub group: GroupName,
    /// Whether the group's members are told what changes.
    pub live: bool,
    /// How many connections each user has, or all anonymous ones together have (`None`); 0: no longer any.
    pub connections: Vec<(Option<UserId>, u64)>,
}

/// Who is in one group, when this node is alone.
#[derive(Debug, Default)]
pub(super) struct Attendees {
    users: BTreeMap<UserId, u64>,
    anonymous: u64,
    /// Of users.
    connections: u64,
    epoch: u32,
    version: u64,
}

impl Attendees {
    /// Nobody yet. The epoch tells this count from others; not 0.
    pub(super) fn new(epoch: u32) -> Self {
        Self { epoch, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.anonymous == 0
    }

    /// Takes note; says what has changed, if it is to be told.
    pub(super) fn note(&mut self, connections: Vec<(Option<UserId>, u64)>) -> Option<PresenceChange> {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        let anonymous = self.anonymous;
        for (who, count) in connections {
            let Some(user) = who else {
                self.anonymous = count;
                continue;
            };
            let before = if count == 0 { self.users.remove(&user) } else { self.users.insert(user.clone(), count) };
            self.connections = self.connections + count - before.unwrap_or(0);
            match before {
                None if count > 0 => joined.push(user),
                Some(_) if count == 0 => left.push(user),
                _ => {}
            }
        }
        if joined.is_empty() && left.is_empty() && anonymous == self.anonymous {
            return None;
        }
        self.version += 1;
        Some(PresenceChange { census: self.census(), joined, left })
    }

    /// How many there are.
    pub(super) fn census(&self) -> Census {
        let Self { epoch, version, anonymous, .. } = *self;
        Census { epoch, version, users: self.users.len() as u64, anonymous, connections: self.connections + anonymous }
    }

    /// A part of the list.
    pub(super) fn roster(&self, after: Option<&UserId>, limit: usize) -> Roster {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = self.users.range::<UserId, _>((from, Bound::Unbounded)).take(limit + 1);
        let users = listed.map(|(user, connections)| Attendee { user: user.clone(), connections: *connections }).collect();
        Roster::page(self.census(), users, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn told(change: &PresenceChange) -> String {
        let names = |users: &[UserId]| users.iter().map(UserId::as_str).collect::<Vec<_>>().join(",");
        let Census { version, users, anonymous, connections, .. } = change.census;
        format!("{version}: +{} -{} {users}/{anonymous}/{connections}", names(&change.joined), names(&change.left))
    }

    #[test]
    fn only_first_and_last_connections_are_told() {
        let mut attendees = Attendees::new(7);
        let mut note = |changes: &[(&str, u64)]| {
            let who = |name: &str| (!name.is_empty()).then(|| user(name));
            attendees.note(changes.iter().map(|(name, count)| (who(name), *count)).collect()).as_ref().map(told)
        };
        assert_eq!(note(&[("ann", 1), ("", 2)]).as_deref(), Some("1: +ann - 1/2/3"));
        assert_eq!(note(&[("ann", 2)]), None, "a second connection is nobody new");
        assert_eq!(note(&[("ann", 1), ("zoe", 0)]), None, "who was not there has not gone");
        assert_eq!(note(&[("ann", 0), ("bob", 1)]).as_deref(), Some("2: +bob -ann 1/2/3"));
        assert_eq!(note(&[("", 0)]).as_deref(), Some("3: + - 1/0/1"));
    }

    #[test]
    fn a_list_has_pages_and_exact_counts() {
        let mut attendees = Attendees::new(7);
        attendees.note(["d", "b", "a", "c"].into_iter().map(|name| (Some(user(name)), 2)).collect());
        let page = |after: Option<&str>, limit| {
            let roster = attendees.roster(after.map(user).as_ref(), limit);
            assert_eq!((roster.census.users, roster.census.connections, roster.census.epoch), (4, 8, 7));
            let names: String = roster.users.iter().map(|attendee| attendee.user.as_str()).collect();
            (names, roster.next.map(|next| next.to_string()))
        };
        assert_eq!(page(None, 3), ("abc".to_owned(), Some("c".to_owned())));
        assert_eq!(page(Some("c"), 3), ("d".to_owned(), None));
        assert_eq!(page(Some("bb"), 2), ("cd".to_owned(), None));
        assert_eq!(page(None, 0), (String::new(), None));
    }
}
