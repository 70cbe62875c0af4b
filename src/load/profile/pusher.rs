//! The Pusher protocol 7 (pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol), as sockudo, soketi and Reverb speak it.

use std::borrow::Cow;

use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};
use memchr::memmem;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Conversation, Learned, Message, Outcome, Profile, Request, Role,
    settings::{Setting, Settings, setting},
};

pub(super) const SETTINGS: &[Setting] = &[
    setting("app", "app-id", "the application's id"),
    setting("key", "app-key", "the application's key"),
    setting("secret", "app-secret", "the application's secret; signs publishes and `private-` groups"),
    setting("event", "message", "name of the published event; from clients with `client-` before it"),
];

#[derive(Debug)]
pub(super) struct Pusher {
    path: String,
    app: App,
    id: String,
}

#[derive(Debug, Clone)]
struct App {
    key: String,
    secret: String,
    event: String,
}

impl Pusher {
    pub(super) fn new(settings: &Settings) -> Self {
        let app = App { key: settings.get("key"), secret: settings.get("secret"), event: settings.get("event") };
        let version = env!("CARGO_PKG_VERSION");
        Self { path: format!("/app/{}?protocol=7&client=fanfare-load&version={version}", app.key), app, id: settings.get("app") }
    }

    /// Path and signed query of a publish (pusher.com/docs/channels/library_auth_reference/rest-api). Servers compare the time with theirs.
    fn signed(&self, body: &str, unix_seconds: u64) -> String {
        let digest = hex(&Md5::digest(body.as_bytes()));
        let path = format!("/apps/{}/events", self.id);
        let query = format!("auth_key={}&auth_timestamp={unix_seconds}&auth_version=1.0&body_md5={digest}", self.app.key);
        let signature = self.app.sign(&format!("POST\n{path}\n{query}"));
        format!("{path}?{query}&auth_signature={signature}")
    }
}

impl App {
    fn sign(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

impl Profile for Pusher {
    fn path(&self, _: &str) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let groups = match role {
            Role::Idle => Vec::new(),
            Role::Follow { group, .. } => vec![group.to_owned()],
            // Only who follows a channel may publish to it.
            Role::Publish { groups } => groups.to_vec(),
        };
        Box::new(Talk { app: self.app.clone(), waits_for: groups.len(), groups })
    }

    fn request(&self, group: &str, payload: &str, unix_seconds: u64) -> Option<Request> {
        let body = format!(r#"{{"name":"{}","channel":"{group}","data":"{payload}"}}"#, self.app.event);
        Some(Request::post(self.signed(&body, unix_seconds), "Content-Type: application/json\r\n", body))
    }

    /// The client asks after 120 s of silence at the latest; a server may end a connection that does not.
    fn keep_alive(&self) -> Option<Message> {
        Some(Message::Text(br#"{"event":"pusher:ping","data":{}}"#.to_vec()))
    }
}

#[derive(Debug)]
struct Talk {
    app: App,
    groups: Vec<String>,
    /// Groups whose answer has not come.
    waits_for: usize,
}

impl Conversation for Talk {
    fn open(&mut self, _: &mut Outcome) {
        // The server speaks first.
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        // One event a message; what has a mark is an event of a group.
        if marks > 0 || memmem::find(message, b"pusher").is_none() {
            return Ok(());
        }
        let event: Value = serde_json::from_slice(message).map_err(|error| format!("the server sent what is no JSON: {error}"))?;
        match event["event"].as_str().unwrap_or_default() {
            "pusher:connection_established" => self.established(&event, out),
            "pusher:ping" => out.text(r#"{"event":"pusher:pong","data":{}}"#),
            "pusher_internal:subscription_succeeded" => {
                self.waits_for = self.waits_for.saturating_sub(1);
                if self.waits_for == 0 {
                    out.learn(Learned::Ready);
                }
            }
            "pusher:error" | "pusher:subscription_error" if self.waits_for > 0 => return Err(format!("the server said {}", event["data"])),
            "pusher:error" => out.learn(Learned::Refused(event["data"].to_string())),
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        if !group.starts_with("private-") {
            return Err(format!("{group}: clients publish only to groups that begin with `private-`; --prefix private-load"));
        }
        out.text(format!(r#"{{"event":"client-{}","channel":"{group}","data":"{payload}"}}"#, self.app.event));
        Ok(())
    }

    fn acknowledges(&self) -> bool {
        false
    }
}

impl Talk {
    fn established(&mut self, event: &Value, out: &mut Outcome) {
        // The data of an event is JSON in a string.
        let data: Value = event["data"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let socket = data["socket_id"].as_str().unwrap_or_default();
        for group in self.groups.drain(..) {
            let mut request = json!({ "channel": group });
            if group.starts_with("private-") {
                request["auth"] = format!("{}:{}", self.app.key, self.app.sign(&format!("{socket}:{group}"))).into();
            }
            out.text(json!({ "event": "pusher:subscribe", "data": request }).to_string());
        }
        if self.waits_for == 0 {
            out.learn(Learned::Ready);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::profile::{Kind, talk};

    const ESTABLISHED: &str = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.1234\"}"}"#;

    /// Key, secret, socket and channel of the example in pusher.com/docs/channels/server_api/authorizing-users.
    #[test]
    fn a_private_group_is_signed_as_in_the_documentation() {
        let secret = "7ad3773142a6692b25b8";
        let profile = talk::profile(Kind::Pusher, &[("key", "278d425bdf160c739803"), ("secret", secret)]);
        let mut talking = talk::follow(&*profile, "private-foobar");
        let (said, _) = talk::take(&mut *talking, ESTABLISHED);
        let signature = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert!(said[0].contains(&format!("278d425bdf160c739803:{signature}")), "{said:?}");
        let succeeded = r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-foobar","data":"{}"}"#;
        assert_eq!(talk::take(&mut *talking, succeeded).1, [Learned::Ready]);
        assert_eq!(talk::take(&mut *talking, r#"{"event":"pusher:ping","data":"{}"}"#).0.len(), 1);
    }

    /// The example in pusher.com/docs/channels/library_auth_reference/rest-api.
    #[test]
    fn a_publish_is_signed_as_in_the_documentation() {
        let settings = [("app", "3"), ("key", "278d425bdf160c739803"), ("secret", "7ad3773142a6692b25b8")];
        let given: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let pusher = Pusher::new(&Settings::new("pusher", SETTINGS, &given).unwrap());
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let target = pusher.signed(body, 1_353_088_179);
        assert!(target.contains("body_md5=ec365a775a4cd0599faeb73354201b6f"), "{target}");
        assert!(target.ends_with("auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"), "{target}");
    }

    #[test]
    fn refusals_are_told_and_clients_publish_to_private_groups_only() {
        let profile = talk::profile(Kind::Pusher, &[]);
        let error = r#"{"event":"pusher:error","data":{"code":4001,"message":"no such app"}}"#;
        assert!(talk::refused(&mut *talk::follow(&*profile, "g"), error).contains("4001"));
        let mut publisher = profile.conversation(Role::Publish { groups: &["private-g".into()] });
        assert!(publisher.publish("g", "x", &mut Outcome::default()).is_err());
        assert!(talk::publish(&mut *publisher, "private-g", "x")[0].contains(r#""event":"client-message""#));
    }
}
