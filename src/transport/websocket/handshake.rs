//! The upgrade request of a WebSocket (RFC 6455, section 4.2), checked; no I/O.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

use crate::protocol::Dialect;

/// An upgrade that can be accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The dialect, if the client named one.
    pub(crate) dialect: Option<Dialect>,
    accept: String,
    protocol: Option<&'static str>,
}

/// Why an upgrade can't be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no WebSocket upgrade of version 13.
    NotAnUpgrade,
    /// None of the subprotocols that the client names is spoken here.
    NoCommonProtocol,
}

const PROTOCOLS: [(&str, Dialect); 2] = [("fanfare.v1.msgpack", Dialect::Msgpack), ("fanfare.v1.json", Dialect::Json)];

/// What the answer is made from (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Handshake {
    /// Checks an upgrade request. Where the path has told the dialect, no subprotocol is looked at, and none is chosen.
    pub(crate) fn check(method: &Method, headers: &HeaderMap, dialect: Option<Dialect>) -> Result<Self, Refusal> {
        let upgrade = has_token(headers, &header::CONNECTION, "upgrade") && has_token(headers, &header::UPGRADE, "websocket");
        let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
        let Some(key) = key.filter(|_| upgrade && version && method == Method::GET) else {
            return Err(Refusal::NotAnUpgrade);
        };
        let accept = STANDARD.encode(Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize());
        if dialect.is_some() {
            return Ok(Self { dialect, accept, protocol: None });
        }
        let offered: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
        let chosen = offered.iter().find_map(|offer| PROTOCOLS.iter().find(|(name, _)| name == offer));
        match chosen {
            None if !offered.is_empty() => Err(Refusal::NoCommonProtocol),
            chosen => Ok(Self { dialect: chosen.map(|(_, dialect)| *dialect), accept, protocol: chosen.map(|(name, _)| *name) }),
        }
    }

    /// The headers of the answer with status 101.
    pub(crate) fn answer(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is visible ASCII");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        headers
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        // The example of section 1.3.
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let handshake = Handshake::check(&Method::GET, &headers(&GOOD), None).unwrap();
        assert_eq!(handshake.answer()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(handshake.dialect, None);
    }

    #[test]
    fn where_the_path_tells_the_dialect_no_subprotocol_does() {
        let offer = headers(&[&GOOD[..], &[("sec-websocket-protocol", "fanfare.v1.json")]].concat());
        let handshake = Handshake::check(&Method::GET, &offer, Some(Dialect::Legacy)).unwrap();
        assert_eq!(handshake.dialect, Some(Dialect::Legacy));
        assert!(!handshake.answer().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn the_first_subprotocol_that_is_known_wins() {
        let with = |offer| Handshake::check(&Method::GET, &headers(&[&GOOD[..], &[("sec-websocket-protocol", offer)]].concat()), None);
        let handshake = with("graphql-ws, fanfare.v1.json, fanfare.v1.msgpack").unwrap();
        assert_eq!(handshake.dialect, Some(Dialect::Json));
        assert_eq!(handshake.answer()["sec-websocket-protocol"], "fanfare.v1.json");
        assert_eq!(with("graphql-ws"), Err(Refusal::NoCommonProtocol));
    }

    #[test]
    fn whatever_is_missing_it_is_no_upgrade() {
        for left_out in 0..GOOD.len() {
            let rest: Vec<_> = GOOD.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, pair)| *pair).collect();
            assert_eq!(Handshake::check(&Method::GET, &headers(&rest), None), Err(Refusal::NotAnUpgrade));
        }
        assert_eq!(Handshake::check(&Method::POST, &headers(&GOOD), None), Err(Refusal::NotAnUpgrade));
    }
}
