//! Request bodies: read within bounds of size and time, and taken apart as JSON or MessagePack.
//!
//! Knows nothing of what the fields mean. Its invariant: no more of a body is held than its bound, however long its sender says it is.

use std::{fmt, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor, value::MapDeserializer},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::problem::{Problem, Reason};
use crate::protocol::{self, limits};

/// Longest body of a request that publishes one event, in bytes.
///
/// 256 KiB: 60 KiB of event may be four times as long when JSON writes every character as an escape.
pub(super) const EVENT_BYTES: usize = 256 * 1024;

/// Longest body of a batch, in bytes.
pub(super) const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// From the head of a request to the end of its body, in total.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON text.
    Json,
    /// One JSON text a line.
    Lines,
    /// One MessagePack value.
    Msgpack,
}

impl Format {
    /// The format that the request's `Content-Type` names.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = found.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" => Ok(Self::Lines),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Ok(Self::Msgpack),
            "" => Err(Problem::new(Reason::UnsupportedMediaType, format!("Content-Type is missing; {SPOKEN}"))),
            _ => Err(Problem::new(Reason::UnsupportedMediaType, format!("Content-Type is {essence:?}; {SPOKEN}"))),
        }
    }
}

const SPOKEN: &str = "it has to be application/json or application/msgpack (for a batch also application/x-ndjson)";

/// Reads a request's whole body.
pub(super) async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Reason::BodyTooLarge, format!("The body has more than {limit} bytes, which is the most here"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > limit as u64) {
        return Err(too_large());
    }
    let whole = Limited::new(request.into_body(), limit).collect();
    match tokio::time::timeout(BODY_DEADLINE, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Reason::BadRequest, "The body ended before it was whole")),
        Err(_) => Err(Problem::new(Reason::BodyTimeout, format!("The body was not whole after {} s", BODY_DEADLINE.as_secs()))),
    }
}

/// One object out of a body, or out of a part of one.
pub(super) fn parse<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, Problem> {
    match format {
        Format::Json | Format::Lines => serde_json::from_slice(bytes).map_err(|error| refuse(&error)),
        Format::Msgpack => {
            let map = PackedMap::read(bytes)?;
            T::deserialize(MapDeserializer::new(map.0.into_iter())).map_err(|error: serde_json::Error| refuse(&error))
        }
    }
}

/// Bytes that are no JSON, or JSON of another shape. The library's sentences name field, line and column.
pub(super) fn refuse(error: &serde_json::Error) -> Problem {
    match error.classify() {
        serde_json::error::Category::Data => Problem::new(Reason::BadEvent, error.to_string()),
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            Problem::new(Reason::MalformedBody, format!("The body is no JSON: {error}"))
        }
    }
}

/// The elements of a MessagePack array, each as the bytes of one value; at most `most` of them.
pub(super) fn packed_array(bytes: &[u8], most: usize) -> Result<Vec<&[u8]>, Problem> {
    check(bytes)?;
    let mut rest = bytes;
    let len = rmp::decode::read_array_len(&mut rest).map_err(|_| Problem::new(Reason::BadEvent, "The body has to be an array"))?;
    (0..len).take(most).map(|_| cut(&mut rest)).collect()
}

fn check(bytes: &[u8]) -> Result<(), Problem> {
    // One level more than an event may have, so that an array of events at that limit passes.
    protocol::check_value(bytes, limits::DEPTH + 1).map_err(malformed)
}

fn cut<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Problem> {
    let (value, after) = rest.split_at(protocol::value_len(rest, limits::DEPTH + 1).map_err(malformed)?);
    *rest = after;
    Ok(value)
}

fn malformed(error: protocol::MalformedValue) -> Problem {
    Problem::new(Reason::MalformedBody, format!("The body is no MessagePack: {error}"))
}

/// A MessagePack map whose keys are text, ready to be read by field.
struct PackedMap<'a>(Vec<(String, Raw<'a>)>);

impl<'a> PackedMap<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        check(bytes)?;
        let mut rest = bytes;
        let len = rmp::decode::read_map_len(&mut rest).map_err(|_| Problem::new(Reason::BadEvent, "An event has to be a map"))?;
        let pair = |_| {
            let key = cut(&mut rest)?;
            let key = rmp::decode::read_str_from_slice(key)
                .map_err(|_| Problem::new(Reason::BadEvent, "The keys of an event have to be text"))?;
            Ok((key.0.to_owned(), Raw(cut(&mut rest)?)))
        };
        (0..len).map(pair).collect::<Result<_, _>>().map(Self)
    }
}

/// One checked MessagePack value on its way into a field.
struct Raw<'a>(&'a [u8]);

impl IntoDeserializer<'_, serde_json::Error> for Raw<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Raw<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        protocol::to_json_value(self.0).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0 == NIL { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        protocol::to_json_value(self.0).deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_bytes(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

const NIL: &[u8] = &[0xc0];

/// Any value, as MessagePack: taken as it is from a MessagePack body (so that binary stays binary), rewritten from a JSON one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Packed(pub(super) Bytes);

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Packed, E> {
                Ok(Packed(Bytes::copy_from_slice(bytes)))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, json: D) -> Result<Packed, D::Error> {
                Value::deserialize(json).map(|value| Packed(protocol::from_json(&value).into()))
            }
        }

        deserializer.deserialize_newtype_struct("Packed", Either)
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.0.len())
    }
}
