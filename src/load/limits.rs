//! How many files this process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Error;

/// Files besides connections: standard streams, the poller, `/proc`, libraries.
const OTHERS: u64 = 64;

/// Makes room for so many connections, by raising the soft limit if need be.
///
/// # Errors
/// The hard limit is below; the error says how to raise it.
pub fn make_room(connections: usize) -> Result<(), Error> {
    // Time's own timers, and for each WebTransport connection one socket too: one file a connection in any case.
    let needed = connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum };
    if maximum.is_none_or(|maximum| maximum >= needed) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(Error::OpenFiles { needed, allowed: maximum.unwrap_or(u64::MAX) })
}
