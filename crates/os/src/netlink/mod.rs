//! Interfaces, addresses and routes of Linux, over rtnetlink (RFC 3549): what `ip link`, `ip address`
//! and `ip route` do, in the network namespace of the calling thread.

mod address;
mod link;
mod message;
mod route;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use message::{Message, Request, messages, u32_at};

pub use address::InterfaceAddress;
pub use link::Link;
pub(crate) use link::PairEnd;
pub use route::{RouteSpec, Way};

use crate::SystemError;

/// The kernel's answers to a dump come in datagrams of up to 32 KiB.
const BUFFER: usize = 64 * 1024;

/// A connection to the kernel's table of interfaces, addresses and routes. It belongs to the network
/// namespace that the thread was in when it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens it. Takes no rights; changing something takes `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The system has no netlink, or forbids it (a strict seccomp filter).
    pub fn open() -> Result<Netlink, SystemError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(|error| {
            SystemError::new("open a netlink socket", error)
                .hint("a seccomp filter (of a container?) may forbid AF_NETLINK")
        })?;
        Ok(Netlink {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Has the kernel do something, and waits until it says that it has.
    fn execute(&mut self, request: Request) -> io::Result<()> {
        self.exchange(request, |_| {})
    }

    /// Sends a request and hands every message of the answer to `each`, until the answer ends.
    fn exchange(&mut self, request: Request, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())?;
        loop {
            let read = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let datagram = self.buffer.get(..read).unwrap_or_default();
            // What an earlier, failed exchange left behind is passed over.
            let ours = messages(datagram).filter(|m| m.sequence == self.sequence);
            for message in ours {
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return acknowledged(message),
                    _ => each(message),
                }
            }
        }
    }
}

/// `NLMSG_ERROR` with code 0 is the acknowledgement; else the code is a negative errno.
fn acknowledged(message: Message<'_>) -> io::Result<()> {
    let code = u32_at(message.body, 0).ok_or(io::ErrorKind::InvalidData)? as i32;
    match code.checked_neg() {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Flags of a request that changes something.
const CHANGE: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
/// Flags of a request that adds what must not exist yet.
const ADD: u16 = CHANGE | (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Flags of a request for a list.
const LIST: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // 2 and 10.
    family as u8
}

/// An address as netlink carries it: in network byte order.
fn octets(address: IpAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    let source: &[u8] = match &address {
        IpAddr::V4(v4) => &v4.octets(),
        IpAddr::V6(v6) => &v6.octets(),
    };
    for (to, from) in bytes.iter_mut().zip(source) {
        *to = *from;
    }
    (bytes, source.len())
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// What most refusals come from.
fn refused(doing: String, error: io::Error) -> SystemError {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Some("it takes root, or the capability CAP_NET_ADMIN"),
        Some(libc::ENODEV | libc::ENXIO) => Some("there is no such interface (any more)"),
        Some(libc::EEXIST) => Some("it is there already"),
        Some(libc::ESRCH | libc::EADDRNOTAVAIL) => Some("it is not there (any more)"),
        Some(libc::ENETUNREACH) => Some("the gateway is in no network of this machine"),
        Some(libc::ENETDOWN) => Some("the interface is down"),
        Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => {
            Some("this kernel lacks it, or IPv6 is switched off (net.ipv6.conf.all.disable_ipv6)")
        }
        _ => None,
    };
    SystemError::new(doing, error).maybe_hint(hint.map(str::to_owned))
}
