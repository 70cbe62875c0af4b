//! One connection's place in the account.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    rc::Rc,
};

use tokio::sync::Notify;

use super::{
    ledger::{Arrival, Ledger},
    marker::{HEAD, MARKER_BYTES, Marker, marks},
    tally::{Tally, add},
};

/// How a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// As fast as it can; everything is due to it.
    Prompt,
    /// So many bytes a second; nothing is due.
    Slow(u32),
    /// Not at all, once it follows; nothing is due.
    Stopped,
    /// It follows nothing.
    Idle,
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Say that you live.
    KeepAlive,
    /// Close and come back.
    Reconnect,
    /// Close.
    Stop,
}

/// A connection that may follow groups.
#[derive(Debug)]
pub(super) struct Member {
    tally: Rc<Tally>,
    /// Which connection, from 0.
    pub nth: usize,
    /// Which groups; those of an idle one are not followed.
    pub groups: Range<u32>,
    /// How it reads.
    pub reader: Reader,
    /// For each group one for each publisher.
    pub ledgers: RefCell<Vec<Ledger>>,
    /// The beginning of a mark whose end has not come yet.
    tail: RefCell<Vec<u8>>,
    /// Whether it counts among the followers.
    follows: Cell<bool>,
    /// Events of which the server said that they will not come.
    told: Cell<u64>,
    /// How many had been published, by stream, when it said so the last time without saying how many; empty: it never did.
    told_unknown: RefCell<Vec<u64>>,
    order: Cell<Option<Order>>,
    nudge: Notify,
}

impl Member {
    /// A connection that is about to be made.
    #[must_use]
    pub(super) fn new(tally: Rc<Tally>, nth: usize, groups: Range<u32>, reader: Reader) -> Self {
        let ledgers = RefCell::new(vec![Ledger::default(); groups.len() * tally.publishers as usize]);
        let (tail, follows, told, told_unknown) = (RefCell::default(), Cell::new(false), Cell::new(0), RefCell::default());
        Self { tally, nth, groups, reader, ledgers, tail, follows, told, told_unknown, order: Cell::new(None), nudge: Notify::new() }
    }

    /// Gives an order. A later one replaces an earlier one that was not followed yet, except that nothing replaces [`Order::Stop`].
    pub(super) fn order(&self, order: Order) {
        if self.order.get() != Some(Order::Stop) {
            self.order.set(Some(order));
            self.nudge.notify_one();
        }
    }

    /// Waits for an order.
    pub(super) async fn ordered(&self) -> Order {
        loop {
            if let Some(order) = self.order.take() {
                return order;
            }
            self.nudge.notified().await;
        }
    }

    /// Microseconds since the run began.
    pub(super) fn now_us(&self) -> u64 {
        self.tally.micros(super::now())
    }

    /// Counts the marks in a message or piece that was received at `now_us`, and says how many there were.
    pub(super) fn take(&self, bytes: &[u8], now_us: u64) -> usize {
        let mut tail = self.tail.borrow_mut();
        add(&self.tally.bytes, bytes.len() as u64);
        if tail.is_empty() {
            tail.extend_from_slice(begun(bytes));
            return self.count(bytes, now_us);
        }
        tail.extend_from_slice(bytes);
        let marks = self.count(&tail, now_us);
        let done = tail.len() - begun(&tail).len();
        tail.drain(..done);
        marks
    }

    fn count(&self, bytes: &[u8], now_us: u64) -> usize {
        let tally = &self.tally;
        let mut ledgers = self.ledgers.borrow_mut();
        let mut count = 0;
        for marker in marks(bytes) {
            count += 1;
            if marker.run == tally.run {
                self.mark(&mut ledgers, marker, now_us);
            }
        }
        count
    }

    fn mark(&self, ledgers: &mut [Ledger], marker: Marker, now_us: u64) {
        let tally = &self.tally;
        let at = marker.stream.checked_sub(self.groups.start * tally.publishers).map(|at| at as usize);
        let Some(ledger) = at.and_then(|at| ledgers.get_mut(at)).filter(|_| self.reader != Reader::Idle && tally.made(&marker, now_us))
        else {
            return add(&tally.strayed, 1);
        };
        let arrival = ledger.arrived(marker.number);
        if self.reader != Reader::Prompt {
            return;
        }
        match arrival {
            Arrival::Next { passed, due } => {
                add(&tally.passed, passed);
                add(&tally.due, u64::from(!due));
            }
            Arrival::Late { due: true } => tally.passed.set(tally.passed.get().saturating_sub(1)),
            Arrival::Late { due: false } => add(&tally.due, 1),
            Arrival::Again => return,
        }
        tally.deliver(marker.due_us, now_us);
    }

    fn published(&self) -> Vec<u64> {
        let published = self.tally.published.borrow();
        let streams = self.groups.start * self.tally.publishers..self.groups.end * self.tally.publishers;
        published[streams.start as usize..streams.end as usize].to_vec()
    }

    fn each_ledger(&self, mut each: impl FnMut(&mut Ledger, u64)) {
        self.ledgers.borrow_mut().iter_mut().zip(self.published()).for_each(|(ledger, published)| each(ledger, published));
    }

    fn each_follower_count(&self, each: impl FnMut(&mut u64)) {
        self.tally.followers.borrow_mut()[self.groups.start as usize..self.groups.end as usize].iter_mut().for_each(each);
    }

    /// The server says that the groups are followed; `resumed`: from where the connection was before.
    pub(super) fn follow(&self, resumed: bool) {
        self.tail.borrow_mut().clear();
        self.each_ledger(|ledger, published| if resumed { ledger.resume(published) } else { ledger.follow(published) });
        if self.reader == Reader::Prompt && !self.follows.replace(true) {
            self.each_follower_count(|followers| *followers += 1);
        }
    }

    /// The connection leaves and will not ask for what comes meanwhile.
    pub(super) fn leave(&self) {
        let mut given_up = 0;
        self.each_ledger(|ledger, published| given_up += ledger.leave(published));
        self.unfollow(given_up);
    }

    /// The connection leaves to come back and ask for what comes meanwhile.
    pub(super) fn pause(&self) {
        self.each_ledger(Ledger::resume);
    }

    /// The connection has ended against its will: what comes now is lost to it, but nobody waits for it.
    pub(super) fn end(&self) {
        let mut given_up = 0;
        self.each_ledger(|ledger, published| given_up += ledger.clone().leave(published));
        self.unfollow(given_up);
    }

    fn unfollow(&self, given_up: u64) {
        if self.follows.replace(false) {
            self.each_follower_count(|followers| *followers -= 1);
            self.tally.give_up(given_up);
        }
    }

    /// The server says that so many events will not come.
    pub(super) fn gap(&self, count: Option<u64>) {
        add(&self.tally.gaps, 1);
        match count {
            Some(count) => add(&self.told, count),
            None => *self.told_unknown.borrow_mut() = self.published(),
        }
    }

    /// How many did not come: without a word, and told by a gap. A gap of unknown size explains all that had been published when it came.
    /// What the server did not accept was not to come.
    pub(super) fn lost(&self) -> (u64, u64) {
        let (refused, told_unknown) = (self.tally.refused.borrow(), self.told_unknown.borrow());
        let first = (self.groups.start * self.tally.publishers) as usize;
        let (mut missing, mut explained, mut at) = (0, 0, 0);
        self.each_ledger(|ledger, published| {
            let refused = refused.get(&(first + at)).map_or(&[][..], Vec::as_slice);
            missing += ledger.lost(published, refused);
            explained += told_unknown.get(at).map_or(0, |upto| ledger.lost((*upto).min(published), refused));
            at += 1;
        });
        let told = missing.min(explained + self.told.get());
        (missing - told, told)
    }
}

/// What may be a mark that begins at the end of a piece and is not whole; empty if nothing is. The bytes of some protocols are cut anywhere.
fn begun(bytes: &[u8]) -> &[u8] {
    let end = &bytes[bytes.len().saturating_sub(MARKER_BYTES - 1)..];
    let may_begin = |at: &usize| HEAD.starts_with(&end[*at..end.len().min(at + HEAD.len())]);
    memchr::memchr_iter(HEAD[0], end).find(may_begin).map_or(&[], |at| &end[at..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::now;

    proptest! {
        #[test]
        fn marks_are_counted_once_however_the_bytes_are_cut(cuts in prop::collection::vec(1..80usize, 1..40), size in 35..60usize) {
            let tally = Tally::new(now(), 7, 1, 1);
            let mark = |number| Marker { run: 7, stream: 0, number, due_us: 0 }.payload(size);
            let wire: String = (1..=20).map(|number| format!("~F~head~{}", mark(number))).collect();
            let member = Member::new(tally.clone(), 0, 0..1, Reader::Prompt);
            publish(&tally, 20);
            let (mut rest, mut marks) = (wire.as_bytes(), 0);
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                marks += member.take(piece, member.now_us());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!((marks, tally.delivered.get(), member.ledgers.borrow()[0].reordered), (20, 20, 0));
        }
    }

    #[test]
    fn who_leaves_is_due_nothing_until_it_is_back() {
        let tally = Tally::new(now(), 7, 1, 1);
        let member = Member::new(tally.clone(), 0, 0..1, Reader::Prompt);
        member.follow(false);
        tally.publish(0);
        assert_eq!(tally.under_way(), 1);
        member.leave();
        tally.publish(0);
        assert_eq!(tally.under_way(), 0);
        member.follow(false);
        tally.publish(0);
        assert_eq!((tally.under_way(), member.lost()), (1, (1, 0)));
        member.gap(Some(5));
        assert_eq!(member.lost(), (0, 1));
    }

    fn publish(tally: &Tally, times: usize) {
        for _ in 0..times {
            tally.publish(0);
        }
    }

    fn follower(tally: &Rc<Tally>) -> Member {
        let member = Member::new(tally.clone(), 0, 0..1, Reader::Prompt);
        member.follow(false);
        member
    }

    #[test]
    fn a_gap_of_unknown_size_explains_what_was_published_before_it_and_no_more() {
        let tally = Tally::new(now(), 7, 1, 1);
        let member = follower(&tally);
        tally.publish(0);
        member.gap(None);
        publish(&tally, 3);
        assert_eq!(member.lost(), (3, 1));
    }

    #[test]
    fn what_was_refused_is_not_lost() {
        let tally = Tally::new(now(), 7, 1, 1);
        let member = follower(&tally);
        publish(&tally, 3);
        tally.refuse(0, 2);
        assert_eq!((member.lost(), tally.under_way()), ((2, 0), 2));
    }

    #[test]
    fn what_was_never_published_has_strayed() {
        let tally = Tally::new(now(), 7, 2, 1);
        let member = follower(&tally);
        tally.publish(0);
        let forged = |stream, number, due_us| Marker { run: 7, stream, number, due_us }.payload(40);
        for payload in [forged(0, 2, 0), forged(0, 0, 0), forged(0, 1, 1 << 40), forged(1, 1, 0), forged(9, 1, 0)] {
            member.take(payload.as_bytes(), member.now_us());
        }
        assert_eq!((tally.strayed.get(), tally.delivered.get(), member.lost()), (5, 0, (1, 0)));
    }
}
