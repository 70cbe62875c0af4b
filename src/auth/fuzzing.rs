//! Attacks on tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use super::{Authenticator, Identity, Secret};
use crate::protocol::limits;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The time at which tokens are looked at, in seconds since 1970-01-01 UTC.
const NOW_S: u64 = 1_764_000_000;

/// A token as it comes, which nobody signed; and one whose claims are these bytes, or whose header and claims are these two lines, signed with the right secret. Only a signature makes
/// somebody of a peer, only with the algorithm that is meant, and only within bounds.
pub fn token(bytes: &[u8]) {
    let authenticator = Authenticator::new(true, Some(&Secret::new(SECRET)));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(authenticator.authenticate(Some(text), NOW_S).is_err(), "nobody has signed this");
    }
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (header, claims) = match (lines.next(), lines.next()) {
        (Some(header), Some(claims)) => (header, claims),
        (claims, _) => (&br#"{"alg":"HS256"}"#[..], claims.unwrap_or_default()),
    };
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let Ok(signature) = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256) else { return };
    if let Ok(identity) = authenticator.authenticate(Some(&format!("{message}.{signature}")), NOW_S) {
        is_in_bounds(header, &identity);
    }
}

fn is_in_bounds(header: &[u8], identity: &Identity) {
    let header: serde_json::Value = serde_json::from_slice(header).expect("the header was read");
    assert_eq!(header["alg"], "HS256", "the algorithm is not the token's to choose");
    assert!(identity.user.is_some(), "a token always says who it is");
    assert!(identity.expires_at_s.is_none_or(|until| until > NOW_S), "its time is over");
    assert!(identity.groups.len() <= limits::TOKEN_GROUPS);
    assert!(identity.groups.iter().all(|group| group.owner().is_none()), "a personal group can't be given");
}
