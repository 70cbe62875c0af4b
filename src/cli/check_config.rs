//! `fanfare check-config`: what is in force, where it comes from, and what is wrong.

use serde_json::json;

use super::{Failure, explain::Question, options::ServerOptions};
use crate::config::Mode;

/// Checks without starting anything.
#[derive(Debug, clap::Args)]
pub struct CheckConfig {
    #[command(flatten)]
    options: ServerOptions,
    /// Check for `dev` instead of `serve`
    #[arg(long)]
    dev: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Say which policy a group has, why, and what somebody may do there: group=NAME, and user=NAME (without: an anonymous session), claims=JSON (what the token would have besides)
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..=3, value_parser = super::options::key_value)]
    explain: Vec<(String, String)>,
}

impl CheckConfig {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = self.options.load(if self.dev { Mode::Dev } else { Mode::Serve })?;
        config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        if !self.explain.is_empty() {
            let question = Question::new(&self.explain)?;
            println!("{}", if self.json { question.json(&config.policies).to_string() } else { question.text(&config.policies) });
            return Ok(());
        }
        if self.json {
            let rows: Vec<_> = config
                .shown
                .iter()
                .map(|shown| json!({"key": shown.key, "value": shown.value, "origin": shown.origin.to_string()}))
                .collect();
            println!("{}", json!(rows));
            return Ok(());
        }
        let width = config.shown.iter().map(|shown| shown.key.len()).max().unwrap_or(0);
        for shown in &config.shown {
            println!("{:<width$}  {:<24}  {}", shown.key, shown.value, shown.origin);
        }
        println!("the configuration is fine");
        Ok(())
    }
}
