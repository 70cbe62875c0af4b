//! Where Redis is and how to get in: `redis://user:password@host:6379/0`.

use std::{fmt, str::FromStr};

/// A parsed address. Shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
}

/// Where sentinels listen if nothing else is said.
const SENTINEL_PORT: u16 = 26379;

/// Text that is no such address. Never contains the text itself, in which a password may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "has to look like redis://host:6379, rediss://user:password@host:6379/0 (rediss: with TLS); special characters in user and password are percent-encoded"
)]
pub struct UrlError;

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text, 6379)
    }
}

impl Url {
    /// The address of a sentinel: like that of a server, or only `host:port`.
    ///
    /// # Errors
    /// It does not look like that, or has a database.
    pub fn of_sentinel(text: &str) -> Result<Self, UrlError> {
        let url =
            if text.contains("://") { Self::parse(text, SENTINEL_PORT) } else { Self::parse(&format!("redis://{text}"), SENTINEL_PORT) }?;
        if url.database == 0 { Ok(url) } else { Err(UrlError) }
    }

    /// The host, which stands for a name where sentinels are asked.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    fn parse(text: &str, default_port: u16) -> Result<Self, UrlError> {
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(UrlError),
        };
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if path.is_empty() { 0 } else { path.parse().map_err(|_| UrlError)? };
        let (login, address) = match place.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, place),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            None => (None, None),
            Some((user, password)) => (not_empty(decoded(user)?), not_empty(decoded(password)?)),
        };
        let (host, port) = host_and_port(address, default_port)?;
        Ok(Self { host, port, tls, user, password, database })
    }
}

fn host_and_port(address: &str, default_port: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(UrlError)?;
            (host, after.strip_prefix(':'))
        }
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default_port), str::parse).map_err(|_| UrlError)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.chars().all(plain) { Err(UrlError) } else { Ok((host.to_owned(), port)) }
}

fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).ok_or(UrlError)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| UrlError)?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| UrlError)
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}:{}/{}", self.port, self.database)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let url: Url = "rediss://ann:p%40ss:w@redis.example:6380/3".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.tls, url.database), ("redis.example", 6380, true, 3));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("ann"), Some("p@ss:w")));
        assert_eq!(url.to_string(), "rediss://redis.example:6380/3");
        let url: Url = "redis://:secret@[::1]".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.user.as_deref(), url.password.as_deref()), ("::1", 6379, None, Some("secret")));
        assert_eq!(url.to_string(), "redis://[::1]:6379/0");
    }

    #[test]
    fn a_sentinel_needs_no_scheme() {
        let url = Url::of_sentinel("s1.example").unwrap();
        assert_eq!((url.host(), url.port, url.tls), ("s1.example", 26379, false));
        let url = Url::of_sentinel("rediss://watch:pass@s1.example:5000").unwrap();
        assert_eq!((url.port, url.tls, url.user.as_deref(), url.password.as_deref()), (5000, true, Some("watch"), Some("pass")));
        for text in ["", "s1:x", "redis://s1/3", "s1/3", "http://s1"] {
            assert_eq!(Url::of_sentinel(text), Err(UrlError), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "http://x", "redis://", "redis://x:port", "redis://x/db", "redis://%zz@x", "redis://[::1", "redis://a b"] {
            assert_eq!(text.parse::<Url>(), Err(UrlError), "{text}");
        }
    }
}
