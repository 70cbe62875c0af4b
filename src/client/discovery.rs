//! Where a server's listeners are (`docs/protocol.md` section 2.1).

use serde::Deserialize;

use super::{Error, Target, Transport, Trust};
use crate::protocol::Dialect;

/// What a server says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// The server's version.
    pub version: String,
    /// Where WebTransport is, if it is anywhere.
    pub webtransport: Option<WebTransport>,
    /// Where WebSocket is.
    pub websocket: WebSocket,
}

/// Where WebTransport is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebTransport {
    /// Its URL.
    pub url: String,
    /// SHA-256 of the certificates to trust, in hex; none: those of the system's authorities.
    #[serde(default)]
    pub certificate_hashes: Vec<String>,
}

/// Where WebSocket is.
#[derive(Debug, Clone, Deserialize)]
pub struct WebSocket {
    /// Its URL.
    pub url: String,
}

/// Asks a server.
///
/// # Errors
/// It can't be reached, or answers something else.
pub async fn discover(base_url: &str) -> Result<Discovery, Error> {
    let url = format!("{}/.well-known/fanfare", base_url.trim_end_matches('/'));
    let failed = |error: reqwest::Error| Error::Connect { url: url.clone(), reason: error.without_url().to_string() };
    let answer = reqwest::get(&url).await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    answer.json().await.map_err(failed)
}

impl Discovery {
    /// The way to the server by this transport.
    ///
    /// # Errors
    /// The server does not offer it, or its certificate hashes are none.
    pub fn target(&self, transport: Transport, dialect: Dialect) -> Result<Target, Error> {
        let hashes = self.webtransport.as_ref().map(|webtransport| &webtransport.certificate_hashes[..]).unwrap_or_default();
        let trust = match parse_hashes(hashes) {
            Some(hashes) if hashes.is_empty() => Trust::Roots,
            Some(hashes) => Trust::Hashes(hashes),
            None => {
                return Err(Error::Connect {
                    url: self.websocket.url.clone(),
                    reason: format!("{hashes:?} are no SHA-256 digests in hex"),
                });
            }
        };
        let url = match (transport, &self.webtransport) {
            (Transport::Websocket, _) => self.websocket.url.clone(),
            (Transport::Webtransport, Some(webtransport)) => webtransport.url.clone(),
            (Transport::Webtransport, None) => {
                return Err(Error::Connect { url: self.websocket.url.clone(), reason: "the server has no WebTransport listener".into() });
            }
        };
        Ok(Target { transport, url, dialect, trust, origin: None })
    }
}

fn parse_hashes(hashes: &[String]) -> Option<Vec<[u8; 32]>> {
    hashes.iter().map(|hash| parse_hash(hash)).collect()
}

fn parse_hash(hash: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hash.len() != 64 || !hash.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(digest)
}
