//! Publishes over one connection without waiting for answers, so that any number of messages can be under way: by pipelined HTTP requests (RFC 9112,
//! section 9.3.2), or by what a client of the profile says.

mod frames;
mod http;

use std::{cell::RefCell, io, rc::Rc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::Notify,
};

pub(super) use frames::Frames;
pub(super) use http::Http;

use crate::client::Io;

/// Bytes that wait to be written before the publisher itself waits.
const WAITING_BYTES: usize = 1 << 20;

/// What the server has answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    counts: RefCell<Counts>,
    changed: Notify,
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
        self.enter(|counts| counts.accepted += count);
    }

    fn refuse(&self, reason: String) {
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
struct Outgoing {
    bytes: RefCell<Vec<u8>>,
    /// There is something to write.
    filled: Notify,
    /// Some of it has been taken.
    taken: Notify,
}

impl Outgoing {
    fn put(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes.borrow_mut());
    }
}

/// Understands what comes back.
trait Listener {
    /// Takes what is whole off the front of `bytes`.
    ///
    /// # Errors
    /// It makes no sense, or the server ends the talk; the sentence says how.
    fn listen(&mut self, bytes: &mut Vec<u8>, answers: &Answers, outgoing: &Outgoing) -> Result<(), String>;
}

/// Makes the bytes of a publish.
pub(super) trait Speaker: std::fmt::Debug {
    /// Appends one message. The payload needs no escapes in JSON.
    ///
    /// # Errors
    /// It can't be said; the sentence says why.
    fn speak(&mut self, out: &mut Vec<u8>, group: &str, payload: &str) -> Result<(), String>;

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
    /// Must be called in a `LocalSet`.
    fn start(io: Box<dyn Io>, speaker: Box<dyn Speaker>, listener: impl Listener + 'static, rest: Vec<u8>) -> Self {
        let (read, write) = tokio::io::split(io);
        let (answers, outgoing): (Rc<Answers>, Rc<Outgoing>) = Default::default();
        #[expect(clippy::disallowed_methods, reason = "they end with the connection, or with the `LocalSet`")]
        {
            tokio::task::spawn_local(hear(read, listener, rest, answers.clone(), outgoing.clone()));
            tokio::task::spawn_local(write_out(write, answers.clone(), outgoing.clone()));
        }
        Self { speaker, outgoing, answers, sent: 0 }
    }

    /// Queues one message.
    ///
    /// # Errors
    /// It can't be said.
    pub(super) fn queue(&mut self, group: &str, payload: &str) -> io::Result<()> {
        self.sent += 1;
        let mut spoken = Ok(());
        self.outgoing.put(|bytes| spoken = self.speaker.speak(bytes, group, payload));
        self.outgoing.filled.notify_one();
        spoken.map_err(io::Error::other)
    }

    /// Waits while too much is queued.
    pub(super) async fn flush(&self) {
        while self.outgoing.bytes.borrow().len() > WAITING_BYTES && !self.answers.ended() {
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

async fn write_out(mut write: WriteHalf<Box<dyn Io>>, answers: Rc<Answers>, outgoing: Rc<Outgoing>) {
    loop {
        let bytes = std::mem::take(&mut *outgoing.bytes.borrow_mut());
        if bytes.is_empty() {
            outgoing.filled.notified().await;
            continue;
        }
        outgoing.taken.notify_one();
        let written = async {
            write.write_all(&bytes).await?;
            write.flush().await
        };
        if let Err(error) = written.await {
            answers.end(format!("the publisher's connection failed: {error}"));
            return outgoing.taken.notify_one();
        }
    }
}

async fn hear(
    mut read: ReadHalf<Box<dyn Io>>,
    mut listener: impl Listener,
    mut bytes: Vec<u8>,
    answers: Rc<Answers>,
    outgoing: Rc<Outgoing>,
) {
    bytes.reserve(64 * 1024);
    loop {
        let trouble = match listener.listen(&mut bytes, &answers, &outgoing) {
            Ok(()) => match read.read_buf(&mut bytes).await {
                Ok(0) => Some("the server closed the publisher's connection".to_owned()),
                Ok(_) => None,
                Err(error) => Some(format!("the publisher's connection failed: {error}")),
            },
            Err(trouble) => Some(trouble),
        };
        if let Some(trouble) = trouble {
            answers.end(trouble);
            return outgoing.taken.notify_one();
        }
    }
}
