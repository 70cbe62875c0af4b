//! Policies: the defaults of `[history]`, and the tables under `[[groups]]`.

use std::time::Duration;

use toml::{Table, Value};

use super::{
    ConfigError,
    reader::{DURATION_RULE, Reader, WHO_RULE, as_count, as_duration, as_who, plain},
    source::Origin,
    units,
};
use crate::{
    limit::{BadRate, Rate},
    policy::{Interruption, Pattern, Policies, Policy, Presence, SlowConsumer, Who},
    protocol::{Retention, limits},
};

/// In the order in which an operator meets them.
pub(super) const KEYS: &[&str] = &[
    "match",
    "subscribe",
    "publish",
    "presence",
    "history_size",
    "history_ttl",
    "slow",
    "interruption",
    "max_members",
    "max_payload",
    "rate",
];

const PRESENCE_RULE: &str = "has to be off, list or live";

/// Most events that a group may keep: a million of 100 bytes are 100 MB.
const MOST_EVENTS: usize = 1_000_000;

/// As many connections as a node can be set to take.
const MOST_MEMBERS: usize = 10_000_000;

pub(super) fn read(reader: &mut Reader, dev: bool) -> Policies {
    let size = reader.count("history.size", 100, 0, MOST_EVENTS);
    let ttl = reader.duration("history.ttl", Duration::from_secs(300));
    let presence = reader.read("presence.default", PRESENCE_RULE, Presence::Off, |presence| presence.name().to_owned(), as_presence);
    let fallback = Policy {
        publish: if dev { Who::Anyone } else { Who::Server },
        history: retention(size, ttl),
        presence,
        ..Policy::new(Pattern::any())
    };
    let (tables, origin) = reader.tables("groups");
    let mut rules = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let mut row = Row { at, table, origin: &origin, errors: &mut reader.errors };
        rules.push(row.policy(&fallback, (size, ttl)));
    }
    Policies::new(rules, fallback)
}

fn retention(size: usize, ttl: Duration) -> Option<Retention> {
    (size > 0).then_some(Retention { size, ttl })
}

/// One table under `[[groups]]`.
struct Row<'a> {
    at: usize,
    table: Table,
    origin: &'a Origin,
    errors: &'a mut Vec<ConfigError>,
}

impl Row<'_> {
    fn policy(&mut self, fallback: &Policy, (size, ttl): (usize, Duration)) -> Policy {
        let pattern = self.pattern();
        let base = if pattern == Pattern::personal() { Policy::personal(fallback) } else { Policy { pattern, ..fallback.clone() } };
        let size = self
            .take("history_size", "has to be a number up to 1000000", |value| as_count(value).filter(|n| *n <= MOST_EVENTS))
            .unwrap_or(size);
        let ttl = self.take("history_ttl", DURATION_RULE, as_duration).unwrap_or(ttl);
        let policy = Policy {
            subscribe: self.who("subscribe", &base).unwrap_or(base.subscribe),
            publish: self.who("publish", &base).unwrap_or(base.publish),
            presence: self.take("presence", PRESENCE_RULE, as_presence).unwrap_or(base.presence),
            history: retention(size, ttl),
            slow: self.take("slow", "has to be disconnect or drop_oldest", as_slow).unwrap_or(base.slow),
            interruption: self.take("interruption", "has to be quiet or tell", as_interruption).unwrap_or(base.interruption),
            max_members: self.max_members().or(base.max_members),
            max_payload: self.max_payload().unwrap_or(base.max_payload),
            rate: self.rate().or(base.rate),
            ..base
        };
        self.report_unknown();
        policy
    }

    fn pattern(&mut self) -> Pattern {
        let Some(value) = self.table.remove("match") else {
            self.refuse("match", "", "is missing: every policy needs a pattern");
            return Pattern::any();
        };
        let parsed = value.as_str().ok_or_else(|| "has to be a pattern such as team_*".to_owned());
        match parsed.and_then(|text| Pattern::parse(text).map_err(|error| error.to_string())) {
            Ok(pattern) => pattern,
            Err(rule) => {
                self.refuse("match", &plain(&value), &rule);
                Pattern::any()
            }
        }
    }

    fn who(&mut self, name: &str, policy: &Policy) -> Option<Who> {
        let value = self.table.remove(name)?;
        let who = as_who(&value);
        match who {
            None => self.refuse(name, &plain(&value), WHO_RULE),
            Some(Who::Owner) if policy.pattern.has_capture("user") => {}
            Some(Who::Owner) => self.refuse(name, &plain(&value), "needs {user} in the pattern, which says whose group it is"),
            Some(_) if policy.is_personal() && name == "subscribe" => {
                self.refuse(name, &plain(&value), "has to be owner: a personal group is for its user alone");
            }
            Some(Who::Anyone | Who::Authenticated | Who::Claim | Who::Hook | Who::Server) => {}
        }
        who
    }

    fn max_members(&mut self) -> Option<usize> {
        let rule = format!("has to be a number from 1 to {MOST_MEMBERS}");
        self.take("max_members", &rule, |value| as_count(value).filter(|n| (1..=MOST_MEMBERS).contains(n)))
    }

    fn max_payload(&mut self) -> Option<usize> {
        let rule = format!("has to be a size from 1 to {} bytes, such as 1000 or 4KiB", limits::EVENT_BYTES);
        let parse = |value: &Value| usize::try_from(units::size(&plain(value))?).ok().filter(|n| (1..=limits::EVENT_BYTES).contains(n));
        self.take("max_payload", &rule, parse)
    }

    fn rate(&mut self) -> Option<Rate> {
        self.take("rate", &format!("is no rate: {BadRate}"), |value| value.as_str()?.parse().ok())
    }

    fn take<T>(&mut self, name: &str, rule: &str, parse: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.table.remove(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.refuse(name, &plain(&value), rule);
        }
        parsed
    }

    fn refuse(&mut self, name: &str, value: &str, rule: &str) {
        let key = format!("groups[{}].{name}", self.at);
        self.errors.push(ConfigError::Value { key, value: value.to_owned(), origin: self.origin.clone(), rule: rule.to_owned() });
    }

    fn report_unknown(&mut self) {
        for (name, _) in std::mem::take(&mut self.table) {
            let meant = units::did_you_mean(&name, KEYS.iter().copied()).map(str::to_owned);
            self.errors.push(ConfigError::Unknown { key: format!("groups[{}].{name}", self.at), origin: self.origin.clone(), meant });
        }
    }
}

fn as_slow(value: &Value) -> Option<SlowConsumer> {
    let word = value.as_str()?;
    SlowConsumer::ALL.into_iter().find(|slow| slow.name() == word)
}

fn as_interruption(value: &Value) -> Option<Interruption> {
    match value.as_str()? {
        "quiet" => Some(Interruption::Quiet),
        "tell" => Some(Interruption::Tell),
        _ => None,
    }
}

fn as_presence(value: &Value) -> Option<Presence> {
    let word = value.as_str()?;
    Presence::ALL.into_iter().find(|presence| presence.name() == word)
}
