//! The bytes of HTTP/3 that WebTransport needs (RFC 9114, RFC 9220, draft-ietf-webtrans-http3): settings, the request for a session and its answer, what streams begin with,
//! and capsules. No I/O.

use wtransport::proto::{frame::Frame, headers::Headers};

use crate::protocol::read_prefix;

/// Longest head of a request, in bytes. Browsers send a few hundred; a token in the query may be long.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// Codes of RFC 9114, section 8.1, and of WebTransport.
pub(super) mod code {
    /// A stream of a type that can't be here, or the second of one that is there once.
    pub(crate) const STREAM_CREATION: u32 = 0x103;
    /// A stream that has to stay open was closed.
    pub(crate) const CLOSED_CRITICAL_STREAM: u32 = 0x104;
    /// A frame that can't be here.
    pub(crate) const FRAME_UNEXPECTED: u32 = 0x105;
    /// A frame that is no frame.
    pub(crate) const FRAME: u32 = 0x106;
    /// More than we keep.
    pub(crate) const EXCESSIVE_LOAD: u32 = 0x107;
    /// The control stream begins with something else than settings.
    pub(crate) const MISSING_SETTINGS: u32 = 0x10a;
    /// A second request.
    pub(crate) const REQUEST_REJECTED: u32 = 0x10b;
    /// A stream that was given up.
    pub(crate) const REQUEST_CANCELLED: u32 = 0x10c;
    /// A head that is no head.
    pub(crate) const MESSAGE: u32 = 0x10e;
    /// A stream of a session that isn't there.
    pub(crate) const SESSION_GONE: u32 = 0x170d_7b68;
}

/// Types of frames.
mod frame {
    pub(super) const DATA: u64 = 0x00;
    pub(super) const HEADERS: u64 = 0x01;
    pub(super) const CANCEL_PUSH: u64 = 0x03;
    pub(super) const SETTINGS: u64 = 0x04;
    pub(super) const PUSH_PROMISE: u64 = 0x05;
    pub(super) const MAX_PUSH_ID: u64 = 0x0d;
    /// Not followed by a length but by the session.
    pub(super) const WEBTRANSPORT_STREAM: u64 = 0x41;
}

/// The capsule that ends a session.
const CLOSE_SESSION: u64 = 0x2843;

/// Longest capsule that we have to understand: a code, and a reason of 1,024 bytes.
const CAPSULE_BYTES: usize = 1028;

/// Our control stream: its type, and settings that allow sessions. The codes are those of the drafts that browsers speak today (02 and 07), as wtransport has them.
#[must_use]
pub(super) fn control_stream() -> Vec<u8> {
    use wtransport::{VarInt, proto::settings::Settings};
    let settings = Settings::builder()
        .qpack_max_table_capacity(VarInt::from_u32(0))
        .qpack_blocked_streams(VarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_webtransport()
        .enable_h3_datagrams()
        .webtransport_max_sessions(VarInt::from_u32(1))
        .build();
    let mut bytes = vec![0];
    settings.generate_frame().write(&mut bytes).expect("a vector grows");
    bytes
}

/// The head of an answer.
#[must_use]
pub(super) fn answer(status: u16) -> Vec<u8> {
    let headers: Headers = [(":status", status)].into_iter().collect();
    let mut bytes = Vec::new();
    headers.generate_frame().write(&mut bytes).expect("a vector grows");
    bytes
}

/// What ends a session, on the stream of its request.
#[must_use]
pub(super) fn close_session(code: u16, reason: &str) -> Vec<u8> {
    let mut capsule = Vec::new();
    put_number(&mut capsule, CLOSE_SESSION);
    put_number(&mut capsule, 4 + reason.len() as u64);
    capsule.extend_from_slice(&u32::from(code).to_be_bytes());
    capsule.extend_from_slice(reason.as_bytes());
    let mut bytes = Vec::new();
    put_number(&mut bytes, frame::DATA);
    put_number(&mut bytes, capsule.len() as u64);
    bytes.extend_from_slice(&capsule);
    bytes
}

/// A number as QUIC writes it (RFC 9000, section 16); below 2^30.
fn put_number(bytes: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x3f => bytes.push((number & 0xff) as u8),
        0x40..=0x3fff => bytes.extend_from_slice(&((number as u16) | 0x4000).to_be_bytes()),
        _ => bytes.extend_from_slice(&((number as u32) | 0x8000_0000).to_be_bytes()),
    }
}

/// A request, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// It asks for a WebTransport session, and not for a document.
    pub is_session: bool,
    /// The path, without the query.
    pub path: String,
    /// The page that wants it.
    pub origin: Option<String>,
}

impl Request {
    fn parse(head: &[u8]) -> Result<Self, u32> {
        let headers = Headers::with_frame(&Frame::new_headers(head.into())).map_err(|_| code::MESSAGE)?;
        let field = |name: &str| headers.get(name).map(str::to_owned);
        let path = field(":path").ok_or(code::MESSAGE)?;
        let is_session = headers.get(":method") == Some("CONNECT") && headers.get(":protocol") == Some("webtransport");
        Ok(Self { is_session, path: path.split('?').next().unwrap_or_default().to_owned(), origin: field("origin") })
    }
}

/// What a stream that the client opened in both directions begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Not whole yet; so many bytes in front have to be skipped and can be forgotten.
    Incomplete(usize),
    /// A request.
    Request(Request),
    /// A stream of this session; its own bytes begin after so many.
    Session(u64, usize),
}

/// Reads what a stream begins with; the error is the code to close the connection with.
pub(super) fn beginning(bytes: &[u8]) -> Result<Beginning, u32> {
    let mut rest = bytes;
    let mut skipped = 0;
    while let Some(kind) = number(&mut rest) {
        let Some(second) = number(&mut rest) else { break };
        if kind == frame::WEBTRANSPORT_STREAM {
            return Ok(Beginning::Session(second, bytes.len() - rest.len()));
        }
        let len = usize::try_from(second).unwrap_or(usize::MAX);
        if len > HEAD_BYTES {
            return Err(code::EXCESSIVE_LOAD);
        }
        match kind {
            frame::HEADERS => {
                return rest.get(..len).map_or(Ok(Beginning::Incomplete(skipped)), |head| Request::parse(head).map(Beginning::Request));
            }
            frame::DATA | frame::CANCEL_PUSH | frame::SETTINGS | frame::PUSH_PROMISE | frame::MAX_PUSH_ID => {
                return Err(code::FRAME_UNEXPECTED);
            }
            // Others have to be skipped (section 9).
            _ => match rest.get(len..) {
                Some(after) => {
                    rest = after;
                    skipped = bytes.len() - rest.len();
                }
                None => break,
            },
        }
    }
    Ok(Beginning::Incomplete(skipped))
}

/// Reads the type of a stream in one direction; `None`: not whole yet.
#[must_use]
pub(super) fn stream_type(bytes: &[u8]) -> Option<(StreamType, usize)> {
    let (width, number) = read_prefix(bytes)?;
    let kind = match number {
        0 => StreamType::Control,
        2 | 3 => StreamType::Qpack,
        _ => StreamType::Other,
    };
    Some((kind, width))
}

/// A stream in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamType {
    /// Settings, and not much after them.
    Control,
    /// Changes of a table that we have told to be empty.
    Qpack,
    /// Nothing that we use.
    Other,
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (width, number) = read_prefix(bytes)?;
    *bytes = &bytes[width..];
    Some(number)
}

/// Cuts bytes into type, length and value, as both frames and capsules are built. Keeps only values that are wanted, and no more than is allowed.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    buffer: Vec<u8>,
    /// So much of the buffer has been cut off.
    at: usize,
    skip: u64,
}

impl Cutter {
    fn push(&mut self, bytes: &[u8]) {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        self.buffer.drain(..std::mem::take(&mut self.at));
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// The next value's type, and the value if it is wanted.
    fn next(&mut self, limit: usize, wanted: impl Fn(u64) -> bool) -> Result<Option<(u64, Vec<u8>)>, u32> {
        let mut rest = &self.buffer[self.at..];
        let before = rest.len();
        let (Some(kind), Some(len)) = (number(&mut rest), number(&mut rest)) else { return Ok(None) };
        let head = before - rest.len();
        let here = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        if !wanted(kind) {
            self.skip = len - here as u64;
            self.at += head + here;
            return Ok(Some((kind, Vec::new())));
        }
        if len > limit as u64 {
            return Err(code::EXCESSIVE_LOAD);
        }
        if (here as u64) < len {
            return Ok(None);
        }
        let value = rest[..here].to_vec();
        self.at += head + here;
        Ok(Some((kind, value)))
    }

    /// Bytes that wait for the rest of their value.
    #[cfg(any(test, feature = "fuzzing"))]
    fn kept(&self) -> usize {
        self.buffer.len() - self.at
    }
}

/// The client's control stream.
#[derive(Debug, Default)]
pub(super) struct Control {
    frames: Cutter,
    settings: bool,
}

impl Control {
    /// Takes what has come; the error is the code to close the connection with.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), u32> {
        self.frames.push(bytes);
        while let Some((kind, settings)) = self.frames.next(HEAD_BYTES, |kind| kind == frame::SETTINGS)? {
            match (kind, self.settings) {
                (frame::SETTINGS, false) => {
                    check_settings(&settings)?;
                    self.settings = true;
                }
                (_, false) => return Err(code::MISSING_SETTINGS),
                (frame::SETTINGS | frame::DATA | frame::HEADERS | frame::PUSH_PROMISE, true) => return Err(code::FRAME_UNEXPECTED),
                // GOAWAY, MAX_PUSH_ID, and what is unknown: nothing that we would do otherwise.
                (_, true) => {}
            }
        }
        Ok(())
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn kept(&self) -> usize {
        self.frames.kept()
    }
}

/// Which settings the client has does not matter, because it has asked for a session; only that they are settings.
fn check_settings(mut bytes: &[u8]) -> Result<(), u32> {
    while !bytes.is_empty() {
        if number(&mut bytes).is_none() || number(&mut bytes).is_none() {
            return Err(code::FRAME);
        }
    }
    Ok(())
}

/// What follows a request that was accepted: capsules in DATA frames.
#[derive(Debug, Default)]
pub(super) struct Capsules {
    frames: Cutter,
    capsules: Cutter,
}

impl Capsules {
    /// Takes what has come; says whether the session is over by it. The error is the code to close the connection with.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, u32> {
        self.frames.push(bytes);
        while let Some((_, data)) = self.frames.next(HEAD_BYTES, |kind| kind == frame::DATA)? {
            self.capsules.push(&data);
            while let Some((kind, _)) = self.capsules.next(CAPSULE_BYTES, |kind| kind == CLOSE_SESSION)? {
                if kind == CLOSE_SESSION {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn kept(&self) -> usize {
        self.frames.kept() + self.capsules.kept()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(fields: &[(&str, &str)]) -> Vec<u8> {
        let headers: Headers = fields.iter().copied().collect();
        let mut bytes = Vec::new();
        headers.generate_frame().write(&mut bytes).unwrap();
        bytes
    }

    const CONNECT: [(&str, &str); 6] = [
        (":method", "CONNECT"),
        (":protocol", "webtransport"),
        (":scheme", "https"),
        (":authority", "localhost:4433"),
        (":path", "/fanfare?token=x"),
        ("origin", "https://good.example"),
    ];

    #[test]
    fn a_request_is_read_behind_frames_that_have_to_be_skipped() {
        let bytes = [&[0x21, 2, 7, 7][..], &request(&CONNECT)].concat();
        for end in 0..bytes.len() {
            assert_eq!(beginning(&bytes[..end]), Ok(Beginning::Incomplete(if end < 4 { 0 } else { 4 })));
        }
        let wanted = Request { is_session: true, path: "/fanfare".into(), origin: Some("https://good.example".into()) };
        assert_eq!(beginning(&bytes), Ok(Beginning::Request(wanted)));
        let get = request(&[(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]);
        assert!(matches!(beginning(&get), Ok(Beginning::Request(Request { is_session: false, .. }))));
    }

    #[test]
    fn a_stream_of_a_session_says_which_and_where_it_begins() {
        assert_eq!(beginning(&[0x40, 0x41, 4, 9, 9]), Ok(Beginning::Session(4, 3)));
        assert_eq!(beginning(&[0x40, 0x41]), Ok(Beginning::Incomplete(0)));
    }

    #[test]
    fn what_cannot_begin_a_stream_is_told_by_its_code() {
        assert_eq!(beginning(&[0, 1, 7]), Err(code::FRAME_UNEXPECTED));
        assert_eq!(beginning(&[1, 3, 0xff, 0xff, 0xff]), Err(code::MESSAGE));
        assert_eq!(beginning(&[0x21, 0x80, 1, 0, 0]), Err(code::EXCESSIVE_LOAD));
        assert_eq!(beginning(&request(&[(":method", "CONNECT")])), Err(code::MESSAGE));
    }

    #[test]
    fn the_control_stream_begins_with_settings_and_has_them_once() {
        let ours = control_stream();
        assert_eq!(stream_type(&ours), Some((StreamType::Control, 1)));
        let mut control = Control::default();
        for byte in &ours[1..] {
            assert_eq!(control.push(&[*byte]), Ok(()));
        }
        // A frame that is unknown, long, and comes in pieces.
        assert_eq!(control.push(&[0x21, 0x80, 1, 0, 0]), Ok(()));
        for _ in 0..64 {
            assert_eq!(control.push(&[0; 1024]), Ok(()));
        }
        assert_eq!(control.kept(), 0);
        assert_eq!(control.push(&ours[1..]), Err(code::FRAME_UNEXPECTED));
        assert_eq!(Control::default().push(&[0x21, 0]), Err(code::MISSING_SETTINGS));
        assert_eq!(Control::default().push(&[4, 1, 0x40]), Err(code::FRAME));
    }

    #[test]
    fn a_session_ends_by_its_capsule_and_by_no_other() {
        let end = close_session(4000, "the reason");
        let mut capsules = Capsules::default();
        // A capsule of another type, in two frames.
        assert_eq!(capsules.push(&[0, 3, 0x40, 0x78, 3, 0, 3, 1, 2, 3]), Ok(false));
        for byte in &end[..end.len() - 1] {
            assert_eq!(capsules.push(&[*byte]), Ok(false));
        }
        assert_eq!(capsules.push(&end[end.len() - 1..]), Ok(true));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, cut in 0..64usize) {
            let _ = beginning(&bytes);
            let _ = stream_type(&bytes);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let (mut control, mut capsules) = (Control::default(), Capsules::default());
            let _ = control.push(first).and_then(|()| control.push(second));
            let _ = capsules.push(first).and_then(|_| capsules.push(second));
        }
    }
}
