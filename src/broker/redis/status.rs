//! How the two links are: for `/readyz`, for metrics, and for publishers that want to wait.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{info, warn};

use super::now;
use crate::{
    broker::Link,
    metrics::{RedisLink, RedisMetrics},
};

/// See the [module](self).
pub(super) struct Status {
    name: String,
    /// Why each link does not work; `None`: it does.
    broken: Mutex<[Option<String>; 2]>,
    /// The first word of the last refusal.
    refused: Mutex<String>,
    commands_up: watch::Sender<bool>,
    /// Since when commands can be given; `None`: they can't.
    commands_since: Mutex<Option<Instant>>,
    events_up: watch::Sender<bool>,
    metrics: RedisMetrics,
}

impl Status {
    pub(super) fn new(name: String, metrics: RedisMetrics) -> Self {
        let broken = std::array::from_fn(|_| Some("it has not answered yet".to_owned()));
        Self {
            name,
            broken: Mutex::new(broken),
            refused: Mutex::default(),
            commands_up: watch::Sender::new(false),
            commands_since: Mutex::default(),
            events_up: watch::Sender::new(false),
            metrics,
        }
    }

    /// The link works.
    pub(super) fn up(&self, link: RedisLink) {
        if self.set(link, None).is_some() {
            info!(link = link.name(), redis = %self.name, "Redis link is up");
            self.metrics.link(link, true);
        }
        self.tell(link, true);
    }

    /// The link does not work; said aloud when that or the reason is new.
    pub(super) fn down(&self, link: RedisLink, why: &str) {
        self.tell(link, false);
        self.metrics.link(link, false);
        if self.set(link, Some(why.to_owned())).as_deref() != Some(why) {
            warn!(link = link.name(), redis = %self.name, error = why, "Redis link is down");
        }
    }

    /// A command was refused; said aloud when the reason is another one than the last.
    pub(super) fn refused(&self, why: &str) {
        let word = why.split(' ').next().unwrap_or_default();
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != word {
            word.clone_into(&mut last);
            warn!(redis = %self.name, error = why, "Redis refuses commands");
        }
    }

    fn set(&self, link: RedisLink, why: Option<String>) -> Option<String> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut broken[link as usize], why)
    }

    fn tell(&self, link: RedisLink, up: bool) {
        if link == RedisLink::Commands {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *self.commands_since.lock().unwrap_or_else(PoisonError::into_inner) = up.then(now);
            self.commands_up.send_replace(up);
        } else {
            self.events_up.send_if_modified(|known| std::mem::replace(known, up) != up);
        }
    }

    /// Why one of the links does not work; `None`: both do.
    pub(super) fn trouble(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().next().cloned()
    }

    /// Both links, for those who look at the cluster.
    pub(super) fn links(&self) -> Vec<Link> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let link = |link: RedisLink| Link { to: self.name.clone(), name: link.name().to_owned(), broken: broken[link as usize].clone() };
        vec![link(RedisLink::Commands), link(RedisLink::Events)]
    }

    /// Whether commands can be given.
    pub(super) fn commands(&self) -> watch::Receiver<bool> {
        self.commands_up.subscribe()
    }

    /// For how long commands can be given without an interruption; zero: they can't.
    pub(super) fn commands_for(&self) -> Duration {
        let since = *self.commands_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| now().saturating_duration_since(since))
    }

    /// Whether events come; moves only when that changes.
    pub(super) fn events(&self) -> watch::Receiver<bool> {
        self.events_up.subscribe()
    }

    /// Waits until commands can be given, but not longer than so.
    pub(super) async fn wait(&self, patience: Duration) {
        let mut up = self.commands_up.subscribe();
        if !patience.is_zero() && !*up.borrow() {
            // Whoever waited in vain is told so by the link.
            let _ = tokio::time::timeout(patience, up.wait_for(|up| *up)).await;
        }
    }
}
