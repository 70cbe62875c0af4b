//! The command line, one file a subcommand.
//!
//! Turns arguments into calls and results into words and exit codes: 0 fine, 1 failed while running, 2 usage or configuration, 3 can't bind or reach a dependency. The only room that prints and that reads the
//! process's environment.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line is for")]

mod cert;
mod certificates;
mod check_config;
mod doctor;
mod explain;
mod load;
mod options;
mod reloading;
mod send;
mod serve;
mod started;
mod state;
mod tail;
mod token;

use std::process::ExitCode;

use crate::auth::{Secret, dev_key};

/// What fanfare can be told to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Start a server for development: demo page, certificate and key of its own, everything on loopback
    Dev(options::ServerOptions),
    /// Start a server for production: unsafe settings are refused
    Serve(options::ServerOptions),
    /// Send a message, notification, file or other event to a group or user
    Send(send::Send),
    /// Print a group's events as they come
    Tail(tail::Tail),
    /// Load a server with subscribers and messages, and account for every delivery
    Load(Box<load::Load>),
    /// Make and show the development certificate
    Cert(cert::Cert),
    /// Make a token for a user
    Token(token::Token),
    /// Show each setting and where it comes from, or what is wrong with it
    CheckConfig(check_config::CheckConfig),
    /// Look at everything that a server needs, and say what to do about what is wrong
    Doctor(doctor::Doctor),
}

/// Why a command failed, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It failed while running.
    fn running(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    /// It was asked for wrongly, or is configured wrongly.
    fn usage(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: 2 }
    }

    /// An address can't be had, or something else can't be reached.
    fn unreachable(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: 3 }
    }
}

impl Command {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        // reqwest takes the process's provider of cryptography. It is already set if something else has done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let result = match self {
            Self::Dev(options) => serve::run(crate::config::Mode::Dev, &options),
            Self::Serve(options) => serve::run(crate::config::Mode::Serve, &options),
            Self::Send(send) => block_on(send.run()),
            Self::Tail(tail) => block_on(tail.run()),
            Self::Load(load) => block_on(load.run()),
            Self::Cert(cert) => cert.run(),
            Self::Token(token) => token.run(),
            Self::CheckConfig(check) => check.run(),
            Self::Doctor(doctor) => doctor.run(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("fanfare: {failure}");
                ExitCode::from(failure.code)
            }
        }
    }
}

fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    runtime.block_on(task)
}

/// A variable of the environment that is set to something.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The API key that was given, or the one of a development server on this machine.
fn api_key(given: Option<String>) -> Result<Secret, Failure> {
    if let Some(key) = given.or_else(|| env("FANFARE_API_KEY")) {
        return Ok(Secret::new(key));
    }
    let cure = "start `fanfare dev` on this machine, or set --api-key or FANFARE_API_KEY";
    let path = dev_key::default_path(env).ok_or_else(|| Failure::usage(format!("there is no API key: {cure}")))?;
    dev_key::load(&path).map_err(|error| Failure::usage(format!("there is no API key in {} ({error}): {cure}", path.display())))
}
