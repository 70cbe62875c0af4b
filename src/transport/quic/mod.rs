//! The QUIC endpoints of the workers: the UDP sockets that share a port, and how each is configured.
//!
//! Owns everything below HTTP/3. It accepts nothing itself and knows no WebTransport. Its invariant: all packets of a connection come to the worker that
//! answered the first one, whatever address they come from (see [`bind`] for the one exception).
//!
//! A client's first packets carry a destination connection ID of its own, random choice, so any worker may get them. The rule *first byte mod
//! workers* sends all of them to the same one, and that worker answers with an ID of its own, which keeps the remainder ([`connection_id`]). A Retry
//! carries such an ID too, and the client repeats its first packet to that one (RFC 9000, section 17.2.5.2), so it stays where it was, and the retry
//! token comes back to the key that made it. IDs for later use (RFC 9000, section 5.1.1) come from the same place, so a change of address, which takes
//! one of them, leaves the connection where it is.

mod batch;
mod connection;
mod connection_id;
mod deadlines;
mod driver;
mod endpoint;
mod incoming;
mod kernel;
mod outlet;
mod secrets;
mod socket;
mod steering;
mod used_tokens;

use std::{io, net::UdpSocket, sync::Arc, time::Duration};

use quinn_proto::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};

use connection_id::Generator;

pub use connection::{Connection, Ended, Read};
pub use driver::Driver;
pub use endpoint::Endpoint;
pub(super) use endpoint::NO_ERROR;
pub use incoming::Incoming;
pub use secrets::Secrets;
pub use steering::{BUFFER_BYTES, BindError, Group, MAX_WORKERS, Steering, bind};

/// Bidirectional streams that a client may have open at once: CONNECT, the main stream, and replays.
///
/// quinn makes room for all of them when a connection begins, so this is paid by every idle connection: 56 bytes a stream, in powers of two.
const BIDI_STREAMS: u32 = 16;

/// Unidirectional streams that a client may have open at once. HTTP/3 takes three: control, and two of QPACK (RFC 9114, section 6.2); the others are for
/// those that a client opens to see whether the server skips them (RFC 9114, section 6.2.3).
const UNI_STREAMS: u32 = 6;

/// What a client may send on one stream before it is read: one longest frame.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// What a client may send on all streams before it is read. So many bytes a connection can hold on the way in at the very most.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// What the server has sent on a connection, or has given to quinn to send, and the client has not acknowledged.
///
/// A full outbox fits in, so that it can be handed over in one go; and it is 100 Mbit/s to a client that is 80 ms away. It is a bound and not a
/// reservation: quinn keeps shared `Bytes`, so 10,000 clients that stopped reading at the same event hold that event once.
const SEND_WINDOW_BYTES: u64 = 1024 * 1024;

/// Datagrams that a client may have sent and nobody read. The protocol has none in this direction, but HTTP/3 wants them allowed, and as long as a packet.
const DATAGRAM_RECEIVE_BYTES: usize = 4 * 1024;

/// Datagrams that wait to be sent; the oldest goes first when there are more. They carry the latest value of something, so many old ones are no use.
const DATAGRAM_SEND_BYTES: usize = 16 * 1024;

/// Out-of-order handshake bytes that are kept: a client's whole flight is less than 2 KiB, and a token is not in it.
const CRYPTO_BYTES: usize = 8 * 1024;

/// A client that can do so is asked to acknowledge after so many packets instead of every second one (draft-ietf-quic-ack-frequency), or after 25 ms as
/// ever. With a hundred events a second a quarter of our time went into acknowledgements, and they are a third fewer by this. Loss is told at once as before.
const PACKETS_AN_ACK: u32 = 10;

/// How often an idle connection is kept alive: half of the 30 s after which common NATs and most browsers forget it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long nothing may come before the connection is dead: two keep-alives that got lost, and some time for the answer.
const MAX_IDLE: Duration = Duration::from_secs(40);

/// Handshakes whose first packet waits for the worker; more are ignored, and come again. 1,024 of 1.5 KiB are 1.5 MiB a worker.
const WAITING_HANDSHAKES: usize = 1024;

/// What is kept of one of them besides its first packet: the rest of a flight.
const WAITING_HANDSHAKE_BYTES: u64 = 8 * 1024;

/// What is kept of all of them.
const WAITING_HANDSHAKES_BYTES: u64 = 2 * 1024 * 1024;

/// The endpoint of worker number `worker` on its socket of a [`Group`] of `workers`, and the driver that has to be spawned on the same thread.
///
/// Besides its connections an endpoint takes 2.9 MiB, for what it reads at once (32 times 64 packets of 1,472 bytes).
///
/// # Errors
/// The TLS configuration lacks TLS 1.3 or its first cipher suite (RFC 9001, section 5.2), or the socket can't be used.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn endpoint(
    socket: UdpSocket,
    worker: usize,
    workers: usize,
    server_config: Arc<rustls::ServerConfig>,
    secrets: &Secrets,
) -> io::Result<(Endpoint, Driver)> {
    endpoint::endpoint(socket, endpoint_config(worker, workers, secrets), quic_config(server_config, secrets)?)
}

fn quic_config(server_config: Arc<rustls::ServerConfig>, secrets: &Secrets) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(server_config).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(secrets.token_key()));
    config
        .transport_config(Arc::new(transport_config()))
        .validation_token_config(secrets.tokens())
        .migration(true)
        .max_incoming(WAITING_HANDSHAKES)
        .incoming_buffer_size(WAITING_HANDSHAKE_BYTES)
        .incoming_buffer_size_total(WAITING_HANDSHAKES_BYTES);
    Ok(config)
}

fn endpoint_config(worker: usize, workers: usize, secrets: &Secrets) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(secrets.reset_key()));
    let key = secrets.id_key();
    config.cid_generator(move || Box::new(Generator::new(worker, workers, key.clone())));
    config
}

fn transport_config() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(PACKETS_AN_ACK.into());
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .max_concurrent_bidi_streams(BIDI_STREAMS.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .crypto_buffer_size(CRYPTO_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(idle_timeout(MAX_IDLE)))
        .mtu_discovery_config(Some(MtuDiscoveryConfig::default()));
    config
}

fn idle_timeout(time: Duration) -> IdleTimeout {
    IdleTimeout::from(VarInt::from_u32(u32::try_from(time.as_millis()).expect("40 s are 40,000 ms")))
}
