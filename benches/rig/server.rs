//! Servers under test, each in a process of its own with a folder of its own.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use fanfare::load::Process;

use super::pinned;

/// Longest time from start to listening; Python with all its imports on a busy machine.
const START: Duration = Duration::from_secs(30);

/// How long a server may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(5);

/// How a server is started and talked to. In all texts these places are filled in: `{port}` to `{port4}`, on which nobody listens;
/// `{home}`, an empty folder; `{peers}`, where other servers are installed; `{files}`, the folder of their configurations; `{redis}`, the
/// port of Redis; `{rate}`, of this server; `{bench}`, the bench itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub name: &'static str,
    /// A file that is there where it is installed.
    pub needs: &'static str,
    /// Program and arguments. It has to stay in the foreground and listen on `{port}`.
    pub command: &'static [&'static str],
    pub environment: &'static [(&'static str, &'static str)],
    /// A file in `{files}` that is filled in and put into `{home}`.
    pub config: Option<&'static str>,
    /// Messages a second in the quiet scenarios.
    pub rate: &'static str,
    /// Whether it needs a Redis, which is started on the same core.
    pub redis: bool,
    /// Another node, that listens on `{port3}`, on the same core; empty: none.
    pub beside: &'static [&'static str],
    /// Which cores it may use, such as `0-1`; none: the one that the options say.
    pub cores: Option<&'static str>,
    /// Arguments of `fanfare load` for this server.
    pub load: &'static [&'static str],
}

/// One worker, and otherwise as people start it to try it.
pub(crate) const FANFARE: Server = Server {
    name: "fanfare",
    needs: env!("CARGO_BIN_EXE_fanfare"),
    #[rustfmt::skip]
    command: &[
        env!("CARGO_BIN_EXE_fanfare"), "dev", "--workers", "1",
        "--http", "127.0.0.1:{port}", "--secure", "127.0.0.1:{port2}", "--quic", "127.0.0.1:{port2}",
    ],
    environment: &[("FANFARE_TLS__DEVELOPMENT", "{home}/certs")],
    config: None,
    rate: "100",
    redis: false,
    beside: &[],
    cores: None,
    load: &["--url", "http://127.0.0.1:{port}"],
};

impl Server {
    /// Whether it can be started here.
    pub(crate) fn is_installed(&self) -> bool {
        Path::new(&fill(self.needs, &[("{peers}", PEERS.to_owned())])).exists()
    }
}

/// CPU time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    pub server: Duration,
    pub redis: Option<Duration>,
    pub beside: Option<Duration>,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        let since = |now: Option<Duration>, before: Option<Duration>| Some(now?.saturating_sub(before?));
        let (redis, beside) = (since(self.redis, before.redis), since(self.beside, before.beside));
        Self { server: self.server.saturating_sub(before.server), redis, beside }
    }

    /// Of all of them together.
    pub(crate) fn sum(self) -> Duration {
        self.server + self.redis.unwrap_or_default() + self.beside.unwrap_or_default()
    }
}

/// A server that listens; ends when dropped.
pub(crate) struct Running {
    home: tempfile::TempDir,
    places: Vec<(&'static str, String)>,
    /// The server, its Redis and the node beside it, as far as there are.
    children: [Option<Child>; 3],
}

impl Running {
    pub(crate) fn start(server: &Server, core: usize) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let mut places = places(home.path())?;
        places.push(("{rate}", server.rate.to_owned()));
        if let Some(file) = server.config {
            let template = std::fs::read_to_string(Path::new(FILES).join(file)).with_context(|| format!("{FILES}/{file}"))?;
            std::fs::write(home.path().join(file), fill(&template, &places))?;
        }
        let cores = server.cores.map_or_else(|| core.to_string(), str::to_owned);
        // What has been started is ended also if the rest can't be.
        let mut running = Self { home, places, children: [const { None }; 3] };
        let redis = if server.redis { REDIS } else { &[] };
        for (nth, command, port) in [(1, redis, "{redis}"), (0, server.command, "{port}"), (2, server.beside, "{port3}")] {
            if !command.is_empty() {
                running.children[nth] = Some(spawn(&running.places, &cores, command, server.environment, port)?);
            }
        }
        Ok(running)
    }

    /// `taskset` becomes the server, so this is the server's own number.
    pub(crate) fn pid(&self) -> String {
        self.children[0].as_ref().map_or_else(String::new, |server| server.id().to_string())
    }

    /// Kills the server, as a failure of its machine would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let mut server = self.children[0].take().context("the server has been killed already")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The texts with their places filled in.
    pub(crate) fn filled(&self, texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| fill(text, &self.places)).collect()
    }

    /// What it, its Redis and the node beside it have used up to now; a server that was killed has used nothing.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let used =
            |child: &Option<Child>| child.as_ref().map(|child| Ok::<_, std::io::Error>(Process(child.id()).usage()?.cpu)).transpose();
        let [server, redis, beside] = &self.children;
        Ok(Cpu { server: used(server)?.unwrap_or_default(), redis: used(redis)?, beside: used(beside)? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Redis last, so that nodes can say goodbye to it.
        for nth in [0, 2, 1] {
            self.children[nth].as_mut().map(end);
        }
    }
}

/// Nothing is kept on a disk, as the layers of Django Channels need nothing of that.
const REDIS: &[&str] = &[
    "redis-server",
    "--port",
    "{redis}",
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--dir",
    "{home}",
    "--loglevel",
    "warning",
];

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/servers");

/// Where other servers are installed.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers");

fn places(home: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    // Held together, so that they differ.
    let listeners = (0..5).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    let mut places = vec![("{home}", home.to_string_lossy().into_owned()), ("{peers}", PEERS.into()), ("{files}", FILES.into())];
    places.push(("{bench}", std::env::current_exe()?.to_string_lossy().into_owned()));
    for (name, listener) in ["{port}", "{port2}", "{port3}", "{port4}", "{redis}"].into_iter().zip(listeners) {
        places.push((name, listener.local_addr()?.port().to_string()));
    }
    Ok(places)
}

fn fill(text: &str, places: &[(&'static str, String)]) -> String {
    places.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Starts a command and waits until it listens on the port.
fn spawn(
    places: &[(&'static str, String)],
    cores: &str,
    command: &[&str],
    environment: &[(&str, &str)],
    port: &str,
) -> anyhow::Result<Child> {
    let [program, arguments @ ..] = command else { bail!("a server needs a program") };
    let log = std::fs::File::options().create(true).append(true).open(fill("{home}/log", places))?;
    let mut pinned = pinned(cores, &fill(program, places));
    pinned.args(arguments.iter().map(|argument| fill(argument, places))).env("HOME", fill("{home}", places));
    pinned.envs(environment.iter().map(|(name, value)| (*name, fill(value, places))));
    let mut child = pinned.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("taskset (of util-linux)")?;
    listening(&mut child, fill(port, places).parse()?).with_context(|| {
        end(&mut child);
        std::fs::read_to_string(fill("{home}/log", places)).unwrap_or_default()
    })?;
    Ok(child)
}

#[expect(clippy::disallowed_methods, reason = "another program is started, which says nothing when it is ready")]
fn listening(child: &mut Child, port: u16) -> anyhow::Result<()> {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(child.try_wait()?.is_none(), "the server ended at its start");
        ensure!(begin.elapsed() < START, "the server does not listen on {port} after {START:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks first, so that a server can end its own children; kills it if it doesn't listen to that.
#[expect(clippy::disallowed_methods, reason = "a program that does not end is not waited for for ever")]
fn end(child: &mut Child) {
    let begin = Instant::now();
    let asked = Command::new("kill").arg(child.id().to_string()).status().is_ok_and(|status| status.success());
    while asked && begin.elapsed() < STOP {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
