//! API keys, compared so that the time it takes says nothing.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Secret;

/// The keys of the management API.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    /// A set of keys. Only their hashes are kept, which also makes all of them equally long to compare.
    #[must_use]
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self(keys.into_iter().map(|key| Sha256::digest(key.expose().as_bytes()).into()).collect())
    }

    /// Whether this is one of the keys. Takes the same time whichever it is.
    #[must_use]
    pub fn accepts(&self, key: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.0.iter().fold(subtle::Choice::from(0), |found, known| found | known.ct_eq(&given)).into()
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_themselves_are_accepted() {
        let keys = ApiKeys::new(&[Secret::new("one"), Secret::new("two")]);
        assert!(keys.accepts("one") && keys.accepts("two"));
        assert!(!keys.accepts("") && !keys.accepts("on") && !keys.accepts("three"));
        assert!(!ApiKeys::default().accepts(""));
        assert_eq!(format!("{keys:?} {:?}", Secret::new("one")), "2 keys ***");
    }
}
