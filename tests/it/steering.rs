//! A client that changes its address keeps its connection, because packets find their worker by connection ID.
//!
//! Method: QUIC endpoints of several workers on one port; between each client and the server a relay that, when told, goes on from another UDP port. The
//! server echoes what comes on a stream. The control runs the same endpoints on sockets among which the kernel chooses by address.

use std::{
    future::poll_fn,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use fanfare::transport::quic::{self, Read, Steering};
use quinn::{Connection, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig};
use quinn_proto::Dir;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinSet, LocalSet},
};

const LOCALHOST: &str = "127.0.0.1:0";
const ALPN: &[u8] = b"echo";

/// More than any answer takes on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(20);
/// What an answer takes at the most, and several retransmissions with it.
const SHORT: Duration = Duration::from_secs(2);

struct Certificate {
    certificate: CertificateDer<'static>,
    server: Arc<rustls::ServerConfig>,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let mut server = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![ALPN.to_vec()];
        Self { certificate, server: Arc::new(server) }
    }

    fn client(&self) -> quinn::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut client = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN.to_vec()];
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// One endpoint a socket, each on a thread of its own, and how many connections each has accepted. They end when this is dropped.
struct Echo {
    addr: SocketAddr,
    accepted: Arc<[AtomicUsize]>,
    certificate: Certificate,
    _stop: Vec<oneshot::Sender<()>>,
}

impl Echo {
    fn start(sockets: Vec<UdpSocket>, retry: bool) -> Self {
        let certificate = Certificate::new();
        let addr = sockets[0].local_addr().unwrap();
        let workers = sockets.len();
        let accepted: Arc<[AtomicUsize]> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        let mut stops = Vec::new();
        for (worker, socket) in sockets.into_iter().enumerate() {
            let (stop, stopped) = oneshot::channel::<()>();
            stops.push(stop);
            let (config, accepted) = (certificate.server.clone(), accepted.clone());
            let secrets = quic::Secrets::derive(b"test", "echo");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let run = async {
                    let (endpoint, driver) = quic::endpoint(socket, worker, workers, config, &secrets).unwrap();
                    tokio::task::spawn_local(driver);
                    tokio::task::spawn_local(async move { serve(endpoint, &accepted[worker], retry).await });
                    let _ = stopped.await;
                };
                LocalSet::new().block_on(&runtime, run);
            });
        }
        Self { addr, accepted, certificate, _stop: stops }
    }

    fn accepted(&self) -> Vec<usize> {
        self.accepted.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

async fn serve(endpoint: quic::Endpoint, accepted: &AtomicUsize, retry: bool) {
    loop {
        let incoming = endpoint.accept().await;
        if retry && !incoming.remote_address_validated() {
            incoming.retry();
            continue;
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_local(echo(incoming.accept().unwrap()));
    }
}

/// Says on the first stream what it hears there.
async fn echo(connection: quic::Connection) {
    let mut stream = None;
    poll_fn(|cx| {
        connection.register(cx);
        stream = stream.or_else(|| connection.accept(Dir::Bi));
        let Some(stream) = stream else { return if connection.is_lost() { Poll::Ready(()) } else { Poll::Pending } };
        loop {
            match connection.read(stream, 1024) {
                Read::Chunk(bytes) => {
                    assert_eq!(connection.write(stream, &mut [bytes.clone()]), Ok(bytes.len()));
                    connection.flush();
                }
                Read::Blocked => return Poll::Pending,
                Read::End | Read::Lost => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// A connection through a relay of its own.
struct Session {
    send: SendStream,
    recv: RecvStream,
    said: u64,
    changes: mpsc::Sender<oneshot::Sender<()>>,
    _connection: Connection,
    _endpoint: Endpoint,
    _relay: JoinSet<()>,
}

impl Session {
    async fn open(server: &Echo) -> Self {
        let front = tokio::net::UdpSocket::bind(LOCALHOST).await.unwrap();
        let entrance = front.local_addr().unwrap();
        let (changes, wanted) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(relay(front, server.addr, wanted));
        let endpoint = Endpoint::client(LOCALHOST.parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(server.certificate.client(), entrance, "localhost").unwrap();
        let connection = tokio::time::timeout(LONG, connecting).await.unwrap().unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        Self { send, recv, said: 0, changes, _connection: connection, _endpoint: endpoint, _relay: tasks }
    }

    /// Whether what is said comes back within the time.
    async fn echoes(&mut self, within: Duration) -> bool {
        self.said += 1;
        let said = self.said.to_be_bytes();
        self.send.write_all(&said).await.unwrap();
        let mut heard = [0; 8];
        match tokio::time::timeout(within, self.recv.read_exact(&mut heard)).await {
            Ok(result) => {
                result.unwrap();
                assert_eq!(heard, said);
                true
            }
            Err(_) => false,
        }
    }

    async fn change_address(&self) {
        let (done, changed) = oneshot::channel();
        self.changes.send(done).await.unwrap();
        changed.await.unwrap();
    }
}

/// Passes datagrams between one client and the server, towards which it takes another port when it is told.
async fn relay(front: tokio::net::UdpSocket, server: SocketAddr, mut changes: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut back = tokio::net::UdpSocket::bind(LOCALHOST).await.unwrap();
    let mut client = None;
    let (mut up, mut down) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            Ok((len, from)) = front.recv_from(&mut up) => {
                client = Some(from);
                let _ = back.send_to(&up[..len], server).await;
            }
            Ok((len, _)) = back.recv_from(&mut down) => {
                if let Some(client) = client {
                    let _ = front.send_to(&down[..len], client).await;
                }
            }
            // The old socket is closed after the new one is bound, so the port is another.
            Some(done) = changes.recv() => {
                back = tokio::net::UdpSocket::bind(LOCALHOST).await.unwrap();
                let _ = done.send(());
            }
        }
    }
}

/// Opens sessions that all change their address several times, and keep their connections.
async fn change_addresses(server: &Echo, sessions: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..sessions {
        let mut session = Session::open(server).await;
        tasks.spawn(async move {
            assert!(session.echoes(LONG).await);
            for change in 1..=5 {
                session.change_address().await;
                assert!(session.echoes(LONG).await, "lost with change {change}");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(server.accepted().iter().sum::<usize>(), sessions, "no connection began anew");
}

#[tokio::test]
async fn connections_survive_changes_of_address() {
    let group = quic::bind(LOCALHOST.parse().unwrap(), 4).unwrap();
    assert_eq!(group.steering, Steering::Bpf, "this kernel does not steer");
    let server = Echo::start(group.sockets, false);
    change_addresses(&server, 20).await;
    // 20 random connection IDs are all of one worker once in 4^19 runs.
    assert!(server.accepted().iter().filter(|&&count| count > 0).count() > 1, "{:?}", server.accepted());
}

#[tokio::test]
async fn a_retry_brings_the_client_back_to_the_same_worker() {
    let group = quic::bind(LOCALHOST.parse().unwrap(), 4).unwrap();
    let server = Echo::start(group.sockets, true);
    change_addresses(&server, 20).await;
}

#[tokio::test]
async fn one_worker_needs_no_steering() {
    let group = quic::bind(LOCALHOST.parse().unwrap(), 1).unwrap();
    let server = Echo::start(group.sockets, false);
    change_addresses(&server, 5).await;
}

/// The control: if this fails, the tests above prove nothing.
#[tokio::test]
async fn without_the_program_the_first_change_of_address_loses_most_connections() {
    let mut addr: SocketAddr = LOCALHOST.parse().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&addr.into()).unwrap();
        addr = socket.local_addr().unwrap().as_socket().unwrap();
        sockets.push(socket.into());
    }
    let server = Echo::start(sockets, false);
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let mut session = Session::open(&server).await;
        tasks.spawn(async move {
            assert!(session.echoes(LONG).await);
            session.change_address().await;
            session.echoes(SHORT).await
        });
    }
    let lost = tasks.join_all().await.into_iter().filter(|&echoed| !echoed).count();
    // Each of them is lost with a chance of 3 in 4; fewer than 5 of 20 are so in one of a million runs.
    assert!(lost >= 5, "only {lost} were lost");
}
