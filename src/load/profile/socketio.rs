//! Socket.IO 4 over Engine.IO 4 on a WebSocket (socket.io/docs/v4/socket-io-protocol). What an application calls joining and publishing is its own
//! affair, so both are templates.

use std::borrow::Cow;

use super::{
    Conversation, Learned, Outcome, Profile, Request, Role,
    settings::{Setting, Settings, bearer, fill, setting},
};

pub(super) const SETTINGS: &[Setting] = &[
    setting("path", "/socket.io/?EIO=4&transport=websocket", "path of the WebSocket"),
    setting("auth", "", "JSON that is sent with CONNECT"),
    setting("join", r#"["join","{group}"]"#, "the event that follows a group; the server has to acknowledge it"),
    setting("publish", r#"["publish","{group}","{payload}"]"#, "the event that publishes; the server has to acknowledge it"),
    setting("http", "/publish/{group}", "path that publishes by POST"),
    setting("body", "{payload}", "its body"),
    setting("type", "text/plain", "its Content-Type"),
];

/// Number of the acknowledgement of joining; publishes count on from there.
const JOIN: u64 = 0;

#[derive(Debug)]
pub(super) struct SocketIo {
    path: String,
    auth: String,
    join: String,
    publish: String,
    http: String,
    body: String,
    headers: String,
}

impl SocketIo {
    pub(super) fn new(settings: &Settings, key: &str) -> Self {
        let get = |name| settings.get(name);
        let headers = format!("{}Content-Type: {}\r\n", bearer(key), get("type"));
        let (path, auth, join, publish) = (get("path"), get("auth"), get("join"), get("publish"));
        Self { path, auth, join, publish, http: get("http"), body: get("body"), headers }
    }
}

impl Profile for SocketIo {
    fn path(&self, _: &str) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let join = if let Role::Follow { group, .. } = role { Some(fill(&self.join, &[("group", group)])) } else { None };
        Box::new(Talk { auth: self.auth.clone(), join, publish: self.publish.clone(), acknowledgement: JOIN })
    }

    fn request(&self, group: &str, payload: &str, _: u64) -> Option<Request> {
        let values = [("group", group), ("payload", payload)];
        Some(Request::post(fill(&self.http, &values), &self.headers, fill(&self.body, &values)))
    }
}

#[derive(Debug)]
struct Talk {
    auth: String,
    join: Option<String>,
    publish: String,
    acknowledgement: u64,
}

impl Conversation for Talk {
    fn open(&mut self, _: &mut Outcome) {
        // The server speaks first.
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        if marks > 0 {
            return Ok(());
        }
        // The packet types of Engine.IO, and below 4 those of Socket.IO.
        match message {
            [b'0', ..] => out.text(format!("40{}", self.auth)),
            [b'1', ..] => return Err("the server closed".into()),
            [b'2', ..] => out.text("3"),
            [b'4', b'0', ..] => match self.join.take() {
                Some(join) => out.text(format!("42{JOIN}{join}")),
                None => out.learn(Learned::Ready),
            },
            [b'4', b'1', ..] => return Err("the server disconnected".into()),
            [b'4', b'3', number @ ..] if number.starts_with(b"0[") => out.learn(Learned::Ready),
            [b'4', b'3', ..] => out.learn(Learned::Accepted(1)),
            [b'4', b'4', reason @ ..] => return Err(format!("the server refused: {}", String::from_utf8_lossy(reason))),
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        self.acknowledgement += 1;
        out.text(format!("42{}{}", self.acknowledgement, fill(&self.publish, &[("group", group), ("payload", payload)])));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::profile::{Kind, talk};

    #[test]
    fn a_follower_opens_connects_and_joins() {
        let profile = talk::profile(Kind::Socketio, &[]);
        let mut talking = talk::follow(&*profile, "g");
        assert_eq!(talk::take(&mut *talking, r#"0{"sid":"x","pingInterval":25000}"#).0, ["40"]);
        assert_eq!(talk::take(&mut *talking, r#"40{"sid":"y"}"#).0, [r#"420["join","g"]"#]);
        assert_eq!(talk::take(&mut *talking, "430[]").1, [Learned::Ready]);
        assert_eq!(talk::take(&mut *talking, "2").0, ["3"]);
        assert!(talk::refused(&mut *talking, r#"44{"message":"no"}"#).contains("no"));
    }

    #[test]
    fn publishes_are_acknowledged_by_number() {
        let profile = talk::profile(Kind::Socketio, &[]);
        let mut talking = profile.conversation(Role::Publish { groups: &[] });
        assert_eq!(talk::take(&mut *talking, "40{}").1, [Learned::Ready]);
        assert_eq!(talk::publish(&mut *talking, "g", "x"), [r#"421["publish","g","x"]"#]);
        assert_eq!(talk::take(&mut *talking, "431[]").1, [Learned::Accepted(1)]);
    }
}
