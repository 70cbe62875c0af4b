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
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Instant,
};

use quinn_proto::{ConnectionHandle, DatagramEvent, EndpointConfig, ServerConfig, Transmit, VarInt};
use tracing::debug;

use super::{
    connection::Connection,
    deadlines::Deadlines,
    driver::Driver,
    incoming::Incoming,
    outlet::{Outlet, Sent},
    socket::{Received, Socket},
};
use crate::transport::now;

/// Calls of the socket that one connection gets in a turn, so that one fast reader does not keep the others waiting.
const SENDS_A_TURN: usize = 8;

/// What HTTP/3 closes a connection with that is simply over (RFC 9114, section 8.1).
pub(in crate::transport) const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// The endpoint's end for those who accept connections. Clones are the same endpoint.
#[derive(Clone)]
pub struct Endpoint(Rc<Shared>);

/// What the driver, the acceptor and the connections share; all of it lives on one thread.
pub(super) struct Shared {
    pub(super) socket: Socket,
    pub(super) proto: RefCell<quinn_proto::Endpoint>,
    pub(super) connections: RefCell<Vec<Option<Connection>>>,
    pub(super) marked: RefCell<Vec<ConnectionHandle>>,
    pub(super) deadlines: RefCell<Deadlines>,
    pub(super) outlet: RefCell<Outlet>,
    incoming: RefCell<VecDeque<Box<quinn_proto::Incoming>>>,
    /// Answers to those who have no connection.
    pub(super) answers: RefCell<VecDeque<(Transmit, Vec<u8>)>>,
    pub(super) driver: Cell<Option<Waker>>,
    acceptor: Cell<Option<Waker>>,
}

/// Makes an endpoint on a socket.
pub(super) fn endpoint(socket: std::net::UdpSocket, config: EndpointConfig, server: ServerConfig) -> io::Result<(Endpoint, Driver)> {
    let socket = Socket::new(socket)?;
    let proto = quinn_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server)), !socket.may_fragment(), None);
    let buffer = socket.receive_buffer();
    let outlet = Outlet::new(socket.batch());
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
    let driver = Driver::new(shared.clone(), buffer);
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
        Incoming::new(incoming.await, self.0.clone())
    }

    /// From now on nobody is let in any more.
    pub fn close_door(&self) {
        self.0.proto.borrow_mut().set_server_config(None);
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

    pub(super) fn answer(&self, transmit: Transmit, contents: Vec<u8>) {
        self.answers.borrow_mut().push_back((transmit, contents));
        self.wake_driver();
    }

    pub(super) fn insert(&self, connection: Connection) {
        let mut connections = self.connections.borrow_mut();
        let at = connection.0.handle.0;
        if connections.len() <= at {
            connections.resize(at + 1, None);
        }
        connections[at] = Some(connection);
    }

    pub(super) fn connection(&self, handle: ConnectionHandle) -> Option<Connection> {
        self.connections.borrow().get(handle.0).cloned().flatten()
    }

    /// Sends what a connection has to say, and passes on what it has to tell.
    pub(super) fn speak(&self, connection: &Connection) {
        let mut outlet = self.outlet.borrow_mut();
        if outlet.is_stuck() {
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
            match outlet.send(&self.socket, |buffer| proto.poll_transmit(now, self.socket.max_segments(), buffer)) {
                Sent::Taken => {}
                Sent::Nothing => break,
                Sent::Stuck => {
                    connection.mark();
                    break;
                }
            }
        }
        if outlet.is_waiting() {
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
    pub(super) fn handle(&self, received: Received, now: Instant) {
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

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("connections", &self.0.connections.borrow().len()).finish_non_exhaustive()
    }
}
