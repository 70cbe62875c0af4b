//! The server under test, in a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use anyhow::Context as _;

use super::pinned;

/// A `fanfare dev` with one worker on one core and ports that the kernel chose; killed when dropped.
pub(super) struct Server {
    pub home: tempfile::TempDir,
    pub url: String,
    child: Child,
}

impl Server {
    pub(super) fn start(core: usize) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let any = "127.0.0.1:0";
        let mut command = pinned(core, env!("CARGO_BIN_EXE_fanfare"));
        command.args(["dev", "--workers", "1", "--http", any, "--secure", any, "--quic", any]);
        command.env("HOME", home.path()).env("FANFARE_TLS__DEVELOPMENT", home.path().join("certs"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("taskset")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines().map_while(Result::ok);
        let line = lines.find(|line| line.trim_start().starts_with("HTTP ")).context("the server did not start")?;
        let url = line.split_whitespace().nth(1).context("no address")?.to_owned();
        lines.find(|line| line.contains(" send notification ")).context("the server did not start")?;
        Ok(Self { home, url, child })
    }

    /// `taskset` becomes the server, so this is the server's own number.
    pub(super) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
