//! Where the primary is: at its address, or where sentinels say.
//!
//! Sentinels are asked in turn, beginning with the one that answered last, and again and again while links live: a primary that was cut off
//! from its sentinels goes on taking writes, and loses them. What a sentinel says is believed only as far as the server itself confirms it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Config, Url,
    command::{Command, Identity},
    resp::Reply,
    wire::{LinkError, Wire},
};

/// See the [module](self).
pub(super) struct Locator {
    config: Arc<Config>,
    /// The sentinel that is asked first.
    first: AtomicUsize,
    /// What a sentinel said last.
    said: watch::Sender<Option<Address>>,
}

/// Host and port.
pub(super) type Address = (String, u16);

/// A connection to a primary, ready for use.
pub(super) struct Found {
    pub(super) wire: Wire,
    pub(super) identity: Identity,
    /// Where it is.
    pub(super) address: Address,
}

impl Locator {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self { config, first: AtomicUsize::new(0), said: watch::Sender::new(None) }
    }

    fn ca(&self) -> Option<&Path> {
        self.config.ca.as_deref()
    }

    fn has_sentinels(&self) -> bool {
        !self.config.sentinels.is_empty()
    }

    /// Connects to the primary, and makes sure that it is one.
    pub(super) async fn connect(&self) -> Result<Found, LinkError> {
        let patience = self.config.connect_timeout;
        let connecting = async {
            let url = self.locate().await?;
            let found = found(&url, self.ca()).await;
            if found.is_err() {
                // Maybe another sentinel knows better.
                self.begin_with(self.first.load(Ordering::Relaxed) + 1);
            }
            found
        };
        tokio::time::timeout(patience, connecting).await.unwrap_or(Err(LinkError::Silent(patience)))
    }

    /// Where the primary is.
    pub(super) async fn locate(&self) -> Result<Url, LinkError> {
        let url = self.config.url.clone();
        if !self.has_sentinels() {
            return Ok(url);
        }
        let (_, (host, port)) = self.ask_in_turn().await?;
        Ok(Url { host, port, ..url })
    }

    /// The first sentinel that knows, and what it says.
    async fn ask_in_turn(&self) -> Result<(Wire, Address), LinkError> {
        let sentinels = &self.config.sentinels;
        let patience = self.patience();
        let first = self.first.load(Ordering::Relaxed);
        let mut why = LinkError::Unexpected;
        for at in first..first + sentinels.len() {
            // Should the caller run out of time here, the next attempt does not begin with this one.
            self.begin_with(at + 1);
            let asked = async {
                let mut wire = Wire::connect(&sentinels[at % sentinels.len()], self.ca()).await?;
                let address = self.ask(&mut wire).await?;
                Ok((wire, address))
            };
            match tokio::time::timeout(patience, asked).await.unwrap_or(Err(LinkError::Silent(patience))) {
                Ok((wire, address)) => {
                    self.begin_with(at);
                    self.learn(&address);
                    return Ok((wire, address));
                }
                Err(error) => why = error,
            }
        }
        Err(LinkError::Nowhere { name: self.config.url.host.clone(), sentinels: sentinels.len(), why: Box::new(why) })
    }

    /// A share of the time for connecting, so that one silent sentinel does not use up all of it.
    fn patience(&self) -> Duration {
        self.config.connect_timeout / u32::try_from(self.config.sentinels.len() + 1).unwrap_or(u32::MAX)
    }

    fn begin_with(&self, sentinel: usize) {
        self.first.store(sentinel % self.config.sentinels.len().max(1), Ordering::Relaxed);
    }

    async fn ask(&self, wire: &mut Wire) -> Result<Address, LinkError> {
        let name = self.config.url.host.as_bytes();
        let reply = wire.call(&Command::plain(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name])).await?;
        address(reply)
    }

    fn learn(&self, address: &Address) {
        self.said.send_if_modified(|said| {
            let is_new = said.as_ref() != Some(address);
            if is_new {
                *said = Some(address.clone());
            }
            is_new
        });
    }

    /// Asks sentinels again and again, for ever.
    pub(super) async fn watch(&self) {
        if !self.has_sentinels() {
            return std::future::pending().await;
        }
        loop {
            // Sentinels that can't be reached are no news of the primary: links live on.
            if let Ok((mut sentinel, _)) = self.ask_in_turn().await {
                self.watch_by(&mut sentinel).await;
            }
            tokio::time::sleep(self.config.probe_interval).await;
        }
    }

    /// Asks one sentinel until it does not answer.
    async fn watch_by(&self, sentinel: &mut Wire) {
        loop {
            tokio::time::sleep(self.config.probe_interval).await;
            match tokio::time::timeout(self.config.timeout, self.ask(sentinel)).await {
                Ok(Ok(address)) => self.learn(&address),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Waits until a sentinel says that the primary is elsewhere.
    pub(super) async fn replaced(&self, address: Address) -> LinkError {
        let mut said = self.said.subscribe();
        let elsewhere = |said: &Option<Address>| said.as_ref().is_some_and(|said| *said != address);
        // The sender lives as long as this.
        let _ = said.wait_for(elsewhere).await;
        LinkError::Replaced
    }
}

/// Connects to a server, which has to be one that can be worked with.
async fn found(url: &Url, ca: Option<&Path>) -> Result<Found, LinkError> {
    let mut wire = Wire::connect(url, ca).await?;
    let identity = identity(&mut wire).await?.usable()?;
    Ok(Found { wire, identity, address: (url.host.clone(), url.port) })
}

async fn identity(wire: &mut Wire) -> Result<Identity, LinkError> {
    let mut text = String::new();
    for section in [&b"server"[..], b"replication"] {
        let reply = wire.call(&Command::plain(&[b"INFO", section])).await?;
        text.push_str(&String::from_utf8_lossy(&reply.bytes().ok_or(LinkError::Unexpected)?));
    }
    Ok(Identity::from_info(&text))
}

/// What a sentinel answers: host and port, or nil for a name that it does not watch.
fn address(reply: Reply) -> Result<Address, LinkError> {
    if reply == Reply::Nil {
        return Err(LinkError::UnknownName);
    }
    let read = |reply: Reply| {
        let mut items = reply.array()?.into_iter();
        let host = String::from_utf8(items.next()?.bytes()?.to_vec()).ok()?;
        Some((host, u16::try_from(items.next()?.unsigned()?).ok()?))
    };
    read(reply).ok_or(LinkError::Unexpected)
}
