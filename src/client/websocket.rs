//! The WebSocket half of the client, by a codec that is not the server's.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, Uri},
    },
};

use super::{Error, Target};
use crate::protocol::Dialect;

/// A byte stream, with or without TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) struct Socket {
    stream: WebSocketStream<Box<dyn Io>>,
    dialect: Dialect,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl Socket {
    pub(super) async fn connect(target: &Target) -> Result<Self, Error> {
        let failed = |reason: String| Error::Connect { url: target.url.clone(), reason };
        let mut request = target.url.as_str().into_client_request().map_err(|error| failed(error.to_string()))?;
        let protocol = match target.dialect {
            Dialect::Msgpack => "fanfare.v1.msgpack",
            Dialect::Json => "fanfare.v1.json",
            Dialect::Legacy => return Err(failed("this client speaks msgpack and json".into())),
        };
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        if let Some(origin) = &target.origin {
            let origin = HeaderValue::from_str(origin).map_err(|error| failed(error.to_string()))?;
            request.headers_mut().insert("origin", origin);
        }
        let io = open(target, request.uri()).await.map_err(failed)?;
        let (stream, _) = client_async(request, io).await.map_err(|error| failed(error.to_string()))?;
        Ok(Self { stream, dialect: target.dialect })
    }

    pub(super) async fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        let message = match self.dialect {
            Dialect::Msgpack => Message::binary(Bytes::copy_from_slice(frame)),
            Dialect::Json | Dialect::Legacy => Message::text(String::from_utf8_lossy(frame).into_owned()),
        };
        self.stream.send(message).await.map_err(|error| closed(None, error.to_string()))
    }

    pub(super) async fn recv(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Binary(frame))) => return Ok(frame),
                Some(Ok(Message::Text(frame))) => return Ok(frame.into()),
                Some(Ok(Message::Close(close))) => {
                    let code = close.as_ref().map(|close| u64::from(u16::from(close.code)));
                    return Err(closed(code, close.map(|close| close.reason.to_string()).unwrap_or_default()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(closed(None, error.to_string())),
                None => return Err(closed(None, "the stream has ended".into())),
            }
        }
    }

    pub(super) async fn close(mut self) {
        // Whether the server answers does not matter any more.
        let _ = self.stream.close(None).await;
    }
}

/// Opens the byte stream under a WebSocket: TCP, and TLS if the URL says `wss`.
///
/// # Errors
/// The server can't be reached, or is not to be trusted.
pub async fn open_stream(target: &Target) -> Result<Box<dyn Io>, Error> {
    let uri = target.url.parse::<Uri>();
    let stream = match &uri {
        Ok(uri) => open(target, uri).await,
        Err(error) => Err(error.to_string()),
    };
    stream.map_err(|reason| Error::Connect { url: target.url.clone(), reason })
}

async fn open(target: &Target, uri: &Uri) -> Result<Box<dyn Io>, String> {
    let secure = uri.scheme_str() == Some("wss");
    let host = uri.host().ok_or("the URL has no host")?;
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let config = target.trust.client_config(b"http/1.1").map_err(|error| error.to_string())?;
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map(|stream| Box::new(stream) as Box<dyn Io>).map_err(|error| error.to_string())
}

fn closed(code: Option<u64>, reason: String) -> Error {
    Error::Closed { code, reason }
}
