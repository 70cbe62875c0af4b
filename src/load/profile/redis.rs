//! A bare subscriber of Redis or Valkey over TCP, in RESP (redis.io/docs/latest/develop/reference/protocol-spec).

use std::borrow::Cow;

use memchr::memmem;

use super::{
    Conversation, Framing, Learned, Outcome, Profile, Request, Role,
    settings::{Setting, Settings, fill, setting},
};

pub(super) const SETTINGS: &[Setting] = &[
    setting("channel", "{group}", "the channel of a group"),
    setting("message", "{payload}", "what is published"),
    setting("password", "", "for AUTH; none: no authentication"),
];

#[derive(Debug)]
pub(super) struct Redis {
    channel: String,
    message: String,
    password: Option<String>,
}

impl Redis {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { channel: settings.get("channel"), message: settings.get("message"), password: settings.some("password") }
    }
}

impl Profile for Redis {
    fn framing(&self) -> Framing {
        Framing::Bytes
    }

    fn path(&self, _: &str) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let mut opening = Vec::new();
        let mut waits_for = 0;
        if let Some(password) = &self.password {
            command(&mut opening, &["AUTH", password]);
            waits_for += 1;
        }
        if let Role::Follow { group, .. } = role {
            command(&mut opening, &["SUBSCRIBE", &fill(&self.channel, &[("group", group)])]);
        } else {
            command(&mut opening, &["PING"]);
        }
        waits_for += 1;
        Box::new(Talk { opening, waits_for, rest: Vec::new(), channel: self.channel.clone(), message: self.message.clone() })
    }

    fn request(&self, _: &str, _: &str, _: u64) -> Option<Request> {
        None
    }
}

#[derive(Debug)]
struct Talk {
    opening: Vec<u8>,
    /// Answers until it is ready.
    waits_for: usize,
    /// An answer whose end has not come yet.
    rest: Vec<u8>,
    channel: String,
    message: String,
}

impl Conversation for Talk {
    fn open(&mut self, out: &mut Outcome) {
        out.binary(std::mem::take(&mut self.opening));
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        if marks > 0 && self.waits_for == 0 {
            return Ok(());
        }
        self.rest.extend_from_slice(message);
        while let Some(end) = memmem::find(&self.rest, b"\r\n") {
            let line: Vec<u8> = self.rest.drain(..end + 2).collect();
            self.line(&line[..end], out)?;
        }
        Ok(())
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        let mut bytes = Vec::new();
        command(&mut bytes, &["PUBLISH", &fill(&self.channel, &[("group", group)]), &fill(&self.message, &[("payload", payload)])]);
        out.binary(bytes);
        Ok(())
    }
}

impl Talk {
    /// The answers that matter are lines: `+OK`, `+PONG`, `:1` (how many got a message, or the number of the subscription), `-ERR …`.
    fn line(&mut self, line: &[u8], out: &mut Outcome) -> Result<(), String> {
        match line.first() {
            Some(b'-') if self.waits_for > 0 => Err(format!("the server said {}", String::from_utf8_lossy(line))),
            Some(b'-') => {
                out.learn(Learned::Refused(String::from_utf8_lossy(line).into_owned()));
                Ok(())
            }
            Some(b'+' | b':') if self.waits_for > 0 => {
                self.waits_for -= 1;
                if self.waits_for == 0 {
                    out.learn(Learned::Ready);
                }
                Ok(())
            }
            Some(b':') => {
                out.learn(Learned::Accepted(1));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::profile::{Kind, talk};

    #[test]
    fn a_follower_is_ready_when_the_subscription_has_its_number() {
        let profile = talk::profile(Kind::Redis, &[("channel", "x:{group}"), ("password", "p")]);
        let mut talking = talk::follow(&*profile, "g");
        assert_eq!(talk::open(&mut *talking), ["*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n*2\r\n$9\r\nSUBSCRIBE\r\n$3\r\nx:g\r\n"]);
        assert_eq!(talk::take(&mut *talking, "+OK\r\n*3\r\n$9\r\nsubscribe\r\n$3\r\nx:g\r").1, []);
        assert_eq!(talk::take(&mut *talking, "\n:1\r\n").1, [Learned::Ready]);
    }

    #[test]
    fn publishes_are_answered_one_by_one() {
        let profile = talk::profile(Kind::Redis, &[]);
        let mut talking = profile.conversation(Role::Publish { groups: &[] });
        assert_eq!(talk::take(&mut *talking, "+PONG\r\n").1, [Learned::Ready]);
        assert_eq!(talk::publish(&mut *talking, "g", "hi"), ["*3\r\n$7\r\nPUBLISH\r\n$1\r\ng\r\n$2\r\nhi\r\n"]);
        let (_, learned) = talk::take(&mut *talking, ":3\r\n-OOM\r\n");
        assert_eq!(learned, [Learned::Accepted(1), Learned::Refused("-OOM".into())]);
        assert!(talk::refused(&mut *talk::follow(&*profile, "g"), "-NOAUTH\r\n").contains("NOAUTH"));
    }
}
