//! An event as it is kept in Redis and sent between nodes, and what else is sent on a group's channel: who has come and who has gone, which a script
//! writes with the same header.
//!
//! Twenty bytes that the script writes (epoch 4, offset 8, the server's time in ms 8, all big-endian), then the event as the frame that
//! `docs/protocol.md` section 5 describes, in MessagePack, with 0 for what the node or the place decides: one encoding to keep right, with
//! its rules for what is added later.

use bytes::{Buf as _, Bytes};

use crate::protocol::{Dialect, Event, PresenceChange, ServerFrame};

const HEADER: usize = 20;

/// The event without its place: what the script is given.
pub(super) fn encode(event: Event) -> Bytes {
    ServerFrame::Event { number: 0, event: Event { offset: 0, ..event } }.encode(Dialect::Msgpack)
}

/// The same for a group that keeps nothing, so that no script is needed.
pub(super) fn encode_unplaced(event: Event) -> Vec<u8> {
    [&[0; HEADER][..], &encode(event)].concat()
}

/// What comes on a group's channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The epoch, and the event at its place.
    Event(u32, Event),
    Presence(PresenceChange),
}

/// Reads the epoch and the event at its place. `None`: these bytes are no event.
pub(super) fn decode_event(bytes: Bytes) -> Option<(u32, Event)> {
    if let Some(Message::Event(epoch, event)) = decode(bytes) { Some((epoch, event)) } else { None }
}

/// Reads what has come. `None`: it is nothing of ours; somebody else uses the channel.
pub(super) fn decode(mut bytes: Bytes) -> Option<Message> {
    if bytes.len() < HEADER {
        return None;
    }
    let (epoch, offset, _time) = (bytes.get_u32(), bytes.get_u64(), bytes.get_u64());
    match ServerFrame::decode(Dialect::Msgpack, &bytes) {
        Ok(ServerFrame::Event { event, .. }) => Some(Message::Event(epoch, Event { offset, ..event })),
        Ok(ServerFrame::Presence { change, .. }) => Some(Message::Presence(change)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Content, EventId, UserId};

    #[test]
    fn an_event_comes_back_with_the_place_that_the_script_wrote() {
        let data = Bytes::from_static(&[0x80]);
        let event = Content::message("x", Some(data)).unwrap().placed(EventId::from_number(77), 5, UserId::parse("ann").ok());
        assert_eq!(decode(encode_unplaced(event.clone()).into()), Some(Message::Event(0, Event { offset: 0, ..event.clone() })));
        let placed = [&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1][..], &encode(event.clone())].concat();
        assert_eq!(decode_event(placed.into()), Some((9, event)));
        assert_eq!(decode(Bytes::from_static(b"hello")), None);
        assert_eq!(decode(Bytes::from_static(b"hello, this is no event at all")), None);
    }
}
