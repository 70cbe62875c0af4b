//! When each connection wants to be called next: a heap with one entry a connection.
//!
//! A connection's deadline changes with every packet, nearly always to a later time, and nearly always without ever being reached. So an entry moves only when its
//! connection's deadline has come nearer; one whose deadline has gone farther is found out when its old time has come, and put back. That makes the usual change
//! a comparison. Its invariant: no entry is later than its connection's deadline was when it was last told.

use std::time::Instant;

/// A place in [`Deadlines`] that is none.
const NOWHERE: u32 = u32::MAX;

/// See the [module](self). Connections are named by small numbers.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    /// Where in the heap a connection's entry is.
    places: Vec<u32>,
}

impl Deadlines {
    /// The connection wants to be called at this time at the latest. An earlier call is allowed.
    pub(super) fn set(&mut self, connection: usize, deadline: Instant) {
        if self.places.len() <= connection {
            self.places.resize(connection + 1, NOWHERE);
        }
        match self.places[connection] {
            NOWHERE => {
                let number = u32::try_from(connection).expect("a worker has fewer than 2^32 connections");
                self.heap.push((deadline, number));
                self.rise(self.heap.len() - 1);
            }
            place if deadline < self.heap[place as usize].0 => {
                self.heap[place as usize].0 = deadline;
                self.rise(place as usize);
            }
            _ => {}
        }
    }

    /// The connection is no more.
    pub(super) fn remove(&mut self, connection: usize) {
        let Some(&place) = self.places.get(connection).filter(|place| **place != NOWHERE) else { return };
        self.places[connection] = NOWHERE;
        self.heap.swap_remove(place as usize);
        let place = place as usize;
        if let Some((_, moved)) = self.heap.get(place) {
            self.places[*moved as usize] = u32::try_from(place).unwrap_or(NOWHERE);
            self.rise(place);
            self.sink(place);
        }
    }

    /// When the first connection wants to be called.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out a connection whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let &(deadline, connection) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.remove(connection as usize);
        Some(connection as usize)
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(mut least) = self.heap.get(left).map(|_| left) else { break };
            if self.heap.get(right).is_some_and(|(deadline, _)| *deadline < self.heap[left].0) {
                least = right;
            }
            if self.heap[place].0 <= self.heap[least].0 {
                break;
            }
            self.swap(place, least);
            place = least;
        }
        self.note(place);
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn note(&mut self, place: usize) {
        if let Some((_, connection)) = self.heap.get(place) {
            self.places[*connection as usize] = u32::try_from(place).unwrap_or(NOWHERE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a map that is searched: whatever is set and removed, what is due comes out once, and never later than asked for.
        #[test]
        fn what_is_due_comes_out_in_time(steps in proptest::collection::vec((0..4u8, 0..12usize, 0..50u64), 1..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut deadlines = Deadlines::default();
            let mut model: HashMap<usize, Instant> = HashMap::new();
            for (step, connection, ms) in steps {
                let time = now + Duration::from_millis(ms);
                match step {
                    0 | 1 => {
                        deadlines.set(connection, time);
                        let entry = model.entry(connection).or_insert(time);
                        *entry = time.min(*entry);
                    }
                    2 => {
                        deadlines.remove(connection);
                        model.remove(&connection);
                    }
                    _ => {
                        now = time;
                        let mut due = Vec::new();
                        while let Some(connection) = deadlines.pop_due(now) {
                            due.push(connection);
                        }
                        for connection in due {
                            prop_assert!(model.remove(&connection).is_some_and(|deadline| deadline <= now));
                        }
                        prop_assert!(model.values().all(|deadline| *deadline > now));
                    }
                }
                prop_assert_eq!(deadlines.first(), model.values().min().copied());
            }
        }
    }
}
