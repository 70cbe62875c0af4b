//! Remembers which address tokens have been used, so that each is good once (RFC 9000, section 8.1.4).
//!
//! Each node has its own memory, and loses it when it ends; then a token is good once more. It is only ever good from the address that it was made for.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quinn_proto::{TokenLog, TokenReuseError};

/// Tokens that are remembered of one lifetime: 4 MiB for both. More are taken for used, so their holders prove their address once more.
const REMEMBERED: usize = 100_000;

/// The used tokens by the lifetime in which they were made: a token outlives the next one at most, so two are remembered.
#[derive(Debug, Default)]
pub(super) struct UsedTokens(Mutex<BTreeMap<u128, HashSet<u128>>>);

impl TokenLog for UsedTokens {
    fn check_and_insert(&self, nonce: u128, issued: SystemTime, lifetime: Duration) -> Result<(), TokenReuseError> {
        let since = issued.duration_since(UNIX_EPOCH).unwrap_or_default();
        let period = since.as_nanos() / lifetime.as_nanos().max(1);
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = periods.entry(period).or_default();
        let fresh = used.len() < REMEMBERED && used.insert(nonce);
        while periods.len() > 2 {
            periods.pop_first();
        }
        if fresh { Ok(()) } else { Err(TokenReuseError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_and_the_memory_is_bounded() {
        let log = UsedTokens::default();
        let day = Duration::from_secs(24 * 3600);
        let at = |days: u32| UNIX_EPOCH + 20_000 * day + days * day;
        let good = |nonce, days| log.check_and_insert(nonce, at(days), day).is_ok();
        assert!(good(1, 0) && !good(1, 0) && good(2, 0));
        assert!(good(1, 1) && good(1, 2));
        assert_eq!(log.0.lock().unwrap().len(), 2, "the first lifetime is over");
        assert!((0..REMEMBERED as u128 - 1).all(|n| good(n + 10, 2)));
        assert!(!good(5, 2), "there is no room");
    }
}
