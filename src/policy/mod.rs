//! What is allowed and kept in a group: the first policy whose pattern matches its name.
//!
//! Pure look-ups; knows names and nothing else of the house.

mod rights;
mod who;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use rights::{Rights, RightsError, Verb};
pub use who::{Asker, Verdict, Who};

use crate::protocol::{GroupName, Retention};

/// The policies that are in force. Reading them takes no lock; whoever looks several things up that belong together looks them up in one of them.
pub type InForce = Arc<ArcSwap<Policies>>;

/// The policies of a server, in order; the first whose pattern matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    rules: Vec<Policy>,
    fallback: Policy,
}

/// What is allowed and kept in the groups that match a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which groups.
    pub pattern: Pattern,
    /// Who may follow.
    pub subscribe: Who,
    /// Who of the clients may publish. The application always may.
    pub publish: Who,
    /// What is kept for those who come back.
    pub history: Option<Retention>,
    /// What happens to a connection that can't keep up.
    pub slow: SlowConsumer,
    /// What is known of who is there.
    pub presence: Presence,
    /// What members are told when the node may not get all events.
    pub interruption: Interruption,
}

/// What happens to a connection whose outbox is over its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowConsumer {
    /// It is closed with a code that says "resume from your position".
    Disconnect,
    /// The oldest events that it has not got yet are dropped and a gap tells it.
    DropOldest,
}

/// What is known of who is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Nothing: it is not counted and costs nothing.
    #[default]
    Off,
    /// Members and the application may ask.
    List,
    /// They may ask, and members are told who comes and who goes.
    Live,
}

/// What members are told when their node is cut off from what connects the nodes, so that events may not come for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interruption {
    /// Nothing: what they miss comes when it is over, or is told as a gap.
    #[default]
    Quiet,
    /// When it begins and when it is over: what they show may be old in between.
    Tell,
}

/// A group name in which `*` stands for any characters, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(middle) = last.replace(part) {
                match rest.find(middle) {
                    Some(at) => rest = &rest[at + middle.len()..],
                    None => return false,
                }
            }
        }
        match last {
            None => rest.is_empty(),
            Some(tail) => rest.ends_with(tail),
        }
    }
}

impl Presence {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Off, Self::List, Self::Live];

    /// Its word in configurations and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::List => "list",
            Self::Live => "live",
        }
    }
}

impl Policies {
    /// Policies in order of precedence, and the one for all other groups. Personal groups come first of all: only their owner may follow them, no
    /// client may publish to them.
    #[must_use]
    pub fn new(rules: Vec<Policy>, fallback: Policy) -> Self {
        let personal =
            Policy { pattern: Pattern::new("user.*"), subscribe: Who::Owner, publish: Who::Server, presence: Presence::Off, ..fallback };
        let rules = std::iter::chain([personal], rules).collect();
        Self { rules, fallback }
    }

    /// The policy of a group.
    #[must_use]
    pub fn of(&self, group: &GroupName) -> &Policy {
        self.rules.iter().find(|policy| policy.pattern.matches(group.as_str())).unwrap_or(&self.fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::UserId;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, yes, no) in [
            ("*", vec!["", "a", "a.b"], vec![]),
            ("team_*", vec!["team_", "team_a"], vec!["team", "a_team_b"]),
            ("a*b*c", vec!["abc", "a--b--c", "abcbc"], vec!["abd", "ac", "cab"]),
            ("exact", vec!["exact"], vec!["exactly", "exac"]),
            ("*.log", vec!["a.log"], vec!["a.log.b"]),
        ] {
            let pattern = Pattern::new(pattern);
            yes.iter().for_each(|name| assert!(pattern.matches(name), "{pattern:?} {name}"));
            no.iter().for_each(|name| assert!(!pattern.matches(name), "{pattern:?} {name}"));
        }
    }

    #[test]
    fn personal_groups_belong_to_their_owner_whatever_else_is_configured() {
        let open = Policy {
            pattern: Pattern::new("*"),
            subscribe: Who::Anyone,
            publish: Who::Anyone,
            history: None,
            slow: SlowConsumer::Disconnect,
            presence: Presence::Live,
            interruption: Interruption::Quiet,
        };
        let policies = Policies::new(vec![open.clone()], open);
        let (john, ann) = (UserId::parse("john").unwrap(), UserId::parse("ann").unwrap());
        let group = GroupName::personal(&john);
        let policy = policies.of(&group);
        let rights = Rights::default();
        let judge = |who: Who, user| who.judge(Asker { user, rights: &rights }, Verb::Subscribe, &group);
        assert_eq!(judge(policy.subscribe, Some(&john)), Verdict::Allowed);
        assert_eq!(judge(policy.subscribe, Some(&ann)), Verdict::Refused);
        assert_eq!(judge(policy.subscribe, None), Verdict::Refused);
        assert_eq!(judge(policy.publish, Some(&john)), Verdict::Refused);
        assert_eq!(policy.presence, Presence::Off, "a user's own connections are nobody's presence");
    }
}
