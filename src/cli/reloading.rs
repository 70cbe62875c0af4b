//! The parts of a running server that belong to the command line, and go over to a configuration that was reloaded: log lines, drain, origins.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tracing_subscriber::{EnvFilter, reload::Handle};

use super::options::ServerOptions;
use crate::{
    auth::Origins,
    config::{Config, Mode},
    server::reload::Reload,
};

/// Reloads by reading again what was read at the start.
pub(super) fn reload(config: &Config, mode: Mode, options: &ServerOptions) -> Arc<Reload> {
    let options = options.clone();
    Arc::new(Reload::new(config, Box::new(move || options.load(mode).map_err(|failure| failure.to_string()))))
}

/// The filter of log lines.
pub(super) fn log_filter(config: &Config) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&config.log_level).map_err(|error| format!("log.level = {:?} is no filter: {error}", config.log_level))
}

/// Lets the filter of log lines change.
pub(super) fn hook_log<S: 'static>(reload: &Reload, handle: Handle<EnvFilter, S>) {
    reload.hook(&["log.level"], move |config| {
        let (handle, filter) = (handle.clone(), log_filter(config)?);
        // It fails when nobody logs any more: the subscriber lives as long as the process.
        Ok(Box::new(move || drop(handle.reload(filter))))
    });
}

/// How long a drain may take, and after what time at most clients come back; as last reloaded.
#[derive(Debug, Clone)]
pub(super) struct Drain(Arc<Mutex<(Duration, Duration)>>);

impl Drain {
    pub(super) fn hooked(reload: &Reload, config: &Config) -> Self {
        let drain = Self(Arc::new(Mutex::new((config.drain_timeout, config.drain_spread))));
        let changing = drain.clone();
        reload.hook(&["drain."], move |config| {
            let (changing, new) = (changing.clone(), (config.drain_timeout, config.drain_spread));
            Ok(Box::new(move || *changing.0.lock().unwrap_or_else(PoisonError::into_inner) = new))
        });
        drain
    }

    pub(super) fn times(&self) -> (Duration, Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The origins whose pages may connect: those that are configured, and `own` besides.
pub(super) fn origins(reload: &Reload, config: &Config, own: Vec<String>) -> Arc<ArcSwap<Origins>> {
    // They have been checked with the rest of the configuration, and our own are well formed.
    let all = move |config: &Config| Arc::new(Origins::new(config.origins.iter().chain(&own).cloned()).unwrap_or_default());
    let origins = Arc::new(ArcSwap::new(all(config)));
    let changing = origins.clone();
    reload.hook(&["auth.origins"], move |config| {
        let (changing, new) = (changing.clone(), all(config));
        Ok(Box::new(move || changing.store(new)))
    });
    origins
}
