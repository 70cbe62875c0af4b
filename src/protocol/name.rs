//! Names that come from outside, parsed once.

use std::{borrow::Borrow, fmt, sync::Arc};

use super::limits;

/// The name of a group, as `docs/protocol.md` section 4 allows it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

/// An authenticated identity, as the application names it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

/// What makes a repeated publish recognisable. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// A name that breaks its rule. The sentence is fit for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("{what} is empty; it needs 1 to {limit} characters")]
    Empty {
        /// What kind of name.
        what: &'static str,
        /// The longest that is allowed, in characters.
        limit: usize,
    },
    /// More characters than allowed.
    #[error("{what} has {len} characters; at most {limit} are allowed")]
    TooLong {
        /// What kind of name.
        what: &'static str,
        /// How long it is, in characters.
        len: usize,
        /// The longest that is allowed, in characters.
        limit: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} contains {found:?} at character {at}; allowed are {allowed}")]
    Character {
        /// What kind of name.
        what: &'static str,
        /// The first offender.
        found: char,
        /// Where it stands, counted from 1.
        at: usize,
        /// The allowed set, for people.
        allowed: &'static str,
    },
}

/// What precedes the user id in the name of a personal group.
const PERSONAL_PREFIX: &str = "user.";

impl GroupName {
    /// Parses the name of a group that anybody may name: also `user.…`, which policies then guard.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if let Some(user) = name.strip_prefix(PERSONAL_PREFIX) {
            return UserId::parse(user).map(|user| Self::personal(&user));
        }
        check("group name", name, limits::GROUP_NAME_CHARS, "A-Z a-z 0-9 _ - .", is_plain)?;
        Ok(Self(name.into()))
    }

    /// The group that all sessions of a user follow.
    #[must_use]
    pub fn personal(user: &UserId) -> Self {
        Self(format!("{PERSONAL_PREFIX}{user}").into())
    }

    /// Where directives about users travel between nodes. No name that anybody gives contains a colon, so nobody else can name it.
    #[must_use]
    pub(crate) fn directives() -> Self {
        Self(":directives".into())
    }

    /// Whose personal group this is, if it is one.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.0.strip_prefix(PERSONAL_PREFIX)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    /// Parses a user id.
    ///
    /// # Errors
    /// Says which rule the id breaks.
    pub fn parse(id: &str) -> Result<Self, NameError> {
        check("user id", id, limits::USER_ID_CHARS, "A-Z a-z 0-9 _ - . @ +", |c| is_plain(c) || matches!(c, '@' | '+'))?;
        Ok(Self(id.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl IdempotencyKey {
    /// Parses an idempotency key: any printable ASCII.
    ///
    /// # Errors
    /// Says which rule the key breaks.
    pub fn parse(key: &str) -> Result<Self, NameError> {
        check("idempotency key", key, limits::KEY_CHARS, "printable ASCII characters", |c| c.is_ascii_graphic() || c == ' ')?;
        Ok(Self(key.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the name of an application's own kind.
pub(super) fn check_kind(name: &str) -> Result<(), NameError> {
    check("kind", name, limits::KIND_CHARS, "A-Z a-z 0-9 _ - .", is_plain)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn check(what: &'static str, name: &str, limit: usize, allowed: &'static str, ok: impl Fn(char) -> bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what, limit });
    }
    if let Some((at, found)) = name.chars().enumerate().take(limit).find(|&(_, c)| !ok(c)) {
        return Err(NameError::Character { what, found, at: at + 1, allowed });
    }
    match name.chars().count() {
        len if len > limit => Err(NameError::TooLong { what, len, limit }),
        _ => Ok(()),
    }
}

macro_rules! text_like {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_like!(GroupName, UserId, IdempotencyKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_names_follow_the_rule() {
        for good in ["sales_team", "a", "A-1.b", &"x".repeat(99), "user.john@example.org"] {
            assert_eq!(GroupName::parse(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(GroupName::parse("").map_err(|e| e.to_string()), Err("group name is empty; it needs 1 to 99 characters".to_owned()));
        assert_eq!(
            GroupName::parse(&"x".repeat(100)).map_err(|e| e.to_string()),
            Err("group name has 100 characters; at most 99 are allowed".to_owned())
        );
        assert_eq!(
            GroupName::parse("sales team").map_err(|e| e.to_string()),
            Err("group name contains ' ' at character 6; allowed are A-Z a-z 0-9 _ - .".to_owned())
        );
        assert!(GroupName::parse("project@alpha").is_err());
        assert!(GroupName::parse("user.").is_err());
    }

    #[test]
    fn a_personal_group_knows_its_owner() {
        let john = UserId::parse("john+x@example.org").unwrap();
        let group = GroupName::personal(&john);
        assert_eq!(group.owner(), Some("john+x@example.org"));
        assert_eq!(GroupName::parse(group.as_str()), Ok(group));
        assert_eq!(GroupName::parse("users").unwrap().owner(), None);
    }
}
