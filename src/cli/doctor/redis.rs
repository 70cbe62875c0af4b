//! What a Redis gives a server, judged by what it says of itself.

use std::time::Duration;

use super::Finding;
use crate::broker::redis::{Config, Facts, LinkError, Told, examine, examine_sentinels};

/// The oldest version whose streams and commands are enough.
const OLDEST_REDIS: (u32, u32) = (6, 2);

/// A subscriber that Redis cuts off at less than this is cut off by ordinary bursts: a second of 500 events of the largest size.
const SUBSCRIBER_BYTES: u64 = 32 << 20;

/// Every publish waits for Redis at least as long as a ping.
const SLOW_PING: Duration = Duration::from_millis(10);

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let check = |what: &str| format!("Redis {}: {what}", config.name());
    let mut findings = Vec::new();
    if !config.sentinels.is_empty() {
        match examine_sentinels(config) {
            Ok(answers) => findings.push(sentinels(&answers, check("sentinels"))),
            Err(error) => findings.push(unreachable(check("sentinels"), &error)),
        }
    }
    match examine(config) {
        Ok(facts) => findings.extend(judge(&facts, check)),
        Err(error) => findings.push(unreachable(check("reachable"), &error)),
    }
    findings
}

fn unreachable(check: String, error: &LinkError) -> Finding {
    let cure = match error {
        LinkError::Refused(_) => "make redis.url's user, password and database those of this server",
        LinkError::Authorities { .. } => "set redis.ca to a file of certificates in PEM form",
        _ => {
            "start it, or set redis.url, redis.urls or redis.sentinels to where it is; rediss: with TLS, redis.ca for an authority of your own"
        }
    };
    Finding::fail(check, error.to_string(), cure)
}

fn sentinels(answers: &[Told], check: String) -> Finding {
    let words =
        |Told { sentinel, primary }: &Told| format!("{sentinel}: {}", primary.as_ref().map_or_else(ToString::to_string, Clone::clone));
    let told = answers.iter().map(words).collect::<Vec<_>>().join("; ");
    let mut places: Vec<&String> = answers.iter().filter_map(|told| told.primary.as_ref().ok()).collect();
    let known = places.len();
    places.sort_unstable();
    places.dedup();
    match places[..] {
        [] => Finding::fail(check, told, "start them, or set redis.sentinels and redis.master to theirs"),
        [_] if known == answers.len() => Finding::ok(check, told),
        [_] => Finding::warn(check, told, "a failover needs most of them: start those that do not answer"),
        _ => Finding::warn(
            check,
            format!("they do not agree. {told}"),
            "wait for a failover to end; else one of them can't reach the others",
        ),
    }
}

/// Everything that was found, in order of importance.
fn judge(facts: &Facts, check: impl Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = vec![
        version(facts, check("version")),
        mode(facts, check("mode")),
        rights(facts, check("rights")),
        eviction(facts, check("maxmemory-policy")),
        subscriber_limit(facts, check("client-output-buffer-limit")),
        persistence(facts, check("persistence")),
        ping(facts, check("ping")),
    ];
    if facts.loading {
        findings.push(Finding::warn(check("data"), "it is loading its data, and answers nothing until it has", "wait"));
    }
    findings
}

fn version(facts: &Facts, check: String) -> Finding {
    let Some((kind, version)) = &facts.version else { return Finding::unknown(check, "it does not tell") };
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let found = format!("{kind} {version}");
    match (*kind, numbers.next().zip(numbers.next())) {
        ("Redis", Some(numbers)) if numbers < OLDEST_REDIS => Finding::fail(check, found, "use Redis 6.2 or newer, or Valkey"),
        _ => Finding::ok(check, found),
    }
}

fn mode(facts: &Facts, check: String) -> Finding {
    if facts.cluster {
        let cure = "use a server without cluster mode (cluster-enabled no), or name several in redis.urls: groups are spread over them";
        return Finding::fail(check, "cluster mode is on, where keys move between servers", cure);
    }
    if facts.replica {
        return Finding::fail(check, "it is a replica", "name the primary, or its sentinels: redis.sentinels and redis.master");
    }
    Finding::ok(check, "a primary without cluster mode")
}

fn rights(facts: &Facts, check: String) -> Finding {
    if facts.forbidden.is_empty() {
        return Finding::ok(check, format!("all {} commands that are used may be given", facts.tried));
    }
    let allow: Vec<String> = facts.forbidden.iter().map(|command| format!("+{}", command.to_lowercase())).collect();
    let cure = format!("ACL SETUSER the user of redis.url: {}, and the keys and channels of redis.prefix", allow.join(" "));
    Finding::fail(check, format!("{} may not be given", facts.forbidden.join(", ")), cure)
}

fn eviction(facts: &Facts, check: String) -> Finding {
    match &facts.memory {
        None => Finding::unknown(check, "it does not tell"),
        Some((limit, policy)) if policy == "noeviction" => Finding::ok(check, format!("noeviction, {}", limit_words(*limit))),
        Some((0, policy)) => Finding::ok(check, format!("{policy}, which does nothing without a limit of memory")),
        Some((limit, policy)) => Finding::warn(
            check,
            format!("{policy}, {}: a group whose counter is evicted begins a new epoch, a gap for all its members", limit_words(*limit)),
            "CONFIG SET maxmemory-policy noeviction, and in redis.conf",
        ),
    }
}

fn limit_words(bytes: u64) -> String {
    if bytes == 0 { "no limit of memory".to_owned() } else { format!("at most {} MiB", bytes >> 20) }
}

fn subscriber_limit(facts: &Facts, check: String) -> Finding {
    let cure = "CONFIG SET client-output-buffer-limit \"pubsub 33554432 8388608 60\", and in redis.conf";
    match facts.subscriber_limit {
        None => Finding::unknown(check, "it does not tell what holds for pubsub"),
        Some(0) => Finding::warn(check, "pubsub has no limit: a node that does not read fills the memory of Redis", cure),
        Some(bytes) if bytes < SUBSCRIBER_BYTES => {
            Finding::warn(check, format!("pubsub {} KiB: a burst cuts nodes off, which then read it from history", bytes >> 10), cure)
        }
        Some(bytes) => Finding::ok(check, format!("pubsub {} MiB", bytes >> 20)),
    }
}

/// For information: nothing depends on it.
fn persistence(facts: &Facts, check: String) -> Finding {
    let Some(persistence) = facts.persistence else { return Finding::unknown(check, "it does not tell") };
    let snapshots = if persistence.snapshots { "it has written a snapshot" } else { "it has written no snapshot" };
    let log = if persistence.log { "it logs its writes" } else { "it does not log its writes" };
    Finding::ok(check, format!("{snapshots}, {log}; none is needed, and groups begin a new epoch after its restart all the same"))
}

fn ping(facts: &Facts, check: String) -> Finding {
    let found = format!("{:.1?}", facts.ping);
    if facts.ping < SLOW_PING {
        return Finding::ok(check, found);
    }
    Finding::warn(
        check,
        format!("{found}, and every publish takes at least as long"),
        "put Redis nearer to the nodes, or look at its SLOWLOG",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{broker::redis::Persistence, cli::doctor::Verdict};

    fn healthy() -> Facts {
        Facts {
            version: Some(("Redis", "7.0.15".into())),
            memory: Some((0, "noeviction".into())),
            persistence: Some(Persistence::default()),
            subscriber_limit: Some(32 << 20),
            tried: 21,
            ..Facts::default()
        }
    }

    fn verdicts(facts: &Facts) -> Vec<(String, Verdict)> {
        let not_ok = judge(facts, ToString::to_string).into_iter().filter(|finding| finding.verdict != Verdict::Ok);
        not_ok.map(|finding| (finding.check, finding.verdict)).collect()
    }

    fn one(facts: &Facts) -> (String, Verdict) {
        let found = verdicts(facts);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn a_healthy_server_has_nothing_and_one_that_tells_nothing_fails_nowhere() {
        assert_eq!(verdicts(&healthy()), []);
        let silent = verdicts(&Facts { tried: 21, ..Facts::default() });
        assert_eq!(silent.len(), 4);
        assert!(silent.iter().all(|(_, verdict)| *verdict == Verdict::Unknown), "{silent:?}");
    }

    #[test]
    fn each_fault_is_found() {
        let version = |kind, version: &str| Facts { version: Some((kind, version.into())), ..healthy() };
        assert_eq!(one(&version("Redis", "6.0.16")), ("version".into(), Verdict::Fail));
        assert_eq!(verdicts(&version("Redis", "6.2.0")), []);
        assert_eq!(verdicts(&version("Redis", "10.0.0")), []);
        assert_eq!(verdicts(&version("Valkey", "9.1.2")), []);
        assert_eq!(one(&Facts { cluster: true, ..healthy() }), ("mode".into(), Verdict::Fail));
        assert_eq!(one(&Facts { replica: true, ..healthy() }), ("mode".into(), Verdict::Fail));
        assert_eq!(one(&Facts { forbidden: vec!["XADD"], ..healthy() }), ("rights".into(), Verdict::Fail));
        assert_eq!(one(&Facts { memory: Some((1 << 30, "allkeys-lru".into())), ..healthy() }), ("maxmemory-policy".into(), Verdict::Warn));
        assert_eq!(verdicts(&Facts { memory: Some((0, "allkeys-lru".into())), ..healthy() }), []);
        for limit in [0, 1 << 20] {
            let found = one(&Facts { subscriber_limit: Some(limit), ..healthy() });
            assert_eq!(found, ("client-output-buffer-limit".into(), Verdict::Warn));
        }
        assert_eq!(one(&Facts { ping: Duration::from_millis(20), ..healthy() }), ("ping".into(), Verdict::Warn));
        assert_eq!(one(&Facts { loading: true, ..healthy() }), ("data".into(), Verdict::Warn));
    }

    #[test]
    fn sentinels_have_to_answer_and_to_agree() {
        let at = |who: &str, place: &str| Told { sentinel: who.to_owned(), primary: Ok(place.to_owned()) };
        let silent = |who: &str| Told { sentinel: who.to_owned(), primary: Err(LinkError::Closed) };
        let verdict = |answers: &[_]| sentinels(answers, String::new()).verdict;
        assert_eq!(verdict(&[at("a", "p:1"), at("b", "p:1")]), Verdict::Ok);
        assert_eq!(verdict(&[at("a", "p:1"), silent("b")]), Verdict::Warn);
        assert_eq!(verdict(&[at("a", "p:1"), at("b", "p:2"), at("c", "p:1")]), Verdict::Warn);
        assert_eq!(verdict(&[silent("a"), silent("b")]), Verdict::Fail);
    }
}
