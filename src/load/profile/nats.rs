//! The client protocol of NATS over WebSocket (docs.nats.io/reference/reference-protocols/nats-protocol).
//!
//! The bytes of the protocol are cut into WebSocket messages as the server likes, so only what stands at the beginning of a line counts.

use std::borrow::Cow;

use memchr::memmem;

use super::{
    Conversation, Learned, Outcome, Profile, Request, Role,
    settings::{Setting, Settings, setting},
};

pub(super) const SETTINGS: &[Setting] =
    &[setting("path", "/", "path of the WebSocket"), setting("token", "", "`auth_token` of CONNECT; none: no authentication")];

/// Longest greeting that is kept until it is whole, in bytes.
const GREETING_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Nats {
    path: String,
    token: Option<String>,
}

impl Nats {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { path: settings.get("path"), token: settings.some("token") }
    }
}

impl Profile for Nats {
    fn path(&self, _: &str) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let mut options = serde_json::json!({
            "verbose": false, "pedantic": false, "tls_required": false, "echo": true, "protocol": 1, "lang": "rust",
            "name": "fanfare-load", "version": env!("CARGO_PKG_VERSION"),
        });
        if let Some(token) = &self.token {
            options["auth_token"] = token.as_str().into();
        }
        let mut greeting = format!("CONNECT {options}\r\n");
        if let Role::Follow { group, .. } = role {
            greeting += &format!("SUB {group} 1\r\n");
        }
        // The answer says that all before it was understood.
        greeting += "PING\r\n";
        Box::new(Talk { greeting: Some(greeting), seen: Vec::new() })
    }

    fn request(&self, _: &str, _: &str, _: u64) -> Option<Request> {
        None
    }
}

#[derive(Debug)]
struct Talk {
    /// Until the server's INFO has come.
    greeting: Option<String>,
    /// What came before it was ready.
    seen: Vec<u8>,
}

impl Conversation for Talk {
    fn open(&mut self, _: &mut Outcome) {
        // The server speaks first.
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        if memmem::find(message, b"PING\r\n").is_some() {
            out.binary("PONG\r\n");
        }
        if marks > 0 {
            return Ok(());
        }
        if let Some(at) = memmem::find(message, b"-ERR ") {
            let line = message[at..].split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(format!("the server said {}", String::from_utf8_lossy(line)));
        }
        self.greet(message, out)
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        out.binary(format!("PUB {group} {}\r\n{payload}\r\n", payload.len()));
        Ok(())
    }

    /// With `verbose` it would, but then for everything else too.
    fn acknowledges(&self) -> bool {
        false
    }
}

impl Talk {
    fn greet(&mut self, message: &[u8], out: &mut Outcome) -> Result<(), String> {
        if self.greeting.is_some() {
            self.seen.extend_from_slice(message);
            if !b"INFO ".starts_with(&self.seen[..self.seen.len().min(5)]) || self.seen.len() > GREETING_BYTES {
                return Err("the server does not begin with INFO as NATS does".into());
            }
            if let Some(end) = memmem::find(&self.seen, b"\r\n") {
                self.seen.drain(..end + 2);
                out.binary(self.greeting.take().unwrap_or_default());
            }
        } else if memmem::find(message, b"PONG\r\n").is_some() {
            out.learn(Learned::Ready);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::profile::{Kind, talk};

    #[test]
    fn a_follower_waits_for_the_greeting_and_for_the_answer() {
        let profile = talk::profile(Kind::Nats, &[("token", "t")]);
        let mut talking = talk::follow(&*profile, "g");
        assert!(talk::open(&mut *talking).is_empty());
        assert_eq!(talk::take(&mut *talking, r#"INFO {"server"#), (vec![], vec![]));
        let (said, _) = talk::take(&mut *talking, "_id\":1}\r\n");
        assert!(said[0].contains(r#""auth_token":"t""#) && said[0].ends_with("SUB g 1\r\nPING\r\n"), "{said:?}");
        assert_eq!(talk::take(&mut *talking, "PING\r\nPONG\r\n"), (vec!["PONG\r\n".into()], vec![Learned::Ready]));
        assert_eq!(talk::refused(&mut *talking, "-ERR 'Slow Consumer'\r\n"), "the server said -ERR 'Slow Consumer'");
    }

    #[test]
    fn a_publish_tells_its_length() {
        let profile = talk::profile(Kind::Nats, &[]);
        let mut talking = profile.conversation(Role::Publish { groups: &[] });
        assert_eq!(talk::publish(&mut *talking, "g", "hello"), ["PUB g 5\r\nhello\r\n"]);
        assert!(talk::refused(&mut *talking, "HTTP").contains("INFO"));
    }
}
