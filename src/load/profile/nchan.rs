//! Nchan over WebSocket (nchan.io): the group is in the URL, and a message is the payload and nothing else.

use std::borrow::Cow;

use super::{
    Conversation, Learned, Outcome, Profile, Request, Role,
    settings::{Setting, Settings, fill, setting},
};

pub(super) const SETTINGS: &[Setting] = &[
    setting("path", "/sub/{group}", "where a group is followed"),
    setting("http", "/pub/{group}", "where a group is published to, by POST"),
];

#[derive(Debug)]
pub(super) struct Nchan {
    path: String,
    http: String,
}

impl Nchan {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { path: settings.get("path"), http: settings.get("http") }
    }
}

impl Profile for Nchan {
    fn path(&self, group: &str) -> Cow<'_, str> {
        fill(&self.path, &[("group", group)]).into()
    }

    fn conversation(&self, _: Role<'_>) -> Box<dyn Conversation> {
        Box::new(Talk)
    }

    fn request(&self, group: &str, payload: &str, _: u64) -> Option<Request> {
        // The answer to a publish is a page unless a short one is asked for.
        let headers = "Content-Type: text/plain\r\nAccept: text/json\r\n";
        Some(Request::post(fill(&self.http, &[("group", group)]), headers, payload))
    }
}

#[derive(Debug)]
struct Talk;

impl Conversation for Talk {
    /// The upgrade is the answer.
    fn open(&mut self, out: &mut Outcome) {
        out.learn(Learned::Ready);
    }

    fn take(&mut self, _: &[u8], _: usize, _: &mut Outcome) -> Result<(), String> {
        Ok(())
    }

    /// A WebSocket of a location that publishes takes what comes as messages.
    fn publish(&mut self, _: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        out.text(payload);
        Ok(())
    }

    fn acknowledges(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::load::profile::{Kind, talk};

    #[test]
    fn the_group_is_in_the_url() {
        let profile = talk::profile(Kind::Nchan, &[("path", "/s?id={group}")]);
        assert_eq!(profile.path("g"), "/s?id=g");
        let request = profile.request("g", "hello", 0).unwrap();
        assert_eq!((request.target.as_str(), &request.body[..]), ("/pub/g", &b"hello"[..]));
    }
}
