//! One client's HTTP/3 connection with at most one WebTransport session on it: which of its streams is what.
//!
//! It opens our control stream, watches the client's, finds the request for the session, and hands out the streams of the session when they have said that they are. A stream that does
//! not say what it is within the deadline is refused, and nothing else. Its invariant: every stream that the client has open is either in here, or was handed out, or was refused.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use quinn_proto::{Dir, StreamId, VarInt};

use super::http3::{self, Beginning, Capsules, Control, Request, StreamType, code};
use crate::transport::{
    alarm::Alarm,
    now,
    quic::{Connection, Read},
};

/// Bytes that are taken from a stream at once.
pub(super) const READ: usize = 16 * 1024;

/// See the [module](self).
pub(super) struct Session {
    connection: Connection,
    deadline: Duration,
    /// Our control stream, and what is still to be said on it.
    settings: Option<(StreamId, Bytes)>,
    control: Option<(StreamId, Control)>,
    qpack: Vec<StreamId>,
    request: Option<StreamId>,
    capsules: Capsules,
    accepted: bool,
    /// The first stream of the session has been handed out.
    has_main: bool,
    beginnings: Vec<Begun>,
    alarm: Alarm,
}

/// A stream that has not said yet what it is.
struct Begun {
    stream: StreamId,
    until: Instant,
    bytes: Vec<u8>,
    /// It has said that it is one of a session that isn't there yet.
    early: bool,
}

/// What the client has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// It has asked for something; it waits for [`Session::accept`] or [`Session::refuse`].
    Asked(Request),
    /// It has opened a stream of the session, which begins with these bytes and has to go on by then.
    Opened(StreamId, Bytes, Instant),
    /// It has ended the session, or the connection is lost.
    Ended,
}

/// What a stream turned out to be.
enum Is {
    Unknown,
    Happened(Happened),
    Settled,
    Refused(u32),
}

impl Session {
    /// For a connection whose handshake has begun. Each stream gets `deadline` to say what it is.
    pub(super) fn new(connection: Connection, deadline: Duration) -> Self {
        Self {
            connection,
            deadline,
            settings: None,
            control: None,
            qpack: Vec::new(),
            request: None,
            capsules: Capsules::default(),
            accepted: false,
            has_main: false,
            beginnings: Vec::new(),
            alarm: Alarm::default(),
        }
    }

    /// Waits for what the client does next. Registers the task with the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        self.connection.register(cx);
        match self.advance() {
            Ok(Some(happened)) => return Poll::Ready(happened),
            Ok(None) => {}
            Err(code) => {
                self.connection.close(VarInt::from_u32(code), b"HTTP/3 was violated");
                return Poll::Ready(Happened::Ended);
            }
        }
        if self.connection.is_lost() {
            return Poll::Ready(Happened::Ended);
        }
        self.poll_deadlines(cx);
        Poll::Pending
    }

    /// Lets the client have its session.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
        if let Some(request) = self.request {
            self.say(request, http3::answer(200));
        }
    }

    /// Answers the request with a status that says no, and waits until the client has got that, or the time is up.
    pub(super) async fn refuse(&self, status: u16) {
        let Some(request) = self.request else { return };
        self.say(request, http3::answer(status));
        self.connection.finish(request);
        self.delivered(request).await;
    }

    /// Ends the session from this side: the client gets the code and the reason, if it leaves room for them.
    pub(super) fn end(&self, code: u16, reason: &str) {
        let Some(request) = self.request else { return };
        let capsule = http3::close_session(code, reason);
        let len = capsule.len();
        if self.say(request, capsule) == len {
            self.connection.finish(request);
        }
    }

    /// Waits until the client has all of a finished stream, at most for a second.
    pub(super) async fn delivered(&self, stream: StreamId) {
        let delivered = std::future::poll_fn(|cx| {
            self.connection.register(cx);
            if self.connection.is_lost() || self.connection.is_delivered(stream) { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = tokio::time::timeout(Duration::from_secs(1), delivered).await;
    }

    /// Writes what there is room for, which is all unless the client is stingy; tells how much that was.
    fn say(&self, stream: StreamId, bytes: impl Into<Bytes>) -> usize {
        let written = self.connection.write(stream, &mut [bytes.into()]).unwrap_or(0);
        self.connection.flush();
        written
    }

    fn advance(&mut self) -> Result<Option<Happened>, u32> {
        self.open_control();
        self.watch_control()?;
        if let Some(happened) = self.watch_request()? {
            return Ok(Some(happened));
        }
        let until = || now() + self.deadline;
        while let Some(stream) = self.connection.accept(Dir::Uni).or_else(|| self.connection.accept(Dir::Bi)) {
            self.beginnings.push(Begun { stream, until: until(), bytes: Vec::new(), early: false });
        }
        let mut at = 0;
        while at < self.beginnings.len() {
            match self.settle(at)? {
                Is::Unknown => at += 1,
                // The order in which they were opened stays.
                Is::Settled => {
                    self.beginnings.remove(at);
                }
                Is::Refused(code) => {
                    let begun = self.beginnings.remove(at);
                    self.connection.refuse(begun.stream, VarInt::from_u32(code));
                }
                Is::Happened(happened) => {
                    self.beginnings.remove(at);
                    return Ok(Some(happened));
                }
            }
        }
        Ok(None)
    }

    /// The client's transport parameters are known once its first flight is there; then settings go out with our first flight, and save a round trip.
    fn open_control(&mut self) {
        if self.settings.is_none() {
            self.settings = self.connection.open_uni().map(|control| (control, http3::control_stream().into()));
        }
        if let Some((control, mut rest)) = self.settings.take() {
            if !rest.is_empty() {
                rest.advance(self.say(control, rest.clone()));
            }
            self.settings = Some((control, rest));
        }
    }

    fn watch_control(&mut self) -> Result<(), u32> {
        while let Some((stream, control)) = &mut self.control {
            match self.connection.read(*stream, READ) {
                Read::Chunk(bytes) => control.push(&bytes)?,
                Read::Blocked => break,
                Read::End | Read::Lost => return self.critical(),
            }
        }
        for stream in &self.qpack {
            loop {
                match self.connection.read(*stream, READ) {
                    Read::Chunk(_) => {}
                    Read::Blocked => break,
                    Read::End | Read::Lost => return self.critical(),
                }
            }
        }
        Ok(())
    }

    fn critical(&self) -> Result<(), u32> {
        if self.connection.is_lost() { Ok(()) } else { Err(code::CLOSED_CRITICAL_STREAM) }
    }

    fn watch_request(&mut self) -> Result<Option<Happened>, u32> {
        let Some(request) = self.request else { return Ok(None) };
        loop {
            match self.connection.read(request, READ) {
                Read::Chunk(bytes) if self.capsules.push(&bytes)? => return Ok(Some(Happened::Ended)),
                Read::Chunk(_) => {}
                Read::Blocked => return Ok(None),
                Read::End | Read::Lost => return Ok(Some(Happened::Ended)),
            }
        }
    }

    /// Reads on until a stream says what it is. Looks at bytes only when there are new ones: a client can wake us as often as it likes.
    fn settle(&mut self, at: usize) -> Result<Is, u32> {
        let Self { connection, beginnings, accepted, .. } = self;
        let Begun { stream, bytes, early, .. } = &mut beginnings[at];
        let stream = *stream;
        if *early {
            return match is_settled(stream, bytes)? {
                Some(settled) if *accepted => self.settle_as(at, stream, settled),
                _ => Ok(Is::Unknown),
            };
        }
        loop {
            match connection.read(stream, READ) {
                Read::Chunk(chunk) => {
                    bytes.extend_from_slice(&chunk);
                    match is_settled(stream, bytes)? {
                        Some(settled) => return self.settle_as(at, stream, settled),
                        None if bytes.len() > http3::HEAD_BYTES => return Ok(Is::Refused(code::EXCESSIVE_LOAD)),
                        None => {}
                    }
                }
                Read::Blocked => return Ok(Is::Unknown),
                Read::End | Read::Lost => return Ok(Is::Refused(code::REQUEST_CANCELLED)),
            }
        }
    }

    fn settle_as(&mut self, at: usize, stream: StreamId, settled: Settled) -> Result<Is, u32> {
        let earlier = self.beginnings[..at].iter().any(|begun| begun.stream.dir() == Dir::Bi);
        let Begun { until, bytes, early, .. } = &mut self.beginnings[at];
        match settled {
            Settled::Uni(StreamType::Control, from) => {
                if self.control.is_some() {
                    return Err(code::STREAM_CREATION);
                }
                let mut control = Control::default();
                control.push(&bytes[from..])?;
                self.control = Some((stream, control));
                Ok(Is::Settled)
            }
            Settled::Uni(StreamType::Qpack, _) => {
                if self.qpack.len() == 2 {
                    return Err(code::STREAM_CREATION);
                }
                self.qpack.push(stream);
                Ok(Is::Settled)
            }
            Settled::Uni(StreamType::Other, _) => Ok(Is::Refused(code::STREAM_CREATION)),
            Settled::Bidi(Beginning::Request(_)) if self.request.is_some() => Ok(Is::Refused(code::REQUEST_REJECTED)),
            Settled::Bidi(Beginning::Request(request)) => {
                self.request = Some(stream);
                Ok(Is::Happened(Happened::Asked(request)))
            }
            // A stream may overtake the answer to the request, and even the request. The main stream is the one that was opened first, even if another speaks first.
            Settled::Bidi(Beginning::Session(..)) if !self.accepted || (earlier && !self.has_main) => {
                *early = true;
                Ok(Is::Unknown)
            }
            Settled::Bidi(Beginning::Session(session, from)) => {
                if self.request.is_none_or(|request| VarInt::from(request).into_inner() != session) {
                    return Ok(Is::Refused(code::SESSION_GONE));
                }
                self.has_main = true;
                Ok(Is::Happened(Happened::Opened(stream, Bytes::from(bytes.split_off(from)), *until)))
            }
            Settled::Bidi(Beginning::Incomplete(_)) => Ok(Is::Unknown),
        }
    }

    /// Refuses the streams whose time is up, and sleeps until that of the next one is.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) {
        loop {
            let first = self.beginnings.iter().map(|begun| begun.until).min();
            if self.alarm.poll(cx, first).is_pending() {
                return;
            }
            let connection = &self.connection;
            self.beginnings.retain(|begun| {
                let in_time = first.is_some_and(|first| begun.until > first);
                if !in_time {
                    connection.refuse(begun.stream, VarInt::from_u32(code::REQUEST_CANCELLED));
                }
                in_time
            });
        }
    }
}

/// What the first bytes of a stream say.
enum Settled {
    Uni(StreamType, usize),
    Bidi(Beginning),
}

fn is_settled(stream: StreamId, bytes: &mut Vec<u8>) -> Result<Option<Settled>, u32> {
    Ok(match stream.dir() {
        Dir::Uni => http3::stream_type(bytes).map(|(kind, width)| Settled::Uni(kind, width)),
        Dir::Bi => match http3::beginning(bytes)? {
            Beginning::Incomplete(skipped) => {
                bytes.drain(..skipped);
                None
            }
            beginning => Some(Settled::Bidi(beginning)),
        },
    })
}
