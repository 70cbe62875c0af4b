//! Centrifugo's bidirectional protocol in JSON (centrifugal.dev/docs/transports/client_protocol): replies and pushes, one a line, several in a message.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::{Value, json};

use super::{
    Conversation, Learned, Outcome, Place, Profile, Request, Role,
    settings::{Setting, Settings, setting},
};

pub(super) const SETTINGS: &[Setting] = &[
    setting("path", "/connection/websocket", "path of the WebSocket"),
    setting("token", "", "the connection's JWT; none: anonymous"),
    setting("http", "/api/publish", "path of the HTTP API's publish"),
];

/// Requests of a follower; publishes count on from there.
const CONNECT: u64 = 1;
const SUBSCRIBE: u64 = 2;

#[derive(Debug)]
pub(super) struct Centrifugo {
    path: String,
    token: Option<String>,
    http: String,
    headers: String,
}

impl Centrifugo {
    pub(super) fn new(settings: &Settings, key: &str) -> Self {
        let headers = format!("X-API-Key: {key}\r\nContent-Type: application/json\r\n");
        Self { path: settings.get("path"), token: settings.some("token"), http: settings.get("http"), headers }
    }
}

impl Profile for Centrifugo {
    fn path(&self, _: &str) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let connect = self.token.as_ref().map_or_else(|| json!({}), |token| json!({ "token": token }));
        let mut subscribe = None;
        let mut tracks = false;
        if let Role::Follow { group, since, tracks: asked, .. } = role {
            tracks = asked;
            let mut request = json!({ "channel": group });
            if let Some(place) = since {
                (request["recover"], request["epoch"], request["offset"]) = (true.into(), place.epoch.clone().into(), place.offset.into());
            }
            subscribe = Some(json!({ "id": SUBSCRIBE, "subscribe": request }).to_string());
        }
        let connect = json!({ "id": CONNECT, "connect": connect }).to_string();
        Box::new(Talk { connect, subscribe, tracks, place: None, last: Vec::new(), request: SUBSCRIBE })
    }

    fn request(&self, group: &str, payload: &str, _: u64) -> Option<Request> {
        Some(Request::post(&self.http, &self.headers, format!(r#"{{"channel":"{group}","data":"{payload}"}}"#)))
    }
}

#[derive(Debug)]
struct Talk {
    connect: String,
    subscribe: Option<String>,
    tracks: bool,
    /// As of the answer to subscribe; none: the channel keeps no history.
    place: Option<Place>,
    /// The last message with publications, as it came.
    last: Vec<u8>,
    request: u64,
}

impl Conversation for Talk {
    fn open(&mut self, out: &mut Outcome) {
        out.text(std::mem::take(&mut self.connect));
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        let subscribed = || memmem::find(message, br#""subscribe":{"#).is_some();
        if marks > 0 && !subscribed() {
            if self.tracks {
                self.last.clear();
                self.last.extend_from_slice(message);
            }
            if message.starts_with(b"{}\n") || memmem::find(message, b"\n{}").is_some() {
                out.text("{}");
            }
            return Ok(());
        }
        message.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).try_for_each(|line| self.line(line, out))
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        self.request += 1;
        out.text(format!(r#"{{"id":{},"publish":{{"channel":"{group}","data":"{payload}"}}}}"#, self.request));
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        let at = memmem::rfind(&self.last, br#""offset":"#).map(|at| at + br#""offset":"#.len());
        let digits = at.map(|at| self.last[at..].iter().take_while(|byte| byte.is_ascii_digit()).copied().collect::<Vec<_>>());
        let offset = digits.and_then(|digits| String::from_utf8(digits).ok()?.parse().ok());
        self.place.clone().map(|place| Place { offset: offset.unwrap_or(place.offset), ..place })
    }
}

impl Talk {
    fn line(&mut self, line: &[u8], out: &mut Outcome) -> Result<(), String> {
        if line == b"{}" {
            out.text("{}");
            return Ok(());
        }
        let reply: Value = serde_json::from_slice(line).map_err(|error| format!("the server sent what is no JSON: {error}"))?;
        let id = reply["id"].as_u64().unwrap_or(0);
        if let Some(error) = reply.get("error") {
            if matches!(id, CONNECT | SUBSCRIBE) {
                return Err(format!("the server said {error}"));
            }
            out.learn(Learned::Refused(error.to_string()));
            return Ok(());
        }
        if let Some(end) = ["disconnect", "unsubscribe"].iter().find_map(|end| reply["push"].get(end)) {
            return Err(format!("the server ended it: {end}"));
        }
        if reply.get("connect").is_some() {
            match self.subscribe.take() {
                Some(subscribe) => out.text(subscribe),
                None => out.learn(Learned::Ready),
            }
        } else if let Some(subscribed) = reply.get("subscribe") {
            self.subscribed(subscribed, out);
        } else if id > SUBSCRIBE {
            out.learn(Learned::Accepted(1));
        }
        Ok(())
    }

    fn subscribed(&mut self, reply: &Value, out: &mut Outcome) {
        let epoch = reply["epoch"].as_str().filter(|_| reply["recoverable"].as_bool() == Some(true));
        self.place = epoch.map(|epoch| Place { epoch: epoch.to_owned(), offset: reply["offset"].as_u64().unwrap_or(0) });
        out.learn(Learned::Ready);
        if reply["was_recovering"].as_bool() == Some(true) && reply["recovered"].as_bool() != Some(true) {
            out.learn(Learned::Gap(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::profile::{Kind, talk};

    #[test]
    fn a_follower_connects_subscribes_and_answers_pings() {
        let profile = talk::profile(Kind::Centrifugo, &[]);
        let mut talking = talk::follow(&*profile, "g");
        assert_eq!(talk::open(&mut *talking), [r#"{"connect":{},"id":1}"#]);
        let connected = r#"{"id":1,"connect":{"client":"x","ping":25,"pong":true}}"#;
        assert_eq!(talk::take(&mut *talking, connected).0, [r#"{"id":2,"subscribe":{"channel":"g"}}"#]);
        let subscribed = "{\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"e\",\"offset\":4}}\n{}";
        assert_eq!(talk::take(&mut *talking, subscribed), (vec!["{}".into()], vec![Learned::Ready]));
        assert_eq!(talking.place(), Some(Place { epoch: "e".into(), offset: 4 }));
    }

    #[test]
    fn a_ping_among_publications_is_seen_and_the_last_offset_is_the_place() {
        let profile = talk::profile(Kind::Centrifugo, &[]);
        let mut talking = talk::follow(&*profile, "g");
        talk::take(&mut *talking, r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e","offset":4}}"#);
        let mut out = Outcome::default();
        let batch =
            "{\"push\":{\"channel\":\"g\",\"pub\":{\"data\":\"~\",\"offset\":5}}}\n{}\n{\"push\":{\"pub\":{\"data\":\"~\",\"offset\":16}}}";
        talking.take(batch.as_bytes(), 2, &mut out).unwrap();
        assert_eq!(out.send.len(), 1);
        assert_eq!(talking.place(), Some(Place { epoch: "e".into(), offset: 16 }));
    }

    #[test]
    fn what_could_not_be_recovered_is_a_gap() {
        let profile = talk::profile(Kind::Centrifugo, &[]);
        let since = Place { epoch: "e".into(), offset: 3 };
        let mut talking = profile.conversation(Role::Follow { group: "g", others: &[], since: Some(&since), tracks: true });
        let (said, _) = talk::take(&mut *talking, r#"{"id":1,"connect":{}}"#);
        let request: Value = serde_json::from_str(&said[0]).unwrap();
        assert_eq!(request["subscribe"], json!({ "channel": "g", "recover": true, "epoch": "e", "offset": 3 }));
        let (_, learned) = talk::take(&mut *talking, r#"{"id":2,"subscribe":{"was_recovering":true}}"#);
        assert_eq!(learned, [Learned::Ready, Learned::Gap(None)]);
    }

    #[test]
    fn publishes_are_counted_one_by_one() {
        let profile = talk::profile(Kind::Centrifugo, &[]);
        let mut talking = profile.conversation(Role::Publish { groups: &[] });
        assert_eq!(talk::publish(&mut *talking, "g", "x"), [r#"{"id":3,"publish":{"channel":"g","data":"x"}}"#]);
        let (_, learned) = talk::take(&mut *talking, "{\"id\":3,\"publish\":{}}\n{\"id\":4,\"error\":{\"code\":103}}");
        assert_eq!(learned, [Learned::Accepted(1), Learned::Refused(r#"{"code":103}"#.into())]);
        assert!(talk::refused(&mut *talking, r#"{"id":1,"error":{"code":101}}"#).contains("101"));
    }
}
