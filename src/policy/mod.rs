//! What is allowed and kept in a group: the first policy whose pattern matches its name.
//!
//! Pure look-ups; knows names and rates, and nothing else of the house.

mod explain;
mod pattern;
mod rates;
mod rights;
mod who;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use explain::{Explained, Shadowed};
pub use pattern::{Pattern, PatternError};
pub use rates::Rates;
pub use rights::{Rights, RightsError, Verb};
pub use who::{Asker, Verdict, Who};

use crate::{
    limit::Rate,
    protocol::{GroupName, Retention, limits},
};

/// The policies that are in force. Reading them takes no lock; whoever looks several things up that belong together looks them up in one of them.
pub type InForce = Arc<ArcSwap<Policies>>;

/// The policies of a server, in order; the first whose pattern matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    rules: Vec<Policy>,
    personal: Policy,
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
    /// What is known of who is there.
    pub presence: Presence,
    /// What is kept for those who come back.
    pub history: Option<Retention>,
    /// What happens to a connection that can't keep up.
    pub slow: SlowConsumer,
    /// What members are told when the node may not get all events.
    pub interruption: Interruption,
    /// Members on one node that have asked to follow; `None`: any number. Whoever the application lets in comes in all the same.
    pub max_members: Option<usize>,
    /// Longest body and data of an event together, in bytes of MessagePack.
    pub max_payload: usize,
    /// What clients may publish to one group through one node; `None`: as much as they like.
    pub rate: Option<Rate>,
}

/// What happens to a connection whose outbox is over its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowConsumer {
    /// It is closed with a code that says "resume from your position".
    #[default]
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

impl SlowConsumer {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Disconnect, Self::DropOldest];

    /// Its word in configurations and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DropOldest => "drop_oldest",
        }
    }
}

impl Policy {
    /// What holds where nothing else is said: everybody may follow, the application alone may publish, and nothing is kept.
    #[must_use]
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            subscribe: Who::Anyone,
            publish: Who::Server,
            presence: Presence::Off,
            history: None,
            slow: SlowConsumer::Disconnect,
            interruption: Interruption::Quiet,
            max_members: None,
            max_payload: limits::EVENT_BYTES,
            rate: None,
        }
    }

    /// For the groups of users: only their owner may follow them, no client may publish, and their own connections are nobody's presence. What is kept, and what a slow reader gets, as in `other`.
    #[must_use]
    pub fn personal(other: &Self) -> Self {
        Self { subscribe: Who::Owner, history: other.history, slow: other.slow, ..Self::new(Pattern::personal()) }
    }

    /// Whose group it is, if it is somebody's: a personal group, or one in whose pattern `{user}` stands.
    #[must_use]
    pub fn owner<'a>(&self, group: &'a GroupName) -> Option<&'a str> {
        group.owner().or_else(|| self.pattern.capture(pattern::USER, group.as_str()))
    }

    /// What it says to a wish.
    #[must_use]
    pub fn judge(&self, asker: Asker<'_>, verb: Verb, group: &GroupName) -> Verdict {
        let who = match verb {
            Verb::Subscribe => self.subscribe,
            Verb::Publish => self.publish,
            // Members may ask; others need the right.
            Verb::Presence => Who::Claim,
        };
        who.judge(asker, verb, group, self.owner(group))
    }
}

impl Policies {
    /// Policies in order of precedence, and the one for all other groups. Only a policy for `user.{user}` speaks of personal groups; without one [`Policy::personal`] holds.
    #[must_use]
    pub fn new(rules: Vec<Policy>, fallback: Policy) -> Self {
        let own = rules.iter().find(|policy| policy.is_personal()).cloned();
        Self { personal: own.unwrap_or_else(|| Policy::personal(&fallback)), rules, fallback }
    }

    /// The policy of a group.
    #[must_use]
    pub fn of(&self, group: &GroupName) -> &Policy {
        if group.owner().is_some() {
            return &self.personal;
        }
        self.rules.iter().find(|policy| policy.pattern.matches(group.as_str())).unwrap_or(&self.fallback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::UserId;

    fn policy(pattern: &str) -> Policy {
        Policy::new(Pattern::parse(pattern).unwrap())
    }

    fn group(name: &str) -> GroupName {
        GroupName::parse(name).unwrap()
    }

    #[test]
    fn personal_groups_belong_to_their_owner_whatever_else_is_configured() {
        let open = Policy { publish: Who::Anyone, presence: Presence::Live, ..policy("*") };
        let policies = Policies::new(vec![Policy { publish: Who::Anyone, ..policy("user.*") }, open.clone()], open);
        let (john, ann) = (UserId::parse("john").unwrap(), UserId::parse("ann").unwrap());
        let group = GroupName::personal(&john);
        let policy = policies.of(&group);
        let rights = Rights::default();
        let judge = |verb, user| policy.judge(Asker { user, rights: &rights }, verb, &group);
        assert_eq!(judge(Verb::Subscribe, Some(&john)), Verdict::Allowed);
        assert_eq!(judge(Verb::Subscribe, Some(&ann)), Verdict::Refused);
        assert_eq!(judge(Verb::Subscribe, None), Verdict::Refused);
        assert_eq!(judge(Verb::Publish, Some(&john)), Verdict::Refused);
        assert_eq!(policy.presence, Presence::Off, "a user's own connections are nobody's presence");
    }

    #[test]
    fn a_policy_for_personal_groups_speaks_of_them_wherever_it_stands() {
        let own = Policy { subscribe: Who::Owner, max_payload: 7, ..policy("user.{user}") };
        let policies = Policies::new(vec![policy("*"), own], policy("*"));
        assert_eq!(policies.of(&group("user.ann@example.org")).max_payload, 7);
        assert_eq!(policies.of(&group("users")).max_payload, limits::EVENT_BYTES);
    }

    #[test]
    fn a_group_with_a_user_in_its_name_belongs_to_that_user() {
        let own = Policy { subscribe: Who::Owner, publish: Who::Owner, ..policy("inbox.{user}.drafts") };
        let policies = Policies::new(vec![own], policy("*"));
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let rights = Rights::new(&["*"], &["*"], &["*"]).unwrap();
        let drafts = group("inbox.ann.drafts");
        for (user, verdict) in [(Some(&ann), Verdict::Allowed), (Some(&bob), Verdict::Refused), (None, Verdict::Refused)] {
            for verb in [Verb::Subscribe, Verb::Publish] {
                assert_eq!(policies.of(&drafts).judge(Asker { user, rights: &rights }, verb, &drafts), verdict, "{user:?} {verb:?}");
            }
        }
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let policies =
            Policies::new(vec![Policy { max_payload: 1, ..policy("team_a*") }, Policy { max_payload: 2, ..policy("team_*") }], policy("*"));
        for (name, payload) in [("team_a", 1), ("team_b", 2), ("other", limits::EVENT_BYTES)] {
            assert_eq!(policies.of(&group(name)).max_payload, payload, "{name}");
        }
    }
}
