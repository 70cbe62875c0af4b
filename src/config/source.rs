//! Where values come from: the file, the environment, the command line; gathered as `key = value` with their origin.

use std::{collections::BTreeMap, fmt, path::Path, path::PathBuf};

use toml::Value;

/// Where a value was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is built in.
    Default,
    /// In the configuration file.
    File(PathBuf),
    /// In this variable of the environment.
    Environment(String),
    /// In the file that this variable of the environment names.
    SecretFile(String, PathBuf),
    /// On the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::SecretFile(name, path) => write!(f, "{} (environment {name})", path.display()),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// A value and where it was typed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Typed {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What was typed, by the dotted key (`listen.http`). `groups` holds the array of tables as it is.
pub(super) type Values = BTreeMap<String, Typed>;

/// Keys that say the same in two ways: who sets one of them overrides what another source says by the other.
const ALTERNATIVES: [(&str, &str); 2] = [("redis.url", "redis.urls"), ("redis.urls", "redis.url")];

fn put(into: &mut Values, key: String, value: Value, origin: Origin) {
    for (_, other) in ALTERNATIVES.iter().filter(|(one, _)| *one == key) {
        if into.get(*other).is_some_and(|typed| std::mem::discriminant(&typed.origin) != std::mem::discriminant(&origin)) {
            into.remove(*other);
        }
    }
    into.insert(key, Typed { value, origin });
}

/// A source that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The file was named, so it has to be there.
    #[error("the configuration file {path} can't be read: {reason}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is no TOML.
    #[error("{path}: {reason}", path = path.display())]
    NoToml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

/// The values of a file.
pub(super) fn from_file(path: &Path, into: &mut Values) -> Result<(), SourceError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| SourceError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    from_text(&text, path, into)
}

/// The values of a file with this text.
pub(super) fn from_text(text: &str, path: &Path, into: &mut Values) -> Result<(), SourceError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| SourceError::NoToml {
        path: path.to_owned(),
        reason: error.to_string().trim().replace('\n', " "),
    })?;
    flatten("", table, &Origin::File(path.to_owned()), into);
    Ok(())
}

fn flatten(prefix: &str, table: toml::Table, origin: &Origin, into: &mut Values) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, origin, into),
            value => put(into, key, value, origin.clone()),
        }
    }
}

/// Variables that begin like ours but belong to the commands that send.
const NOT_CONFIGURATION: &[&str] = &["FANFARE_API_KEY", "FANFARE_URL", "FANFARE_TOKEN", "FANFARE_CONFIG"];

/// The values of the environment: `FANFARE_LISTEN__HTTP` is `listen.http`; `FANFARE_AUTH__HMAC_SECRET_FILE` names a file that holds `auth.hmac_secret`.
pub(super) fn from_environment(env: impl IntoIterator<Item = (String, String)>, secrets: &[&str], into: &mut Values) -> Vec<SourceError> {
    let mut errors = Vec::new();
    for (name, value) in env {
        let Some(key) = name.strip_prefix("FANFARE_").filter(|_| !NOT_CONFIGURATION.contains(&name.as_str()) && !is_from_kubernetes(&name))
        else {
            continue;
        };
        let key = key.to_ascii_lowercase().replace("__", ".");
        match key.strip_suffix("_file").filter(|key| secrets.contains(key)) {
            None => put(into, key, parse(&value), Origin::Environment(name)),
            Some(key) => {
                let path = PathBuf::from(value);
                match std::fs::read_to_string(&path) {
                    Ok(text) => {
                        let value = Value::String(text.trim_end_matches(['\r', '\n']).to_owned());
                        put(into, key.to_owned(), value, Origin::SecretFile(name, path));
                    }
                    Err(error) => errors.push(SourceError::Unreadable { path, reason: error.to_string() }),
                }
            }
        }
    }
    errors
}

/// Kubernetes sets such variables for every service of a namespace, also for one that is called fanfare.
fn is_from_kubernetes(name: &str) -> bool {
    name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT")
}

/// The values of the command line.
pub(super) fn from_flags(flags: impl IntoIterator<Item = (String, String)>, into: &mut Values) {
    for (key, value) in flags {
        put(into, key, parse(&value), Origin::Flag);
    }
}

/// Text outside of a TOML file: a list if it looks like one, else the text, which every reader of a value also takes for a number or a truth value.
fn parse(text: &str) -> Value {
    let list = text.starts_with('[').then(|| format!("v = {text}").parse::<toml::Table>().ok()).flatten();
    list.and_then(|mut table| table.remove("v")).unwrap_or_else(|| Value::String(text.to_owned()))
}
