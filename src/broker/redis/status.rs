//! How the two links are: for `/readyz`, for metrics, and for publishers that want to wait.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tracing::{info, warn};

use super::Url;
use crate::{
    broker::Link,
    metrics::{Metrics, RedisLink},
};

/// See the [module](self).
pub(super) struct Status {
    url: Url,
    /// Why each link does not work; `None`: it does.
    broken: Mutex<[Option<String>; 2]>,
    commands_up: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl Status {
    pub(super) fn new(url: Url, metrics: Arc<Metrics>) -> Self {
        let broken = std::array::from_fn(|_| Some("it has not answered yet".to_owned()));
        Self { url, broken: Mutex::new(broken), commands_up: watch::Sender::new(false), metrics }
    }

    /// The link works.
    pub(super) fn up(&self, link: RedisLink) {
        if self.set(link, None).is_some() {
            info!(link = link.name(), redis = %self.url, "Redis link is up");
            self.metrics.redis_link(link, true);
        }
        self.tell(link, true);
    }

    /// The link does not work; said aloud when that or the reason is new.
    pub(super) fn down(&self, link: RedisLink, why: &str) {
        self.tell(link, false);
        self.metrics.redis_link(link, false);
        if self.set(link, Some(why.to_owned())).as_deref() != Some(why) {
            warn!(link = link.name(), redis = %self.url, error = why, "Redis link is down");
        }
    }

    fn set(&self, link: RedisLink, why: Option<String>) -> Option<String> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut broken[link as usize], why)
    }

    fn tell(&self, link: RedisLink, up: bool) {
        if link == RedisLink::Commands {
            self.commands_up.send_replace(up);
        }
    }

    /// Whether both work; else a sentence.
    pub(super) fn ready(&self) -> Result<(), String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        match broken.iter().flatten().next() {
            None => Ok(()),
            // Without its address: anybody may ask.
            Some(why) => Err(format!("Redis: {why}")),
        }
    }

    /// Both links, for those who look at the cluster.
    pub(super) fn links(&self) -> Vec<Link> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let link = |link: RedisLink| Link { to: self.url.to_string(), name: link.name().to_owned(), broken: broken[link as usize].clone() };
        vec![link(RedisLink::Commands), link(RedisLink::Events)]
    }

    /// Whether commands can be given.
    pub(super) fn commands(&self) -> watch::Receiver<bool> {
        self.commands_up.subscribe()
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
