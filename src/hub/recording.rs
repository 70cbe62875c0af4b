//! What a group gets while somebody who comes back reads its past: so reading need not be repeated however busy the group is, and nobody
//! waits for the reader.

use std::{collections::VecDeque, sync::Arc};

use crate::protocol::Event;

/// Events that are kept for readers of one group; whoever takes longer reads again. They are shared with the mailbox, so a place costs a
/// pointer.
const LIMIT: usize = 1000;

/// See the [module](self). Its invariant: the events have offsets without holes, and the last of them is the group's last.
#[derive(Debug, Default)]
pub(super) struct Recording {
    readers: usize,
    events: VecDeque<Arc<Event>>,
}

impl Recording {
    /// Somebody begins to read.
    pub(super) fn begin(&mut self) {
        self.readers += 1;
    }

    /// A reader is done.
    pub(super) fn end(&mut self) {
        self.readers -= 1;
        if self.readers == 0 {
            self.events = VecDeque::new();
        }
    }

    /// An event has been delivered.
    pub(super) fn note(&mut self, event: &Arc<Event>) {
        if self.readers == 0 {
            return;
        }
        if self.events.back().is_some_and(|last| last.offset + 1 != event.offset) {
            self.events.clear();
        }
        if self.events.len() == LIMIT {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
    }

    /// A gap has been delivered.
    pub(super) fn interrupt(&mut self) {
        self.events.clear();
    }

    /// The events after offset `after` up to `last`; `None` if they are not all here.
    pub(super) fn between(&self, after: u64, last: u64) -> Option<Vec<Event>> {
        if after == last {
            return Some(Vec::new());
        }
        let begins = self.events.front().is_some_and(|first| first.offset <= after + 1);
        begins.then(|| self.events.iter().filter(|event| event.offset > after).map(|event| Event::clone(event)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Content, EventId};

    fn event(offset: u64) -> Arc<Event> {
        Arc::new(Content::message("x", None).unwrap().placed(EventId::from_number(offset), offset, None))
    }

    fn offsets(recording: &Recording, after: u64, last: u64) -> Option<Vec<u64>> {
        recording.between(after, last).map(|events| events.iter().map(|event| event.offset).collect())
    }

    #[test]
    fn only_what_is_whole_is_given() {
        let mut recording = Recording::default();
        recording.note(&event(3));
        assert_eq!((offsets(&recording, 3, 3), offsets(&recording, 2, 3)), (Some(vec![]), None));
        recording.begin();
        (4..=6).for_each(|offset| recording.note(&event(offset)));
        assert_eq!((offsets(&recording, 3, 6), offsets(&recording, 5, 6)), (Some(vec![4, 5, 6]), Some(vec![6])));
        assert_eq!(offsets(&recording, 2, 6), None);
        recording.interrupt();
        recording.note(&event(9));
        assert_eq!((offsets(&recording, 6, 9), offsets(&recording, 8, 9)), (None, Some(vec![9])));
        recording.end();
        assert_eq!(offsets(&recording, 8, 9), None);
    }

    #[test]
    fn a_reader_that_takes_too_long_does_not_cost_more() {
        let mut recording = Recording::default();
        recording.begin();
        (1..=LIMIT as u64 + 1).for_each(|offset| recording.note(&event(offset)));
        assert_eq!(recording.events.len(), LIMIT);
        assert_eq!(offsets(&recording, 0, LIMIT as u64 + 1), None);
    }
}
