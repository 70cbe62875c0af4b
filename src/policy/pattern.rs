//! Patterns of group names: `*` stands for any characters, `{name}` for at least one, which it captures.
//!
//! Matching has one outcome, so that a name has one owner: from left to right each `*` and each capture takes as few characters as it can, and the last one takes what is left. There is no backtracking; the cost is
//! that of looking for each text between them once.

use std::fmt;

use crate::protocol::limits;

/// See the [module](self).
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// What stands before the first `*` or capture.
    head: String,
    steps: Vec<Step>,
}

/// A `*` or a capture, and the text behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// `None`: a `*`.
    capture: Option<String>,
    literal: String,
}

/// A text that is no pattern; the sentence follows the key and the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("is empty: a pattern looks like team_*, project_{{id}} or user.{{user}}")]
    Empty,
    /// Longer than any name.
    #[error("is longer than {most} characters", most = limits::GROUP_NAME_CHARS)]
    TooLong,
    /// A character that no group name has.
    #[error("contains {0:?}, which no group name has: names are made of A-Z a-z 0-9 _ - .")]
    Character(char),
    /// A `{` without its `}`, or the other way round, or no fit name in between.
    #[error("has braces that hold no name: a capture looks like {{user}} or {{id}}, its name is made of a-z 0-9 _")]
    Braces,
    /// Nothing says where one ends and the other begins.
    #[error("has {0} right behind another capture or *, so nothing says where one ends and the other begins")]
    Adjacent(String),
    /// The same capture twice.
    #[error("captures {{{0}}} twice")]
    Twice(String),
}

/// The capture that says whose group it is.
pub(super) const USER: &str = "user";

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match text.chars().count() {
            0 => return Err(PatternError::Empty),
            n if n > limits::GROUP_NAME_CHARS => return Err(PatternError::TooLong),
            _ => {}
        }
        let first = text.find(['*', '{', '}']).unwrap_or(text.len());
        let (head, mut rest) = text.split_at(first);
        let mut steps: Vec<Step> = Vec::new();
        check_literal(head)?;
        while !rest.is_empty() {
            let (capture, behind) = wildcard(rest)?;
            let end = behind.find(['*', '{', '}']).unwrap_or(behind.len());
            let (literal, next) = behind.split_at(end);
            check_literal(literal)?;
            let step = Step { capture: capture.map(str::to_owned), literal: literal.to_owned() };
            step.check_behind(&steps)?;
            steps.push(step);
            rest = next;
        }
        Ok(Self { text: text.to_owned(), head: head.to_owned(), steps })
    }

    /// Every name.
    #[must_use]
    pub fn any() -> Self {
        Self { text: "*".to_owned(), head: String::new(), steps: vec![Step { capture: None, literal: String::new() }] }
    }

    /// The groups of users: `user.{user}`.
    #[must_use]
    pub fn personal() -> Self {
        let step = Step { capture: Some(USER.to_owned()), literal: String::new() };
        Self { text: format!("user.{{{USER}}}"), head: "user.".to_owned(), steps: vec![step] }
    }

    /// Whether everything that fits has the name of a personal group.
    #[must_use]
    pub fn is_of_personal_groups(&self) -> bool {
        self.head.starts_with("user.")
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole name fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.walk(name, |_, _| {})
    }

    /// What the capture of this name holds, if the whole name of the group fits.
    #[must_use]
    pub fn capture<'a>(&self, wanted: &str, name: &'a str) -> Option<&'a str> {
        let mut found = None;
        let fits = self.walk(name, |step, held| {
            if step.capture.as_deref() == Some(wanted) {
                found = Some(held);
            }
        });
        found.filter(|_| fits)
    }

    /// The captures of a name that fits, in order.
    #[must_use]
    pub fn captures<'p, 'a>(&'p self, name: &'a str) -> Vec<(&'p str, &'a str)> {
        self.steps
            .iter()
            .filter_map(|step| step.capture.as_deref())
            .filter_map(|wanted| Some((wanted, self.capture(wanted, name)?)))
            .collect()
    }

    /// Whether it has this capture.
    #[must_use]
    pub fn has_capture(&self, wanted: &str) -> bool {
        self.steps.iter().any(|step| step.capture.as_deref() == Some(wanted))
    }

    /// Whether every name that fits `other` fits this too. Where that can't be told by simple means it says no.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match &self.steps[..] {
            [] => other.steps.is_empty() && other.head == self.head,
            // One `*` or capture: what stands before and behind it has to be fixed in the other, too, and something has to be left in between.
            [only] => {
                let tail = other.steps.last().map_or(other.head.as_str(), |last| last.literal.as_str());
                let fixed = other.head.starts_with(&self.head) && tail.ends_with(&only.literal);
                let needed = self.head.len() + only.literal.len() + usize::from(only.capture.is_some());
                fixed && other.shortest() >= needed
            }
            _ => self.has_the_form_of(other),
        }
    }

    /// The length of the shortest name that fits.
    fn shortest(&self) -> usize {
        let steps = self.steps.iter().map(|step| step.literal.len() + usize::from(step.capture.is_some()));
        self.head.len() + steps.sum::<usize>()
    }

    /// The same texts with the same gaps, or wider ones, in between.
    fn has_the_form_of(&self, other: &Self) -> bool {
        let wide_enough = |(own, other): (&Step, &Step)| own.literal == other.literal && (own.capture.is_none() || other.capture.is_some());
        self.head == other.head && self.steps.len() == other.steps.len() && std::iter::zip(&self.steps, &other.steps).all(wide_enough)
    }

    /// Says whether the name fits, and shows what each step holds on the way.
    fn walk<'a>(&self, name: &'a str, mut each: impl FnMut(&Step, &'a str)) -> bool {
        let Some(mut rest) = name.strip_prefix(&*self.head) else { return false };
        let Some((last, inner)) = self.steps.split_last() else { return rest.is_empty() };
        for step in inner {
            let least = usize::from(step.capture.is_some());
            // Names are ASCII; one that is not has no place to cut here, and fits nothing.
            let Some(found) = rest.get(least..).and_then(|from| from.find(&step.literal)) else { return false };
            let (held, behind) = rest.split_at(least + found);
            each(step, held);
            rest = &behind[step.literal.len()..];
        }
        let Some(held) = rest.strip_suffix(&*last.literal) else { return false };
        each(last, held);
        last.capture.is_none() || !held.is_empty()
    }
}

/// The `*` or capture that the text begins with, and what follows it.
fn wildcard(text: &str) -> Result<(Option<&str>, &str), PatternError> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((None, rest.trim_start_matches('*')));
    }
    let (name, rest) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(PatternError::Braces)?;
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fits { Ok((Some(name), rest)) } else { Err(PatternError::Braces) }
}

fn check_literal(text: &str) -> Result<(), PatternError> {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "_-.@+".contains(*c);
    text.chars().find(|c| !fits(c)).map_or(Ok(()), |c| Err(PatternError::Character(c)))
}

impl Step {
    fn check_behind(&self, before: &[Self]) -> Result<(), PatternError> {
        let shown = self.capture.as_ref().map_or_else(|| "*".to_owned(), |name| format!("{{{name}}}"));
        if before.last().is_some_and(|last| last.literal.is_empty()) {
            return Err(PatternError::Adjacent(shown));
        }
        match &self.capture {
            Some(name) if before.iter().any(|step| step.capture.as_ref() == Some(name)) => Err(PatternError::Twice(name.clone())),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (text, yes, no) in [
            ("*", vec!["", "a", "a.b"], vec![]),
            ("**", vec!["", "a"], vec![]),
            ("team_*", vec!["team_", "team_a"], vec!["team", "a_team_b"]),
            ("a*b*c", vec!["abc", "a--b--c", "abcbc"], vec!["abd", "ac", "cab"]),
            ("a*a", vec!["aa", "aba"], vec!["a", "ab"]),
            ("exact", vec!["exact"], vec!["exactly", "exac"]),
            ("*.log", vec!["a.log"], vec!["a.log.b"]),
        ] {
            let pattern = pattern(text);
            yes.iter().for_each(|name| assert!(pattern.matches(name), "{pattern:?} {name}"));
            no.iter().for_each(|name| assert!(!pattern.matches(name), "{pattern:?} {name}"));
        }
    }

    #[test]
    fn captures_hold_at_least_one_character_and_as_few_as_they_can() {
        let held = |text: &str, name: &str| pattern(text).captures(name).into_iter().map(|(_, held)| held.to_owned()).collect::<Vec<_>>();
        assert_eq!(held("project_{id}", "project_7"), ["7"]);
        assert_eq!(held("project_{id}", "project_a_b"), ["a_b"]);
        assert!(!pattern("project_{id}").matches("project_"));
        assert_eq!(held("inbox.{user}.drafts", "inbox.ann.b.drafts"), ["ann.b"]);
        assert_eq!(held("p_{id}_u_{user}", "p_1_u_a_u_b"), ["1", "a_u_b"], "one outcome, so one owner");
        assert_eq!(held("p_{id}_x*", "p__x_x_y"), ["_x"], "not nothing");
        assert_eq!(pattern("user.{user}").capture("user", "user.ann@example.org"), Some("ann@example.org"));
        assert_eq!(pattern("user.{user}").capture("id", "user.ann"), None);
        assert_eq!(pattern("a{id}a").capture("id", "aa"), None);
    }

    #[test]
    fn what_is_no_pattern_is_told_by_its_rule() {
        for (text, rule) in [
            ("", "is empty"),
            ("team a", "contains ' '"),
            ("team:*", "contains ':'"),
            ("a{b", "braces"),
            ("a}b", "braces"),
            ("a{}b", "braces"),
            ("a{B}", "braces"),
            ("{a}{b}", "{b} right behind"),
            ("*{b}", "{b} right behind"),
            ("{b}*", "* right behind"),
            ("{a}_{a}", "captures {a} twice"),
            (&"x".repeat(100), "longer than 99"),
        ] {
            let error = Pattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(rule), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_pattern_covers_what_all_fit() {
        for (wide, narrow) in [
            ("*", "team_*"),
            ("*", "exact"),
            ("team_*", "team_a*"),
            ("team_*", "team_{id}"),
            ("team_{id}", "team_{id}.log"),
            ("*.log", "team_{id}.log"),
            ("a{b}c", "a{b}c"),
            ("a{b}c*", "a{d}c*"),
            ("user.{user}", "user.{user}"),
        ] {
            assert!(pattern(wide).covers(&pattern(narrow)), "{wide} {narrow}");
        }
        for (one, other) in
            [("team_{id}", "team_*"), ("team_*", "*"), ("aa*aa", "aaa"), ("exact", "exac*"), ("a{b}c{d}e", "a*c*e"), ("{x}", "*")]
        {
            assert!(!pattern(one).covers(&pattern(other)), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_covered_never_fits_alone(wide in "[ab*]{1,5}", narrow in "[ab*]{1,5}", name in "[ab]{0,6}") {
            let (wide, narrow) = (pattern(&wide), pattern(&narrow));
            prop_assert!(!wide.covers(&narrow) || !narrow.matches(&name) || wide.matches(&name));
        }

        #[test]
        fn a_name_that_was_made_from_a_pattern_fits_it(parts in prop::collection::vec("[ab.]{1,3}", 1..4)) {
            let text = (0..parts.len()).map(|n| format!("-{{c{n}}}")).collect::<String>();
            let name: String = parts.iter().map(|part| format!("-{part}")).collect();
            let held: Vec<String> = pattern(&text).captures(&name).into_iter().map(|(_, held)| held.to_owned()).collect();
            prop_assert_eq!(held, parts);
        }
    }
}
