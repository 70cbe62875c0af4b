//! What a session follows, and on what grounds.
//!
//! Its invariant: a group stands here exactly as long as there is a ground for it. The personal group does not stand here: it follows from who the
//! session is.

use std::collections::HashMap;

use crate::protocol::{GroupName, limits};

/// Why a session follows a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// The client asked for it. Counts towards what a client may ask for.
    Asked = 1,
    /// The session's token names it.
    Token = 2,
    /// It stands for the user.
    Standing = 4,
    /// The application granted it to this session.
    Granted = 8,
}

/// A set of grounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Grounds(u8);

impl Grounds {
    fn has(self, ground: Ground) -> bool {
        self.0 & ground as u8 != 0
    }

    fn is_server(self) -> bool {
        self.0 & !(Ground::Asked as u8) != 0
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Following {
    groups: HashMap<GroupName, Grounds>,
    asked: usize,
    /// How many groups stand on a ground of the server.
    granted: usize,
}

/// What became of a new ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// The group has to be joined.
    First,
    /// It is followed already.
    More,
    /// The server has granted as many groups as it may.
    Full,
}

impl Following {
    pub(super) fn contains(&self, group: &GroupName) -> bool {
        self.groups.contains_key(group)
    }

    pub(super) fn has(&self, group: &GroupName, ground: Ground) -> bool {
        self.groups.get(group).is_some_and(|grounds| grounds.has(ground))
    }

    /// How many groups the client has asked for.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// The groups that stand on this ground, by name.
    pub(super) fn on(&self, ground: Ground) -> Vec<GroupName> {
        self.list(|grounds| grounds.has(ground))
    }

    /// The groups that stand on any ground of the server, by name.
    pub(super) fn granted(&self) -> Vec<GroupName> {
        self.list(Grounds::is_server)
    }

    fn list(&self, wanted: impl Fn(Grounds) -> bool) -> Vec<GroupName> {
        let mut groups: Vec<_> = self.groups.iter().filter(|(_, grounds)| wanted(**grounds)).map(|(group, _)| group.clone()).collect();
        groups.sort();
        groups
    }

    pub(super) fn add(&mut self, group: &GroupName, ground: Ground) -> Added {
        let before = self.groups.get(group).copied();
        let grounds = before.unwrap_or_default();
        if ground != Ground::Asked && !grounds.is_server() && self.granted >= limits::GRANTED_GROUPS {
            return Added::Full;
        }
        self.set(group, Grounds(grounds.0 | ground as u8));
        if before.is_none() { Added::First } else { Added::More }
    }

    /// Takes a ground away; says whether that was the last one.
    pub(super) fn remove(&mut self, group: &GroupName, ground: Ground) -> bool {
        let Some(grounds) = self.groups.get(group).copied() else { return false };
        self.set(group, Grounds(grounds.0 & !(ground as u8)));
        !self.contains(group)
    }

    /// Takes every ground away; says whether there was one.
    pub(super) fn end(&mut self, group: &GroupName) -> bool {
        let followed = self.contains(group);
        self.set(group, Grounds::default());
        followed
    }

    fn set(&mut self, group: &GroupName, grounds: Grounds) {
        let before = match grounds {
            Grounds(0) => self.groups.remove(group),
            grounds => self.groups.insert(group.clone(), grounds),
        };
        let before = before.unwrap_or_default();
        self.asked = self.asked + usize::from(grounds.has(Ground::Asked)) - usize::from(before.has(Ground::Asked));
        self.granted = self.granted + usize::from(grounds.is_server()) - usize::from(before.is_server());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(group: &str) -> GroupName {
        GroupName::parse(group).unwrap()
    }

    #[test]
    fn a_group_is_followed_as_long_as_there_is_a_ground() {
        let mut following = Following::default();
        assert_eq!(following.add(&name("a"), Ground::Asked), Added::First);
        assert_eq!(following.add(&name("a"), Ground::Token), Added::More);
        assert_eq!(following.asked(), 1);
        assert!(!following.remove(&name("a"), Ground::Asked));
        assert_eq!((following.asked(), following.on(Ground::Token)), (0, vec![name("a")]));
        assert!(following.remove(&name("a"), Ground::Token));
        assert!(!following.remove(&name("a"), Ground::Token) && !following.end(&name("a")));
        following.add(&name("b"), Ground::Standing);
        following.add(&name("b"), Ground::Asked);
        assert_eq!(following.granted(), [name("b")]);
        assert!(following.end(&name("b")) && !following.contains(&name("b")));
        assert_eq!((following.asked(), following.granted), (0, 0));
    }

    #[test]
    fn the_server_grants_no_more_than_it_may_and_that_is_not_counted_for_the_client() {
        let mut following = Following::default();
        for n in 0..limits::GRANTED_GROUPS {
            assert_eq!(following.add(&name(&n.to_string()), Ground::Granted), Added::First);
        }
        assert_eq!(following.add(&name("more"), Ground::Token), Added::Full);
        assert_eq!(following.add(&name("7"), Ground::Token), Added::More);
        assert_eq!(following.add(&name("more"), Ground::Asked), Added::First);
        assert_eq!(following.add(&name("more"), Ground::Token), Added::Full);
        assert_eq!(following.asked(), 1);
    }
}
