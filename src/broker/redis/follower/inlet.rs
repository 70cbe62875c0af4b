//! What reaches the follower from inside the node: workers that want a group or no longer do, and answers to what was asked.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, mpsc};

use super::NAMES;
use crate::{
    broker::{
        Error,
        redis::table::{Answer, Page, Read},
    },
    protocol::{GroupName, Position, Retention},
};

/// Workers that wait to attach; a worker asks once for each group that is new to it.
pub(super) const ATTACHING: usize = 4096;

/// A worker wants a group.
pub(in super::super) struct Attach {
    pub(in super::super) group: GroupName,
    pub(in super::super) retention: Option<Retention>,
    pub(in super::super) answer: Answer,
}

/// Groups that workers do not want any more. Bounded by what is attached: each attachment ends once.
#[derive(Default)]
pub(in super::super) struct Detached {
    groups: Mutex<Vec<GroupName>>,
    some: Notify,
}

impl Detached {
    pub(in super::super) fn push(&self, group: GroupName) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        self.some.notify_one();
    }

    /// Waits until there are some.
    async fn take(&self) -> Vec<GroupName> {
        self.some.notified().await;
        std::mem::take(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Something that was asked over the link for commands.
pub(super) enum Done {
    Read(Read, Result<Page, Error>),
    Round(u64, Result<Vec<(Read, Position)>, Error>),
}

/// Where requests and answers come from.
pub(super) struct Inlet {
    pub(super) attaching: mpsc::Receiver<Attach>,
    pub(super) detached: Arc<Detached>,
    pub(super) asked: FuturesUnordered<BoxFuture<'static, Done>>,
}

pub(super) enum Arrival {
    Attach(Attach),
    Detached(Vec<GroupName>),
    Done(Done),
}

impl Inlet {
    /// The next of them. Safe to cancel.
    pub(super) async fn next(&mut self) -> Arrival {
        tokio::select! {
            Some(attach) = self.attaching.recv() => Arrival::Attach(attach),
            groups = self.detached.take() => Arrival::Detached(groups),
            Some(done) = self.asked.next(), if !self.asked.is_empty() => Arrival::Done(done),
            else => std::future::pending().await,
        }
    }

    /// Who else wants to attach already: their names go into one command.
    pub(super) fn attaching(&mut self) -> impl Iterator<Item = Arrival> + use<'_> {
        std::iter::from_fn(|| self.attaching.try_recv().ok().map(Arrival::Attach)).take(NAMES - 1)
    }
}
