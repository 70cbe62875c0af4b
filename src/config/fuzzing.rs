//! Attacks on configuration files.

use std::path::Path;

use super::{Mode, judge, source, source::Values};
use crate::policy::Policies;

/// The text of a file: it is read or refused, each mistake in a sentence, and whatever is in force is shown and within its bounds.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut values = Values::new();
    if let Err(error) = source::from_text(text, Path::new("fanfare.toml"), &mut values) {
        assert!(error.to_string().starts_with("fanfare.toml: "), "{error}");
        return;
    }
    for mode in [Mode::Dev, Mode::Serve] {
        match judge(mode, values.clone(), Vec::new()) {
            Ok(config) => {
                assert!((1..=256).contains(&config.workers));
                assert!((1024..=1 << 20).contains(&config.session.max_frame));
                assert!(!config.session.ping_interval.is_zero() && !config.session.hello_deadline.is_zero());
                assert!(config.shown.iter().all(|shown| !shown.key.is_empty()));
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "refused without a reason");
                assert!(errors.iter().all(|error| !error.to_string().is_empty()));
            }
        }
    }
}

/// The policies that a valid text configures, for other targets.
///
/// # Panics
/// It is not valid.
#[must_use]
pub fn policies(text: &str) -> Policies {
    let mut values = Values::new();
    source::from_text(text, Path::new("fanfare.toml"), &mut values).expect("it is TOML");
    judge(Mode::Dev, values, Vec::new()).expect("it is valid").policies
}
