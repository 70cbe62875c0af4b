//! How to talk to a kind of server, without any I/O.
//!
//! A [`Profile`] knows where connections go and what a publish looks like; a [`Conversation`] is one connection's side of the talk: bytes in, bytes out.
//! Neither knows of sockets, time or the account. Deliveries are counted by the mark in the payload, so a profile has to understand only what is *not*
//! a delivery: the way to a followed group, pings, refusals, gaps.

mod centrifugo;
mod fanfare;
mod nats;
mod nchan;
mod plain;
mod pusher;
mod redis;
mod settings;
mod socketio;

use std::{borrow::Cow, fmt::Debug, rc::Rc};

pub use settings::{Setting, Settings};

/// One kind of server.
pub trait Profile: Debug {
    /// What is under the conversation.
    fn framing(&self) -> Framing {
        Framing::WebSocket { subprotocol: None }
    }

    /// Path and query of a connection that follows the group (or none of its own, for publishers and idle connections: the first group).
    fn path(&self, group: &str) -> Cow<'_, str>;

    /// Whether a connection can follow several groups.
    fn follows_many(&self) -> bool {
        false
    }

    /// Begins to talk on a connection that has just been made.
    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation>;

    /// The HTTP request that publishes; `None` if this kind of server has none. The payload needs no escapes in JSON; some servers sign the time.
    fn request(&self, group: &str, payload: &str, unix_seconds: u64) -> Option<Request>;

    /// What a connection says from time to time so that it is not taken for dead; `None` if the server asks by itself.
    fn keep_alive(&self) -> Option<Message> {
        None
    }
}

/// What is under a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Messages of RFC 6455.
    WebSocket {
        /// The subprotocol that is asked for.
        subprotocol: Option<&'static str>,
    },
    /// Bytes over TCP; a conversation may get them cut anywhere.
    Bytes,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// Only stays.
    Idle,
    /// Follows a group.
    Follow {
        /// Which.
        group: &'a str,
        /// Further ones, if the profile [follows many](Profile::follows_many).
        others: &'a [String],
        /// After what it had before; `None`: from now on.
        since: Option<&'a Place>,
        /// It may come back, so [`Conversation::place`] will be asked.
        tracks: bool,
    },
    /// Publishes.
    Publish {
        /// To which groups, all together.
        groups: &'a [String],
    },
}

/// A place in a group's history, in the server's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which life of the group.
    pub epoch: String,
    /// The last event that came.
    pub offset: u64,
}

/// One connection's side of the talk.
pub trait Conversation: Debug {
    /// What is said first.
    fn open(&mut self, out: &mut Outcome);

    /// Takes one message, or a piece of the bytes, with the number of marks that were counted in it.
    ///
    /// # Errors
    /// The server refuses or ends the talk; the sentence says how.
    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String>;

    /// Publishes a payload, which needs no escapes in JSON. Only asked of [`Role::Publish`].
    ///
    /// # Errors
    /// Clients can't publish to this kind of server.
    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String>;

    /// Whether the server answers each publish with [`Learned::Accepted`] or [`Learned::Refused`].
    fn acknowledges(&self) -> bool {
        true
    }

    /// Up to where it has followed; `None` if the server keeps no history.
    fn place(&self) -> Option<Place> {
        None
    }
}

/// One message to the server. Over [`Framing::Bytes`] only the bytes count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(Vec<u8>),
    /// Anything.
    Binary(Vec<u8>),
}

impl Message {
    /// What it carries.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// What is to be said, and what was learned. Empty after most messages, and then it costs nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To send, in order.
    pub send: Vec<Message>,
    /// In order.
    pub learned: Vec<Learned>,
}

/// Something that the server let know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// The connection is what it is for: the group is followed, or publishes are taken.
    Ready,
    /// So many events will not come; `None`: it did not say how many.
    Gap(Option<u64>),
    /// So many publishes were accepted.
    Accepted(u64),
    /// A publish was refused.
    Refused(String),
}

impl Outcome {
    fn text(&mut self, text: impl Into<String>) {
        self.send.push(Message::Text(text.into().into_bytes()));
    }

    fn binary(&mut self, bytes: impl Into<Vec<u8>>) {
        self.send.push(Message::Binary(bytes.into()));
    }

    fn learn(&mut self, learned: Learned) {
        self.learned.push(learned);
    }
}

/// An HTTP request that publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `POST` or another.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// Lines that end in CRLF; without `Host` and `Content-Length`.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    fn post(target: impl Into<String>, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", target: target.into(), headers: headers.into(), body: body.into() }
    }
}

/// The kinds of servers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kind {
    /// `fanfare.v1`, MessagePack
    #[default]
    Fanfare,
    /// NATS over WebSocket
    Nats,
    /// Centrifugo, JSON
    Centrifugo,
    /// The Pusher protocol 7 (sockudo, soketi, Reverb)
    Pusher,
    /// Socket.IO 4 over WebSocket; the application's events by template
    Socketio,
    /// Nchan over WebSocket
    Nchan,
    /// Any WebSocket server, by templates
    Plain,
    /// A bare subscriber of Redis over TCP
    Redis,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Fanfare, Self::Nats, Self::Centrifugo, Self::Pusher, Self::Socketio, Self::Nchan, Self::Plain, Self::Redis];

    /// What can be set, with what it is otherwise.
    #[must_use]
    pub fn settings(self) -> &'static [Setting] {
        match self {
            Self::Fanfare => fanfare::SETTINGS,
            Self::Nats => nats::SETTINGS,
            Self::Centrifugo => centrifugo::SETTINGS,
            Self::Pusher => pusher::SETTINGS,
            Self::Socketio => socketio::SETTINGS,
            Self::Nchan => nchan::SETTINGS,
            Self::Plain => plain::SETTINGS,
            Self::Redis => redis::SETTINGS,
        }
    }

    /// The profile with its settings; `key` is the API key, for those that publish by HTTP with one.
    ///
    /// # Errors
    /// A setting is unknown or can't have this value.
    pub fn profile(self, given: &[(String, String)], key: &str) -> Result<Rc<dyn Profile>, String> {
        let name = clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned());
        let settings = Settings::new(&name, self.settings(), given)?;
        Ok(match self {
            Self::Fanfare => Rc::new(fanfare::Fanfare::new(&settings, key)),
            Self::Nats => Rc::new(nats::Nats::new(&settings)),
            Self::Centrifugo => Rc::new(centrifugo::Centrifugo::new(&settings, key)),
            Self::Pusher => Rc::new(pusher::Pusher::new(&settings)),
            Self::Socketio => Rc::new(socketio::SocketIo::new(&settings, key)),
            Self::Nchan => Rc::new(nchan::Nchan::new(&settings)),
            Self::Plain => Rc::new(plain::Plain::new(&settings, key)?),
            Self::Redis => Rc::new(redis::Redis::new(&settings)),
        })
    }
}

#[cfg(test)]
pub(crate) mod talk {
    //! Words for tests of conversations.

    use super::*;

    /// The profile with these settings.
    pub(crate) fn profile(kind: Kind, settings: &[(&str, &str)]) -> Rc<dyn Profile> {
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        kind.profile(&settings, "the-key").unwrap()
    }

    /// A connection that follows `group`.
    pub(crate) fn follow(profile: &dyn Profile, group: &str) -> Box<dyn Conversation> {
        profile.conversation(Role::Follow { group, others: &[], since: None, tracks: true })
    }

    /// What is said first.
    pub(crate) fn open(conversation: &mut dyn Conversation) -> Vec<String> {
        let mut out = Outcome::default();
        conversation.open(&mut out);
        texts(&out)
    }

    /// What is said and learned after this message.
    pub(crate) fn take(conversation: &mut dyn Conversation, message: impl AsRef<[u8]>) -> (Vec<String>, Vec<Learned>) {
        let mut out = Outcome::default();
        conversation.take(message.as_ref(), 0, &mut out).unwrap();
        (texts(&out), out.learned)
    }

    /// Why the message ends the talk.
    pub(crate) fn refused(conversation: &mut dyn Conversation, message: impl AsRef<[u8]>) -> String {
        conversation.take(message.as_ref(), 0, &mut Outcome::default()).unwrap_err()
    }

    /// What a publish looks like.
    pub(crate) fn publish(conversation: &mut dyn Conversation, group: &str, payload: &str) -> Vec<String> {
        let mut out = Outcome::default();
        conversation.publish(group, payload, &mut out).unwrap();
        texts(&out)
    }

    fn texts(out: &Outcome) -> Vec<String> {
        out.send.iter().map(|message| String::from_utf8_lossy(message.bytes()).into_owned()).collect()
    }
}
