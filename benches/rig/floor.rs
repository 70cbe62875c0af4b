//! The floor: what the kernel takes for sending the bytes of a delivery to a TCP socket on loopback, and nothing else.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use fanfare::load::Process;

use super::{Options, pinned};

/// As many sockets as the WebSocket scenarios have.
const SOCKETS: usize = 1000;

/// A payload of 128 bytes and the smallest header of a server's WebSocket frame of that length.
const BYTES: [u8; 132] = [b'x'; 132];

/// As the quiet scenarios.
const ROUNDS_A_SECOND: u32 = 100;

/// How often all sockets are sent to.
const ROUNDS: u32 = 150;

/// One of the two processes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Role {
    /// Sends, and says what that cost.
    Sender,
    /// Reads and forgets.
    Reader,
}

/// CPU time of one send in µs.
pub(super) fn measure(options: &Options) -> anyhow::Result<f64> {
    let mut sender = start(options.server_core, Role::Sender)?;
    let mut lines = BufReader::new(sender.stdout.take().context("no output")?).lines();
    let port = lines.next().context("the sender ended")??;
    let mut reader = start(options.load_core, Role::Reader)?;
    reader.stdin.take().context("no input")?.write_all(port.as_bytes())?;
    let result = lines.next().context("the sender ended")??;
    ensure!(sender.wait()?.success() && reader.wait()?.success(), "the sender or the reader failed");
    Ok(result.parse()?)
}

fn start(core: usize, role: Role) -> anyhow::Result<Child> {
    let name = match role {
        Role::Sender => "sender",
        Role::Reader => "reader",
    };
    let own = std::env::current_exe()?;
    let mut command = pinned(&core.to_string(), &own.to_string_lossy());
    command.args(["--role", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().context("taskset (of util-linux) has to be there")
}

/// Does the work of one of the two processes.
pub(super) fn play(role: Role) -> anyhow::Result<()> {
    match role {
        Role::Sender => send(),
        Role::Reader => read(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn send() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let mut sockets = (0..SOCKETS).map(|_| Ok(listener.accept()?.0)).collect::<std::io::Result<Vec<_>>>()?;
    for socket in &sockets {
        socket.set_nodelay(true)?;
    }
    let (begin, before) = (Instant::now(), Process::own().usage()?.cpu);
    for round in 0..ROUNDS {
        let due = begin + Duration::from_secs(1) * round / ROUNDS_A_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for socket in &mut sockets {
            // It blocks if the reader falls far behind, which costs no CPU time.
            socket.write_all(&BYTES)?;
        }
    }
    let cpu = Process::own().usage()?.cpu.saturating_sub(before);
    println!("{}", cpu.as_secs_f64() * 1e6 / f64::from(ROUNDS) / SOCKETS as f64);
    Ok(())
}

fn read() -> anyhow::Result<()> {
    let mut port = String::new();
    std::io::stdin().read_to_string(&mut port)?;
    let port: u16 = port.trim().parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tasks = tokio::task::LocalSet::new();
    for _ in 0..SOCKETS {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nonblocking(true)?;
        tasks.spawn_local(drain(socket));
    }
    runtime.block_on(tasks);
    Ok(())
}

async fn drain(socket: TcpStream) -> std::io::Result<()> {
    let socket = tokio::net::TcpStream::from_std(socket)?;
    let mut buffer = [0; 4096];
    loop {
        socket.readable().await?;
        match socket.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
