//! The table behind presence: a plain structure, given the time.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    broker::Attendance,
    protocol::{GroupName, UserId},
};

/// Connections that are lost and still counted; beyond that the oldest go early. About 100 bytes each.
const LOST: usize = 200_000;

/// Users that are told of one group at once: what a broker does in one step, and what members are told in one frame, is bounded.
const BATCH: usize = 100;

/// See the [module](self). Its invariants: a seat is there exactly as long as somebody counts in it or its change has not been told; `lost` has one entry
/// for each connection that is lost and each that was replaced.
pub(super) struct Table {
    grace: Duration,
    groups: HashMap<GroupName, Group>,
    /// Oldest first.
    lost: VecDeque<Lost>,
    /// Groups in which something has changed, each once.
    changed: Vec<GroupName>,
    seats: usize,
}

#[derive(Default)]
struct Group {
    live: bool,
    seats: HashMap<Option<UserId>, Seat>,
    /// Whose seats have changed, each once.
    changed: Vec<Option<UserId>>,
}

/// What is known of one user in one group, or of all anonymous connections there.
#[derive(Default)]
struct Seat {
    /// Connections that are open.
    here: u64,
    /// Connections that are lost and still counted.
    lost: u64,
    /// Lost ones whose place another has taken; their time has to pass without effect.
    replaced: u64,
    changed: bool,
}

struct Lost {
    until: Instant,
    group: GroupName,
    user: Option<UserId>,
}

impl Table {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, groups: HashMap::new(), lost: VecDeque::new(), changed: Vec::new(), seats: 0 }
    }

    /// Seats: users and anonymous crowds, each once a group.
    pub(super) fn len(&self) -> usize {
        self.seats
    }

    /// A connection has come.
    pub(super) fn enter(&mut self, name: &GroupName, user: Option<&UserId>, live: bool) {
        let group = self.groups.entry(name.clone()).or_default();
        group.live = live;
        let seat = group.seats.entry(user.cloned()).or_insert_with(|| {
            self.seats += 1;
            Seat::default()
        });
        seat.here += 1;
        if seat.lost > 0 {
            seat.lost -= 1;
            seat.replaced += 1;
        } else {
            self.note_change(name, user);
        }
    }

    /// A connection has left on purpose.
    pub(super) fn leave(&mut self, name: &GroupName, user: Option<&UserId>) {
        let Some(seat) = self.seat(name, user) else { return };
        seat.here = seat.here.saturating_sub(1);
        self.note_change(name, user);
    }

    /// A connection has been lost.
    pub(super) fn lose(&mut self, name: &GroupName, user: Option<&UserId>, now: Instant) {
        let Some(seat) = self.seat(name, user) else { return };
        seat.here = seat.here.saturating_sub(1);
        seat.lost += 1;
        self.lost.push_back(Lost { until: now + self.grace, group: name.clone(), user: user.cloned() });
        if self.lost.len() > LOST
            && let Some(oldest) = self.lost.pop_front()
        {
            self.forget(&oldest);
        }
    }

    /// Stops counting lost connections whose time has passed; says when the next one's has.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(lost) = self.lost.pop_front_if(|lost| lost.until <= now) {
            self.forget(&lost);
        }
        self.lost.front().map(|lost| lost.until)
    }

    /// All that has changed since the last call, in the order in which groups changed.
    pub(super) fn take_changes(&mut self) -> Vec<Attendance> {
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let before = group.seats.len();
            let told: Vec<_> = std::mem::take(&mut group.changed).into_iter().map(|user| group.told(user)).collect();
            self.seats -= before - group.seats.len();
            let part = |connections: &[_]| Attendance { group: name.clone(), live: group.live, connections: connections.to_vec() };
            changes.extend(told.chunks(BATCH).map(part));
            if group.seats.is_empty() {
                self.groups.remove(&name);
            }
        }
        changes
    }

    fn seat(&mut self, name: &GroupName, user: Option<&UserId>) -> Option<&mut Seat> {
        self.groups.get_mut(name)?.seats.get_mut(&user.cloned())
    }

    fn forget(&mut self, Lost { group, user, .. }: &Lost) {
        let Some(seat) = self.seat(group, user.as_ref()) else { return };
        if seat.replaced > 0 {
            seat.replaced -= 1;
            if seat.is_empty() {
                // It stayed only for this.
                self.note_change(group, user.as_ref());
            }
        } else {
            seat.lost = seat.lost.saturating_sub(1);
            self.note_change(group, user.as_ref());
        }
    }

    fn note_change(&mut self, name: &GroupName, user: Option<&UserId>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let user = user.cloned();
        let Some(seat) = group.seats.get_mut(&user) else { return };
        if !std::mem::replace(&mut seat.changed, true) {
            group.changed.push(user);
            if group.changed.len() == 1 {
                self.changed.push(name.clone());
            }
        }
    }
}

impl Group {
    /// What the broker is told of a seat, which ends if nobody is in it and no time has to pass any more.
    fn told(&mut self, user: Option<UserId>) -> (Option<UserId>, u64) {
        let Some(seat) = self.seats.get_mut(&user) else { return (user, 0) };
        seat.changed = false;
        let count = seat.here + seat.lost;
        if seat.is_empty() {
            self.seats.remove(&user);
        }
        (user, count)
    }
}

impl Seat {
    fn is_empty(&self) -> bool {
        self.here + self.lost + self.replaced == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    struct World {
        table: Table,
        now: Instant,
    }

    fn name(group: &str) -> GroupName {
        GroupName::parse(group).unwrap()
    }

    fn user(name: &str) -> Option<UserId> {
        UserId::parse(name).ok()
    }

    impl World {
        #[expect(clippy::disallowed_methods, reason = "a beginning of time")]
        fn new() -> Self {
            Self { table: Table::new(GRACE), now: Instant::now() }
        }

        fn enter(&mut self, who: &str) {
            self.table.enter(&name("a"), user(who).as_ref(), true);
        }

        fn lose(&mut self, who: &str) {
            self.table.lose(&name("a"), user(who).as_ref(), self.now);
        }

        fn leave(&mut self, who: &str) {
            self.table.leave(&name("a"), user(who).as_ref());
        }

        /// What is told after so many ms, as `ann 1`; anonymous connections are `- 1`.
        fn told_after(&mut self, ms: u64) -> Vec<String> {
            self.now += Duration::from_millis(ms);
            self.table.expire(self.now);
            let changes = self.table.take_changes();
            let shown = |(who, count): &(Option<UserId>, u64)| format!("{} {count}", who.as_ref().map_or("-", UserId::as_str));
            changes.iter().flat_map(|change| change.connections.iter().map(shown)).collect()
        }

        fn is_empty(&self) -> bool {
            self.table.groups.is_empty() && self.table.lost.is_empty()
        }
    }

    #[test]
    fn who_comes_back_within_the_grace_time_was_never_away() {
        let mut world = World::new();
        world.enter("ann");
        assert_eq!(world.told_after(0), ["ann 1"]);
        world.lose("ann");
        assert!(world.told_after(4999).is_empty());
        world.enter("ann");
        assert!(world.told_after(5000).is_empty());
        world.lose("ann");
        assert!(world.told_after(4999).is_empty());
        assert_eq!(world.told_after(1), ["ann 0"]);
        assert!(world.is_empty());
    }

    #[test]
    fn each_lost_connection_has_its_own_time() {
        let mut world = World::new();
        ["ann", "ann", "ann"].into_iter().for_each(|who| world.enter(who));
        assert_eq!(world.told_after(0), ["ann 3"]);
        world.lose("ann");
        world.told_after(1000);
        world.lose("ann");
        world.enter("ann");
        assert!(world.told_after(4000).is_empty(), "the first one's place was taken");
        assert_eq!(world.told_after(1000), ["ann 2"]);
        assert_eq!(world.table.expire(world.now), None);
    }

    #[test]
    fn a_time_that_was_replaced_ends_nobody_elses() {
        let mut world = World::new();
        world.enter("ann");
        world.lose("ann");
        world.told_after(1000);
        world.enter("ann");
        world.leave("ann");
        assert_eq!(world.told_after(0), ["ann 0"]);
        world.told_after(1000);
        world.enter("ann");
        assert_eq!(world.told_after(0), ["ann 1"]);
        world.told_after(1000);
        world.lose("ann");
        assert!(world.told_after(2000).is_empty(), "the first loss has been made good");
        assert!(world.told_after(2999).is_empty());
        assert_eq!(world.told_after(1), ["ann 0"]);
        assert!(world.is_empty());
    }

    #[test]
    fn anonymous_connections_take_one_anothers_places() {
        let mut world = World::new();
        (0..3).for_each(|_| world.enter(""));
        assert_eq!(world.told_after(0), ["- 3"]);
        world.lose("");
        world.enter("");
        assert!(world.told_after(5000).is_empty());
        world.leave("");
        assert_eq!(world.told_after(0), ["- 2"], "who leaves on purpose does not count longer");
    }

    #[test]
    fn who_comes_and_goes_between_two_batches_is_told_once_and_leaves_nothing() {
        let mut world = World::new();
        world.enter("ann");
        world.leave("ann");
        assert_eq!(world.told_after(0), ["ann 0"]);
        assert!(world.is_empty());
    }

    #[test]
    fn a_storm_of_reconnections_tells_nothing() {
        let mut world = World::new();
        let all: Vec<String> = (0..1000).map(|n| format!("u{n}")).collect();
        all.iter().for_each(|who| world.enter(who));
        assert_eq!(world.told_after(0).len(), 1000);
        for _ in 0..5 {
            all.iter().for_each(|who| world.lose(who));
            assert!(world.told_after(2000).is_empty());
            all.iter().for_each(|who| world.enter(who));
            assert!(world.told_after(500).is_empty());
        }
        assert!(world.told_after(10_000).is_empty());
        assert_eq!((world.table.len(), world.table.lost.len()), (1000, 0));
    }

    #[test]
    fn batches_are_bounded_and_so_is_what_is_lost() {
        let mut world = World::new();
        (0..250).for_each(|n| world.enter(&format!("u{n}")));
        let sizes: Vec<_> = world.table.take_changes().iter().map(|change| change.connections.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        for _ in 0..LOST {
            world.enter("");
            world.lose("");
        }
        world.lose("u0");
        assert_eq!(world.table.lost.len(), LOST);
    }
}
