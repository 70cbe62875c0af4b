//! What a server keeps so that its next life knows it again.

use std::path::PathBuf;

use tracing::warn;

use super::{env, serve::hex};
use crate::{
    auth::{Secret, dev_key},
    config::Config,
};

/// The directory for it: as configured, else systemd's (`StateDirectory=`), else the user's.
pub(super) fn directory(config: &Config, env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let systemd = || env("STATE_DIRECTORY").map(|dirs| PathBuf::from(dirs.split(':').next().unwrap_or_default()));
    let user = || Some(dev_key::default_path(&env)?.parent()?.to_owned());
    config.kept.directory.clone().or_else(systemd).or_else(user)
}

/// What QUIC has to know again after a restart is derived from this. Without a secret and without a place to keep one, clients notice a crash by silence.
pub(super) fn quic_secret(config: &Config) -> Secret {
    if let Some(secret) = &config.kept.quic_secret {
        return secret.clone();
    }
    let kept = directory(config, env).map(|dir| dir.join("quic-secret")).ok_or_else(|| "there is no directory for it".to_owned());
    let secret = kept.and_then(|path| dev_key::load_or_make(&path).map_err(|error| format!("{}: {error}", path.display())));
    secret.unwrap_or_else(|why| {
        if config.quic.is_some() {
            warn!(why, "no secret for QUIC can be kept, so clients notice a crash by silence; set quic.secret or state.directory");
        }
        let mut random = [0; 32];
        // Without randomness there is no TLS either, which says so.
        let _ = getrandom::fill(&mut random);
        Secret::new(hex(&random))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, load};

    #[test]
    fn the_directory_is_the_configured_one_else_the_service_managers_else_the_users() {
        let env = |pairs: &'static [(&str, &str)]| move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let config = |set: &[(&str, &str)]| {
            let flags = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            load(Mode::Dev, None, [], flags).unwrap()
        };
        let both = env(&[("STATE_DIRECTORY", "/var/lib/fanfare:/x"), ("HOME", "/home/a")]);
        assert_eq!(directory(&config(&[("state.directory", "/s")]), both), Some("/s".into()));
        assert_eq!(directory(&config(&[]), both), Some("/var/lib/fanfare".into()));
        assert_eq!(directory(&config(&[]), env(&[("HOME", "/home/a")])), Some("/home/a/.local/state/fanfare".into()));
        assert_eq!(directory(&config(&[]), env(&[])), None);
    }
}
