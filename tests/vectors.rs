//! `tests/vectors/frames.json`, `docs/protocol.md` and the code say the same.
//!
//! Method: the frames below are encoded in both dialects and compared with the file; each is decoded again; each stands as an example in the document; and
//! the document's tables of opcodes, codes, kinds and gap reasons are those of the code. `FANFARE_UPDATE_VECTORS=1` rewrites the file and the examples.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{fmt::Write as _, fs, path::PathBuf};

use bytes::Bytes;
use fanfare::protocol::{
    Attendee, Census, ClientFrame, Code, Content, Dialect, Event, EventId, FileSpec, Gap, GapReason, Hello, Level, Op, Position,
    PresenceChange, RawKind, Recovery, Roster, RosterRequest, ServerFrame, Subscribe, UserId, Welcome, from_json,
};
use serde_json::{Value, json};

enum Frame {
    Client(ClientFrame),
    Server(ServerFrame),
}

impl Frame {
    fn encode(&self, dialect: Dialect) -> Bytes {
        match self {
            Self::Client(frame) => frame.encode(dialect),
            Self::Server(frame) => frame.encode(dialect),
        }
    }

    fn assert_decodes(&self, name: &str, dialect: Dialect) {
        let bytes = self.encode(dialect);
        match self {
            Self::Client(frame) => assert_eq!(ClientFrame::decode(dialect, &bytes).as_ref(), Ok(frame), "{name}"),
            Self::Server(frame) => assert_eq!(ServerFrame::decode(dialect, &bytes).as_ref(), Ok(frame), "{name}"),
        }
    }
}

fn raw(value: &Value) -> Option<Bytes> {
    Some(from_json(value).into())
}

fn event(content: Content, offset: u64, sender: Option<&str>) -> Frame {
    let id = "1764042123456-77".parse().unwrap();
    let sender = sender.map(|user| UserId::parse(user).unwrap());
    Frame::Server(ServerFrame::Event { number: 3, event: content.placed(id, offset, sender) })
}

/// Every example: name, opcode, what it shows, the frame.
fn examples() -> Vec<(&'static str, Op, &'static str, Frame)> {
    let position = Position { epoch: 2_882_400_001, offset: 41 };
    let file = FileSpec { url: "/media/q4.pdf", size: Some(2_457_600), ..FileSpec::default() };
    let publish = |kind, body: Value, data: Option<Value>, key: Option<&str>| {
        Frame::Client(ClientFrame::Publish {
            request: 4,
            group: "sales_team".into(),
            kind,
            body: raw(&body),
            data: data.as_ref().and_then(raw),
            key: key.map(str::to_owned),
        })
    };
    let user = |user: &str| UserId::parse(user).unwrap();
    let census = Census { epoch: 2_882_400_001, version: 17, users: 3, anonymous: 2, connections: 6 };
    let attendee = |name: &str, connections| Attendee { user: user(name), connections };
    let who = |after: Option<&str>, limit| {
        Frame::Client(ClientFrame::Who(RosterRequest { request: 6, group: "sales_team".into(), after: after.map(str::to_owned), limit }))
    };
    let present = |census, users, next| {
        Frame::Server(ServerFrame::Present { request: 6, group: "sales_team".into(), roster: Roster { census, users, next } })
    };
    let presence = |change| Frame::Server(ServerFrame::Presence { number: 3, change });
    let gap = Gap { epoch: 2_882_400_001, from: 5, to: 9, count: Some(5), reason: GapReason::Expired };
    vec![
        ("hello", Op::Hello, "anonymous, without options", Frame::Client(ClientFrame::Hello(Hello { version: 1, ..Hello::default() }))),
        (
            "hello with token",
            Op::Hello,
            "with a token and both options",
            Frame::Client(ClientFrame::Hello(Hello {
                version: 1,
                token: Some("a.b.c".into()),
                client: Some("fanfare-js/0.1.0".into()),
                transport: Some("preferred".into()),
            })),
        ),
        (
            "welcome",
            Op::Welcome,
            "for the user john",
            Frame::Server(ServerFrame::Welcome(Welcome {
                session: "n1-7".into(),
                user: Some("john".into()),
                ping_ms: 25_000,
                max_frame: 65_536,
                max_groups: 200,
                server: "fanfare/0.1.0".into(),
                node: "n1".into(),
            })),
        ),
        (
            "subscribe",
            Op::Subscribe,
            "from now on",
            Frame::Client(ClientFrame::Subscribe(Subscribe { request: 1, group: "sales_team".into(), since: None })),
        ),
        (
            "subscribe since",
            Op::Subscribe,
            "from a position on",
            Frame::Client(ClientFrame::Subscribe(Subscribe { request: 2, group: "sales_team".into(), since: Some(position) })),
        ),
        (
            "subscribed",
            Op::Subscribed,
            "live from offset 42 on",
            Frame::Server(ServerFrame::Subscribed {
                request: 1,
                number: 3,
                group: "sales_team".into(),
                position,
                recovery: Recovery::NotAsked,
                missed: 0,
            }),
        ),
        (
            "subscribed recovered",
            Op::Subscribed,
            "three missed events follow, then live ones from offset 45 on",
            Frame::Server(ServerFrame::Subscribed {
                request: 2,
                number: 3,
                group: "sales_team".into(),
                position: Position { offset: 44, ..position },
                recovery: Recovery::Recovered,
                missed: 3,
            }),
        ),
        (
            "subscribed lost",
            Op::Subscribed,
            "a gap follows; the group keeps nothing",
            Frame::Server(ServerFrame::Subscribed {
                request: 2,
                number: 4,
                group: "ticker".into(),
                position: Position::NONE,
                recovery: Recovery::Lost,
                missed: 0,
            }),
        ),
        ("unsubscribe", Op::Unsubscribe, "", Frame::Client(ClientFrame::Unsubscribe { request: 3, group: "sales_team".into() })),
        (
            "unsubscribed",
            Op::Unsubscribed,
            "because it was asked for",
            Frame::Server(ServerFrame::Unsubscribed { request: 3, group: "sales_team".into(), code: None }),
        ),
        (
            "unsubscribed by the server",
            Op::Unsubscribed,
            "because the policy no longer allows it",
            Frame::Server(ServerFrame::Unsubscribed { request: 0, group: "sales_team".into(), code: Some(Code::NotAllowed) }),
        ),
        ("publish", Op::Publish, "a message", publish(RawKind::Number(0), json!("New leads"), None, None)),
        (
            "publish with data and key",
            Op::Publish,
            "a notification",
            publish(RawKind::Number(1), json!(["success", "Great job!", "Target reached"]), Some(json!({"target": 100})), Some("k-1")),
        ),
        (
            "publish own kind",
            Op::Publish,
            "an application's own kind",
            publish(RawKind::Name("chat.typing".into()), json!({"on": true}), None, None),
        ),
        (
            "published",
            Op::Published,
            "",
            Frame::Server(ServerFrame::Published { request: 4, id: EventId::from_number(7_398_977_061_979_095_117), position }),
        ),
        ("refresh", Op::Refresh, "", Frame::Client(ClientFrame::Refresh { request: 5, token: "d.e.f".into() })),
        ("refreshed", Op::Refreshed, "good for ten minutes", Frame::Server(ServerFrame::Refreshed { request: 5, valid_s: Some(600) })),
        ("error", Op::Error, "", Frame::Server(ServerFrame::error(6, Code::NotAllowed))),
        (
            "error with delay",
            Op::Error,
            "may be repeated after a second",
            Frame::Server(ServerFrame::Error { request: 6, code: 4400, sentence: "try again".into(), retry_ms: Some(1000) }),
        ),
        ("event message", Op::Event, "", event(Content::message("New leads", None).unwrap(), 42, None)),
        (
            "event notification",
            Op::Event,
            "with data",
            event(Content::notification(Level::Success, "Great job!", "Target reached", raw(&json!({"target": 100}))).unwrap(), 43, None),
        ),
        ("event file", Op::Event, "", event(Content::file(&file, None).unwrap(), 44, None)),
        (
            "event own kind",
            Op::Event,
            "from the user john, in a group that keeps no history",
            event(Content::parse(&RawKind::Name("chat.typing".into()), raw(&json!({"on": true})), None).unwrap(), 0, Some("john")),
        ),
        ("gap", Op::Gap, "offsets 5 to 9 have expired", Frame::Server(ServerFrame::Gap { number: 3, gap })),
        (
            "gap of unknown size",
            Op::Gap,
            "a new epoch",
            Frame::Server(ServerFrame::Gap { number: 3, gap: Gap { from: 0, to: 0, count: None, reason: GapReason::Epoch, ..gap } }),
        ),
        ("who", Op::Who, "as many as the server gives", who(None, None)),
        ("who after", Op::Who, "ten more after john", who(Some("john"), Some(10))),
        (
            "present",
            Op::Present,
            "three users, one of them with two connections, and two anonymous connections",
            present(census, vec![attendee("ann", 1), attendee("john", 2), attendee("zoe", 1)], None),
        ),
        ("present page", Op::Present, "there are more after ann", present(census, vec![attendee("ann", 1)], Some(user("ann")))),
        ("present nobody", Op::Present, "nobody is there", present(Census::default(), Vec::new(), None)),
        (
            "presence",
            Op::Presence,
            "zoe has come, and nobody has gone",
            presence(PresenceChange { census, joined: vec![user("zoe")], left: Vec::new() }),
        ),
        (
            "presence left",
            Op::Presence,
            "the next change: john has gone with both connections",
            presence(PresenceChange {
                census: Census { version: 18, users: 2, connections: 4, ..census },
                joined: Vec::new(),
                left: vec![user("john")],
            }),
        ),
        ("presence lost", Op::Presence, "changes may have been lost", presence(PresenceChange::lost())),
        ("interrupted", Op::Interrupted, "", Frame::Server(ServerFrame::Interrupted { number: 3 })),
        ("resumed", Op::Resumed, "", Frame::Server(ServerFrame::Resumed { number: 3 })),
        ("ping", Op::Ping, "", Frame::Server(ServerFrame::Ping(7))),
        ("pong", Op::Pong, "", Frame::Client(ClientFrame::Pong(7))),
        ("goodbye", Op::Goodbye, "come back in 2.5 s", Frame::Server(ServerFrame::goodbye(Code::GoingAway, 2500))),
        ("goodbye from a client", Op::Goodbye, "", Frame::Client(ClientFrame::Goodbye)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn path(relative: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), relative].iter().collect()
}

fn updating() -> bool {
    std::env::var_os("FANFARE_UPDATE_VECTORS").is_some()
}

/// Compares a file with what it has to be, or writes it.
fn assert_file(relative: &str, wanted: &str) {
    let path = path(relative);
    if updating() {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{relative} is not what the code makes; run with FANFARE_UPDATE_VECTORS=1 and look at the difference");
}

#[test]
fn every_frame_has_a_vector_that_decodes_to_itself() {
    let examples = examples();
    for &op in Op::ALL {
        assert!(examples.iter().any(|(_, of, ..)| *of == op), "{op:?} has no example");
    }
    let vectors: Vec<Value> = examples
        .iter()
        .map(|(name, _, shows, frame)| {
            frame.assert_decodes(name, Dialect::Msgpack);
            frame.assert_decodes(name, Dialect::Json);
            let json_text = String::from_utf8(frame.encode(Dialect::Json).to_vec()).unwrap();
            let from = if matches!(frame, Frame::Client(_)) { "client" } else { "server" };
            json!({"name": name, "from": from, "shows": shows, "msgpack": hex(&frame.encode(Dialect::Msgpack)), "json": json_text})
        })
        .collect();
    assert_file("tests/vectors/frames.json", &(serde_json::to_string_pretty(&vectors).unwrap() + "\n"));
}

/// The block of examples that stands under a frame's heading in the document.
fn block(op: Op) -> String {
    let mut out = "```text\n".to_owned();
    for (_, _, shows, frame) in examples().iter().filter(|(_, of, ..)| *of == op) {
        if !shows.is_empty() {
            let _ = writeln!(out, "# {shows}");
        }
        let _ = writeln!(out, "{}", hex(&frame.encode(Dialect::Msgpack)));
        let _ = writeln!(out, "{}", String::from_utf8_lossy(&frame.encode(Dialect::Json)));
    }
    out + "```\n"
}

#[test]
fn the_document_shows_every_frame() {
    let mut document = fs::read_to_string(path("docs/protocol.md")).unwrap();
    for &op in Op::ALL {
        let begin = format!("<!-- examples of {} -->\n", op.name());
        let start = document.find(&begin).unwrap_or_else(|| panic!("no place for the examples of {}", op.name())) + begin.len();
        let end = start + document[start..].find("<!-- end -->").unwrap();
        document.replace_range(start..end, &block(op));
    }
    assert_file("docs/protocol.md", &document);
}

/// The cells of the table rows of a document that begin with `first`.
fn rows<'a>(document: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let lines = document.lines().skip_while(|line| !line.starts_with(&format!("| {first} |"))).skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

#[test]
fn the_documents_tables_are_those_of_the_code() {
    let document = fs::read_to_string(path("docs/protocol.md")).unwrap();
    let ops: Vec<_> = Op::ALL.iter().map(|op| (format!("0x{:02x}", op.number()), op.name().to_owned())).collect();
    assert_eq!(rows(&document, "opcode").iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect::<Vec<_>>(), ops);
    let codes: Vec<_> = Code::ALL.iter().map(|code| (code.number().to_string(), code.name().to_owned())).collect();
    assert_eq!(rows(&document, "code").iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect::<Vec<_>>(), codes);
    let reasons: Vec<_> = GapReason::ALL.iter().map(|&reason| ((reason as u64).to_string(), reason.name().to_owned())).collect();
    assert_eq!(rows(&document, "reason").iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect::<Vec<_>>(), reasons);
    let kinds = rows(&document, "number");
    assert_eq!(
        kinds.iter().map(|row| row[1]).take(6).collect::<Vec<_>>(),
        ["message", "notification", "file", "task.update", "task.complete", "task.error"]
    );
}

#[test]
fn a_message_of_128_characters_costs_at_most_24_bytes_more() {
    let content = Content::message(&"x".repeat(128), None).unwrap();
    let event: Event = content.placed(EventId::from_number(u64::MAX), u32::MAX.into(), None);
    let frame = ServerFrame::Event { number: u32::MAX, event }.encode(Dialect::Msgpack);
    assert!(frame.len() <= 128 + 24, "{} bytes", frame.len());
}
