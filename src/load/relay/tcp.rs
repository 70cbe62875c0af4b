//! The relay of TCP. Loss shows as it does above TCP: what comes after it waits too.

use std::{collections::VecDeque, future::pending, io, net::TcpListener as StdListener, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

use super::{Link, World, faults::LONGEST_QUEUE};

/// Read at once: about what a few packets hold, so that loss hits a part of a burst.
const PIECE: usize = 4 * 1024;

/// Bytes on their way in one direction of a connection before its sender has to wait.
const UNDER_WAY: usize = 1 << 20;

/// Serves until it is dropped.
///
/// # Errors
/// The listener fails.
pub(super) async fn serve(listener: StdListener, world: World) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    for nth in 0u64.. {
        let (client, _) = listener.accept().await?;
        connections.spawn_local(connection(client, world.clone(), nth));
        while connections.try_join_next().is_some() {}
    }
    Ok(())
}

async fn connection(client: TcpStream, world: World, nth: u64) {
    // The end of one side is the end of the other; there is nobody to tell why.
    let Ok(server) = TcpStream::connect(world.server).await else { return };
    let nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if nodelay.is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let up = pump(from_client, to_server, world.link(nth * 2), &world);
    let down = pump(from_server, to_client, world.link(nth * 2 + 1), &world);
    let _ = tokio::try_join!(up, down);
}

/// Carries one direction until its end, which it passes on.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: Link, world: &World) -> io::Result<()> {
    let mut on_the_way: VecDeque<(Duration, Vec<u8>)> = VecDeque::new();
    let (mut under_way, mut ended) = (0, false);
    let mut buffer = vec![0; PIECE];
    loop {
        let first = on_the_way.front().map(|(due, _)| *due);
        let last = on_the_way.back().map_or(Duration::ZERO, |(due, _)| *due);
        let full = under_way >= UNDER_WAY || (world.faults.bandwidth.is_some() && last > world.now() + LONGEST_QUEUE);
        let due = async {
            match first {
                Some(due) => tokio::time::sleep_until((world.begin + due).into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {
                let (_, piece) = on_the_way.pop_front().unwrap_or_default();
                under_way -= piece.len();
                to.write_all(&piece).await?;
            }
            read = from.read(&mut buffer), if !ended && !full => {
                let len = read?;
                ended = len == 0;
                let (due, lost) = link.piece(world.now(), len);
                if len > 0 {
                    if lost { world.counters.lost() } else { world.counters.passed() }
                    under_way += len;
                    on_the_way.push_back((due, buffer[..len].to_vec()));
                }
            }
        }
        if ended && on_the_way.is_empty() {
            return to.shutdown().await;
        }
    }
}
