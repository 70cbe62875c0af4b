//! The JSON dialect: the same frames, transcoded from and to MessagePack at the edge, so that there is one encoder and one decoder of frames.

use std::io::Write as _;

use serde_json::Value;

use super::{
    event::{EventId, Kind},
    frame::{DecodeError, Op},
    limits,
    msgpack::{self, Elements, Head, Shape},
};

/// An opcode that no version will use; stands for a name that this version doesn't know.
const UNKNOWN_OP: u64 = 0x7f;

/// Rewrites a JSON frame as MessagePack.
pub(super) fn frame_to_msgpack(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let value: Value = serde_json::from_slice(text).map_err(|_| DecodeError::Malformed("the frame is no JSON"))?;
    let Value::Array(elements) = value else {
        return Err(DecodeError::Malformed("the frame is no array"));
    };
    let Some((Value::String(name), rest)) = elements.split_first() else {
        return Err(DecodeError::Malformed("the opcode is no text"));
    };
    let op = Op::from_name(name);
    let mut out = Vec::with_capacity(text.len());
    msgpack::put_array(&mut out, elements.len());
    msgpack::put_uint(&mut out, op.map_or(UNKNOWN_OP, Op::number));
    for (at, element) in (1..).zip(rest) {
        put_element(&mut out, op, at, element)?;
    }
    Ok(out)
}

fn put_element(out: &mut Vec<u8>, op: Option<Op>, at: usize, element: &Value) -> Result<(), DecodeError> {
    match (op, element) {
        (Some(op), Value::String(id)) if op.event_id_at() == Some(at) => {
            let id: EventId = id.parse().map_err(|_| DecodeError::Malformed("the event id breaks its form"))?;
            msgpack::put_uint(out, id.number());
        }
        (Some(op), Value::String(name)) if op.kind_at() == Some(at) => match Kind::number_of(name) {
            Some(number) => msgpack::put_uint(out, number),
            None => msgpack::put_text(out, name),
        },
        _ => msgpack::put_json(out, element),
    }
    Ok(())
}

/// Rewrites a MessagePack frame of ours as JSON.
pub(super) fn frame_from_msgpack(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.len() * 2);
    let op = Elements::of_array(frame).and_then(|mut e| e.next()).and_then(msgpack::as_uint).and_then(Op::from_number);
    out.push(b'[');
    for (at, element) in Elements::of_array(frame).into_iter().flatten().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match (op, msgpack::as_uint(element)) {
            (Some(op), _) if at == 0 => put_text(&mut out, op.name()),
            (Some(op), Some(id)) if op.event_id_at() == Some(at) => put_text(&mut out, &EventId::from_number(id).to_string()),
            (Some(op), Some(kind)) if op.kind_at() == Some(at) => match Kind::name_of(kind) {
                Some(name) => put_text(&mut out, name),
                None => put_value(&mut out, element),
            },
            _ => put_value(&mut out, element),
        }
    }
    out.push(b']');
    out
}

/// One MessagePack value as JSON text, by the rules of `docs/protocol.md` section 3. Bytes that are no value become `null`.
#[must_use]
pub fn to_json(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 2);
    put_value(&mut out, value);
    out
}

/// The same as a JSON value in memory.
#[must_use]
pub fn to_json_value(value: &[u8]) -> Value {
    serde_json::from_slice(&to_json(value)).unwrap_or_default()
}

pub(super) fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    if msgpack::value_len(value, limits::DEPTH) != Ok(value.len()) {
        return out.extend_from_slice(b"null");
    }
    let Ok(head) = Head::read(value) else {
        return out.extend_from_slice(b"null");
    };
    let payload = head.payload(value).map(|range| &value[range]).unwrap_or_default();
    match head.shape {
        Shape::Scalar(_) => put_scalar(out, value),
        Shape::Text(_) => put_text(out, msgpack::as_text(value).unwrap_or_default()),
        Shape::Binary(_) => put_text(out, &base64(payload)),
        Shape::Extension(kind, _) => {
            write_all(out, format_args!("{{\"$ext\":[{kind},\"{}\"]}}", base64(payload)));
        }
        Shape::Array(_) => put_array(out, value),
        Shape::Map(_) => put_map(out, value),
    }
}

fn put_array(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'[');
    for (at, element) in Elements::of_array(value).into_iter().flatten().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_value(out, element);
    }
    out.push(b']');
}

fn put_map(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'{');
    let mut elements = Elements::of_map(value).into_iter().flatten();
    let mut first = true;
    while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match msgpack::as_text(key) {
            Some(key) => put_text(out, key),
            None => put_text(out, &String::from_utf8_lossy(&to_json(key))),
        }
        out.push(b':');
        put_value(out, value);
    }
    out.push(b'}');
}

fn put_scalar(out: &mut Vec<u8>, value: &[u8]) {
    let mut bytes = value;
    match value.first() {
        Some(0xc2) => out.extend_from_slice(b"false"),
        Some(0xc3) => out.extend_from_slice(b"true"),
        Some(0xca) => put_float(out, rmp::decode::read_f32(&mut bytes).map(f64::from).unwrap_or(f64::NAN)),
        Some(0xcb) => put_float(out, rmp::decode::read_f64(&mut bytes).unwrap_or(f64::NAN)),
        _ => match rmp::decode::read_int::<i128, _>(&mut bytes) {
            Ok(n) => write_all(out, format_args!("{n}")),
            Err(_) => out.extend_from_slice(b"null"),
        },
    }
}

/// JSON has no NaN and no infinities: `serde_json` makes them `null`.
fn put_float(out: &mut Vec<u8>, n: f64) {
    write_all(out, format_args!("{}", serde_json::json!(n)));
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing into memory can't fail");
}

fn write_all(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing into memory can't fail");
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_json_lacks_have_a_form() {
        let json = |bytes: &[u8]| String::from_utf8(to_json(bytes)).unwrap();
        assert_eq!(json(&[0xc4, 2, 0xff, 0x00]), r#""/wA=""#);
        assert_eq!(json(&[0xd4, 5, 0xff]), r#"{"$ext":[5,"/w=="]}"#);
        assert_eq!(json(&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]), "null");
        assert_eq!(json(&[0x81, 0x07, 0xc3]), r#"{"7":true}"#);
        assert_eq!(json(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "18446744073709551615");
        assert_eq!(json(&[0xd0, 0x80]), "-128");
        assert_eq!(json(&[0xff]), "-1");
        assert_eq!(json(&[0xa1]), "null");
    }
}
