//! The UDP socket of an endpoint: many datagrams a call in both directions (`recvmmsg`, and segmentation and aggregation by the kernel where it has them).

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

use super::batch::Batch;

/// Longest datagram that is sent to us: the largest payload that our transport parameters allow (quinn's default, an Ethernet frame).
const MAX_DATAGRAM: usize = 1472;

/// Datagrams that go to one client by one call: the kernel takes no more than 64 KiB, and a client's fair share of a turn is less.
const MAX_SEGMENTS: usize = 16;

/// See the [module](self).
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Bound to all addresses of the machine, so that each answer has to say from which it comes.
    any_address: bool,
}

/// A datagram that came.
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) data: BytesMut,
}

impl Socket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let any_address = socket.local_addr()?.ip().is_unspecified();
        Ok(Self { io: UdpSocket::from_std(socket)?, state, any_address })
    }

    /// What [`Socket::poll_receive`] reads a batch into.
    pub(super) fn receive_buffer(&self) -> Box<[u8]> {
        vec![0; MAX_DATAGRAM * self.state.gro_segments() * BATCH_SIZE].into_boxed_slice()
    }

    /// Whether the kernel may cut our datagrams, so that their size says nothing about the path.
    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Datagrams that one [`Transmit`] may hold.
    pub(super) fn max_segments(&self) -> usize {
        self.state.max_gso_segments().min(MAX_SEGMENTS)
    }

    /// Gives each datagram of one batch to `each`.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8], mut each: impl FnMut(Received)) -> Poll<io::Result<()>> {
        let Self { io, state, .. } = self;
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = loop {
            ready!(io.poll_recv_ready(cx))?;
            let mut chunks = buffer.chunks_mut(buffer.len() / BATCH_SIZE);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            match io.try_io(Interest::READABLE, || state.recv(UdpSockRef::from(io), &mut slices, &mut metas)) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP message about a datagram that we sent (RFC 1122, section 4.1.3.3) is no error of the socket, and is told once.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        for (meta, bytes) in metas[..count].iter().zip(buffer.chunks(buffer.len() / BATCH_SIZE)) {
            for datagram in bytes[..meta.len].chunks(meta.stride.max(1)) {
                let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
                each(Received { from: meta.addr, to: meta.dst_ip, ecn, data: datagram.into() });
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the kernel has room again.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error of the socket shows when it is used.
        self.io.poll_send_ready(cx).map(drop)
    }

    /// Where packets wait for each other.
    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.any_address)
    }

    /// Sends what waits together; `false` if the kernel has no room for all of it now.
    pub(super) fn send_batch(&self, batch: &mut Batch) -> bool {
        // With nothing to send the kernel is not asked.
        batch.is_empty() || self.io.try_io(Interest::WRITABLE, || batch.send(self.io.as_fd())).is_ok()
    }

    /// Sends; `false` if the kernel has no room now. Errors are like loss on the way, which QUIC repairs.
    pub(super) fn send(&self, transmit: &Transmit, contents: &[u8]) -> bool {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &contents[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip.filter(|_| self.any_address),
        };
        let sent = self.io.try_io(Interest::WRITABLE, || self.state.send(UdpSockRef::from(&self.io), &transmit));
        !matches!(sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
