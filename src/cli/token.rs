//! `fanfare token`: a token for a user, as the application would make it.

use super::{Failure, env};
use crate::{
    auth::{Secret, issue},
    policy::Rights,
    protocol::{GroupName, UserId},
    server::wall_clock_ms,
};

/// Makes a token.
#[derive(Debug, clap::Args)]
pub struct Token {
    /// The user
    #[arg(long)]
    user: String,
    /// A group that the user follows without asking; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Groups that the user may follow where a policy says `claim`, such as team_*; may be repeated
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Groups that the user may publish to; may be repeated
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// Groups in which the user may ask who is there without following them; may be repeated
    #[arg(long, value_name = "PATTERN")]
    presence: Vec<String>,
    /// For how many seconds it is good
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    ttl: u64,
    /// What the server's auth.hmac_secret is set to [environment: FANFARE_AUTH__HMAC_SECRET]
    #[arg(long)]
    secret: Option<String>,
}

impl Token {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let user = UserId::parse(&self.user).map_err(|error| Failure::usage(format!("--user: {error}")))?;
        let group = |name: &String| GroupName::parse(name).map_err(|error| Failure::usage(format!("--group: {error}")));
        let groups: Vec<_> = self.groups.iter().map(group).collect::<Result<_, _>>()?;
        let rights = Rights::new(&self.subscribe, &self.publish, &self.presence).map_err(|error| Failure::usage(error.to_string()))?;
        let secret = self.secret.clone().or_else(|| env("FANFARE_AUTH__HMAC_SECRET"));
        let secret = secret.ok_or_else(|| {
            Failure::usage("there is no secret: set --secret or FANFARE_AUTH__HMAC_SECRET to the server's auth.hmac_secret")
        })?;
        let token = issue(&Secret::new(secret), &user, wall_clock_ms() / 1000 + self.ttl, &groups, &rights).map_err(Failure::running)?;
        println!("{token}");
        Ok(())
    }
}
