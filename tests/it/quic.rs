//! What QUIC owes to addresses that have proved nothing, and to clients of a server that has begun anew.

use std::{
    future::{IntoFuture as _, poll_fn},
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use fanfare::transport::{
    quic::{self, Secrets},
    tls::{self, Certificates},
};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use tokio::task::LocalSet;

use crate::common::{TestServer, config, soon, until};

/// Files of a certificate whose chain takes many packets.
fn long_chain(dir: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let names = |n: usize| (0..100).map(|i| format!("host-{n}-{i}.example.org")).collect::<Vec<_>>();
    let key = rcgen::KeyPair::generate().unwrap();
    let chain: String = (0..4).map(|n| rcgen::CertificateParams::new(names(n)).unwrap().self_signed(&key).unwrap().pem()).collect();
    let (certificate, private) = (dir.join("long.pem"), dir.join("long-key.pem"));
    std::fs::write(&certificate, chain).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    (certificate, private)
}

fn client_config(root: &CertificateDer<'static>, alpn: &[u8]) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![alpn.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()))
}

/// The first packet of a client that will never say anything else.
fn first_packet(config: quinn::ClientConfig, server: SocketAddr) -> Vec<u8> {
    let now = Instant::now();
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    let (_, mut connection) = endpoint.connect(now, config, server, "host-0-0.example.org").unwrap();
    let mut packet = Vec::new();
    assert!(connection.poll_transmit(now, 1, &mut packet).is_some());
    packet
}

/// RFC 9000, section 8.1: an address that might be somebody else's gets no more than three times what came from it.
#[tokio::test]
async fn an_address_that_has_proved_nothing_gets_at_most_three_times_what_it_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = long_chain(dir.path());
    let root = CertificateDer::from_pem_file(&certificate).unwrap();
    let certificates = Certificates::new(tls::load(&certificate, &key, std::time::SystemTime::now()).unwrap(), []);
    let mut config = config(1);
    config.tls = Some(fanfare::server::Tls { tcp: certificates.tcp().unwrap(), quic: certificates.quic().unwrap() });
    config.limits.handshake_deadline = Duration::from_secs(1);
    let server = TestServer::with(config);
    let addr = server.listen().quic.unwrap();
    let victim = UdpSocket::bind("127.0.0.1:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let packet = first_packet(client_config(&root, b"h3"), addr);
    victim.send_to(&packet, addr).unwrap();
    // The server has tried what it would, and has given up.
    until("the handshake has timed out", || {
        server.metric(r#"fanfare_handshakes_total{transport="webtransport",outcome="timeout"}"#) == 1.0
    })
    .await;
    drop(server);
    let mut got = 0;
    let mut datagram = [0; 2048];
    while let Ok((len, from)) = victim.recv_from(&mut datagram) {
        assert_eq!(from, addr);
        got += len;
    }
    assert!(got <= 3 * packet.len(), "{got} bytes for {}", packet.len());
    assert!(got > 2 * packet.len(), "the answer was never longer than the bound: {got} bytes for {}", packet.len());
}

/// A server on one port through several lives.
struct Lives {
    addr: SocketAddr,
    certificate: CertificateDer<'static>,
    tls: Arc<rustls::ServerConfig>,
}

impl Lives {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"test".to_vec()];
        let addr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { addr, certificate: made.cert.der().clone(), tls: Arc::new(tls) }
    }

    /// One life, which lasts until a client has connected and heard something: whether the client was known to be where it says.
    async fn live(&self, secrets: &Secrets, client: &quinn::Endpoint, config: &quinn::ClientConfig) -> bool {
        let group = quic::bind(self.addr, 1).unwrap();
        let socket = group.sockets.into_iter().next().unwrap();
        let (endpoint, driver) = quic::endpoint(socket, 0, 1, self.tls.clone(), secrets).unwrap();
        let driver = tokio::task::spawn_local(driver);
        let connecting = client.connect_with(config.clone(), self.addr, "localhost").unwrap();
        let connection = tokio::task::spawn_local(connecting.into_future());
        let incoming = soon(endpoint.accept()).await;
        let known = incoming.remote_address_validated();
        let server = incoming.accept().unwrap();
        // Tokens stand before streams in a packet, so who has the one has the other.
        let opened = poll_fn(|cx| {
            server.register(cx);
            server.open_uni().map_or(Poll::Pending, Poll::Ready)
        });
        let stream = soon(opened).await;
        server.write(stream, &mut ["x".into()]).unwrap();
        server.flush();
        let connection = connection.await.unwrap().unwrap();
        soon(connection.accept_uni()).await.unwrap();
        driver.abort();
        let _ = driver.await;
        known
    }
}

/// RFC 9000, section 8.1.3: who has been here before need not prove its address again, also if the server has begun anew since.
#[tokio::test]
async fn a_token_is_good_after_a_restart_and_on_other_nodes_of_the_secret() {
    let lives = Lives::new();
    let client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(&lives.certificate, b"test");
    let run = async {
        let secrets = |secret: &str, node| Secrets::derive(secret.as_bytes(), node);
        assert!(!lives.live(&secrets("one", "a"), &client, &config).await, "nobody knows it yet");
        assert!(lives.live(&secrets("one", "a"), &client, &config).await, "a restart");
        assert!(lives.live(&secrets("one", "b"), &client, &config).await, "another node");
        assert!(!lives.live(&secrets("two", "a"), &client, &config).await, "another secret");
    };
    LocalSet::new().run_until(run).await;
}
