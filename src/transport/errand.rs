//! What a connection wants of the broker, and what waits behind it.
//!
//! A connection has one errand under way at a time, so what it publishes keeps its order, and so do the answers. Most are done at once: the broker in memory never waits. While one is
//! not, everything else of the connection goes on, and what the session wants next waits behind the errand, up to a bound, unless it may overtake. Its invariant: nothing overtakes what concerns
//! the same group.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{self, Poll, Waker},
    time::Duration,
};

use super::{Context, connection::terms, now};
use crate::{
    broker::{self, Publication},
    hub::Prepared,
    protocol::{Code, EventId, GroupName, Position, Roster, ServerFrame, UserId},
    session::{Ask, Failure, Join, Output, Publish, Standing},
};

/// Wishes that wait behind one errand at most, and bytes of what is to be published; then the connection is not read from.
const BEHIND: usize = 64;
const BEHIND_BYTES: usize = 64 * 1024;

/// What the broker has done.
pub(super) enum Done {
    Joined(Join, Result<Prepared, Failure>),
    Asked(Ask, Result<Roster, Failure>),
    Standing(Result<Standing, Failure>),
    Published(u32, Result<(EventId, Position), Failure>),
}

/// An errand under way.
pub(super) struct Errand {
    future: Pin<Box<dyn Future<Output = Done>>>,
    /// Which group it concerns; `None`: none, or all.
    group: Option<GroupName>,
    /// Wanted also when its connection has ended.
    outlives: bool,
}

impl Errand {
    pub(super) fn join(context: &Rc<Context>, join: Join) -> Self {
        let (group, context) = (Some(join.group.clone()), context.clone());
        let terms = terms(context.policies.load().of(&join.group));
        let future = Box::pin(async move {
            let prepared = context.hub.prepare(&join.group, terms, join.since).await;
            Done::Joined(join, prepared.map_err(failure))
        });
        Self { future, group, outlives: false }
    }

    pub(super) fn ask(context: &Rc<Context>, ask: Ask) -> Self {
        let (group, context) = (Some(ask.group.clone()), context.clone());
        let future = Box::pin(async move {
            let roster = context.broker.roster(&ask.group, ask.after.as_ref(), ask.limit).await.map_err(failure);
            Done::Asked(ask, roster)
        });
        Self { future, group, outlives: false }
    }

    pub(super) fn read_standing(context: &Rc<Context>, user: UserId) -> Self {
        let context = context.clone();
        let future = Box::pin(async move {
            let standing = context.users.standing(&user).await;
            let standing = standing.map(|broker::Standing { groups, began, position }| Standing { groups, began, position });
            Done::Standing(standing.map_err(failure))
        });
        Self { future, group: None, outlives: false }
    }

    pub(super) fn publish(context: &Rc<Context>, publish: Publish) -> Self {
        let Publish { request, group, content, sender, key } = publish;
        let (concerned, context) = (Some(group.clone()), context.clone());
        let future = Box::pin(async move {
            let (retention, rate) = {
                let policies = context.policies.load();
                let policy = policies.of(&group);
                (policy.history, policy.rate)
            };
            if let Some(wait) = rate.and_then(|rate| context.rates.take(&group, rate, now()).err()) {
                return Done::Published(request, Err(Failure { code: Code::RateLimited, retry_after: Some(in_whole_ms(wait)) }));
            }
            let published = context.broker.publish(Publication { group, content, sender, key, retention }).await;
            if published.is_ok() {
                context.metrics.published("client");
            }
            Done::Published(request, published.map(|receipt| (receipt.id, receipt.position)).map_err(failure))
        });
        Self { future, group: concerned, outlives: true }
    }

    /// Waits until it is done; nobody wants to know what it has brought.
    pub(super) async fn finish(self) {
        self.future.await;
    }

    /// What it has brought, if it is done at once; else the errand, which has to be waited for.
    pub(super) fn at_once(mut self) -> Result<Done, Self> {
        match self.future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => Err(self),
        }
    }
}

/// Rounded up: who comes back after so long shall not come too early.
fn in_whole_ms(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

fn failure(error: broker::Error) -> Failure {
    Failure { code: Code::Unavailable, retry_after: error.retry_after() }
}

/// Something that waits for its turn.
pub(super) enum Behind {
    Output(Output),
    /// The answer on another stream is whole.
    EndReply(u64),
}

/// An errand under way, and what waits behind it.
pub(super) struct Waiting {
    /// `None`: it is done.
    errand: Option<Errand>,
    /// What it has brought.
    done: Option<Done>,
    behind: VecDeque<Behind>,
    bytes: usize,
    /// The session has ended, and not in the order of what its peer sent: goodbye overtakes.
    hurries: bool,
}

impl Waiting {
    pub(super) fn new(errand: Errand) -> Self {
        Self { errand: Some(errand), done: None, behind: VecDeque::new(), bytes: 0, hurries: false }
    }

    /// Waits until the errand is over. Safe to cancel.
    pub(super) async fn wait(&mut self) {
        if let Some(errand) = &mut self.errand {
            self.done = Some(errand.future.as_mut().await);
            self.errand = None;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.errand.is_none()
    }

    /// What the errand has brought, and what waited behind it, in its order.
    pub(super) fn into_parts(self) -> (Option<Done>, VecDeque<Behind>) {
        (self.done, self.behind)
    }

    /// The session has ended by something that its peer did not send.
    pub(super) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// The goodbye that waits, if it need not any more.
    pub(super) fn goodbye(&mut self) -> Option<Output> {
        let at = self.behind.iter().position(|behind| self.hurries && matches!(behind, Behind::Output(Output::Close { .. })))?;
        match self.behind.remove(at)? {
            Behind::Output(goodbye) => Some(goodbye),
            Behind::EndReply(_) => None,
        }
    }

    /// What was published and is not done yet, in its order.
    pub(super) fn publishes(self, context: &Rc<Context>) -> impl Iterator<Item = Errand> {
        let behind = self.behind.into_iter().filter_map(|behind| match behind {
            Behind::Output(Output::Publish(publish)) => Some(Errand::publish(context, publish)),
            Behind::Output(_) | Behind::EndReply(_) => None,
        });
        self.errand.filter(|errand| errand.outlives).into_iter().chain(behind)
    }

    /// Whether no more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.behind.len() >= BEHIND || self.bytes >= BEHIND_BYTES
    }

    pub(super) fn push(&mut self, behind: Behind) {
        if let Behind::Output(Output::Publish(publish)) = &behind {
            self.bytes += publish.content.len();
        }
        self.behind.push_back(behind);
    }

    /// Whether this need not wait: it concerns the connection alone, or a group with which nothing else has to happen before.
    pub(super) fn lets_pass(&self, output: &Output) -> bool {
        match output {
            Output::Authenticate { .. } | Output::Chosen(_) | Output::Enlist(_) => true,
            Output::Send(_, ServerFrame::Ping(_) | ServerFrame::Pong(_) | ServerFrame::Refreshed { .. }) => true,
            Output::Leave(group) => !self.concerns(group.as_str()),
            Output::Send(_, ServerFrame::Unsubscribed { group, .. }) => !self.concerns(group),
            Output::Send(..) | Output::ReadStanding | Output::Join(_) | Output::Publish(_) | Output::Ask(_) => false,
            Output::Close { .. } => self.hurries,
        }
    }

    fn concerns(&self, group: &str) -> bool {
        let errand = self.errand.as_ref().and_then(|errand| errand.group.as_ref());
        let behind = self.behind.iter().filter_map(|behind| match behind {
            Behind::Output(output) => concerned(output),
            Behind::EndReply(_) => None,
        });
        errand.map(GroupName::as_str).into_iter().chain(behind).any(|other| other == group)
    }
}

fn concerned(output: &Output) -> Option<&str> {
    match output {
        Output::Join(Join { group, .. })
        | Output::Leave(group)
        | Output::Publish(Publish { group, .. })
        | Output::Ask(Ask { group, .. }) => Some(group.as_str()),
        Output::Send(_, ServerFrame::Subscribed { group, .. } | ServerFrame::Unsubscribed { group, .. }) => Some(group),
        Output::Send(..)
        | Output::Authenticate { .. }
        | Output::Enlist(_)
        | Output::ReadStanding
        | Output::Chosen(_)
        | Output::Close { .. } => None,
    }
}
