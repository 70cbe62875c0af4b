//! The section `[redis]`: what makes several nodes one server.

use std::{collections::HashSet, time::Duration};

use toml::Value;

use super::{ConfigError, reader::Reader, unsafe_setting};
use crate::broker::redis::{Config, Required, Url};

const URL_RULE: &str =
    "has to look like redis://host:6379 or rediss://user:password@host:6379/0 (rediss: with TLS), special characters percent-encoded";
const URLS_RULE: &str = "has to be a list of addresses that look like redis://host:6379 or rediss://user:password@host:6379/0";
const SENTINELS_RULE: &str = "has to be a list of addresses that look like host:26379 or redis://user:password@host:26379";
const MASTER_RULE: &str = "has to be the name by which sentinels know the primary, out of A-Z a-z 0-9 . _ -";
const PREFIX_RULE: &str = "has to be 1 to 100 characters out of A-Z a-z 0-9 _ - . :";

/// One for each Redis. Empty: this node is alone.
pub(super) fn read(reader: &mut Reader) -> Vec<Config> {
    let servers = servers(reader);
    let config = rest(reader);
    servers.into_iter().map(|(url, sentinels)| Config { sentinels, ..config(url) }).collect()
}

/// The servers, each with the sentinels that know it.
fn servers(reader: &mut Reader) -> Vec<(Url, Vec<Url>)> {
    let one = |url: &Option<Url>| url.as_ref().map(ToString::to_string).unwrap_or_default();
    let url = reader.read_secret("redis.url", URL_RULE, None, one, |value| value.as_str()?.parse().ok().map(Some));
    let urls = reader.read_secret("redis.urls", URLS_RULE, Vec::new(), |urls| all(urls), |value| list(value, |text| text.parse().ok()));
    let sentinels = reader.read_secret(
        "redis.sentinels",
        SENTINELS_RULE,
        Vec::new(),
        |urls| all(urls),
        |value| list(value, |text| Url::of_sentinel(text).ok()),
    );
    let master = reader.read("redis.master", MASTER_RULE, String::new(), Clone::clone, |value| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        value.as_str().filter(|name| !name.is_empty() && name.chars().all(plain)).map(str::to_owned)
    });
    if url.is_some() && !urls.is_empty() {
        reader.errors.push(unsafe_setting("redis.url and redis.urls are both set", "set redis.url for one Redis, redis.urls for several"));
    }
    let mut urls: Vec<Url> = url.into_iter().chain(urls).collect();
    if let Err((what, cure)) = names(&mut urls, &sentinels, &master) {
        reader.errors.push(unsafe_setting(what, cure));
    }
    let different: HashSet<String> = urls.iter().map(ToString::to_string).collect();
    if different.len() < urls.len() {
        reader.errors.push(unsafe_setting("redis.urls names a Redis twice", "name each once: groups are spread over them"));
    }
    urls.into_iter().map(|url| (url, sentinels.clone())).collect()
}

/// With sentinels, hosts are names: `redis.master` is one of them.
fn names(urls: &mut Vec<Url>, sentinels: &[Url], master: &str) -> Result<(), (&'static str, &'static str)> {
    let given = (!sentinels.is_empty(), !master.is_empty());
    match (given, &urls[..]) {
        ((false, true), _) => {
            Err(("redis.master is set, and nobody knows where that is", "set redis.sentinels to the addresses of its sentinels"))
        }
        ((true, false), []) => Err(("redis.sentinels is set, but not what to ask them for", "set redis.master to the name of the primary")),
        ((true, true), []) => {
            let url = format!("redis://{master}").parse().map_err(|_| ("redis.master is no name", MASTER_RULE))?;
            urls.push(url);
            Ok(())
        }
        ((true, true), urls) if urls.iter().any(|url| url.host() != master) => Err((
            "redis.master is another name than the host of redis.url",
            "with sentinels, redis.url says how to get in: redis://user:password@NAME/0, NAME being the name of the primary",
        )),
        _ => Ok(()),
    }
}

fn all(urls: &[Url]) -> String {
    urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A list, or text with commas.
fn list(value: &Value, parse: impl Fn(&str) -> Option<Url>) -> Option<Vec<Url>> {
    match value {
        Value::Array(items) => items.iter().map(|item| parse(item.as_str()?)).collect(),
        value => value.as_str()?.split(',').map(|text| parse(text.trim())).collect(),
    }
}

/// A link that falls silent is noticed after `timeout` and the quarter of it between two looks, and the last renewal was up to a third of the lease before. What is left has to be enough to make
/// the link and the lease anew.
pub(super) fn too_short_a_lease(lease: Duration, timeout: Duration) -> Option<ConfigError> {
    let what = || {
        format!(
            "redis.lease = {lease:?} is less than twice redis.timeout = {timeout:?}, so a node whose link falls silent is taken for gone before it can notice"
        )
    };
    (lease < 2 * timeout).then(|| unsafe_setting(what(), "set redis.lease to twice redis.timeout or more"))
}

/// What holds for each of them.
fn rest(reader: &mut Reader) -> impl Fn(Url) -> Config + use<> {
    let prefix = reader.read("redis.prefix", PREFIX_RULE, "fanfare".to_owned(), Clone::clone, |value| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        value.as_str().filter(|text| (1..=100).contains(&text.len()) && text.chars().all(plain)).map(str::to_owned)
    });
    let ca = reader.path("redis.ca");
    let required = reader.one_of("redis.required", &["wait", "fail"]);
    let mut time = |key, default| reader.duration(key, default);
    let connect_timeout = time("redis.connect_timeout", Duration::from_secs(2));
    let timeout = time("redis.timeout", Duration::from_secs(4));
    let probe_interval = time("redis.probe_interval", Duration::from_secs(2));
    let check_interval = time("redis.check_interval", Duration::from_secs(30));
    let lease = time("redis.lease", Duration::from_secs(10));
    let publish_wait = time("redis.publish_wait", Duration::ZERO);
    move |url| Config {
        ca: ca.clone(),
        prefix: prefix.clone(),
        required: if required == "fail" { Required::Fail } else { Required::Wait },
        connect_timeout,
        timeout,
        probe_interval,
        check_interval,
        publish_wait,
        lease,
        ..Config::new(url)
    }
}
