//! Fields of events: taken out of MessagePack, written as JSON.

use crate::protocol::{
    json,
    msgpack::{self, Elements},
};

/// The body of an event: an array whose fields have places, or a map whose fields have names.
#[derive(Clone, Copy)]
pub(super) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// The field at a place of an array; nil if there is none.
    pub(super) fn at(self, place: usize) -> &'a [u8] {
        Elements::of_array(self.0).and_then(|mut elements| elements.nth(place)).unwrap_or(super::NIL)
    }

    /// The field of this name in a map, unless it is nil.
    pub(super) fn get(self, name: &str) -> Option<&'a [u8]> {
        self.pairs().find(|(key, _)| msgpack::as_text(key) == Some(name)).map(|(_, value)| value).filter(|value| !msgpack::is_nil(value))
    }

    /// Keys and values of a map.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut elements = Elements::of_map(self.0).into_iter().flatten();
        std::iter::from_fn(move || elements.next().zip(elements.next()))
    }
}

/// A JSON object that is being written.
pub(super) struct Object(Vec<u8>);

impl Object {
    /// Begins an object of this type.
    pub(super) fn of(kind: &str) -> Self {
        Self(b"{\"type\":".to_vec()).put_text(kind)
    }

    /// Adds text.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.name(name).put_text(text)
    }

    /// Adds a MessagePack value.
    pub(super) fn value(self, name: &str, value: &[u8]) -> Self {
        let Self(mut out) = self.name(name);
        json::put_value(&mut out, value);
        Self(out)
    }

    /// Adds a MessagePack value, or another where there is none.
    pub(super) fn or(self, name: &str, value: Option<&[u8]>, otherwise: &[u8]) -> Self {
        self.value(name, value.unwrap_or(otherwise))
    }

    /// Adds a field of the body, or text where there is none.
    pub(super) fn or_text(self, name: &str, body: Body<'_>, otherwise: &str) -> Self {
        match body.get(name) {
            Some(value) => self.value(name, value),
            None => self.text(name, otherwise),
        }
    }

    /// Ends it.
    pub(super) fn end(self) -> Vec<u8> {
        let Self(mut out) = self;
        out.push(b'}');
        out
    }

    fn name(self, name: &str) -> Self {
        let Self(mut out) = self;
        out.push(b',');
        let Self(mut out) = Self(out).put_text(name);
        out.push(b':');
        Self(out)
    }

    fn put_text(self, text: &str) -> Self {
        let Self(mut out) = self;
        json::put_text(&mut out, text);
        Self(out)
    }
}
