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

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::ip::{Ecn, IcmpKind};
use crate::limits::UDP_QUOTE;

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
#[error("a datagram to {remote} did not arrive: {kind}")]
pub struct UdpError {
    /// To whom it was sent.
    pub remote: SocketAddr,
    /// What an ICMP message says about it, or the link where the next hop does not answer
    /// ([`IcmpKind::HostUnreachable`]). For what is too big it has the MTU.
    pub kind: IcmpKind,
    /// Which one it was, as far as it was quoted: whoever did not see it can hardly have made up a
    /// quote that fits (RFC 5927 section 4.1).
    pub quoted: Quote,
}

/// The beginning of a datagram's bytes, as an ICMP message quotes it: [`UDP_QUOTE`] bytes of it at most.
/// Old hosts quote none (RFC 792: 64 bits behind the IP header, which are UDP's own).
#[derive(Copy, Clone, Default, PartialEq, Eq)]
pub struct Quote {
    bytes: [u8; UDP_QUOTE],
    len: usize,
}

impl Quote {
    /// Keeps the beginning of `datagram`.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Quote {
        let mut quote = Quote {
            bytes: [0; UDP_QUOTE],
            len: datagram.len().min(UDP_QUOTE),
        };
        for (to, from) in quote.bytes.iter_mut().zip(datagram) {
            *to = *from;
        }
        quote
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quote({:02x?})", self.as_slice())
    }
}
