//! The groups that this node follows, and its place in each: the state machine behind the link for events. No I/O and no clock.
//!
//! In: requests of the hub, what comes from Redis, what has been read, time. Out: [`Table::names`] and [`Table::reads`] (what to tell and
//! to ask Redis) and [`Table::deliveries`] (what to give to members), to be emptied after every input. Its invariants: what is delivered of
//! a group is one order without holes, in which a gap stands for what is missing; of a group at most one read is under way; a group that
//! nobody follows is given back after a while.

mod followed;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use self::followed::{Followed, Held, State, Told, refuse};
use crate::{
    broker::{Error, Item},
    protocol::{Event, Gap, GapReason, GroupName, Position, PresenceChange, Retention},
};

/// What a request to attach is answered with.
pub(super) type Answer = oneshot::Sender<Result<Position, Error>>;

/// What the link for events has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Subscribe(GroupName),
    Unsubscribe(GroupName),
}

/// A question about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) group: GroupName,
    /// Tells this following of the group from a later one.
    pub(super) serial: u64,
    /// The node's position when it asked.
    pub(super) seen: Position,
    /// How long events are kept.
    pub(super) ttl: Duration,
    pub(super) why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// To know where to begin.
    Place,
    /// Something may be missing: only the position is asked for.
    Check,
    /// The link was gone and is back: the same, and once all up to the answer is delivered members are told that events come again.
    Resume,
    /// Something is missing: also the events after the position are asked for.
    Repair,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Page {
    pub(super) top: Position,
    /// The offset before the oldest event that is kept.
    pub(super) start: u64,
    /// The events after the position that was asked for, oldest first, maybe not all.
    pub(super) events: Vec<(u32, Event)>,
}

/// See the [module](self).
pub(super) struct Table {
    groups: HashMap<GroupName, Followed>,
    serial: u64,
    linger: Duration,
    pub(super) names: VecDeque<Name>,
    pub(super) reads: VecDeque<Read>,
    pub(super) deliveries: VecDeque<(GroupName, Item)>,
    /// Groups that nobody follows, since when.
    idle: VecDeque<(Instant, GroupName, u64)>,
    /// All groups, each once, by the turn in which it is checked next.
    round: BTreeMap<u64, GroupName>,
    /// The last turn that was given.
    turn: u64,
    /// Reads that failed and are due again.
    failed: Vec<Read>,
    /// The link has been lost, and not all groups are known to have caught up.
    disturbed: bool,
    /// Reads that found something missing, so far.
    pub(super) repairs: u64,
}

impl Table {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            groups: HashMap::new(),
            serial: 0,
            linger,
            names: VecDeque::new(),
            reads: VecDeque::new(),
            deliveries: VecDeque::new(),
            idle: VecDeque::new(),
            round: BTreeMap::new(),
            turn: 0,
            failed: Vec::new(),
            disturbed: false,
            repairs: 0,
        }
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// How many groups have members who may not get all events; `None`: none, as before.
    pub(super) fn interrupted(&mut self) -> Option<usize> {
        if !self.disturbed {
            return None;
        }
        let interrupted = self.groups.values().filter(|followed| followed.told != Told::Fine && followed.attached > 0).count();
        self.disturbed = interrupted > 0;
        Some(interrupted)
    }

    pub(super) fn follows(&self, group: &GroupName) -> bool {
        self.groups.contains_key(group)
    }

    /// A worker wants the group. `linked`: whether Redis can be told now.
    pub(super) fn attach(&mut self, group: GroupName, retention: Option<Retention>, answer: Answer, linked: bool) {
        if !linked && !self.groups.get(&group).is_some_and(Followed::is_placed) {
            return refuse(answer);
        }
        if !self.groups.contains_key(&group) {
            self.serial += 1;
            self.turn += 1;
            self.groups.insert(group.clone(), Followed::new(group.clone(), self.serial, self.turn, retention));
            self.round.insert(self.turn, group.clone());
            self.names.push_back(Name::Subscribe(group.clone()));
        }
        let Some(followed) = self.groups.get_mut(&group) else { return };
        if followed.retention.is_some() != retention.is_some() && followed.is_placed() {
            followed.state = State::Unplaced;
            followed.position = Position::NONE;
        }
        followed.retention = retention;
        match followed.state {
            State::Following | State::Interrupted => {
                followed.admit(answer);
                if followed.told != Told::Fine {
                    // The worker is new to the group.
                    self.deliveries.push_back((group, Item::Interrupted));
                }
            }
            State::Subscribing | State::Placing => followed.waiting.push(answer),
            State::Unplaced => {
                followed.waiting.push(answer);
                self.place(&group);
            }
        }
    }

    /// A worker does not want the group any more.
    pub(super) fn detach(&mut self, group: &GroupName, now: Instant) {
        let Some(followed) = self.groups.get_mut(group) else { return };
        followed.attached = followed.attached.saturating_sub(1);
        if followed.attached == 0 {
            self.idle.push_back((now, group.clone(), followed.serial));
        }
    }

    /// Redis has confirmed a subscription. Says whether it had been interrupted.
    pub(super) fn subscribed(&mut self, group: &str) -> bool {
        let Some(followed) = self.groups.get_mut(group) else { return false };
        let name = followed.name.clone();
        let before = followed.state;
        match before {
            State::Subscribing => self.place(&name),
            State::Interrupted => {
                followed.state = State::Following;
                if followed.retention.is_some() {
                    let read = followed.read(Why::Resume);
                    self.reads.push_back(read);
                } else {
                    if followed.attached > 0 {
                        let gap = Gap { epoch: 0, from: 0, to: 0, count: None, reason: GapReason::Broker };
                        self.deliveries.push_back((name, Item::Gap(gap)));
                    }
                    followed.resume_at(Position::NONE);
                    followed.resume(&mut self.deliveries);
                }
            }
            State::Placing | State::Unplaced | State::Following => {}
        }
        before == State::Interrupted
    }

    /// Finds out where the group begins.
    fn place(&mut self, group: &GroupName) {
        let Some(followed) = self.groups.get_mut(group) else { return };
        if followed.retention.is_some() {
            followed.state = State::Placing;
            followed.reads += 1;
            let read = followed.read(Why::Place);
            self.reads.push_back(read);
        } else {
            followed.state = State::Following;
            followed.admit_all();
            followed.resume_at(Position::NONE);
            followed.resume(&mut self.deliveries);
        }
    }

    /// An event has come.
    pub(super) fn message(&mut self, group: &str, epoch: u32, event: Event) {
        let Some(followed) = self.groups.get_mut(group) else { return };
        if followed.retention.is_none() || event.offset == 0 {
            if followed.is_placed() && followed.attached > 0 {
                self.deliveries.push_back((followed.name.clone(), Item::Event(0, Arc::new(Event { offset: 0, ..event }))));
            }
            return;
        }
        followed.hold(epoch, event);
        if followed.is_placed() && !followed.reading {
            self.go_on(group);
        }
    }

    /// It has changed who is there.
    pub(super) fn presence(&mut self, group: &str, change: PresenceChange) {
        if let Some(followed) = self.groups.get_mut(group).filter(|followed| followed.is_placed() && followed.attached > 0) {
            followed.presence(Arc::new(change), &mut self.deliveries);
        }
    }

    /// Delivers what is held and continues the position. If there is a hole, it is read.
    fn go_on(&mut self, group: &str) {
        let Some(followed) = self.groups.get_mut(group) else { return };
        let changes = std::mem::take(&mut followed.after_read);
        followed.tell(changes, &mut self.deliveries);
        followed.resume(&mut self.deliveries);
        while let Some(held) = followed.held.front() {
            let Position { epoch, offset } = followed.position;
            if held.epoch != epoch || held.event.offset > offset + 1 {
                return self.repair(group);
            }
            if let Some(Held { event, then, .. }) = followed.held.pop_front() {
                if event.offset > offset {
                    followed.deliver(event, &mut self.deliveries);
                }
                followed.tell(then, &mut self.deliveries);
            }
        }
    }

    /// Begins to read what is missing, unless that is under way.
    fn repair(&mut self, group: &str) {
        let Some(followed) = self.groups.get_mut(group) else { return };
        if followed.is_placed() && !followed.reading {
            followed.reading = true;
            followed.reads += 1;
            let read = followed.read(Why::Repair);
            self.reads.push_back(read);
        }
    }

    /// A question has been answered.
    pub(super) fn read(&mut self, read: &Read, page: Page) {
        let Some(followed) = self.groups.get_mut(&read.group).filter(|followed| followed.serial == read.serial) else { return };
        match read.why {
            Why::Place if followed.state == State::Placing => {
                followed.state = State::Following;
                followed.position = page.top;
                followed.drop_what_was_before(page.top.epoch);
                followed.admit_all();
                followed.resume_at(page.top);
                self.go_on(read.group.as_str());
            }
            Why::Place => {}
            Why::Check => self.checked(read, page.top),
            Why::Resume => {
                followed.resume_at(page.top);
                followed.resume(&mut self.deliveries);
                self.checked(read, page.top);
            }
            Why::Repair => {
                followed.reading = false;
                if followed.is_placed() {
                    self.repaired(read, page);
                }
            }
        }
    }

    /// Compares the position with the top that was read. Everything up to that top should have been delivered by now; what has not is
    /// missing.
    pub(super) fn checked(&mut self, read: &Read, top: Position) {
        let Some(followed) = self.groups.get(&read.group).filter(|followed| followed.serial == read.serial) else { return };
        if followed.is_placed() && (top.epoch != followed.position.epoch || top.offset > followed.position.offset) {
            self.repair(read.group.as_str());
        }
    }

    fn repaired(&mut self, read: &Read, page: Page) {
        let Some(followed) = self.groups.get_mut(&read.group) else { return };
        followed.drop_what_was_before(page.top.epoch);
        let before = followed.position;
        let more = if page.top.epoch == followed.position.epoch {
            followed.catch_up(page, &mut self.deliveries)
        } else {
            followed.begin_anew(page.top, &mut self.deliveries)
        };
        self.repairs += u64::from(followed.position != before);
        if more { self.repair(read.group.as_str()) } else { self.go_on(read.group.as_str()) }
    }

    /// A question could not be asked or was not answered.
    pub(super) fn failed(&mut self, read: Read, now: Instant) {
        let Some(followed) = self.groups.get_mut(&read.group).filter(|followed| followed.serial == read.serial) else { return };
        match read.why {
            Why::Place => {
                if followed.state == State::Placing {
                    followed.state = State::Unplaced;
                    followed.held.clear();
                    followed.waiting.drain(..).for_each(refuse);
                    self.idle.push_back((now, read.group, read.serial));
                }
            }
            Why::Repair => {
                followed.reading = false;
                self.failed.push(read);
            }
            Why::Check | Why::Resume => self.failed.push(read),
        }
    }

    /// Asks again what could not be answered, and gives back what nobody has wanted for a while.
    pub(super) fn tick(&mut self, now: Instant) {
        for read in std::mem::take(&mut self.failed) {
            let Some(followed) = self.groups.get(&read.group).filter(|followed| followed.serial == read.serial) else { continue };
            match read.why {
                Why::Resume if followed.state == State::Following => self.reads.push_back(followed.read(Why::Resume)),
                // The link is gone again, and its return asks anew.
                Why::Resume => {}
                Why::Place | Why::Check | Why::Repair => self.repair(read.group.as_str()),
            }
        }
        while let Some((since, group, serial)) = self.idle.pop_front_if(|(since, ..)| *since + self.linger <= now) {
            let unused = self.groups.get(&group).filter(|followed| followed.serial == serial && followed.is_unused());
            match unused.map(|followed| followed.state) {
                None => {}
                // Confirmations are counted by names, so one must not be awaited twice.
                Some(State::Subscribing | State::Placing) => self.idle.push_back((since + self.linger, group, serial)),
                Some(State::Unplaced | State::Following | State::Interrupted) => {
                    self.remove(&group);
                    self.names.push_back(Name::Unsubscribe(group));
                }
            }
        }
    }

    fn remove(&mut self, group: &GroupName) {
        if let Some(followed) = self.groups.remove(group) {
            self.round.remove(&followed.turn);
        }
    }

    /// The next groups whose position is to be checked, at most `most`, each once a round.
    pub(super) fn checks(&mut self, most: usize) -> Vec<Read> {
        let mut reads = Vec::new();
        for _ in 0..most.min(self.round.len()) {
            let Some((_, group)) = self.round.pop_first() else { break };
            let Some(followed) = self.groups.get_mut(&group) else { continue };
            self.turn += 1;
            followed.turn = self.turn;
            self.round.insert(self.turn, group);
            if followed.state == State::Following && followed.retention.is_some() && !followed.reading {
                reads.push(followed.read(Why::Check));
            }
        }
        reads
    }

    /// The link is gone, and with it everything that was asked of it.
    pub(super) fn unlink(&mut self) {
        self.names.clear();
        self.disturbed |= !self.groups.is_empty();
        self.groups.retain(|_, followed| {
            followed.waiting.drain(..).for_each(refuse);
            if followed.attached == 0 && !followed.is_placed() {
                self.round.remove(&followed.turn);
                return false;
            }
            // What was being placed anew for those who have it is placed when Redis has confirmed again.
            followed.state = if followed.is_placed() { State::Interrupted } else { State::Subscribing };
            followed.interrupt(&mut self.deliveries);
            true
        });
    }

    /// There is a link again.
    pub(super) fn link(&mut self) {
        self.names.extend(self.groups.keys().cloned().map(Name::Subscribe));
    }
}
