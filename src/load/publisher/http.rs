//! Publishing by HTTP/1.1.

use std::rc::Rc;

use super::{Answers, Listener, Outgoing, Publisher, Speaker};
use crate::load::{Failure, profile::Profile, unix_seconds, way::Road};

/// Says publishes as HTTP requests.
#[derive(Debug)]
pub(crate) struct Http {
    profile: Rc<dyn Profile>,
    host: String,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn connect(profile: Rc<dyn Profile>, road: &Road, nth: usize) -> Result<Publisher, Failure> {
        let io = road.open(nth, false).await?;
        let host = road.way.host.clone();
        Ok(Publisher::start(io, Box::new(Self { profile, host }), Responses, Vec::new()))
    }
}

impl Speaker for Http {
    fn speak(&mut self, out: &mut Vec<u8>, group: &str, payload: &str) -> Result<(), String> {
        let request = self.profile.request(group, payload, unix_seconds());
        let request = request.ok_or("this profile does not publish by HTTP: --publish-by client")?;
        let (method, target, headers, body) = (request.method, &request.target, &request.headers, &request.body);
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n", self.host, body.len());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
        Ok(())
    }

    fn is_answered(&self) -> bool {
        true
    }
}

struct Responses;

impl Listener for Responses {
    fn listen(&mut self, bytes: &mut Vec<u8>, answers: &Answers, _: &Outgoing) -> Result<(), String> {
        let mut taken = 0;
        while let Some(Response { status, body, len }) = split_response(&bytes[taken..])? {
            match status {
                200..300 => answers.accept(1),
                _ => answers.refuse(format!("HTTP {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]))),
            }
            taken += len;
        }
        bytes.drain(..taken);
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Response<'a> {
    status: u16,
    /// With the marks of its chunks, if it came in chunks.
    body: &'a [u8],
    /// Of head and body together.
    len: usize,
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
    let body = match (header("content-length"), header("transfer-encoding")) {
        (Some(length), _) => {
            let length = std::str::from_utf8(length).ok().and_then(|length| length.trim().parse::<usize>().ok());
            Some(length.ok_or("the answer to a publish has a wrong Content-Length")?)
        }
        (None, Some(_)) => chunked_len(&bytes[head..])?,
        (None, None) if matches!(status, 204 | 304) => Some(0),
        (None, None) => return Err("the answer to a publish does not say how long it is".into()),
    };
    let whole = body.and_then(|body| bytes.get(head..head + body));
    Ok(whole.map(|body| Response { status, body, len: head + body.len() }))
}

/// Length of a body in chunks (RFC 9112, section 7.1) without trailers; `None` if it is not whole.
fn chunked_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((line, size))) => {
                let size = usize::try_from(size).map_err(|error| error.to_string())?;
                at += line + size + 2;
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
            let (answers, outgoing) = (Answers::default(), Outgoing::default());
            let mut bytes = wire[..cut].to_vec();
            Responses.listen(&mut bytes, &answers, &outgoing).unwrap();
            bytes.extend_from_slice(&wire[cut..]);
            Responses.listen(&mut bytes, &answers, &outgoing).unwrap();
            let trouble = Some("HTTP 401: bad".to_owned());
            assert_eq!(answers.counts(), Counts { accepted: 3, refused: 1, trouble, ended: false });
            assert!(bytes.is_empty());
        }
        let listened = Responses.listen(&mut b"SSH-2.0-x\r\n".to_vec(), &Answers::default(), &Outgoing::default());
        assert!(listened.is_err());
    }
}
