//! Sockets that share a UDP port, and the program by which the kernel chooses among them.
//!
//! Owns the rule *worker = first byte of the destination connection ID mod workers*. Its invariant: the kernel's number of a socket within the group is the
//! worker's, because numbers are given in the order of binding and nobody else can bind the port meanwhile.

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

/// What is asked for to receive into, and to send from, for each socket.
///
/// 4 MiB are a tenth of a second at 300 Mbit/s: what a worker may be away for in a burst without losing packets. Linux gives no more than
/// `net.core.rmem_max` and `net.core.wmem_max`, which are 208 KiB by default.
pub const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The rule has one byte to tell workers apart.
pub const MAX_WORKERS: usize = 256;

/// Sockets on one port, for as many workers.
#[derive(Debug)]
pub struct Group {
    /// The socket of each worker by its number, or that of the one worker. When one of them is closed the others get other numbers, so they have to live and
    /// end together.
    pub sockets: Vec<UdpSocket>,
    /// How packets are dealt out to them.
    pub steering: Steering,
    /// The smallest receive buffer that was granted, in bytes, to be compared with [`BUFFER_BYTES`].
    pub receive_buffer: usize,
    /// The smallest send buffer that was granted, in bytes.
    pub send_buffer: usize,
    /// Where the sockets are bound, with the port that the kernel chose if 0 was asked for.
    pub local_addr: SocketAddr,
}

/// How packets find the worker that owns their connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steering {
    /// The kernel applies the rule.
    Bpf,
    /// One worker has the port for itself.
    OneWorker {
        /// Why, for the operator.
        reason: String,
    },
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bpf => f.write_str("by connection ID"),
            Self::OneWorker { reason } => write!(f, "one worker ({reason})"),
        }
    }
}

/// Why there are no sockets.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A number of workers that the rule can't serve.
    #[error("there can be 1 to {MAX_WORKERS} workers, not {workers}")]
    Workers {
        /// The number that was asked for.
        workers: usize,
    },
    /// The address is taken, or not ours, or not allowed.
    #[error("cannot listen on UDP {addr}: {source}")]
    Address {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel gives no socket, or not its state.
    #[error("cannot set up a UDP socket: {0}")]
    Socket(#[from] io::Error),
}

/// Binds a socket for each of `workers` to `addr`, and has the kernel deal packets out by connection ID. With port 0 the first socket decides.
///
/// Where the kernel does not take the program, only the first socket is kept and [`Group::steering`] says so: dealt out by address, as the kernel does
/// without it, a connection would be lost with its first change of address. An IPv6 wildcard also takes IPv4.
///
/// Packets that come while the group is being bound may be queued at a wrong worker. That one then owns the connection, and loses it if the client
/// repeats its first packet, as clients do; this lasts for some microseconds, at a time when nobody knows that there is a server.
///
/// # Errors
/// The address can't be had. Another process that shares its port is no way around that: the first socket asks for a port of its own.
pub fn bind(addr: SocketAddr, workers: usize) -> Result<Group, BindError> {
    if workers == 0 || workers > MAX_WORKERS {
        return Err(BindError::Workers { workers });
    }
    // The first socket shares its port only after it is bound, so that a port in use, by a second server for instance, is an error.
    let first = open(addr)?;
    bind_socket(&first, addr)?;
    let local_addr = first.local_addr()?.as_socket().expect("an IP socket has an IP address");
    let mut sockets = vec![first];
    let steering = match share(&mut sockets, local_addr, workers) {
        Ok(()) if workers == 1 => Steering::OneWorker { reason: "there is only one".into() },
        Ok(()) => Steering::Bpf,
        Err(Refusal::Bind(error)) => return Err(error),
        Err(Refusal::Program(error)) => {
            sockets.truncate(1);
            sockets[0].set_reuse_port(false)?;
            Steering::OneWorker { reason: format!("the kernel does not steer packets by connection ID: {error}") }
        }
    };
    let (receive_buffer, send_buffer) = buffers(&sockets)?;
    Ok(Group { sockets: sockets.into_iter().map(UdpSocket::from).collect(), steering, receive_buffer, send_buffer, local_addr })
}

/// Why the others can't join the first socket.
enum Refusal {
    Bind(BindError),
    Program(io::Error),
}

fn share(sockets: &mut Vec<Socket>, addr: SocketAddr, workers: usize) -> Result<(), Refusal> {
    if workers == 1 {
        return Ok(());
    }
    sockets[0].set_reuse_port(true).map_err(Refusal::Program)?;
    for _ in 1..workers {
        let socket = open(addr).map_err(|error| Refusal::Bind(error.into()))?;
        socket.set_reuse_port(true).map_err(Refusal::Program)?;
        bind_socket(&socket, addr).map_err(Refusal::Bind)?;
        sockets.push(socket);
    }
    attach(&sockets[0], u32::try_from(workers).expect("there are at most 256 workers")).map_err(Refusal::Program)
}

fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Less than this is granted without an error; what was granted is asked for afterwards.
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    Ok(socket)
}

fn bind_socket(socket: &Socket, addr: SocketAddr) -> Result<(), BindError> {
    socket.bind(&addr.into()).map_err(|source| BindError::Address { addr, source })
}

/// The smallest receive and send buffers. Linux tells twice what it granted, for its own overhead (socket(7)).
fn buffers(sockets: &[Socket]) -> io::Result<(usize, usize)> {
    let overhead = if cfg!(target_os = "linux") { 2 } else { 1 };
    sockets.iter().try_fold((usize::MAX, usize::MAX), |(receive, send), socket| {
        Ok((receive.min(socket.recv_buffer_size()? / overhead), send.min(socket.send_buffer_size()? / overhead)))
    })
}

/// Gives the group of sockets that `member` is in the program that chooses among `workers`.
///
/// It sees a datagram from the first byte of its payload. A byte that isn't there ends it with 0, so the first worker gets, and drops, what is shorter than a
/// header. Headers as in RFC 8999, which all versions of QUIC share.
#[cfg(target_os = "linux")]
fn attach(member: &Socket, workers: u32) -> io::Result<()> {
    use std::os::fd::AsFd as _;

    use libc::{BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_JA, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_MOD, BPF_RET, sock_filter};

    /// This bit of the first byte is set in long headers (RFC 8999, section 5.1).
    const LONG_HEADER: u32 = 0x80;
    /// After flags, version and the ID's length.
    const ID_IN_LONG_HEADER: u32 = 6;
    /// After flags (RFC 8999, section 5.2).
    const ID_IN_SHORT_HEADER: u32 = 1;

    let op = |code: u32, jump_if: u8, jump_else: u8, operand: u32| sock_filter {
        code: u16::try_from(code).expect("BPF opcodes are 16 bits"),
        jt: jump_if,
        jf: jump_else,
        k: operand,
    };
    let mut program = [
        op(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        op(BPF_JMP | BPF_JSET | BPF_K, 0, 2, LONG_HEADER),
        op(BPF_LD | BPF_B | BPF_ABS, 0, 0, ID_IN_LONG_HEADER),
        op(BPF_JMP | BPF_JA, 0, 0, 1),
        op(BPF_LD | BPF_B | BPF_ABS, 0, 0, ID_IN_SHORT_HEADER),
        op(BPF_ALU | BPF_MOD | BPF_K, 0, 0, workers),
        op(BPF_RET | BPF_A, 0, 0, 0),
    ];
    super::kernel::steer(member.as_fd(), &mut program)
}

#[cfg(not(target_os = "linux"))]
fn attach(_member: &Socket, _workers: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    const LOCALHOST: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    /// A datagram of a long header with this first byte of the destination connection ID, and one of a short one.
    fn datagrams(id: u8, tag: u8) -> [Vec<u8>; 2] {
        [vec![0xc0, 0, 0, 0, 1, 8, id, tag, 2, 3, 4, 5, 6, 7], vec![0x40, id, tag, 2, 3, 4, 5, 6]]
    }

    /// Takes everything out of the sockets until all of `expected` has come, and tells which socket got what.
    fn received(group: &Group, expected: usize) -> HashSet<(usize, Vec<u8>)> {
        let mut all = HashSet::new();
        for (worker, socket) in group.sockets.iter().enumerate() {
            socket.set_nonblocking(false).unwrap();
            // Loopback has queued a datagram when `send_to` returns, so this only ends the loop.
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut buffer = [0; 64];
            while let Ok(len) = socket.recv(&mut buffer) {
                all.insert((worker, buffer[..len].to_vec()));
            }
        }
        assert_eq!(all.len(), expected);
        all
    }

    #[test]
    fn the_kernel_deals_out_by_the_first_byte_of_the_connection_id_whatever_the_address() {
        for addr in LOCALHOST {
            for workers in [2, 3, 4] {
                let group = bind(addr.parse().unwrap(), workers).unwrap();
                assert_eq!(group.steering, Steering::Bpf);
                for tag in 0..2 {
                    let client = UdpSocket::bind(addr).unwrap();
                    for datagram in (0..=255).flat_map(|id| datagrams(id, tag)) {
                        client.send_to(&datagram, group.local_addr).unwrap();
                    }
                }
                for (worker, datagram) in received(&group, 2 * 2 * 256) {
                    let id = if datagram[0] & 0x80 == 0 { datagram[1] } else { datagram[6] };
                    assert_eq!(worker, usize::from(id) % workers, "{addr}, {workers} workers, {datagram:02x?}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_short_for_a_header_goes_to_the_first_worker() {
        let group = bind(LOCALHOST[0].parse().unwrap(), 4).unwrap();
        let client = UdpSocket::bind(LOCALHOST[0]).unwrap();
        let short: [&[u8]; 4] = [&[], &[0x40], &[0xc3], &[0xc3, 0, 0, 0, 1, 8]];
        for datagram in short {
            client.send_to(datagram, group.local_addr).unwrap();
        }
        assert_eq!(received(&group, short.len()), short.into_iter().map(|datagram| (0, datagram.to_vec())).collect());
    }

    #[test]
    fn one_worker_has_the_port_for_itself() {
        let group = bind(LOCALHOST[0].parse().unwrap(), 1).unwrap();
        assert_eq!(group.sockets.len(), 1);
        assert!(matches!(group.steering, Steering::OneWorker { .. }));
        assert!(!Socket::from(group.sockets[0].try_clone().unwrap()).reuse_port().unwrap());
    }

    #[test]
    fn a_port_in_use_is_an_error_even_if_its_user_would_share_it() {
        for workers in [1, 3] {
            let first = bind(LOCALHOST[0].parse().unwrap(), 2).unwrap();
            let error = bind(first.local_addr, workers).unwrap_err();
            assert!(matches!(error, BindError::Address { ref source, .. } if source.kind() == io::ErrorKind::AddrInUse), "{error}");
        }
    }

    #[test]
    fn there_are_as_many_sockets_as_workers_and_buffers_are_told() {
        for workers in [1, 5, 256] {
            let group = bind(LOCALHOST[0].parse().unwrap(), workers).unwrap();
            assert_eq!(group.sockets.len(), workers);
            assert!((1..=BUFFER_BYTES).contains(&group.receive_buffer), "{}", group.receive_buffer);
            assert!((1..=BUFFER_BYTES).contains(&group.send_buffer), "{}", group.send_buffer);
        }
        for workers in [0, 257] {
            assert!(matches!(bind(LOCALHOST[0].parse().unwrap(), workers), Err(BindError::Workers { .. })));
        }
    }
}
