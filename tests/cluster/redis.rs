//! A `redis-server` of a test's own, on a port that was free. `FANFARE_REDIS_SERVER` names another program, to try another version.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A server that ends when it is dropped.
pub struct RedisServer {
    pub port: u16,
    child: Option<Child>,
    dir: tempfile::TempDir,
    args: Vec<String>,
    /// A sentinel, with this configuration.
    sentinel: Option<String>,
}

/// Says which server the tests are to start; to the binary it is no setting.
pub const PROGRAM: &str = "FANFARE_REDIS_SERVER";

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// An empty server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with more arguments.
    pub fn with(args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { port: free_port(), child: None, dir: tempfile::tempdir().unwrap(), args, sentinel: None };
        server.run();
        server
    }

    /// Where a server will be that has not been started.
    pub fn absent() -> Self {
        Self { port: free_port(), child: None, dir: tempfile::tempdir().unwrap(), args: Vec::new(), sentinel: None }
    }

    /// A sentinel; its port and directory are added to the lines of its configuration.
    pub fn sentinel(lines: &str) -> Self {
        let mut server = Self::absent();
        server.sentinel = Some(lines.to_owned());
        server.run();
        server
    }

    /// Starts the server, at the port where it was.
    pub fn run(&mut self) {
        let program = std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned());
        let mut command = Command::new(program);
        let (port, dir) = (self.port.to_string(), self.dir.path());
        if let Some(lines) = &self.sentinel {
            let path = dir.join("sentinel.conf");
            std::fs::write(&path, format!("port {port}\nbind 127.0.0.1\ndir {}\n{lines}\n", dir.display())).unwrap();
            command.arg(path).arg("--sentinel");
        } else {
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(dir);
        }
        let child = command
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (scripts/test does it)");
        self.child = Some(child);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.addr()).is_err() {
            assert!(std::time::Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the server; what it had is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it with these arguments from now on.
    pub fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
    }

    pub fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Gives a command by hand, words separated by spaces, and returns the raw answer.
    pub fn ask(&self, command: &str) -> String {
        self.command(&command.split(' ').collect::<Vec<_>>())
    }

    /// The same with words in which there may be spaces.
    pub fn command(&self, words: &[&str]) -> String {
        let encoded: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        let mut answer = String::new();
        match self.exchange(&format!("*{}\r\n{encoded}", words.len()), &mut answer) {
            Ok(()) => {}
            // A server that changes its role cuts its clients off: what it said until then is its answer.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
            Err(error) => panic!("{words:?}: {error}"),
        }
        if self.sentinel.is_some() { answer } else { answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned() }
    }

    fn exchange(&self, command: &str, answer: &mut String) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.addr())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(command.as_bytes())?;
        if self.sentinel.is_some() {
            // It knows no QUIT.
            stream.shutdown(std::net::Shutdown::Write)?;
        } else {
            stream.write_all(b"*1\r\n$4\r\nQUIT\r\n")?;
        }
        stream.read_to_string(answer).map(drop)
    }

    /// The number that a command answers.
    pub fn number(&self, command: &str) -> i64 {
        self.ask(command).trim().trim_start_matches(':').parse().unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
