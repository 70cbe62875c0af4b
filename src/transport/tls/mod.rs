//! Certificates and TLS configuration.
//!
//! [`certificate`] reads an operator's files, [`development`] makes and keeps the development pair, [`Certificates`] are what handshakes choose from, and the [`Keeper`] sees to it that those stay
//! what the files say. Its invariant: there always is a certificate to choose, and what is chosen was valid, and had its own key, when it was taken.

mod certificate;
mod certificates;
mod development;
mod keeper;

pub use certificate::{Certificate, Error, load, rfc3339};
pub use certificates::Certificates;
pub use development::{certificate_path as development_certificate_path, development, key_path as development_key_path};
pub use keeper::{Change, Keeper, Source};
