//! What the server lets a session follow, and takes away again.

use super::*;

const AT: fn(u64) -> Position = |offset| Position { epoch: 7, offset };

fn names(names: &[&str]) -> Vec<GroupName> {
    names.iter().map(|name| GroupName::parse(name).unwrap()).collect()
}

fn joins(groups: &[&str]) -> Vec<Output> {
    groups.iter().map(|group| Output::Join(join(0, group))).collect()
}

fn ends(group: &str) -> Vec<Output> {
    let unsubscribed = ServerFrame::Unsubscribed { request: 0, group: group.into(), code: Some(Code::Revoked) };
    vec![Output::Leave(GroupName::parse(group).unwrap()), Output::Send(Lane::Main, unsubscribed)]
}

impl Talk {
    fn is_granted(&mut self, groups: &[&str]) -> Vec<Output> {
        self.gets(Input::Granted(Grant::Follow { groups: names(groups), standing: None }))
    }

    fn stands(&mut self, groups: &[&str], position: Position) -> Vec<Output> {
        self.stands_since(AT(1), groups, position)
    }

    fn stands_since(&mut self, began: Position, groups: &[&str], position: Position) -> Vec<Output> {
        self.gets(Input::Granted(Grant::Standing(Ok(Standing { groups: names(groups), began, position }))))
    }

    fn loses(&mut self, groups: &[&str], position: Position) -> Vec<Output> {
        self.gets(Input::Granted(Grant::End { groups: names(groups), position }))
    }

    fn has_token(&mut self, groups: &[&str]) -> Vec<Output> {
        self.says(ClientFrame::Refresh { request: 9, token: "t".into() });
        let identity = Identity { user: UserId::parse("ann").ok(), valid: None, groups: names(groups), ..Identity::default() };
        let mut outputs = self.gets(Input::Authenticated(Ok(identity)));
        assert_eq!(outputs.remove(0), Output::Send(Lane::Main, ServerFrame::Refreshed { request: 9, valid_s: None }));
        outputs
    }
}

#[test]
fn what_a_token_names_and_what_stands_is_followed_from_the_beginning() {
    let mut talk = Talk::new();
    talk.says(ClientFrame::Hello(Hello { version: 1, ..Hello::default() }));
    let identity = Identity { user: UserId::parse("ann").ok(), valid: None, groups: names(&["staff_a", "b"]), ..Identity::default() };
    let outputs = talk.gets(Input::Authenticated(Ok(identity)));
    let mut expected = vec![Output::Enlist(UserId::parse("ann").unwrap())];
    expected.extend(joins(&["user.ann", "staff_a", "b"]));
    expected.push(Output::ReadStanding);
    assert_eq!(outputs[1..], expected);
    // What is followed already is not joined again.
    assert_eq!(talk.stands(&["b", "c"], AT(1)), joins(&["c"]));
}

#[test]
fn a_new_token_ends_what_only_the_old_one_named() {
    let mut talk = Talk::open(Some("ann"));
    assert_eq!(talk.has_token(&["a", "b", "c"]), joins(&["a", "b", "c"]));
    talk.is_granted(&["b"]);
    talk.says(subscribe(1, "a"));
    assert_eq!(talk.has_token(&["d"]), std::iter::chain(ends("c"), joins(&["d"])).collect::<Vec<_>>());
    assert_eq!(talk.loses(&["b"], AT(1)), ends("b"));
}

#[test]
fn what_is_revoked_ends_on_whatever_ground_and_may_be_asked_for_again() {
    let mut talk = Talk::open(Some("ann"));
    talk.says(subscribe(1, "a"));
    assert_eq!(talk.loses(&["a", "b"], AT(1)), ends("a"));
    assert_eq!(talk.loses(&["a"], AT(2)), []);
    assert_eq!(talk.says(subscribe(2, "a")), [Output::Join(join(2, "a"))]);
    talk.is_granted(&["b"]);
    assert_eq!(talk.gets(Input::Granted(Grant::EndAll { position: AT(3) })), ends("b"), "what only the client asked for goes on");
}

#[test]
fn what_the_policy_keeps_from_a_client_it_may_ask_for_while_it_is_granted() {
    let mut talk = Talk::open(Some("ann"));
    assert_eq!(talk.says(subscribe(1, "closed_x")), error(1, Code::NotAllowed));
    assert_eq!(talk.is_granted(&["closed_x"]), joins(&["closed_x"]));
    assert_eq!(talk.says(subscribe(2, "closed_x")), [Output::Join(Join { first: false, ..join(2, "closed_x") })]);
    // That gave it no ground of its own.
    assert_eq!(talk.has_token(&["closed_x"]), []);
    assert_eq!(talk.loses(&["closed_x"], AT(1)), ends("closed_x"));
    assert_eq!(talk.says(subscribe(3, "closed_x")), error(3, Code::NotAllowed));
}

#[test]
fn what_is_granted_does_not_count_for_the_client_and_has_a_bound_of_its_own() {
    let mut talk = Talk::open(Some("ann"));
    talk.says(subscribe(1, "a"));
    talk.is_granted(&["x", "y"]);
    assert_eq!(talk.says(subscribe(2, "b")), [Output::Join(join(2, "b"))]);
    assert_eq!(talk.says(subscribe(3, "c")), error(3, Code::TooManyGroups));
    assert_eq!(talk.says(subscribe(4, "x")), [Output::Join(Join { first: false, ..join(4, "x") })]);
    let many: Vec<String> = (2..limits::GRANTED_GROUPS).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(talk.is_granted(&many).len(), many.len());
    let refused = ServerFrame::Unsubscribed { request: 0, group: "more".into(), code: Some(Code::TooManyGroups) };
    assert_eq!(talk.is_granted(&["more"]), [Output::Send(Lane::Main, refused)]);
}

#[test]
fn what_can_not_be_joined_is_tried_again_as_long_as_it_is_wanted() {
    let mut talk = Talk::open(Some("ann"));
    talk.is_granted(&["a", "b"]);
    let failed = |seconds| Err(Failure { code: Code::Unavailable, retry_after: Some(Duration::from_secs(seconds)) });
    assert_eq!(talk.gets(Input::Joined(join(0, "a"), failed(2))), []);
    assert_eq!(talk.gets(Input::Joined(join(0, "b"), failed(3))), []);
    assert_eq!(talk.session.deadline(), Some(talk.now + Duration::from_secs(3)));
    assert_eq!(talk.loses(&["b"], AT(1)), ends("b"));
    assert_eq!(talk.waits(2), []);
    assert_eq!(talk.waits(1), joins(&["a"]));
    let unread = Err(Failure { code: Code::Unavailable, retry_after: None });
    assert_eq!(talk.gets(Input::Granted(Grant::Standing(unread))), []);
    assert_eq!(talk.waits(1), [Output::ReadStanding]);
}

#[test]
fn a_review_finds_what_was_missed_and_believes_nothing_that_is_older() {
    let mut talk = Talk::open(Some("ann"));
    talk.stands(&["a", "b"], AT(3));
    assert_eq!(talk.gets(Input::Granted(Grant::Review)), [Output::ReadStanding]);
    assert_eq!(talk.stands(&["b", "c"], AT(5)), std::iter::chain(ends("a"), joins(&["c"])).collect::<Vec<_>>());
    assert_eq!(talk.stands(&["a"], AT(4)), [], "a server that has lost its latest writes");
    assert_eq!(talk.stands(&[], Position::NONE), [], "a server that has lost everything");
    let later = |offset| Position { epoch: 8, offset };
    assert_eq!(talk.stands(&["b"], later(1)), ends("c"), "a server that was restarted with what it had");
    assert_eq!(talk.stands(&["b", "d"], later(3)), joins(&["d"]));
    assert_eq!(talk.stands(&["d"], later(4)), ends("b"));
    let anew = Position { epoch: 9, offset: 1 };
    assert_eq!(talk.stands_since(anew, &["e"], anew), joins(&["e"]), "a server that had lost everything knows only what was granted since");
    assert_eq!(talk.stands_since(anew, &[], Position { offset: 2, ..anew }), std::iter::chain(ends("d"), ends("e")).collect::<Vec<_>>());
    assert_eq!(Talk::open(None).gets(Input::Granted(Grant::Review)), []);
}

#[test]
fn a_grant_that_stands_is_known_by_its_place() {
    let mut talk = Talk::open(Some("ann"));
    let stands = Grant::Follow { groups: names(&["a"]), standing: Some(AT(5)) };
    assert_eq!(talk.gets(Input::Granted(stands)), joins(&["a"]));
    assert_eq!(talk.stands(&[], AT(4)), [], "it was read before");
    assert_eq!(talk.stands(&[], AT(6)), ends("a"));
}

#[test]
fn the_application_ends_a_session_in_its_own_words() {
    let delay = Duration::from_secs(2);
    let end = Input::Disconnected { code: Code::GoingAway, reason: Some("moved".into()), delay };
    let mut talk = Talk::open(Some("ann"));
    assert_eq!(talk.gets(end), [Output::Close { code: Code::GoingAway, reason: Some("moved".into()), delay }]);
    assert_eq!(talk.is_granted(&["a"]), []);
}
