//! Policies: the defaults of `[history]`, and the tables under `[[groups]]`.

use std::time::Duration;

use toml::{Table, Value};

use super::{
    ConfigError,
    reader::{DURATION_RULE, Reader, as_count, as_duration, as_who, plain},
    source::Origin,
    units,
};
use crate::{
    policy::{Interruption, Pattern, Policies, Policy, Presence, SlowConsumer, Who},
    protocol::Retention,
};

const KEYS: &[&str] = &["match", "subscribe", "publish", "history_size", "history_ttl", "slow", "presence", "interruption"];

const PRESENCE_RULE: &str = "has to be off, list or live";

/// Most events that a group may keep: a million of 100 bytes are 100 MB.
const MOST_EVENTS: usize = 1_000_000;

pub(super) fn read(reader: &mut Reader, dev: bool) -> Policies {
    let size = reader.count("history.size", 100, 0, MOST_EVENTS);
    let ttl = reader.duration("history.ttl", Duration::from_secs(300));
    let presence = reader.read("presence.default", PRESENCE_RULE, Presence::Off, |presence| presence.name().to_owned(), as_presence);
    let fallback = Policy {
        pattern: Pattern::new("*"),
        subscribe: Who::Anyone,
        publish: if dev { Who::Anyone } else { Who::Server },
        history: retention(size, ttl),
        slow: SlowConsumer::Disconnect,
        presence,
        interruption: Interruption::Quiet,
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
        let pattern = self
            .take("match", "has to be a pattern such as team_*", |value| value.as_str().filter(|text| !text.is_empty()).map(Pattern::new));
        let pattern = pattern.unwrap_or_else(|| {
            if !self.errors.iter().any(|error| matches!(error, ConfigError::Value { key, .. } if key.starts_with("groups"))) {
                let key = format!("groups[{}].match", self.at);
                self.errors.push(ConfigError::Value {
                    key,
                    value: String::new(),
                    origin: self.origin.clone(),
                    rule: "is missing: every policy needs a pattern".into(),
                });
            }
            Pattern::new("*")
        });
        let who = "has to be anyone, authenticated, owner, claim or server";
        let subscribe = self.take("subscribe", who, as_who).unwrap_or(fallback.subscribe);
        let publish = self.take("publish", who, as_who).unwrap_or(fallback.publish);
        let size = self
            .take("history_size", "has to be a number up to 1000000", |value| as_count(value).filter(|n| *n <= MOST_EVENTS))
            .unwrap_or(size);
        let ttl = self.take("history_ttl", DURATION_RULE, as_duration).unwrap_or(ttl);
        let slow = self.take("slow", "has to be disconnect or drop_oldest", as_slow).unwrap_or(fallback.slow);
        let presence = self.take("presence", PRESENCE_RULE, as_presence).unwrap_or(fallback.presence);
        let interruption = self.take("interruption", "has to be quiet or tell", as_interruption).unwrap_or(fallback.interruption);
        self.report_unknown();
        Policy { pattern, subscribe, publish, history: retention(size, ttl), slow, presence, interruption }
    }

    fn take<T>(&mut self, name: &str, rule: &str, parse: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.table.remove(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            let key = format!("groups[{}].{name}", self.at);
            self.errors.push(ConfigError::Value { key, value: plain(&value), origin: self.origin.clone(), rule: rule.to_owned() });
        }
        parsed
    }

    fn report_unknown(&mut self) {
        for (name, _) in std::mem::take(&mut self.table) {
            let meant = units::did_you_mean(&name, KEYS.iter().copied()).map(str::to_owned);
            self.errors.push(ConfigError::Unknown { key: format!("groups[{}].{name}", self.at), origin: self.origin.clone(), meant });
        }
    }
}

fn as_slow(value: &Value) -> Option<SlowConsumer> {
    match value.as_str()? {
        "disconnect" => Some(SlowConsumer::Disconnect),
        "drop_oldest" => Some(SlowConsumer::DropOldest),
        _ => None,
    }
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
