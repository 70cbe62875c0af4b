//! What a session may do, by the policies of groups and its own rights.

use super::{Ground, Session, State};
use crate::{
    policy::{Asker, Policy, Rights, Verb, Verdict, Who},
    protocol::GroupName,
};

impl Session {
    /// What the group's policy says to a wish of this session.
    pub(super) fn judge(&self, verb: Verb, group: &GroupName) -> Verdict {
        let State::Open(open) = &self.state else { return Verdict::Refused };
        let asker = Asker { user: open.user.as_ref(), rights: &open.rights };
        who(self.policies.of(group), verb).judge(asker, verb, group)
    }

    /// The session has other rights from now on: what it follows because it asked for it, and may no longer, ends.
    pub(super) fn replace_rights(&mut self, rights: Rights) {
        let State::Open(open) = &mut self.state else { return };
        open.rights = rights;
        let asked = open.following.on(Ground::Asked);
        for group in asked.iter().filter(|group| self.judge(Verb::Subscribe, group) == Verdict::Refused).collect::<Vec<_>>() {
            self.end_ground(group, Ground::Asked);
        }
    }
}

/// Whom a policy names for something.
fn who(policy: &Policy, verb: Verb) -> Who {
    match verb {
        Verb::Subscribe => policy.subscribe,
        Verb::Publish => policy.publish,
        // Members may ask; others need the right.
        Verb::Presence => Who::Claim,
    }
}
