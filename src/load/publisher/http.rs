//! Publishing by HTTP/1.1, pipelined; where a server ends its connections, one request after the other, each on what connection there is.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::Notify,
};

use super::{Answers, CLOSED, Outgoing, Publisher, READ_BYTES, Speaker, failed};
use crate::{
    client::Io,
    load::{Failure, profile::Profile, tally::Tally, unix_seconds, way::Road},
};

/// Longest answer to a publish, in bytes.
const LONGEST: usize = 1 << 20;

/// Says publishes as HTTP requests.
#[derive(Debug)]
pub(crate) struct Http {
    profile: Rc<dyn Profile>,
    host: String,
    requests: Rc<Requests>,
}

/// Requests that have not been answered.
#[derive(Debug, Default)]
struct Requests {
    list: RefCell<VecDeque<Vec<u8>>>,
    /// How many of them, from the front, have been written on this connection.
    written: Cell<usize>,
    /// The server ends connections, so what is written behind a request may be lost.
    singly: Cell<bool>,
    /// There may be something to write.
    changed: Notify,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn connect(profile: Rc<dyn Profile>, road: Rc<Road>, nth: usize, tally: Rc<Tally>) -> Result<Publisher, Failure> {
        let mut io = road.open(nth, false).await?;
        let requests = Rc::new(Requests::default());
        let publisher = Publisher::new(Box::new(Self { profile, host: road.way.host.clone(), requests: requests.clone() }), tally);
        let (answers, outgoing) = (publisher.answers.clone(), publisher.outgoing.clone());
        publisher.serve(async move {
            loop {
                if let Err(trouble) = requests.carry(io, &answers, &outgoing).await {
                    return trouble;
                }
                requests.written.set(0);
                match road.open(nth, false).await {
                    Ok(again) => io = again,
                    Err(failure) => return failure.to_string(),
                }
            }
        });
        Ok(publisher)
    }
}

impl Speaker for Http {
    fn speak(&mut self, outgoing: &Outgoing, group: &str, payload: &str) -> Result<(), String> {
        let request = self.profile.request(group, payload, unix_seconds());
        let request = request.ok_or("this profile does not publish by HTTP: --publish-by client")?;
        let (method, target, headers, body) = (request.method, &request.target, &request.headers, &request.body);
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n", self.host, body.len());
        let bytes = [head.as_bytes(), body].concat();
        outgoing.elsewhere.set(outgoing.elsewhere.get() + bytes.len());
        self.requests.list.borrow_mut().push_back(bytes);
        self.requests.changed.notify_one();
        Ok(())
    }

    fn is_answered(&self) -> bool {
        true
    }
}

impl Requests {
    /// Serves one connection; comes back when the server has ended it as it said it would.
    async fn carry(&self, io: Box<dyn Io>, answers: &Answers, outgoing: &Outgoing) -> Result<(), String> {
        let (read, write) = tokio::io::split(io);
        tokio::select! {
            heard = self.hear(read, answers, outgoing) => heard,
            error = self.write_out(write) => Err(failed(&error)),
        }
    }

    async fn write_out(&self, mut write: WriteHalf<Box<dyn Io>>) -> io::Error {
        loop {
            let bytes = self.next();
            if bytes.is_empty() {
                self.changed.notified().await;
                continue;
            }
            let written = async {
                write.write_all(&bytes).await?;
                write.flush().await
            };
            if let Err(error) = written.await {
                return error;
            }
        }
    }

    /// What may be written now.
    fn next(&self) -> Vec<u8> {
        let (list, written) = (self.list.borrow(), self.written.get());
        let upto = if self.singly.get() { list.len().min(1) } else { list.len() };
        self.written.set(upto.max(written));
        let mut bytes = Vec::new();
        list.range(written.min(upto)..upto).for_each(|request| bytes.extend_from_slice(request));
        bytes
    }

    async fn hear(&self, mut read: ReadHalf<Box<dyn Io>>, answers: &Answers, outgoing: &Outgoing) -> Result<(), String> {
        let mut bytes = Vec::with_capacity(READ_BYTES);
        loop {
            match read.read_buf(&mut bytes).await {
                Ok(0) => return Err(CLOSED.into()),
                Ok(_) => {}
                Err(error) => return Err(failed(&error)),
            }
            if self.listen(&mut bytes, answers, outgoing)? {
                return Ok(());
            }
        }
    }

    /// Takes whole responses off the front of `bytes`; whether the last of them says that the connection ends.
    fn listen(&self, bytes: &mut Vec<u8>, answers: &Answers, outgoing: &Outgoing) -> Result<bool, String> {
        let mut taken = 0;
        while let Some(Response { status, body, len, closes }) = split_response(&bytes[taken..])? {
            match status {
                // It announces another one.
                100..200 => {}
                200..300 => answers.accept(1),
                _ => answers.refuse(format!("HTTP {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]))),
            }
            taken += len;
            if (100..200).contains(&status) {
                continue;
            }
            self.answered(outgoing);
            if closes {
                self.singly.set(true);
                return Ok(true);
            }
        }
        bytes.drain(..taken);
        if bytes.len() > LONGEST {
            return Err(format!("the answer to a publish is longer than {LONGEST} bytes"));
        }
        Ok(false)
    }

    fn answered(&self, outgoing: &Outgoing) {
        let request = self.list.borrow_mut().pop_front().unwrap_or_default();
        self.written.set(self.written.get().saturating_sub(1));
        outgoing.elsewhere.set(outgoing.elsewhere.get().saturating_sub(request.len()));
        outgoing.taken.notify_one();
        if self.singly.get() {
            self.changed.notify_one();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Response<'a> {
    status: u16,
    /// With the marks of its chunks, if it came in chunks.
    body: &'a [u8],
    /// Of head and body together.
    len: usize,
    /// The server ends the connection after it.
    closes: bool,
}

/// The first response; `None` if it is not whole.
fn split_response(bytes: &[u8]) -> Result<Option<Response<'_>>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the answer to a publish is no HTTP: {error}")),
    };
    let header = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value);
    let status = response.code.unwrap_or(0);
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    let body = match (header("content-length"), header("transfer-encoding")) {
        (Some(length), _) => {
            let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse::<usize>().ok());
            Some(length.ok_or("the answer to a publish has a wrong Content-Length")?)
        }
        (None, Some(_)) => chunked_len(&bytes[head..])?,
        (None, None) if matches!(status, 100..200 | 204 | 304) => Some(0),
        (None, None) => return Err("the answer to a publish does not say how long it is".into()),
    };
    let whole = body.and_then(|body| bytes.get(head..head.checked_add(body)?));
    Ok(whole.map(|body| Response { status, body, len: head + body.len(), closes }))
}

/// Length of a body in chunks (RFC 9112, section 7.1) without trailers; `None` if it is not whole.
fn chunked_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((line, size))) => {
                let size = usize::try_from(size).map_err(|error| error.to_string())?;
                at = at.saturating_add(line + 2).saturating_add(size);
                if at > bytes.len() {
                    return Ok(None);
                }
                if size == 0 {
                    return Ok(Some(at));
                }
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("the answer to a publish has a wrong chunk".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::publisher::Counts;

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        let wire =
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 201 Yes\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
            HTTP/1.1 204 Yes\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nbad";
        for cut in 0..wire.len() {
            let (requests, answers, outgoing) = (Requests::default(), Answers::default(), Outgoing::default());
            let mut bytes = wire[..cut].to_vec();
            assert_eq!(requests.listen(&mut bytes, &answers, &outgoing), Ok(false));
            bytes.extend_from_slice(&wire[cut..]);
            assert_eq!(requests.listen(&mut bytes, &answers, &outgoing), Ok(false));
            let trouble = Some("HTTP 401: bad".to_owned());
            assert_eq!(answers.counts(), Counts { accepted: 3, refused: 1, trouble, ended: false });
            assert!(bytes.is_empty());
        }
        let listened = Requests::default().listen(&mut b"SSH-2.0-x\r\n".to_vec(), &Answers::default(), &Outgoing::default());
        assert!(listened.is_err());
    }

    #[test]
    fn answers_that_never_end_or_claim_any_length_are_refused() {
        let listen = |wire: &[u8]| Requests::default().listen(&mut wire.to_vec(), &Answers::default(), &Outgoing::default());
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        // They are awaited, up to a limit.
        assert_eq!((listen(huge.as_bytes()), listen(chunk)), (Ok(false), Ok(false)));
        let endless = [huge.as_bytes(), &vec![b'x'; LONGEST]].concat();
        assert!(listen(&endless).unwrap_err().contains("longer than 1048576 bytes"));
    }

    #[test]
    fn an_announcement_is_no_answer() {
        let answers = Answers::default();
        let mut wire = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        assert_eq!(Requests::default().listen(&mut wire, &answers, &Outgoing::default()), Ok(false));
        assert_eq!((answers.counts().accepted, answers.counts().refused), (1, 0));
    }

    #[test]
    fn after_a_server_has_ended_a_connection_requests_go_out_singly_and_none_is_left_out() {
        let (requests, answers, outgoing) = (Requests::default(), Answers::default(), Outgoing::default());
        requests.list.borrow_mut().extend([b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
        assert_eq!((requests.next(), requests.next()), (b"123".to_vec(), vec![]));
        let mut closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec();
        assert_eq!(requests.listen(&mut closing, &answers, &outgoing), Ok(true));
        // On the next connection.
        requests.written.set(0);
        assert_eq!((requests.next(), requests.next()), (b"2".to_vec(), vec![]));
        requests.answered(&outgoing);
        assert_eq!(requests.next(), b"3");
    }
}
