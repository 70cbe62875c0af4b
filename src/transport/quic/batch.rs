//! Packets of many connections that leave by one call of the kernel.
//!
//! An event goes to each client in a packet of its own, and entering and leaving the kernel is a fifth of what sending it costs. So packets wait for each other until the turn ends, or
//! there are enough of them. Its invariant: packets leave in the order in which they came.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
};

use quinn_proto::Transmit;
use socket2::SockAddr;
use tracing::debug;

use super::kernel::{Control, PACKETS, SENDS_MANY, send_many};

/// See the [module](self).
pub(super) struct Batch {
    /// Each packet has to say from which address it comes.
    says_source: bool,
    /// The packets, one behind the other.
    bytes: Vec<u8>,
    packets: Vec<Packet>,
    common: Common,
}

struct Packet {
    to: SockAddr,
    len: usize,
}

/// What the kernel is told of all packets of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Common {
    is_v4: bool,
    from: Option<IpAddr>,
    ecn: u8,
}

impl Batch {
    /// For a socket whose packets have to say from which address they come, or need not.
    pub(super) fn new(says_source: bool) -> Self {
        Self { says_source, bytes: Vec::new(), packets: Vec::with_capacity(PACKETS), common: Common::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.packets.len() == PACKETS
    }

    /// Takes a packet, if it can go with those that are there.
    pub(super) fn take(&mut self, transmit: &Transmit, contents: &[u8]) -> bool {
        let Some(common) = self.common(transmit) else { return false };
        if self.is_full() || (!self.is_empty() && self.common != common) {
            return false;
        }
        self.common = common;
        self.bytes.extend_from_slice(contents);
        self.packets.push(Packet { to: transmit.destination.into(), len: contents.len() });
        true
    }

    /// What would be told of a packet; `None`: it has to go by itself.
    fn common(&self, transmit: &Transmit) -> Option<Common> {
        if !SENDS_MANY || transmit.segment_size.is_some() {
            return None;
        }
        let is_v4 = match transmit.destination {
            SocketAddr::V4(_) => true,
            // The kernel wants to be told other things of what is IPv4 in disguise.
            SocketAddr::V6(to) if to.ip().to_ipv4_mapped().is_some() => return None,
            SocketAddr::V6(_) => false,
        };
        let from = if self.says_source { Some(transmit.src_ip.filter(|from| from.is_ipv4() == is_v4)?) } else { None };
        Some(Common { is_v4, from, ecn: transmit.ecn.map_or(0, |ecn| ecn as u8) })
    }

    /// Sends what is there. A packet that the kernel refuses is like one that is lost on the way, which QUIC repairs.
    ///
    /// # Errors
    /// The kernel has no room now (`WouldBlock`); what it has not taken stays.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let control = self.common.control();
        while !self.is_empty() {
            let taken = match send_many(socket, &control, self.contents()) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    debug!(%error, "a packet could not be sent");
                    1
                }
            };
            self.forget(taken);
        }
        Ok(())
    }

    fn contents(&self) -> impl Iterator<Item = (&SockAddr, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.packets.iter().map(move |packet| {
            let (contents, others) = rest.split_at(packet.len);
            rest = others;
            (&packet.to, contents)
        })
    }

    /// Takes out the first packets.
    fn forget(&mut self, count: usize) {
        if count == self.packets.len() {
            self.packets.clear();
            self.bytes.clear();
        } else {
            let bytes: usize = self.packets.drain(..count).map(|packet| packet.len).sum();
            self.bytes.drain(..bytes);
        }
    }
}

impl Common {
    /// ip(7), ipv6(7): the traffic class with the ECN bits, and the source address with no interface.
    fn control(&self) -> Control {
        let mut control = Control::new();
        let class = i32::from(self.ecn).to_ne_bytes();
        if self.is_v4 {
            control.push(libc::IPPROTO_IP, libc::IP_TOS, &class);
        } else {
            control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
        }
        match self.from {
            Some(IpAddr::V4(from)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&from.octets());
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(from)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&from.octets());
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        control
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("packets", &self.packets.len()).field("common", &self.common).finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::IoSliceMut,
        net::UdpSocket,
        os::{fd::AsFd as _, unix::net::UnixDatagram},
    };

    use quinn_proto::EcnCodepoint;
    use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

    use super::*;

    fn transmit(to: SocketAddr, ecn: Option<EcnCodepoint>, from: Option<IpAddr>) -> Transmit {
        Transmit { destination: to, ecn, size: 0, segment_size: None, src_ip: from }
    }

    #[test]
    fn packets_arrive_with_what_is_told_of_them() {
        for (any, own) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let own: IpAddr = own.parse().unwrap();
            for says_source in [false, true] {
                let sender = UdpSocket::bind(if says_source { any.parse().unwrap() } else { SocketAddr::new(own, 0) }).unwrap();
                let receiver = UdpSocket::bind(SocketAddr::new(own, 0)).unwrap();
                let state = UdpSocketState::new(UdpSockRef::from(&receiver)).unwrap();
                // That is what it has set, too.
                receiver.set_nonblocking(false).unwrap();
                let mut batch = Batch::new(says_source);
                let told = transmit(receiver.local_addr().unwrap(), Some(EcnCodepoint::Ect0), says_source.then_some(own));
                for n in 1..=5 {
                    assert!(batch.take(&told, &vec![n; usize::from(n)]), "{own}");
                }
                assert!(!batch.take(&Transmit { ecn: None, ..told }, b"of another kind"));
                batch.send(sender.as_fd()).unwrap();
                assert!(batch.is_empty());
                for n in 1..=5 {
                    let (mut bytes, mut meta) = ([0; 64], [RecvMeta::default()]);
                    state.recv(UdpSockRef::from(&receiver), &mut [IoSliceMut::new(&mut bytes)], &mut meta).unwrap();
                    assert_eq!(bytes[..meta[0].len.min(meta[0].stride)], vec![n; usize::from(n)]);
                    assert_eq!(meta[0].addr, SocketAddr::new(own, sender.local_addr().unwrap().port()));
                    assert_eq!(meta[0].ecn, Some(quinn_udp::EcnCodepoint::Ect0));
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_can_not_be_told_in_common_goes_by_itself() {
        let v4: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mut batch = Batch::new(false);
        assert!(!batch.take(&Transmit { segment_size: Some(10), ..transmit(v4, None, None) }, b"segments"));
        assert!(!batch.take(&transmit("[::ffff:127.0.0.1]:1".parse().unwrap(), None, None), b"disguised"));
        let mut batch = Batch::new(true);
        assert!(!batch.take(&transmit(v4, None, None), b"without a source"));
        assert!(!batch.take(&transmit(v4, None, Some("::1".parse().unwrap())), b"with the other kind of source"));
    }

    /// UDP on loopback has room always, so the socket is one that really runs out of it.
    #[test]
    fn what_finds_no_room_waits_and_leaves_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = UnixDatagram::bind(dir.path().join("receiver")).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut batch = Batch::new(false);
        let to = SockAddr::unix(dir.path().join("receiver")).unwrap();
        for n in 0..PACKETS {
            batch.bytes.extend_from_slice(&vec![u8::try_from(n).unwrap(); n]);
            batch.packets.push(Packet { to: to.clone(), len: n });
        }
        assert!(batch.is_full());
        let (mut received, mut waits) = (Vec::new(), 0);
        while let Err(error) = batch.send(sender.as_fd()) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            waits += 1;
            let mut bytes = [0; 64];
            let len = receiver.recv(&mut bytes).expect("what was taken has arrived");
            received.push(bytes[..len].to_vec());
        }
        assert!(waits > 0);
        let mut bytes = [0; 64];
        while let Ok(len) = receiver.recv(&mut bytes) {
            received.push(bytes[..len].to_vec());
        }
        let sent: Vec<_> = (0..PACKETS).map(|n| vec![u8::try_from(n).unwrap(); n]).collect();
        assert_eq!(received, sent);
    }

    #[test]
    fn a_packet_that_the_kernel_refuses_does_not_keep_the_others() {
        let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut batch = Batch::new(false);
        let told = transmit(receiver.local_addr().unwrap(), None, None);
        assert!(batch.take(&told, b"before"));
        assert!(batch.take(&told, &vec![0; 70_000]), "longer than a datagram can be");
        assert!(batch.take(&told, b"after"));
        batch.send(sender.as_fd()).unwrap();
        let mut bytes = [0; 64];
        for expected in ["before", "after"] {
            let len = receiver.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..len], *expected.as_bytes());
        }
    }
}
