//! Attacks on what a client sends before and after the upgrade to WebSocket.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{
    codec::{self, Decoder, Message, Violation},
    handshake::Handshake,
};

/// Frames of a client. The first two bytes say how much arrives at once and how long a message may be: the same comes out however it arrives, text is UTF-8, and nothing is longer than allowed.
pub fn frames(bytes: &[u8]) {
    let [step, limit, wire @ ..] = bytes else { return };
    let (step, limit) = (usize::from(*step).max(1), usize::from(*limit) * 4);
    let whole = messages(wire, wire.len().max(1), limit);
    assert_eq!(messages(wire, step, limit), whole, "it matters how the bytes arrive");
    for message in whole.iter().flatten() {
        match message {
            Message::Text(text) => {
                assert!(text.len() <= limit);
                assert!(std::str::from_utf8(text).is_ok(), "text has to be UTF-8");
            }
            Message::Binary(bytes) => assert!(bytes.len() <= limit),
            Message::Ping(payload) => {
                assert!(payload.len() <= 125);
                assert_eq!(codec::pong(payload)[2..], payload[..], "a pong says what the ping said");
            }
            Message::Pong | Message::Close => {}
        }
    }
}

fn messages(wire: &[u8], step: usize, limit: usize) -> Vec<Result<Message, Violation>> {
    let mut decoder = Decoder::new(limit);
    let mut messages = Vec::new();
    for part in wire.chunks(step) {
        decoder.push(part);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(Ok(message)),
                Ok(None) => break,
                Err(violation) => {
                    messages.push(Err(violation));
                    return messages;
                }
            }
        }
        // Between fragments a control frame may wait for its rest.
        let most = limit + 125 + 14 + step;
        assert!(decoder.kept() <= most, "{} bytes are kept of a message of at most {limit}", decoder.kept());
    }
    messages
}

/// The head of an upgrade, a header a line: it is accepted only with all that RFC 6455 (section 4.2.1) wants, and answered with the subprotocol that was offered, or none.
pub fn upgrade(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    assert!(Handshake::check(&Method::POST, &headers, None).is_err());
    let Ok(handshake) = Handshake::check(&Method::GET, &headers, None) else { return };
    assert_eq!(headers[header::SEC_WEBSOCKET_VERSION], "13");
    let answer = handshake.answer();
    assert_eq!(answer[header::SEC_WEBSOCKET_ACCEPT].len(), 28, "SHA-1 in base64");
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    let chosen = answer.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|chosen| chosen.to_str().ok());
    assert!(chosen.is_none_or(|chosen| offered.contains(&chosen)), "{chosen:?} was not offered");
    assert_eq!(handshake.dialect.is_some(), chosen.is_some());
}
