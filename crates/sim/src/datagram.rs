//! What travels over a link.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use weir_core::rng::{Rng, below};

/// The two ECN bits of an IP header (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Ecn {
    /// The sender does not understand ECN.
    #[default]
    NotEct = 0,
    /// ECN-capable, codepoint 01.
    Ect1 = 1,
    /// ECN-capable, codepoint 10.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// Whether a queue may mark it instead of dropping it.
    #[must_use]
    pub fn is_capable(self) -> bool {
        self != Self::NotEct
    }
}

/// What a link carries: anything with a size, two ECN bits and bits that can flip.
pub trait Packet: Clone {
    /// Bytes that count against rate, queue and MTU.
    fn wire_len(&self) -> usize;

    /// Its ECN codepoint.
    fn ecn(&self) -> Ecn {
        Ecn::NotEct
    }

    /// Changes its ECN codepoint; nothing for a packet that has none.
    fn set_ecn(&mut self, _ecn: Ecn) {}

    /// Whether a link may corrupt it. One that is spared counts as a packet that passed whole.
    fn is_corruptible(&self) -> bool {
        true
    }

    /// Flips one bit that `rng` picks. A packet without content stays as it is.
    fn corrupt(&mut self, rng: &mut Rng);
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it comes from, as the receiver sees it.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// ECN bits of the IP header.
    pub ecn: Ecn,
    /// UDP payload.
    pub payload: Bytes,
}

impl Datagram {
    /// A datagram without ECN.
    #[must_use]
    pub fn new(from: SocketAddr, to: SocketAddr, payload: Bytes) -> Self {
        Self {
            from,
            to,
            ecn: Ecn::NotEct,
            payload,
        }
    }

    /// Bytes that an IP packet with a UDP payload has beyond that payload: 28 for IPv4 (RFC 791,
    /// RFC 768), 48 for IPv6 (RFC 8200).
    #[must_use]
    pub fn overhead(&self) -> usize {
        if self.to.is_ipv4() { 28 } else { 48 }
    }
}

impl Packet for Datagram {
    /// The size of the IP packet, which is what an MTU limits.
    fn wire_len(&self) -> usize {
        self.payload.len() + self.overhead()
    }

    fn ecn(&self) -> Ecn {
        self.ecn
    }

    fn set_ecn(&mut self, ecn: Ecn) {
        self.ecn = ecn;
    }

    fn corrupt(&mut self, rng: &mut Rng) {
        self.payload.corrupt(rng);
    }
}

/// A raw frame or IP packet: all of its bytes count, none is looked into.
impl Packet for Bytes {
    fn wire_len(&self) -> usize {
        self.len()
    }

    fn corrupt(&mut self, rng: &mut Rng) {
        if self.is_empty() {
            return;
        }
        let victim = usize::try_from(below(rng, self.len() as u64)).unwrap_or(0);
        let bit = below(rng, 8);
        let mut copy = BytesMut::from(&self[..]);
        if let Some(byte) = copy.get_mut(victim) {
            *byte ^= 1 << bit;
        }
        *self = copy.freeze();
    }
}
