//! MessagePack values as bytes: checked once where they come in, then carried without being looked at again.

use rmp::{Marker, encode};
use serde_json::Value;

use super::limits;

/// Bytes that are no MessagePack value, or one that breaks a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedValue {
    /// The value ends before it is whole, or claims more than there is.
    #[error("the value is cut off")]
    Truncated,
    /// The byte 0xc1, which MessagePack never uses.
    #[error("0xc1 begins no MessagePack value")]
    Reserved,
    /// Text that is no UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// Arrays or maps nested deeper than [`limits::DEPTH`].
    #[error("arrays or maps are nested deeper than {}", limits::DEPTH)]
    TooDeep,
    /// There are bytes after the value.
    #[error("there are bytes after the value")]
    Trailing,
}

/// Checks that `bytes` are exactly one value, nested at most `depth` deep, all its text UTF-8.
///
/// # Errors
/// Says what is wrong.
pub fn check_value(bytes: &[u8], depth: usize) -> Result<(), MalformedValue> {
    match value_len(bytes, depth)? {
        len if len == bytes.len() => Ok(()),
        _ => Err(MalformedValue::Trailing),
    }
}

/// The length in bytes of the value that `bytes` begin with.
///
/// # Errors
/// Says why there is no such value.
pub fn value_len(bytes: &[u8], depth: usize) -> Result<usize, MalformedValue> {
    let head = Head::read(bytes)?;
    let mut at = head.len;
    match head.shape {
        Shape::Text(_) => {
            std::str::from_utf8(&bytes[head.payload(bytes)?]).map_err(|_| MalformedValue::Utf8)?;
            at += head.shape.payload_len();
        }
        Shape::Scalar(_) | Shape::Binary(_) | Shape::Extension(..) => at = head.payload(bytes)?.end,
        Shape::Array(items) | Shape::Map(items) => {
            if depth == 0 {
                return Err(MalformedValue::TooDeep);
            }
            let items = if matches!(head.shape, Shape::Map(_)) { items * 2 } else { items };
            for _ in 0..items {
                at += value_len(bytes.get(at..).unwrap_or_default(), depth - 1)?;
            }
        }
    }
    Ok(at)
}

/// What the first bytes of a value say about the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) shape: Shape,
    /// Bytes before the payload.
    pub(super) len: usize,
}

/// The families of MessagePack, with the length of their payload in bytes, or the number of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Scalar(usize),
    Text(usize),
    Binary(usize),
    Extension(i8, usize),
    Array(usize),
    Map(usize),
}

impl Shape {
    fn payload_len(self) -> usize {
        match self {
            Self::Scalar(len) | Self::Text(len) | Self::Binary(len) | Self::Extension(_, len) => len,
            Self::Array(_) | Self::Map(_) => 0,
        }
    }
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, MalformedValue> {
        let (&first, rest) = bytes.split_first().ok_or(MalformedValue::Truncated)?;
        let sized = |width: usize| {
            let digits = rest.get(..width).ok_or(MalformedValue::Truncated)?;
            Ok(digits.iter().fold(0usize, |n, &b| n << 8 | usize::from(b)))
        };
        let extension = |width: usize, fixed: Option<usize>| {
            let len = match fixed {
                Some(len) => len,
                None => sized(width)?,
            };
            let kind = *rest.get(width).ok_or(MalformedValue::Truncated)?;
            Ok(Self { shape: Shape::Extension(i8::from_be_bytes([kind]), len), len: 2 + width })
        };
        let head = |shape, width: usize| Ok(Self { shape, len: 1 + width });
        match Marker::from_u8(first) {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => head(Shape::Scalar(0), 0),
            Marker::U8 | Marker::I8 => head(Shape::Scalar(1), 0),
            Marker::U16 | Marker::I16 => head(Shape::Scalar(2), 0),
            Marker::U32 | Marker::I32 | Marker::F32 => head(Shape::Scalar(4), 0),
            Marker::U64 | Marker::I64 | Marker::F64 => head(Shape::Scalar(8), 0),
            Marker::FixStr(len) => head(Shape::Text(len.into()), 0),
            Marker::Str8 => head(Shape::Text(sized(1)?), 1),
            Marker::Str16 => head(Shape::Text(sized(2)?), 2),
            Marker::Str32 => head(Shape::Text(sized(4)?), 4),
            Marker::Bin8 => head(Shape::Binary(sized(1)?), 1),
            Marker::Bin16 => head(Shape::Binary(sized(2)?), 2),
            Marker::Bin32 => head(Shape::Binary(sized(4)?), 4),
            Marker::FixArray(items) => head(Shape::Array(items.into()), 0),
            Marker::Array16 => head(Shape::Array(sized(2)?), 2),
            Marker::Array32 => head(Shape::Array(sized(4)?), 4),
            Marker::FixMap(items) => head(Shape::Map(items.into()), 0),
            Marker::Map16 => head(Shape::Map(sized(2)?), 2),
            Marker::Map32 => head(Shape::Map(sized(4)?), 4),
            Marker::FixExt1 => extension(0, Some(1)),
            Marker::FixExt2 => extension(0, Some(2)),
            Marker::FixExt4 => extension(0, Some(4)),
            Marker::FixExt8 => extension(0, Some(8)),
            Marker::FixExt16 => extension(0, Some(16)),
            Marker::Ext8 => extension(1, None),
            Marker::Ext16 => extension(2, None),
            Marker::Ext32 => extension(4, None),
            Marker::Reserved => Err(MalformedValue::Reserved),
        }
    }

    /// Where the payload of a value without items stands in `bytes`.
    pub(super) fn payload(&self, bytes: &[u8]) -> Result<std::ops::Range<usize>, MalformedValue> {
        let end = self.len.checked_add(self.shape.payload_len()).ok_or(MalformedValue::Truncated)?;
        if end > bytes.len() {
            return Err(MalformedValue::Truncated);
        }
        Ok(self.len..end)
    }
}

/// The elements of an array, each as the bytes of one value. Only for bytes that [`check_value`] has passed.
#[derive(Debug, Clone)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    /// The elements of `bytes`, if they are an array.
    pub(super) fn of_array(bytes: &'a [u8]) -> Option<Self> {
        match Head::read(bytes) {
            Ok(Head { shape: Shape::Array(left), len }) => Some(Self { rest: &bytes[len..], left }),
            _ => None,
        }
    }

    /// Keys and values in turn of `bytes`, if they are a map.
    pub(super) fn of_map(bytes: &'a [u8]) -> Option<Self> {
        match Head::read(bytes) {
            Ok(Head { shape: Shape::Map(pairs), len }) => Some(Self { rest: &bytes[len..], left: pairs * 2 }),
            _ => None,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let len = value_len(self.rest, limits::DEPTH).ok()?;
        let (element, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(element)
    }
}

/// The value as a non-negative integer.
pub(super) fn as_uint(bytes: &[u8]) -> Option<u64> {
    let mut bytes = bytes;
    rmp::decode::read_int(&mut bytes).ok()
}

/// The value as text.
pub(super) fn as_text(bytes: &[u8]) -> Option<&str> {
    let head = Head::read(bytes).ok()?;
    match head.shape {
        Shape::Text(_) => std::str::from_utf8(&bytes[head.payload(bytes).ok()?]).ok(),
        _ => None,
    }
}

/// The value as a truth value.
pub(super) fn as_bool(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [0xc2] => Some(false),
        [0xc3] => Some(true),
        _ => None,
    }
}

/// Whether the value is nil.
pub(super) fn is_nil(bytes: &[u8]) -> bool {
    bytes == [0xc0]
}

/// Why writing into a `Vec` needs no error handling.
const VEC: &str = "writing into memory can't fail";

pub(super) fn put_uint(out: &mut Vec<u8>, n: u64) {
    encode::write_uint(out, n).expect(VEC);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    encode::write_str(out, text).expect(VEC);
}

pub(super) fn put_nil(out: &mut Vec<u8>) {
    encode::write_nil(out).expect(VEC);
}

pub(super) fn put_bool(out: &mut Vec<u8>, value: bool) {
    encode::write_bool(out, value).expect(VEC);
}

pub(super) fn put_array(out: &mut Vec<u8>, items: usize) {
    encode::write_array_len(out, u32::try_from(items).unwrap_or(u32::MAX)).expect(VEC);
}

pub(super) fn put_map(out: &mut Vec<u8>, pairs: usize) {
    encode::write_map_len(out, u32::try_from(pairs).unwrap_or(u32::MAX)).expect(VEC);
}

/// A JSON value as MessagePack. Integers stay integers where they fit 64 bits.
#[must_use]
pub fn from_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_json(&mut out, value);
    out
}

pub(super) fn put_json(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => put_nil(out),
        Value::Bool(b) => put_bool(out, *b),
        Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
            (Some(n), _, _) => put_uint(out, n),
            (_, Some(n), _) => {
                encode::write_sint(out, n).expect(VEC);
            }
            (_, _, n) => encode::write_f64(out, n.unwrap_or(f64::NAN)).expect(VEC),
        },
        Value::String(text) => put_text(out, text),
        Value::Array(items) => {
            put_array(out, items.len());
            items.iter().for_each(|item| put_json(out, item));
        }
        Value::Object(map) => {
            put_map(out, map.len());
            for (key, value) in map {
                put_text(out, key);
                put_json(out, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_before_anything_is_believed() {
        assert_eq!(value_len(&[], 16), Err(MalformedValue::Truncated));
        assert_eq!(value_len(&[0xc1], 16), Err(MalformedValue::Reserved));
        assert_eq!(value_len(&[0xdb, 0xff, 0xff, 0xff, 0xff], 16), Err(MalformedValue::Truncated));
        assert_eq!(value_len(&[0xdd, 0xff, 0xff, 0xff, 0xff], 16), Err(MalformedValue::Truncated));
        assert_eq!(value_len(&[0xa1, 0xff], 16), Err(MalformedValue::Utf8));
        assert_eq!(check_value(&[0xc0, 0xc0], 16), Err(MalformedValue::Trailing));
        assert_eq!(check_value(&[0xc7, 0x03, 0x01, 1, 2, 3], 16), Ok(()));
        let deep = [[0x91; 16].as_slice(), &[0xc0]].concat();
        assert_eq!(check_value(&deep, 16), Ok(()));
        assert_eq!(check_value(&deep, 15), Err(MalformedValue::TooDeep));
    }
}
