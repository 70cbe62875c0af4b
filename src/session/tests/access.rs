//! What rights open, and what a refresh takes away again.

use super::*;
use crate::policy::Rights;

fn rights(subscribe: &[&str], publish: &[&str], presence: &[&str]) -> Rights {
    Rights::new(subscribe, publish, presence).unwrap()
}

impl Talk {
    /// An anonymous session whom the application has granted this.
    fn with(rights: Rights) -> Self {
        let mut talk = Self::new();
        talk.says(ClientFrame::Hello(Hello { version: 1, ..Hello::default() }));
        talk.gets(Input::Authenticated(Ok(Identity { rights, ..Identity::default() })));
        talk
    }

    fn has_rights_now(&mut self, rights: Rights) -> Vec<Output> {
        self.says(ClientFrame::Refresh { request: 9, token: "t".into() });
        let mut outputs = self.gets(Input::Authenticated(Ok(Identity { rights, ..Identity::default() })));
        assert_eq!(outputs.remove(0), Output::Send(Lane::Main, ServerFrame::Refreshed { request: 9, valid_s: None }));
        outputs
    }

    fn publishes(&mut self, group: &str) -> Vec<Output> {
        let (group, kind) = (group.to_owned(), RawKind::Name("message".into()));
        let body = from_json(&serde_json::json!("x")).into();
        self.says(ClientFrame::Publish { request: 1, group, kind, body: Some(body), data: None, key: None })
    }

    fn asks_who(&mut self, group: &str) -> Vec<Output> {
        self.says(ClientFrame::Who(RosterRequest { request: 1, group: group.into(), after: None, limit: None }))
    }
}

#[test]
fn a_right_opens_what_its_policy_leaves_to_it_and_nothing_else() {
    let mut talk = Talk::with(rights(&["team_*", "staff_*", "closed_*"], &["team_7"], &["staff_*", "team_*"]));
    assert_eq!(talk.says(subscribe(1, "team_8")), [Output::Join(join(1, "team_8"))]);
    assert_eq!(talk.says(subscribe(2, "staff_a")), [Output::Join(join(2, "staff_a"))]);
    assert_eq!(talk.says(subscribe(3, "closed_a")), error(3, Code::NotAllowed));
    assert_eq!(talk.says(subscribe(4, "user.bob")), error(4, Code::NotAllowed));
    assert!(matches!(&talk.publishes("team_7")[..], [Output::Publish(_)]));
    assert_eq!(talk.publishes("team_8"), error(1, Code::NotAllowed));
    assert!(matches!(&talk.asks_who("staff_b")[..], [Output::Ask(_)]));
    assert_eq!(talk.asks_who("team_9"), error(1, Code::NotAllowed), "nothing is known of who is there");
    let mut talk = Talk::with(Rights::default());
    assert_eq!(talk.says(subscribe(1, "team_8")), error(1, Code::NotAllowed));
    assert_eq!(talk.asks_who("staff_b"), error(1, Code::NotAllowed));
}

#[test]
fn a_refresh_replaces_rights_and_ends_what_they_no_longer_open() {
    let mut talk = Talk::with(rights(&["team_*", "staff_a"], &[], &[]));
    talk.says(subscribe(1, "team_8"));
    talk.says(subscribe(2, "staff_a"));
    let ended = ServerFrame::Unsubscribed { request: 0, group: "team_8".into(), code: Some(Code::Revoked) };
    let left = Output::Leave(GroupName::parse("team_8").unwrap());
    assert_eq!(talk.has_rights_now(rights(&["staff_*", "team_7"], &["team_7"], &[])), [left, Output::Send(Lane::Main, ended)]);
    assert_eq!(talk.says(subscribe(3, "team_8")), error(3, Code::NotAllowed));
    assert!(matches!(&talk.publishes("team_7")[..], [Output::Publish(_)]));
    assert_eq!(talk.has_rights_now(rights(&["staff_a"], &[], &[])), []);
}

#[test]
fn what_the_server_lets_a_session_follow_stays_without_the_right() {
    let mut talk = Talk::with(rights(&["team_*"], &[], &[]));
    talk.says(subscribe(1, "team_8"));
    let groups = vec![GroupName::parse("team_8").unwrap()];
    assert_eq!(talk.gets(Input::Granted(Grant::Follow { groups, standing: None })), []);
    assert_eq!(talk.has_rights_now(Rights::default()), []);
}
