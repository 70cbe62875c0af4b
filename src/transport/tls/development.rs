//! The certificate of development: made by ourselves, for browsers that are told its hash.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{Certificate, Error, load};

/// Browsers take a certificate by its hash only if it is valid for at most 14 days (WebTransport, section "Using a custom certificate verification"). 13 days from now and the
/// back-dating together stay below.
const DEVELOPMENT_VALIDITY: Duration = Duration::from_secs(13 * 24 * 3600);

/// For clients whose clock is behind.
const BACK_DATING: Duration = Duration::from_secs(4 * 3600);

/// A development certificate is renewed when it has less than this left, so that a page that was opened on Friday still works on Sunday.
const RENEW_BEFORE: Duration = Duration::from_secs(2 * 24 * 3600);

/// The file of the development certificate in a directory.
#[must_use]
pub fn certificate_path(dir: &Path) -> PathBuf {
    dir.join("dev-cert.pem")
}

/// The file of the development key in a directory.
#[must_use]
pub fn key_path(dir: &Path) -> PathBuf {
    dir.join("dev-key.pem")
}

/// The development certificate kept in `dir`. A new one is made if there is none that can be used, if it ends within two days of `now`, or if `renew` asks for it.
///
/// # Errors
/// The directory can't be written.
pub fn development(dir: &Path, now: SystemTime, renew: bool) -> Result<Certificate, Error> {
    let (certificate, key) = (certificate_path(dir), key_path(dir));
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
    let kept = load(&certificate_path(dir), &key_path(dir), now).ok()?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{
        super::certificate::tests::{DAY, now},
        *,
    };

    #[test]
    fn the_development_certificate_is_what_browsers_take_by_hash() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = development(dir.path(), now(), false).unwrap();
        assert!(certificate.not_after.duration_since(certificate.not_before).unwrap() < 14 * DAY);
        assert!(certificate.not_before < now());
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.certified.cert[0]).unwrap();
        assert_eq!(parsed.public_key().algorithm.algorithm.to_id_string(), "1.2.840.10045.2.1");
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 3);
        assert_eq!(certificate.names(), ["localhost", "127.0.0.1", "::1"]);
        let mode = fs::metadata(key_path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
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
    fn it_is_kept_until_two_days_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let hash = |days: u32, renew| development(dir.path(), now() + days * DAY, renew).unwrap().sha256();
        let first = hash(0, false);
        assert_eq!(hash(10, false), first);
        let second = hash(12, false);
        assert_ne!(second, first);
        assert_ne!(hash(12, true), second);
        fs::write(certificate_path(dir.path()), "rubbish").unwrap();
        assert_eq!(hash(13, false), hash(13, false));
    }
}
