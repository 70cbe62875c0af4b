//! What a Redis says of itself, for who wants to know whether it will do. Changes nothing there.
//!
//! Whether a command is allowed is found out by giving it, in a form that does nothing: on keys that never exist, only if they exist, or
//! with arguments that are refused after the rights have been looked at. That needs no right to ask about rights, on any version.

use std::{sync::Arc, time::Duration};

use super::{
    Config, Url,
    command::{Command, field},
    now,
    resp::Reply,
    sentinel::Locator,
    wire::{LinkError, Wire},
};

/// What there is to know of a Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// `Redis` or `Valkey`, and its version; `None`: it does not tell.
    pub version: Option<(&'static str, String)>,
    /// It is a replica.
    pub replica: bool,
    /// It has cluster mode on.
    pub cluster: bool,
    /// It is loading its data.
    pub loading: bool,
    /// Its limit of memory in bytes, 0 for none, and what it does at the limit; `None`: it does not tell.
    pub memory: Option<(u64, String)>,
    /// Whether it writes snapshots and a log of writes; `None`: it does not tell.
    pub persistence: Option<Persistence>,
    /// How much it keeps for a subscriber that does not read before it cuts it off, in bytes, 0 for no limit; `None`: it does not tell.
    pub subscriber_limit: Option<u64>,
    /// Commands that are used and that this user may not give, or that the server does not have, in capitals.
    pub forbidden: Vec<&'static str>,
    /// How many commands were tried.
    pub tried: usize,
    /// Half of a few pings took longer.
    pub ping: Duration,
}

/// What of its data a Redis writes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Persistence {
    /// A snapshot was tried at least once, or is due.
    pub snapshots: bool,
    /// It logs its writes.
    pub log: bool,
}

/// Pings that are measured.
const PINGS: usize = 11;

/// Every command that a node gives, in a form that does nothing. `{}` is the prefix.
const COMMANDS: &[&[&str]] = &[
    &["PING"],
    &["INFO", "server"],
    &["TIME"],
    &["GET", "{}:k::doctor"],
    &["MGET", "{}:k::doctor"],
    &["SET", "{}:k::doctor", "x", "XX", "PX", "1"],
    &["HGET", "{}:m::doctor", "e"],
    &["HMGET", "{}:m::doctor", "e"],
    // Without the last value, and no number: both are looked at after the rights.
    &["HSET", "{}:m::doctor", "e", "x", "o"],
    &["HINCRBY", "{}:m::doctor", "o", "x"],
    &["HEXISTS", "{}:m::doctor", "e"],
    &["HLEN", "{}:m::doctor"],
    &["HGETALL", "{}:m::doctor"],
    &["HRANDFIELD", "{}:m::doctor", "1"],
    &["HDEL", "{}:m::doctor", "e"],
    &["ZADD", "{}:l::doctor", "XX", "1", "x"],
    &["ZCARD", "{}:l::doctor"],
    &["ZRANGEBYLEX", "{}:l::doctor", "-", "+"],
    &["ZCOUNT", "{}:l::doctor", "-inf", "+inf"],
    &["ZRANGE", "{}:l::doctor", "0", "0"],
    &["ZREM", "{}:l::doctor", "x"],
    &["ZREMRANGEBYSCORE", "{}:l::doctor", "-inf", "+inf"],
    &["EXISTS", "{}:h::doctor"],
    &["DEL", "{}:h::doctor"],
    &["PTTL", "{}:m::doctor"],
    &["PEXPIRE", "{}:m::doctor", "1"],
    &["XADD", "{}:h::doctor", "NOMKSTREAM", "1-0", "d", "x"],
    &["XTRIM", "{}:h::doctor", "MINID", "1"],
    &["XRANGE", "{}:h::doctor", "-", "+", "COUNT", "1"],
    &["XREVRANGE", "{}:h::doctor", "+", "-", "COUNT", "1"],
    &["EVAL", "return 1", "0"],
    &["EVALSHA", "0000000000000000000000000000000000000000", "0"],
    &["PUBLISH", "{}:g::doctor", "x"],
    &["SUBSCRIBE", "{}:g::doctor"],
    &["UNSUBSCRIBE", "{}:g::doctor"],
];

/// How an answer begins that says that a command can't be given.
const FORBIDDEN: [&str; 3] = ["NOPERM", "ERR unknown command", "ERR Unknown command"];

/// Asks a Redis about itself.
///
/// # Errors
/// It can't be reached, does not let us in, or takes too long.
pub fn examine(config: &Config) -> Result<Facts, LinkError> {
    let patience = config.connect_timeout + config.timeout;
    run(async {
        let asking = async {
            let url = Locator::new(Arc::new(config.clone())).locate().await?;
            facts(&mut Wire::connect(&url, config.ca.as_deref()).await?, &config.prefix).await
        };
        tokio::time::timeout(patience, asking).await.unwrap_or(Err(LinkError::Silent(patience)))
    })
}

/// What a sentinel says.
#[derive(Debug)]
pub struct Told {
    /// Which one.
    pub sentinel: String,
    /// Where the primary is.
    pub primary: Result<String, LinkError>,
}

/// Asks each sentinel where the primary is.
///
/// # Errors
/// The system gives no sockets.
pub fn examine_sentinels(config: &Config) -> Result<Vec<Told>, LinkError> {
    run(async {
        let mut found = Vec::new();
        for sentinel in &config.sentinels {
            let alone = Locator::new(Arc::new(Config { sentinels: vec![sentinel.clone()], ..config.clone() }));
            let primary = alone.locate().await.map(|Url { host, port, .. }| format!("{host}:{port}"));
            found.push(Told { sentinel: format!("{}:{}", sentinel.host, sentinel.port), primary });
        }
        Ok(found)
    })
}

fn run<T>(task: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

async fn facts(wire: &mut Wire, prefix: &str) -> Result<Facts, LinkError> {
    let info = info(wire).await?;
    let field = |name: &str| field(&info, name).map(str::to_owned);
    let version = match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => Some(("Valkey", version)),
        (None, version) => version.map(|version| ("Redis", version)),
    };
    let memory = field("maxmemory").and_then(|limit| Some((limit.parse().ok()?, field("maxmemory_policy")?)));
    let log = field("aof_enabled").map(|on| on == "1");
    let persistence =
        log.map(|log| Persistence { log, snapshots: field("rdb_last_bgsave_time_sec").is_some_and(|seconds| seconds != "-1") });
    Ok(Facts {
        version,
        replica: field("role").is_some_and(|role| role == "slave"),
        cluster: [field("redis_mode"), field("server_mode")].into_iter().flatten().any(|mode| mode == "cluster"),
        loading: field("loading").is_some_and(|loading| loading == "1"),
        memory,
        persistence,
        subscriber_limit: subscriber_limit(wire).await?,
        ping: ping(wire).await?,
        forbidden: forbidden(wire, prefix).await?,
        tried: COMMANDS.len(),
    })
}

/// What `INFO` tells; a section that is refused is empty.
async fn info(wire: &mut Wire) -> Result<String, LinkError> {
    let mut text = String::new();
    for section in [&b"server"[..], b"replication", b"memory", b"persistence"] {
        if let Some(bytes) = said(wire.call(&Command::plain(&[b"INFO", section])).await)?.and_then(Reply::bytes) {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    Ok(text)
}

/// An answer; `None` if the server refuses.
fn said(answer: Result<Reply, LinkError>) -> Result<Option<Reply>, LinkError> {
    match answer {
        Ok(reply) => Ok(Some(reply)),
        Err(LinkError::Refused(_) | LinkError::Cluster) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The hard limit out of `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
async fn subscriber_limit(wire: &mut Wire) -> Result<Option<u64>, LinkError> {
    let answer = said(wire.call(&Command::plain(&[b"CONFIG", b"GET", b"client-output-buffer-limit"])).await)?;
    let limits = answer.and_then(Reply::array).and_then(|mut items| items.pop()?.bytes()).unwrap_or_default();
    let limits = String::from_utf8_lossy(&limits).into_owned();
    Ok(limits.split(' ').skip_while(|word| *word != "pubsub").nth(1).and_then(|hard| hard.parse().ok()))
}

async fn ping(wire: &mut Wire) -> Result<Duration, LinkError> {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let began = now();
        said(wire.call(&Command::plain(&[b"PING"])).await)?;
        times.push(now() - began);
    }
    times.sort_unstable();
    Ok(times[PINGS / 2])
}

async fn forbidden(wire: &mut Wire, prefix: &str) -> Result<Vec<&'static str>, LinkError> {
    let mut forbidden = Vec::new();
    for words in COMMANDS {
        let full: Vec<String> = words.iter().map(|word| word.replace("{}", prefix)).collect();
        let full: Vec<&[u8]> = full.iter().map(|word| word.as_bytes()).collect();
        match wire.call(&Command::plain(&full)).await {
            Err(LinkError::Refused(why)) if FORBIDDEN.iter().any(|begin| why.starts_with(begin)) => forbidden.push(words[0]),
            answer => drop(said(answer)?),
        }
    }
    Ok(forbidden)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Commands that are not tried: they belong to getting in, without them less is known, or sentinels are asked.
    const EXCEPT: [&str; 4] = ["CLIENT", "SELECT", "CONFIG", "SENTINEL"];

    /// The sources of this room that end like this.
    fn sources(dir: &Path, extension: &str) -> Vec<String> {
        let mut found = Vec::new();
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                found.extend(sources(&path, extension));
            } else if path.extension().is_some_and(|of| of == extension) {
                found.push(std::fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    /// The capitals that follow each of these words.
    fn after<'a>(texts: &'a [String], words: &'static str) -> impl Iterator<Item = &'a str> {
        let command = |rest: &'a str| rest.trim_start().trim_start_matches(['b', '\'', '"']).split(['\'', '"']).next();
        let is_command = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase());
        texts.iter().flat_map(move |text| text.split(words).skip(1)).filter_map(command).filter(is_command)
    }

    #[test]
    fn every_command_that_a_node_gives_is_tried() {
        let tried: BTreeSet<&str> = COMMANDS.iter().map(|words| words[0]).collect();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker/redis");
        let (scripts, rust) = (sources(&here, "lua"), sources(&here, "rs"));
        let used: BTreeSet<&str> = after(&scripts, "call(").chain(after(&rust, "plain(&[")).collect();
        assert!(used.contains("XADD") && used.contains("ZREM"), "the test sees what it is looking for: {used:?}");
        let missing: Vec<_> = used.into_iter().filter(|command| !tried.contains(command) && !EXCEPT.contains(command)).collect();
        assert_eq!(missing, [""; 0], "doctor has to try these, too");
    }
}
