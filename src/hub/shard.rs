//! One worker's tables: which of its connections are members of which group.
//!
//! A plain structure with one owner, no locks and no I/O. Its invariant, checked by [`Shard::check`] in tests: a connection stands in a
//! group's list of members exactly if the group stands in the connection's list, each knowing the other's place, so that joining and
//! leaving cost the same however large the group is.
//!
//! Order: deliveries of one group reach every member in the order in which they are given to [`Shard::deliver`].

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Instant};

use slab::Slab;
use tokio::sync::OnceCell;

use super::{Delivery, Link, Notice, OutboxLimits, Slow, Terms, outbox::Slot, recording::Recording};
use crate::{
    broker::Item,
    metrics::Metrics,
    protocol::{Encoding, Event, Gap, GroupName, Position, ServerFrame, UserId},
};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Shard {
    groups: Slab<Group>,
    by_name: HashMap<GroupName, u32>,
    /// The connections of each user, oldest first.
    by_user: HashMap<UserId, Vec<u32>>,
    connections: Slab<Connection>,
    marked: Vec<u32>,
}

/// A group that has members here, or soon will.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: GroupName,
    /// What has been delivered here: the node's own position in the group.
    pub(super) last: Position,
    pub(super) slow: Slow,
    pub(super) tell_interruptions: bool,
    /// Events of other nodes may not come for the time being.
    pub(super) interrupted: bool,
    /// Told by the broker when it began to send us the group's events.
    pub(super) attached: Rc<OnceCell<Position>>,
    /// Joins that are under way and keep the group alive.
    pub(super) pending: usize,
    /// What came while somebody reads the past.
    pub(super) recording: Recording,
    members: [Vec<Seat>; Encoding::COUNT],
}

/// A member as the group sees it.
#[derive(Debug, Clone, Copy)]
struct Seat {
    connection: u32,
}

#[derive(Debug)]
struct Connection {
    link: Rc<Link>,
    memberships: Vec<Membership>,
    /// Who it is, if it has said so.
    user: Option<UserId>,
}

/// A group as its member sees it.
#[derive(Debug, Clone, Copy)]
struct Membership {
    group: u32,
    /// The place in the group's list for this connection's encoding.
    seat: u32,
}

impl Shard {
    pub(super) fn connect(&mut self, link: Rc<Link>) -> u32 {
        small(self.connections.insert(Connection { link, memberships: Vec::new(), user: None }))
    }

    /// Forgets a connection that is a member of nothing any more.
    pub(super) fn disconnect(&mut self, connection: u32) {
        let gone = self.connections.remove(connection as usize);
        debug_assert!(gone.memberships.is_empty() && gone.user.is_none(), "a connection leaves its groups before it goes");
    }

    /// The connection is a session of this user from now on.
    pub(super) fn enlist(&mut self, connection: u32, user: &UserId) {
        self.discharge(connection);
        self.connections[connection as usize].user = Some(user.clone());
        self.by_user.entry(user.clone()).or_default().push(connection);
    }

    /// The connection is nobody's session any more; says whose it was.
    pub(super) fn discharge(&mut self, connection: u32) -> Option<UserId> {
        let user = self.connections[connection as usize].user.take()?;
        if let Some(connections) = self.by_user.get_mut(&user) {
            connections.retain(|other| *other != connection);
            if connections.is_empty() {
                self.by_user.remove(&user);
            }
        }
        Some(user)
    }

    /// How many connections are sessions of this user.
    pub(super) fn sessions(&self, user: &UserId) -> usize {
        self.by_user.get(user).map_or(0, Vec::len)
    }

    pub(super) fn number(&self, name: &GroupName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn group(&self, number: u32) -> Option<&Group> {
        self.groups.get(number as usize)
    }

    pub(super) fn group_mut(&mut self, number: u32) -> Option<&mut Group> {
        self.groups.get_mut(number as usize)
    }

    pub(super) fn open(&mut self, name: &GroupName, terms: &Terms) -> u32 {
        let group = Group {
            name: name.clone(),
            last: Position::NONE,
            slow: terms.slow,
            tell_interruptions: terms.tell_interruptions,
            interrupted: false,
            attached: Rc::default(),
            pending: 0,
            recording: Recording::default(),
            members: std::array::from_fn(|_| Vec::new()),
        };
        let number = small(self.groups.insert(group));
        self.by_name.insert(name.clone(), number);
        number
    }

    /// Forgets the group if nobody needs it any more, and returns its name then.
    pub(super) fn close_if_unused(&mut self, number: u32) -> Option<Group> {
        let group = self.groups.get(number as usize)?;
        if group.pending > 0 || group.members() > 0 {
            return None;
        }
        let group = self.groups.remove(number as usize);
        self.by_name.remove(&group.name);
        Some(group)
    }

    /// The groups that a connection is a member of.
    pub(super) fn memberships(&self, connection: u32) -> Vec<u32> {
        self.connections[connection as usize].memberships.iter().map(|membership| membership.group).collect()
    }

    /// The same by name.
    pub(super) fn followed(&self, connection: u32) -> Vec<GroupName> {
        let memberships = &self.connections[connection as usize].memberships;
        memberships.iter().map(|membership| self.groups[membership.group as usize].name.clone()).collect()
    }

    pub(super) fn is_member(&self, connection: u32, group: u32) -> bool {
        self.connections[connection as usize].memberships.iter().any(|membership| membership.group == group)
    }

    /// Makes the connection a member; says whether it was none before.
    pub(super) fn join(&mut self, connection: u32, number: u32) -> bool {
        if self.is_member(connection, number) {
            return false;
        }
        let Connection { link, memberships, .. } = &mut self.connections[connection as usize];
        let seats = &mut self.groups[number as usize].members[link.encoding().index()];
        memberships.push(Membership { group: number, seat: small(seats.len()) });
        seats.push(Seat { connection });
        true
    }

    /// Ends a membership; says whether there was one.
    pub(super) fn leave(&mut self, connection: u32, number: u32) -> bool {
        let Connection { link, memberships, .. } = &mut self.connections[connection as usize];
        let Some(at) = memberships.iter().position(|membership| membership.group == number) else { return false };
        let seat = memberships.swap_remove(at).seat;
        let seats = &mut self.groups[number as usize].members[link.encoding().index()];
        seats.swap_remove(seat as usize);
        if let Some(moved) = seats.get(seat as usize) {
            let memberships = &mut self.connections[moved.connection as usize].memberships;
            let membership = memberships.iter_mut().find(|membership| membership.group == number);
            membership.expect("a member's group stands in its own list").seat = seat;
        }
        true
    }

    /// Puts an event or a gap into the outbox of every member of the group, and marks them for [`Shard::flush`]. Encodes once for each
    /// encoding that has members.
    pub(super) fn deliver(&mut self, delivery: &Delivery, limits: &OutboxLimits, metrics: &Metrics, now: Instant) {
        match delivery {
            Delivery::Item { group, item } => {
                let Some(&number) = self.by_name.get(group) else { return };
                match item {
                    Item::Event(epoch, event) => self.deliver_event(number, *epoch, event, limits, metrics, now),
                    Item::Gap(gap) => self.deliver_gap(number, *gap, limits, metrics, now),
                    Item::Presence(change) => {
                        self.tell(number, &ServerFrame::Presence { number, change: (**change).clone() }, limits, metrics, now);
                    }
                    Item::Interrupted => self.interrupt(number, true, limits, metrics, now),
                    Item::Resumed => self.interrupt(number, false, limits, metrics, now),
                }
            }
            Delivery::Notice(user, notice) => self.notify(user.as_ref(), notice),
        }
    }

    /// Gives a notice to the sessions of a user, or of all users.
    fn notify(&self, user: Option<&UserId>, notice: &Notice) {
        let tell = |connection: &u32| self.connections[*connection as usize].link.notify(notice.clone());
        match user {
            Some(user) => self.by_user.get(user).into_iter().flatten().for_each(tell),
            None => self.by_user.values().flatten().for_each(tell),
        }
    }

    /// Gives a notice to every connection.
    pub(super) fn notify_all(&self, notice: &Notice) {
        self.connections.iter().for_each(|(_, connection)| connection.link.notify(notice.clone()));
    }

    fn deliver_event(&mut self, number: u32, epoch: u32, event: &Arc<Event>, limits: &OutboxLimits, metrics: &Metrics, now: Instant) {
        let group = &mut self.groups[number as usize];
        if event.offset > 0 && !group.advance(epoch, event) {
            return;
        }
        let slot = Slot { number, epoch: group.last.epoch, offset: event.offset, slow: group.slow };
        let mut delivered = 0;
        for encoding in Encoding::ALL {
            let seats = &group.members[encoding.index()];
            if seats.is_empty() {
                continue;
            }
            let frame = encoding.encode_event(number, event);
            for seat in seats {
                let link = &self.connections[seat.connection as usize].link;
                delivered += u64::from(link.offer(&frame, slot, limits, metrics, now));
                if !link.marked.replace(true) {
                    self.marked.push(seat.connection);
                }
            }
        }
        metrics.delivered.inc_by(delivered);
    }

    fn deliver_gap(&mut self, number: u32, gap: Gap, limits: &OutboxLimits, metrics: &Metrics, now: Instant) {
        let group = &mut self.groups[number as usize];
        if !group.skip(gap) {
            return;
        }
        (0..group.members()).for_each(|_| metrics.gaps(gap.reason.name()));
        self.tell(number, &ServerFrame::Gap { number, gap }, limits, metrics, now);
    }

    /// Takes note that events may not come for the time being, or that they come again, and tells members if the policy says so.
    fn interrupt(&mut self, number: u32, interrupted: bool, limits: &OutboxLimits, metrics: &Metrics, now: Instant) {
        let group = &mut self.groups[number as usize];
        if std::mem::replace(&mut group.interrupted, interrupted) != interrupted && group.tell_interruptions {
            let frame = if interrupted { ServerFrame::Interrupted { number } } else { ServerFrame::Resumed { number } };
            self.tell(number, &frame, limits, metrics, now);
        }
    }

    /// Queues a frame that is no event for every member of the group.
    fn tell(&mut self, number: u32, frame: &ServerFrame, limits: &OutboxLimits, metrics: &Metrics, now: Instant) {
        let group = &self.groups[number as usize];
        for encoding in Encoding::ALL {
            let seats = &group.members[encoding.index()];
            if seats.is_empty() {
                continue;
            }
            let frame = encoding.encode(frame);
            for seat in seats {
                let link = &self.connections[seat.connection as usize].link;
                link.tell(&frame, limits, metrics, now);
                if !link.marked.replace(true) {
                    self.marked.push(seat.connection);
                }
            }
        }
    }

    /// Writes what the marked connections' wires take without waiting.
    pub(super) fn flush(&mut self, metrics: &Metrics, now: Instant) {
        for connection in self.marked.drain(..) {
            if let Some(Connection { link, .. }) = self.connections.get(connection as usize) {
                link.marked.set(false);
                link.flush(metrics, now);
            }
        }
    }

    /// Asserts the invariant of the module.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for (connection, Connection { link, memberships, .. }) in &self.connections {
            for Membership { group, seat } in memberships {
                let seats = &self.groups[*group as usize].members[link.encoding().index()];
                assert_eq!(seats[*seat as usize].connection as usize, connection);
            }
        }
        let seats: usize = self.groups.iter().map(|(_, group)| group.members()).sum();
        let memberships: usize = self.connections.iter().map(|(_, connection)| connection.memberships.len()).sum();
        assert_eq!(seats, memberships);
        assert_eq!(self.by_name.len(), self.groups.len());
    }
}

impl Group {
    /// Takes note of an event with a place; `false` if it has been replayed, or was not asked for.
    fn advance(&mut self, epoch: u32, event: &Arc<Event>) -> bool {
        if epoch != self.last.epoch {
            // Epochs change by a gap. Before the broker has told where we begin, there is none to compare with.
            if self.attached.initialized() {
                return false;
            }
        } else if event.offset <= self.last.offset {
            return false;
        }
        self.last = Position { epoch, offset: event.offset };
        self.recording.note(event);
        true
    }

    /// Takes note of a gap; `false` if it ends before what has been delivered.
    fn skip(&mut self, gap: Gap) -> bool {
        if gap.epoch == self.last.epoch && gap.to <= self.last.offset && self.last.is_kept() {
            return false;
        }
        self.last = Position { epoch: gap.epoch, offset: gap.to };
        self.recording.interrupt();
        true
    }

    /// Takes note of the broker's answer. What has been delivered here already is newer, or the answer is on its way behind it.
    pub(super) fn note_attached(&mut self, position: Position) {
        if !self.last.is_kept() {
            self.last = position;
        } else if self.last.epoch == position.epoch {
            self.last.offset = self.last.offset.max(position.offset);
        }
    }

    pub(super) fn members(&self) -> usize {
        self.members.iter().map(Vec::len).sum()
    }
}

/// Tables of a worker hold fewer than 2^32 entries: a process has fewer file descriptors, and a group takes more than a byte.
fn small(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 entries")
}
