//! Certificates and TLS configuration.
//!
//! Makes and keeps the development pair, reads an operator's files, and makes of either what TCP and QUIC listeners need. Its invariant: a [`Certificate`] is valid at the time that it was made
//! for, and its key belongs to it.

use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};

/// Browsers take a certificate by its hash only if it is valid for at most 14 days (WebTransport, section "Using a custom certificate verification"). 13 days from now and the
/// back-dating together stay below.
const DEVELOPMENT_VALIDITY: Duration = Duration::from_secs(13 * 24 * 3600);

/// For clients whose clock is behind.
const BACK_DATING: Duration = Duration::from_secs(4 * 3600);

/// A development certificate is renewed when it has less than this left, so that a server started on Friday still works on Sunday.
const RENEW_BEFORE: Duration = Duration::from_secs(2 * 24 * 3600);

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {rule}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it has to hold.
        rule: String,
    },
    /// The certificate is not valid now.
    #[error("{path}: the certificate is valid from {from} to {to}, not now", path = path.display())]
    NotNow {
        /// Which file.
        path: PathBuf,
        /// RFC 3339.
        from: String,
        /// RFC 3339.
        to: String,
    },
    /// The certificate can't be made.
    #[error("a certificate can't be made: {0}")]
    Make(#[from] rcgen::Error),
    /// rustls does not take certificate and key together.
    #[error("certificate and key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The file of the development certificate in a directory.
#[must_use]
pub fn development_certificate_path(dir: &Path) -> PathBuf {
    dir.join("dev-cert.pem")
}

/// The file of the development key in a directory.
#[must_use]
pub fn development_key_path(dir: &Path) -> PathBuf {
    dir.join("dev-key.pem")
}

/// The development certificate kept in `dir`. A new one is made if there is none that can be used, if it ends within two days of `now`, or if `renew` asks for it.
///
/// # Errors
/// The directory can't be written.
pub fn development(dir: &Path, now: SystemTime, renew: bool) -> Result<Certificate, Error> {
    let (certificate, key) = (development_certificate_path(dir), development_key_path(dir));
    if !renew && let Some(kept) = kept(dir, now) {
        return Ok(kept);
    }
    fs::create_dir_all(dir).map_err(|source| Error::File { what: "creating directory", path: dir.to_owned(), source })?;
    // Nodes that start at once in one directory share one pair.
    let _turn = turn(dir)?;
    if !renew && let Some(kept) = kept(dir, now) {
        return Ok(kept);
    }
    let (certificate_pem, key_pem) = make_development(now)?;
    write(&key, &key_pem)?;
    write(&certificate, &certificate_pem)?;
    load(&certificate, &key, now)
}

/// The pair in `dir`, if it can be used and for long enough.
fn kept(dir: &Path, now: SystemTime) -> Option<Certificate> {
    let kept = load(&development_certificate_path(dir), &development_key_path(dir), now).ok()?;
    (kept.not_after > now + RENEW_BEFORE).then_some(kept)
}

/// Waits for whoever is making a pair in `dir`; the next one's turn comes when the file is dropped.
fn turn(dir: &Path) -> Result<fs::File, Error> {
    let path = dir.join("dev.lock");
    let file = fs::File::create(&path).and_then(|file| file.lock().map(|()| file));
    file.map_err(|source| Error::File { what: "locking", path, source })
}

fn make_development(now: SystemTime) -> Result<(String, String), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "fanfare development");
    params.not_before = (now - BACK_DATING).into();
    params.not_after = (now + DEVELOPMENT_VALIDITY).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Writes a file that only its owner may read, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let result = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path));
    result.map_err(|source| Error::File { what: "writing", path: path.to_owned(), source })
}

/// An operator's certificate chain and key, from PEM files.
///
/// # Errors
/// A file can't be read or doesn't hold what it should, the key is another's, or the certificate isn't valid at `now`.
pub fn load(certificate: &Path, key: &Path, now: SystemTime) -> Result<Certificate, Error> {
    let content = |path: &Path, rule: String| Error::Content { path: path.to_owned(), rule };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| content(certificate, format!("has to hold certificates in PEM form: {error}")))?;
    let Some(leaf) = chain.first() else {
        return Err(content(certificate, "holds no certificate in PEM form".into()));
    };
    let (_, parsed) =
        x509_parser::parse_x509_certificate(leaf).map_err(|error| content(certificate, format!("holds no X.509 certificate: {error}")))?;
    let validity = parsed.validity();
    let time = |time: x509_parser::time::ASN1Time| UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    if now < not_before || now > not_after {
        return Err(Error::NotNow { path: certificate.to_owned(), from: rfc3339(not_before), to: rfc3339(not_after) });
    }
    let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| content(key, format!("has to hold a private key in PEM form: {error}")))?;
    let loaded = Certificate { chain, key: key_der, not_before, not_after };
    loaded.tcp().map_err(|error| content(key, format!("is not the key of {}: {error}", certificate.display())))?;
    Ok(loaded)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { what: "reading", path: path.to_owned(), source })
}

/// A time for people, in UTC.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let whole = time::OffsetDateTime::from(time).replace_nanosecond(0).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    whole.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

impl Certificate {
    /// The SHA-256 of the first certificate's DER: what browsers want in `serverCertificateHashes`.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let first: &[u8] = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
        Sha256::digest(first).into()
    }

    /// The names and addresses that the first certificate is for, as browsers see them: its subject alternative names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let Some((_, parsed)) = self.chain.first().and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok()) else {
            return Vec::new();
        };
        let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
        names.value.general_names.iter().filter_map(name).collect()
    }

    /// TLS 1.2 and 1.3 with HTTP/1.1, rustls' own choice of ciphers.
    ///
    /// # Errors
    /// The key is not that of the certificate.
    pub fn tcp(&self) -> Result<Arc<ServerConfig>, Error> {
        self.server_config(rustls::DEFAULT_VERSIONS, b"http/1.1").map(Arc::new)
    }

    /// TLS 1.3 with HTTP/3 (RFC 9001, section 4.2). No early data: hello must not be replayed.
    ///
    /// # Errors
    /// The key is not that of the certificate.
    pub fn quic(&self) -> Result<Arc<ServerConfig>, Error> {
        let mut config = self.server_config(&[&rustls::version::TLS13], b"h3")?;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    fn server_config(&self, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[u8]) -> Result<ServerConfig, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![alpn.to_vec()];
        // One ticket is what a client comes back with; each costs a write and some memory.
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// A name that a browser can have typed.
fn name(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_764_000_000)
    }

    #[test]
    fn the_development_certificate_is_what_browsers_take_by_hash() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = development(dir.path(), now(), false).unwrap();
        assert!(certificate.not_after.duration_since(certificate.not_before).unwrap() < 14 * DAY);
        assert!(certificate.not_before < now());
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.chain[0]).unwrap();
        assert_eq!(parsed.public_key().algorithm.algorithm.to_id_string(), "1.2.840.10045.2.1");
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 3);
        assert_eq!(certificate.names(), ["localhost", "127.0.0.1", "::1"]);
        let mode = fs::metadata(development_key_path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(certificate.quic().unwrap().alpn_protocols, [b"h3"]);
    }

    #[test]
    fn it_is_kept_until_two_days_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let hash = |days: u32, renew| development(dir.path(), now() + days * DAY, renew).unwrap().sha256();
        let first = hash(0, false);
        assert_eq!(hash(10, false), first);
        let second = hash(12, false);
        assert_ne!(second, first);
        assert_ne!(hash(12, true), second);
        fs::write(development_certificate_path(dir.path()), "rubbish").unwrap();
        assert_eq!(hash(13, false), hash(13, false));
    }

    #[test]
    fn nodes_that_start_at_once_share_one_pair() {
        let dir = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let hashes = std::thread::scope(|scope| {
            let node = || {
                start.wait();
                development(dir.path(), now(), false).unwrap().sha256()
            };
            let nodes: Vec<_> = (0..8).map(|_| scope.spawn(node)).collect();
            nodes.into_iter().map(|node| node.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(hashes.len(), 1);
    }

    #[test]
    fn files_that_can_not_be_used_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        development(dir.path(), now(), false).unwrap();
        development(other.path(), now(), false).unwrap();
        let (certificate, key) = (development_certificate_path(dir.path()), development_key_path(dir.path()));
        let error = |certificate: &Path, key: &Path, now| load(certificate, key, now).unwrap_err().to_string();
        assert!(error(&dir.path().join("none.pem"), &key, now()).contains("none.pem: No such file"));
        assert!(error(&key, &key, now()).contains("holds no certificate"));
        assert!(error(&certificate, &certificate, now()).contains("has to hold a private key"));
        assert!(error(&certificate, &development_key_path(other.path()), now()).contains("is not the key of"));
        assert!(error(&certificate, &key, now() + 14 * DAY).contains("valid from 2025-11-24T12:00:00Z to 2025-12-07T16:00:00Z, not now"));
    }
}
