//! Two calls of the kernel that no crate wraps safely. The only unsafe code of the server.

#![expect(unsafe_code, reason = "nothing that we use wraps SO_ATTACH_REUSEPORT_CBPF or sendmmsg(2)")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use libc::{c_int, c_void, cmsghdr};
use socket2::SockAddr;

/// Most packets of one [`send_many`]. It shares what a call costs by itself among them, so more would bring next to nothing.
pub(super) const PACKETS: usize = 32;

/// Whether there is [`send_many`].
pub(super) const SENDS_MANY: bool = cfg!(target_os = "linux");

/// Gives the group of sockets that `member` is in the program that chooses among them (socket(7), `SO_ATTACH_REUSEPORT_CBPF`).
///
/// # Errors
/// The kernel does not take it.
#[cfg(target_os = "linux")]
pub(super) fn steer(member: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> io::Result<()> {
    use libc::{c_ushort, sock_fprog, socklen_t};

    let len = c_ushort::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    let size = socklen_t::try_from(size_of::<sock_fprog>()).expect("two words");
    // SAFETY: the descriptor is open, as it is borrowed. The option's value is a `sock_fprog` of `size` bytes whose `filter` points to `len` instructions; all of it lives in this
    // frame or its caller's until the call returns, and the kernel checks and copies it before that and writes to none of it.
    let result = unsafe {
        libc::setsockopt(member.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, (&raw const program).cast(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends at most [`PACKETS`] packets, each with the same control messages, and says how many of them the kernel took (sendmmsg(2)).
///
/// # Errors
/// The kernel took not even the first one.
#[cfg(target_os = "linux")]
pub(super) fn send_many<'a>(
    socket: BorrowedFd<'_>,
    control: &Control,
    packets: impl Iterator<Item = (&'a SockAddr, &'a [u8])>,
) -> io::Result<usize> {
    use libc::{c_uint, iovec, mmsghdr, msghdr};

    // SAFETY: of both structures a value of zeros is valid: null pointers with lengths of 0.
    let (mut headers, mut contents): ([mmsghdr; PACKETS], [iovec; PACKETS]) = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for ((to, bytes), (header, content)) in packets.zip(headers.iter_mut().zip(&mut contents)) {
        *content = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_hdr = msghdr {
            msg_name: to.as_ptr().cast_mut().cast(),
            msg_namelen: to.len(),
            msg_iov: content,
            msg_iovlen: 1,
            msg_control: control.bytes.as_ptr().cast_mut().cast::<c_void>(),
            msg_controllen: control.len as _,
            ..header.msg_hdr
        };
        count += 1;
    }
    // SAFETY: the descriptor is open, as it is borrowed. The first `count` headers point to an address, one piece of contents, and control messages with their lengths, all of which
    // are borrowed until the call returns; for sending the kernel only reads them. It writes to `msg_len` of the headers, which are ours.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as c_uint, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Elsewhere packets go one by one.
#[cfg(not(target_os = "linux"))]
pub(super) fn send_many<'a>(_: BorrowedFd<'_>, _: &Control, _: impl Iterator<Item = (&'a SockAddr, &'a [u8])>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Control messages of a packet (cmsg(3)), as the kernel wants them.
#[derive(Debug)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; 128],
    len: usize,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; 128], len: 0 }
    }

    /// Adds a message. There is room for four of 16 bytes.
    pub(super) fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let header = size_of::<cmsghdr>();
        let len = header + data.len();
        let message = &mut self.bytes[self.len..][..len];
        // The header is the length, as wide as a `size_t`, and two `int`s.
        let (width, rest) = message.split_at_mut(size_of::<usize>());
        width.copy_from_slice(&len.to_ne_bytes());
        rest[..4].copy_from_slice(&level.to_ne_bytes());
        rest[4..8].copy_from_slice(&kind.to_ne_bytes());
        message[header..].copy_from_slice(data);
        self.len += len.next_multiple_of(align_of::<usize>());
    }
}
