//! A stream on which answers to requests that came together leave together.
//!
//! hyper wants every answer written at once, and its own way of waiting (`pipeline_flush`) loses an answer that is the last of its connection while bytes stand behind the request: refusals,
//! and upgrades. Here what is written is held until hyper has read all there is and would wait for more, ends the stream, or has written a lot. Its invariant: whoever waits for the peer
//! has written to it before.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of answers that wait for one another, at most; a longer one goes at once.
const HELD_BYTES: usize = 16 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Answers<S> {
    stream: S,
    held: BytesMut,
}

impl<S> Answers<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, held: BytesMut::new() }
    }

    /// The stream, and what is still to be written on it.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.held.freeze())
    }
}

impl<S: AsyncWrite + Unpin> Answers<S> {
    /// Writes all that is held.
    fn poll_let_go(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.held.advance(written),
            }
        }
        // An idle connection keeps no memory.
        self.held = BytesMut::new();
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Answers<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_pending()
            && !this.held.is_empty()
            && let Poll::Ready(Err(error)) = this.poll_let_go(cx)
        {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answers<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if this.held.len() + len > HELD_BYTES {
            ready!(this.poll_let_go(cx))?;
            if len > HELD_BYTES {
                return Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
            }
        }
        bufs.iter().for_each(|buf| this.held.extend_from_slice(buf));
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes after each answer; what is held leaves when it reads on.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() { Pin::new(&mut this.stream).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_let_go(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What the peer has got by now.
    async fn got(peer: &mut tokio::io::DuplexStream) -> Vec<u8> {
        let mut buffer = vec![0; 64 * 1024];
        let reading = peer.read(&mut buffer);
        let len = tokio::select! { biased; len = reading => len.unwrap(), () = std::future::ready(()) => 0 };
        buffer.truncate(len);
        buffer
    }

    #[tokio::test]
    async fn answers_leave_together_when_there_is_nothing_more_to_read() {
        let (stream, mut peer) = duplex(64 * 1024);
        let mut answers = Answers::new(stream);
        for answer in [b"one", b"two"] {
            answers.write_all(answer).await.unwrap();
            answers.flush().await.unwrap();
        }
        assert_eq!(got(&mut peer).await, b"");
        let mut byte = [0];
        tokio::select! { biased; _ = answers.read(&mut byte) => panic!("there is nothing"), () = std::future::ready(()) => {} }
        assert_eq!(got(&mut peer).await, b"onetwo");
        assert_eq!(answers.held.capacity(), 0);
    }

    #[tokio::test]
    async fn what_is_long_goes_at_once_behind_what_was_held_and_the_end_behind_all() {
        let (stream, mut peer) = duplex(64 * 1024);
        let mut answers = Answers::new(stream);
        answers.write_all(b"head").await.unwrap();
        answers.write_all(&[b'x'; HELD_BYTES + 1]).await.unwrap();
        assert_eq!(got(&mut peer).await.len(), 4 + HELD_BYTES + 1);
        answers.write_all(b"tail").await.unwrap();
        answers.shutdown().await.unwrap();
        assert_eq!(got(&mut peer).await, b"tail");
        let mut answers = Answers::new(duplex(8).0);
        answers.write_all(b"upgrade").await.unwrap();
        assert_eq!(&answers.into_parts().1[..], b"upgrade");
    }
}
