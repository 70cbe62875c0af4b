//! Properties of the codec: what is written is read, and what strangers write never panics.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,8}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn raw() -> impl Strategy<Value = Bytes> {
    json_value().prop_filter("nil stands for a missing value", |value| !value.is_null()).prop_map(|value| from_json(&value).into())
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u32>(), 0..1u64 << 53).prop_map(|(epoch, offset)| Position { epoch, offset })
}

fn request() -> impl Strategy<Value = u32> {
    1..u32::MAX
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    let option = || proptest::option::of("[a-z/0-9.]{0,50}");
    let kind = prop_oneof![(0..6u64).prop_map(RawKind::Number), "own\\.[a-z]{1,9}".prop_map(RawKind::Name)];
    prop_oneof![
        (1..9u64, option(), option(), option()).prop_map(|(version, token, client, transport)| ClientFrame::Hello(Hello {
            version,
            token,
            client,
            transport
        })),
        (request(), ".{0,120}", proptest::option::of(position())).prop_map(|(request, group, since)| ClientFrame::Subscribe(Subscribe {
            request,
            group,
            since
        })),
        (request(), ".{0,120}").prop_map(|(request, group)| ClientFrame::Unsubscribe { request, group }),
        (request(), ".{0,50}", kind, proptest::option::of(raw()), proptest::option::of(raw()), proptest::option::of(".{1,20}"))
            .prop_map(|(request, group, kind, body, data, key)| ClientFrame::Publish { request, group, kind, body, data, key }),
        (request(), ".{0,50}").prop_map(|(request, token)| ClientFrame::Refresh { request, token }),
        (request(), ".{0,50}", proptest::option::of(".{0,20}"), proptest::option::of(0..1u64 << 53))
            .prop_map(|(request, group, after, limit)| ClientFrame::Who(RosterRequest { request, group, after, limit })),
        (0..1u64 << 53).prop_map(ClientFrame::Ping),
        (0..1u64 << 53).prop_map(ClientFrame::Pong),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        Just(Kind::Message),
        Just(Kind::Notification),
        Just(Kind::TaskError),
        "own\\.[a-z]{1,9}".prop_map(|name| Kind::parse(&name).unwrap())
    ];
    let sender = proptest::option::of("[a-z@.]{1,20}".prop_map(|user| UserId::parse(&user).unwrap()));
    let id = any::<u64>().prop_map(EventId::from_number);
    (id, 0..1u64 << 53, kind, raw(), proptest::option::of(raw()), sender).prop_map(|(id, offset, kind, body, data, sender)| Event {
        id,
        offset,
        kind,
        body,
        data,
        sender,
    })
}

fn census() -> impl Strategy<Value = Census> {
    (any::<u32>(), 0..99u64, 0..99u64, 0..99u64, 0..1u64 << 53).prop_map(|(epoch, version, users, anonymous, connections)| Census {
        epoch,
        version,
        users,
        anonymous,
        connections,
    })
}

fn user() -> impl Strategy<Value = UserId> {
    "[a-z@.+]{1,20}".prop_map(|user| UserId::parse(&user).unwrap())
}

fn presence_change() -> impl Strategy<Value = PresenceChange> {
    let users = || proptest::collection::vec(user(), 0..4);
    (census(), users(), users()).prop_map(|(census, joined, left)| PresenceChange { census, joined, left })
}

fn roster() -> impl Strategy<Value = Roster> {
    let attendee = (user(), 1..99u64).prop_map(|(user, connections)| Attendee { user, connections });
    let users = proptest::collection::vec(attendee, 0..4);
    (census(), users, proptest::option::of(user())).prop_map(|(census, users, next)| Roster { census, users, next })
}

fn server_frame() -> impl Strategy<Value = ServerFrame> {
    let recovery = prop_oneof![Just(Recovery::NotAsked), Just(Recovery::Recovered), Just(Recovery::Lost)];
    let code = proptest::sample::select(Code::ALL);
    let reason = proptest::sample::select(GapReason::ALL);
    prop_oneof![
        (any::<u32>(), any::<u32>(), ".{0,99}", position(), recovery, 0..1000u64).prop_map(
            |(request, number, group, position, recovery, missed)| ServerFrame::Subscribed {
                request,
                number,
                group,
                position,
                recovery,
                missed
            }
        ),
        (any::<u32>(), ".{0,99}", proptest::option::of(code.clone())).prop_map(|(request, group, code)| ServerFrame::Unsubscribed {
            request,
            group,
            code
        }),
        (request(), any::<u64>(), position()).prop_map(|(request, id, position)| ServerFrame::Published {
            request,
            id: EventId::from_number(id),
            position
        }),
        (request(), code.clone()).prop_map(|(request, code)| ServerFrame::error(request, code)),
        (any::<u32>(), event()).prop_map(|(number, event)| ServerFrame::Event { number, event }),
        (any::<u32>(), any::<u32>(), 0..99u64, 0..99u64, proptest::option::of(0..99u64), reason)
            .prop_map(|(number, epoch, from, to, count, reason)| ServerFrame::Gap { number, gap: Gap { epoch, from, to, count, reason } }),
        (any::<u32>(), presence_change()).prop_map(|(number, change)| ServerFrame::Presence { number, change }),
        any::<u32>().prop_map(|number| ServerFrame::Interrupted { number }),
        any::<u32>().prop_map(|number| ServerFrame::Resumed { number }),
        (request(), ".{0,99}", roster()).prop_map(|(request, group, roster)| ServerFrame::Present { request, group, roster }),
        (code, 0..100_000u64).prop_map(|(code, delay)| ServerFrame::goodbye(code, delay)),
    ]
}

const DIALECTS: [Dialect; 2] = [Dialect::Msgpack, Dialect::Json];

proptest! {
    #[test]
    fn client_frames_round_trip(frame in client_frame()) {
        for dialect in DIALECTS {
            prop_assert_eq!(ClientFrame::decode(dialect, &frame.encode(dialect)), Ok(frame.clone()));
        }
    }

    #[test]
    fn server_frames_round_trip(frame in server_frame()) {
        for dialect in DIALECTS {
            prop_assert_eq!(ServerFrame::decode(dialect, &frame.encode(dialect)), Ok(frame.clone()));
        }
    }

    #[test]
    fn values_survive_the_way_through_messagepack(value in json_value()) {
        let bytes = from_json(&value);
        prop_assert_eq!(check_value(&bytes, limits::DEPTH), Ok(()));
        prop_assert_eq!(to_json_value(&bytes), value);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        for dialect in DIALECTS {
            let _ = ClientFrame::decode(dialect, &bytes);
            let _ = ServerFrame::decode(dialect, &bytes);
        }
        let _ = to_json(&bytes);
    }

    #[test]
    fn damaged_frames_never_panic(frame in server_frame(), other in client_frame(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        for bytes in [frame.encode(Dialect::Msgpack), other.encode(Dialect::Msgpack)] {
            let mut damaged = bytes.to_vec();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            for bytes in [Bytes::from(damaged), bytes.slice(..at)] {
                let _ = ClientFrame::decode(Dialect::Msgpack, &bytes);
                let _ = ServerFrame::decode(Dialect::Msgpack, &bytes);
            }
        }
    }

    #[test]
    fn what_parses_as_content_can_be_delivered(kind in 0..7u64, body in raw(), data in proptest::option::of(raw())) {
        if let Ok(content) = Content::parse(&RawKind::Number(kind), Some(body), data) {
            let event = content.placed(EventId::from_number(1), 1, None);
            for dialect in DIALECTS {
                let frame = ServerFrame::Event { number: 1, event: event.clone() };
                prop_assert_eq!(ServerFrame::decode(dialect, &frame.encode(dialect)), Ok(frame));
            }
        }
    }
}

#[test]
fn unknown_opcodes_and_fields_are_skipped() {
    let frame = |value: Value| ClientFrame::decode(Dialect::Msgpack, &from_json(&value).into());
    assert_eq!(frame(serde_json::json!([9, 7, "x"])), Ok(ClientFrame::Unknown { request: Some(7) }));
    assert_eq!(frame(serde_json::json!([9, "x"])), Ok(ClientFrame::Unknown { request: None }));
    assert_eq!(frame(serde_json::json!([48, 7, "later", {}])), Ok(ClientFrame::Ping(7)));
    let subscribe = Subscribe { request: 1, group: "a".into(), since: None };
    assert_eq!(frame(serde_json::json!([2, 1, "a", {"later": 1}, "more"])), Ok(ClientFrame::Subscribe(subscribe)));
    let json = |text: &'static str| ClientFrame::decode(Dialect::Json, &Bytes::from_static(text.as_bytes()));
    assert_eq!(json(r#"["later", 7]"#), Ok(ClientFrame::Unknown { request: Some(7) }));
    assert_eq!(json(r#"["later"]"#), Ok(ClientFrame::Unknown { request: None }));
}

#[test]
fn what_is_no_frame_says_why() {
    let frame = |bytes: &'static [u8]| ClientFrame::decode(Dialect::Msgpack, &Bytes::from_static(bytes)).map_err(DecodeError::code);
    assert_eq!(frame(b""), Err(Code::MalformedFrame));
    assert_eq!(frame(b"\x05"), Err(Code::MalformedFrame));
    assert_eq!(frame(b"\x92\xa1x\x01"), Err(Code::MalformedFrame));
    assert_eq!(frame(b"\x92\x02\x01"), Err(Code::MalformedFrame));
    assert_eq!(frame(b"\x93\x02\x00\xa1a"), Err(Code::MalformedFrame));
    assert_eq!(frame(b"\x92\x30\x01\x00"), Err(Code::MalformedFrame));
    assert_eq!(frame(b"\x92\x20\x01"), Err(Code::UnexpectedFrame));
    assert_eq!(frame(&[0x91; 40]), Err(Code::TooDeep));
    let json = |text: &'static str| ClientFrame::decode(Dialect::Json, &Bytes::from_static(text.as_bytes())).map_err(DecodeError::code);
    assert_eq!(json("{}"), Err(Code::MalformedFrame));
    assert_eq!(json("[1]"), Err(Code::MalformedFrame));
    assert_eq!(json("[\"ping\""), Err(Code::MalformedFrame));
    assert_eq!(json(r#"["publish",1,"a","message",[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]"#), Err(Code::TooDeep));
}
