//! One connection's protocol as a state machine without I/O.
//!
//! The session knows who the peer is, what it follows, and what comes next; it has no socket, no clock and no hub. Payloads of events never pass through
//! it. Its one invariant: after [`Output::Close`] nothing more comes out.

mod access;
mod following;
mod grants;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

pub use grants::{Grant, Standing};

use self::{
    following::{Following, Ground},
    grants::Later,
};
use crate::{
    policy::{Policies, Presence, Rights, Verb, Verdict},
    protocol::{
        ClientFrame, Code, Content, ContentError, DecodeError, EventId, GroupName, Hello, IdempotencyKey, NameError, Position, RawKind,
        Recovery, Roster, RosterRequest, ServerFrame, Subscribe, UserId, Welcome, limits,
    },
};

/// When a client may come back whose user's personal group could not be joined, if the broker does not tell.
const PERSONAL_RETRY: Duration = Duration::from_secs(1);

/// What every session of a server has in common.
#[derive(Debug, Clone)]
pub struct Config {
    /// Longest frame that a client may send, in bytes.
    pub max_frame: usize,
    /// Groups that one session may follow.
    pub max_groups: usize,
    /// Ping a connection from which nothing came for so long; close it after twice the time.
    pub ping_interval: Duration,
    /// From acceptance of the connection to the whole hello.
    pub hello_deadline: Duration,
    /// Name and version of the server, told in welcome.
    pub server: String,
    /// Name of the node, told in welcome.
    pub node: String,
}

/// Which stream of a connection a frame came on, and so where its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The one that carries live events.
    Main,
    /// A stream of its own for one subscribe with a position.
    Replay(u64),
}

/// What happens to a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// A frame arrived.
    Frame(Lane, ClientFrame),
    /// Bytes arrived that are no frame.
    Undecodable(DecodeError),
    /// The transport's own protocol was violated, or its peer is too slow; the connection can't go on.
    Broken(Code),
    /// Something arrived that is no frame but shows that the peer lives.
    Alive,
    /// The answer to [`Output::Authenticate`].
    Authenticated(Result<Identity, Code>),
    /// The answer to [`Output::Join`]. If the session follows the group now, the frame that says so is what comes out next.
    Joined(Join, Result<Joined, Failure>),
    /// The answer to [`Output::Publish`].
    Published(u32, Result<(EventId, Position), Failure>),
    /// The answer to [`Output::Ask`].
    Asked(Ask, Result<Roster, Failure>),
    /// Something about what the session follows without having asked.
    Granted(Grant),
    /// What is allowed is this from now on.
    Policies(Arc<Policies>),
    /// The application wants the connection to end.
    Disconnected {
        /// Tells the client what to do next.
        code: Code,
        /// For people; `None`: the code's own sentence.
        reason: Option<String>,
        /// When the client may come back, if it may.
        delay: Duration,
    },
    /// The time that [`Session::deadline`] told has come.
    Timeout,
    /// The server leaves; the client shall come back after so long.
    Drain(Duration),
}

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `None`: anonymous.
    pub user: Option<UserId>,
    /// How long that holds.
    pub valid: Option<Duration>,
    /// The groups that the peer follows without asking.
    pub groups: Vec<GroupName>,
    /// What it may do beyond what policies let everybody do.
    pub rights: Rights,
}

/// A wish to follow a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The client's number for it, 0 if the server wants it.
    pub request: u32,
    /// Which group.
    pub group: GroupName,
    /// The last event that the client has.
    pub since: Option<Position>,
    /// Where the answer and what was missed go.
    pub lane: Lane,
    /// The session did not follow the group before, and does not if this fails, unless the server wants it.
    pub first: bool,
}

/// What became of a [`Join`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Stands for the group on this connection.
    pub number: u32,
    /// Live events come after this.
    pub position: Position,
    /// Whether all that was missed follows.
    pub recovery: Recovery,
    /// How many events of the past follow.
    pub missed: u64,
}

/// Why a request failed at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The code for the client.
    pub code: Code,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// An event that the client wants to send, and may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The client's number for it.
    pub request: u32,
    /// To whom.
    pub group: GroupName,
    /// What.
    pub content: Content,
    /// Who.
    pub sender: Option<UserId>,
    /// Makes a repetition recognisable.
    pub key: Option<IdempotencyKey>,
}

/// A question who is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The client's number for it.
    pub request: u32,
    /// Which group.
    pub group: GroupName,
    /// The list begins after this user.
    pub after: Option<UserId>,
    /// How many users at most.
    pub limit: usize,
}

/// What a session wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Send(Lane, ServerFrame),
    /// Find out who this is. `request` is 0 for hello, else that of a refresh.
    Authenticate {
        /// What the client claims.
        token: Option<String>,
    },
    /// From now on what is wanted of this user's sessions has to come here.
    Enlist(UserId),
    /// Find out what stands for the user.
    ReadStanding,
    /// Join the group, then send what was missed.
    Join(Join),
    /// Leave the group.
    Leave(GroupName),
    /// Publish the event.
    Publish(Publish),
    /// Find out who is in the group.
    Ask(Ask),
    /// Count why the client chose its transport.
    Chosen(String),
    /// Say goodbye and close. Nothing comes after it.
    Close {
        /// Why.
        code: Code,
        /// For people; `None`: the code's own sentence.
        reason: Option<String>,
        /// When the client may come back.
        delay: Duration,
    },
}

/// The protocol state of one connection.
///
/// - In: [`Session::handle`]. Every call must be followed by [`Session::poll`] until it returns `None`.
/// - Out: [`Session::poll`], the only way out.
/// - Time: [`Session::deadline`] says when to call `handle` with [`Input::Timeout`]; it may change with every `handle`.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    policies: Arc<Policies>,
    id: String,
    state: State,
    heard: Instant,
    pinged: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// Nothing has been said yet.
    Opening { deadline: Instant },
    /// Hello has come, and waits for its answer.
    Authenticating,
    /// Welcome has been said.
    Open(Box<Open>),
    /// All is said.
    Closed,
}

#[derive(Debug, Default)]
struct Open {
    user: Option<UserId>,
    expires: Option<Instant>,
    rights: Rights,
    following: Following,
    /// The directive that this session knows to have changed what stands for its user last.
    standing: Position,
    later: Later,
    refreshing: Option<u32>,
}

impl Session {
    /// The session of a connection that was accepted at `now`.
    #[must_use]
    pub fn new(config: Arc<Config>, policies: Arc<Policies>, id: String, now: Instant) -> Self {
        let deadline = now + config.hello_deadline;
        Self { config, policies, id, state: State::Opening { deadline }, heard: now, pinged: false, outputs: VecDeque::new() }
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match input {
            Input::Frame(lane, frame) => {
                self.hear(now);
                self.frame(lane, frame);
            }
            Input::Alive => self.hear(now),
            Input::Undecodable(error) => self.close(error.code()),
            Input::Broken(code) => self.close(code),
            Input::Authenticated(result) => self.authenticated(result, now),
            Input::Joined(join, result) => self.joined(join, result, now),
            Input::Granted(grant) => self.granted(grant, now),
            Input::Policies(policies) => self.go_by(policies),
            Input::Disconnected { code, reason, delay } => self.say_goodbye(code, reason, delay),
            Input::Published(request, Ok((id, position))) => self.send(ServerFrame::Published { request, id, position }),
            Input::Published(request, Err(failure)) => self.fail(Lane::Main, request, failure),
            Input::Asked(Ask { request, group, .. }, Ok(roster)) => {
                self.send(ServerFrame::Present { request, group: group.to_string(), roster });
            }
            Input::Asked(Ask { request, .. }, Err(failure)) => self.fail(Lane::Main, request, failure),
            Input::Timeout => self.timeout(now),
            Input::Drain(delay) => self.close_after(Code::GoingAway, delay),
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // An idle session keeps no memory for what it might say.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`Input::Timeout`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let silence = self.heard + if self.pinged { 2 } else { 1 } * self.config.ping_interval;
        match &self.state {
            State::Opening { deadline } => Some(*deadline),
            State::Authenticating => Some(silence),
            State::Open(open) => [Some(silence), open.expires, open.later.at].into_iter().flatten().min(),
            State::Closed => None,
        }
    }

    /// Whether welcome has been said, or goodbye.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. } | State::Authenticating)
    }

    /// Whose session it is, once that is known.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match &self.state {
            State::Open(open) => open.user.as_ref(),
            State::Opening { .. } | State::Authenticating | State::Closed => None,
        }
    }

    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = false;
    }

    fn frame(&mut self, lane: Lane, frame: ClientFrame) {
        match (&self.state, lane, frame) {
            (_, _, ClientFrame::Goodbye) => self.close(Code::GoingAway),
            (State::Opening { .. }, Lane::Main, ClientFrame::Hello(hello)) => self.hello(hello),
            (State::Open(_), _, ClientFrame::Subscribe(subscribe)) => self.subscribe(lane, subscribe),
            (State::Open(_), Lane::Main, frame) => self.request(frame),
            (State::Opening { .. } | State::Authenticating | State::Open(_), _, _) => self.close(Code::UnexpectedFrame),
            (State::Closed, _, _) => {}
        }
    }

    fn hello(&mut self, hello: Hello) {
        if hello.version == 0 {
            return self.close(Code::UnsupportedVersion);
        }
        if hello.token.as_ref().is_some_and(|token| token.len() > limits::TOKEN_BYTES) {
            return self.close(Code::TokenInvalid);
        }
        self.state = State::Authenticating;
        self.outputs.extend(hello.transport.map(Output::Chosen));
        self.outputs.push_back(Output::Authenticate { token: hello.token });
    }

    fn authenticated(&mut self, result: Result<Identity, Code>, now: Instant) {
        match (&mut self.state, result) {
            (State::Authenticating, Ok(identity)) => self.open(identity, now),
            (State::Authenticating, Err(code)) => self.close(code),
            (State::Open(open), result) => {
                let Some(request) = open.refreshing.take() else { return };
                match result {
                    Ok(Identity { user, valid, groups, rights }) if user == open.user => {
                        open.expires = valid.map(|valid| now + valid);
                        self.send(ServerFrame::Refreshed { request, valid_s: valid.map(|valid| valid.as_secs()) });
                        self.replace_token_groups(groups);
                        self.replace_rights(rights);
                    }
                    Ok(_) => self.send(ServerFrame::error(request, Code::TokenInvalid)),
                    Err(code) => self.send(ServerFrame::error(request, code)),
                }
            }
            (State::Opening { .. } | State::Closed, _) => {}
        }
    }

    fn open(&mut self, identity: Identity, now: Instant) {
        let Identity { user, valid, groups, rights } = identity;
        self.send(ServerFrame::Welcome(Welcome {
            session: self.id.clone(),
            user: user.as_ref().map(ToString::to_string),
            ping_ms: u64::try_from(self.config.ping_interval.as_millis()).unwrap_or(u64::MAX),
            max_frame: self.config.max_frame as u64,
            max_groups: self.config.max_groups as u64,
            server: self.config.server.clone(),
            node: self.config.node.clone(),
        }));
        let open = Open { user: user.clone(), expires: valid.map(|valid| now + valid), rights, ..Open::default() };
        self.state = State::Open(Box::new(open));
        self.begin_grants(user, groups);
    }

    fn subscribe(&mut self, lane: Lane, Subscribe { request, group, since }: Subscribe) {
        let group = match GroupName::parse(&group) {
            Ok(group) => group,
            Err(error) => return self.refuse(lane, request, Code::BadGroupName, &error),
        };
        let allowed = self.judge(Verb::Subscribe, &group) == Verdict::Allowed;
        let State::Open(open) = &mut self.state else { return };
        let followed = open.following.contains(&group);
        let room = open.following.has(&group, Ground::Asked) || open.following.asked() < self.config.max_groups;
        // What the server lets it follow anyway it may ask for again, so that it gets what it missed; but that gives it no ground of its own.
        match (allowed, room) {
            (true, true) => drop(open.following.add(&group, Ground::Asked)),
            _ if followed => {}
            (false, _) => return self.fail(lane, request, Failure { code: Code::NotAllowed, retry_after: None }),
            (true, false) => return self.fail(lane, request, Failure { code: Code::TooManyGroups, retry_after: None }),
        }
        let first = !followed;
        self.outputs.push_back(Output::Join(Join { request, group, since, lane, first }));
    }

    fn joined(&mut self, join: Join, result: Result<Joined, Failure>, now: Instant) {
        let State::Open(open) = &mut self.state else { return };
        match result {
            Ok(Joined { number, position, recovery, missed }) => {
                let group = join.group.to_string();
                let frame = ServerFrame::Subscribed { request: join.request, number, group, position, recovery, missed };
                self.outputs.push_front(Output::Send(join.lane, frame));
            }
            // No request of the client waits for an answer: it would go on without what its user is told, and never know.
            Err(failure) if join.request == 0 && join.group.owner().is_none() => self.join_later(join.group, failure, now),
            Err(failure) if join.request == 0 => self.close_after(Code::Overloaded, failure.retry_after.unwrap_or(PERSONAL_RETRY)),
            Err(failure) => {
                if join.first {
                    open.following.remove(&join.group, Ground::Asked);
                }
                self.fail(join.lane, join.request, failure);
            }
        }
    }

    fn request(&mut self, frame: ClientFrame) {
        match frame {
            ClientFrame::Unsubscribe { request, group } => self.unsubscribe(request, &group),
            ClientFrame::Publish { request, group, kind, body, data, key } => {
                let publish = self.check_publish(request, &group, &kind, key.as_deref(), |kind| Content::parse(kind, body, data));
                match publish {
                    Ok(publish) => self.outputs.push_back(Output::Publish(publish)),
                    Err(refusal) => self.refuse(Lane::Main, request, refusal.0, &refusal.1),
                }
            }
            ClientFrame::Refresh { request, token } => {
                let State::Open(open) = &mut self.state else { return };
                if token.len() > limits::TOKEN_BYTES {
                    return self.send(ServerFrame::error(request, Code::TokenInvalid));
                }
                open.refreshing = Some(request);
                self.outputs.push_back(Output::Authenticate { token: Some(token) });
            }
            ClientFrame::Who(who) => match self.check_who(who) {
                Ok(ask) => self.outputs.push_back(Output::Ask(ask)),
                Err((request, code, sentence)) => self.refuse(Lane::Main, request, code, &sentence),
            },
            ClientFrame::Ping(n) => self.send(ServerFrame::Pong(n)),
            ClientFrame::Pong(_) | ClientFrame::Unknown { request: None } => {}
            ClientFrame::Unknown { request: Some(request) } => self.send(ServerFrame::error(request, Code::UnknownRequest)),
            ClientFrame::Hello(_) => self.close(Code::UnexpectedFrame),
            // Dealt with before, because these two are not for the main lane alone.
            ClientFrame::Subscribe(_) | ClientFrame::Goodbye => {}
        }
    }

    fn unsubscribe(&mut self, request: u32, group: &str) {
        let State::Open(open) = &mut self.state else { return };
        match GroupName::parse(group) {
            Ok(name) => {
                open.following.end(&name);
                // Also of what is not in that list: the personal group. Leaving what is not followed changes nothing.
                self.outputs.push_back(Output::Leave(name));
                self.send(ServerFrame::Unsubscribed { request, group: group.to_owned(), code: None });
            }
            Err(error) => self.refuse(Lane::Main, request, Code::BadGroupName, &error),
        }
    }

    fn check_publish(
        &self,
        request: u32,
        group: &str,
        kind: &RawKind,
        key: Option<&str>,
        content: impl FnOnce(&RawKind) -> Result<Content, ContentError>,
    ) -> Result<Publish, (Code, String)> {
        let State::Open(open) = &self.state else {
            return Err((Code::UnexpectedFrame, Code::UnexpectedFrame.sentence().to_owned()));
        };
        let bad_event = |error: NameError| (Code::BadEvent, error.to_string());
        let group = GroupName::parse(group).map_err(|error| (Code::BadGroupName, error.to_string()))?;
        if self.judge(Verb::Publish, &group) != Verdict::Allowed {
            return Err((Code::NotAllowed, Code::NotAllowed.sentence().to_owned()));
        }
        let content = content(kind).map_err(|error| match error {
            ContentError::TooLarge { .. } => (Code::EventTooLarge, error.to_string()),
            ContentError::Kind(_)
            | ContentError::UnknownKind(_)
            | ContentError::Body { .. }
            | ContentError::Data
            | ContentError::Malformed(_) => (Code::BadEvent, error.to_string()),
        })?;
        let key = key.map(IdempotencyKey::parse).transpose().map_err(bad_event)?;
        Ok(Publish { request, group, content, sender: open.user.clone(), key })
    }

    /// Members may ask who is there, if that is known; others if they have the right.
    fn check_who(&self, RosterRequest { request, group, after, limit }: RosterRequest) -> Result<Ask, (u32, Code, String)> {
        let bad_name = |error: NameError| (request, Code::BadGroupName, error.to_string());
        let group = GroupName::parse(&group).map_err(bad_name)?;
        let follows = matches!(&self.state, State::Open(open) if open.following.contains(&group));
        let may_ask = follows || self.judge(Verb::Presence, &group) == Verdict::Allowed;
        if !may_ask || self.policies.of(&group).presence == Presence::Off {
            return Err((request, Code::NotAllowed, Code::NotAllowed.sentence().to_owned()));
        }
        let after = after.as_deref().map(UserId::parse).transpose().map_err(bad_name)?;
        let limit = limit.map_or(limits::ROSTER, |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(limits::ROSTER_MOST));
        Ok(Ask { request, group, after, limit })
    }

    fn timeout(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.heard);
        match &self.state {
            State::Opening { deadline } if now >= *deadline => self.close(Code::HelloTimeout),
            State::Open(open) if open.expires.is_some_and(|expires| now >= expires) => self.close(Code::TokenExpired),
            State::Authenticating | State::Open(_) if silent >= 2 * self.config.ping_interval => self.close(Code::Timeout),
            State::Open(_) if silent >= self.config.ping_interval && !self.pinged => {
                self.pinged = true;
                self.send(ServerFrame::Ping(1));
            }
            State::Authenticating if silent >= self.config.ping_interval => self.pinged = true,
            State::Opening { .. } | State::Authenticating | State::Open(_) | State::Closed => {}
        }
        self.try_again(now);
    }

    fn send(&mut self, frame: ServerFrame) {
        self.outputs.push_back(Output::Send(Lane::Main, frame));
    }

    fn fail(&mut self, lane: Lane, request: u32, failure: Failure) {
        let retry_ms = failure.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let sentence = failure.code.sentence().to_owned();
        let code = failure.code.number().into();
        self.outputs.push_back(Output::Send(lane, ServerFrame::Error { request, code, sentence, retry_ms }));
    }

    fn refuse(&mut self, lane: Lane, request: u32, code: Code, why: &impl ToString) {
        let frame = ServerFrame::Error { request, code: code.number().into(), sentence: why.to_string(), retry_ms: None };
        self.outputs.push_back(Output::Send(lane, frame));
    }

    fn close(&mut self, code: Code) {
        self.close_after(code, Duration::ZERO);
    }

    fn close_after(&mut self, code: Code, delay: Duration) {
        self.say_goodbye(code, None, delay);
    }

    fn say_goodbye(&mut self, code: Code, reason: Option<String>, delay: Duration) {
        self.state = State::Closed;
        self.outputs.push_back(Output::Close { code, reason, delay });
    }
}
