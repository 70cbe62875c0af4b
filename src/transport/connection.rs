//! One connection: its wire, its session, its outbox, its place in the hub.
//!
//! One task each. It waits for one thing, gives it to the session, does all that the session says, and writes. Live events do not pass through it: the hub writes them
//! directly, and the task steps in only when the wire is blocked. Its invariant: it is counted when it opens and when it closes, once each.

use std::{future::poll_fn, pin::pin, rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::{Context, Farewell, now};
use crate::{
    broker::{self, Demand, Directive, Disconnect, Publication},
    hub::{Attention, Link, Member, Missed, Notice, Slow, Terms, Wire},
    policy::{self, Policy, SlowConsumer},
    presence::Stay,
    protocol::{ClientFrame, Code, DecodeError, Dialect, Encoding, GroupName, Recovery, ServerFrame},
    session::{Ask, Failure, Grant, Input, Join, Joined, Lane, Output, Publish, Session, Standing},
};

/// What a peer sends, as its transport sees it.
#[derive(Debug)]
pub(super) enum Received {
    /// A frame on the main lane.
    Frame(Bytes),
    /// The first frame of another stream.
    Replay(u64, Bytes),
    /// Nothing that concerns the session, but a sign of life; maybe with an answer of the transport's own.
    Alive(Option<Bytes>),
    /// Bytes that can't be a frame.
    Undecodable(DecodeError),
    /// The transport's protocol was violated.
    Broken(Code),
    /// The peer has left.
    Closed,
}

/// The receiving end of a wire, and what else differs between transports.
pub(super) trait Peer {
    /// Its name in metrics.
    fn transport(&self) -> &'static str;
    /// The dialect, if it has been negotiated.
    fn dialect(&self) -> Option<Dialect>;
    /// How frames are framed.
    fn encoding(&self, dialect: Dialect) -> Encoding;
    /// The sending end.
    fn wire(&self) -> Rc<dyn Wire>;
    /// The next thing that the peer sends. Safe to cancel.
    async fn receive(&mut self) -> Received;
    /// Queues a part of the answer on another stream.
    fn reply(&self, _stream: u64, _bytes: Bytes) {}
    /// The answer on another stream is whole.
    fn end_reply(&self, _stream: u64) {}
    /// What the transport itself says last, after goodbye. From now on the connection ends with this code, however it ends.
    fn farewell(&self, code: Code, reason: &str) -> Option<Bytes>;
    /// Ends the wire, after all has been written. Waits for the peer to do so too; the caller bounds it.
    async fn close(&mut self, code: Code);
}

/// How long a peer gets to take the goodbye, and then to close.
const LINGER: Duration = Duration::from_secs(2);

/// Answers that wait for each other, at most.
const ANSWERS_BYTES: usize = 16 * 1024;

/// Runs a connection from its acceptance to its end.
///
/// What is moved while it runs is boxed: a task keeps room for both places.
pub(super) async fn run<P: Peer>(mut peer: Box<P>, context: Rc<Context>, permit: OwnedSemaphorePermit) {
    let counted = Counted::open(&context, peer.transport());
    let mut session = Box::new(Session::new(context.session.load_full(), context.policies.load_full(), context.ids.next(), now()));
    let (first, dialect) = Box::pin(first_frame(&mut *peer, &context, &mut session)).await;
    let member = context.hub.connect(peer.wire(), peer.encoding(dialect));
    let mut connection = Connection { context: &context, session, member, stays: Vec::new(), dialect, farewell: None };
    // From here on the hub tells when they change; before it they may have.
    connection.take_policies();
    let mut then = first.map_or(Then::Continue, |received| connection.received(received));
    let last = loop {
        let closed = connection.answer(&*peer).await;
        if let Then::EndReply(stream) = then {
            peer.end_reply(stream);
        }
        match closed {
            Some(last) => break last,
            None if then == Then::Leave => {
                connection.leave_all();
                break Last { code: Code::GoingAway, reason: Code::GoingAway.sentence().to_owned() };
            }
            None => then = connection.next_or_flush(&mut *peer).await,
        }
    };
    // Boxed like everything that happens seldom: an idle connection shall not keep room for it.
    Box::pin(connection.end(&mut *peer, &last)).await;
    counted.close(last.code);
    drop(permit);
}

/// Waits for the first frame, because it may have to tell the dialect. `None`: the session has said all that there is to say.
async fn first_frame<P: Peer>(peer: &mut P, context: &Context, session: &mut Session) -> (Option<Received>, Dialect) {
    let mut farewell = context.farewell.clone();
    let dialect = peer.dialect();
    let otherwise = dialect.unwrap_or(Dialect::Msgpack);
    loop {
        tokio::select! {
            received = peer.receive() => match received {
                Received::Frame(frame) => {
                    let dialect = dialect.unwrap_or_else(|| Dialect::guess(frame.first().copied().unwrap_or_default()));
                    return (Some(Received::Frame(frame)), dialect);
                }
                // A ping before hello does not keep a connection, and gets no answer before there is an outbox.
                Received::Alive(_) => {}
                other => return (Some(other), otherwise),
            },
            () = sleep_until_deadline(session) => session.handle(Input::Timeout, now()),
            leave = farewell.wait_for(Option::is_some) => {
                let spread = leave.ok().and_then(|leave| *leave).map_or(Duration::ZERO, |leave| leave.spread);
                session.handle(Input::Drain(random_share(spread)), now());
            }
        }
        if session.deadline().is_none() {
            return (None, otherwise);
        }
    }
}

async fn sleep_until_deadline(session: &Session) {
    match session.deadline() {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// What follows when the session's answers to the latest thing have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Continue,
    /// The answer on another stream is whole.
    EndReply(u64),
    /// The peer has gone.
    Leave,
}

/// What was said last.
struct Last {
    code: Code,
    reason: String,
}

struct Connection<'a> {
    context: &'a Rc<Context>,
    session: Box<Session>,
    member: Member,
    /// One for each group whose policy has presence.
    stays: Vec<Stay>,
    dialect: Dialect,
    farewell: Option<Farewell>,
}

impl Connection<'_> {
    /// Waits for one thing and gives it to the session. Answers are written when there is nothing else to do at once, so that those to frames that came together leave together.
    async fn next_or_flush<P: Peer>(&mut self, peer: &mut P) -> Then {
        let (link, metrics) = (self.member.link().clone(), &self.context.metrics);
        if link.waiting() >= ANSWERS_BYTES {
            link.flush(metrics, now());
        }
        let mut next = pin!(self.next(peer));
        poll_fn(|cx| {
            let polled = next.as_mut().poll(cx);
            if polled.is_pending() {
                link.flush(metrics, now());
            }
            polled
        })
        .await
    }

    /// Waits for one thing and gives it to the session.
    async fn next<P: Peer>(&mut self, peer: &mut P) -> Then {
        let Context { metrics, farewell, .. } = &**self.context;
        let mut farewell = farewell.clone();
        let link = self.member.link().clone();
        // Answers may fill the outbox beyond its bound for events, so a peer that does not take them is not listened to.
        let may_read = link.waiting() < self.context.outbox_bytes + self.session_frame_bytes();
        let received = tokio::select! {
            biased;
            attention = link.attend(metrics, now) => {
                match attention {
                    Attention::Lost(code) => self.session.handle(Input::Broken(code), now()),
                    Attention::Written => {}
                    Attention::Notices(notices) => notices.into_iter().for_each(|notice| self.note(notice)),
                }
                return Then::Continue;
            }
            leave = farewell.wait_for(Option::is_some), if self.farewell.is_none() => {
                if let Some(leave) = leave.ok().and_then(|leave| *leave) {
                    self.farewell = Some(leave);
                    self.session.handle(Input::Drain(random_share(leave.spread)), now());
                }
                return Then::Continue;
            }
            () = sleep_until_deadline(&self.session) => {
                self.session.handle(Input::Timeout, now());
                return Then::Continue;
            }
            received = peer.receive(), if may_read => received,
        };
        self.received(received)
    }

    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Directive(directive) => self.session.handle(input(&directive), now()),
            Notice::Review => self.session.handle(Input::Granted(Grant::Review), now()),
            Notice::Policies => self.take_policies(),
        }
    }

    /// What is allowed has changed, or may have.
    fn take_policies(&mut self) {
        let policies = self.context.policies.load_full();
        for group in self.member.groups() {
            let policy = policies.of(&group);
            self.member.revise(&group, terms(policy));
            match policy.presence {
                policy::Presence::Off => self.leave_presence(&group),
                presence @ (policy::Presence::List | policy::Presence::Live) => self.stay(&group, presence),
            }
        }
        self.session.handle(Input::Policies(policies), now());
    }

    fn session_frame_bytes(&self) -> usize {
        self.context.session.load().max_frame
    }

    fn received(&mut self, received: Received) -> Then {
        let input = match received {
            Received::Frame(frame) => self.decode(Lane::Main, &frame),
            Received::Replay(stream, frame) => self.decode(Lane::Replay(stream), &frame),
            Received::Alive(answer) => {
                if let Some(answer) = answer {
                    self.member.link().send_encoded(answer, now());
                }
                Input::Alive
            }
            Received::Undecodable(error) => Input::Undecodable(error),
            Received::Broken(code) => Input::Broken(code),
            Received::Closed => return Then::Leave,
        };
        let then = if let Input::Frame(Lane::Replay(stream), _) = &input { Then::EndReply(*stream) } else { Then::Continue };
        self.session.handle(input, now());
        then
    }

    fn decode(&self, lane: Lane, frame: &Bytes) -> Input {
        self.context.metrics.frames_in.inc();
        match ClientFrame::decode(self.dialect, frame) {
            Ok(frame) => Input::Frame(lane, frame),
            Err(error) => {
                debug!(%error, "frame can't be decoded");
                Input::Undecodable(error)
            }
        }
    }

    /// Does all that the session wants done; tells why if that was to close.
    async fn answer<P: Peer>(&mut self, peer: &P) -> Option<Last> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(lane, frame) => self.send(peer, lane, &frame),
                Output::Authenticate { token } => {
                    let identity = (self.context.authenticate)(token.as_deref());
                    self.session.handle(Input::Authenticated(identity), now());
                }
                Output::Chosen(word) => self.context.metrics.transport_choice(&word),
                Output::Enlist(user) => self.member.enlist(&user),
                Output::ReadStanding => Box::pin(self.read_standing()).await,
                Output::Join(join) => Box::pin(self.join(peer, join)).await,
                Output::Leave(group) => self.leave(&group),
                Output::Ask(ask) => Box::pin(self.ask(ask)).await,
                Output::Publish(publish) => Box::pin(self.publish(publish)).await,
                Output::Close { code, reason, delay } => {
                    // Before goodbye: a wire may take seconds to end, and nothing comes after goodbye.
                    self.leave_all();
                    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                    let reason = reason.unwrap_or_else(|| code.sentence().to_owned());
                    let goodbye = ServerFrame::Goodbye {
                        code: code.number().into(),
                        sentence: reason.clone(),
                        reconnect: code.may_reconnect(),
                        delay_ms,
                    };
                    self.send(peer, Lane::Main, &goodbye);
                    return Some(Last { code, reason });
                }
            }
        }
        None
    }

    fn send<P: Peer>(&self, peer: &P, lane: Lane, frame: &ServerFrame) {
        if let ServerFrame::Error { code, .. } = frame
            && let Some(code) = Code::from_number(*code)
        {
            self.context.metrics.errors(code.name());
        }
        self.send_encoded(peer, lane, self.link().encoding().encode(frame));
    }

    fn send_encoded<P: Peer>(&self, peer: &P, lane: Lane, bytes: Bytes) {
        match lane {
            Lane::Main => self.link().send_encoded(bytes, now()),
            Lane::Replay(stream) => peer.reply(stream, bytes),
        }
    }

    fn link(&self) -> &Rc<Link> {
        self.member.link()
    }

    fn leave(&mut self, group: &GroupName) {
        self.member.leave(group);
        self.leave_presence(group);
    }

    fn leave_presence(&mut self, group: &GroupName) {
        if let Some(at) = self.stays.iter().position(|stay| stay.group() == group) {
            self.stays.swap_remove(at).leave();
        }
    }

    /// The connection ends, and may come back as another one.
    fn leave_all(&mut self) {
        self.member.leave_all();
        self.stays = Vec::new();
    }

    /// The connection is a member now; others may be told.
    fn stay(&mut self, group: &GroupName, presence: policy::Presence) {
        if presence != policy::Presence::Off && !self.stays.iter().any(|stay| stay.group() == group) {
            let live = presence == policy::Presence::Live;
            self.stays.push(self.context.presence.enter(group, self.session.user(), live));
        }
    }

    async fn join<P: Peer>(&mut self, peer: &P, join: Join) {
        let (group, terms, presence) = {
            let policies = self.context.policies.load();
            let policy = policies.of(&join.group);
            (join.group.clone(), terms(policy), policy.presence)
        };
        let lane = join.lane;
        let prepared = match self.context.hub.prepare(&join.group, terms, join.since).await {
            Ok(prepared) => prepared,
            Err(error) => return self.session.handle(Input::Joined(join, Err(failure(error))), now()),
        };
        // What stands before it in the row may have been the end.
        if self.session.deadline().is_none() {
            return;
        }
        // From here to `member.join` nothing waits, so no event can come between the answer, the past and the present.
        let number = prepared.number();
        let Missed { recovery, gap, events } = prepared.missed.clone();
        let joined = Joined { number, position: prepared.position, recovery, missed: events.len() as u64 };
        self.session.handle(Input::Joined(join, Ok(joined)), now());
        // Only the answer, which comes first: what stands behind it in the row comes after the events that were missed.
        if let Some(Output::Send(lane, frame)) = self.session.poll() {
            self.send(peer, lane, &frame);
        }
        if let Some(gap) = gap.filter(|_| recovery == Recovery::Lost) {
            self.context.metrics.gaps(gap.reason.name());
            self.send(peer, lane, &ServerFrame::Gap { number, gap });
        }
        for event in &events {
            self.send_encoded(peer, lane, self.link().encoding().encode_event(number, event));
        }
        if prepared.interrupted {
            // Among live events, also if the answer goes elsewhere: there its end will be told.
            self.send(peer, Lane::Main, &ServerFrame::Interrupted { number });
        }
        self.member.join(prepared);
        self.stay(&group, presence);
    }

    async fn ask(&mut self, ask: Ask) {
        let roster = self.context.broker.roster(&ask.group, ask.after.as_ref(), ask.limit).await.map_err(failure);
        self.session.handle(Input::Asked(ask, roster), now());
    }

    async fn read_standing(&mut self) {
        let Some(user) = self.session.user().cloned() else { return };
        let standing = self.context.users.standing(&user).await;
        let standing = standing.map(|broker::Standing { groups, began, position }| Standing { groups, began, position });
        let standing = standing.map_err(failure);
        self.session.handle(Input::Granted(Grant::Standing(standing)), now());
    }

    async fn publish(&mut self, publish: Publish) {
        let Publish { request, group, content, sender, key } = publish;
        let retention = self.context.policies.load().of(&group).history;
        let published = self.context.broker.publish(Publication { group, content, sender, key, retention }).await;
        let result = published.map(|receipt| (receipt.id, receipt.position)).map_err(failure);
        if result.is_ok() {
            self.context.metrics.published("client");
        }
        self.session.handle(Input::Published(request, result), now());
    }

    /// Writes what is left and closes, within bounded time. What can't be written by then is lost with the connection, and the peer resumes.
    async fn end<P: Peer>(&self, peer: &mut P, last: &Last) {
        let link = self.link().clone();
        if let Some(bytes) = peer.farewell(last.code, &last.reason) {
            link.send_encoded(bytes, now());
        }
        let patience = match self.farewell {
            Some(leave) => leave.deadline.saturating_duration_since(now()),
            None => LINGER,
        };
        let metrics = &self.context.metrics;
        let flushed = tokio::time::timeout(patience, poll_fn(|cx| link.poll_flush(cx, metrics, now()))).await;
        if matches!(flushed, Ok(Ok(()))) {
            let _ = tokio::time::timeout(LINGER.min(patience), peer.close(last.code)).await;
        }
    }
}

fn failure(error: broker::Error) -> Failure {
    Failure { code: Code::Unavailable, retry_after: error.retry_after() }
}

/// A policy in the words of the hub.
fn terms(policy: &Policy) -> Terms {
    let slow = match policy.slow {
        SlowConsumer::Disconnect => Slow::Disconnect,
        SlowConsumer::DropOldest => Slow::DropOldest,
    };
    Terms { retention: policy.history, slow, tell_interruptions: policy.interruption == policy::Interruption::Tell }
}

/// A directive in the words of a session.
fn input(directive: &Directive) -> Input {
    let Directive { demand, position, .. } = directive;
    let position = *position;
    match demand.clone() {
        Demand::Grant { groups, standing } => Input::Granted(Grant::Follow { groups, standing: standing.then_some(position) }),
        Demand::Revoke { groups } => Input::Granted(Grant::End { groups, position }),
        Demand::RevokeAll => Input::Granted(Grant::EndAll { position }),
        Demand::Disconnect(Disconnect { code, reason, delay }) => Input::Disconnected { code, reason, delay },
    }
}

/// A time between nothing and `most`, so that clients do not come back all at once.
fn random_share(most: Duration) -> Duration {
    most.mul_f64(f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX))
}

/// Counts a connection from its opening to its close, also when its task ends otherwise.
struct Counted<'a> {
    context: &'a Context,
    transport: &'static str,
    code: Code,
}

impl<'a> Counted<'a> {
    fn open(context: &'a Context, transport: &'static str) -> Self {
        context.metrics.connection_opened(transport);
        Self { context, transport, code: Code::Internal }
    }

    fn close(mut self, code: Code) {
        debug!(%code, transport = self.transport, "connection closed");
        self.code = code;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.context.metrics.connection_closed(self.transport, self.code.name());
    }
}
