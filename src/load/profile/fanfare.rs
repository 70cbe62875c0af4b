//! `fanfare.v1` in MessagePack (`docs/protocol.md`).

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    Conversation, Framing, Learned, Message, Outcome, Place, Profile, Request, Role,
    settings::{Setting, Settings, bearer, setting},
};
use crate::protocol::{ClientFrame, Dialect, Hello, Position, RawKind, ServerFrame, Subscribe};

pub(super) const SETTINGS: &[Setting] =
    &[setting("path", "/fanfare", "path of a WebSocket"), setting("token", "", "the token in hello; none: anonymous")];

const DIALECT: Dialect = Dialect::Msgpack;

#[derive(Debug)]
pub(super) struct Fanfare {
    path: String,
    token: Option<String>,
    headers: String,
}

impl Fanfare {
    pub(super) fn new(settings: &Settings, key: &str) -> Self {
        let headers = format!("{}Content-Type: application/json\r\n", bearer(key));
        Self { path: settings.get("path"), token: settings.some("token"), headers }
    }
}

impl Profile for Fanfare {
    fn framing(&self) -> Framing {
        Framing::WebSocket { subprotocol: Some("fanfare.v1.msgpack") }
    }

    fn path(&self, _: &str) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    fn conversation(&self, role: Role<'_>) -> Box<dyn Conversation> {
        let client = Some(concat!("fanfare-load/", env!("CARGO_PKG_VERSION")).to_owned());
        let hello = Hello { version: 1, token: self.token.clone(), client, transport: Some("forced".into()) };
        let mut opening = vec![ClientFrame::Hello(hello)];
        let mut tracks = false;
        if let Role::Follow { group, others, since, tracks: asked } = role {
            tracks = asked;
            let since = since.and_then(|place| Some(Position { epoch: place.epoch.parse().ok()?, offset: place.offset }));
            let groups = std::iter::once((group, since)).chain(others.iter().map(|group| (group.as_str(), None)));
            let subscribe = |(request, (group, since)): (u32, (&str, _))| Subscribe { request, group: group.to_owned(), since };
            opening.extend((1..).zip(groups).map(subscribe).map(ClientFrame::Subscribe));
        }
        let awaited = opening.len() - 1;
        Box::new(Talk { opening, awaited, tracks, ready: false, position: Position::default(), last: Vec::new(), request: 0 })
    }

    fn request(&self, group: &str, payload: &str, _: u64) -> Option<Request> {
        Some(Request::post(format!("/v1/groups/{group}/messages"), &self.headers, format!(r#"{{"message":"{payload}"}}"#)))
    }

    fn follows_many(&self) -> bool {
        true
    }

    /// The number says nothing; any frame tells the server that somebody is there.
    fn keep_alive(&self) -> Option<Message> {
        Some(Message::Binary(ClientFrame::Ping(1).encode(DIALECT).to_vec()))
    }
}

#[derive(Debug)]
struct Talk {
    opening: Vec<ClientFrame>,
    /// How many groups are not followed yet.
    awaited: usize,
    tracks: bool,
    ready: bool,
    /// As of `subscribed` or the last gap.
    position: Position,
    /// The last event since then, as it came; read only when a place is asked for.
    last: Vec<u8>,
    request: u32,
}

impl Talk {
    fn become_ready(&mut self, out: &mut Outcome) {
        self.ready = true;
        out.learn(Learned::Ready);
    }

    fn at(&mut self, position: Position) {
        self.position = position;
        self.last.clear();
    }
}

impl Conversation for Talk {
    fn open(&mut self, out: &mut Outcome) {
        for frame in self.opening.drain(..) {
            out.binary(frame.encode(DIALECT));
        }
    }

    fn take(&mut self, message: &[u8], marks: usize, out: &mut Outcome) -> Result<(), String> {
        if marks > 0 {
            if self.tracks {
                self.last.clear();
                self.last.extend_from_slice(message);
            }
            return Ok(());
        }
        match ServerFrame::decode(DIALECT, &Bytes::copy_from_slice(message)).map_err(|error| error.to_string())? {
            ServerFrame::Welcome(_) if self.awaited == 0 => self.become_ready(out),
            ServerFrame::Subscribed { position, missed, .. } if self.awaited > 0 => {
                // The missed events follow, so what has been had is before them.
                self.at(Position { offset: position.offset.saturating_sub(missed), ..position });
                self.awaited -= 1;
                if self.awaited == 0 {
                    self.become_ready(out);
                }
            }
            ServerFrame::Gap { gap, .. } => {
                self.at(Position { epoch: gap.epoch, offset: gap.to });
                out.learn(Learned::Gap(gap.count));
            }
            ServerFrame::Published { .. } => out.learn(Learned::Accepted(1)),
            ServerFrame::Ping(number) => out.binary(ClientFrame::Pong(number).encode(DIALECT)),
            ServerFrame::Error { code, sentence, .. } if self.ready => out.learn(Learned::Refused(format!("{code} {sentence}"))),
            ServerFrame::Error { code, sentence, .. } | ServerFrame::Goodbye { code, sentence, .. } => {
                return Err(format!("the server said {code}: {sentence}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, group: &str, payload: &str, out: &mut Outcome) -> Result<(), String> {
        self.request = self.request.wrapping_add(1).max(1);
        let mut body = Vec::with_capacity(payload.len() + 5);
        rmp::encode::write_str(&mut body, payload).map_err(|error| error.to_string())?;
        let (group, kind) = (group.to_owned(), RawKind::Number(0));
        let frame = ClientFrame::Publish { request: self.request, group, kind, body: Some(body.into()), data: None, key: None };
        out.binary(frame.encode(DIALECT));
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        let offset = match ServerFrame::decode(DIALECT, &Bytes::copy_from_slice(&self.last)) {
            Ok(ServerFrame::Event { event, .. }) => event.offset,
            _ => self.position.offset,
        };
        (self.position.epoch != 0).then(|| Place { epoch: self.position.epoch.to_string(), offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::profile::{Kind, talk},
        protocol::{Code, Gap, GapReason, Recovery, Welcome},
    };

    fn subscribed(position: Position, missed: u64) -> Bytes {
        let recovery = Recovery::NotAsked;
        ServerFrame::Subscribed { request: 1, number: 7, group: "g".into(), position, recovery, missed }.encode(DIALECT)
    }

    #[test]
    fn a_follower_is_ready_when_subscribed_and_knows_its_place() {
        let profile = talk::profile(Kind::Fanfare, &[]);
        let mut talking = talk::follow(&*profile, "g");
        assert_eq!(talk::open(&mut *talking).len(), 2);
        assert_eq!(talk::take(&mut *talking, ServerFrame::Welcome(Welcome::default()).encode(DIALECT)), (vec![], vec![]));
        let (_, learned) = talk::take(&mut *talking, subscribed(Position { epoch: 5, offset: 9 }, 2));
        assert_eq!(learned, [Learned::Ready]);
        assert_eq!(talking.place(), Some(Place { epoch: "5".into(), offset: 7 }));
        let gap = Gap { epoch: 6, from: 8, to: 10, count: Some(3), reason: GapReason::Slow };
        assert_eq!(talk::take(&mut *talking, ServerFrame::Gap { number: 7, gap }.encode(DIALECT)).1, [Learned::Gap(Some(3))]);
        assert_eq!(talking.place(), Some(Place { epoch: "6".into(), offset: 10 }));
    }

    #[test]
    fn a_follower_of_several_groups_is_ready_when_it_follows_the_last() {
        let profile = talk::profile(Kind::Fanfare, &[]);
        let others = ["h".to_owned(), "i".to_owned()];
        let mut talking = profile.conversation(Role::Follow { group: "g", others: &others, since: None, tracks: false });
        assert_eq!(talk::open(&mut *talking).len(), 4);
        let learned: Vec<_> = (0..3).map(|_| talk::take(&mut *talking, subscribed(Position::NONE, 0)).1).collect();
        assert_eq!(learned, [vec![], vec![], vec![Learned::Ready]]);
    }

    #[test]
    fn what_the_server_refuses_is_told() {
        let profile = talk::profile(Kind::Fanfare, &[]);
        let refusal = ServerFrame::error(1, Code::NotAllowed).encode(DIALECT);
        let said = talk::refused(&mut *talk::follow(&*profile, "g"), &refusal);
        assert!(said.starts_with("the server said 4302: "), "{said}");
        let mut publisher = profile.conversation(Role::Publish { groups: &[] });
        talk::take(&mut *publisher, ServerFrame::Welcome(Welcome::default()).encode(DIALECT));
        assert!(matches!(&talk::take(&mut *publisher, &refusal).1[..], [Learned::Refused(said)] if said.starts_with("4302 ")));
    }
}
