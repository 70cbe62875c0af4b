//! `fanfare doctor`: looks at everything that a server needs before it is started, and says what to do about what is wrong. Changes nothing.

mod machine;
mod redis;

use serde_json::json;

use super::{Failure, options::ServerOptions};
use crate::config::Mode;

/// Looks at configuration, ports, limits, certificate and Redis.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing has failed (there may be warnings), 1 something has, 2 the configuration is not right.")]
pub struct Doctor {
    #[command(flatten)]
    options: ServerOptions,
    /// Look for `dev` instead of `serve`
    #[arg(long)]
    dev: bool,
    /// Print JSON: an array of check, verdict, found and cure
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It can't be told from here; that is no fault.
    Unknown,
    /// It works, but not as well as it could, or not for long.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// What was looked at.
    check: String,
    verdict: Verdict,
    found: String,
    /// What to do.
    cure: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, found: found.into(), cure: None }
    }

    fn unknown(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unknown, ..Self::ok(check, found) }
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, cure: Some(cure.into()), ..Self::ok(check, found) }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, cure) }
    }
}

impl Doctor {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = self.options.load(if self.dev { Mode::Dev } else { Mode::Serve })?;
        let mut findings = vec![Finding::ok("configuration", "every value keeps its rule")];
        findings.extend(machine::look(&config));
        findings.extend(config.redis.iter().flat_map(redis::look));
        print!("{}", if self.json { in_json(&findings) } else { in_words(&findings) });
        match findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count() {
            0 => Ok(()),
            failed => Err(Failure::running(format!("{failed} of {} checks failed", findings.len()))),
        }
    }
}

fn in_words(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, verdict, found, cure } in findings {
        text.push_str(&format!("{:<8}{check:<width$}  {found}\n", verdict.word()));
        if let Some(cure) = cure {
            text.push_str(&format!("{:<8}{:<width$}  cure: {cure}\n", "", ""));
        }
    }
    text
}

fn in_json(findings: &[Finding]) -> String {
    let row = |Finding { check, verdict, found, cure }: &Finding| json!({"check": check, "verdict": verdict.word(), "found": found, "cure": cure});
    format!("{}\n", json!(findings.iter().map(row).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_a_line_and_every_cure_another() {
        let findings = [Finding::ok("a", "fine"), Finding::fail("longer", "broken", "mend it"), Finding::unknown("b", "hidden")];
        let text = "ok      a       fine\nfail    longer  broken\n                cure: mend it\nunknown b       hidden\n";
        assert_eq!(in_words(&findings), text);
        let json: serde_json::Value = serde_json::from_str(&in_json(&findings)).unwrap();
        assert_eq!(json[1], json!({"check": "longer", "verdict": "fail", "found": "broken", "cure": "mend it"}));
        assert_eq!(json[0]["cure"], serde_json::Value::Null);
    }
}
