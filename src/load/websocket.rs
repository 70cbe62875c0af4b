//! A WebSocket, or bare bytes, that cost little to receive: one buffer for all connections, frames walked over where they lie.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use super::{
    Failure,
    profile::{Framing, Message},
};
use crate::client::Io;

/// Read at once. All connections of a thread share the buffer, so it may be large.
const SCRATCH: usize = 64 * 1024;

/// Longest frame that is awaited, in bytes: more than any server here sends.
const LONGEST: usize = 64 << 20;

/// Longest answer to the upgrade, in bytes.
const HEAD: usize = 8 * 1024;

/// How long a connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// The shared buffer.
pub(super) type Scratch = Rc<RefCell<Vec<u8>>>;

/// Makes the buffer for a thread.
#[must_use]
pub(super) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; SCRATCH]))
}

/// What frames a server sent, and what it wants to be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Data(&'a [u8]),
    Ping(&'a [u8]),
    Close(&'a [u8]),
    Pong,
}

/// An open connection over TCP.
pub(super) struct Socket {
    io: Box<dyn Io>,
    scratch: Scratch,
    /// Whether messages come in frames.
    framed: bool,
    /// The part of a frame whose end has not come yet.
    carry: Vec<u8>,
    /// What is carried came with the answer to the upgrade and was not looked at yet.
    unread: bool,
    /// What has to be written.
    waiting: Vec<u8>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// What an upgrade asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upgrade<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub origin: Option<&'a str>,
}

impl Socket {
    /// Upgrades if the framing says so (RFC 6455, section 4.1).
    ///
    /// # Errors
    /// The server answers anything but 101.
    pub(super) async fn open(io: Box<dyn Io>, framing: Framing, upgrade: Upgrade<'_>, scratch: Scratch) -> Result<Self, Failure> {
        let mut socket = Self { io, scratch, framed: false, carry: Vec::new(), unread: false, waiting: Vec::new() };
        if let Framing::WebSocket { subprotocol } = framing {
            socket.framed = true;
            let failed = |reason| Failure::Connect { to: upgrade.host.to_owned(), reason };
            socket.upgrade(upgrade, subprotocol).await.map_err(failed)?;
        }
        Ok(socket)
    }

    async fn upgrade(&mut self, upgrade: Upgrade<'_>, subprotocol: Option<&str>) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let key = STANDARD.encode(random);
        self.io.write_all(upgrade_head(upgrade, subprotocol, &key).as_bytes()).await.map_err(told)?;
        let mut head = Vec::new();
        let end = loop {
            if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
                break end + 4;
            }
            if head.len() > HEAD || self.io.read_buf(&mut head).await.map_err(told)? == 0 {
                return Err(format!("the server did not answer the upgrade to WebSocket but said {:?}", clip(&head)));
            }
        };
        accepted(&head[..end], &key)?;
        self.carry = head.split_off(end);
        self.unread = !self.carry.is_empty();
        Ok(())
    }

    /// Queues a message.
    pub(super) fn queue(&mut self, message: &Message) {
        put_message(&mut self.waiting, self.framed, message);
    }

    /// Whether something is queued.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what is queued. Safe to cancel.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let written = self.io.write(&self.waiting).await?;
            self.waiting.drain(..written);
        }
        // TLS keeps what the socket did not take.
        self.io.flush().await
    }

    /// The bytes under it, and what came after the upgrade.
    pub(super) fn into_parts(self) -> (Box<dyn Io>, Vec<u8>) {
        (self.io, self.carry)
    }

    /// Says goodbye, as far as the system takes it at once, and ends the connection.
    pub(super) async fn close(mut self) {
        if self.framed {
            put_frame(&mut self.waiting, 8, &1000u16.to_be_bytes());
        }
        // Somebody who does not read will not read this either.
        let _ = tokio::time::timeout(FAREWELL, async {
            self.flush().await?;
            self.io.shutdown().await
        })
        .await;
    }

    /// Gives each message that has come to `each`, or is pending when none has. `each` may say that the talk is over.
    ///
    /// # Errors
    /// The connection has ended; the text says how.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> Poll<io::Result<usize>> {
        let mut scratch = self.scratch.borrow_mut();
        let carried = self.carry.len();
        if scratch.len() < carried * 2 {
            scratch.resize(carried * 2, 0);
        }
        scratch[..carried].copy_from_slice(&self.carry);
        let mut buffer = ReadBuf::new(&mut scratch[carried..]);
        let first = std::mem::take(&mut self.unread);
        if !first {
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        }
        let read = buffer.filled().len();
        let filled = carried + read;
        if read == 0 && !first {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed without a word")));
        }
        if !self.framed {
            return Poll::Ready(each(&scratch[..filled]).map(|()| read));
        }
        let mut rest = &scratch[..filled];
        while let Some((frame, after)) = split_frame(rest).map_err(io::Error::other)? {
            rest = after;
            match frame {
                Frame::Data(payload) => each(payload)?,
                Frame::Ping(payload) => put_frame(&mut self.waiting, 10, payload),
                Frame::Pong => {}
                Frame::Close(payload) => return Poll::Ready(Err(closed(payload))),
            }
        }
        self.carry.clear();
        self.carry.extend_from_slice(rest);
        Poll::Ready(Ok(read))
    }
}

fn upgrade_head(upgrade: Upgrade<'_>, subprotocol: Option<&str>, key: &str) -> String {
    let Upgrade { host, path, origin } = upgrade;
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    head.push_str(&format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"));
    for (name, value) in [("Sec-WebSocket-Protocol", subprotocol), ("Origin", origin)] {
        if let Some(value) = value {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head + "\r\n"
}

/// The beginning of what somebody said, for a sentence.
fn clip(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

/// Checks the server's answer; the error is for people.
fn accepted(head: &[u8], key: &str) -> Result<(), String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|error| format!("the answer is no HTTP: {error}"))?;
    if response.code != Some(101) {
        return Err(format!("the server answered {} {}", response.code.unwrap_or(0), response.reason.unwrap_or_default()));
    }
    let wanted = STANDARD.encode(Sha1::digest([key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat()));
    let proof = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
    if proof.is_none_or(|proof| proof.value != wanted.as_bytes()) {
        return Err("the server is no WebSocket server: Sec-WebSocket-Accept is wrong".into());
    }
    Ok(())
}

fn closed(payload: &[u8]) -> io::Error {
    let text = match payload {
        [high, low, reason @ ..] => {
            format!("the server closed with {} {}", u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason))
        }
        _ => "the server closed".into(),
    };
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

/// Appends a message as it goes over the wire.
pub(super) fn put_message(out: &mut Vec<u8>, framed: bool, message: &Message) {
    match message {
        _ if !framed => out.extend_from_slice(message.bytes()),
        Message::Text(bytes) => put_frame(out, 1, bytes),
        Message::Binary(bytes) => put_frame(out, 2, bytes),
    }
}

/// Appends a client's frame. The mask is zero: it hides nothing from proxies, which a load generator does not meet, and costs us nothing.
pub(super) fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The first frame and what comes after it; `None` if it is not whole. A message in several frames is taken as several.
///
/// # Errors
/// No server sends that.
pub(super) fn split_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, String> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let width = match second {
        0..126 => 0,
        126 => 2,
        127 => 8,
        128.. => return Err("the server sent a masked frame".into()),
    };
    let start = 2 + width;
    let Some(digits) = bytes.get(2..start) else { return Ok(None) };
    let len = if width == 0 { u64::from(second) } else { digits.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)) };
    let Some(short) = usize::try_from(len).ok().filter(|len| *len <= LONGEST) else {
        return Err(format!("the server began a frame of {len} bytes; {LONGEST} are the most that is awaited"));
    };
    let Some((payload, rest)) = bytes[start..].split_at_checked(short) else { return Ok(None) };
    let frame = match first & 0x0f {
        8 => Frame::Close(payload),
        9 => Frame::Ping(payload),
        10 => Frame::Pong,
        _ => Frame::Data(payload),
    };
    Ok(Some((frame, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_at_any_length_and_wait_until_whole() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let mut wire = Vec::new();
            put_frame(&mut wire, 2, &vec![7; len]);
            // As a server sends it: without the mask.
            wire[1] &= 0x7f;
            let mask = wire.len() - len - 4;
            wire.drain(mask..mask + 4);
            assert_eq!(split_frame(&wire[..wire.len() - 1]), Ok(None));
            wire.push(0x8a);
            assert_eq!(split_frame(&wire), Ok(Some((Frame::Data(&vec![7; len]), &[0x8a][..]))));
        }
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        let masked = [0x82, 0x81, 1, 2, 3, 4, 5];
        assert!(split_frame(&masked).unwrap_err().contains("masked"));
        let mut huge = vec![0x82, 127];
        huge.extend_from_slice(&u64::MAX.to_be_bytes());
        assert!(split_frame(&huge).unwrap_err().contains("18446744073709551615 bytes"));
    }

    #[test]
    fn an_answer_is_checked() {
        // The key and its proof of RFC 6455, section 1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let answer = |proof: &str| format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {proof}\r\n\r\n");
        assert_eq!(accepted(answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").as_bytes(), key), Ok(()));
        assert!(accepted(answer("x").as_bytes(), key).unwrap_err().contains("Accept is wrong"));
        assert!(accepted(b"HTTP/1.1 403 Forbidden\r\n\r\n", key).unwrap_err().contains("403 Forbidden"));
        assert!(accepted(b"SSH-2.0\r\n\r\n", key).unwrap_err().contains("no HTTP"));
    }
}
