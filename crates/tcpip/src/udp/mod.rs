//! UDP sockets (RFC 768).
//!
//! | file | what it is |
//! |---|---|
//! | `socket` | one socket: what waits at it, each way |
//! | `sockets` | all of a stack's, found by where a datagram goes |
//! | `transmit` | whose turn it is to send |

mod socket;
mod sockets;
mod transmit;

pub(crate) use sockets::Sockets;

use std::net::SocketAddr;

use bytes::Bytes;

use crate::ip::{Ecn, IcmpKind};

/// What to do with the bytes of a [`udp_send`](crate::Stack::udp_send).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// Address and port to send from; `None` for the socket's own, which is chosen by the route where
    /// the socket has none.
    pub from: Option<SocketAddr>,
    /// To whom; `None` for the one that the socket is connected to.
    pub to: Option<SocketAddr>,
    /// ECN codepoint.
    pub ecn: Ecn,
    /// The bytes are several datagrams of so many bytes each, the last of which may be shorter.
    pub segment_size: Option<usize>,
}

impl Datagram {
    /// One datagram to `to`.
    #[must_use]
    pub const fn to(to: SocketAddr) -> Datagram {
        Datagram {
            from: None,
            to: Some(to),
            ecn: Ecn::NotEct,
            segment_size: None,
        }
    }
}

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its bytes.
    pub data: Bytes,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address and port that it was sent to.
    pub to: SocketAddr,
    /// ECN codepoint.
    pub ecn: Ecn,
}

/// What became of a datagram that was sent (T152).
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a datagram to {remote} did not arrive: {kind:?}")]
pub struct UdpError {
    /// To whom it was sent.
    pub remote: SocketAddr,
    /// What an ICMP message says about it, or the link where the next hop does not answer
    /// ([`IcmpKind::Unreachable`]). For what is too big it has the MTU.
    pub kind: IcmpKind,
}
