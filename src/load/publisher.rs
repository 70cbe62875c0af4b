//! Publishes by HTTP over one connection, without waiting for answers: the requests are pipelined (RFC 9112, section 9.3.2).

use std::{cell::RefCell, io, rc::Rc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

/// Where and as whom to publish.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host and port; plain HTTP.
    pub address: String,
    /// The API key.
    pub key: String,
}

/// What the server has answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    counts: RefCell<Counts>,
    changed: Notify,
}

/// How many answers of which sort.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    /// Answered with 2xx.
    pub accepted: u64,
    /// Answered with anything else.
    pub refused: u64,
    /// What the first refusal, or the end of the connection, said.
    pub trouble: Option<String>,
    /// The connection has ended.
    pub ended: bool,
}

impl Answers {
    /// As of now.
    #[must_use]
    pub(super) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Waits until this many requests have been answered, or no more answers can come.
    pub(super) async fn reach(&self, requests: u64) {
        loop {
            let counts = self.counts();
            if counts.ended || counts.accepted + counts.refused >= requests {
                return;
            }
            self.changed.notified().await;
        }
    }

    fn enter(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.borrow_mut());
        self.changed.notify_one();
    }
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Publisher {
    write: OwnedWriteHalf,
    head: String,
    waiting: Vec<u8>,
    /// What came back.
    pub answers: Rc<Answers>,
}

impl Publisher {
    /// Connects. Must be called in a `LocalSet`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = TcpStream::connect(&endpoint.address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let answers = Rc::new(Answers::default());
        #[expect(clippy::disallowed_methods, reason = "ends with the connection, which the caller holds")]
        tokio::task::spawn_local(listen(read, answers.clone()));
        let Endpoint { address, key } = endpoint;
        let head = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        Ok(Self { write, head, waiting: Vec::new(), answers })
    }

    /// Queues one message. The text must need no escapes in JSON.
    pub(super) fn queue(&mut self, group: &str, text: &str) {
        let body = format!(r#"{{"message":"{text}"}}"#);
        let request = format!("POST /v1/groups/{group}/messages HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
        self.waiting.extend_from_slice(request.as_bytes());
    }

    /// Writes all that is queued.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.write.write_all(&self.waiting).await?;
        self.waiting.clear();
        Ok(())
    }
}

async fn listen(mut read: OwnedReadHalf, answers: Rc<Answers>) {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let trouble = match read.read_buf(&mut buffer).await {
            Ok(0) => Some("the server closed the publisher's connection".to_owned()),
            Ok(_) => take_answers(&mut buffer, &answers).err(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(trouble) = trouble {
            return answers.enter(|counts| {
                counts.ended = true;
                counts.trouble.get_or_insert(trouble);
            });
        }
    }
}

/// Counts the whole answers at the front of the buffer and removes them.
fn take_answers(buffer: &mut Vec<u8>, answers: &Answers) -> Result<(), String> {
    let mut taken = 0;
    while let Some(Answer { status, body, len }) = split_answer(&buffer[taken..])? {
        answers.enter(|counts| match status {
            200..300 => counts.accepted += 1,
            _ => {
                counts.refused += 1;
                counts.trouble.get_or_insert_with(|| format!("HTTP {status}: {}", String::from_utf8_lossy(body)));
            }
        });
        taken += len;
    }
    buffer.drain(..taken);
    Ok(())
}

struct Answer<'a> {
    status: u16,
    body: &'a [u8],
    /// Of head and body together.
    len: usize,
}

/// The first answer; `None` if it is not whole.
fn split_answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the answer to a publish is no HTTP: {error}")),
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let end = head + length.ok_or("the answer to a publish has no Content-Length")?;
    Ok(bytes.get(head..end).map(|body| Answer { status: response.code.unwrap_or(0), body, len: end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nbad";
        for cut in 0..wire.len() {
            let answers = Answers::default();
            let mut buffer = wire[..cut].to_vec();
            take_answers(&mut buffer, &answers).unwrap();
            buffer.extend_from_slice(&wire[cut..]);
            take_answers(&mut buffer, &answers).unwrap();
            let trouble = Some("HTTP 401: bad".to_owned());
            assert_eq!(answers.counts(), Counts { accepted: 1, refused: 1, trouble, ended: false });
            assert!(buffer.is_empty());
        }
        assert!(take_answers(&mut b"SSH-2.0-x\r\n".to_vec(), &Answers::default()).is_err());
    }
}
