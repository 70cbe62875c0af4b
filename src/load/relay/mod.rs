//! A bad network without root: a relay of TCP and UDP that stands between subscribers and server, on a thread of its own.
//!
//! - `faults`: what is to go wrong, and what becomes of each packet; no I/O, no clock
//! - `tcp`, `udp`: the relays themselves

mod faults;
mod tcp;
mod udp;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::sync::oneshot;

pub use faults::{Bandwidth, Cut, Faults};
use faults::{Fate, Link};

/// What went wrong on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mishaps {
    /// Packets that were passed on.
    pub passed: u64,
    /// Packets of UDP that were not, and pieces of TCP that came a timeout later.
    pub lost: u64,
    /// Packets of UDP that later ones were allowed to overtake.
    pub reordered: u64,
}

#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    lost: AtomicU64,
    reordered: AtomicU64,
}

impl Counters {
    fn passed(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn reordered(&self) {
        self.reordered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    counters: Arc<Counters>,
    faults: Faults,
    seed: u64,
    /// Each ends its thread when dropped.
    routes: Vec<oneshot::Sender<()>>,
}

/// Which protocol a route carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// For WebSocket and bare protocols.
    Tcp,
    /// For WebTransport.
    Udp,
}

impl Relay {
    /// A relay without routes.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self { counters: Arc::default(), faults, seed, routes: Vec::new() }
    }

    /// Opens a way through it to `server`; returns where to connect to instead.
    ///
    /// # Errors
    /// The system gives no port or no thread.
    pub fn route(&mut self, carries: Carries, server: SocketAddr) -> io::Result<SocketAddr> {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let (stop, stopped) = oneshot::channel();
        let world = World { server, faults: self.faults, counters: self.counters.clone(), seed: self.seed, begin: super::now() };
        let (addr, serve): (_, Box<dyn FnOnce(World) -> io::Result<()> + Send>) = match carries {
            Carries::Tcp => {
                let listener = TcpListener::bind(any)?;
                listener.set_nonblocking(true)?;
                (listener.local_addr()?, Box::new(move |world| on_a_runtime(stopped, async move { tcp::serve(listener, world).await })))
            }
            Carries::Udp => {
                let socket = UdpSocket::bind(any)?;
                socket.set_nonblocking(true)?;
                (socket.local_addr()?, Box::new(move |world| on_a_runtime(stopped, async move { udp::serve(socket, world).await })))
            }
        };
        thread::Builder::new().name("relay".into()).spawn(move || {
            if let Err(error) = serve(world) {
                tracing::error!(%error, "the relay failed");
            }
        })?;
        self.routes.push(stop);
        Ok(addr)
    }

    /// What has gone wrong up to now.
    #[must_use]
    pub fn mishaps(&self) -> Mishaps {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { passed, lost, reordered } = &*self.counters;
        Mishaps { passed: read(passed), lost: read(lost), reordered: read(reordered) }
    }
}

/// What a route knows.
#[derive(Debug, Clone)]
struct World {
    server: SocketAddr,
    faults: Faults,
    counters: Arc<Counters>,
    seed: u64,
    begin: std::time::Instant,
}

impl World {
    /// One direction of one connection. `nth`: which, so that no two have the same luck.
    fn link(&self, nth: u64) -> Link {
        Link::new(self.faults, fastrand::Rng::with_seed(self.seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9))))
    }

    /// Time since the route was opened.
    fn now(&self) -> std::time::Duration {
        self.begin.elapsed()
    }
}

fn on_a_runtime(stopped: oneshot::Receiver<()>, serve: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::select! {
            served = serve => served,
            // Whether it was told to or the relay was dropped is the same.
            _ = stopped => Ok(()),
        }
    })
}
