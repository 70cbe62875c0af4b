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

/// As many sockets as most WebSocket scenarios have.
pub(crate) const SOCKETS: usize = 1000;

/// A payload of 128 bytes and the smallest header of a server's WebSocket frame of that length.
const BYTES: [u8; 132] = [b'x'; 132];

/// As in the quiet scenarios, and in those of growth.
const SENDS_A_SECOND: usize = 100_000;

/// Sends of one measurement.
const SENDS: usize = 150_000;

/// One of the two processes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Role {
    /// Sends, and says what that cost.
    Sender,
    /// Reads and forgets.
    Reader,
}

/// CPU time of one send in µs, with so many sockets.
pub(super) fn measure(options: &Options, sockets: usize) -> anyhow::Result<f64> {
    let mut sender = start(options.server_core, Role::Sender, sockets)?;
    let mut lines = BufReader::new(sender.stdout.take().context("no output")?).lines();
    let port = lines.next().context("the sender ended")??;
    let mut reader = start(options.load_core, Role::Reader, sockets)?;
    reader.stdin.take().context("no input")?.write_all(port.as_bytes())?;
    let result = lines.next().context("the sender ended")??;
    ensure!(sender.wait()?.success() && reader.wait()?.success(), "the sender or the reader failed");
    Ok(result.parse()?)
}

fn start(core: usize, role: Role, sockets: usize) -> anyhow::Result<Child> {
    let name = match role {
        Role::Sender => "sender",
        Role::Reader => "reader",
    };
    let own = std::env::current_exe()?;
    let mut command = pinned(&core.to_string(), &own.to_string_lossy());
    command.args(["--role", name, "--sockets", &sockets.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().context("taskset (of util-linux) has to be there")
}

/// Does the work of one of the two processes.
pub(super) fn play(role: Role, sockets: usize) -> anyhow::Result<()> {
    fanfare::load::make_room(sockets)?;
    match role {
        Role::Sender => send(sockets),
        Role::Reader => read(sockets),
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn send(count: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let mut sockets = (0..count).map(|_| Ok(listener.accept()?.0)).collect::<std::io::Result<Vec<_>>>()?;
    for socket in &sockets {
        socket.set_nodelay(true)?;
    }
    let (begin, before) = (Instant::now(), Process::own().usage()?.cpu);
    for round in 0..SENDS / count {
        let due = begin + Duration::from_secs_f64((round * count) as f64 / SENDS_A_SECOND as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for socket in &mut sockets {
            // It blocks if the reader falls far behind, which costs no CPU time.
            socket.write_all(&BYTES)?;
        }
    }
    let cpu = Process::own().usage()?.cpu.saturating_sub(before);
    println!("{}", cpu.as_secs_f64() * 1e6 / (SENDS / count * count) as f64);
    Ok(())
}

fn read(count: usize) -> anyhow::Result<()> {
    let mut port = String::new();
    std::io::stdin().read_to_string(&mut port)?;
    let port: u16 = port.trim().parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tasks = tokio::task::LocalSet::new();
    for _ in 0..count {
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
