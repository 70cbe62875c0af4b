//! The link for commands: everybody's commands in one row, without waiting for one answer before the next command.
//!
//! Its invariant: every command gets one outcome. Nothing is given twice, except what the server has said that it did not do: a publish
//! whose answer is lost may have been done, and only its publisher knows whether repeating it is right.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Backoff, Config, RETRY_AFTER,
    command::{Command, Commands, Identity, NO_LIFE, NO_SCRIPT},
    now, random,
    resp::Reply,
    sentinel::{Found, Locator},
    status::Status,
    wire::{LinkError, Wire, says},
};
use crate::{
    broker::Error,
    metrics::{RedisLink, RedisMetrics},
    protocol::IdGenerator,
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for the link. Publishers that find it full are told so.
const QUEUE: usize = 4096;

/// Commands that wait for their answer, and bytes that wait to be written; then the queue waits.
const FLYING: usize = 4096;
const OUTPUT_BYTES: usize = 1 << 20;

/// Commands that are taken from the queue at once.
const BATCH: usize = 256;

/// What a server says that can't be worked with for the time being.
const USELESS: [&str; 5] = ["READONLY", "MASTERDOWN", "LOADING", "NOAUTH", "NOREPLICAS"];

/// How often a command is given again because the server did not know the script or the life.
const TRIES: u8 = 3;

struct Request {
    command: Command,
    answer: oneshot::Sender<Result<Reply, Error>>,
}

/// The way to the link, for anybody on any thread.
#[derive(Clone)]
pub(super) struct Pipeline {
    queue: mpsc::Sender<Request>,
}

impl Pipeline {
    /// Gives a command and waits for its outcome.
    pub(super) async fn call(&self, command: Command) -> Result<Reply, Error> {
        let (answer, outcome) = oneshot::channel();
        self.queue.try_send(Request { command, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy { retry_after: Duration::from_millis(100) },
            mpsc::error::TrySendError::Closed(_) => Error::Away { retry_after: RETRY_AFTER },
        })?;
        outcome.await.unwrap_or(Err(Error::Unconfirmed { retry_after: RETRY_AFTER }))
    }
}

/// A command that has been given.
struct Flight {
    command: Command,
    whom: Whom,
    tries: u8,
    since: Instant,
}

/// Whom an answer is for.
enum Whom {
    Caller(oneshot::Sender<Result<Reply, Error>>),
    /// This link: which server is it?
    Identity,
    /// This link: is the node's number still its own?
    Number,
    /// This link: which life of the server is it? It has changed, or was lost.
    Life,
}

/// Owns the link, and keeps it up.
pub(super) struct Driver {
    queue: mpsc::Receiver<Request>,
    link: Link,
}

/// What a link needs to know besides its wire.
struct Link {
    config: Arc<Config>,
    locator: Arc<Locator>,
    commands: Commands,
    status: Arc<Status>,
    metrics: RedisMetrics,
    ids: Arc<IdGenerator>,
    /// Names this node to Redis.
    node: String,
    number: Option<u16>,
    role: Role,
    /// The life of the server, as it was told last.
    life: Bytes,
}

/// What a server is for its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    /// The node's number is leased here, and not from another server.
    pub(super) numbers: bool,
    /// The other servers over which groups are spread, by name, each with a line feed after it.
    pub(super) others: String,
}

impl Role {
    /// The only server of the node.
    pub(super) const ALONE: Self = Self { numbers: true, others: String::new() };
}

impl Driver {
    pub(super) fn new(
        config: Arc<Config>,
        locator: Arc<Locator>,
        commands: Commands,
        status: Arc<Status>,
        metrics: RedisMetrics,
        ids: Arc<IdGenerator>,
        node: String,
        role: Role,
    ) -> (Self, Pipeline) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let link = Link { config, locator, commands, status, metrics, ids, node, number: None, role, life: Bytes::new() };
        (Self { queue, link }, Pipeline { queue: sender })
    }

    /// Connects, works, and connects again, for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut flying = VecDeque::new();
        loop {
            let opened = refusing(&mut self.queue, self.link.open()).await;
            let why = match opened {
                Ok(found) => {
                    self.link.status.up(RedisLink::Commands);
                    let began = now();
                    let why = self.link.serve(found, &mut self.queue, &mut flying).await;
                    backoff.worked_for(now() - began);
                    self.link.metrics.link_lost(RedisLink::Commands);
                    why
                }
                Err(why) => why,
            };
            self.link.status.down(RedisLink::Commands, &why.to_string());
            // Only now: whoever learns that the outcome isn't known finds the link down, too.
            flying.clear();
            refusing(&mut self.queue, tokio::time::sleep(backoff.next())).await;
        }
    }
}

/// Refuses all commands until something has happened.
async fn refusing<T>(queue: &mut mpsc::Receiver<Request>, until: impl Future<Output = T>) -> T {
    let mut until = pin!(until);
    loop {
        tokio::select! {
            done = &mut until => return done,
            Some(request) = queue.recv() => {
                // Whoever does not wait any more need not be told.
                let _ = request.answer.send(Err(Error::Away { retry_after: RETRY_AFTER }));
            }
        }
    }
}

impl Link {
    async fn open(&mut self) -> Result<Found, LinkError> {
        let mut found = self.locator.connect().await?;
        let patience = self.config.connect_timeout;
        let entering = async {
            let life = found.wire.call(&self.enter(&found.identity)).await?.bytes().ok_or(LinkError::Unexpected)?;
            let number = match self.role.numbers {
                true => Some(claim(&mut found.wire, &self.commands, self.number, &self.node).await?),
                false => None,
            };
            Ok((life, number))
        };
        (self.life, self.number) = tokio::time::timeout(patience, entering).await.unwrap_or(Err(LinkError::Silent(patience)))?;
        if let Some(number) = self.number {
            self.ids.become_node(number);
        }
        Ok(found)
    }

    fn enter(&self, identity: &Identity) -> Command {
        self.commands.enter(identity, random(), &self.role.others, &self.life)
    }

    /// Works until the link fails, and says why.
    async fn serve(&mut self, found: Found, queue: &mut mpsc::Receiver<Request>, flying: &mut VecDeque<Flight>) -> LinkError {
        let Found { mut wire, mut identity, address } = found;
        let locator = self.locator.clone();
        let mut replaced = pin!(locator.replaced(address));
        let mut batch = Vec::with_capacity(BATCH);
        let mut ticks = tokio::time::interval(self.config.probe_interval.min(self.config.timeout / 4));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = flying.len() < FLYING && wire.output.len() < OUTPUT_BYTES;
            tokio::select! {
                why = &mut replaced => return why,
                turned = wire.turn() => {
                    let settled = turned.and_then(|()| self.settle_all(&mut wire, flying, &mut identity));
                    if let Err(why) = settled {
                        return why;
                    }
                }
                _ = queue.recv_many(&mut batch, BATCH), if room => {
                    let since = now();
                    for Request { command, answer } in batch.drain(..) {
                        give(&mut wire, flying, command, Whom::Caller(answer), since);
                    }
                }
                _ = ticks.tick() => {
                    let since = now();
                    if flying.front().is_some_and(|oldest: &Flight| since - oldest.since > self.config.timeout) {
                        return LinkError::Silent(self.config.timeout);
                    }
                    self.look_around(&mut wire, flying, since);
                }
            }
        }
    }

    /// Asks what may change while a link lives.
    fn look_around(&self, wire: &mut Wire, flying: &mut VecDeque<Flight>, since: Instant) {
        give(wire, flying, Command::plain(&[b"INFO", b"replication"]), Whom::Identity, since);
        if let Some(number) = self.number {
            give(wire, flying, self.commands.claim(number, &self.node), Whom::Number, since);
        }
    }

    fn settle_all(&mut self, wire: &mut Wire, flying: &mut VecDeque<Flight>, identity: &mut Identity) -> Result<(), LinkError> {
        while let Some(reply) = wire.next()? {
            let flight = flying.pop_front().ok_or(LinkError::Unexpected)?;
            self.settle(wire, flying, identity, flight, reply)?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        wire: &mut Wire,
        flying: &mut VecDeque<Flight>,
        identity: &mut Identity,
        flight: Flight,
        reply: Reply,
    ) -> Result<(), LinkError> {
        if let Reply::Error(why) = reply {
            return self.refused(wire, flying, identity, flight, why);
        }
        match flight.whom {
            // Whoever does not wait any more need not be told.
            Whom::Caller(answer) => drop(answer.send(Ok(reply))),
            Whom::Identity => {
                let text = reply.bytes().ok_or(LinkError::Unexpected)?;
                let seen = Identity::from_info(&String::from_utf8_lossy(&text)).usable()?;
                if let Some(changed) = identity.replaced_by(seen) {
                    *identity = changed;
                    give(wire, flying, self.enter(identity), Whom::Life, now());
                }
            }
            // What is entered with the next link has to name it: a life that Redis does not know counts as another one.
            Whom::Life => self.life = reply.bytes().ok_or(LinkError::Unexpected)?,
            // Another node has it: this one was away for too long.
            Whom::Number if reply.unsigned() != Some(1) => return Err(LinkError::NoNumber),
            Whom::Number => {}
        }
        Ok(())
    }

    /// The server did not do it.
    fn refused(
        &self,
        wire: &mut Wire,
        flying: &mut VecDeque<Flight>,
        identity: &Identity,
        flight: Flight,
        why: String,
    ) -> Result<(), LinkError> {
        let Flight { command, whom, tries, .. } = flight;
        let no_life = says(&why, NO_LIFE);
        if tries < TRIES && (no_life || says(&why, NO_SCRIPT)) {
            if no_life {
                give(wire, flying, self.enter(identity), Whom::Life, now());
            }
            command.write(&mut wire.output, true);
            flying.push_back(Flight { command, whom, tries: tries + 1, since: now() });
            return Ok(());
        }
        self.metrics.refusals.inc();
        self.status.refused(&why);
        if let Whom::Caller(answer) = whom {
            // Whoever does not wait any more need not be told.
            let _ = answer.send(Err(Error::Away { retry_after: RETRY_AFTER }));
        }
        match LinkError::refused(why) {
            LinkError::Refused(why) if !USELESS.iter().any(|word| says(&why, word)) => Ok(()),
            // It has become something that can't be worked with: what a new connection finds may be better.
            useless => Err(useless),
        }
    }
}

fn give(wire: &mut Wire, flying: &mut VecDeque<Flight>, command: Command, whom: Whom, since: Instant) {
    command.write(&mut wire.output, matches!(whom, Whom::Life));
    flying.push_back(Flight { command, whom, tries: 0, since });
}

/// Numbers that are tried before giving up: with 500 of 1,024 taken, the odds of finding none are one in ten million.
const NUMBERS: usize = 24;

/// Keeps the number that the node has, or finds a free one.
async fn claim(wire: &mut Wire, commands: &Commands, had: Option<u16>, node: &str) -> Result<u16, LinkError> {
    let others = std::iter::repeat_with(|| u16::try_from(random() % 1024).unwrap_or_default());
    for number in had.into_iter().chain(others).take(NUMBERS) {
        if wire.call(&commands.claim(number, node)).await?.unsigned() == Some(1) {
            return Ok(number);
        }
    }
    Err(LinkError::NoNumber)
}
