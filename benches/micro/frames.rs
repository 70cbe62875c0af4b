//! Frames in both dialects.

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use fanfare::protocol::{ClientFrame, Content, Dialect, Encoding, Event, EventId, GroupName, ServerFrame, Subscribe};

const DIALECTS: [Dialect; 2] = [Dialect::Msgpack, Dialect::Json];

/// 128 bytes of text, as everywhere in the benches.
pub(super) fn event(offset: u64) -> Event {
    let content = Content::message(&"x".repeat(128), None).expect("a message within the limits");
    content.placed("1764042123456-77".parse::<EventId>().expect("an id as the protocol document has it"), offset, None)
}

#[divan::bench(args = DIALECTS)]
fn encode_event(bencher: Bencher<'_, '_>, dialect: Dialect) {
    let (group, event) = (GroupName::parse("sales_team").expect("a group name"), event(42));
    bencher.counter(ItemsCount::new(1u32)).bench(|| Encoding::message(dialect).encode_event(&group, 3, divan::black_box(&event)));
}

#[divan::bench(args = DIALECTS)]
fn decode_event(bencher: Bencher<'_, '_>, dialect: Dialect) {
    let frame = ServerFrame::Event { number: 3, event: event(42) }.encode(dialect);
    bencher.counter(ItemsCount::new(1u32)).bench(|| ServerFrame::decode(dialect, divan::black_box(&frame)));
}

#[divan::bench(args = DIALECTS)]
fn encode_subscribe(bencher: Bencher<'_, '_>, dialect: Dialect) {
    let frame = subscribe();
    bencher.counter(ItemsCount::new(1u32)).bench(|| divan::black_box(&frame).encode(dialect));
}

#[divan::bench(args = DIALECTS)]
fn decode_subscribe(bencher: Bencher<'_, '_>, dialect: Dialect) {
    let frame: Bytes = subscribe().encode(dialect);
    bencher.counter(ItemsCount::new(1u32)).bench(|| ClientFrame::decode(dialect, divan::black_box(&frame)));
}

fn subscribe() -> ClientFrame {
    ClientFrame::Subscribe(Subscribe { request: 1, group: "sales_team".into(), since: None })
}
