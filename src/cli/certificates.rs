//! The certificates of a running server: opened at the start, looked at again and again, told in log, metrics and discovery.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info};

use super::{Failure, serve::hex};
use crate::{
    api::CertificateHashes,
    config::Config,
    metrics::Metrics,
    server::{Tls, reload::Reload},
    transport::tls::{Certificate, Change, Keeper, rfc3339},
};

/// See the [module](self).
pub(super) struct Watch {
    keeper: Keeper,
    tls: Tls,
    is_development: bool,
    /// What browsers are told; empty for certificates that they trust anyway.
    hashes: CertificateHashes,
    interval: Duration,
}

impl Watch {
    /// Reads the certificates, if a listener needs any.
    pub(super) fn open(config: &Config) -> Result<Option<Self>, Failure> {
        if config.secure.is_none() && config.quic.is_none() {
            return Ok(None);
        }
        let key = if config.tls.certificates.is_empty() { "tls.development" } else { "tls.certificate, tls.key" };
        let refused = |error| Failure::usage(format!("{key}: {error}"));
        let (first, others) = config.tls.sources();
        let keeper = Keeper::open(first, others, now()).map_err(refused)?;
        let tls = Tls { tcp: keeper.certificates().tcp().map_err(refused)?, quic: keeper.certificates().quic().map_err(refused)? };
        let is_development = config.tls.certificates.is_empty();
        let watch = Self { keeper, tls, is_development, hashes: CertificateHashes::default(), interval: config.tls.check_interval };
        watch.tell_hashes();
        Ok(Some(watch))
    }

    /// How listeners do TLS. It stays the same when certificates are renewed.
    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// What discovery tells; it follows the certificate.
    pub(super) fn hashes(&self) -> CertificateHashes {
        self.hashes.clone()
    }

    /// Hash and end of the development certificate, if that is in use.
    pub(super) fn development(&self) -> Option<([u8; 32], SystemTime)> {
        let certificate = self.keeper.certificates().get(0).filter(|_| self.is_development)?;
        Some((certificate.sha256(), certificate.not_after))
    }

    /// Looks at the files now. `asked`: somebody wants to know what is wrong, though it has been told before.
    pub(super) fn check(&self, metrics: &Metrics, asked: bool) {
        for change in self.keeper.check(now(), asked) {
            match change {
                Change::Renewed { at, certificate } => {
                    let file = self.keeper.path(at).display().to_string();
                    info!(file, until = rfc3339(certificate.not_after), "certificate renewed: new connections get it");
                    measure(metrics, &file, &certificate);
                    self.tell_hashes();
                }
                Change::Refused { at, error } => {
                    let file = self.keeper.path(at).display().to_string();
                    metrics.certificates_refused.inc();
                    error!(file, %error, "the certificate can't be used: new connections get the one before");
                }
            }
        }
    }

    fn tell_hashes(&self) {
        let hash = self.development().map(|(hash, _)| hex(&hash));
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hash.into_iter().collect();
    }

    fn measure_all(&self, metrics: &Metrics) {
        for (file, certificate) in self.keeper.in_use() {
            measure(metrics, &file.display().to_string(), &certificate);
        }
    }
}

/// Is notified at every reload: the files may have changed.
pub(super) fn hooked(reload: &Reload) -> Arc<Notify> {
    let asked = Arc::new(Notify::new());
    let notified = asked.clone();
    reload.hook(&[], move |_| {
        let notified = notified.clone();
        Ok(Box::new(move || notified.notify_one()))
    });
    asked
}

/// Looks at the certificates from time to time, and when `asked` to. Never ends.
pub(super) async fn watch(certificates: Option<Watch>, metrics: Arc<Metrics>, asked: Arc<Notify>) {
    if let Some(certificates) = &certificates {
        certificates.measure_all(&metrics);
    }
    let mut ticks = interval(certificates.as_ref().map_or(Duration::from_secs(3600), |watch| watch.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => false,
            () = asked.notified() => true,
        };
        if let Some(certificates) = &certificates {
            certificates.check(&metrics, asked);
        }
    }
}

fn measure(metrics: &Metrics, file: &str, certificate: &Arc<Certificate>) {
    let ends = certificate.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.certificate(file, ends.as_secs());
}

#[expect(clippy::disallowed_methods, reason = "the shell reads the clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
