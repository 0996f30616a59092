//! The far end of a pair of Ethernet interfaces (veth), by a packet socket: what stands in for a TUN
//! device where that may not be opened.
//!
//! With `PACKET_VNET_HDR` each frame comes and goes behind a `virtio_net_hdr`, as with a TUN device. Two
//! things differ, and are made up for here: an Ethernet header stands between that and the packet, and
//! the fields are in the byte order of the machine.

#![allow(
    unsafe_code,
    reason = "options and addresses of packet sockets are untyped: here each meets its type"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::VNET_HEADER_LEN;

/// Ethernet address of the end that the kernel has its IP on; locally administered.
pub(crate) const NEAR: [u8; 6] = *b"\x02weir\x02";
/// Ethernet address of the end that we have.
pub(crate) const FAR: [u8; 6] = *b"\x02weir\x01";

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Parts of a packet that one write gathers without putting them together first.
const GATHERED: usize = 36;

/// Bytes that may wait in the socket, as far as the system's `net.core.rmem_max` and `wmem_max` allow:
/// some super-segments. What comes when it is full is lost, as on a link.
const WAITING: libc::c_int = 4 << 20;

/// A socket that has all frames of the interface with this index, in the network namespace of the
/// calling thread. Takes `CAP_NET_RAW` there. The namespace lives as long as the socket.
pub(crate) fn open(index: u32) -> io::Result<OwnedFd> {
    // Of protocol 0: it gets nothing before it is bound.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    // Without it we would read what we wrote (Linux 4.20).
    set(
        fd.as_fd(),
        libc::SOL_PACKET,
        libc::PACKET_IGNORE_OUTGOING,
        1,
    )?;
    // Saves the way through a queue that is not there.
    let _ = set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1);
    for (forced, asked) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        // The first takes a right that a user namespace does not give.
        if set(fd.as_fd(), libc::SOL_SOCKET, forced, WAITING).is_err() {
            set(fd.as_fd(), libc::SOL_SOCKET, asked, WAITING)?;
        }
    }
    bind(fd.as_fd(), index)?;
    Ok(fd)
}

/// The name of the interface that the socket is bound to; `None` when the file is no socket. Other
/// sockets than those of [`open`] are an error.
pub(super) fn interface_of(fd: BorrowedFd<'_>) -> io::Result<Option<String>> {
    match get(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR) {
        Ok(1) => {}
        Ok(_) => return Err(io::ErrorKind::InvalidInput.into()),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => return Ok(None),
        Err(error) => return Err(error),
    }
    let index = bound_to(fd)?;
    super::ioctl::name_of(fd, index).map(Some)
}

/// [`Tun::recv`](super::Tun::recv): frames that are no IP are passed over.
pub(super) fn recv(
    fd: &OwnedFd,
    header: &mut [u8; VNET_HEADER_LEN],
    packet: &mut [u8],
) -> io::Result<usize> {
    loop {
        let mut ethernet = [0; ETHERNET];
        let mut parts = [
            IoSliceMut::new(header),
            IoSliceMut::new(&mut ethernet),
            IoSliceMut::new(packet),
        ];
        let read = match nix::sys::uio::readv(fd, &mut parts) {
            Ok(read) => read,
            // Super-segments of a kind that the header has no word for (SCTP): it lets them go with this.
            Err(Errno::EINVAL) => continue,
            Err(error) => return Err(error.into()),
        };
        let kind = ethernet.last_chunk().copied().unwrap_or_default();
        let len = read.checked_sub(VNET_HEADER_LEN.saturating_add(ETHERNET));
        if let (Some(len @ 1..), IPV4 | IPV6) = (len, kind) {
            *header = without_ethernet(*header);
            return Ok(len.min(packet.len()));
        }
    }
}

/// [`Tun::send`](super::Tun::send).
pub(super) fn send(fd: &OwnedFd, parts: &[IoSlice<'_>]) -> io::Result<()> {
    let invalid = io::Error::from(io::ErrorKind::InvalidInput);
    let Some((first, rest)) = parts.split_first() else {
        return Err(invalid);
    };
    let Some((header, first)) = first.split_first_chunk::<VNET_HEADER_LEN>() else {
        return Err(invalid);
    };
    let packet = || std::iter::once(first).chain(rest.iter().map(|part| &part[..]));
    let kind = match packet().find_map(|part| part.first()).map(|byte| byte >> 4) {
        Some(4) => IPV4,
        Some(6) => IPV6,
        _ => return Err(invalid),
    };
    let mut ethernet = [0; ETHERNET];
    let fields = NEAR.iter().chain(&FAR).chain(&kind);
    for (to, from) in ethernet.iter_mut().zip(fields) {
        *to = *from;
    }
    let header = with_ethernet(*header);
    let whole: Vec<u8>;
    let mut slices = [IoSlice::new(&[]); GATHERED];
    let count = if rest.len().saturating_add(3) > GATHERED {
        whole = packet().flatten().copied().collect();
        fill(&mut slices, [&header[..], &ethernet, &whole].into_iter())
    } else {
        let before = [&header[..], &ethernet].into_iter();
        fill(&mut slices, before.chain(packet()))
    };
    let slices = slices.get(..count).unwrap_or_default();
    match nix::sys::uio::writev(fd, slices) {
        // No room at the other end: lost, as on a link.
        Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the kernel takes UDP in super-segments here, as from Linux 6.2 on: asked by two datagrams in
/// one that are for nobody, neither by their Ethernet address nor by their IP address. A kernel that has
/// no such super-segments refuses the header; whether the link is up by then makes no difference.
pub(super) fn takes_uso(fd: &OwnedFd) -> bool {
    let result = nix::sys::uio::writev(fd, &[IoSlice::new(&probe())]);
    matches!(result, Ok(_) | Err(Errno::ENOBUFS))
}

/// Two datagrams of one byte each, from TEST-NET-1 (RFC 5737) to itself, at the port that throws away
/// (RFC 863).
fn probe() -> Vec<u8> {
    const NOBODY: [u8; 6] = *b"\x02weir\x00";
    const ADDRESS: [u8; 4] = [192, 0, 2, 1];
    // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4; headers, size, where the checksum is.
    let places = [42_u16, 1, 34, 6].map(u16::to_ne_bytes);
    let ip = [0x45, 0, 0, 30, 0, 0, 0x40, 0, 1, 17, 0xf5, 0xcc];
    let udp = [9_u16, 9, 10, 0].map(u16::to_be_bytes);
    [
        &[1, 5][..],
        places.as_flattened(),
        &NOBODY,
        &FAR,
        &IPV4,
        &ip,
        &ADDRESS,
        &ADDRESS,
        udp.as_flattened(),
        &[0, 0],
    ]
    .concat()
}

fn fill<'a>(slices: &mut [IoSlice<'a>], bytes: impl Iterator<Item = &'a [u8]>) -> usize {
    let both = slices.iter_mut().zip(bytes);
    both.map(|(slice, bytes)| *slice = IoSlice::new(bytes))
        .count()
}

/// The kernel's header as that of a packet: places count from the IP header on, little-endian.
fn without_ethernet(header: [u8; VNET_HEADER_LEN]) -> [u8; VNET_HEADER_LEN] {
    let field = |a, b, less| {
        u16::from_ne_bytes([a, b])
            .saturating_sub(less)
            .to_le_bytes()
    };
    let [flags, kind, l0, l1, g0, g1, s0, s1, o0, o1] = header;
    let ([l0, l1], [g0, g1]) = (field(l0, l1, ETHERNET as u16), field(g0, g1, 0));
    let ([s0, s1], [o0, o1]) = (field(s0, s1, ETHERNET as u16), field(o0, o1, 0));
    [flags, kind, l0, l1, g0, g1, s0, s1, o0, o1]
}

/// The other way round. Places that mean nothing, for there is nothing to be done, stay 0.
fn with_ethernet(header: [u8; VNET_HEADER_LEN]) -> [u8; VNET_HEADER_LEN] {
    let field = |a, b, more| {
        let value = u16::from_le_bytes([a, b]);
        value.saturating_add(more).to_ne_bytes()
    };
    let [flags, kind, l0, l1, g0, g1, s0, s1, o0, o1] = header;
    let place = |a, b| {
        let more = if [a, b] == [0, 0] { 0 } else { ETHERNET as u16 };
        field(a, b, more)
    };
    let ([l0, l1], [g0, g1]) = (place(l0, l1), field(g0, g1, 0));
    let ([s0, s1], [o0, o1]) = (place(s0, s1), field(o0, o1, 0));
    [flags, kind, l0, l1, g0, g1, s0, s1, o0, o1]
}

fn set(fd: BorrowedFd<'_>, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    let (pointer, len) = (&raw const value, size_of_val(&value) as libc::socklen_t);
    // SAFETY: all options that are set here take one int; it outlives the call, its length is told.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer.cast(), len) };
    Errno::result(result)?;
    Ok(())
}

fn get(fd: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    let pointer = &raw mut value;
    let fd = fd.as_raw_fd();
    // SAFETY: the system writes at most `len` bytes, which is what `value` has, and the length to `len`.
    let result = unsafe { libc::getsockopt(fd, level, option, pointer.cast(), &raw mut len) };
    Errno::result(result)?;
    Ok(value)
}

/// Binds to all protocols of an interface.
fn bind(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        // 17: fits.
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let (pointer, len) = (&raw const address, size_of_val(&address) as libc::socklen_t);
    // SAFETY: the address is of the type of the socket's family, outlives the call, its length is told.
    let result = unsafe { libc::bind(fd.as_raw_fd(), pointer.cast(), len) };
    Errno::result(result)?;
    Ok(())
}

/// The index of the interface that a packet socket is bound to.
fn bound_to(fd: BorrowedFd<'_>) -> io::Result<i32> {
    let mut address = libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut len = size_of_val(&address) as libc::socklen_t;
    let pointer = &raw mut address;
    // SAFETY: the system writes at most `len` bytes, which is what `address` has, and the length to `len`.
    let result = unsafe { libc::getsockname(fd.as_raw_fd(), pointer.cast(), &raw mut len) };
    Errno::result(result)?;
    Ok(address.sll_ifindex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_the_ip_header_on() {
        // NEEDS_CSUM, TCPv4, hdr_len 66, gso_size 1460, csum_start 34, csum_offset 16.
        let fields = [66u16, 1460, 34, 16].map(u16::to_ne_bytes).concat();
        let kernel: [u8; VNET_HEADER_LEN] = [&[1, 1], &fields[..]].concat().try_into().unwrap();
        let ours = without_ethernet(kernel);
        let fields = [52u16, 1460, 20, 16].map(u16::to_le_bytes).concat();
        assert_eq!(ours, [&[1, 1], &fields[..]].concat()[..]);
        assert_eq!(with_ethernet(ours), kernel);
    }

    #[test]
    fn what_asks_for_super_segments_is_a_whole_frame() {
        let probe = probe();
        assert_eq!(probe.len(), VNET_HEADER_LEN + ETHERNET + 30);
        // RFC 1071: the sum over a header with its checksum is all ones.
        let ip = &probe[VNET_HEADER_LEN + ETHERNET..][..20];
        let words = ip.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum = words.sum::<u32>();
        assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff);
    }

    #[test]
    fn a_header_that_asks_for_nothing_stays_so() {
        assert_eq!(with_ethernet([0; VNET_HEADER_LEN]), [0; VNET_HEADER_LEN]);
        assert_eq!(without_ethernet([0; VNET_HEADER_LEN]), [0; VNET_HEADER_LEN]);
    }

    #[test]
    fn what_is_no_ip_packet_is_not_sent() {
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let header = [0; VNET_HEADER_LEN];
        let cases: [&[IoSlice<'_>]; 4] = [
            &[],
            &[IoSlice::new(&header[1..])],
            &[IoSlice::new(&header)],
            &[IoSlice::new(&header), IoSlice::new(&[0x75])],
        ];
        for parts in cases {
            let error = send(&file, parts).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
