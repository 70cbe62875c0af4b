//! One group that this node follows: its place, and what is held back until its turn.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Answer, Page, Read, Why};
use crate::{
    broker::{Error, Item, redis::RETRY_AFTER},
    protocol::{Event, Gap, GapReason, GroupName, Position, PresenceChange, Retention},
};

/// Events of one group that are held back while what is before them is read; older ones can be read again.
const HELD: usize = 256;

/// See the [module](self).
pub(super) struct Followed {
    pub(super) name: GroupName,
    pub(super) serial: u64,
    /// Where it stands in the round of checks.
    pub(super) turn: u64,
    pub(super) retention: Option<Retention>,
    /// Workers that have members.
    pub(super) attached: usize,
    pub(super) waiting: Vec<Answer>,
    pub(super) state: State,
    /// Up to where events have been delivered.
    pub(super) position: Position,
    pub(super) held: VecDeque<Held>,
    /// Reads for place or repair so far; one that is under way is the last of them.
    pub(super) reads: u64,
    pub(super) reading: bool,
    pub(super) told: Told,
    /// What has changed of who is there while a read was under way and nothing was held back.
    pub(super) after_read: Vec<Arc<PresenceChange>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Redis has not confirmed yet.
    Subscribing,
    /// It has, and is being asked for the position.
    Placing,
    /// It could not tell.
    Unplaced,
    /// Events are delivered as they come.
    Following,
    /// They were, and will be when Redis has confirmed again.
    Interrupted,
}

/// What members know about interruptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Events come.
    Fine,
    /// They may not come.
    Interrupted,
    /// The same, until everything up to there has been delivered: so far the group was when the link was back.
    Until(Position),
}

/// An event that waits for what is before it.
pub(super) struct Held {
    pub(super) epoch: u32,
    pub(super) event: Arc<Event>,
    /// How many reads had been begun when it came.
    pub(super) reads: u64,
    /// What has changed of who is there between this event and the next.
    pub(super) then: Vec<Arc<PresenceChange>>,
}

pub(super) fn refuse(answer: Answer) {
    // Whoever does not wait any more need not be told.
    let _ = answer.send(Err(Error::Away { retry_after: RETRY_AFTER }));
}

impl Followed {
    pub(super) fn new(name: GroupName, serial: u64, turn: u64, retention: Option<Retention>) -> Self {
        Self {
            name,
            serial,
            turn,
            retention,
            attached: 0,
            waiting: Vec::new(),
            state: State::Subscribing,
            position: Position::NONE,
            held: VecDeque::new(),
            reads: 0,
            reading: false,
            told: Told::Fine,
            after_read: Vec::new(),
        }
    }

    pub(super) fn is_placed(&self) -> bool {
        matches!(self.state, State::Following | State::Interrupted)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.attached == 0 && self.waiting.is_empty()
    }

    pub(super) fn admit(&mut self, answer: Answer) {
        // Who has gone meanwhile will not detach either.
        self.attached += usize::from(answer.send(Ok(self.position)).is_ok());
    }

    pub(super) fn admit_all(&mut self) {
        std::mem::take(&mut self.waiting).into_iter().for_each(|answer| self.admit(answer));
    }

    pub(super) fn read(&self, why: Why) -> Read {
        let ttl = self.retention.map_or(Duration::ZERO, |retention| retention.ttl);
        Read { group: self.name.clone(), serial: self.serial, seen: self.position, ttl, why }
    }

    pub(super) fn hold(&mut self, epoch: u32, event: Event) {
        if self.held.len() == HELD {
            self.held.pop_front();
        }
        self.held.push_back(Held { epoch, event: Arc::new(event), reads: self.reads, then: Vec::new() });
    }

    /// What came before the latest read began, and is of another epoch than it found, is from before that epoch.
    pub(super) fn drop_what_was_before(&mut self, epoch: u32) {
        let reads = self.reads;
        self.held.retain(|held| held.epoch == epoch || held.reads >= reads);
    }

    pub(super) fn deliver(&mut self, event: Arc<Event>, deliveries: &mut VecDeque<(GroupName, Item)>) {
        self.position.offset = event.offset;
        deliveries.push_back((self.name.clone(), Item::Event(self.position.epoch, event)));
    }

    /// Gives a change of who is there its place: after what came before it. Nobody waits for it: what overflows is missed, and whoever keeps count sees
    /// that.
    pub(super) fn presence(&mut self, change: Arc<PresenceChange>, deliveries: &mut VecDeque<(GroupName, Item)>) {
        let waiting = match self.held.back_mut() {
            Some(held) => &mut held.then,
            None if self.reading => &mut self.after_read,
            None => return self.tell(vec![change], deliveries),
        };
        if waiting.len() < HELD {
            waiting.push(change);
        }
    }

    pub(super) fn tell(&self, changes: Vec<Arc<PresenceChange>>, deliveries: &mut VecDeque<(GroupName, Item)>) {
        deliveries.extend(changes.into_iter().map(|change| (self.name.clone(), Item::Presence(change))));
    }

    /// The link is gone: tells it, unless that is known.
    pub(super) fn interrupt(&mut self, deliveries: &mut VecDeque<(GroupName, Item)>) {
        if self.told == Told::Fine {
            deliveries.push_back((self.name.clone(), Item::Interrupted));
        }
        self.told = Told::Interrupted;
    }

    /// The link was back when the group was there.
    pub(super) fn resume_at(&mut self, top: Position) {
        if self.told == Told::Interrupted && self.state == State::Following {
            self.told = Told::Until(top);
        }
    }

    /// Tells that events come again, if that is so since.
    pub(super) fn resume(&mut self, deliveries: &mut VecDeque<(GroupName, Item)>) {
        if let Told::Until(top) = self.told
            && self.position.epoch == top.epoch
            && self.position.offset >= top.offset
        {
            self.told = Told::Fine;
            deliveries.push_back((self.name.clone(), Item::Resumed));
        }
    }

    /// Tells that the events up to offset `to` will not come.
    pub(super) fn lose(&mut self, to: u64, deliveries: &mut VecDeque<(GroupName, Item)>) {
        let Position { epoch, offset } = self.position;
        let gap = Gap { epoch, from: offset + 1, to, count: Some(to - offset), reason: GapReason::Broker };
        self.position.offset = to;
        deliveries.push_back((self.name.clone(), Item::Gap(gap)));
    }

    /// Delivers a page of the past; says whether there is more of it.
    pub(super) fn catch_up(&mut self, page: Page, deliveries: &mut VecDeque<(GroupName, Item)>) -> bool {
        let Position { epoch, offset: before } = self.position;
        for (_, event) in page.events.into_iter().filter(|(of, _)| *of == epoch) {
            if event.offset > self.position.offset + 1 {
                self.lose(event.offset - 1, deliveries);
            }
            if event.offset > self.position.offset {
                self.deliver(Arc::new(event), deliveries);
            }
        }
        let more = page.top.offset > self.position.offset;
        if more && self.position.offset == before {
            // There is nothing to read any more.
            self.lose(page.top.offset, deliveries);
            return false;
        }
        more
    }

    /// The group has a new epoch; all that is in it is new. Says that it has to be read.
    pub(super) fn begin_anew(&mut self, top: Position, deliveries: &mut VecDeque<(GroupName, Item)>) -> bool {
        self.position = Position { epoch: top.epoch, offset: 0 };
        if let Told::Until(_) = self.told {
            self.told = Told::Until(top);
        }
        let gap = Gap { epoch: top.epoch, from: 0, to: 0, count: None, reason: GapReason::Epoch };
        deliveries.push_back((self.name.clone(), Item::Gap(gap)));
        top.offset > 0
    }
}
