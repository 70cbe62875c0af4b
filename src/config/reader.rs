//! Takes typed values out of what was typed, collects every mistake, and remembers what was shown to be in force.

use std::{
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use toml::Value;

use super::{
    ConfigError, SECRETS, Shown,
    source::{Origin, Typed, Values},
    units,
};
use crate::{auth::Secret, policy::Who};

/// See the [module](self). Every `read` takes its key away; what is left at the end is unknown.
pub(super) struct Reader {
    values: Values,
    known: Vec<&'static str>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) shown: Vec<Shown>,
}

impl Reader {
    pub(super) fn new(values: Values) -> Self {
        Self { values, known: Vec::new(), errors: Vec::new(), shown: Vec::new() }
    }

    /// Reads a value by `parse`, which says `None` if the rule is broken.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        default: T,
        show: impl Fn(&T) -> String,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> T {
        self.known.push(key);
        let (value, origin, digest) = match self.values.remove(key) {
            None => (default, Origin::Default, 0),
            Some(Typed { value, origin }) => match parse(&value) {
                Some(parsed) => (parsed, origin, if SECRETS.contains(&key) { digest(&value) } else { 0 }),
                None => {
                    self.errors.push(ConfigError::Value { key: key.to_owned(), value: plain(&value), origin, rule: rule.to_owned() });
                    return default;
                }
            },
        };
        self.shown.push(Shown { key: key.to_owned(), value: show(&value), origin, digest });
        value
    }

    /// The same for a value in which a secret may stand: what breaks the rule is not repeated.
    pub(super) fn read_secret<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        default: T,
        show: impl Fn(&T) -> String,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let found = self.errors.len();
        let value = self.read(key, rule, default, show, parse);
        for error in &mut self.errors[found..] {
            if let ConfigError::Value { value, .. } = error {
                "***".clone_into(value);
            }
        }
        value
    }

    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        self.read(key, "has to be text", default.to_owned(), Clone::clone, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, "has to be true or false", default, ToString::to_string, as_bool)
    }

    pub(super) fn count(&mut self, key: &'static str, default: usize, least: usize, most: usize) -> usize {
        let rule = format!("has to be a number from {least} to {most}");
        self.read(key, &rule, default, ToString::to_string, |value| as_count(value).filter(|n| (least..=most).contains(n)))
    }

    pub(super) fn size(&mut self, key: &'static str, default: usize, least: usize, most: usize) -> usize {
        let rule = format!("has to be a size from {least} to {most} bytes, such as 64KiB or 1MiB");
        let parse = |value: &Value| usize::try_from(units::size(&plain(value))?).ok().filter(|n| (least..=most).contains(n));
        self.read(key, &rule, default, |bytes| format!("{bytes} bytes"), parse)
    }

    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.read(key, DURATION_RULE, default, |time| format!("{time:?}"), as_duration)
    }

    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let show = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        self.read(key, "has to be a path", None, show, |value| value.as_str().map(|path| Some(PathBuf::from(path))))
    }

    pub(super) fn address(&mut self, key: &'static str, default: Option<SocketAddr>) -> Option<SocketAddr> {
        let show = |addr: &Option<SocketAddr>| addr.map_or("off".to_owned(), |addr| addr.to_string());
        let parse = |value: &Value| match value.as_str()? {
            "off" => Some(None),
            text => text.parse().ok().map(Some),
        };
        self.read(key, "has to be an address with a port, such as 127.0.0.1:8080 or [::1]:8080, or off", default, show, parse)
    }

    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let show = |secret: &Option<Secret>| if secret.is_some() { "***".to_owned() } else { String::new() };
        self.read(key, "has to be text that is not empty", None, show, |value| Some(Some(as_secret(value)?)))
    }

    pub(super) fn secrets(&mut self, key: &'static str) -> Vec<Secret> {
        let parse = |value: &Value| match value {
            Value::Array(items) => items.iter().map(as_secret).collect(),
            value => as_secret(value).map(|secret| vec![secret]),
        };
        self.read(key, "has to be a list of texts that are not empty", Vec::new(), |secrets| format!("{} of them", secrets.len()), parse)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let parse = |value: &Value| match value {
            Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            value => value.as_str().map(|text| text.split(',').map(|part| part.trim().to_owned()).collect()),
        };
        self.read(key, "has to be a list of texts", Vec::new(), |texts| texts.join(", "), parse)
    }

    pub(super) fn one_of(&mut self, key: &'static str, words: &'static [&'static str]) -> &'static str {
        let rule = format!("has to be one of {}", words.join(", "));
        let parse = |value: &Value| words.iter().copied().find(|word| value.as_str() == Some(word));
        self.read(key, &rule, words[0], |word| (*word).to_owned(), parse)
    }

    /// The tables of `[[groups]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> (Vec<toml::Table>, Origin) {
        self.known.push(key);
        let Typed { value, origin } = self.values.remove(key).unwrap_or(Typed { value: Value::Array(Vec::new()), origin: Origin::Default });
        let tables = match &value {
            Value::Array(items) => items.iter().map(|item| item.as_table().cloned()).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match tables {
            Some(tables) => {
                let names = tables.iter().map(|table| table.get("match").map(plain).unwrap_or_default());
                let value = names.collect::<Vec<_>>().join(", ");
                self.shown.push(Shown { key: key.to_owned(), value, origin: origin.clone(), digest: digest(&tables) });
                (tables, origin)
            }
            None => {
                let rule = format!("has to be tables, each under [[{key}]]");
                self.errors.push(ConfigError::Value { key: key.to_owned(), value: plain(&value), origin: origin.clone(), rule });
                (Vec::new(), origin)
            }
        }
    }

    /// Reports what nobody has read.
    pub(super) fn finish(mut self) -> (Vec<ConfigError>, Vec<Shown>) {
        for (key, Typed { origin, .. }) in std::mem::take(&mut self.values) {
            let meant = units::did_you_mean(&key, self.known.iter().copied()).map(str::to_owned);
            self.errors.push(ConfigError::Unknown { key, origin, meant });
        }
        (self.errors, self.shown)
    }
}

pub(super) const DURATION_RULE: &str = "has to be a time with its unit, such as 250ms, 30s, 5m or 1h";

pub(super) fn as_duration(value: &Value) -> Option<Duration> {
    units::duration(value.as_str()?)
}

pub(super) fn as_count(value: &Value) -> Option<usize> {
    plain(value).parse().ok()
}

/// The words of [`Who`]. `hook` is none of them before there is a hook to ask.
pub(super) fn as_who(value: &Value) -> Option<Who> {
    let word = value.as_str()?;
    Who::ALL.into_iter().find(|who| who.name() == word && *who != Who::Hook)
}

fn as_bool(value: &Value) -> Option<bool> {
    plain(value).parse().ok()
}

fn as_secret(value: &Value) -> Option<Secret> {
    value.as_str().filter(|text| !text.is_empty()).map(Secret::new)
}

/// Tells what was typed from something else that is shown in the same way; only within one process.
fn digest(typed: &impl fmt::Debug) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(format!("{typed:?}"))
}

/// A value as it was typed.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
