//! The relay of UDP: one socket towards the server for each address of a client.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    future::pending,
    io,
    net::{SocketAddr, UdpSocket as StdSocket},
    rc::Rc,
    time::Duration,
};

use tokio::{net::UdpSocket, sync::mpsc, task::JoinSet};

use super::{Fate, Link, World};

/// The longest packet of UDP.
const PACKET: usize = 65_536;

/// Packets of one client that wait for its task.
const WAITING: usize = 1024;

/// Packets of one client that are on their way, in both directions together. More get lost.
const UNDER_WAY: usize = 8192;

/// Clients at once.
const CLIENTS: usize = 30_000;

/// A client that has been silent for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Serves until it is dropped.
///
/// # Errors
/// The socket fails.
pub(super) async fn serve(socket: StdSocket, world: World) -> io::Result<()> {
    let socket = Rc::new(UdpSocket::from_std(socket)?);
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; PACKET];
    for nth in 0u64.. {
        let (len, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // Somebody who has gone does not take packets; that is no trouble of the others.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        while let Some(Ok(gone)) = tasks.try_join_next() {
            clients.remove(&gone);
        }
        if !clients.contains_key(&client) && clients.len() < CLIENTS {
            let (send, receive) = mpsc::channel(WAITING);
            let path = Path { client, socket: socket.clone(), world: world.clone(), nth };
            tasks.spawn_local(async move {
                // A client whose path fails looks like one that has gone.
                let _ = path.carry(receive).await;
                client
            });
            clients.insert(client, send);
        }
        let taken = clients.get(&client).is_some_and(|client| client.try_send(buffer[..len].to_vec()).is_ok());
        if !taken {
            world.counters.lost();
        }
    }
    Ok(())
}

/// What lies between one client and the server.
struct Path {
    client: SocketAddr,
    socket: Rc<UdpSocket>,
    world: World,
    nth: u64,
}

/// A packet on its way: when it comes out, in which order it went in, whether it goes to the server, and its bytes.
type Packet = Reverse<(Duration, u64, bool, Vec<u8>)>;

impl Path {
    async fn carry(self, mut from_client: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        let any: SocketAddr =
            if self.world.server.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { (std::net::Ipv6Addr::LOCALHOST, 0).into() };
        let upstream = UdpSocket::bind(any).await?;
        upstream.connect(self.world.server).await?;
        let (mut up, mut down) = (self.world.link(self.nth * 2), self.world.link(self.nth * 2 + 1));
        let mut on_the_way: BinaryHeap<Packet> = BinaryHeap::new();
        let mut buffer = vec![0; PACKET];
        loop {
            let first = on_the_way.peek().map(|Reverse((due, ..))| *due);
            let due = async {
                match first {
                    Some(due) => tokio::time::sleep_until((self.world.begin + due).into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {
                    if let Some(Reverse((_, _, to_server, packet))) = on_the_way.pop() {
                        // What the system does not take now is lost, as on any network.
                        let _ = if to_server { upstream.try_send(&packet) } else { self.socket.try_send_to(&packet, self.client) };
                    }
                }
                packet = from_client.recv() => match packet {
                    Some(packet) => self.enter(&mut on_the_way, &mut up, true, packet),
                    None => return Ok(()),
                },
                received = upstream.recv(&mut buffer) => {
                    // A server that has gone answers with an ICMP message, which a client behind a relay does not see.
                    if let Ok(len) = received {
                        self.enter(&mut on_the_way, &mut down, false, buffer[..len].to_vec());
                    }
                }
                () = tokio::time::sleep(SILENCE) => return Ok(()),
            }
        }
    }

    fn enter(&self, on_the_way: &mut BinaryHeap<Packet>, link: &mut Link, to_server: bool, packet: Vec<u8>) {
        let counters = &self.world.counters;
        let fate = link.packet(self.world.now(), packet.len());
        let (due, overtaken) = match fate {
            _ if on_the_way.len() >= UNDER_WAY => return counters.lost(),
            Fate::Lost => return counters.lost(),
            Fate::At(due) => (due, false),
            Fate::Overtaken(due) => (due, true),
        };
        if overtaken {
            counters.reordered();
        }
        counters.passed();
        let order = counters.passed.load(std::sync::atomic::Ordering::Relaxed);
        on_the_way.push(Reverse((due, order, to_server, packet)));
    }
}
