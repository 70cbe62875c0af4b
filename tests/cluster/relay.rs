//! Stands between a node and its server, and does to their bytes what networks do.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What is done to bytes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They pass.
    Fair,
    /// Each piece waits for so long.
    Slow(Duration),
    /// They stay here; connections stay open, new ones too.
    Stalled,
    /// What the server says stays here, what the node says passes.
    HalfOpen,
    /// No connection lives, and no new one is taken.
    Cut,
    /// The server's next answer is cut off in its middle, and the connection with it; then it is fair again.
    CutMidReply,
}

/// See the [module](self). Ends when it is dropped.
pub struct Relay {
    pub addr: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    server: Arc<Mutex<SocketAddr>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, mut stopping) = watch::channel(false);
        let server = Arc::new(Mutex::new(server));
        let (works, to) = (weather.clone(), server.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, to, works) => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
            });
        });
        Self { addr, weather, server, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Changes the weather. A cut also ends what is open.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// From now on new connections go to another server.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.server.lock().unwrap() = server;
    }

    pub fn weather(&self) -> Weather {
        *self.weather.borrow()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, server: Arc<Mutex<SocketAddr>>, weather: Arc<watch::Sender<Weather>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (node, _) = listener.accept().await.unwrap();
        if *weather.borrow() == Weather::Cut {
            continue;
        }
        let (weather, server) = (weather.clone(), *server.lock().unwrap());
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let (from_node, to_node) = node.into_split();
            let (from_server, to_server) = server.into_split();
            let cut = weather.clone();
            tokio::select! {
                () = pass(from_node, to_server, &weather, false) => {}
                () = pass(from_server, to_node, &weather, true) => {}
                () = async { let _ = cut.subscribe().wait_for(|weather| *weather == Weather::Cut).await; } => {}
            }
        });
    }
}

/// Passes bytes one way until the connection ends.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, weather: &watch::Sender<Weather>, answers: bool) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let mut now = weather.subscribe();
        let passes = |weather: &Weather| *weather != Weather::Stalled && !(answers && *weather == Weather::HalfOpen);
        let Ok(found) = now.wait_for(passes).await.map(|found| *found) else { return };
        match found {
            Weather::Slow(pause) => tokio::time::sleep(pause).await,
            Weather::CutMidReply if answers => {
                weather.send_replace(Weather::Fair);
                let _ = to.write_all(&bytes[..read / 2]).await;
                let _ = to.shutdown().await;
                return;
            }
            _ => {}
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
