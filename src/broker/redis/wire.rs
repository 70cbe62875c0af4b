//! One connection to Redis: TCP, maybe TLS, and having got in. Who uses it decides what a silence means.

use std::{io, path::Path, sync::Arc};

use bytes::{Buf as _, BytesMut};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    Url,
    command::Command,
    resp::{self, Malformed, Reply},
};

/// Why a link can't be made, or has ended. Sentences for operators; no secret is in them.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// TCP or TLS failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The certificates to trust can't be read.
    #[error("redis.ca = {path}: {reason}")]
    Authorities {
        /// Where they should be.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It took too long.
    #[error("no answer within {0:?}")]
    Silent(std::time::Duration),
    /// The other end closed the connection.
    #[error("Redis closed the connection")]
    Closed,
    /// The bytes are no RESP.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// It does not do what is asked of it.
    #[error("Redis refuses: {0}")]
    Refused(String),
    /// It can't be written to.
    #[error("this Redis is a replica; the primary is needed")]
    Replica,
    /// It is a part of a Redis Cluster.
    #[error(
        "this Redis has cluster mode on, where keys move between servers; use one without (cluster-enabled no), or several in redis.urls"
    )]
    Cluster,
    /// No sentinel says where the primary is.
    #[error("none of {sentinels} sentinels says where {name} is; the last one: {why}")]
    Nowhere {
        /// How sentinels know the primary.
        name: String,
        /// How many were asked.
        sentinels: usize,
        /// What became of the last attempt.
        why: Box<Self>,
    },
    /// A sentinel does not watch a primary of that name.
    #[error("it watches no primary of that name")]
    UnknownName,
    /// Sentinels say that the primary is elsewhere.
    #[error("the sentinels say that another server is the primary now")]
    Replaced,
    /// No free number was found.
    #[error("all node numbers that were tried are taken")]
    NoNumber,
    /// It answered something else than was asked for.
    #[error("Redis answered something unexpected")]
    Unexpected,
}

/// What a server of a Redis Cluster says to who treats it as a server of its own.
const CLUSTER: [&str; 4] = ["MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN"];

impl LinkError {
    /// What a refusal means.
    pub(super) fn refused(why: String) -> Self {
        if CLUSTER.iter().any(|word| says(&why, word)) { Self::Cluster } else { Self::Refused(why) }
    }
}

/// Whether an error of Redis is of this kind. Before Redis 7 a script's error hides behind words of its own.
pub(super) fn says(why: &str, word: &str) -> bool {
    let mut rest = why;
    while let Some((before, after)) = rest.split_once(word) {
        if after.starts_with(' ') && (before.is_empty() && rest.len() == why.len() || before.ends_with(" -")) {
            return true;
        }
        rest = after;
    }
    false
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// See the [module](self).
pub(super) struct Wire {
    reader: ReadHalf<Box<dyn Io>>,
    writer: WriteHalf<Box<dyn Io>>,
    input: BytesMut,
    /// What is to be written.
    pub(super) output: BytesMut,
    /// TLS may hold back bytes that were written.
    flushed: bool,
}

/// What is read at once; also how much a burst is taken in before it is looked at.
const READ_BYTES: usize = 64 << 10;

impl Wire {
    /// Connects and logs in. The caller bounds the time.
    pub(super) async fn connect(url: &Url, ca: Option<&Path>) -> Result<Self, LinkError> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        stream.set_nodelay(true)?;
        let io: Box<dyn Io> = if url.tls { Box::new(secure(url, ca, stream).await?) } else { Box::new(stream) };
        let (reader, writer) = tokio::io::split(io);
        let mut wire = Self { reader, writer, input: BytesMut::new(), output: BytesMut::new(), flushed: true };
        wire.log_in(url).await?;
        Ok(wire)
    }

    async fn log_in(&mut self, url: &Url) -> Result<(), LinkError> {
        if let Some(password) = &url.password {
            let words: Vec<&[u8]> =
                std::iter::once(&b"AUTH"[..]).chain(url.user.as_deref().map(str::as_bytes)).chain([password.as_bytes()]).collect();
            self.call(&Command::plain(&words)).await?;
        }
        if url.database != 0 {
            self.call(&Command::plain(&[b"SELECT", url.database.to_string().as_bytes()])).await?;
        }
        // Only for those who look at the server's list of clients: a refusal is no harm.
        match self.call(&Command::plain(&[b"CLIENT", b"SETNAME", b"fanfare"])).await {
            Ok(_) => Ok(()),
            Err(LinkError::Refused(why)) if !why.starts_with("NOAUTH") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives one command and waits for its answer; for the time before a link is in use.
    pub(super) async fn call(&mut self, command: &Command) -> Result<Reply, LinkError> {
        command.write(&mut self.output, true);
        loop {
            match self.next()? {
                Some(Reply::Error(why)) => return Err(LinkError::refused(why)),
                Some(reply) => return Ok(reply),
                None => self.turn().await?,
            }
        }
    }

    /// The next reply that has come in whole.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Malformed> {
        resp::decode(&mut self.input)
    }

    /// Reads or writes some bytes. Safe to cancel.
    pub(super) async fn turn(&mut self) -> Result<(), LinkError> {
        let Self { reader, writer, input, output, flushed } = self;
        input.reserve(READ_BYTES);
        let may_write = output.has_remaining() || !*flushed;
        tokio::select! {
            read = reader.read_buf(input) => match read? {
                0 => Err(LinkError::Closed),
                _ => Ok(()),
            },
            wrote = write(writer, output, flushed), if may_write => Ok(wrote?),
        }
    }
}

/// Writes some bytes, or flushes if all have been written. Safe to cancel.
async fn write(writer: &mut WriteHalf<Box<dyn Io>>, output: &mut BytesMut, flushed: &mut bool) -> io::Result<()> {
    if output.has_remaining() {
        *flushed = false;
        return match writer.write_buf(output).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(()),
        };
    }
    writer.flush().await?;
    *flushed = true;
    Ok(())
}

async fn secure(url: &Url, ca: Option<&Path>, stream: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>, LinkError> {
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    let client = rustls::ClientConfig::builder().with_root_certificates(authorities(ca)?).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)).connect(name, stream).await?)
}

/// Whom to believe: the file that was named, else the system's.
fn authorities(ca: Option<&Path>) -> Result<rustls::RootCertStore, LinkError> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        Some(path) => {
            let failed = |reason: String| LinkError::Authorities { path: path.display().to_string(), reason };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| failed(error.to_string()))?).map_err(|error| failed(error.to_string()))?;
            }
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_known_by_its_word_also_inside_of_a_script() {
        let old = "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -READONLY You can't write against a read only replica.";
        assert!(says("READONLY You can't write", "READONLY") && says(old, "READONLY"));
        assert!(!says("ERR unknown command 'READONLY '", "READONLY") && !says("READONLYX y", "READONLY") && !says("READONLY", "READ"));
        for word in CLUSTER {
            assert!(matches!(LinkError::refused(format!("{word} 1 127.0.0.1:7001")), LinkError::Cluster));
        }
        assert!(matches!(LinkError::refused("ERR no MOVED here".into()), LinkError::Refused(_)));
    }
}
