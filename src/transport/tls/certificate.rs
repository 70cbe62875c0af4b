//! One certificate with its key, out of PEM files.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Certificate {
    /// What handshakes use.
    pub(super) certified: Arc<CertifiedKey>,
    names: Vec<String>,
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
    let (not_before, not_after) = (time(parsed.validity().not_before), time(parsed.validity().not_after));
    if now < not_before || now > not_after {
        return Err(Error::NotNow { path: certificate.to_owned(), from: rfc3339(not_before), to: rfc3339(not_after) });
    }
    let names = names(&parsed);
    let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| content(key, format!("has to hold a private key in PEM form: {error}")))?;
    let certified = CertifiedKey::from_der(chain, key_der, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| content(key, format!("is not the key of {}: {error}", certificate.display())))?;
    Ok(Certificate { certified: Arc::new(certified), names, not_before, not_after })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { what: "reading", path: path.to_owned(), source })
}

/// A time before 1970 counts as then.
fn time(time: x509_parser::time::ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
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
        let first: &[u8] = self.certified.cert.first().map(AsRef::as_ref).unwrap_or_default();
        Sha256::digest(first).into()
    }

    /// The names and addresses that it is for, as browsers see them: the subject alternative names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is for the host `name`, in lower case. `*.example.org` is for every name with one label more, and no other (RFC 6125, section 6.4.3).
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|known| match known.strip_prefix("*.") {
            None => known.eq_ignore_ascii_case(name),
            Some(known) => parent.is_some_and(|parent| known.eq_ignore_ascii_case(parent)),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().filter_map(name).collect()
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
pub(super) mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    pub(in crate::transport::tls) const DAY: Duration = Duration::from_secs(24 * 3600);

    pub(in crate::transport::tls) fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_764_000_000)
    }

    /// A pair of files in a directory, for these names, valid from a day before [`now`] for so many days.
    pub(in crate::transport::tls) fn made(dir: &Path, file: &str, names: &[&str], days: u32) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = (now() - DAY).into();
        params.not_after = (now() + days * DAY).into();
        let key = KeyPair::generate().unwrap();
        let (certificate, private) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}-key.pem")));
        fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        (certificate, private)
    }

    #[test]
    fn files_that_can_not_be_used_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made(dir.path(), "one", &["localhost"], 13);
        let (_, other) = made(dir.path(), "other", &["localhost"], 13);
        let error = |certificate: &Path, key: &Path, now| load(certificate, key, now).unwrap_err().to_string();
        assert!(error(&dir.path().join("none.pem"), &key, now()).contains("none.pem: No such file"));
        assert!(error(&key, &key, now()).contains("holds no certificate"));
        assert!(error(&certificate, &certificate, now()).contains("has to hold a private key"));
        assert!(error(&certificate, &other, now()).contains("is not the key of"));
        assert!(error(&certificate, &key, now() + 14 * DAY).contains("valid from 2025-11-23T16:00:00Z to 2025-12-07T16:00:00Z, not now"));
    }

    #[test]
    fn a_wildcard_is_for_one_label() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made(dir.path(), "wild", &["Example.org", "*.example.org"], 13);
        let certificate = load(&certificate, &key, now()).unwrap();
        for name in ["example.org", "a.example.org"] {
            assert!(certificate.is_for(name), "{name}");
        }
        for name in ["a.b.example.org", "org", "example.com", ".example.org.evil", ""] {
            assert!(!certificate.is_for(name), "{name}");
        }
    }
}
