//! Conversations: one input, the exact list of outputs.

use proptest::prelude::*;

mod access;
mod grants;

use super::*;
use crate::{
    policy::{Interruption, Pattern, Policy, Presence, SlowConsumer, Who},
    protocol::from_json,
};

struct Talk {
    session: Session,
    now: Instant,
}

fn policies() -> Arc<Policies> {
    let policy = |pattern: &str, subscribe, publish| Policy {
        pattern: Pattern::new(pattern),
        subscribe,
        publish,
        history: None,
        slow: SlowConsumer::Disconnect,
        presence: if pattern.starts_with("staff") { Presence::List } else { Presence::Off },
        interruption: Interruption::Quiet,
    };
    Arc::new(Policies::new(
        vec![
            policy("staff_*", Who::Authenticated, Who::Server),
            policy("closed_*", Who::Server, Who::Server),
            policy("team_*", Who::Claim, Who::Claim),
        ],
        policy("*", Who::Anyone, Who::Anyone),
    ))
}

impl Talk {
    fn new() -> Self {
        let config = Config {
            max_frame: 65_536,
            max_groups: 2,
            ping_interval: Duration::from_secs(25),
            hello_deadline: Duration::from_secs(5),
            server: "fanfare/test".into(),
            node: "n1".into(),
        };
        let now = Instant::now();
        Self { session: Session::new(Arc::new(config), policies(), "n1-1".into(), now), now }
    }

    fn open(user: Option<&str>) -> Self {
        let mut talk = Self::new();
        talk.says(ClientFrame::Hello(Hello { version: 1, ..Hello::default() }));
        let user = user.map(|user| UserId::parse(user).unwrap());
        talk.gets(Input::Authenticated(Ok(Identity { user, ..Identity::default() })));
        talk
    }

    fn gets(&mut self, input: Input) -> Vec<Output> {
        self.session.handle(input, self.now);
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    fn says(&mut self, frame: ClientFrame) -> Vec<Output> {
        self.gets(Input::Frame(Lane::Main, frame))
    }

    fn waits(&mut self, seconds: u64) -> Vec<Output> {
        self.now += Duration::from_secs(seconds);
        self.gets(Input::Timeout)
    }
}

fn subscribe(request: u32, group: &str) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe { request, group: group.into(), since: None })
}

fn join(request: u32, group: &str) -> Join {
    Join { request, group: GroupName::parse(group).unwrap(), since: None, lane: Lane::Main, first: true }
}

fn unsubscribe(request: u32, group: &str) -> ClientFrame {
    ClientFrame::Unsubscribe { request, group: group.into() }
}

fn left(request: u32, group: &str) -> [Output; 2] {
    let unsubscribed = ServerFrame::Unsubscribed { request, group: group.into(), code: None };
    [Output::Leave(GroupName::parse(group).unwrap()), Output::Send(Lane::Main, unsubscribed)]
}

fn closes(code: Code) -> Vec<Output> {
    vec![Output::Close { code, reason: None, delay: Duration::ZERO }]
}

fn error(request: u32, code: Code) -> Vec<Output> {
    vec![Output::Send(Lane::Main, ServerFrame::error(request, code))]
}

#[test]
fn hello_is_answered_after_authentication_and_a_user_follows_the_own_group() {
    let mut talk = Talk::new();
    let hello = Hello { version: 1, token: Some("t".into()), transport: Some("forced".into()), client: None };
    assert_eq!(talk.says(ClientFrame::Hello(hello)), [Output::Chosen("forced".into()), Output::Authenticate { token: Some("t".into()) }]);
    let user = UserId::parse("john").unwrap();
    let outputs = talk.gets(Input::Authenticated(Ok(Identity { user: Some(user), ..Identity::default() })));
    assert!(matches!(&outputs[0], Output::Send(Lane::Main, ServerFrame::Welcome(w)) if w.user.as_deref() == Some("john")));
    let john = UserId::parse("john").unwrap();
    assert_eq!(outputs[1..], [Output::Enlist(john), Output::Join(join(0, "user.john")), Output::ReadStanding]);
}

#[test]
fn a_refused_token_closes_with_its_code() {
    let mut talk = Talk::new();
    talk.says(ClientFrame::Hello(Hello { version: 1, ..Hello::default() }));
    assert_eq!(talk.gets(Input::Authenticated(Err(Code::TokenRequired))), closes(Code::TokenRequired));
    assert_eq!(talk.says(ClientFrame::Ping(1)), []);
}

#[test]
fn only_hello_comes_first_and_only_once() {
    assert_eq!(Talk::new().says(ClientFrame::Ping(1)), closes(Code::UnexpectedFrame));
    assert_eq!(Talk::open(None).says(ClientFrame::Hello(Hello { version: 1, ..Hello::default() })), closes(Code::UnexpectedFrame));
    assert_eq!(Talk::new().says(ClientFrame::Hello(Hello::default())), closes(Code::UnsupportedVersion));
}

#[test]
fn no_hello_in_time_closes() {
    let mut talk = Talk::new();
    assert_eq!(talk.session.deadline(), Some(talk.now + Duration::from_secs(5)));
    assert_eq!(talk.waits(4), []);
    assert_eq!(talk.gets(Input::Alive), []);
    assert_eq!(talk.waits(1), closes(Code::HelloTimeout));
}

#[test]
fn silence_is_pinged_and_then_closed() {
    let mut talk = Talk::open(None);
    assert_eq!(talk.waits(24), []);
    assert_eq!(talk.waits(1), [Output::Send(Lane::Main, ServerFrame::Ping(1))]);
    assert_eq!(talk.says(ClientFrame::Pong(1)), []);
    assert_eq!(talk.waits(25), [Output::Send(Lane::Main, ServerFrame::Ping(1))]);
    assert_eq!(talk.waits(25), closes(Code::Timeout));
}

#[test]
fn subscribing_is_idempotent_and_bounded() {
    let mut talk = Talk::open(None);
    assert_eq!(talk.says(subscribe(1, "a")), [Output::Join(join(1, "a"))]);
    assert_eq!(talk.says(subscribe(2, "a")), [Output::Join(Join { first: false, ..join(2, "a") })]);
    assert_eq!(talk.says(subscribe(3, "b")), [Output::Join(join(3, "b"))]);
    assert_eq!(talk.says(subscribe(4, "c")), error(4, Code::TooManyGroups));
    assert_eq!(talk.says(unsubscribe(5, "a")), left(5, "a"));
    assert_eq!(talk.says(unsubscribe(6, "a")), left(6, "a"));
    assert_eq!(talk.says(subscribe(7, "c")), [Output::Join(join(7, "c"))]);
}

#[test]
fn a_failed_join_is_told_and_forgotten() {
    let mut talk = Talk::open(None);
    talk.says(subscribe(1, "a"));
    talk.says(subscribe(2, "b"));
    let failure = Failure { code: Code::Unavailable, retry_after: Some(Duration::from_secs(1)) };
    let outputs = talk.gets(Input::Joined(join(2, "b"), Err(failure)));
    let sentence = Code::Unavailable.sentence().to_owned();
    assert_eq!(outputs, [Output::Send(Lane::Main, ServerFrame::Error { request: 2, code: 4400, sentence, retry_ms: Some(1000) })]);
    assert_eq!(talk.says(subscribe(3, "c")), [Output::Join(join(3, "c"))]);
}

#[test]
fn what_was_followed_before_a_join_failed_is_followed_still() {
    let mut talk = Talk::open(None);
    talk.says(subscribe(1, "a"));
    let joined = Joined { number: 1, position: Position::NONE, recovery: Recovery::NotAsked, missed: 0 };
    talk.gets(Input::Joined(join(1, "a"), Ok(joined)));
    let again = subscribe(2, "a");
    let Some(Output::Join(wish)) = talk.says(again).pop() else { panic!("a join is wanted") };
    talk.gets(Input::Joined(wish, Err(Failure { code: Code::Unavailable, retry_after: None })));
    talk.says(subscribe(3, "b"));
    assert_eq!(talk.says(subscribe(4, "c")), error(4, Code::TooManyGroups));
    assert_eq!(talk.says(unsubscribe(5, "a")), left(5, "a"));
    assert_eq!(talk.says(subscribe(6, "c")), [Output::Join(join(6, "c"))]);
}

#[test]
fn the_personal_group_can_be_left() {
    assert_eq!(Talk::open(Some("john")).says(unsubscribe(1, "user.john")), left(1, "user.john"));
}

#[test]
fn a_user_whose_own_group_can_not_be_joined_is_sent_away_to_come_back() {
    let after = |retry_after| {
        let failed = Err(Failure { code: Code::Unavailable, retry_after });
        Talk::open(Some("john")).gets(Input::Joined(join(0, "user.john"), failed))
    };
    let closes = |seconds| [Output::Close { code: Code::Overloaded, reason: None, delay: Duration::from_secs(seconds) }];
    assert_eq!(after(Some(Duration::from_secs(3))), closes(3));
    assert_eq!(after(None), closes(1));
}

#[test]
fn bad_names_and_policies_are_told_in_a_sentence() {
    let mut talk = Talk::open(None);
    let sentence = "group name contains ' ' at character 2; allowed are A-Z a-z 0-9 _ - .".to_owned();
    assert_eq!(
        talk.says(subscribe(1, "a b")),
        [Output::Send(Lane::Main, ServerFrame::Error { request: 1, code: 4300, sentence, retry_ms: None })]
    );
    assert_eq!(talk.says(subscribe(2, "staff_x")), error(2, Code::NotAllowed));
    assert_eq!(talk.says(subscribe(3, "user.john")), error(3, Code::NotAllowed));
    assert_eq!(Talk::open(Some("ann")).says(subscribe(2, "staff_x")), [Output::Join(join(2, "staff_x"))]);
}

#[test]
fn a_replay_lane_gets_its_answer_and_takes_nothing_else() {
    let mut talk = Talk::open(None);
    let lane = Lane::Replay(4);
    let joins = talk.gets(Input::Frame(lane, subscribe(1, "a")));
    let wish = Join { lane, ..join(1, "a") };
    assert_eq!(joins, [Output::Join(wish.clone())]);
    let joined = Joined { number: 7, position: Position::NONE, recovery: Recovery::NotAsked, missed: 0 };
    assert!(matches!(
        talk.gets(Input::Joined(wish, Ok(joined)))[..],
        [Output::Send(Lane::Replay(4), ServerFrame::Subscribed { number: 7, .. })]
    ));
    assert_eq!(talk.gets(Input::Frame(lane, ClientFrame::Ping(1))), closes(Code::UnexpectedFrame));
}

#[test]
fn publishing_is_checked_against_policy_and_form() {
    let mut talk = Talk::open(Some("ann"));
    let publish = |group: &str, body: serde_json::Value| ClientFrame::Publish {
        request: 9,
        group: group.into(),
        kind: RawKind::Number(0),
        body: Some(from_json(&body).into()),
        data: None,
        key: None,
    };
    let outputs = talk.says(publish("a", "hi".into()));
    assert!(matches!(&outputs[..], [Output::Publish(p)] if p.sender.as_ref().is_some_and(|s| s.as_str() == "ann")));
    assert_eq!(talk.says(publish("staff_x", "hi".into())), error(9, Code::NotAllowed));
    assert!(matches!(&talk.says(publish("a", 1.into()))[..], [Output::Send(_, ServerFrame::Error { code: 4304, .. })]));
    let position = Position { epoch: 1, offset: 2 };
    let id = EventId::from_number(5);
    assert_eq!(
        talk.gets(Input::Published(9, Ok((id, position)))),
        [Output::Send(Lane::Main, ServerFrame::Published { request: 9, id, position })]
    );
}

#[test]
fn an_expired_token_closes_unless_refreshed() {
    let mut talk = Talk::new();
    talk.says(ClientFrame::Hello(Hello { version: 1, ..Hello::default() }));
    let valid = |seconds| Identity { valid: Some(Duration::from_secs(seconds)), ..Identity::default() };
    talk.gets(Input::Authenticated(Ok(valid(10))));
    talk.now += Duration::from_secs(9);
    assert_eq!(talk.says(ClientFrame::Refresh { request: 1, token: "t".into() }), [Output::Authenticate { token: Some("t".into()) }]);
    assert_eq!(
        talk.gets(Input::Authenticated(Ok(valid(10)))),
        [Output::Send(Lane::Main, ServerFrame::Refreshed { request: 1, valid_s: Some(10) })]
    );
    assert_eq!(talk.waits(9), []);
    talk.says(ClientFrame::Refresh { request: 2, token: "t".into() });
    assert_eq!(talk.gets(Input::Authenticated(Err(Code::TokenInvalid))), error(2, Code::TokenInvalid));
    assert_eq!(talk.waits(1), closes(Code::TokenExpired));
}

#[test]
fn draining_says_when_to_come_back() {
    let delay = Duration::from_secs(3);
    assert_eq!(Talk::open(None).gets(Input::Drain(delay)), [Output::Close { code: Code::GoingAway, reason: None, delay }]);
}

fn any_frame() -> impl Strategy<Value = ClientFrame> {
    let group = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("user.ann".to_owned()), ".*"];
    let since = proptest::option::of((any::<u32>(), any::<u64>()).prop_map(|(epoch, offset)| Position { epoch, offset }));
    prop_oneof![
        (0..3u64, proptest::option::of(".*")).prop_map(|(version, token)| ClientFrame::Hello(Hello { version, token, ..Hello::default() })),
        (any::<u32>(), group.clone(), since).prop_map(|(request, group, since)| ClientFrame::Subscribe(Subscribe {
            request,
            group,
            since
        })),
        (any::<u32>(), group.clone()).prop_map(|(request, group)| ClientFrame::Unsubscribe { request, group }),
        (any::<u32>(), group, 0..9u64, proptest::collection::vec(any::<u8>(), 0..9)).prop_map(|(request, group, kind, body)| {
            ClientFrame::Publish { request, group, kind: RawKind::Number(kind), body: Some(body.into()), data: None, key: None }
        }),
        any::<u32>().prop_map(|request| ClientFrame::Refresh { request, token: "t".into() }),
        any::<u64>().prop_map(ClientFrame::Ping),
        any::<u64>().prop_map(ClientFrame::Pong),
        Just(ClientFrame::Goodbye),
        proptest::option::of(any::<u32>()).prop_map(|request| ClientFrame::Unknown { request }),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let lane = prop_oneof![9 => Just(Lane::Main), 1 => (0..3u64).prop_map(Lane::Replay)];
    let identity = proptest::option::of(0..100u64).prop_map(|s| Identity {
        user: UserId::parse("ann").ok(),
        valid: s.map(Duration::from_secs),
        ..Identity::default()
    });
    let joined = Joined { number: 1, position: Position::NONE, recovery: Recovery::NotAsked, missed: 0 };
    prop_oneof![
        10 => (lane, any_frame()).prop_map(|(lane, frame)| Input::Frame(lane, frame)),
        1 => Just(Input::Alive),
        3 => identity.prop_map(|identity| Input::Authenticated(Ok(identity))),
        1 => Just(Input::Joined(join(1, "a"), Ok(joined))),
        1 => (0..2u32).prop_map(|request| Input::Joined(join(request, "a"), Err(Failure { code: Code::Unavailable, retry_after: None }))),
        2 => any_grant().prop_map(Input::Granted),
        1 => Just(Input::Disconnected { code: Code::GoingAway, reason: None, delay: Duration::ZERO }),
        1 => Just(Input::Published(1, Err(Failure { code: Code::Unavailable, retry_after: None }))),
        4 => Just(Input::Timeout),
    ]
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let groups = || proptest::collection::vec(prop_oneof![Just("a"), Just("staff_x"), Just("b")], 0..3);
    let names = |names: Vec<&str>| names.into_iter().map(|name| GroupName::parse(name).unwrap()).collect::<Vec<_>>();
    let position = || (0..2u32, 0..9u64).prop_map(|(epoch, offset)| Position { epoch, offset });
    prop_oneof![
        (groups(), proptest::option::of(position())).prop_map(move |(groups, standing)| Grant::Follow { groups: names(groups), standing }),
        (groups(), position()).prop_map(move |(groups, position)| Grant::End { groups: names(groups), position }),
        position().prop_map(|position| Grant::EndAll { position }),
        Just(Grant::Review),
        (groups(), position(), position()).prop_map(move |(groups, began, position)| Grant::Standing(Ok(Standing {
            groups: names(groups),
            began,
            position
        }))),
        Just(Grant::Standing(Err(Failure { code: Code::Unavailable, retry_after: None }))),
    ]
}

proptest! {
    /// Whatever comes, in whatever order: no panic, nothing after a close, and no deadline that has been dealt with comes again.
    #[test]
    fn any_sequence_of_inputs_keeps_the_contract(inputs in proptest::collection::vec((any_input(), 0..40u64), 0..60)) {
        let mut talk = Talk::new();
        let mut closed = false;
        for (input, seconds) in inputs {
            talk.now += Duration::from_secs(seconds);
            let timeout = matches!(input, Input::Timeout);
            for output in talk.gets(input) {
                prop_assert!(!closed, "{output:?} after close");
                closed = matches!(output, Output::Close { .. });
            }
            if timeout {
                prop_assert!(talk.session.deadline().is_none_or(|deadline| deadline > talk.now));
            }
            prop_assert_eq!(closed, talk.session.deadline().is_none());
        }
    }
}

#[test]
fn members_may_ask_who_is_there_where_that_is_known() {
    let mut talk = Talk::open(Some("john"));
    let who = |group: &str, after: Option<&str>, limit| {
        ClientFrame::Who(RosterRequest { request: 7, group: group.into(), after: after.map(str::to_owned), limit })
    };
    let refused = |code| [Output::Send(Lane::Main, ServerFrame::error(7, code))];
    assert_eq!(talk.says(who("staff_a", None, None)), refused(Code::NotAllowed), "no member yet");
    talk.says(subscribe(1, "staff_a"));
    talk.says(subscribe(2, "b"));
    assert_eq!(talk.says(who("b", None, None)), refused(Code::NotAllowed), "nobody is counted there");
    let ask = |after, limit| Ask { request: 7, group: GroupName::parse("staff_a").unwrap(), after, limit };
    assert_eq!(talk.says(who("staff_a", None, None)), [Output::Ask(ask(None, limits::ROSTER))]);
    let john = UserId::parse("john").unwrap();
    assert_eq!(talk.says(who("staff_a", Some("john"), Some(1 << 40))), [Output::Ask(ask(Some(john), limits::ROSTER_MOST))]);
    let roster = Roster::default();
    let present = ServerFrame::Present { request: 7, group: "staff_a".into(), roster: roster.clone() };
    assert_eq!(talk.gets(Input::Asked(ask(None, 1), Ok(roster))), [Output::Send(Lane::Main, present)]);
    let away = Failure { code: Code::Unavailable, retry_after: Some(Duration::from_secs(1)) };
    let outputs = talk.gets(Input::Asked(ask(None, 1), Err(away)));
    assert!(matches!(&outputs[..], [Output::Send(_, ServerFrame::Error { request: 7, code: 4400, retry_ms: Some(1000), .. })]));
}
