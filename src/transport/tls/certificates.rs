//! What handshakes choose from. It can be changed at any time: a handshake takes what there is when it begins, and connections that are open keep what they have.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    ServerConfig, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Certificate, Error};

/// The certificates in use, of all listeners.
#[derive(Debug)]
pub struct Certificates {
    /// Never empty; the first is for clients that name no host, or one that no other is for.
    in_use: RwLock<Vec<Arc<Certificate>>>,
}

impl Certificates {
    /// `first` is for clients that name no host, or one that no other is for.
    #[must_use]
    pub fn new(first: Certificate, others: impl IntoIterator<Item = Certificate>) -> Arc<Self> {
        let in_use = std::iter::once(first).chain(others).map(Arc::new).collect();
        Arc::new(Self { in_use: RwLock::new(in_use) })
    }

    /// The certificate in a place, counted from 0.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Arc<Certificate>> {
        self.in_use.read().unwrap_or_else(PoisonError::into_inner).get(at).cloned()
    }

    /// From now on handshakes get this one instead of the one in that place.
    pub(super) fn replace(&self, at: usize, certificate: Certificate) {
        if let Some(place) = self.in_use.write().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
            *place = Arc::new(certificate);
        }
    }

    /// TLS 1.2 and 1.3 with HTTP/1.1, rustls' own choice of ciphers.
    ///
    /// # Errors
    /// The provider of cryptography lacks one of these versions.
    pub fn tcp(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Error> {
        self.server_config(rustls::DEFAULT_VERSIONS, b"http/1.1").map(Arc::new)
    }

    /// TLS 1.3 with HTTP/3 (RFC 9001, section 4.2). No early data: hello must not be replayed.
    ///
    /// # Errors
    /// The provider of cryptography lacks TLS 1.3.
    pub fn quic(self: &Arc<Self>) -> Result<Arc<ServerConfig>, Error> {
        let mut config = self.server_config(&[&rustls::version::TLS13], b"h3")?;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    fn server_config(self: &Arc<Self>, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[u8]) -> Result<ServerConfig, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        // One ticket is what a client comes back with; each costs a write and some memory.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// The first that is for the host and whose key can sign in a way that the client knows: so one host may have an RSA and an ECDSA certificate.
    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let in_use = self.in_use.read().unwrap_or_else(PoisonError::into_inner);
        let signs = |certificate: &&Arc<Certificate>| certificate.certified.key.choose_scheme(schemes).is_some();
        let host = host.map(str::to_ascii_lowercase);
        let named = host.and_then(|host| in_use.iter().filter(|certificate| certificate.is_for(&host)).find(signs));
        named.or_else(|| in_use.first()).map(|certificate| certificate.certified.clone())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{certificate::tests::*, load},
        *,
    };

    #[test]
    fn the_host_decides_and_the_first_is_for_all_others() {
        let dir = tempfile::tempdir().unwrap();
        let made = |file, names: &[&str]| {
            let (certificate, key) = made(dir.path(), file, names, 13);
            load(&certificate, &key, now()).unwrap()
        };
        let certificates = Certificates::new(made("a", &["a.example"]), [made("b", &["b.example", "*.b.example"])]);
        let hash = |at: usize| certificates.get(at).unwrap().certified.cert[0].clone();
        let chosen = |host, schemes: &[_]| certificates.choose(host, schemes).unwrap().cert[0].clone();
        let ecdsa = &[SignatureScheme::ECDSA_NISTP256_SHA256][..];
        for (host, at) in [(Some("b.example"), 1), (Some("X.B.example"), 1), (Some("a.example"), 0), (Some("c.example"), 0), (None, 0)] {
            assert_eq!(chosen(host, ecdsa), hash(at), "{host:?}");
        }
        assert_eq!(chosen(Some("b.example"), &[SignatureScheme::RSA_PSS_SHA256]), hash(0), "no key of its own fits");
        let before = hash(1);
        certificates.replace(1, made("c", &["b.example"]));
        assert_ne!(chosen(Some("b.example"), ecdsa), before);
    }

    #[test]
    fn quic_is_tls_1_3_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made(dir.path(), "a", &["a.example"], 13);
        let certificates = Certificates::new(load(&certificate, &key, now()).unwrap(), []);
        let quic = certificates.quic().unwrap();
        assert_eq!((&quic.alpn_protocols[..], quic.max_early_data_size), (&[b"h3".to_vec()][..], 0));
        assert_eq!(certificates.tcp().unwrap().alpn_protocols, [b"http/1.1"]);
    }
}
