//! What changes while the server runs: the one place where its parts hook in.
//!
//! A reload reads the configuration anew, the way it was read at the start. Each part is asked first whether it can go over to it, and changes nothing; only when all of them can does any
//! of them change. So a configuration that is not right leaves everything as it was, and says why. A key that no part answers for needs a restart; it is named.
//!
//! Its invariant: what [`Reload`] takes for being in force is in force.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{info, warn};

use crate::{
    config::{Config, Shown},
    metrics::Metrics,
};

/// Reads the configuration; the error is made for the operator.
pub type Read = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// Checks what a part would go over to, and changes nothing; the error is made for the operator.
pub type Prepare = Box<dyn Fn(&Config) -> Result<Change, String> + Send + Sync>;

/// Makes the change of one part. Everything that can fail has been done before.
pub type Change = Box<dyn FnOnce() + Send>;

/// See the [module](self).
pub struct Reload {
    read: Read,
    parts: Mutex<Vec<Part>>,
    /// What is in force. Held for the whole of a reload: there is one at a time.
    in_force: Mutex<Vec<Shown>>,
    metrics: Mutex<Option<Arc<Metrics>>>,
}

struct Part {
    keys: &'static [&'static str],
    prepare: Prepare,
}

/// What a reload has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// Keys whose new value is in force.
    pub changed: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub waiting: Vec<String>,
}

impl Reload {
    /// For a server that was started with `config`.
    #[must_use]
    pub fn new(config: &Config, read: Read) -> Self {
        Self { read, parts: Mutex::default(), in_force: Mutex::new(config.shown.clone()), metrics: Mutex::default() }
    }

    /// Adds a part that answers for these keys; one that ends with a dot stands for all that begin so. The part is asked at every reload, also when none of its keys has changed: a file
    /// that a key names may have.
    pub fn hook(&self, keys: &'static [&'static str], prepare: impl Fn(&Config) -> Result<Change, String> + Send + Sync + 'static) {
        lock(&self.parts).push(Part { keys, prepare: Box::new(prepare) });
    }

    /// Counts reloads from now on.
    pub fn count(&self, metrics: Arc<Metrics>) {
        *lock(&self.metrics) = Some(metrics);
    }

    /// Reads the configuration and goes over to it. Blocks on files: not for a worker's thread.
    ///
    /// # Errors
    /// Why everything stays as it was.
    pub fn run(&self) -> Result<Reloaded, String> {
        let mut in_force = lock(&self.in_force);
        let result = self.go_over(&mut in_force);
        if let Some(metrics) = &*lock(&self.metrics) {
            metrics.reloaded(result.is_ok());
        }
        match &result {
            Ok(Reloaded { changed, waiting }) => {
                info!(changed = changed.join(", "), "the configuration has been reloaded");
                if !waiting.is_empty() {
                    warn!(keys = waiting.join(", "), "these settings have changed, and need a restart to take hold");
                }
            }
            Err(error) => warn!(%error, "the configuration can't be reloaded; everything stays as it was"),
        }
        result
    }

    fn go_over(&self, in_force: &mut Vec<Shown>) -> Result<Reloaded, String> {
        let config = (self.read)()?;
        let parts = lock(&self.parts);
        let changes: Result<Vec<Change>, String> = parts.iter().map(|part| (part.prepare)(&config)).collect();
        changes?.into_iter().for_each(|change| change());
        let mut reloaded = Reloaded::default();
        for shown in config.shown {
            match in_force.iter_mut().find(|known| known.key == shown.key) {
                Some(known) if known.says_the_same(&shown) => {}
                Some(known) if parts.iter().any(|part| part.answers_for(&shown.key)) => {
                    reloaded.changed.push(shown.key.clone());
                    *known = shown;
                }
                Some(_) => reloaded.waiting.push(shown.key),
                // Every key is shown by every configuration.
                None => in_force.push(shown),
            }
        }
        reloaded.changed.sort();
        reloaded.waiting.sort();
        Ok(reloaded)
    }
}

impl Part {
    fn answers_for(&self, key: &str) -> bool {
        self.keys.iter().any(|own| *own == key || (own.ends_with('.') && key.starts_with(own)))
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("parts", &lock(&self.parts).len()).finish_non_exhaustive()
    }
}

/// A part that panics has ended the reload; what is known of the others still holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::{Mode, load};

    fn config(flags: &[(&str, &str)]) -> Config {
        load(Mode::Dev, None, [], flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).unwrap()
    }

    /// A reload that reads these flags, and how often its part has changed; the part refuses a node called `bad`.
    fn reload(flags: &'static [(&str, &str)]) -> (Reload, Arc<AtomicUsize>) {
        let reload = Reload::new(&config(&[]), Box::new(move || Ok(config(flags))));
        let changes = Arc::new(AtomicUsize::new(0));
        let count = changes.clone();
        reload.hook(&["log.level", "history."], move |_| {
            let count = count.clone();
            Ok(Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }))
        });
        reload.hook(&[], |config| if config.session.node == "bad" { Err("node: no".to_owned()) } else { Ok(Box::new(|| {})) });
        (reload, changes)
    }

    #[test]
    fn what_a_part_answers_for_changes_and_the_rest_is_named_again_and_again() {
        let (reload, changes) = reload(&[("history.size", "7"), ("workers", "3"), ("auth.hmac_secret", "another")]);
        let first = reload.run().unwrap();
        assert_eq!(
            (first.changed, first.waiting),
            (vec!["history.size".to_owned()], vec!["auth.hmac_secret".to_owned(), "workers".to_owned()])
        );
        let second = reload.run().unwrap();
        assert_eq!((second.changed.len(), second.waiting.len()), (0, 2));
        assert_eq!(changes.load(Ordering::Relaxed), 2, "a file that a key names may have changed");
    }

    #[test]
    fn nothing_changes_unless_all_parts_can() {
        let (reload, changes) = reload(&[("history.size", "7"), ("node", "bad")]);
        assert_eq!(reload.run(), Err("node: no".to_owned()));
        assert_eq!(changes.load(Ordering::Relaxed), 0);
    }
}
