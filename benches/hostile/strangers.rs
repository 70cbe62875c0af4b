//! Strangers: what somebody can do to a server who is nobody to it.

use std::{any::Any, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::Context as _;
use fanfare::{
    client::{Client, Target, Transport, discover},
    protocol::{Dialect, Hello},
};
use quinn_proto::{EndpointConfig, crypto::rustls::QuicClientConfig};
use rustls::pki_types::ServerName;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::TlsConnector;

/// How far a stranger goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A TCP connection that says nothing.
    Tcp,
    /// TCP and the beginning of a TLS handshake.
    TlsBegun,
    /// TLS, and no request.
    Tls,
    /// The first flight of QUIC, and nothing more.
    Initial,
    /// A WebTransport session with a stream on which nothing comes.
    Session,
    /// A WebSocket without a hello.
    Upgrade,
    /// A hello whose token is refused.
    Hello,
    /// A session that is opened, and a frame that is none.
    Malformed,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] =
        [Self::Tcp, Self::TlsBegun, Self::Tls, Self::Initial, Self::Session, Self::Upgrade, Self::Hello, Self::Malformed];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP connection, silent",
            Self::TlsBegun => "TLS handshake, begun",
            Self::Tls => "TLS handshake, whole",
            Self::Initial => "QUIC, first flight only",
            Self::Session => "WebTransport session, no hello",
            Self::Upgrade => "WebSocket, no hello",
            Self::Hello => "WebSocket, hello refused",
            Self::Malformed => "WebSocket, hello, malformed frame",
        }
    }

    /// Whether something of it stays at the server while the stranger stays.
    pub(crate) const fn stays(self) -> bool {
        !matches!(self, Self::Hello | Self::Malformed)
    }
}

/// A server as strangers see it.
pub(crate) struct Prey {
    http: SocketAddr,
    secure: SocketAddr,
    websocket: Target,
    webtransport: Target,
    udp: UdpSocket,
}

impl Prey {
    /// Looks at what a server says of itself. Its TLS port is the same for TCP and QUIC.
    pub(crate) async fn find(url: &str) -> anyhow::Result<Self> {
        let discovery = discover(url).await?;
        let target = |transport| discovery.target(transport, Dialect::Json);
        let (websocket, webtransport) = (target(Transport::Websocket)?, target(Transport::Webtransport)?);
        let address =
            |url: &str| url.split('/').nth(2).context("an address")?.replace("localhost", "127.0.0.1").parse().context("an address");
        let (http, secure) = (address(url)?, address(&webtransport.url)?);
        Ok(Self { http, secure, websocket, webtransport, udp: UdpSocket::bind("127.0.0.1:0").await? })
    }

    /// Goes so far, and gives what has to be kept for the stranger to stay.
    pub(crate) async fn approach(&self, kind: Kind) -> anyhow::Result<Box<dyn Any>> {
        Ok(match kind {
            Kind::Tcp => Box::new(TcpStream::connect(self.http).await?),
            Kind::TlsBegun => {
                let mut stream = TcpStream::connect(self.secure).await?;
                // The head of a record with a ClientHello of 512 bytes, which does not come.
                stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await?;
                Box::new(stream)
            }
            Kind::Tls => {
                let config = Arc::new(self.webtransport.trust.client_config(b"http/1.1")?);
                let stream = TcpStream::connect(self.secure).await?;
                Box::new(TlsConnector::from(config).connect(ServerName::try_from("localhost")?, stream).await?)
            }
            Kind::Initial => Box::new(self.send_first_flight().await?),
            Kind::Session => Box::new(Client::connect(&self.webtransport).await?),
            Kind::Upgrade => Box::new(Client::connect(&self.websocket).await?),
            Kind::Hello => {
                let hello = Hello { version: 1, token: Some("somebody".into()), ..Hello::default() };
                anyhow::ensure!(Client::open(&self.websocket, hello).await.is_err(), "the token was taken");
                Box::new(())
            }
            Kind::Malformed => {
                let (mut client, _) = Client::open(&self.websocket, Hello { version: 1, ..Hello::default() }).await?;
                client.send_raw(b"{").await?;
                while client.recv().await.is_ok() {}
                Box::new(())
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "quinn-proto wants to know the time")]
    async fn send_first_flight(&self) -> anyhow::Result<()> {
        let crypto = QuicClientConfig::try_from(self.webtransport.trust.client_config(b"h3")?)?;
        let config = quinn_proto::ClientConfig::new(Arc::new(crypto));
        let mut endpoint = quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let now = Instant::now();
        let (_, mut connection) = endpoint.connect(now, config, self.secure, "localhost")?;
        let mut packet = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, 1, &mut packet) {
            self.udp.send_to(&packet[..transmit.size], self.secure).await?;
            packet.clear();
        }
        Ok(())
    }
}
