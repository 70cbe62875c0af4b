//! One table of an array of tables, such as `[[tls.certificates]]`: typed values, and every mistake with its place.

use toml::{Table, Value};

use super::{
    ConfigError,
    reader::{Reader, plain},
    source::Origin,
    units,
};

/// See the [module](self). Every `take` takes its key away; what is left at the end is unknown.
pub(super) struct Row<'a> {
    /// `tls.certificates[0]`.
    place: String,
    table: Table,
    origin: &'a Origin,
    errors: &'a mut Vec<ConfigError>,
}

/// Reads all tables of the array `key`, each by `read`, and reports what is in them besides the `known`.
pub(super) fn rows<T>(reader: &mut Reader, key: &'static str, known: &[&str], read: impl Fn(&mut Row<'_>) -> Option<T>) -> Vec<T> {
    let (tables, origin) = reader.tables(key);
    let mut all = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let mut row = Row { place: format!("{key}[{at}]"), table, origin: &origin, errors: &mut reader.errors };
        all.extend(read(&mut row));
        row.report_unknown(known);
    }
    all
}

impl Row<'_> {
    /// A value that may be missing; one that breaks its rule is reported and `None`.
    pub(super) fn take<T>(&mut self, name: &str, rule: &str, parse: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.table.remove(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.mistake(name, plain(&value), rule);
        }
        parsed
    }

    /// A value that has to be there.
    pub(super) fn require<T>(&mut self, name: &str, rule: &str, parse: impl Fn(&Value) -> Option<T>) -> Option<T> {
        if !self.table.contains_key(name) {
            self.mistake(name, String::new(), &format!("is missing: it {rule}"));
            return None;
        }
        self.take(name, rule, parse)
    }

    fn mistake(&mut self, name: &str, value: String, rule: &str) {
        let key = format!("{}.{name}", self.place);
        self.errors.push(ConfigError::Value { key, value, origin: self.origin.clone(), rule: rule.to_owned() });
    }

    fn report_unknown(&mut self, known: &[&str]) {
        for (name, _) in std::mem::take(&mut self.table) {
            let meant = units::did_you_mean(&name, known.iter().copied()).map(str::to_owned);
            self.errors.push(ConfigError::Unknown { key: format!("{}.{name}", self.place), origin: self.origin.clone(), meant });
        }
    }
}
