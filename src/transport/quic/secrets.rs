//! What endpoints have to know again after a restart, so that clients notice one at once and need not prove their address twice.
//!
//! All of it is derived (HKDF with SHA-256, RFC 5869) from one secret that outlives the process. A node that has begun anew answers the packets of its last life with stateless resets (RFC 9000,
//! section 10.3), so a client connects again instead of waiting for an answer. That needs the keys of its connection IDs and of the resets; both are of one node alone, for an
//! instance that can be made to reset the connections of another one is a weapon (RFC 9000, section 21.11). The keys of tokens that prove an address (section 8.1) are shared by all nodes of
//! the secret: a client that comes to another one brings them.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::ValidationTokenConfig;

use super::used_tokens::UsedTokens;

/// How long a client may come back with a token and is believed to be where it was.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Tokens that a client gets with its connection: one is what it comes back with.
const TOKENS: u32 = 1;

/// See the [module](self). Clones remember used tokens together.
#[derive(Clone)]
pub struct Secrets {
    resets: [u8; 32],
    ids: [u8; 32],
    tokens: [u8; 32],
    used: Arc<UsedTokens>,
}

impl Secrets {
    /// Derived from a secret that this node had in its last life and other nodes may have too. `node` tells it from those: a name that stays.
    #[must_use]
    pub fn derive(secret: &[u8], node: &str) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"fanfare quic").extract(secret);
        Self {
            resets: expand(&root, &[b"stateless reset", node.as_bytes()]),
            ids: expand(&root, &[b"connection ids", node.as_bytes()]),
            tokens: expand(&root, &[b"address validation", b""]),
            used: Arc::default(),
        }
    }

    pub(super) fn reset_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.resets)
    }

    pub(super) fn id_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.ids)
    }

    pub(super) fn token_key(&self) -> hkdf::Prk {
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.tokens)
    }

    pub(super) fn tokens(&self) -> ValidationTokenConfig {
        let mut config = ValidationTokenConfig::default();
        config.lifetime(TOKEN_LIFETIME).sent(TOKENS).log(self.used.clone());
        config
    }
}

/// Each part after its length, so that no two lists are alike.
fn expand(root: &hkdf::Prk, parts: &[&[u8]]) -> [u8; 32] {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let info: Vec<&[u8]> = lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]).collect();
    let mut key = [0; 32];
    let okm = root.expand(&info, hkdf::HKDF_SHA256).expect("32 bytes are less than 255 hashes");
    okm.fill(&mut key).expect("the length is that of the algorithm");
    key
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_own_keys_again_and_shares_those_of_tokens() {
        let one = Secrets::derive(b"secret", "a:4433");
        let again = Secrets::derive(b"secret", "a:4433");
        assert_eq!((one.resets, one.ids, one.tokens), (again.resets, again.ids, again.tokens));
        let other = Secrets::derive(b"secret", "b:4433");
        assert!(one.resets != other.resets && one.ids != other.ids && one.tokens == other.tokens);
        let stranger = Secrets::derive(b"another", "a:4433");
        assert!(one.resets != stranger.resets && one.ids != stranger.ids && one.tokens != stranger.tokens);
        assert!(one.resets != one.ids && one.ids != one.tokens);
        assert_eq!(format!("{one:?}"), "Secrets(***)");
    }
}
