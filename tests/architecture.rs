//! Which room of the house may know which: one crate has no compiler walls, so this test is the wall.
//!
//! Method: every path that begins with `crate::` in the sources of a room, tests left out, is looked up in the table. `ARCHITECTURE.md` shows the same table, and says why.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Room, and the rooms that it may know. A room that stands here with its parent is a door of its own (`broker::memory` is not `broker`).
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("metrics", &[]),
    ("limit", &[]),
    ("policy", &["limit", "protocol"]),
    ("auth", &["limit", "policy", "protocol"]),
    ("session", &["limit", "policy", "protocol"]),
    ("broker", &["metrics", "protocol"]),
    ("hub", &["broker", "metrics", "protocol"]),
    ("presence", &["broker", "metrics", "protocol"]),
    ("transport", &["broker", "hub", "limit", "metrics", "policy", "presence", "protocol", "session"]),
    ("api", &["auth", "broker", "hub", "limit", "metrics", "policy", "protocol"]),
    ("client", &["protocol"]),
    ("load", &["client", "protocol"]),
    ("config", &["auth", "broker", "hub", "limit", "policy", "protocol", "session", "transport"]),
];

/// Rooms that know everybody.
const WIRING: &[&str] = &["server", "worker", "cli"];

/// Rooms that have no clock and do no I/O.
const PURE: &[&str] = &["protocol", "policy", "limit", "session"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.file_stem().is_none_or(|stem| stem != "tests") {
            found.push(path);
        }
    }
    found
}

/// The text of a source without comments and without its test module.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Source files by room: the first part of their path below `src`.
fn rooms() -> BTreeMap<String, Vec<PathBuf>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in sources(&src) {
        let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
        let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        rooms.entry(room).or_default().push(path);
    }
    rooms
}

/// The rooms that a piece of code names after `crate::`, in single and in grouped imports.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && depth == 0 && !c.is_whitespace() => {
                        names.insert(word(&group[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            names.insert(word(after));
        }
    }
    names
}

#[test]
fn rooms_know_only_whom_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = MAY_KNOW.iter().copied().collect();
    let mut offences = Vec::new();
    for (room, paths) in rooms() {
        if WIRING.contains(&room.as_str()) || matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let allowed = table.get(room.as_str()).unwrap_or_else(|| panic!("{room} is a room that the table does not know"));
        for path in paths {
            for other in named(&code(&path)) {
                if other != room && !allowed.contains(&other.as_str()) {
                    offences.push(format!("{} may not know {other}", path.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn only_the_wiring_knows_which_broker_it_is() {
    for (room, paths) in rooms() {
        // The configuration fills the brokers' own settings.
        for path in paths.iter().filter(|_| !WIRING.contains(&room.as_str()) && room != "config") {
            let code = code(path);
            for broker in ["broker::memory", "broker::redis"] {
                assert!(!code.contains(broker), "{} knows {broker}", path.display());
            }
        }
    }
}

#[test]
fn pure_rooms_have_no_runtime_and_no_clock() {
    for (room, paths) in rooms() {
        for path in paths.iter().filter(|_| PURE.contains(&room.as_str())) {
            let code = code(path);
            for forbidden in ["tokio", "Instant::now", "SystemTime", "std::net", "std::fs", "std::env"] {
                assert!(!code.contains(forbidden), "{} uses {forbidden}", path.display());
            }
        }
    }
}

#[test]
fn the_document_shows_the_same_table() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (room, others) in MAY_KNOW {
        let cell = if others.is_empty() {
            "–".to_owned()
        } else {
            others.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ")
        };
        let row = format!("| `{room}` | {cell} |");
        assert!(document.contains(&row), "ARCHITECTURE.md lacks the row {row}");
    }
}

#[test]
fn the_test_sees_what_it_is_looking_for() {
    let found = named("use crate::{\n    broker::{Broker, memory},\n    hub,\n    protocol::Code,\n};\nlet x = crate::session::new();");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["broker", "hub", "protocol", "session"]);
}
