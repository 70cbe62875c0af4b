//! The section `[legacy]`: what older pages get.

use super::reader::Reader;

const PATH_RULE: &str = "has to be a path such as /ws/tasks/, of A-Z a-z 0-9 _ - . / only and not /fanfare, or off";

/// The path at which older pages connect.
pub(super) fn path(reader: &mut Reader) -> Option<String> {
    let show = |path: &Option<String>| path.clone().unwrap_or_else(|| "off".to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    reader.read("legacy.path", PATH_RULE, Some("/ws/tasks/".to_owned()), show, |value| match value.as_str()? {
        "off" => Some(None),
        "/" | "/fanfare" => None,
        path => (path.starts_with('/') && path.chars().all(plain)).then(|| Some(path.to_owned())),
    })
}
