//! A connection: a wire, the conversation on it, and its place in the account.

use std::{future::poll_fn, io, pin::pin, rc::Rc, task::Poll, time::Duration};

use super::{
    Failure,
    member::{Member, Order, Reader},
    profile::{Conversation, Framing, Learned, Message, Outcome, Place, Profile, Role},
    way::{Road, Transport},
    websocket::{Scratch, Socket, Upgrade},
};
use crate::client::Client;

/// From the first packet until the group is followed. A server that speaks another protocol mostly says nothing at all.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// What every connection needs to be made.
#[derive(Debug)]
pub(super) struct Opener {
    pub profile: Rc<dyn Profile>,
    pub groups: Vec<String>,
    /// Whether connections come back for what they missed.
    pub resumes: bool,
    pub scratch: Scratch,
}

#[derive(Debug)]
enum Wire {
    Tcp(Box<Socket>),
    WebTransport(Box<Client>),
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    talk: Box<dyn Conversation>,
    out: Outcome,
}

/// Why a connection stopped receiving.
#[derive(Debug)]
pub(super) enum Exit {
    /// It was told to.
    Ordered(Order),
    /// It could not go on.
    Failed(Failure),
}

impl Opener {
    /// Connects and waits until the group is followed.
    ///
    /// # Errors
    /// The server can't be reached, speaks something else, or refuses.
    pub(super) async fn open(&self, road: &Road, member: &Member, since: Option<&Place>) -> Result<Connection, Failure> {
        let opening = async {
            let groups = self.groups.get(member.groups.start as usize..member.groups.end as usize).unwrap_or_default();
            let (group, others) = groups.split_first().map_or(("", &[][..]), |(group, others)| (group.as_str(), others));
            let role = match member.reader {
                Reader::Idle => Role::Idle,
                _ => Role::Follow { group, others, since, tracks: self.resumes },
            };
            let wire = self.wire(road, member, group).await?;
            let mut connection = Connection { wire, talk: self.profile.conversation(role), out: Outcome::default() };
            connection.become_ready(member, since.is_some()).await?;
            Ok(connection)
        };
        let late = |_| Failure::Connect {
            to: road.way.host.clone(),
            reason: format!("no answer that says so within {} s; does it speak this profile's protocol?", CONNECT_DEADLINE.as_secs()),
        };
        tokio::time::timeout(CONNECT_DEADLINE, opening).await.map_err(late)?
    }

    async fn wire(&self, road: &Road, member: &Member, group: &str) -> Result<Wire, Failure> {
        let path = road.way.path.as_deref().map_or_else(|| self.profile.path(group), |path| path.replace("{group}", group).into());
        if road.way.transport == Transport::Wt {
            return Ok(Wire::WebTransport(Box::new(Client::connect(&road.target(&path)).await?)));
        }
        let io = road.open(member.nth, matches!(member.reader, Reader::Slow(_) | Reader::Stopped)).await?;
        let framing = if road.way.transport == Transport::Tcp { Framing::Bytes } else { self.profile.framing() };
        let upgrade = Upgrade { host: &road.way.host, path: &path, origin: road.way.origin.as_deref() };
        Ok(Wire::Tcp(Box::new(Socket::open(io, framing, upgrade, self.scratch.clone()).await?)))
    }
}

impl Connection {
    async fn become_ready(&mut self, member: &Member, resumed: bool) -> Result<(), Failure> {
        self.talk.open(&mut self.out);
        loop {
            let ready = self.out.learned.contains(&Learned::Ready);
            if ready && member.reader != Reader::Idle {
                member.follow(resumed);
            }
            self.settle(member).await?;
            if ready {
                return Ok(());
            }
            self.receive(member).await?;
        }
    }

    /// Sends what is to be said, and enters what was learned.
    async fn settle(&mut self, member: &Member) -> Result<(), Failure> {
        for learned in self.out.learned.drain(..) {
            if let Learned::Gap(count) = learned {
                member.gap(count);
            }
        }
        for message in self.out.send.drain(..) {
            self.wire.queue(&message).await?;
        }
        self.wire.flush().await
    }

    /// Waits until something has come, and counts it; returns how many bytes. Safe to cancel.
    async fn receive(&mut self, member: &Member) -> Result<usize, Failure> {
        let Self { wire, talk, out } = self;
        // One look at the clock for all that is read at once: it has arrived by then.
        let mut arrived = None;
        let mut each = |message: &[u8]| {
            let marks = member.take(message, *arrived.get_or_insert_with(|| member.now_us()));
            talk.take(message, marks, out).map_err(io::Error::other)
        };
        match wire {
            Wire::Tcp(socket) => poll_fn(|cx| socket.poll_receive(cx, &mut each)).await.map_err(Failure::from),
            Wire::WebTransport(client) => {
                let message = client.recv_raw().await?;
                each(&message)?;
                Ok(message.len())
            }
        }
    }

    /// Receives until it is told otherwise.
    pub(super) async fn run(&mut self, member: &Member, keep_alive: Option<&Message>) -> Exit {
        loop {
            match self.next(member).await {
                Ok(None) => {}
                Ok(Some(Order::KeepAlive)) => {
                    self.out.send.extend(keep_alive.cloned());
                    if let Err(failure) = self.settle(member).await {
                        return Exit::Failed(failure);
                    }
                }
                Ok(Some(order)) => return Exit::Ordered(order),
                Err(failure) => return Exit::Failed(failure),
            }
        }
    }

    /// Receives once, or takes an order.
    async fn next(&mut self, member: &Member) -> Result<Option<Order>, Failure> {
        let received = match member.reader {
            Reader::Stopped => return Ok(Some(member.ordered().await)),
            _ => {
                let (mut ordered, mut received) = (pin!(member.ordered()), pin!(self.receive(member)));
                // Cheaper than a select for what happens once a message.
                let first = poll_fn(|cx| {
                    if let Poll::Ready(received) = received.as_mut().poll(cx) {
                        return Poll::Ready(Ok(received));
                    }
                    ordered.as_mut().poll(cx).map(Err)
                });
                match first.await {
                    Ok(received) => received?,
                    Err(order) => return Ok(Some(order)),
                }
            }
        };
        if !self.out.send.is_empty() || !self.out.learned.is_empty() || self.wire.is_waiting() {
            self.settle(member).await?;
        }
        match member.reader {
            Reader::Slow(bytes_a_second) => {
                let pause = Duration::from_secs_f64(received as f64 / f64::from(bytes_a_second.max(1)));
                Ok(tokio::time::timeout(pause, member.ordered()).await.ok())
            }
            _ => Ok(None),
        }
    }

    /// Up to where it has followed.
    pub(super) fn place(&self) -> Option<Place> {
        self.talk.place()
    }

    /// Ends it as a well-behaved client does.
    pub(super) async fn close(self) {
        match self.wire {
            Wire::Tcp(socket) => socket.close().await,
            Wire::WebTransport(client) => client.close().await,
        }
    }
}

impl Wire {
    async fn queue(&mut self, message: &Message) -> Result<(), Failure> {
        match self {
            Self::Tcp(socket) => socket.queue(message),
            Self::WebTransport(client) => client.send_raw(message.bytes()).await?,
        }
        Ok(())
    }

    /// Whether something has to be written, such as the answer to a ping.
    fn is_waiting(&self) -> bool {
        matches!(self, Self::Tcp(socket) if socket.is_waiting())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Tcp(socket) => Ok(socket.flush().await?),
            Self::WebTransport(_) => Ok(()),
        }
    }
}
