//! Publishing as a client of the profile does.

use std::{cell::RefCell, rc::Rc};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::{Answers, CLOSED, Outgoing, Publisher, READ_BYTES, Speaker, failed};
use crate::{
    client::Io,
    load::{
        Failure,
        profile::{Conversation, Framing, Learned, Outcome, Profile, Role},
        tally::Tally,
        way::{Road, Transport},
        websocket::{Frame, Socket, Upgrade, put_frame, put_message, scratch, split_frame},
    },
};

type Talk = Rc<RefCell<Box<dyn Conversation>>>;

/// Says publishes as the profile's conversation does.
#[derive(Debug)]
pub(crate) struct Frames {
    talk: Talk,
    framed: bool,
}

impl Frames {
    /// Connects and waits until the server takes publishes.
    ///
    /// # Errors
    /// The server can't be reached or refuses.
    pub(crate) async fn connect(
        profile: &dyn Profile,
        road: &Road,
        groups: &[String],
        nth: usize,
        tally: Rc<Tally>,
    ) -> Result<Publisher, Failure> {
        let group = &groups[nth % groups.len()];
        let path = road.way.path.as_deref().map_or_else(|| profile.path(group), |path| path.replace("{group}", group).into());
        let framing = if road.way.transport == Transport::Tcp { Framing::Bytes } else { profile.framing() };
        let framed = framing != Framing::Bytes;
        let upgrade = Upgrade { host: &road.way.host, path: &path, origin: road.way.origin.as_deref() };
        let io = road.open(nth, false).await?;
        let (io, rest) = Socket::open(io, framing, upgrade, scratch()).await?.into_parts();
        let talk: Talk = Rc::new(RefCell::new(profile.conversation(Role::Publish { groups })));
        let ready = Rc::new(tokio::sync::Notify::new());
        let mut first = Outcome::default();
        talk.borrow_mut().open(&mut first);
        let publisher = Publisher::new(Box::new(Self { talk: talk.clone(), framed }), tally);
        let (answers, outgoing) = (publisher.answers.clone(), publisher.outgoing.clone());
        enter(first, framed, &answers, &outgoing, &ready);
        let ears = Ears { talk, framed, ready: ready.clone() };
        publisher.serve(async move {
            let (read, write) = tokio::io::split(io);
            tokio::select! {
                ended = ears.hear(read, rest, &answers, &outgoing) => ended,
                ended = write_out(write, &outgoing) => ended,
            }
        });
        publisher.wait_until(&ready, &road.way.host).await?;
        Ok(publisher)
    }
}

impl Publisher {
    async fn wait_until(&self, ready: &tokio::sync::Notify, host: &str) -> Result<(), Failure> {
        let failed = |reason: String| Failure::Connect { to: host.to_owned(), reason };
        let deadline = tokio::time::sleep(crate::load::PUBLISHER_DEADLINE);
        tokio::select! {
            () = ready.notified() => Ok(()),
            () = self.answers.reach(u64::MAX) => Err(failed(self.answers.counts().trouble.unwrap_or_default())),
            () = deadline => Err(failed("the server does not let the publisher in".into())),
        }
    }
}

impl Speaker for Frames {
    fn speak(&mut self, outgoing: &Outgoing, group: &str, payload: &str) -> Result<(), String> {
        let mut outcome = Outcome::default();
        self.talk.borrow_mut().publish(group, payload, &mut outcome)?;
        outgoing.put(|out| outcome.send.iter().for_each(|message| put_message(out, self.framed, message)));
        Ok(())
    }

    fn is_answered(&self) -> bool {
        self.talk.borrow().acknowledges()
    }
}

#[derive(Debug)]
struct Ears {
    talk: Talk,
    framed: bool,
    ready: Rc<tokio::sync::Notify>,
}

async fn write_out(mut write: WriteHalf<Box<dyn Io>>, outgoing: &Outgoing) -> String {
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
            return failed(&error);
        }
    }
}

impl Ears {
    async fn hear(&self, mut read: ReadHalf<Box<dyn Io>>, mut bytes: Vec<u8>, answers: &Answers, outgoing: &Outgoing) -> String {
        bytes.reserve(READ_BYTES);
        loop {
            if let Err(trouble) = self.listen(&mut bytes, answers, outgoing) {
                return trouble;
            }
            match read.read_buf(&mut bytes).await {
                Ok(0) => return CLOSED.into(),
                Ok(_) => {}
                Err(error) => return failed(&error),
            }
        }
    }

    /// Takes what is whole off the front of `bytes`.
    fn listen(&self, bytes: &mut Vec<u8>, answers: &Answers, outgoing: &Outgoing) -> Result<(), String> {
        let mut outcome = Outcome::default();
        let mut talk = self.talk.borrow_mut();
        if !self.framed {
            if !bytes.is_empty() {
                talk.take(bytes, 0, &mut outcome)?;
                bytes.clear();
            }
        } else {
            let mut rest = &bytes[..];
            while let Some((frame, after)) = split_frame(rest)? {
                rest = after;
                match frame {
                    Frame::Data(message) => talk.take(message, 0, &mut outcome)?,
                    Frame::Ping(payload) => outgoing.put(|out| put_frame(out, 10, payload)),
                    Frame::Pong => {}
                    Frame::Close(_) => return Err(CLOSED.into()),
                }
            }
            let taken = bytes.len() - rest.len();
            bytes.drain(..taken);
        }
        drop(talk);
        enter(outcome, self.framed, answers, outgoing, &self.ready);
        Ok(())
    }
}

fn enter(outcome: Outcome, framed: bool, answers: &Answers, outgoing: &Outgoing, ready: &tokio::sync::Notify) {
    for learned in outcome.learned {
        match learned {
            Learned::Ready => ready.notify_one(),
            Learned::Accepted(count) => answers.accept(count),
            Learned::Refused(reason) => answers.refuse(reason),
            Learned::Gap(_) => {}
        }
    }
    outgoing.put(|out| outcome.send.iter().for_each(|message| put_message(out, framed, message)));
}
