//! Who may connect, and who may manage.
//!
//! Pure: tokens, keys and times come in, identities and refusals go out. Its invariant: nothing that came from a peer is believed before its signature has been checked, and no secret is ever
//! shown.

pub mod dev_key;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod keys;
mod origins;
mod token;

use std::fmt;

pub use keys::ApiKeys;
pub use origins::{OriginError, Origins};
pub use token::{Authenticator, Identity, Refusal, issue};

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Every use of it is a place to look at.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
