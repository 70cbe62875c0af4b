//! A worker's QUIC endpoint: one socket, all its connections, and one task that drives them.
//!
//! quinn-proto is the protocol; this is its I/O. quinn has a task, a timer and a lock for each connection, and sends each packet when it is made. Here one task has
//! them all: a turn reads what has come, calls the connections whose time has come, and then sends what all marked connections have to say. Events make connections
//! speak in the hub's flush, without waking their tasks; the packets of many leave together.
//!
//! Its invariant: a connection that has something to say is marked, and a marked connection is in the list.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use quinn_proto::{ConnectionHandle, DatagramEvent, EndpointConfig, ServerConfig, Transmit, VarInt};
use tracing::{debug, error};

use super::{
    batch::Batch,
    connection::Connection,
    deadlines::Deadlines,
    socket::{Received, Socket},
};
use crate::transport::{alarm::Alarm, now};

/// Batches of datagrams that one turn reads; a batch is up to 32 calls' worth of aggregated datagrams.
const BATCHES_A_TURN: usize = 4;

/// Pause after reading has failed: trying at once would only burn the core.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Calls of the socket that one connection gets in a turn, so that one fast reader does not keep the others waiting.
const SENDS_A_TURN: usize = 8;

/// What HTTP/3 closes a connection with that is simply over (RFC 9114, section 8.1).
pub(in crate::transport) const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// The endpoint's end for those who accept connections. Clones are the same endpoint.
#[derive(Clone)]
pub struct Endpoint(Rc<Shared>);

/// What the driver, the acceptor and the connections share; all of it lives on one thread.
pub(super) struct Shared {
    socket: Socket,
    proto: RefCell<quinn_proto::Endpoint>,
    connections: RefCell<Vec<Option<Connection>>>,
    marked: RefCell<Vec<ConnectionHandle>>,
    deadlines: RefCell<Deadlines>,
    outlet: RefCell<Outlet>,
    incoming: RefCell<VecDeque<Box<quinn_proto::Incoming>>>,
    /// Answers to those who have no connection.
    answers: RefCell<VecDeque<(Transmit, Vec<u8>)>>,
    driver: Cell<Option<Waker>>,
    acceptor: Cell<Option<Waker>>,
}

/// The way out.
struct Outlet {
    /// The packet that is being made.
    buffer: Vec<u8>,
    /// Packets that leave together at the end of the turn, or when there are enough of them.
    batch: Batch,
    /// The kernel had no room for the packet in the buffer, which comes after those of the batch.
    blocked: Option<Transmit>,
    /// The kernel had no room the last time.
    stuck: bool,
}

/// Does the endpoint's I/O; it has to be polled as a task of its own for anything to happen. Dropping it closes all connections.
#[must_use = "nothing happens until the driver is spawned"]
pub struct Driver {
    shared: Rc<Shared>,
    alarm: Alarm,
    /// When to read again after reading has failed: then nothing else wakes us for it.
    read_again: Option<Instant>,
    /// What a batch is read into.
    buffer: Box<[u8]>,
    /// The list that is being worked off; kept for its memory.
    turn: Vec<ConnectionHandle>,
}

/// A client that wants to connect. Dropping it ignores the client.
pub struct Incoming {
    /// Taken by whatever decides. Boxed, because the task of the connection keeps room for it to the end.
    incoming: Option<Box<quinn_proto::Incoming>>,
    endpoint: Rc<Shared>,
}

/// Makes an endpoint on a socket.
pub(super) fn endpoint(socket: std::net::UdpSocket, config: EndpointConfig, server: ServerConfig) -> io::Result<(Endpoint, Driver)> {
    let socket = Socket::new(socket)?;
    let proto = quinn_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server)), !socket.may_fragment(), None);
    let buffer = socket.receive_buffer();
    let outlet = Outlet { buffer: Vec::new(), batch: socket.batch(), blocked: None, stuck: false };
    let shared = Rc::new(Shared {
        socket,
        proto: RefCell::new(proto),
        connections: RefCell::default(),
        marked: RefCell::default(),
        deadlines: RefCell::default(),
        outlet: RefCell::new(outlet),
        incoming: RefCell::default(),
        answers: RefCell::default(),
        driver: Cell::new(None),
        acceptor: Cell::new(None),
    });
    let driver = Driver { shared: shared.clone(), alarm: Alarm::default(), read_again: None, buffer, turn: Vec::new() };
    Ok((Endpoint(shared), driver))
}

impl Endpoint {
    /// Waits for the next client.
    pub async fn accept(&self) -> Incoming {
        let incoming = poll_fn(|cx| match self.0.incoming.borrow_mut().pop_front() {
            Some(incoming) => Poll::Ready(incoming),
            None => {
                self.0.acceptor.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        Incoming { incoming: Some(incoming.await), endpoint: self.0.clone() }
    }

    /// Takes a new configuration for new connections; `None`: there will be no more.
    pub fn set_server_config(&self, config: Option<ServerConfig>) {
        self.0.proto.borrow_mut().set_server_config(config.map(Arc::new));
    }
}

impl Incoming {
    /// Whether the client is known to be where it says it is (RFC 9000, section 8.1).
    #[must_use]
    pub fn remote_address_validated(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.remote_address_validated())
    }

    /// Begins the handshake.
    ///
    /// # Errors
    /// The client's first packet was wrong; it has been told.
    pub fn accept(mut self) -> Result<Connection, quinn_proto::ConnectionError> {
        let Some(incoming) = self.incoming.take() else { unreachable!("only deciding takes it, and that consumes this") };
        let mut answer = Vec::new();
        let accepted = self.endpoint.proto.borrow_mut().accept(*incoming, now(), &mut answer, None);
        let (handle, proto) = accepted.map_err(|refused| {
            if let Some(transmit) = refused.response {
                self.endpoint.answer(transmit, answer);
            }
            refused.cause
        })?;
        let connection = Connection::new(handle, proto, self.endpoint.clone());
        self.endpoint.insert(connection.clone());
        connection.mark();
        Ok(connection)
    }

    /// Says no.
    pub fn refuse(mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let mut answer = Vec::new();
        let transmit = self.endpoint.proto.borrow_mut().refuse(*incoming, &mut answer);
        self.endpoint.answer(transmit, answer);
    }

    /// Lets the client prove its address first, at the cost of a round trip. A client that has done so already is ignored.
    pub fn retry(mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let mut answer = Vec::new();
        let retried = self.endpoint.proto.borrow_mut().retry(*incoming, &mut answer);
        match retried {
            Ok(transmit) => self.endpoint.answer(transmit, answer),
            Err(error) => self.incoming = Some(Box::new(error.into_incoming())),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.endpoint.proto.borrow_mut().ignore(*incoming);
        }
    }
}

impl Shared {
    pub(super) fn mark(&self, handle: ConnectionHandle) {
        self.marked.borrow_mut().push(handle);
        self.wake_driver();
    }

    fn wake_driver(&self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn answer(&self, transmit: Transmit, contents: Vec<u8>) {
        self.answers.borrow_mut().push_back((transmit, contents));
        self.wake_driver();
    }

    fn insert(&self, connection: Connection) {
        let mut connections = self.connections.borrow_mut();
        let at = connection.0.handle.0;
        if connections.len() <= at {
            connections.resize(at + 1, None);
        }
        connections[at] = Some(connection);
    }

    fn connection(&self, handle: ConnectionHandle) -> Option<Connection> {
        self.connections.borrow().get(handle.0).cloned().flatten()
    }

    /// Sends what a connection has to say, and passes on what it has to tell.
    pub(super) fn speak(&self, connection: &Connection) {
        let mut outlet = self.outlet.borrow_mut();
        if outlet.stuck {
            return connection.mark();
        }
        connection.0.marked.set(false);
        let now = now();
        let mut proto = connection.0.proto.borrow_mut();
        for sends in 0.. {
            if sends == SENDS_A_TURN {
                connection.mark();
                break;
            }
            outlet.buffer.clear();
            let Some(transmit) = proto.poll_transmit(now, self.socket.max_segments(), &mut outlet.buffer) else { break };
            if !outlet.send(&self.socket, transmit) {
                connection.mark();
                break;
            }
        }
        if !outlet.batch.is_empty() {
            // It sends what nobody else joins.
            self.wake_driver();
        }
        if let Some(deadline) = proto.poll_timeout() {
            self.set_deadline(connection.0.handle, deadline);
        }
        self.pass_on(connection, &mut proto);
    }

    /// A deadline that is the first of all changes when the driver has to be called.
    fn set_deadline(&self, handle: ConnectionHandle, deadline: Instant) {
        let mut deadlines = self.deadlines.borrow_mut();
        let before = deadlines.first();
        deadlines.set(handle.0, deadline);
        if before.is_none_or(|before| deadline < before) {
            self.wake_driver();
        }
    }

    /// Passes on events: to the endpoint, and to the connection's task.
    fn pass_on(&self, connection: &Connection, proto: &mut quinn_proto::Connection) {
        let handle = connection.0.handle;
        while let Some(event) = proto.poll_endpoint_events() {
            if event.is_drained() {
                self.deadlines.borrow_mut().remove(handle.0);
                if let Some(place) = self.connections.borrow_mut().get_mut(handle.0) {
                    *place = None;
                }
            }
            if let Some(answer) = self.proto.borrow_mut().handle_event(handle, event) {
                proto.handle_event(answer);
                connection.mark();
            }
        }
        while let Some(event) = proto.poll() {
            connection.notice(&event);
        }
    }

    /// Gives a datagram to whom it belongs.
    fn handle(&self, received: Received, now: Instant) {
        let Received { from, to, ecn, data } = received;
        let mut answer = Vec::new();
        let event = self.proto.borrow_mut().handle(now, from, to, ecn, data, &mut answer);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connection(handle) {
                    connection.0.proto.borrow_mut().handle_event(event);
                    connection.mark();
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                debug!(remote = %incoming.remote_address(), "a client wants to connect");
                self.incoming.borrow_mut().push_back(Box::new(incoming));
                if let Some(acceptor) = self.acceptor.take() {
                    acceptor.wake();
                }
            }
            Some(DatagramEvent::Response(transmit)) => self.answer(transmit, answer),
            None => {}
        }
    }
}

impl Driver {
    /// Reads what has come; says whether there may be more.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.read_again = None;
        for _ in 0..BATCHES_A_TURN {
            let shared = &self.shared;
            match shared.socket.poll_receive(cx, &mut self.buffer, |received| shared.handle(received, now)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    error!(%error, "reading the UDP socket failed");
                    self.read_again = Some(now + READ_PAUSE);
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }

    /// Calls the connections whose time has come.
    fn fire(&self, now: Instant) {
        let mut deadlines = self.shared.deadlines.borrow_mut();
        while let Some(at) = deadlines.pop_due(now) {
            let Some(connection) = self.shared.connection(ConnectionHandle(at)) else { continue };
            // It tells its deadline again when it has spoken, and that comes first.
            if connection.0.marked.get() {
                continue;
            }
            let mut proto = connection.0.proto.borrow_mut();
            match proto.poll_timeout() {
                Some(deadline) if deadline <= now => {
                    proto.handle_timeout(now);
                    connection.mark();
                }
                Some(deadline) => deadlines.set(at, deadline),
                None => {}
            }
        }
    }

    /// Lets every marked connection say what it has to say; pending when the kernel has no room.
    fn transmit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some((transmit, contents)) = self.shared.answers.borrow_mut().pop_front() {
            // Nobody relies on it: the client asks again.
            let _ = self.shared.socket.send(&transmit, &contents);
        }
        ready!(self.poll_flush(cx));
        self.turn.append(&mut self.shared.marked.borrow_mut());
        while let Some(handle) = self.turn.pop() {
            // It may have spoken since.
            let marked = self.shared.connection(handle).filter(|connection| connection.0.marked.get());
            if let Some(connection) = marked {
                self.shared.speak(&connection);
                if self.shared.outlet.borrow().stuck {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        self.poll_flush(cx)
    }

    /// Sends what has been made already.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.shared.outlet.borrow_mut().flush(&self.shared.socket) {
            ready!(self.shared.socket.poll_room(cx));
        }
        Poll::Ready(())
    }
}

impl Outlet {
    /// Sends the packet in the buffer, now or with others; `false`: it waits for room in the kernel, and nothing can follow it.
    fn send(&mut self, socket: &Socket, transmit: Transmit) -> bool {
        // A packet that can't go with those before it goes by itself, or begins the next batch.
        let take = |outlet: &mut Self| outlet.batch.take(&transmit, &outlet.buffer[..transmit.size]);
        let taken = take(self) || (self.flush(socket) && take(self));
        if !taken {
            self.blocked = Some(transmit);
            return self.flush(socket);
        }
        !self.batch.is_full() || self.flush(socket)
    }

    /// Sends what waits; `false`: the kernel has no room for all of it.
    fn flush(&mut self, socket: &Socket) -> bool {
        let Self { buffer, batch, blocked, .. } = self;
        let sent = socket.send_batch(batch) && blocked.as_ref().is_none_or(|transmit| socket.send(transmit, buffer));
        if sent {
            *blocked = None;
        }
        self.stuck = !sent;
        sent
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        let now = now();
        // While it runs, nobody has to wake it.
        driver.shared.driver.set(None);
        let more = driver.receive(cx, now);
        let mut sent = driver.transmit(cx);
        if sent.is_ready() {
            driver.fire(now);
            sent = driver.transmit(cx);
        }
        driver.shared.driver.set(Some(cx.waker().clone()));
        // Without room in the kernel nothing can go on but reading; the socket wakes us.
        let first = if sent.is_ready() { driver.shared.deadlines.borrow().first() } else { None };
        let due = driver.alarm.poll(cx, first.into_iter().chain(driver.read_again).min()).is_ready();
        let left = sent.is_ready() && !driver.shared.marked.borrow().is_empty();
        if more || left || due {
            // Others of the worker get their turn first.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let connections = std::mem::take(&mut *self.shared.connections.borrow_mut());
        for connection in connections.into_iter().flatten() {
            if !connection.is_lost() {
                connection.close(NO_ERROR, b"");
            }
            self.shared.speak(&connection);
        }
        // Without room in the kernel the last words are lost, and clients find out by silence.
        self.shared.outlet.borrow_mut().flush(&self.shared.socket);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("connections", &self.0.connections.borrow().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}
