//! Attacks on the session: any conversation, with a server that answers as it likes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use arbitrary::{Arbitrary, Unstructured};

use super::{Ask, Config, Failure, Grant, Identity, Input, Join, Joined, Lane, Output, Publish, Session, Standing};
use crate::{
    config,
    policy::{Asker, Policies, Rights, Verb, Verdict},
    protocol::{
        Census, ClientFrame, Code, DecodeError, EventId, GroupName, Hello, Position, RawKind, Recovery, Roster, RosterRequest, ServerFrame,
        Subscribe, UserId, from_json,
    },
};

/// Few names, so that they meet again; some that policies forbid, and some that are none.
const NAMES: [&str; 8] = ["a", "b", "c", "staff_a", "closed_a", "user.ann", "user.bob", "no name"];

const USERS: [Option<&str>; 3] = [None, Some("ann"), Some("bob")];

const GROUPS_MOST: usize = 2;

/// What happens next.
#[derive(Debug, Arbitrary)]
enum Step {
    Says { on_replay: bool, what: Word, name: u8 },
    Grants { what: Gift, names: Vec<u8>, offset: u8, began: u8 },
    Waits { quarters: u8 },
    Alive,
    Broken,
    Undecodable,
    Disconnected,
    Drained,
}

/// A frame of the client.
#[derive(Debug, Arbitrary)]
enum Word {
    Hello { version: u8, token: bool },
    Subscribe { since: Option<u8> },
    Unsubscribe,
    Publish { kind: u8, body: bool },
    Refresh { long: bool },
    Who { limit: Option<u16> },
    Ping,
    Pong,
    Unknown,
    Goodbye,
}

#[derive(Debug, Arbitrary)]
enum Gift {
    Follow,
    Stand,
    End,
    EndAll,
    Review,
}

/// Any conversation: each request gets one answer, nothing is done that a policy forbids, nothing comes after the end, time never stands still, and bounds hold.
pub fn conversation(bytes: &[u8]) {
    let mut unstructured = Unstructured::new(bytes);
    let mut talk = Talk::new();
    while !unstructured.is_empty() {
        let Ok(step) = Step::arbitrary(&mut unstructured) else { return };
        if talk.step(step, &mut unstructured).is_err() {
            return;
        }
    }
}

struct Talk {
    session: Session,
    policies: Arc<Policies>,
    now: Instant,
    user: Option<UserId>,
    welcomed: bool,
    closed: bool,
    next_request: u32,
    /// Requests and how many answers each has had.
    answers: BTreeMap<u32, u32>,
    /// Groups that were joined because the client asked.
    asked: BTreeSet<GroupName>,
    /// Whether anything was followed without being asked for.
    granted: bool,
}

static POLICIES: LazyLock<Arc<Policies>> = LazyLock::new(|| {
    let policies = [("staff_*", "authenticated", "server"), ("closed_*", "server", "server"), ("*", "anyone", "anyone")];
    let text = policies.map(|(name, subscribe, publish)| {
        format!("[[groups]]\nmatch = \"{name}\"\nsubscribe = \"{subscribe}\"\npublish = \"{publish}\"\npresence = \"list\"\n")
    });
    config::fuzzing::policies(&text.concat()).into()
});

impl Talk {
    #[allow(clippy::disallowed_methods, reason = "there is no other way to an instant, and which one it is does not matter")]
    fn new() -> Self {
        let config = Config {
            max_frame: 65_536,
            max_groups: GROUPS_MOST,
            ping_interval: Duration::from_secs(25),
            hello_deadline: Duration::from_secs(5),
            server: "fanfare/test".into(),
            node: "n1".into(),
        };
        let (policies, now) = (POLICIES.clone(), Instant::now());
        Self {
            session: Session::new(Arc::new(config), policies.clone(), "n1-1".into(), now),
            policies,
            now,
            user: None,
            welcomed: false,
            closed: false,
            next_request: 1,
            answers: BTreeMap::new(),
            asked: BTreeSet::new(),
            granted: false,
        }
    }

    fn step(&mut self, step: Step, dice: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        match step {
            Step::Says { on_replay, what, name } => {
                let lane = if on_replay { Lane::Replay(8) } else { Lane::Main };
                let frame = self.frame(&what, name);
                self.give(Input::Frame(lane, frame), dice)?;
            }
            Step::Grants { what, names, offset, began } => {
                let groups = names.iter().take(300).filter_map(|name| GroupName::parse(NAMES[usize::from(*name) % NAMES.len()]).ok());
                self.granted = true;
                let grant = gift(&what, groups.collect(), place(offset), place(began));
                self.give(Input::Granted(grant), dice)?;
            }
            Step::Waits { quarters } => {
                self.now += Duration::from_millis(250) * u32::from(quarters);
                while let Some(due) = self.session.deadline().filter(|due| *due <= self.now) {
                    self.give(Input::Timeout, dice)?;
                    assert!(self.session.deadline().is_none_or(|next| next != due), "time stands still");
                }
            }
            Step::Alive => self.give(Input::Alive, dice)?,
            Step::Broken => self.give(Input::Broken(Code::SlowConsumer), dice)?,
            Step::Undecodable => self.give(Input::Undecodable(DecodeError::TooDeep), dice)?,
            Step::Disconnected => {
                self.give(Input::Disconnected { code: Code::Disconnected, reason: None, delay: Duration::ZERO }, dice)?;
            }
            Step::Drained => self.give(Input::Drain(Duration::from_secs(1)), dice)?,
        }
        Ok(())
    }

    /// Gives it to the session, and does what that wants, each thing before the next is asked for, as a connection does.
    fn give(&mut self, input: Input, dice: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let request = request(&input);
        let was_open = self.welcomed && !self.closed;
        self.session.handle(input, self.now);
        while let Some(output) = self.session.poll() {
            assert!(!self.closed, "{output:?} comes after the end");
            self.obey(output, dice)?;
        }
        assert_eq!(self.session.deadline().is_none(), self.closed, "only the end has no deadline");
        if let Some(request) = request.filter(|_| was_open && !self.closed) {
            assert_eq!(self.answers.get(&request), Some(&1), "request {request} gets one answer");
        }
        assert!(self.granted || self.asked.len() <= GROUPS_MOST, "it follows {} groups", self.asked.len());
        Ok(())
    }

    fn obey(&mut self, output: Output, dice: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let failure = Failure { code: Code::Unavailable, retry_after: Some(Duration::from_secs(1)) };
        let succeeds: bool = dice.ratio(3, 4)?;
        let answer = match output {
            Output::Send(_, frame) => {
                self.sent(&frame);
                return Ok(());
            }
            Output::Authenticate { .. } if succeeds => {
                let user = dice.choose(&USERS)?.and_then(|user| UserId::parse(user).ok());
                let groups = if user.is_some() && dice.arbitrary()? { vec![GroupName::parse("b").expect("a name")] } else { Vec::new() };
                self.granted |= user.is_some();
                if !self.welcomed {
                    self.user = user.clone();
                }
                Input::Authenticated(Ok(Identity {
                    user,
                    valid: dice.arbitrary::<Option<u8>>()?.map(|s| Duration::from_secs(s.into())),
                    groups,
                    ..Identity::default()
                }))
            }
            Output::Authenticate { .. } => Input::Authenticated(Err(Code::TokenInvalid)),
            Output::ReadStanding if succeeds => {
                let groups = vec![GroupName::parse("c").expect("a name")];
                let (began, position) = (place(dice.arbitrary()?), place(dice.arbitrary()?));
                Input::Granted(Grant::Standing(Ok(Standing { groups, began, position })))
            }
            Output::ReadStanding => Input::Granted(Grant::Standing(Err(failure))),
            Output::Join(join) => self.joins(join, succeeds.then_some(()).ok_or(failure)),
            Output::Leave(group) => {
                self.asked.remove(&group);
                return Ok(());
            }
            Output::Publish(Publish { request, group, sender, .. }) => {
                assert!(self.may(Verb::Publish, &group), "nobody may publish to {group}");
                assert_eq!(sender, self.user, "nobody speaks for another");
                Input::Published(request, if succeeds { Ok((EventId::from_number(1), place(1))) } else { Err(failure) })
            }
            Output::Ask(ask @ Ask { .. }) => {
                let roster = Roster { census: Census::default(), users: Vec::new(), next: None };
                Input::Asked(ask, if succeeds { Ok(roster) } else { Err(failure) })
            }
            Output::Enlist(user) => {
                assert_eq!(Some(user), self.user);
                return Ok(());
            }
            Output::Chosen(_) => return Ok(()),
            Output::Close { .. } => {
                self.closed = true;
                return Ok(());
            }
        };
        self.session.handle(answer, self.now);
        Ok(())
    }

    fn may(&self, verb: Verb, group: &GroupName) -> bool {
        let asker = Asker { user: self.user.as_ref(), rights: &Rights::default() };
        self.policies.of(group).judge(asker, verb, group) == Verdict::Allowed
    }

    fn joins(&mut self, join: Join, result: Result<(), Failure>) -> Input {
        let wanted = join.request == 0 || !join.first || self.may(Verb::Subscribe, &join.group);
        assert!(wanted, "{} may not be followed", join.group);
        let joined = Joined { number: 1, position: place(1), recovery: Recovery::NotAsked, missed: 0 };
        if result.is_ok() && join.request > 0 {
            self.asked.insert(join.group.clone());
        }
        Input::Joined(join, result.map(|()| joined))
    }

    /// Counts answers.
    fn sent(&mut self, frame: &ServerFrame) {
        let request = match frame {
            ServerFrame::Welcome(_) => {
                assert!(!self.welcomed, "a second welcome");
                self.welcomed = true;
                return;
            }
            ServerFrame::Subscribed { request, .. }
            | ServerFrame::Unsubscribed { request, .. }
            | ServerFrame::Published { request, .. }
            | ServerFrame::Refreshed { request, .. }
            | ServerFrame::Error { request, .. }
            | ServerFrame::Present { request, .. } => *request,
            _ => 0,
        };
        assert!(self.welcomed, "{frame:?} before welcome");
        if request > 0 {
            *self.answers.entry(request).or_default() += 1;
        }
    }

    fn frame(&mut self, word: &Word, name: u8) -> ClientFrame {
        let group = NAMES[usize::from(name) % NAMES.len()].to_owned();
        let request = self.next_request;
        self.next_request += 1;
        match word {
            Word::Hello { version, token } => {
                ClientFrame::Hello(Hello { version: (*version % 3).into(), token: token.then(|| "t".into()), ..Hello::default() })
            }
            Word::Subscribe { since } => ClientFrame::Subscribe(Subscribe { request, group, since: since.map(place) }),
            Word::Unsubscribe => ClientFrame::Unsubscribe { request, group },
            Word::Publish { kind, body } => {
                let body = body.then(|| from_json(&serde_json::json!("x")).into());
                ClientFrame::Publish { request, group, kind: RawKind::Number((*kind).into()), body, data: None, key: None }
            }
            Word::Refresh { long } => ClientFrame::Refresh { request, token: "t".repeat(if *long { 10_000 } else { 1 }) },
            Word::Who { limit } => ClientFrame::Who(RosterRequest { request, group, after: None, limit: limit.map(u64::from) }),
            Word::Ping => ClientFrame::Ping(request.into()),
            Word::Pong => ClientFrame::Pong(request.into()),
            Word::Unknown => ClientFrame::Unknown { request: Some(request) },
            Word::Goodbye => ClientFrame::Goodbye,
        }
    }
}

/// The number of the request that the frame is, if it is one.
fn request(input: &Input) -> Option<u32> {
    let Input::Frame(_, frame) = input else { return None };
    match frame {
        ClientFrame::Subscribe(Subscribe { request, .. })
        | ClientFrame::Unsubscribe { request, .. }
        | ClientFrame::Publish { request, .. }
        | ClientFrame::Refresh { request, .. }
        | ClientFrame::Who(RosterRequest { request, .. }) => Some(*request),
        ClientFrame::Unknown { request } => *request,
        ClientFrame::Hello(_) | ClientFrame::Ping(_) | ClientFrame::Pong(_) | ClientFrame::Goodbye => None,
    }
}

fn gift(what: &Gift, groups: Vec<GroupName>, position: Position, began: Position) -> Grant {
    match what {
        Gift::Follow => Grant::Follow { groups, standing: None },
        Gift::Stand if began.offset.is_multiple_of(2) => Grant::Standing(Ok(Standing { groups, began, position })),
        Gift::Stand => Grant::Follow { groups, standing: Some(position) },
        Gift::End => Grant::End { groups, position },
        Gift::EndAll => Grant::EndAll { position },
        Gift::Review => Grant::Review,
    }
}

fn place(n: u8) -> Position {
    Position { epoch: u32::from(n) / 64, offset: u64::from(n) % 64 }
}
