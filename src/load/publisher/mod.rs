//! Publishes over one connection without waiting for answers, so that any number of messages can be under way: by pipelined HTTP requests (RFC 9112,
//! section 9.3.2), or by what a client of the profile says.

mod frames;
mod http;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
};

use tokio::sync::Notify;

use super::tally::Tally;

pub(super) use frames::Frames;
pub(super) use http::Http;

/// Bytes that wait to be written before the publisher itself waits.
const WAITING_BYTES: usize = 1 << 20;

/// Read at once.
const READ_BYTES: usize = 64 * 1024;

/// What the server has answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    counts: RefCell<Counts>,
    changed: Notify,
    /// Where it is entered what was refused; none in tests of answers alone.
    book: Option<Book>,
}

/// Which messages wait for answers. Servers answer in order.
#[derive(Debug)]
struct Book {
    tally: Rc<Tally>,
    /// Stream and number of each.
    waiting: RefCell<VecDeque<(usize, u64)>>,
}

/// How many answers of which sort.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    /// It took the message.
    pub accepted: u64,
    /// It did not.
    pub refused: u64,
    /// What the first refusal, or the end of the connection, said.
    pub trouble: Option<String>,
    /// The connection has ended.
    pub ended: bool,
}

impl Answers {
    /// As of now.
    #[must_use]
    pub(super) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Whether the connection has ended.
    pub(super) fn ended(&self) -> bool {
        self.counts.borrow().ended
    }

    /// Waits until this many requests have been answered, or no more answers can come.
    pub(super) async fn reach(&self, requests: u64) {
        loop {
            let (ended, answered) = {
                let counts = self.counts.borrow();
                (counts.ended, counts.accepted + counts.refused)
            };
            if ended || answered >= requests {
                return;
            }
            self.changed.notified().await;
        }
    }

    fn accept(&self, count: u64) {
        for _ in 0..count {
            if self.book.as_ref().is_some_and(|book| book.waiting.borrow_mut().pop_front().is_none()) {
                return self.end(SURPLUS.into());
            }
            self.enter(|counts| counts.accepted += 1);
        }
    }

    fn refuse(&self, reason: String) {
        if let Some(book) = &self.book {
            let Some((stream, number)) = book.waiting.borrow_mut().pop_front() else { return self.end(SURPLUS.into()) };
            book.tally.refuse(stream, number);
        }
        self.enter(|counts| {
            counts.refused += 1;
            counts.trouble.get_or_insert(reason);
        });
    }

    fn end(&self, reason: String) {
        self.enter(|counts| {
            counts.ended = true;
            counts.trouble.get_or_insert(reason);
        });
    }

    fn enter(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.borrow_mut());
        self.changed.notify_one();
    }
}

/// What waits to be written, by the publisher and by who answers the server.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: RefCell<Vec<u8>>,
    /// Bytes that wait elsewhere.
    elsewhere: Cell<usize>,
    /// There is something to write.
    filled: Notify,
    /// Some of it has been taken.
    taken: Notify,
}

impl Outgoing {
    fn put(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes.borrow_mut());
        self.filled.notify_one();
    }

    fn is_full(&self) -> bool {
        self.bytes.borrow().len() + self.elsewhere.get() > WAITING_BYTES
    }
}

/// Says publishes.
pub(super) trait Speaker: std::fmt::Debug {
    /// Queues one message. The payload needs no escapes in JSON.
    ///
    /// # Errors
    /// It can't be said; the sentence says why.
    fn speak(&mut self, outgoing: &Outgoing, group: &str, payload: &str) -> Result<(), String>;

    /// Whether each message is answered.
    fn is_answered(&self) -> bool;
}

/// A connection that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    speaker: Box<dyn Speaker>,
    outgoing: Rc<Outgoing>,
    /// What came back.
    pub answers: Rc<Answers>,
    sent: u64,
}

impl Publisher {
    fn new(speaker: Box<dyn Speaker>, tally: Rc<Tally>) -> Self {
        let book = Book { tally, waiting: RefCell::default() };
        let answers = Answers { book: Some(book), ..Answers::default() };
        Self { speaker, outgoing: Rc::default(), answers: Rc::new(answers), sent: 0 }
    }

    /// Lets `task` serve the connection until it ends, and says how it did. Must be called in a `LocalSet`.
    fn serve(&self, task: impl Future<Output = String> + 'static) {
        let (answers, outgoing) = (self.answers.clone(), self.outgoing.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the connection, or with the `LocalSet`")]
        tokio::task::spawn_local(async move {
            answers.end(task.await);
            outgoing.taken.notify_one();
        });
    }

    /// Queues one message, the `number`th of a stream.
    ///
    /// # Errors
    /// It can't be said.
    pub(super) fn queue(&mut self, group: &str, payload: &str, (stream, number): (usize, u64)) -> io::Result<()> {
        self.sent += 1;
        if let Some(book) = self.answers.book.as_ref().filter(|_| self.speaker.is_answered()) {
            book.waiting.borrow_mut().push_back((stream, number));
        }
        self.speaker.speak(&self.outgoing, group, payload).map_err(io::Error::other)
    }

    /// Waits while too much is queued.
    pub(super) async fn flush(&self) {
        while self.outgoing.is_full() && !self.answers.ended() {
            self.outgoing.taken.notified().await;
        }
    }

    /// Waits for the answers to all that was sent.
    pub(super) async fn finish(&self) {
        if self.speaker.is_answered() {
            self.answers.reach(self.sent).await;
        }
    }

    /// How many were sent, and what came back; where the server does not answer, it is taken to have accepted.
    pub(super) fn counts(&self) -> (u64, Counts) {
        let mut counts = self.answers.counts();
        if !self.speaker.is_answered() {
            counts.accepted = self.sent.saturating_sub(counts.refused);
        }
        (self.sent, counts)
    }
}

/// What a connection that failed is reported as.
fn failed(error: &io::Error) -> String {
    format!("the publisher's connection failed: {error}")
}

/// What a server does that answers more publishes than there were.
const SURPLUS: &str = "the server answered a publish that there was not";

/// What a connection that the server ended is reported as.
const CLOSED: &str = "the server closed the publisher's connection";
