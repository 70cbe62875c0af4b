//! The node's lease: one key that says that this node lives, and how it is. Whatever else a node keeps in Redis hangs on it.
//!
//! It is renewed every third of its time, and only the server's clock counts. A node that is silent for longer has no lease: the others take it for
//! gone, and what it had for nobody's. When it comes back it makes the lease anew, and [`Lease::made`] moves, so that who hangs things on the lease
//! hangs them there again. That also happens when the server is another one, or in another life, where they may be missing.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{debug, info};

use super::{Config, RETRY_AFTER, command::Commands, pipeline::Pipeline, resp::Reply, status::Status};
use crate::broker::{Describe, Error, Node};

/// How long a clean stop waits for the lease to be given up; without that it ends by itself.
const GIVING_UP: Duration = Duration::from_secs(1);

/// Nodes that are listed at most: as many as there are node numbers.
pub(super) const NODES: usize = 1024;

/// What others on this node may know of the lease.
#[derive(Debug, Clone)]
pub struct Lease {
    node: Arc<str>,
    made: watch::Receiver<u64>,
}

impl Lease {
    /// The node's id, by which its lease is found.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// How often the lease has been made anew; 0: never yet. A change means that what hung on it may be gone from Redis.
    #[must_use]
    pub fn made(&self) -> watch::Receiver<u64> {
        self.made.clone()
    }
}

/// Keeps the lease.
pub(super) struct Keeper {
    config: Arc<Config>,
    commands: Commands,
    pipeline: Pipeline,
    status: Arc<Status>,
    describe: Describe,
    node: Arc<str>,
    made: watch::Sender<u64>,
}

impl Keeper {
    pub(super) fn new(
        config: Arc<Config>,
        commands: Commands,
        pipeline: Pipeline,
        status: Arc<Status>,
        describe: Describe,
    ) -> (Self, Lease) {
        let (made, watched) = watch::channel(0);
        let node: Arc<str> = describe().id.into();
        let lease = Lease { node: node.clone(), made: watched };
        (Self { config, commands, pipeline, status, describe, node, made }, lease)
    }

    /// Keeps the lease until it has to stop, and gives it up.
    pub(super) async fn run(self, stop: impl Future) {
        tokio::select! {
            () = self.keep() => {}
            _ = stop => {}
        }
        // Commands stand in one row: a renewal that is under way comes before this.
        let given_up = tokio::time::timeout(GIVING_UP, self.give_up()).await;
        debug!(clean = given_up.is_ok_and(|outcome| outcome.is_ok()), "lease given up");
    }

    async fn keep(&self) {
        let (mut links, mut events) = (self.status.commands(), self.status.events());
        loop {
            // Whoever made the link may find that the lease ran out meanwhile: no time is lost then.
            let _ = links.wait_for(|up| *up).await;
            let pause = match self.renew().await {
                Ok(()) => self.config.lease / 3,
                Err(_) => (self.config.lease / 6).min(RETRY_AFTER),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = links.wait_for(|up| !*up) => {}
                // Others shall see it soon.
                _ = events.changed() => {}
            }
        }
    }

    async fn renew(&self) -> Result<(), Error> {
        let says = encode(&described(&self.describe, &self.status));
        let command = self.commands.lease(&self.node, &says, self.config.lease);
        let renewed = self.pipeline.call(command).await?.unsigned();
        if renewed != Some(1) {
            self.made.send_modify(|times| *times += 1);
            info!(node = %self.node, times = *self.made.borrow(), "lease made");
        }
        Ok(())
    }

    async fn give_up(&self) -> Result<(), Error> {
        let commands = self.commands.end_lease(&self.node, self.config.lease);
        futures_util::future::try_join_all(commands.map(|command| self.pipeline.call(command))).await.map(drop)
    }
}

/// This node, with its links.
pub(super) fn described(describe: &Describe, status: &Status) -> Node {
    Node { links: status.links(), ..describe() }
}

/// All nodes that have a lease.
pub(super) async fn nodes(commands: &Commands, pipeline: &Pipeline) -> Result<Vec<Node>, Error> {
    let unconfirmed = Error::Unconfirmed { retry_after: RETRY_AFTER };
    let listed = pipeline.call(commands.nodes(NODES)).await?.array().ok_or(unconfirmed)?;
    let ids: Vec<_> = listed.into_iter().filter_map(Reply::bytes).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let leases = pipeline.call(commands.leases(&ids)).await?.array().ok_or(unconfirmed)?;
    Ok(leases.into_iter().filter_map(|lease| decode(&lease.bytes()?)).collect())
}

fn encode(node: &Node) -> Vec<u8> {
    // A struct of text and numbers has nothing that could fail.
    serde_json::to_vec(node).unwrap_or_default()
}

/// What a node says of itself, after the word for the life of the server.
fn decode(lease: &[u8]) -> Option<Node> {
    let after = lease.iter().position(|byte| *byte == b' ')? + 1;
    serde_json::from_slice(&lease[after..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_comes_back_also_from_another_version() {
        let node = Node { id: "a1".into(), name: "edge".into(), connections: 7, ..Node::default() };
        assert_eq!(decode(&[b"life ", &encode(&node)[..]].concat()), Some(node.clone()));
        let other = br#"life {"id":"a1","name":"edge","connections":7,"colour":"red"}"#;
        assert_eq!(decode(other), Some(node));
        assert_eq!(decode(b"life"), None);
        assert_eq!(decode(b"life nonsense"), None);
    }
}
