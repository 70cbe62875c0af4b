//! The section `[quic]`, and where the server keeps what outlives it.

use std::path::PathBuf;

use toml::Value;

use super::reader::Reader;
use crate::auth::Secret;

/// Shorter secrets could be guessed by who has seen what is derived from them.
const SECRET_CHARS: usize = 32;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What keys for resets and tokens of QUIC are derived from; `None`: a secret that is made once and kept in the directory.
    pub quic_secret: Option<Secret>,
    /// Where it is kept; `None`: as the environment says.
    pub directory: Option<PathBuf>,
}

pub(super) fn read(reader: &mut Reader) -> Kept {
    let rule = format!("has to be text of at least {SECRET_CHARS} characters; `openssl rand -base64 32` makes one");
    let show = |secret: &Option<Secret>| if secret.is_some() { "***".to_owned() } else { String::new() };
    let parse = |value: &Value| value.as_str().filter(|text| text.len() >= SECRET_CHARS).map(|text| Some(Secret::new(text)));
    Kept { quic_secret: reader.read_secret("quic.secret", &rule, None, show, parse), directory: reader.path("state.directory") }
}
