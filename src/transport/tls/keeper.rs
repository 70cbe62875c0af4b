//! Keeps the certificates in use as the files say.
//!
//! Files are read and compared, again and again: they are small, and no notice of the kernel's has to be relied on, which network file systems and the symbolic links of Kubernetes do not give. A file
//! that can't be used changes nothing, and is told once.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{Certificate, Certificates, Error, development, development_certificate_path, load};

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An operator's files.
    Files {
        /// The chain, in PEM form.
        certificate: PathBuf,
        /// The key of its first certificate, in PEM form.
        key: PathBuf,
    },
    /// The development pair in a directory, made anew when it is about to end.
    Development(PathBuf),
}

impl Source {
    /// The certificate that it has now.
    ///
    /// # Errors
    /// The files can't be used, or the development pair can't be made.
    pub fn open(&self, now: SystemTime) -> Result<Certificate, Error> {
        match self {
            Self::Files { certificate, key } => load(certificate, key, now),
            Self::Development(dir) => development(dir, now, false),
        }
    }

    /// The file of the certificate: its name for people.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Files { certificate, .. } => certificate.clone(),
            Self::Development(dir) => development_certificate_path(dir),
        }
    }
}

/// What a look at the files has found.
#[derive(Debug)]
pub enum Change {
    /// The certificate in this place is another now.
    Renewed {
        /// Counted from 0.
        at: usize,
        /// What is in use from now on.
        certificate: Arc<Certificate>,
    },
    /// The files of this place can't be used, and the certificate that was in use still is.
    Refused {
        /// Counted from 0.
        at: usize,
        /// Why not.
        error: Error,
    },
}

/// See the [module](self).
#[derive(Debug)]
pub struct Keeper {
    sources: Vec<Source>,
    certificates: Arc<Certificates>,
    /// What was wrong with each when it was looked at last.
    refused: Mutex<Vec<Option<String>>>,
}

impl Keeper {
    /// Reads all of them; `first` is the default of [`Certificates`].
    ///
    /// # Errors
    /// One of them can't be used.
    pub fn open(first: Source, others: impl IntoIterator<Item = Source>, now: SystemTime) -> Result<Self, Error> {
        let default = first.open(now)?;
        let mut sources = vec![first];
        sources.extend(others);
        let others = sources[1..].iter().map(|source| source.open(now)).collect::<Result<Vec<_>, _>>()?;
        let refused = Mutex::new(vec![None; sources.len()]);
        Ok(Self { sources, certificates: Certificates::new(default, others), refused })
    }

    /// What handshakes choose from.
    #[must_use]
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// The file of the certificate in a place.
    #[must_use]
    pub fn path(&self, at: usize) -> PathBuf {
        self.sources.get(at).map(Source::path).unwrap_or_default()
    }

    /// All certificates in use, each with its file.
    #[must_use]
    pub fn in_use(&self) -> Vec<(PathBuf, Arc<Certificate>)> {
        let sources = self.sources.iter().enumerate();
        sources.filter_map(|(at, source)| Some((source.path(), self.certificates.get(at)?))).collect()
    }

    /// Looks at the files and takes what is new into use. What can't be used is told when it is found, and not again before it has changed; `again` tells it in any case.
    pub fn check(&self, now: SystemTime, again: bool) -> Vec<Change> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = self.sources.iter().zip(refused.iter_mut()).enumerate();
        looks.filter_map(|(at, (source, refused))| self.look(at, source, refused, now, again)).collect()
    }

    fn look(&self, at: usize, source: &Source, refused: &mut Option<String>, now: SystemTime, again: bool) -> Option<Change> {
        let in_use = self.certificates.get(at)?;
        match source.open(now) {
            Ok(found) => {
                *refused = None;
                if found.certified.cert == in_use.certified.cert {
                    return None;
                }
                self.certificates.replace(at, found);
                Some(Change::Renewed { at, certificate: self.certificates.get(at)? })
            }
            Err(error) => {
                let before = refused.replace(error.to_string());
                (again || before != *refused).then_some(Change::Refused { at, error })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::certificate::tests::*, *};

    #[test]
    fn a_new_pair_is_taken_and_a_wrong_one_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made(dir.path(), "one", &["a.example"], 13);
        let (next, next_key) = made(dir.path(), "next", &["a.example"], 90);
        let keeper = Keeper::open(Source::Files { certificate: certificate.clone(), key: key.clone() }, [], now()).unwrap();
        let first = keeper.certificates().get(0).unwrap();
        assert!(keeper.check(now(), true).is_empty(), "nothing has changed");
        fs::copy(&next, &certificate).unwrap();
        let found = keeper.check(now(), false);
        assert!(matches!(&found[..], [Change::Refused { at: 0, error }] if error.to_string().contains("is not the key of")), "{found:?}");
        assert!(keeper.check(now(), false).is_empty(), "told once");
        assert_eq!(keeper.check(now(), true).len(), 1, "or when it is asked for");
        assert_eq!(keeper.certificates().get(0).unwrap().sha256(), first.sha256());
        fs::copy(&next_key, &key).unwrap();
        let found = keeper.check(now(), false);
        assert!(matches!(&found[..], [Change::Renewed { at: 0, certificate }] if certificate.sha256() != first.sha256()), "{found:?}");
        let found = keeper.check(now() + 91 * DAY, false);
        assert!(matches!(&found[..], [Change::Refused { error: Error::NotNow { .. }, .. }]), "its end is told: {found:?}");
    }

    #[test]
    fn the_development_pair_is_made_anew_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(Source::Development(dir.path().to_owned()), [], now()).unwrap();
        assert!(keeper.check(now() + 10 * DAY, false).is_empty());
        let found = keeper.check(now() + 12 * DAY, false);
        let [Change::Renewed { at: 0, certificate }] = &found[..] else { panic!("{found:?}") };
        assert!(certificate.not_after > now() + 24 * DAY);
        assert_eq!(keeper.in_use()[0].0, dir.path().join("dev-cert.pem"));
    }
}
