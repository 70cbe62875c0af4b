//! The WebTransport half of the client. Every session has a UDP socket of its own: a shared one would overflow under load and measure retransmissions.

use bytes::Bytes;
use wtransport::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, VarInt,
    endpoint::{ConnectOptions, endpoint_side},
    error::ConnectionError,
};

use super::{Error, Target};
use crate::protocol::{StreamDecoder, prefix_len};

/// Longest frame that a server may send, in bytes. Events are bounded by their publishers; this only keeps a broken server from filling our memory.
const FRAME_BYTES: usize = 4 << 20;

/// Bytes that are taken from a stream at once.
const READ: usize = 64 * 1024;

pub(super) struct Session {
    pub(super) connection: Connection,
    /// Its socket ends with it.
    endpoint: Endpoint<endpoint_side::Client>,
    send: SendStream,
    recv: RecvStream,
    decoder: StreamDecoder,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) async fn connect(target: &Target) -> Result<Self, Error> {
        let failed = |reason: String| Error::Connect { url: target.url.clone(), reason };
        let tls = target.trust.client_config(b"h3").map_err(|error| failed(error.to_string()))?;
        let config = ClientConfig::builder().with_bind_default().with_custom_tls(tls).build();
        let endpoint = Endpoint::client(config).map_err(|error| failed(error.to_string()))?;
        let mut options = ConnectOptions::builder(&target.url);
        if let Some(origin) = &target.origin {
            options = options.add_header("origin", origin);
        }
        let connection = endpoint.connect(options.build()).await.map_err(|error| failed(error.to_string()))?;
        let opening = connection.open_bi().await.map_err(|error| closed(&error))?;
        let (send, recv) = opening.await.map_err(|error| failed(error.to_string()))?;
        Ok(Self { connection, endpoint, send, recv, decoder: StreamDecoder::new(FRAME_BYTES) })
    }

    pub(super) async fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        let sent = self.send.write_all(&prefixed(frame)).await;
        sent.map_err(|error| Error::Closed { code: None, reason: error.to_string() })
    }

    pub(super) async fn recv(&mut self) -> Result<Bytes, Error> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            match self.recv.quic_stream_mut().read_chunk(READ, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) => return Err(Error::Closed { code: None, reason: "the main stream has ended".into() }),
                Err(_) => return Err(closed(&self.connection.closed().await)),
            }
        }
    }

    pub(super) async fn replay(&self, frame: &[u8]) -> Result<Vec<Bytes>, Error> {
        let stream_failed = |error: String| Error::Closed { code: None, reason: error };
        let opening = self.connection.open_bi().await.map_err(|error| closed(&error))?;
        let (mut send, mut recv) = opening.await.map_err(|error| stream_failed(error.to_string()))?;
        send.write_all(&prefixed(frame)).await.map_err(|error| stream_failed(error.to_string()))?;
        let mut decoder = StreamDecoder::new(FRAME_BYTES);
        let mut frames = Vec::new();
        while let Some(chunk) = recv.quic_stream_mut().read_chunk(READ, true).await.map_err(|error| stream_failed(error.to_string()))? {
            decoder.push(&chunk.bytes);
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    pub(super) async fn close(mut self) {
        // The goodbye has to arrive before the connection ends; the server closes when it has read it.
        let _ = self.send.finish().await;
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.connection.closed()).await;
        self.connection.close(VarInt::from_u32(0), b"");
        self.endpoint.wait_idle().await;
    }
}

fn closed(error: &ConnectionError) -> Error {
    let code = if let ConnectionError::ApplicationClosed(close) = error { Some(close.code().into_inner()) } else { None };
    Error::Closed { code, reason: error.to_string() }
}

/// RFC 9000, section 16; written apart from the server's, so that each checks the other.
fn prefixed(frame: &[u8]) -> Vec<u8> {
    let width = prefix_len(frame.len());
    let marked = frame.len() as u64 | u64::from(width.trailing_zeros()) << (width * 8 - 2);
    [&marked.to_be_bytes()[8 - width..], frame].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_as_they_are_written() {
        for len in [0, 63, 64, 16_383, 16_384, 100_000] {
            let wire = prefixed(&vec![1; len]);
            let (width, told) = crate::protocol::read_prefix(&wire).unwrap();
            assert_eq!((told, wire.len()), (len as u64, width + len));
        }
    }
}
