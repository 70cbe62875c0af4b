//! The commands that a node gives Redis, encoded once by whoever wants them, and the scripts behind them.
//!
//! Names of keys and channels: after the prefix and a colon `life`; `m:` meta, `h:` history and `g:` channel of a group; `k:` an
//! idempotency key;
//! `n:` a node number; `p:` a node's channel for probes; `lease:` what says that a node lives, and `nodes` the list of nodes; `u:` what
//! stands for a user. Who is where: `wu:` users and `wc:` counts of a group; `wr:` a roll, `rolls` the list of them, `ws:` a roll's share of a
//! group, `wx:` what keeps the roll of a node that has stopped. Group names contain no colon, so no two of them can be the same.

mod presence;

use std::{fmt::Write as _, sync::LazyLock, time::Duration};

use bytes::{Bytes, BytesMut};
use sha1::{Digest as _, Sha1};

pub(super) use presence::Part;

use super::{
    resp::{put_bulk, put_head},
    users::KEPT,
    wire::LinkError,
};
use crate::{
    broker::users::Change,
    protocol::{GroupName, IdempotencyKey, Position, Retention, UserId, limits},
};

/// A script and the name under which the server keeps it.
#[derive(Debug)]
pub(super) struct Script {
    source: String,
    sha: String,
}

impl Script {
    fn new(source: String) -> Self {
        let mut sha = String::with_capacity(40);
        for byte in Sha1::digest(&source) {
            let _ = write!(sha, "{byte:02x}");
        }
        Self { source, sha }
    }
}

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new([include_str!("life.lua"), include_str!("publish.lua")].concat()));
static READ: LazyLock<Script> = LazyLock::new(|| Script::new([include_str!("life.lua"), include_str!("read.lua")].concat()));
static ENTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("enter.lua").to_owned()));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua").to_owned()));
static DIRECT: LazyLock<Script> = LazyLock::new(|| Script::new([include_str!("life.lua"), include_str!("direct.lua")].concat()));
static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new([include_str!("life.lua"), include_str!("lease.lua")].concat()));

/// What the server says when it does not know a life or a script.
pub(super) const NO_LIFE: &str = "NOLIFE";
pub(super) const NO_SCRIPT: &str = "NOSCRIPT";

/// How long after its last event or follower a group's counter is remembered: a client that comes back within that time, and has missed
/// nothing, is told so. About 200 bytes a group.
const META_TTL: Duration = Duration::from_secs(24 * 3600);

/// How long a node number stays taken when its node is silent.
pub(super) const NUMBER_TTL: Duration = Duration::from_secs(60);

/// A command, encoded but for the words that say which script.
#[derive(Debug, Clone)]
pub(super) struct Command {
    script: Option<&'static Script>,
    words: usize,
    encoded: Bytes,
}

impl Command {
    /// An ordinary command.
    pub(super) fn plain(words: &[&[u8]]) -> Self {
        Self { script: None, words: words.len(), encoded: encode(words) }
    }

    fn script(script: &'static Script, keys: &[&[u8]], args: &[&[u8]]) -> Self {
        let mut out = BytesMut::with_capacity(256 + args.iter().map(|arg| arg.len()).sum::<usize>());
        put_bulk(&mut out, keys.len().to_string().as_bytes());
        keys.iter().chain(args).for_each(|word| put_bulk(&mut out, word));
        Self { script: Some(script), words: keys.len() + args.len() + 3, encoded: out.freeze() }
    }

    /// Appends the command; with the whole script if the server does not know it yet.
    pub(super) fn write(&self, out: &mut BytesMut, whole: bool) {
        put_head(out, b'*', self.words);
        if let Some(script) = self.script {
            let (name, which) = if whole { ("EVAL", &script.source) } else { ("EVALSHA", &script.sha) };
            put_bulk(out, name.as_bytes());
            put_bulk(out, which.as_bytes());
        }
        out.extend_from_slice(&self.encoded);
    }
}

fn encode(words: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::with_capacity(words.iter().map(|word| word.len() + 16).sum());
    words.iter().for_each(|word| put_bulk(&mut out, word));
    out.freeze()
}

/// Which part of a group's past is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// None: only the position.
    Nothing,
    /// The oldest so many after an offset.
    Oldest { after: u64, limit: usize },
    /// The newest so many between two offsets.
    Newest { after: u64, up_to: u64, limit: usize },
}

/// Makes commands under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    prefix: String,
}

/// Redis counts offsets in doubles.
const MOST: u64 = (1 << 53) - 1;

impl Commands {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn key(&self, kind: &str, name: &str) -> Vec<u8> {
        [self.prefix.as_str(), ":", kind, name].concat().into_bytes()
    }

    fn life(&self) -> Vec<u8> {
        self.key("life", "")
    }

    /// The channel of a group's events.
    pub(super) fn channel(&self, group: &GroupName) -> Vec<u8> {
        self.key("g:", group.as_str())
    }

    /// The group whose channel this is.
    pub(super) fn group<'a>(&self, channel: &'a [u8]) -> Option<&'a str> {
        let name = channel.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":g:")?;
        std::str::from_utf8(name).ok()
    }

    /// The channel on which a node hears itself.
    pub(super) fn probe_channel(&self, node: &str) -> Vec<u8> {
        self.key("p:", node)
    }

    /// Publishes on a channel without keeping anything.
    pub(super) fn tell(channel: &[u8], message: &[u8]) -> Command {
        Command::plain(&[b"PUBLISH", channel, message])
    }

    /// Publishes an event that has to be kept or recognised.
    pub(super) fn publish(
        &self,
        group: &GroupName,
        event: &[u8],
        receipt: u64,
        retention: Option<Retention>,
        key: Option<&IdempotencyKey>,
        fresh_epoch: u32,
    ) -> Command {
        let name = group.as_str();
        let (life, meta, history) = (self.life(), self.key("m:", name), self.key("h:", name));
        let once = key.map(|key| [&self.key("k:", name)[..], b":", key.as_str().as_bytes()].concat());
        let mut keys: Vec<&[u8]> = vec![&life, &meta, &history];
        keys.extend(once.as_deref());
        let size = retention.map_or(0, |retention| retention.size);
        let ttl = retention.map_or(Duration::ZERO, |retention| retention.ttl);
        let args = [u64::from(fresh_epoch), size as u64, ms(ttl), ms(ttl + META_TTL), receipt, ms(limits::KEY_TTL)];
        let [epoch, size, ttl, meta_ttl, receipt, key_ttl] = args.map(|n| n.to_string());
        let channel = self.channel(group);
        let words = [
            epoch.as_bytes(),
            &channel,
            event,
            size.as_bytes(),
            ttl.as_bytes(),
            meta_ttl.as_bytes(),
            receipt.as_bytes(),
            key_ttl.as_bytes(),
        ];
        Command::script(&PUBLISH, &keys, &words)
    }

    /// Reads where a group is, and a part of its past. With `begin` an epoch is begun if there is none: a fresh one, and what has been seen
    /// for sure.
    pub(super) fn read(&self, group: &GroupName, begin: Option<(u32, Position, Duration)>, range: Range) -> Command {
        let name = group.as_str();
        let keys = [self.life(), self.key("m:", name), self.key("h:", name)];
        let (fresh, seen, ttl) = match begin {
            Some((fresh, seen, ttl)) => (fresh.to_string(), seen, ttl),
            None => (String::new(), Position::NONE, Duration::ZERO),
        };
        let (after, up_to, limit, end) = match range {
            Range::Nothing => (0, 0, "-1".to_owned(), "old"),
            Range::Oldest { after, limit } => (after, MOST, limit.to_string(), "old"),
            Range::Newest { after, up_to, limit } => (after, up_to, limit.to_string(), "new"),
        };
        let numbers = [ms(ttl + META_TTL), seen.epoch.into(), seen.offset, after.min(MOST - 1), up_to.min(MOST)];
        let [ttl, epoch, offset, after, up_to] = numbers.map(|n| n.to_string());
        let args = [&fresh, &ttl, &epoch, &offset, &after, &up_to, &limit].map(|text| text.as_bytes());
        let args: Vec<&[u8]> = args.into_iter().chain([end.as_bytes()]).collect();
        Command::script(&READ, &keys.each_ref().map(|key| &key[..]), &args)
    }

    /// Says which server this is, which others there are, and which life the node knows. Answers the name of the life.
    pub(super) fn enter(&self, server: &Identity, fresh: u64, others: &str, known: &[u8]) -> Command {
        let fresh = format!("{fresh:016x}");
        let args = [&fresh, &server.run, &server.replication, &server.former, others].map(str::as_bytes);
        let args: Vec<&[u8]> = args.into_iter().chain([known]).collect();
        Command::script(&ENTER, &[&self.life(), &self.key("nodes", "")], &args)
    }

    /// Takes or keeps a node number.
    pub(super) fn claim(&self, number: u16, node: &str) -> Command {
        let ttl = ms(NUMBER_TTL).to_string();
        Command::script(&CLAIM, &[&self.key("n:", &number.to_string())], &[node.as_bytes(), ttl.as_bytes()])
    }

    /// Publishes a directive about a user, and changes what stands for that user.
    pub(super) fn direct(&self, directive: &[u8], user: &UserId, change: Change<'_>, fresh_epoch: u32) -> Command {
        let group = GroupName::directives();
        let name = group.as_str();
        let keys = [self.life(), self.key("m:", name), self.key("h:", name), self.key("u:", user.as_str()), self.key("nodes", "")];
        let (change, groups): (&str, &[GroupName]) = match change {
            Change::None => ("", &[]),
            Change::Add(groups) => ("add", groups),
            Change::Remove(groups) => ("remove", groups),
            Change::Clear => ("clear", &[]),
        };
        let numbers = [u64::from(fresh_epoch), KEPT.size as u64, ms(KEPT.ttl), ms(KEPT.ttl + META_TTL)].map(|n| n.to_string());
        let [epoch, size, ttl, meta_ttl] = &numbers;
        let standing = [limits::STANDING_GROUPS as u64, ms(limits::STANDING_TTL)].map(|n| n.to_string());
        let channel = self.channel(&group);
        let mut args = vec![epoch.as_bytes(), &channel, directive, size.as_bytes(), ttl.as_bytes(), meta_ttl.as_bytes(), change.as_bytes()];
        args.extend(standing.iter().map(String::as_bytes));
        args.extend(groups.iter().map(|group| group.as_str().as_bytes()));
        Command::script(&DIRECT, &keys.each_ref().map(|key| &key[..]), &args)
    }

    /// Reads what stands for a user, and keeps it for longer.
    pub(super) fn standing(&self, user: &UserId) -> [Command; 2] {
        let key = self.key("u:", user.as_str());
        let ttl = ms(limits::STANDING_TTL).to_string();
        [Command::plain(&[b"HGETALL", &key]), Command::plain(&[b"PEXPIRE", &key, ttl.as_bytes()])]
    }

    /// The key of a node's lease: it is there as long as the node is taken to live.
    pub(super) fn lease_key(&self, node: &str) -> Vec<u8> {
        self.key("lease:", node)
    }

    /// Renews a node's lease, with what the node says of itself.
    pub(super) fn lease(&self, node: &str, says: &[u8], ttl: Duration) -> Command {
        let keys = [self.life(), self.lease_key(node), self.key("nodes", "")];
        Command::script(&LEASE, &keys.each_ref().map(|key| &key[..]), &[node.as_bytes(), says, ms(ttl).to_string().as_bytes()])
    }

    /// Gives a node's lease up, and takes the node off the list. Who was there by it is kept for as long as the lease would have lasted.
    pub(super) fn end_lease(&self, node: &str, ttl: Duration) -> [Command; 3] {
        let (lease, list) = (self.lease_key(node), self.key("nodes", ""));
        [self.leave_behind(node, ttl), Command::plain(&[b"DEL", &lease]), Command::plain(&[b"ZREM", &list, node.as_bytes()])]
    }

    /// Nodes that may live, at most so many.
    pub(super) fn nodes(&self, limit: usize) -> Command {
        Command::plain(&[b"ZRANGE", &self.key("nodes", ""), b"0", limit.saturating_sub(1).to_string().as_bytes()])
    }

    /// The leases of these nodes, nil for those that are gone.
    pub(super) fn leases(&self, nodes: &[Bytes]) -> Command {
        let keys: Vec<_> = nodes.iter().map(|node| [&self.key("lease:", "")[..], node].concat()).collect();
        let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
        Command::plain(&words)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(MOST).min(MOST)
}

/// Which life of which server this is, as `INFO` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Identity {
    /// It takes writes.
    primary: bool,
    /// It is a part of a Redis Cluster.
    cluster: bool,
    run: String,
    replication: String,
    /// Whose data it had before it was promoted.
    former: String,
}

impl Identity {
    /// Reads the answer to `INFO`. Servers that hide a line have one identity for ever.
    pub(super) fn from_info(text: &str) -> Self {
        let line = |name: &str| field(text, name).unwrap_or_default().to_owned();
        let cluster = [line("redis_mode"), line("server_mode")].iter().any(|mode| mode == "cluster");
        Self {
            primary: line("role") != "slave",
            cluster,
            run: line("run_id"),
            replication: line("master_replid"),
            former: line("master_replid2"),
        }
    }

    /// The same, if it can be worked with.
    pub(super) fn usable(self) -> Result<Self, LinkError> {
        match self {
            Self { cluster: true, .. } => Err(LinkError::Cluster),
            Self { primary: false, .. } => Err(LinkError::Replica),
            usable => Ok(usable),
        }
    }

    /// The identity from now on, if what `INFO replication` says later differs. The process is the same, as long as the connection is.
    pub(super) fn replaced_by(&self, seen: Self) -> Option<Self> {
        let seen = Self { run: self.run.clone(), cluster: self.cluster, ..seen };
        (seen != *self).then_some(seen)
    }
}

/// A line of what `INFO` tells.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_by_name_or_whole() {
        let command = Commands::new("fanfare").claim(7, "me");
        let text = |whole| {
            let mut out = BytesMut::new();
            command.write(&mut out, whole);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert!(text(false).starts_with("*6\r\n$7\r\nEVALSHA\r\n$40\r\n"));
        assert!(text(true).starts_with("*6\r\n$4\r\nEVAL\r\n"));
        assert!(text(true).ends_with("$1\r\n1\r\n$11\r\nfanfare:n:7\r\n$2\r\nme\r\n$5\r\n60000\r\n"));
    }

    #[test]
    fn channels_lead_back_to_groups() {
        let commands = Commands::new("a:b");
        let group = GroupName::parse("user.x@y").unwrap();
        assert_eq!(commands.group(&commands.channel(&group)), Some("user.x@y"));
        assert_eq!(commands.group(b"a:c:g:x"), None);
        assert_eq!(commands.group(&commands.probe_channel("n")), None);
    }

    #[test]
    fn info_tells_the_life_of_a_server() {
        let info = "# Server\r\nrun_id:r1\r\nrole:master\r\nmaster_replid:a\r\nmaster_replid2:b\r\n";
        let identity = Identity::from_info(info);
        assert_eq!(
            (identity.primary, identity.run.as_str(), identity.replication.as_str(), identity.former.as_str()),
            (true, "r1", "a", "b")
        );
        assert!(matches!(Identity::from_info("role:slave").usable(), Err(LinkError::Replica)));
        assert!(matches!(Identity::from_info("redis_mode:cluster").usable(), Err(LinkError::Cluster)));
        assert!(Identity::from_info("").usable().is_ok());
    }
}
