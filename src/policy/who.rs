//! Who may: the sets of sessions that policies name.
//!
//! Two of them are for nobody to open but the house itself: what is for `server` no client gets, and a personal group belongs to its owner. Rights open
//! all others, because they are the application's own word for this one session.

use super::{Rights, Verb};
use crate::protocol::{GroupName, UserId};

/// A set of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// No client: only the application, by the API.
    Server,
    /// Every session.
    Anyone,
    /// Sessions that have a user, and those that have the right.
    Authenticated,
    /// Sessions of the user whose personal group it is.
    Owner,
    /// Sessions that have the right, by their token or from the application's hook.
    Claim,
    /// Sessions that have the right, and those for which the application says yes when it is asked.
    Hook,
}

/// Who wants something, as policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// `None`: an anonymous session.
    pub user: Option<&'a UserId>,
    /// What the application has granted to the session.
    pub rights: &'a Rights,
}

/// What a policy says to a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No.
    Refused,
    /// The application decides.
    Ask,
}

impl Who {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Anyone, Self::Authenticated, Self::Owner, Self::Claim, Self::Hook, Self::Server];

    /// Its word in configurations and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Anyone => "anyone",
            Self::Authenticated => "authenticated",
            Self::Owner => "owner",
            Self::Claim => "claim",
            Self::Hook => "hook",
        }
    }

    /// Whether a session may do this in the group.
    #[must_use]
    pub fn judge(self, asker: Asker<'_>, verb: Verb, group: &GroupName) -> Verdict {
        let granted = || asker.rights.grant(verb, group);
        let allowed = match self {
            Self::Server => false,
            Self::Anyone => true,
            Self::Authenticated => asker.user.is_some() || granted(),
            Self::Owner => asker.user.is_some_and(|user| group.owner() == Some(user.as_str())),
            Self::Claim => granted(),
            Self::Hook if granted() => true,
            Self::Hook => return Verdict::Ask,
        };
        if allowed { Verdict::Allowed } else { Verdict::Refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_open_what_the_application_decides_and_nothing_else() {
        let rights = Rights::new(&["team_*", "*"], &["team_7"], &[]).unwrap();
        let none = Rights::default();
        let ann = UserId::parse("ann").unwrap();
        let group = GroupName::parse("team_7").unwrap();
        let verdicts = |user, rights| Who::ALL.map(|who| who.judge(Asker { user, rights }, Verb::Publish, &group));
        use Verdict::{Allowed, Ask, Refused};
        // In the order of `Who::ALL`: anyone, authenticated, owner, claim, hook, server.
        assert_eq!(verdicts(None, &none), [Allowed, Refused, Refused, Refused, Ask, Refused]);
        assert_eq!(verdicts(Some(&ann), &none), [Allowed, Allowed, Refused, Refused, Ask, Refused]);
        assert_eq!(verdicts(None, &rights), [Allowed, Allowed, Refused, Allowed, Allowed, Refused]);
    }

    #[test]
    fn a_personal_group_is_for_its_owner_whatever_rights_somebody_has() {
        let rights = Rights::new(&["*"], &["user.*"], &["*"]).unwrap();
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let group = GroupName::personal(&ann);
        for who in [Who::Owner, Who::Claim, Who::Server] {
            let verdict = who.judge(Asker { user: Some(&bob), rights: &rights }, Verb::Subscribe, &group);
            assert_eq!(verdict, Verdict::Refused, "{who:?}");
        }
        assert_eq!(Who::Owner.judge(Asker { user: Some(&ann), rights: &rights }, Verb::Subscribe, &group), Verdict::Allowed);
    }

    #[test]
    fn words_are_those_of_answers() {
        for who in Who::ALL {
            assert_eq!(serde_json::to_value(who).unwrap(), who.name());
        }
    }
}
