//! Connection IDs that say which worker made them.
//!
//! Eight bytes: the first is random but for its remainder mod the number of workers, which is the worker's own number; then three random bytes; then four
//! that a key of this node derives from those. So a packet for a connection that we have never had is seen as such, and gets no answer; and one for a connection of this node's last life, whose
//! key was the same, gets a stateless reset.

use std::time::Duration;

use aws_lc_rs::hmac;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};

/// The bytes of a connection ID. Short headers don't tell the length, so it is the same for all.
const LEN: usize = 8;
/// Of these, how many are drawn: with four workers 2^30 IDs each. quinn draws again when one is in use.
const DRAWN: usize = 4;

/// Makes the connection IDs of one worker.
#[derive(Debug)]
pub(super) struct Generator {
    worker: u8,
    workers: u16,
    key: hmac::Key,
}

impl Generator {
    /// A generator for worker number `worker`, counted from 0, of `workers`. All workers have the same key: after a restart there may be fewer of them.
    pub(super) fn new(worker: usize, workers: usize, key: hmac::Key) -> Self {
        debug_assert!(worker < workers && workers <= super::MAX_WORKERS, "{worker} of {workers}");
        let worker = u8::try_from(worker).expect("there are at most 256 workers");
        Self { worker, workers: u16::try_from(workers).expect("there are at most 256 workers"), key }
    }

    fn signature(&self, drawn: &[u8]) -> [u8; LEN - DRAWN] {
        let mut signature = [0; LEN - DRAWN];
        signature.copy_from_slice(&hmac::sign(&self.key, drawn).as_ref()[..LEN - DRAWN]);
        signature
    }

    /// The byte next to `random` that has the right remainder. Each of those has the same chance but for one part in 256 / workers.
    fn first_byte(&self, random: u8) -> u8 {
        let byte = u16::from(random) / self.workers * self.workers + u16::from(self.worker);
        // The last, incomplete round of remainders may lie beyond a byte.
        u8::try_from(byte).unwrap_or_else(|_| u8::try_from(byte - self.workers).expect("one round before is a byte"))
    }
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; LEN];
        getrandom::fill(&mut id[..DRAWN]).expect("the kernel's source of random bytes does not fail after start-up");
        id[0] = self.first_byte(id[0]);
        let signature = self.signature(&id[..DRAWN]);
        id[DRAWN..].copy_from_slice(&signature);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        // What another worker may have alive is not ours to reset, should one of its packets ever come here.
        let steered_here = id.first().is_some_and(|first| u16::from(*first) % self.workers == u16::from(self.worker));
        let ours = steered_here && id.len() == LEN && id[DRAWN..] == self.signature(&id[..DRAWN]);
        if ours { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    /// IDs are used up by changes of address, not by time: retiring them would wake every idle connection.
    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(secret: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret)
    }

    #[test]
    fn ids_keep_the_remainder_and_are_known_again_by_the_node_alone() {
        for workers in [1, 2, 3, 4, 7, 64, 255, 256] {
            for worker in [0, workers / 2, workers - 1] {
                let mut generator = Generator::new(worker, workers, key(b"one"));
                let again = Generator::new(0, 1, key(b"one"));
                let sibling = Generator::new((worker + 1) % workers, workers, key(b"one"));
                let other = Generator::new(worker, workers, key(b"other"));
                for _ in 0..200 {
                    let id = generator.generate_cid();
                    assert_eq!(usize::from(id[0]) % workers, worker, "of {workers}");
                    assert!(generator.validate(&id).is_ok() && again.validate(&id).is_ok());
                    assert_eq!(sibling.validate(&id).is_ok(), workers == 1);
                    assert!(other.validate(&id).is_err());
                }
                assert!(generator.validate(&ConnectionId::new(&[])).is_err());
            }
        }
    }

    #[test]
    fn every_first_byte_with_the_remainder_occurs() {
        for workers in [1, 3, 4, 100, 256] {
            let generator = Generator::new(workers - 1, workers, key(b"one"));
            let bytes: HashSet<u8> = (0..=255).map(|random| generator.first_byte(random)).collect();
            let expected: HashSet<u8> = (0..=255).filter(|&byte| usize::from(byte) % workers == workers - 1).collect();
            assert_eq!(bytes, expected, "of {workers}");
        }
    }
}
