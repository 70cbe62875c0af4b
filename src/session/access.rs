//! What a session may do, by the policies of groups and its own rights.

use std::sync::Arc;

use super::{Ground, Session, State};
use crate::{
    policy::{Asker, Policies, Policy, Rights, Verb, Verdict, Who},
    protocol::{Code, GroupName},
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
        self.end_refused(Code::Revoked);
    }

    /// Policies have changed: the same. What the server lets the session follow goes on, because they were not asked for that.
    pub(super) fn go_by(&mut self, policies: Arc<Policies>) {
        self.policies = policies;
        self.end_refused(Code::NotAllowed);
    }

    fn end_refused(&mut self, code: Code) {
        let State::Open(open) = &self.state else { return };
        let asked = open.following.on(Ground::Asked);
        for group in asked.iter().filter(|group| self.judge(Verb::Subscribe, group) == Verdict::Refused).collect::<Vec<_>>() {
            self.end_ground(group, Ground::Asked, code);
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
