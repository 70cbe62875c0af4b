//! Which policy a group has and why, and what somebody may do there, in words.

use super::{Asker, Interruption, Pattern, Policies, Policy, Presence, Rights, SlowConsumer, Verb, Verdict, Who};
use crate::protocol::{GroupName, UserId, limits};

/// What holds for a group, and for one who comes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Which of the configured ones it is, counted from 0; `None`: it is built in.
    pub index: Option<usize>,
    /// Why it is this one.
    pub why: String,
    /// What the pattern's captures hold.
    pub captures: Vec<(String, String)>,
    /// Whether one may follow, and why or why not.
    pub subscribe: (Verdict, String),
    /// Whether one may publish.
    pub publish: (Verdict, String),
    /// Whether one may ask who is there.
    pub presence: (Verdict, String),
    /// What is kept, what a slow reader gets, and what bounds there are; a line each.
    pub terms: Vec<(&'static str, String)>,
}

/// A policy that no group can have, because another one has them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// Which, counted from 0.
    pub index: usize,
    /// The sentence for the operator.
    pub why: String,
}

impl Policies {
    /// What holds for the group, and for this user (or an anonymous session) with these rights.
    #[must_use]
    pub fn explain(&self, group: &GroupName, user: Option<&UserId>, rights: &Rights) -> Explained<'_> {
        let policy = self.of(group);
        let index = self.rules.iter().position(|rule| std::ptr::eq(rule, policy) || (rule == policy && rule.is_personal()));
        let captures = policy.pattern.captures(group.as_str());
        let asker = Asker { user, rights };
        let explain = |verb, who: Who| (policy.judge(asker, verb, group), policy.reason(who, verb, asker, group));
        Explained {
            policy,
            index,
            why: self.why(policy, index, group),
            captures: captures.into_iter().map(|(name, held)| (name.to_owned(), held.to_owned())).collect(),
            subscribe: explain(Verb::Subscribe, policy.subscribe),
            publish: explain(Verb::Publish, policy.publish),
            presence: self.explain_presence(policy, asker, group),
            terms: policy.terms(),
        }
    }

    fn why(&self, policy: &Policy, index: Option<usize>, group: &GroupName) -> String {
        let pattern = policy.pattern.as_str();
        match index {
            Some(_) if group.owner().is_some() => format!("it is a personal group, and only match = {pattern:?} speaks of those"),
            Some(index) => format!("the name matches {pattern:?}, and none of the {index} patterns before it"),
            None if group.owner().is_some() => format!("it is a personal group, and there is no policy with match = {pattern:?}"),
            None => format!("the name matches none of the {} configured patterns", self.rules.len()),
        }
    }

    fn explain_presence(&self, policy: &Policy, asker: Asker<'_>, group: &GroupName) -> (Verdict, String) {
        if policy.presence == Presence::Off {
            return (Verdict::Refused, "presence = \"off\": nobody is counted".to_owned());
        }
        if policy.judge(asker, Verb::Presence, group) == Verdict::Allowed {
            return (Verdict::Allowed, "the session has the right presence".to_owned());
        }
        match policy.judge(asker, Verb::Subscribe, group) {
            Verdict::Refused => (Verdict::Refused, "only members may ask, and sessions with the right presence".to_owned()),
            verdict @ (Verdict::Allowed | Verdict::Ask) => (verdict, "as a member".to_owned()),
        }
    }

    /// The policies that no group can have.
    #[must_use]
    pub fn shadowed(&self) -> Vec<Shadowed> {
        let rules = self.rules.iter().enumerate();
        rules.filter_map(|(index, rule)| Some(Shadowed { index, why: self.shadow_of(index, rule)? })).collect()
    }

    fn shadow_of(&self, index: usize, rule: &Policy) -> Option<String> {
        let pattern = rule.pattern.as_str();
        if rule.is_personal() {
            let first = self.rules[..index].iter().position(Policy::is_personal)?;
            return Some(format!("groups[{index}].match = {pattern:?} stands in groups[{first}] already, which decides"));
        }
        if rule.pattern.is_of_personal_groups() {
            return Some(format!(
                "groups[{index}].match = {pattern:?} never decides: names that begin with user. are personal groups, and only match = \"user.{{user}}\" speaks of those"
            ));
        }
        let by = self.rules[..index].iter().position(|earlier| !earlier.is_personal() && earlier.pattern.covers(&rule.pattern))?;
        let earlier = self.rules[by].pattern.as_str();
        Some(format!(
            "groups[{index}].match = {pattern:?} never decides: groups[{by}].match = {earlier:?} stands before it and matches all that it matches"
        ))
    }
}

impl Policy {
    /// Whether it is the one for personal groups.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.pattern == Pattern::personal()
    }

    /// Why the answer to a wish is what it is.
    fn reason(&self, who: Who, verb: Verb, asker: Asker<'_>, group: &GroupName) -> String {
        let right = match verb {
            Verb::Subscribe => "subscribe",
            Verb::Publish => "publish",
            Verb::Presence => "presence",
        };
        let name = who.name();
        let has_right = asker.rights.grant(verb, group);
        let owner = self.owner(group);
        match who {
            Who::Anyone => format!("{right} = {name:?}"),
            Who::Server => format!("{right} = {name:?}: only the application, by the API"),
            Who::Authenticated if asker.user.is_some() => format!("{right} = {name:?}, and there is a user"),
            Who::Authenticated | Who::Claim | Who::Hook if has_right => {
                format!("{right} = {name:?}, and the session has the right {right}")
            }
            Who::Authenticated => format!("{right} = {name:?}, and the session is anonymous"),
            Who::Owner => match (owner, asker.user) {
                (None, _) => format!("{right} = {name:?}, and nothing in the pattern says whose group it is: it has no {{user}}"),
                (Some(owner), Some(user)) if owner == user.as_str() => format!("{right} = {name:?}, and it is this user's group"),
                (Some(owner), _) => format!("{right} = {name:?}, and the group is {owner}'s"),
            },
            Who::Claim => format!("{right} = {name:?}, and the session has no right {right} for this group"),
            Who::Hook => format!("{right} = {name:?}: the application is asked"),
        }
    }

    fn terms(&self) -> Vec<(&'static str, String)> {
        let history = self.history.map_or_else(
            || "nothing is kept; who was away is told of a gap".to_owned(),
            |kept| format!("the newest {} events, for at most {:?}", kept.size, kept.ttl),
        );
        let presence = match self.presence {
            Presence::Off => "off: nobody is counted",
            Presence::List => "list: members and the application may ask",
            Presence::Live => "live: members may ask, and are told who comes and goes",
        };
        let slow = match self.slow {
            SlowConsumer::Disconnect => "disconnect: the connection ends with slow_consumer, and resumes",
            SlowConsumer::DropOldest => "drop_oldest: its oldest events are dropped, and a gap tells which",
        };
        let interruption = match self.interruption {
            Interruption::Quiet => "quiet: members are not told when their node is cut off",
            Interruption::Tell => "tell: members are told when their node is cut off, and when it is over",
        };
        let members = self
            .max_members
            .map_or_else(|| "any number".to_owned(), |most| format!("at most {most} on one node that have asked to follow"));
        let payload = match self.max_payload {
            limits::EVENT_BYTES => format!("at most {} bytes, the most there is", limits::EVENT_BYTES),
            most => format!("at most {most} bytes"),
        };
        let rate = self.rate.map_or_else(|| "no limit of the group".to_owned(), |rate| format!("{rate} from clients, through one node"));
        vec![
            ("history", history),
            ("presence", presence.to_owned()),
            ("slow", slow.to_owned()),
            ("interruption", interruption.to_owned()),
            ("members", members),
            ("payload", payload),
            ("rate", rate),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(patterns: &[&str]) -> Policies {
        let policy = |text: &&str| Policy { subscribe: Who::Owner, publish: Who::Claim, ..Policy::new(Pattern::parse(text).unwrap()) };
        Policies::new(patterns.iter().map(policy).collect(), Policy::new(Pattern::any()))
    }

    #[test]
    fn says_which_policy_why_and_what_somebody_may_do() {
        let policies = policies(&["team_*", "desk.{user}"]);
        let (group, ann) = (GroupName::parse("desk.ann").unwrap(), UserId::parse("ann").unwrap());
        let rights = Rights::new(&[], &["desk.*"], &[]).unwrap();
        let explained = policies.explain(&group, Some(&ann), &rights);
        assert_eq!((explained.index, explained.captures), (Some(1), vec![("user".to_owned(), "ann".to_owned())]));
        assert_eq!(explained.why, "the name matches \"desk.{user}\", and none of the 1 patterns before it");
        assert_eq!(explained.subscribe, (Verdict::Allowed, "subscribe = \"owner\", and it is this user's group".to_owned()));
        assert_eq!(explained.publish, (Verdict::Allowed, "publish = \"claim\", and the session has the right publish".to_owned()));
        assert_eq!(explained.presence.0, Verdict::Refused);
        let bob = UserId::parse("bob").unwrap();
        let explained = policies.explain(&group, Some(&bob), &Rights::default());
        assert_eq!(explained.subscribe, (Verdict::Refused, "subscribe = \"owner\", and the group is ann's".to_owned()));
        let explained = policies.explain(&GroupName::parse("user.bob").unwrap(), Some(&bob), &Rights::default());
        assert_eq!((explained.index, explained.subscribe.0), (None, Verdict::Allowed));
    }

    #[test]
    fn policies_that_never_decide_are_named_with_what_stands_before_them() {
        let shadowed = |patterns: &[&str]| policies(patterns).shadowed().into_iter().map(|shadowed| shadowed.why).collect::<Vec<_>>();
        assert_eq!(shadowed(&["team_*", "project_{id}", "user.{user}", "*"]), [""; 0]);
        let found = shadowed(&["*", "team_*"]);
        assert_eq!(
            found,
            ["groups[1].match = \"team_*\" never decides: groups[0].match = \"*\" stands before it and matches all that it matches"]
        );
        assert!(shadowed(&["user.vip_*"])[0].contains("only match = \"user.{user}\" speaks of those"));
        assert!(shadowed(&["user.{user}", "user.{user}"])[0].contains("stands in groups[0] already"));
        assert_eq!(shadowed(&["user.{user}", "*"]).len() + shadowed(&["*", "user.{user}"]).len(), 0);
    }
}
