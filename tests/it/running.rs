//! The binary, running.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for anything here; only a failure takes that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn fanfare(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    // Nothing of the caller's environment, so that neither a key nor a setting leaks in.
    command.env_clear().env("HOME", home).env("FANFARE_TLS__DEVELOPMENT", home.join("certs")).current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A `fanfare dev` on ports that the kernel chose; killed when dropped.
pub struct Running {
    pub home: tempfile::TempDir,
    pub child: Child,
    pub http: String,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        Self::start_at(tempfile::tempdir().unwrap(), args)
    }

    /// The same in a home where there may be something already.
    pub fn start_at(home: tempfile::TempDir, args: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let mut child = fanfare(home.path()).args(["dev", "--http", any, "--secure", any, "--quic", any]).args(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let http =
            lines.find_map(|line| line.trim_start().strip_prefix("HTTP ").map(str::trim).map(str::to_owned)).expect("an HTTP listener");
        let http = http.split(' ').next().unwrap().to_owned();
        // The last line is printed when everything listens.
        assert!(lines.any(|line| line.contains(" send notification sales_team ")));
        Self { home, child, http }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = fanfare(self.home.path());
        command.args(args).args(["--url", &self.http]);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The key that `fanfare dev` made for this home.
    pub fn key(&self) -> String {
        let path =
            fanfare::auth::dev_key::default_path(|name| (name == "HOME").then(|| self.home.path().to_str().unwrap().to_owned())).unwrap();
        fanfare::auth::dev_key::load(&path).unwrap().expose().to_owned()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Asks for the metrics until events have been delivered.
    pub fn until_it_has_delivered(&self) {
        let end = Instant::now() + PATIENCE;
        while self.metric("fanfare_events_delivered_total") == 0 {
            assert!(Instant::now() < end, "nothing is delivered");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a metric that counts says now; 0 if it has never been counted.
    pub fn metric(&self, name: &str) -> u64 {
        let answer = self.asked("/metrics");
        let found = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0)
    }

    /// The whole answer to a GET.
    pub fn asked(&self, path: &str) -> String {
        self.said(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    /// The whole answer to a request that asks for the connection to be closed.
    pub fn said(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.http.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `fanfare load` against the server, and gives its report if it ended with `code`.
pub fn loaded(server: &Running, args: &[&str], code: i32) -> fanfare::load::Report {
    let output = server.run(&[&["load", "--json"], args].concat());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words} {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}
