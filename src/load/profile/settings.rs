//! What can be set for a profile, and templates.

/// One thing that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name, for `--set NAME=VALUE`.
    pub name: &'static str,
    /// What it is when it is not set.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Shorthand for tables.
pub(super) const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// The settings of one profile.
#[derive(Debug)]
pub struct Settings {
    values: Vec<(&'static str, String)>,
}

impl Settings {
    /// Puts what was given over the defaults.
    ///
    /// # Errors
    /// The profile has no setting of that name.
    pub fn new(profile: &str, table: &'static [Setting], given: &[(String, String)]) -> Result<Self, String> {
        if let Some((unknown, _)) = given.iter().find(|(name, _)| table.iter().all(|setting| setting.name != name)) {
            let known: Vec<_> = table.iter().map(|setting| setting.name).collect();
            return Err(format!("--set {unknown}: the profile {profile} has the settings {}", known.join(", ")));
        }
        let value = |setting: &Setting| {
            let given = given.iter().rev().find(|(name, _)| name == setting.name);
            (setting.name, given.map_or_else(|| setting.default.to_owned(), |(_, value)| value.clone()))
        };
        Ok(Self { values: table.iter().map(value).collect() })
    }

    /// The value of a setting that the table has.
    pub(super) fn get(&self, name: &str) -> String {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// The same, where empty means none.
    pub(super) fn some(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }
}

/// Puts values into the places `{name}`. Other braces stay as they are, so templates can be JSON.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// The header line that carries a key, or nothing.
pub(super) fn bearer(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Setting] = &[setting("path", "/", "where"), setting("token", "", "who")];

    #[test]
    fn the_last_value_counts_and_unknown_names_are_named() {
        let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let settings = Settings::new("plain", TABLE, &[given("path", "/a"), given("path", "/b")]).unwrap();
        assert_eq!((settings.get("path").as_str(), settings.some("token")), ("/b", None));
        let error = Settings::new("plain", TABLE, &[given("pth", "/")]).unwrap_err();
        assert_eq!(error, "--set pth: the profile plain has the settings path, token");
    }

    #[test]
    fn templates_leave_the_braces_of_json() {
        assert_eq!(fill(r#"{"to":"{group}","x":{}}"#, &[("group", "g")]), r#"{"to":"g","x":{}}"#);
    }
}
