//! What the application grants to one session, by its token or by the answer of its hook: patterns of groups for each thing that can be done there.
//!
//! Rights only add: a session without any may do what policies let everybody do. They never reach personal groups.

use super::Pattern;
use crate::protocol::{GroupName, limits};

/// What can be done in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Follow it.
    Subscribe,
    /// Send to it.
    Publish,
    /// Ask who is there without following it.
    Presence,
}

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Rights {
    subscribe: Vec<Pattern>,
    publish: Vec<Pattern>,
    presence: Vec<Pattern>,
}

/// Rights that break a rule. The sentence is fit for whoever makes tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightsError {
    /// More patterns than allowed for one verb.
    #[error("rights: there are {0} patterns for one thing; at most {most} are allowed", most = limits::RIGHTS)]
    TooMany(usize),
    /// A text that can't be a pattern of group names.
    #[error("rights: {0:?} is no pattern; one has 1 to {most} characters out of A-Z a-z 0-9 _ - . *", most = limits::GROUP_NAME_CHARS)]
    Pattern(String),
}

/// As tokens and answers have them. Things that this version does not know are skipped: they grant nothing.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Written {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    presence: Vec<String>,
}

impl Rights {
    /// Rights for the groups that match these patterns.
    ///
    /// # Errors
    /// One of them is no pattern, or there are too many.
    pub fn new<T: AsRef<str>>(subscribe: &[T], publish: &[T], presence: &[T]) -> Result<Self, RightsError> {
        Ok(Self { subscribe: patterns(subscribe)?, publish: patterns(publish)?, presence: patterns(presence)? })
    }

    /// Whether they let their session do this in the group.
    #[must_use]
    pub fn grant(&self, verb: Verb, group: &GroupName) -> bool {
        let patterns = match verb {
            Verb::Subscribe => &self.subscribe,
            Verb::Publish => &self.publish,
            Verb::Presence => &self.presence,
        };
        group.owner().is_none() && patterns.iter().any(|pattern| pattern.matches(group.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.publish.is_empty() && self.presence.is_empty()
    }
}

fn patterns(texts: &[impl AsRef<str>]) -> Result<Vec<Pattern>, RightsError> {
    if texts.len() > limits::RIGHTS {
        return Err(RightsError::TooMany(texts.len()));
    }
    texts.iter().map(|text| pattern(text.as_ref())).collect()
}

fn pattern(text: &str) -> Result<Pattern, RightsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.*".contains(c);
    let fits = (1..=limits::GROUP_NAME_CHARS).contains(&text.len()) && text.chars().all(plain);
    if fits { Ok(Pattern::new(text)) } else { Err(RightsError::Pattern(text.chars().take(limits::GROUP_NAME_CHARS).collect())) }
}

impl TryFrom<Written> for Rights {
    type Error = RightsError;

    fn try_from(Written { subscribe, publish, presence }: Written) -> Result<Self, RightsError> {
        Self::new(&subscribe, &publish, &presence)
    }
}

impl From<Rights> for Written {
    fn from(Rights { subscribe, publish, presence }: Rights) -> Self {
        let texts = |patterns: Vec<Pattern>| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        Self { subscribe: texts(subscribe), publish: texts(publish), presence: texts(presence) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(group: &str) -> GroupName {
        GroupName::parse(group).unwrap()
    }

    #[test]
    fn each_thing_has_patterns_of_its_own() {
        let rights: Rights = serde_json::from_value(json!({"subscribe": ["team_*"], "publish": ["team_7"]})).unwrap();
        assert!(rights.grant(Verb::Subscribe, &name("team_8")) && !rights.grant(Verb::Publish, &name("team_8")));
        assert!(rights.grant(Verb::Publish, &name("team_7")) && !rights.grant(Verb::Presence, &name("team_7")));
        assert!(!rights.grant(Verb::Subscribe, &name("other")) && !rights.is_empty());
        assert_eq!(serde_json::to_value(&rights).unwrap(), json!({"subscribe": ["team_*"], "publish": ["team_7"]}));
        assert!(serde_json::from_value::<Rights>(json!({"moderate": ["*"]})).unwrap().is_empty());
    }

    #[test]
    fn no_pattern_reaches_a_personal_group() {
        let rights = Rights::new(&["*", "user.*", "user.ann"], &["*"], &["*"]).unwrap();
        for verb in [Verb::Subscribe, Verb::Publish, Verb::Presence] {
            assert!(!rights.grant(verb, &name("user.ann")) && rights.grant(verb, &name("users")));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_so_are_too_many() {
        let of = |patterns: serde_json::Value| serde_json::from_value::<Rights>(json!({"subscribe": patterns})).map_err(|e| e.to_string());
        let many = |count: usize| json!((0..count).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(of(many(limits::RIGHTS)).is_ok());
        assert_eq!(of(many(101)).unwrap_err(), "rights: there are 101 patterns for one thing; at most 100 are allowed");
        assert!(of(json!(["a b"])).unwrap_err().starts_with("rights: \"a b\" is no pattern"));
        for wrong in [json!([""]), json!(["x".repeat(100)]), json!("team_*"), json!([1]), json!(["é"])] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
