//! The section `[redis]`: what makes several nodes one server.

use std::time::Duration;

use super::reader::Reader;
use crate::broker::redis::{Config, Required, Url};

/// `None`: this node is alone.
pub(super) fn read(reader: &mut Reader) -> Option<Config> {
    let rule =
        "has to look like redis://host:6379 or rediss://user:password@host:6379/0 (rediss: with TLS), special characters percent-encoded";
    let show = |url: &Option<Url>| url.as_ref().map(ToString::to_string).unwrap_or_default();
    let url = reader.read_secret("redis.url", rule, None, show, |value| value.as_str()?.parse().ok().map(Some));
    let prefix_rule = "has to be 1 to 100 characters out of A-Z a-z 0-9 _ - . :";
    let prefix = reader.read("redis.prefix", prefix_rule, "fanfare".to_owned(), Clone::clone, |value| {
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
    Some(Config {
        ca,
        prefix,
        required: if required == "fail" { Required::Fail } else { Required::Wait },
        connect_timeout,
        timeout,
        probe_interval,
        check_interval,
        publish_wait,
        lease,
        ..Config::new(url?)
    })
}
