//! The link for events: subscriptions out, events in, and finding out whether it is as alive as it looks.
//!
//! A probe goes the way of events: published over the link for commands, it has to come back here. Before it, in the same row, go questions
//! for the positions of some groups. So when the probe has come back, everything up to those positions must have come too, and what has not
//! is missing: no guessing by time, and no event on its way is taken for a lost one. A ping on this link itself finds out whether the other
//! end is there while the link for commands is down.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use super::{
    Backoff, Config,
    command::{Command, Commands, Range},
    message::{self, Message},
    now,
    pipeline::Pipeline,
    presence::Register,
    random_epoch,
    resp::{Reply, put_command},
    status::Status,
    table::{Answer, Name, Page, Read, Table, Why},
    wire::{LinkError, Wire},
};
use crate::{
    broker::{Deliver, Error},
    metrics::{Metrics, RedisLink},
    protocol::{Event, GroupName, Position, PresenceChange, Retention},
};

/// Workers that wait to attach; a worker asks once for each group that is new to it.
pub(super) const ATTACHING: usize = 4096;

/// Names in one SUBSCRIBE or UNSUBSCRIBE.
const NAMES: usize = 512;

/// Reads under way at once.
const READS: usize = 512;

/// Events that one read for repair brings; with the largest ones 8 MiB.
const PAGE: usize = 128;

/// How long a full mailbox is left alone before it is tried again.
const MAILBOX_PAUSE: Duration = Duration::from_millis(1);

/// A probe is lost after so many times the timeout, even if other things come.
const PATIENCE: u32 = 5;

/// A worker wants a group.
pub(super) struct Attach {
    pub(super) group: GroupName,
    pub(super) retention: Option<Retention>,
    pub(super) answer: Answer,
}

/// Groups that workers do not want any more. Bounded by what is attached: each attachment ends once.
#[derive(Default)]
pub(super) struct Detached {
    groups: Mutex<Vec<GroupName>>,
    some: Notify,
}

impl Detached {
    pub(super) fn push(&self, group: GroupName) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        self.some.notify_one();
    }

    /// Waits until there are some.
    async fn take(&self) -> Vec<GroupName> {
        self.some.notified().await;
        std::mem::take(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Positions that were read before a probe was published.
struct Round {
    number: u64,
    since: Instant,
    returned: bool,
    /// `None`: they are still awaited.
    checks: Option<Vec<(Read, Position)>>,
}

/// Something that was asked over the link for commands.
enum Done {
    Read(Read, Result<Page, Error>),
    Round(u64, Result<Vec<(Read, Position)>, Error>),
}

/// Owns the link and the table.
pub(super) struct Follower {
    hub: Hub,
    inlet: Inlet,
}

/// Where requests and answers come from.
struct Inlet {
    attaching: mpsc::Receiver<Attach>,
    detached: Arc<Detached>,
    asked: FuturesUnordered<BoxFuture<'static, Done>>,
}

enum Arrival {
    Attach(Attach),
    Detached(Vec<GroupName>),
    Done(Done),
}

impl Inlet {
    /// The next of them. Safe to cancel.
    async fn next(&mut self) -> Arrival {
        tokio::select! {
            Some(attach) = self.attaching.recv() => Arrival::Attach(attach),
            groups = self.detached.take() => Arrival::Detached(groups),
            Some(done) = self.asked.next(), if !self.asked.is_empty() => Arrival::Done(done),
            else => std::future::pending().await,
        }
    }

    /// Who else wants to attach already: their names go into one command.
    fn attaching(&mut self) -> impl Iterator<Item = Arrival> + use<'_> {
        std::iter::from_fn(|| self.attaching.try_recv().ok().map(Arrival::Attach)).take(NAMES - 1)
    }
}

/// Everything but where requests come from.
struct Hub {
    config: Arc<Config>,
    commands: Commands,
    pipeline: Pipeline,
    deliver: Arc<dyn Deliver>,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    register: Register,
    table: Table,
    probe_channel: Vec<u8>,
    probes: u64,
    round: Option<Round>,
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
        commands: Commands,
        pipeline: Pipeline,
        deliver: Arc<dyn Deliver>,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        register: Register,
        node: &str,
    ) -> (Self, mpsc::Sender<Attach>, Arc<Detached>) {
        let (sender, attaching) = mpsc::channel(ATTACHING);
        let detached = Arc::new(Detached::default());
        let inlet = Inlet { attaching, detached: detached.clone(), asked: FuturesUnordered::new() };
        let (table, probe_channel) = (Table::new(config.linger), commands.probe_channel(node));
        let hub = Hub {
            config,
            commands,
            pipeline,
            deliver,
            status,
            metrics,
            register,
            table,
            probe_channel,
            probes: 0,
            round: None,
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
            let connect = tokio::time::timeout(config.connect_timeout, Wire::connect(&config));
            let connected = self.meanwhile(connect).await.unwrap_or(Err(LinkError::Silent(config.connect_timeout)));
            let why = match connected {
                Ok(wire) => {
                    // The first probe needs both links.
                    let status = self.hub.status.clone();
                    self.meanwhile(status.wait(config.connect_timeout)).await;
                    let began = now();
                    let why = self.serve(wire).await;
                    backoff.worked_for(now() - began);
                    self.hub.metrics.redis_link_lost(RedisLink::Events);
                    why
                }
                Err(why) => why,
            };
            self.hub.status.down(RedisLink::Events, &why.to_string());
            self.hub.table.unlink();
            self.meanwhile(tokio::time::sleep(backoff.next())).await;
        }
    }

    /// Goes on with what needs no link for events until something has happened.
    async fn meanwhile<T>(&mut self, until: impl Future<Output = T>) -> T {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                done = &mut until => return done,
                arrival = self.inlet.next() => self.hub.all_arrived(arrival, &mut self.inlet, false),
            }
            self.hub.give().await;
            self.hub.ask(None, &self.inlet);
        }
    }

    /// Follows until the link fails, and says why.
    async fn serve(&mut self, mut wire: Wire) -> LinkError {
        let Self { hub, inlet } = self;
        hub.begin(&mut wire);
        let mut ticks = tokio::time::interval(hub.config.probe_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            hub.give().await;
            hub.ask(Some(&mut wire), inlet);
            tokio::select! {
                turned = wire.turn() => {
                    if let Err(why) = turned.and_then(|()| hub.hear_all(&mut wire)) {
                        return why;
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
        (self.round, self.heard, self.alive, self.quiet) = (None, now(), true, None);
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
        self.metrics.redis_groups.set(i64::try_from(self.table.len()).unwrap_or(i64::MAX));
        self.metrics.redis_repairs.inc_by(std::mem::take(&mut self.table.repairs));
    }

    /// Gives members what is theirs. Waits if a worker has too much before it: then Redis waits too, and in the end cuts us off, and what
    /// was missed is read later.
    async fn give(&mut self) {
        while let Some((group, item)) = self.table.deliveries.front() {
            match self.deliver.deliver(group, item.clone()) {
                Ok(_) => drop(self.table.deliveries.pop_front()),
                Err(_) => tokio::time::sleep(MAILBOX_PAUSE).await,
            }
        }
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
            Why::Place | Why::Check => Range::Nothing,
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
            Reply::Error(why) => return Err(LinkError::Refused(why)),
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
            return self.probe_returned(&payload);
        }
        let Some(group) = self.commands.group(channel) else { return };
        match message::decode(payload) {
            Some(Message::Event(epoch, event)) => self.table.message(group, epoch, event),
            Some(Message::Presence(change)) => self.table.presence(group, change),
            None => {
                self.metrics.redis_foreign.inc();
                warn!("a message on a channel of ours is no event: does something else use this prefix?");
            }
        }
    }

    fn probe_returned(&mut self, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
        if let Some(round) = self.round.as_mut().filter(|round| Some(round.number) == number) {
            round.returned = true;
            self.metrics.redis_probe.observe((now() - round.since).as_secs_f64());
            self.status.up(RedisLink::Events);
            self.compare();
        }
    }

    /// Once probe and positions are here, groups that are behind are found.
    fn compare(&mut self) {
        if let Some(Round { returned: true, checks: Some(checks), .. }) = &mut self.round {
            for (read, top) in std::mem::take(checks) {
                self.table.checked(&read, top);
            }
            self.round = None;
        }
    }

    fn tick(&mut self, wire: &mut Wire, inlet: &Inlet) -> Result<(), LinkError> {
        let now = now();
        self.listen(now)?;
        put_command(&mut wire.output, [&b"PING"[..]].into_iter());
        if self.round.is_none() {
            self.probe(inlet, now);
        }
        self.table.tick(now);
        self.count();
        Ok(())
    }

    /// Judges what has come since the last tick. The first tick without anything only begins to count: this task may have been busy
    /// elsewhere.
    fn listen(&mut self, now: Instant) -> Result<(), LinkError> {
        let timeout = self.config.timeout;
        self.quiet = if std::mem::take(&mut self.alive) { None } else { self.quiet.or(Some(now)) };
        let dead = self.quiet.is_some_and(|since| now - since >= timeout);
        // It answers pings, but a probe that was published does not come.
        let deaf = self.round.as_ref().is_some_and(|round| {
            let waiting = now - round.since;
            !round.returned && round.checks.is_some() && (waiting > timeout * PATIENCE || waiting > timeout && now - self.heard > timeout)
        });
        if dead || deaf { Err(LinkError::Silent(timeout)) } else { Ok(()) }
    }

    /// Asks where some groups are, and sends a probe after the questions.
    fn probe(&mut self, inlet: &Inlet, since: Instant) {
        self.probes += 1;
        let number = self.probes;
        let share = self.config.probe_interval.as_secs_f64() / self.config.check_interval.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a count")]
        let most = (self.table.len() as f64 * share).ceil() as usize;
        let questions: Vec<_> = self.table.checks(most).into_iter().map(|read| (self.question(&read), read)).collect();
        let probe = Commands::tell(&self.probe_channel, number.to_string().as_bytes());
        let pipeline = self.pipeline.clone();
        self.round = Some(Round { number, since, returned: false, checks: None });
        inlet.asked.push(Box::pin(async move {
            // All are given before the first answer is awaited: they stand in one row.
            let asked = questions.into_iter().map(|(command, read)| {
                let pipeline = &pipeline;
                async move { Ok::<_, Error>((read, pipeline.call(command).await.map(page)?)) }
            });
            let (checks, probe) = futures_util::join!(futures_util::future::try_join_all(asked), pipeline.call(probe));
            let known = |checks: Vec<(Read, Option<Page>)>| checks.into_iter().filter_map(|(read, page)| Some((read, page?.top))).collect();
            Done::Round(number, probe.and(checks.map(known)))
        }));
    }
}

/// Reads what the script answered.
pub(super) fn page(reply: Reply) -> Option<Page> {
    let mut items = reply.array()?.into_iter();
    let (epoch, offset, start) = (items.next()?.unsigned()?, items.next()?.unsigned()?, items.next()?.unsigned()?);
    let events: Vec<(u32, Event)> = items.next()?.array()?.into_iter().filter_map(|item| message::decode_event(item.bytes()?)).collect();
    Some(Page { top: Position { epoch: u32::try_from(epoch).ok()?, offset }, start, events })
}
