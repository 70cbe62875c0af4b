//! What fuzzing attacks: for each target a function that takes any bytes and asserts what has to hold of whatever they make happen.
//!
//! A body stands beside what it attacks, where it can see it; here is the table of them. `fuzz/` makes a libFuzzer program of each, and the test below gives them what is kept in
//! `fuzz/corpus`, with any compiler.

use crate::{auth, broker, config, protocol, session, transport};

/// Takes any bytes, and panics if something does not hold.
pub type Body = fn(&[u8]);

/// Name of a target, and its body. The name is that of the program in `fuzz/fuzz_targets` and of the folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Body); 10] = [
    ("config", config::fuzzing::text),
    ("http3", transport::fuzzing::http3),
    ("json", protocol::fuzzing::json),
    ("msgpack", protocol::fuzzing::msgpack),
    ("redis", broker::redis::fuzzing::replies),
    ("session", session::fuzzing::conversation),
    ("stream", protocol::fuzzing::stream),
    ("token", auth::fuzzing::token),
    ("upgrade", transport::fuzzing::upgrade),
    ("websocket", transport::fuzzing::websocket),
];

/// Runs the body of a target; for the programs, which know only their name.
///
/// # Panics
/// What has to hold does not, or there is no such target.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("every program is in the table");
    body(bytes);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// What fuzzing has found so far: inputs that reach different code, and those that once did harm.
    #[test]
    fn what_is_kept_does_no_harm() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (target, body) in TARGETS {
            assert!(fuzz.join("fuzz_targets").join(target).with_extension("rs").is_file(), "{target} has no program");
            let kept = fs::read_dir(fuzz.join("corpus").join(target)).unwrap();
            let mut inputs: Vec<_> = kept.map(|entry| entry.unwrap().path()).collect();
            inputs.sort();
            assert!(!inputs.is_empty(), "nothing is kept for {target}");
            for input in inputs {
                let bytes = fs::read(&input).unwrap();
                let outcome = std::panic::catch_unwind(|| body(&bytes));
                assert!(outcome.is_ok(), "{} does harm", input.display());
            }
        }
    }
}
