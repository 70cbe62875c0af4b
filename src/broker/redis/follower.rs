//! The link for events: subscriptions out, events in. `inlet` is what comes from inside the node, `probe` finds out whether the link is as
//! alive as it looks.

mod inlet;
mod probe;

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tracing::warn;

pub(super) use self::inlet::{Attach, Detached};
use self::{
    inlet::{ATTACHING, Arrival, Done, Inlet},
    probe::Round,
};
use super::{
    Backoff, Config,
    command::{Command, Commands, Range},
    message::{self, Message},
    now,
    pipeline::Pipeline,
    presence::Register,
    random_epoch,
    resp::{Reply, put_command},
    sentinel::{Found, Locator},
    status::Status,
    table::{Name, Page, Read, Table, Why},
    users::{self, Waiting},
    wire::{LinkError, Wire},
};
use crate::{
    broker::{Deliver, Error},
    metrics::{RedisLink, RedisMetrics},
    protocol::{Event, GroupName, Position, PresenceChange},
};

/// Names in one SUBSCRIBE or UNSUBSCRIBE.
const NAMES: usize = 512;

/// Reads under way at once.
const READS: usize = 512;

/// Events that one read for repair brings; with the largest ones 8 MiB.
const PAGE: usize = 128;

/// How long a full mailbox is left alone before it is tried again.
const MAILBOX_PAUSE: Duration = Duration::from_millis(1);

/// Owns the link and the table.
pub(super) struct Follower {
    hub: Hub,
    inlet: Inlet,
}

/// Everything but where requests come from.
struct Hub {
    config: Arc<Config>,
    locator: Arc<Locator>,
    commands: Commands,
    pipeline: Pipeline,
    deliver: Arc<dyn Deliver>,
    /// Those who wait for other nodes to confirm a directive.
    waiting: Arc<Waiting>,
    status: Arc<Status>,
    metrics: RedisMetrics,
    register: Register,
    table: Table,
    probe_channel: Vec<u8>,
    /// No group of anybody's.
    directives: GroupName,
    probes: u64,
    round: Option<Round>,
    /// The server has confirmed that probes come here. One that was published earlier would be lost, and a healthy link taken for a deaf one.
    listening: bool,
    /// When the last message came.
    heard: Instant,
    /// Something has come since the last tick.
    alive: bool,
    /// The first tick since which nothing has come.
    quiet: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        config: Arc<Config>,
        locator: Arc<Locator>,
        commands: Commands,
        pipeline: Pipeline,
        deliver: Arc<dyn Deliver>,
        waiting: Arc<Waiting>,
        status: Arc<Status>,
        metrics: RedisMetrics,
        register: Register,
        node: &str,
    ) -> (Self, mpsc::Sender<Attach>, Arc<Detached>) {
        let (sender, attaching) = mpsc::channel(ATTACHING);
        let detached = Arc::new(Detached::default());
        let inlet = Inlet { attaching, detached: detached.clone(), asked: FuturesUnordered::new() };
        let (table, probe_channel) = (Table::new(config.linger), commands.probe_channel(node));
        let hub = Hub {
            config,
            locator,
            commands,
            pipeline,
            deliver,
            waiting,
            status,
            metrics,
            register,
            table,
            probe_channel,
            directives: GroupName::directives(),
            probes: 0,
            round: None,
            listening: false,
            heard: now(),
            alive: true,
            quiet: None,
        };
        (Self { hub, inlet }, sender, detached)
    }

    /// Connects, follows, and connects again, for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let config = self.hub.config.clone();
            let locator = self.hub.locator.clone();
            let why = match self.meanwhile(locator.connect()).await {
                Ok(found) => {
                    // The first probe needs both links.
                    let status = self.hub.status.clone();
                    self.meanwhile(status.wait(config.connect_timeout)).await;
                    let began = now();
                    let why = self.serve(found).await;
                    backoff.worked_for(now() - began);
                    self.hub.metrics.link_lost(RedisLink::Events);
                    why
                }
                Err(why) => why,
            };
            self.hub.status.down(RedisLink::Events, &why.to_string());
            self.hub.table.unlink();
            self.hub.count();
            self.meanwhile(tokio::time::sleep(backoff.next())).await;
        }
    }

    /// Goes on with what needs no link for events until something has happened.
    async fn meanwhile<T>(&mut self, until: impl Future<Output = T>) -> T {
        let mut until = pin!(until);
        loop {
            self.hub.give().await;
            self.hub.ask(None, &self.inlet);
            tokio::select! {
                done = &mut until => return done,
                arrival = self.inlet.next() => self.hub.all_arrived(arrival, &mut self.inlet, false),
            }
        }
    }

    /// Follows until the link fails, and says why.
    async fn serve(&mut self, found: Found) -> LinkError {
        let Self { hub, inlet } = self;
        let locator = hub.locator.clone();
        let Found { mut wire, address, .. } = found;
        let mut replaced = pin!(locator.replaced(address));
        hub.begin(&mut wire);
        let mut ticks = tokio::time::interval(hub.config.probe_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            hub.give().await;
            hub.ask(Some(&mut wire), inlet);
            tokio::select! {
                why = &mut replaced => return why,
                turned = wire.turn() => {
                    let listened = hub.listening;
                    if let Err(why) = turned.and_then(|()| hub.hear_all(&mut wire)) {
                        return why;
                    }
                    if hub.listening && !listened {
                        hub.probe(inlet, now());
                    }
                }
                arrival = inlet.next() => hub.all_arrived(arrival, inlet, true),
                _ = ticks.tick() => {
                    if let Err(why) = hub.hear_all(&mut wire).and_then(|()| hub.tick(&mut wire, inlet)) {
                        return why;
                    }
                }
            }
        }
    }
}

impl Hub {
    fn begin(&mut self, wire: &mut Wire) {
        (self.round, self.listening, self.heard, self.alive, self.quiet) = (None, false, now(), true, None);
        put_command(&mut wire.output, [&b"SUBSCRIBE"[..], &self.probe_channel].into_iter());
        self.table.link();
    }

    fn all_arrived(&mut self, first: Arrival, inlet: &mut Inlet, linked: bool) {
        std::iter::once(first).chain(inlet.attaching()).for_each(|arrival| self.arrived(arrival, linked));
        self.count();
    }

    fn arrived(&mut self, arrival: Arrival, linked: bool) {
        match arrival {
            Arrival::Attach(Attach { group, retention, answer }) => self.table.attach(group, retention, answer, linked),
            Arrival::Detached(groups) => groups.iter().for_each(|group| self.table.detach(group, now())),
            Arrival::Done(Done::Read(read, Ok(page))) => self.table.read(&read, page),
            Arrival::Done(Done::Read(read, Err(_))) => self.table.failed(read, now()),
            Arrival::Done(Done::Round(number, checks)) => {
                if let Some(round) = self.round.as_mut().filter(|round| round.number == number) {
                    match checks {
                        Ok(checks) => round.checks = Some(checks),
                        // The link for commands failed, which says nothing about this one.
                        Err(_) => self.round = None,
                    }
                }
                self.compare();
            }
        }
    }

    fn count(&mut self) {
        let groups = self.table.len() - usize::from(self.table.follows(&self.directives));
        self.metrics.groups.set(i64::try_from(groups).unwrap_or(i64::MAX));
        if let Some(interrupted) = self.table.interrupted() {
            self.metrics.interrupted.set(i64::try_from(interrupted).unwrap_or(i64::MAX));
        }
        self.metrics.repairs.inc_by(std::mem::take(&mut self.table.repairs));
    }

    /// Gives members what is theirs. Waits if a worker has too much before it: then Redis waits too, and in the end cuts us off, and what
    /// was missed is read later.
    async fn give(&mut self) {
        let began = now();
        while let Some((group, item)) = self.table.deliveries.front() {
            match self.deliver.deliver(group, item.clone()) {
                Ok(_) => drop(self.table.deliveries.pop_front()),
                Err(_) => tokio::time::sleep(MAILBOX_PAUSE).await,
            }
        }
        self.did_not_listen(now() - began);
    }

    /// Asks over the link for commands what is wanted, as far as there is room, and tells the link for events, if there is one.
    fn ask(&mut self, wire: Option<&mut Wire>, inlet: &Inlet) {
        while inlet.asked.len() < READS
            && let Some(read) = self.table.reads.pop_front()
        {
            inlet.asked.push(self.reading(read));
        }
        if let Some(wire) = wire {
            while let Some(first) = self.table.names.pop_front() {
                self.put_names(first, wire);
            }
        }
    }

    /// One command for all names in a row that are to be treated alike.
    fn put_names(&mut self, first: Name, wire: &mut Wire) {
        let subscribe = matches!(first, Name::Subscribe(_));
        let mut channels = Vec::new();
        let mut next = Some(first);
        while let Some(Name::Subscribe(group) | Name::Unsubscribe(group)) = next {
            channels.push(self.commands.channel(&group));
            let alike = |name: &mut Name| matches!(name, Name::Subscribe(_)) == subscribe;
            next = if channels.len() < NAMES { self.table.names.pop_front_if(alike) } else { None };
        }
        let word = if subscribe { &b"SUBSCRIBE"[..] } else { b"UNSUBSCRIBE" };
        let words: Vec<&[u8]> = std::iter::once(word).chain(channels.iter().map(Vec::as_slice)).collect();
        put_command(&mut wire.output, words.into_iter());
    }

    fn reading(&self, read: Read) -> BoxFuture<'static, Done> {
        let (pipeline, command) = (self.pipeline.clone(), self.question(&read));
        Box::pin(async move {
            let page =
                pipeline.call(command).await.and_then(|reply| page(reply).ok_or(Error::Unconfirmed { retry_after: super::RETRY_AFTER }));
            Done::Read(read, page)
        })
    }

    fn question(&self, read: &Read) -> Command {
        let range = match read.why {
            Why::Place | Why::Check | Why::Resume => Range::Nothing,
            Why::Repair => Range::Oldest { after: read.seen.offset, limit: PAGE },
        };
        self.commands.read(&read.group, Some((random_epoch(), read.seen, read.ttl)), range)
    }

    fn hear_all(&mut self, wire: &mut Wire) -> Result<(), LinkError> {
        while let Some(reply) = wire.next()? {
            self.alive = true;
            self.hear(reply)?;
        }
        Ok(())
    }

    fn hear(&mut self, reply: Reply) -> Result<(), LinkError> {
        let items = match reply {
            Reply::Array(items) => items,
            Reply::Error(why) => return Err(LinkError::refused(why)),
            Reply::Text(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Nil => return Ok(()),
        };
        let mut items = items.into_iter();
        let (Some(kind), Some(channel)) = (items.next().and_then(Reply::bytes), items.next().and_then(Reply::bytes)) else { return Ok(()) };
        match &kind[..] {
            b"message" => {
                self.heard = now();
                let payload = items.next().and_then(Reply::bytes).ok_or(LinkError::Unexpected)?;
                self.message(&channel, payload);
            }
            b"subscribe" => {
                self.listening |= channel == self.probe_channel;
                if let Some(group) = self.commands.group(&channel) {
                    let was_away = self.table.subscribed(group);
                    if was_away && self.register.is_live(group) {
                        self.table.presence(group, PresenceChange::lost());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, channel: &[u8], payload: Bytes) {
        if channel == self.probe_channel {
            return match users::Done::parse(&payload) {
                Some(done) => self.waiting.done(done),
                None => self.probe_returned(&payload),
            };
        }
        let Some(group) = self.commands.group(channel) else { return };
        match message::decode(payload) {
            Some(Message::Event(epoch, event)) => self.table.message(group, epoch, event),
            Some(Message::Presence(change)) => self.table.presence(group, change),
            None => {
                self.metrics.foreign.inc();
                warn!("a message on a channel of ours is no event: does something else use this prefix?");
            }
        }
    }

    fn tick(&mut self, wire: &mut Wire, inlet: &Inlet) -> Result<(), LinkError> {
        let now = now();
        self.listen(now)?;
        put_command(&mut wire.output, [&b"PING"[..]].into_iter());
        if self.listening && self.round.is_none() {
            self.probe(inlet, now);
        }
        self.table.tick(now);
        self.count();
        Ok(())
    }
}

/// Reads what the script answered.
pub(super) fn page(reply: Reply) -> Option<Page> {
    let mut items = reply.array()?.into_iter();
    let (epoch, offset, start) = (items.next()?.unsigned()?, items.next()?.unsigned()?, items.next()?.unsigned()?);
    let events: Vec<(u32, Event)> = items.next()?.array()?.into_iter().filter_map(|item| message::decode_event(item.bytes()?)).collect();
    Some(Page { top: Position { epoch: u32::try_from(epoch).ok()?, offset }, start, events })
}
