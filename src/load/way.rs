//! The way to a server, and the bytes under a conversation.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustls::pki_types::ServerName;
use tokio::net::TcpSocket;

use super::Failure;
use crate::client::{Io, Target, Transport as ClientTransport, Trust};
use crate::protocol::Dialect;

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// WebTransport.
    Wt,
    /// TCP and nothing else.
    Tcp,
}

/// Which server, and how.
#[derive(Debug, Clone)]
pub struct Way {
    /// What carries messages.
    pub transport: Transport,
    /// Host and port, as they stand in a URL.
    pub host: String,
    /// Where that is.
    pub addr: SocketAddr,
    /// Path and query, in place of the profile's.
    pub path: Option<String>,
    /// Whom to believe.
    pub trust: Trust,
    /// The `Origin` header, if any.
    pub origin: Option<String>,
}

/// A port that is used by a connection is not free for another to the same server; an address of this machine has about 28,000 of them.
pub(super) const CONNECTIONS_A_SOURCE: usize = 20_000;

/// Receive buffer of a connection that reads slowly or not at all, in bytes, so that the server notices soon.
const SLOW_BUFFER: u32 = 4096;

/// A way that is ready to be taken many times.
#[derive(Debug)]
pub(super) struct Road {
    pub way: Way,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    /// Addresses of this machine to come from; 0 or 1: the system chooses.
    pub sources: usize,
}

impl Road {
    /// # Errors
    /// TLS can't be used with this host.
    pub(super) fn new(way: Way, sources: usize) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::Connect { to: way.host.clone(), reason };
        let tls = if way.transport == Transport::Wss {
            let name = way.host.rsplit_once(':').map_or(way.host.as_str(), |(host, _)| host).trim_matches(['[', ']']).to_owned();
            let config = way.trust.client_config(b"http/1.1").map_err(|error| failed(error.to_string()))?;
            Some((Arc::new(config), ServerName::try_from(name).map_err(|error| failed(error.to_string()))?))
        } else {
            None
        };
        Ok(Self { way, tls, sources })
    }

    /// Opens the bytes under a WebSocket or a bare protocol. `nth`: which connection; it decides from where it comes.
    ///
    /// # Errors
    /// Nobody listens there, there is no port left, or the certificate is not to be trusted.
    pub(super) async fn open(&self, nth: usize, slow: bool) -> Result<Box<dyn Io>, Failure> {
        let stream = self.tcp(nth, slow).await.map_err(|error| self.failure(&error))?;
        let Some((config, name)) = &self.tls else { return Ok(Box::new(stream)) };
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let stream = connector.connect(name.clone(), stream).await.map_err(|error| self.failure(&error))?;
        Ok(Box::new(stream))
    }

    async fn tcp(&self, nth: usize, slow: bool) -> std::io::Result<tokio::net::TcpStream> {
        let addr = self.way.addr;
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if slow {
            socket.set_recv_buffer_size(SLOW_BUFFER)?;
        }
        if let Some(source) = source(addr, self.sources, nth) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        let cure = match error.kind() {
            std::io::ErrorKind::AddrNotAvailable => " (all ports of the source addresses are taken: --sources NUMBER for more)",
            _ if error.raw_os_error() == Some(libc::EMFILE) => " (too many open files: ulimit -n)",
            _ => "",
        };
        Failure::Connect { to: self.way.host.clone(), reason: format!("{error}{cure}") }
    }

    /// For WebTransport.
    pub(super) fn target(&self, path: &str) -> Target {
        let Way { host, trust, origin, .. } = &self.way;
        Target {
            transport: ClientTransport::Webtransport,
            url: format!("https://{host}{path}"),
            dialect: Dialect::Msgpack,
            trust: trust.clone(),
            origin: origin.clone(),
        }
    }
}

/// The address of the loopback net that the connection comes from; `None`: the system chooses.
fn source(to: SocketAddr, sources: usize, nth: usize) -> Option<IpAddr> {
    if sources < 2 || !to.is_ipv4() || !to.ip().is_loopback() {
        return None;
    }
    let host = u32::try_from(nth % sources).ok()? + 1;
    Some(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + host).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_from_as_many_addresses_as_were_asked_for() {
        let to = "127.0.0.1:80".parse().unwrap();
        let from: Vec<_> = (0..4).filter_map(|nth| source(to, 3, nth)).map(|addr| addr.to_string()).collect();
        assert_eq!(from, ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"]);
        assert_eq!(source(to, 1, 0), None);
        assert_eq!(source("192.0.2.1:80".parse().unwrap(), 3, 0), None);
    }
}
