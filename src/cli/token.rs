//! `fanfare token`: a token for a user, as the application would make it.

use super::{Failure, env};
use crate::{
    auth::{Secret, issue},
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
        let secret = self.secret.clone().or_else(|| env("FANFARE_AUTH__HMAC_SECRET"));
        let secret = secret.ok_or_else(|| {
            Failure::usage("there is no secret: set --secret or FANFARE_AUTH__HMAC_SECRET to the server's auth.hmac_secret")
        })?;
        let token = issue(&Secret::new(secret), &user, wall_clock_ms() / 1000 + self.ttl, &groups).map_err(Failure::running)?;
        println!("{token}");
        Ok(())
    }
}
