//! The API key of development: made once, kept where only its owner can read it, found by the commands that send.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Secret;

/// Where the key is kept: `$XDG_STATE_HOME/fanfare/api-key`, or `~/.local/state/fanfare/api-key`.
#[must_use]
pub fn default_path(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("fanfare/api-key"))
}

/// The key in the file.
///
/// # Errors
/// The file can't be read.
pub fn load(path: &Path) -> io::Result<Secret> {
    fs::read_to_string(path).map(|text| Secret::new(text.trim()))
}

/// The key in the file; a new random one if there is none.
///
/// # Errors
/// The file can't be read or written, or the system has no randomness.
pub fn load_or_make(path: &Path) -> io::Result<Secret> {
    match load(path) {
        Ok(key) if !key.expose().is_empty() => return Ok(key),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let key = URL_SAFE_NO_PAD.encode(bytes);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // A file of another name first, so that nobody reads half a key.
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{key}")?;
    fs::rename(&temporary, path)?;
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/api-key");
        let key = load_or_make(&path).unwrap();
        assert_eq!(key.expose().len(), 43);
        assert_eq!(load_or_make(&path).unwrap(), key);
        assert_eq!(load(&path).unwrap(), key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn it_is_kept_in_the_users_state_directory() {
        let env = |pairs: &'static [(&str, &str)]| move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        assert_eq!(default_path(env(&[("HOME", "/home/a")])), Some("/home/a/.local/state/fanfare/api-key".into()));
        assert_eq!(default_path(env(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")])), Some("/s/fanfare/api-key".into()));
        assert_eq!(default_path(env(&[])), None);
    }
}
