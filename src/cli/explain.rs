//! `fanfare check-config --explain`: which policy a group has and why, and what somebody may do there.

use serde_json::{Value, json};

use super::Failure;
use crate::{
    policy::{Explained, Policies, Rights, Verdict},
    protocol::{GroupName, UserId},
};

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    group: GroupName,
    user: Option<UserId>,
    rights: Rights,
}

impl Question {
    /// # Errors
    /// A key is not known or its value is not right, or there is no group.
    pub(super) fn new(words: &[(String, String)]) -> Result<Self, Failure> {
        let (mut group, mut user, mut rights) = (None, None, Rights::default());
        for (key, value) in words {
            let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("--explain {key}={value}: {error}"));
            match key.as_str() {
                "group" => group = Some(GroupName::parse(value).map_err(|error| wrong(&error))?),
                "user" => user = Some(UserId::parse(value).map_err(|error| wrong(&error))?),
                "claims" => {
                    let claims: Claims = serde_json::from_str(value).map_err(|error| wrong(&error))?;
                    rights = claims.rights;
                }
                _ => return Err(wrong(&"is none of group=, user= and claims=")),
            }
        }
        let group = group.ok_or_else(|| Failure::usage("--explain needs a group, such as --explain group=team_a user=john"))?;
        Ok(Self { group, user, rights })
    }

    /// For people.
    pub(super) fn text(&self, policies: &Policies) -> String {
        let explained = policies.explain(&self.group, self.user.as_ref(), &self.rights);
        let Explained { policy, index, why, captures, terms, .. } = &explained;
        let name = index.map_or_else(|| "built in".to_owned(), |index| format!("groups[{index}]"));
        let mut rows = vec![("policy", format!("{:?} ({name})", policy.pattern.as_str())), ("why", why.clone())];
        rows.extend(captures.iter().map(|(name, held)| ("captured", format!("{{{name}}} = {held:?}"))));
        let who = self.user.as_ref().map_or_else(|| "an anonymous session".to_owned(), ToString::to_string);
        rows.push(("asked for", who));
        let answers = [("subscribe", &explained.subscribe), ("publish", &explained.publish), ("presence", &explained.presence)];
        rows.extend(answers.map(|(verb, (verdict, why))| (verb, format!("{}: {why}", word(*verdict)))));
        rows.push(("", String::new()));
        rows.extend(terms.iter().cloned());
        let rows = rows.iter().map(|(key, value)| format!("{key:<14}{value}").trim_end().to_owned());
        std::iter::chain([format!("group         {}", self.group)], rows).collect::<Vec<_>>().join("\n")
    }

    /// For programs.
    pub(super) fn json(&self, policies: &Policies) -> Value {
        let explained = policies.explain(&self.group, self.user.as_ref(), &self.rights);
        let answer = |(verdict, why): &(Verdict, String)| json!({"verdict": word(*verdict), "why": why});
        json!({
            "group": self.group.as_str(),
            "user": self.user.as_ref().map(UserId::as_str),
            "pattern": explained.policy.pattern.as_str(),
            "index": explained.index,
            "why": explained.why,
            "captures": explained.captures.iter().map(|(name, held)| (name.clone(), json!(held))).collect::<serde_json::Map<_, _>>(),
            "subscribe": answer(&explained.subscribe),
            "publish": answer(&explained.publish),
            "presence": answer(&explained.presence),
            "terms": explained.terms.iter().map(|(name, term)| ((*name).to_owned(), json!(term))).collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// The part of a token's claims that policies look at.
#[derive(serde::Deserialize)]
struct Claims {
    #[serde(default)]
    rights: Rights,
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "yes",
        Verdict::Refused => "no",
        Verdict::Ask => "the application decides",
    }
}
