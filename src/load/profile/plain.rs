//! Any WebSocket server whose talk can be told by templates: Django Channels, uWebSockets, an application's own.

use std::borrow::Cow;

use memchr::memmem;

use super::{
    Conversation, Learned, Message, Outcome, Profile, Request, Role,
    settings::{Setting, Settings, bearer, fill, setting},
};

pub(super) const SETTINGS: &[Setting] = &[
    setting("path", "/", "path of the WebSocket; `{group}` is the group"),
    setting("open", "", "what a follower says first; none: nothing"),
    setting("ready", "", "what is in the message that says that the group is followed; none: it is when the connection is open"),
    setting("refused", "", "what is in a message that says no; none: nothing is"),
    setting("ping", "", "what is in a message that asks whether somebody is there; none: nothing is"),
    setting("pong", "", "what is answered to that"),
    setting("alive", "", "what is said every 15 s; none: nothing"),
    setting("publish", "", "what a client says to publish `{payload}` to `{group}`; none: clients can't publish"),
    setting("accepted", "", "what is in the answer to a client's publish; none: there is no answer"),
    setting("frames", "text", "what messages are: `text` or `binary`"),
    setting("http", "", "path that publishes by POST; none: HTTP can't publish"),
    setting("body", "{payload}", "its body"),
    setting("type", "application/json", "its Content-Type"),
];

#[derive(Debug)]
pub(super) struct Plain {
    path: String,
    words: Words,
    alive: Option<String>,
    http: Option<String>,
    body: String,
    headers: String,
}

#[derive(Debug, Clone)]
struct Words {
    open: Option<String>,
    ready: Option<String>,
    refused: Option<String>,
    ping: Option<String>,
    pong: String,
    publish: Option<String>,
    accepted: Option<String>,
    binary: bool,
}

impl Plain {
    pub(super) fn new(settings: &Settings, key: &str) -> Result<Self, String> {
        let (get, some) = (|name| settings.get(name), |name| settings.some(name));
        let binary = match get("frames").as_str() {
            "text" => false,
            "binary" => true,
            other => return Err(format!("--set frames={other}: has to be text or binary")),
        };
        let (open, ready, refused, ping) = (some("open"), some("ready"), some("refused"), some("ping"));
        let words = Words { open, ready, refused, ping, pong: get("pong"), publish: some("publish"), accepted: some("accepted"), binary };
        let headers = format!("{}Content-Type: {}\r\n", bearer(key), get("type"));
        Ok(Self { path: get("path"), words, alive: some("alive"), http: some("http"), body: get("body"), headers })
    }
}

impl Profile for Plain {
    fn path(&self, group: &str) -> Cow<'_, str> {
        fill(&self.path, &[("group", group)]).into()
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let mut words = self.words.clone();
        if let Role::Follow { group, .. } = role {
            words.open = words.open.map(|open| fill(&open, &[("group", group)]));
            words.ready = words.ready.map(|ready| fill(&ready, &[("group", group)]));
        } else {
            (words.open, words.ready) = (None, None);
        }
        Box::new(Talk { words })
    }

    fn request(&self, group: &str, payload: &str, _: u64) -> Option<Request> {
        let values = [("group", group), ("payload", payload)];
        Some(Request::post(fill(self.http.as_ref()?, &values), &self.headers, fill(&self.body, &values)))
    }

    fn keep_alive(&self) -> Option<Message> {
        self.alive.as_ref().map(|alive| self.words.message(alive.clone()))
    }
}

impl Words {
    fn message(&self, text: String) -> Message {
        if self.binary { Message::Binary(text.into_bytes()) } else { Message::Text(text.into_bytes()) }
    }
}

#[derive(Debug)]
struct Talk {
    words: Words,
}

impl Conversation for Talk {
    fn open(&mut self, out: &mut Outcome) {
        if let Some(open) = self.words.open.take() {
            out.send.push(self.words.message(open));
        }
        if self.words.ready.is_none() {
            out.learn(Learned::Ready);
        }
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        if marks > 0 {
            return Ok(());
        }
        let has = |word: &Option<String>| word.as_ref().is_some_and(|word| memmem::find(message, word.as_bytes()).is_some());
        if has(&self.words.refused) {
            return Err(format!("the server said {}", String::from_utf8_lossy(message)));
        }
        if has(&self.words.ping) {
            out.send.push(self.words.message(self.words.pong.clone()));
        }
        if has(&self.words.accepted) {
            out.learn(Learned::Accepted(1));
        }
        if has(&self.words.ready) {
            self.words.ready = None;
            out.learn(Learned::Ready);
        }
        Ok(())
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        let template = self.words.publish.as_ref().ok_or("publishing by clients needs --set publish=TEMPLATE")?;
        out.send.push(self.words.message(fill(template, &[("group", group), ("payload", payload)])));
        Ok(())
    }

    fn acknowledges(&self) -> bool {
        self.words.accepted.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::profile::{Kind, talk};

    #[test]
    fn everything_goes_by_template() {
        let settings =
            [("open", r#"{"join":"{group}"}"#), ("ready", "joined {group}"), ("ping", "PING"), ("pong", "PONG"), ("refused", "no!")];
        let profile = talk::profile(Kind::Plain, &settings);
        let mut talking = talk::follow(&*profile, "g");
        assert_eq!(talk::open(&mut *talking), [r#"{"join":"g"}"#]);
        assert_eq!(talk::take(&mut *talking, "joined h").1, []);
        assert_eq!(talk::take(&mut *talking, "joined g").1, [Learned::Ready]);
        assert_eq!(talk::take(&mut *talking, "PING 1").0, ["PONG"]);
        assert_eq!(talk::refused(&mut *talking, "no!"), "the server said no!");
    }

    #[test]
    fn without_templates_an_open_connection_follows_and_nothing_publishes() {
        let profile = talk::profile(Kind::Plain, &[("path", "/ws/{group}")]);
        assert_eq!(profile.path("g"), "/ws/g");
        let mut out = Outcome::default();
        let mut talking = talk::follow(&*profile, "g");
        talking.open(&mut out);
        assert_eq!(out, Outcome { send: vec![], learned: vec![Learned::Ready] });
        assert!(talking.publish("g", "x", &mut out).unwrap_err().contains("--set publish"));
        assert_eq!(profile.request("g", "x", 0), None);
    }

    #[test]
    fn publishes_go_by_template_too() {
        let settings =
            [("http", "/send/{group}"), ("body", r#"{"text":"{payload}"}"#), ("publish", "{group}:{payload}"), ("frames", "binary")];
        let profile = talk::profile(Kind::Plain, &settings);
        let request = profile.request("g", "x", 0).unwrap();
        assert_eq!((request.target.as_str(), &request.body[..]), ("/send/g", &br#"{"text":"x"}"#[..]));
        assert!(request.headers.contains("Authorization: Bearer the-key\r\n"), "{request:?}");
        let mut talking = profile.conversation(Role::Publish { groups: &[] });
        assert_eq!(talk::publish(&mut *talking, "g", "x"), ["g:x"]);
    }
}
