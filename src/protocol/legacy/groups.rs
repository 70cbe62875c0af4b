//! The names of groups: ours, and those that an application gives to Django Channels.
//!
//! | ours | Django Channels |
//! | --- | --- |
//! | `user.john` (personal) | `user_john` |
//! | `task.42` | `task_42` |
//! | any other `NAME` | `group_NAME` |

use crate::protocol::{GroupName, UserId, limits};

/// What precedes a task's id in the name of its group.
pub(super) const TASK_PREFIX: &str = "task.";

const THEIR_USER: &str = "user_";
const THEIR_TASK: &str = "task_";
const THEIR_GROUP: &str = "group_";

/// Our group for a group of Django Channels; `None` for one that is none of the three sorts.
///
/// `group_user.ann` is none: a personal group has one name there, too.
#[must_use]
pub fn group_of(channels_group: &str) -> Option<GroupName> {
    if let Some(user) = channels_group.strip_prefix(THEIR_USER) {
        return UserId::parse(user).ok().map(|user| GroupName::personal(&user));
    }
    if let Some(task) = channels_group.strip_prefix(THEIR_TASK) {
        return GroupName::parse(&format!("{TASK_PREFIX}{task}")).ok().filter(|_| !task.is_empty());
    }
    let name = channels_group.strip_prefix(THEIR_GROUP)?;
    GroupName::parse(name).ok().filter(|group| group.owner().is_none() && !name.starts_with(TASK_PREFIX))
}

/// The group of Django Channels for one of ours; `None` if no name there can stand for it.
#[must_use]
pub fn channels_group(group: &GroupName) -> Option<String> {
    let name = match (group.owner(), group.as_str().strip_prefix(TASK_PREFIX)) {
        (Some(user), _) => format!("{THEIR_USER}{user}"),
        (None, Some(task)) => format!("{THEIR_TASK}{task}"),
        (None, None) => format!("{THEIR_GROUP}{group}"),
    };
    // Their rule: ASCII letters, digits, `-`, `_`, `.`; shorter than 100 characters.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (name.len() <= limits::GROUP_NAME_CHARS && name.chars().all(plain) && group_of(&name).as_ref() == Some(group)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_has_its_prefix_both_ways() {
        for (theirs, ours) in [("group_sales_team", "sales_team"), ("user_john", "user.john"), ("task_4f-2", "task.4f-2")] {
            let group = GroupName::parse(ours).unwrap();
            assert_eq!(group_of(theirs), Some(group.clone()));
            assert_eq!(channels_group(&group).as_deref(), Some(theirs));
        }
    }

    #[test]
    fn what_has_no_name_on_the_other_side_is_none() {
        for theirs in ["chat", "group_", "user_", "task_", "group_user.ann", "group_task.7", "group_a b", "GROUP_a"] {
            assert_eq!(group_of(theirs), None, "{theirs}");
        }
        let long = "x".repeat(99);
        for ours in ["user.john@example.org", ":directives", &long] {
            let group = GroupName::parse(ours).unwrap_or_else(|_| GroupName::directives());
            assert_eq!(channels_group(&group), None, "{ours}");
        }
    }
}
