//! The section `[tls]`: where certificates come from.

use std::{path::PathBuf, time::Duration};

use toml::Value;

use super::{reader::Reader, row::rows, unsafe_setting};
use crate::transport::tls::Source;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Operators' files; the first is for clients that name no host, or one that no other is for. Empty: the development pair is used.
    pub certificates: Vec<Source>,
    /// Where the development pair is kept.
    pub development: PathBuf,
    /// How often files are looked at for a new certificate.
    pub check_interval: Duration,
}

impl Tls {
    /// Where certificates come from: the first, and the others.
    #[must_use]
    pub fn sources(&self) -> (Source, Vec<Source>) {
        match &self.certificates[..] {
            [] => (Source::Development(self.development.clone()), Vec::new()),
            [first, others @ ..] => (first.clone(), others.to_vec()),
        }
    }
}

pub(super) fn read(reader: &mut Reader) -> Tls {
    let pair = (reader.path("tls.certificate"), reader.path("tls.key"));
    let several = rows(reader, "tls.certificates", &["certificate", "key"], |row| {
        let path = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
        let certificate = row.require("certificate", "has to be the path of a chain in PEM form", path);
        let key = row.require("key", "has to be the path of its key in PEM form", path);
        Some(Source::Files { certificate: certificate?, key: key? })
    });
    let certificates = match pair {
        (Some(certificate), Some(key)) if several.is_empty() => vec![Source::Files { certificate, key }],
        (None, None) => several,
        (Some(_), Some(_)) => {
            let what = "tls.certificate and [[tls.certificates]] are both set";
            reader.errors.push(unsafe_setting(what, "put the pair under [[tls.certificates]] too, first if it is the default"));
            several
        }
        (Some(_), None) | (None, Some(_)) => {
            reader.errors.push(unsafe_setting("tls.certificate and tls.key belong together", "set both or neither"));
            several
        }
    };
    Tls {
        certificates,
        development: reader.path("tls.development").unwrap_or_else(|| PathBuf::from("certs")),
        check_interval: reader.duration("tls.check_interval", Duration::from_secs(10)).max(Duration::from_millis(10)),
    }
}
