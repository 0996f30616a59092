//! What passes between the internet layer and the transports.

use std::fmt;
use std::net::IpAddr;

use crate::device::{Checksum, InterfaceId, Segments};

/// The interface inside the stack: what it sends to its own addresses (RFC 1122 section 3.2.1.3).
pub(crate) const LOOPBACK: InterfaceId = InterfaceId(u16::MAX);

/// Explicit congestion notification codepoint of an IP packet (RFC 3168 section 5).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable, `0b00`.
    #[default]
    NotEct = 0b00,
    /// ECT(1), `0b01`.
    Ect1 = 0b01,
    /// ECT(0), `0b10`.
    Ect0 = 0b10,
    /// Congestion experienced, `0b11`.
    Ce = 0b11,
}

impl Ecn {
    /// The codepoint in the low two bits of a TOS byte or traffic class.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Ecn {
        match bits & 0b11 {
            0b01 => Ecn::Ect1,
            0b10 => Ecn::Ect0,
            0b11 => Ecn::Ce,
            _ => Ecn::NotEct,
        }
    }

    /// The codepoint as the low two bits of a TOS byte or traffic class.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// The headers of a packet to send, as the transport wants them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// From where. Of the same version as `dst`.
    pub(crate) src: IpAddr,
    /// To whom.
    pub(crate) dst: IpAddr,
    /// What follows the IP header: 6 TCP, 17 UDP.
    pub(crate) protocol: u8,
    /// ECN codepoint: the low two bits of the TOS byte or traffic class.
    pub(crate) ecn: Ecn,
    /// Differentiated Services codepoint: the high six bits, 0 to 63 (RFC 2474 section 3).
    pub(crate) dscp: u8,
    /// TTL or hop limit.
    pub(crate) hop_limit: u8,
    /// No router and not we ourselves may fragment it. IPv6 routers never do, whatever this says;
    /// there it says whether we do.
    pub(crate) dont_fragment: bool,
    /// Bytes behind the IP header.
    pub(crate) transport_len: usize,
    /// What the device is to do with them.
    pub(crate) hints: Hints,
}

impl Packet {
    /// The TOS byte or traffic class.
    #[inline]
    pub(crate) const fn dscp_ecn(&self) -> u8 {
        self.dscp << 2 | self.ecn.bits()
    }
}

/// What the device is to do with the transport's bytes. Positions count from the transport header,
/// for only [`Ip::send`](crate::ip::Ip::send) knows what stands before it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Where the checksum field lies in the transport header (TCP 16, UDP 6) when the device is to
    /// complete the checksum; `None`: it is complete.
    pub(crate) checksum_at: Option<u16>,
    /// The transport bytes are a super-segment that the device cuts.
    pub(crate) cut: Option<Cut>,
}

/// How the device cuts a super-segment. The kind follows from protocol and IP version.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Payload bytes of each segment but the last.
    pub(crate) size: u16,
    /// Bytes of the transport header.
    pub(crate) header_len: u16,
}

/// What arrived for the transports.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Arrived<'a> {
    /// A packet for one of our addresses (or any, in any-address mode).
    Packet(Received<'a>),
    /// An ICMP error about a packet that we seem to have sent.
    Error(IcmpError<'a>),
}

/// A packet that arrived, whole and with a good IP header.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Received<'a> {
    /// Where it came in; [`LOOPBACK`] when we sent it ourselves.
    pub(crate) interface: InterfaceId,
    /// A unicast address (T153); [unspecified](IpAddr::is_unspecified) never gets here.
    pub(crate) src: IpAddr,
    /// One of ours, any in any-address mode, or multicast or broadcast (see `to_many`).
    pub(crate) dst: IpAddr,
    /// What the payload is: 6 TCP, 17 UDP, others as they came.
    pub(crate) protocol: u8,
    /// ECN codepoint. Of a reassembled packet: the one its fragments share (RFC 3168 section 5.3).
    pub(crate) ecn: Ecn,
    /// TTL or hop limit as it arrived.
    pub(crate) hop_limit: u8,
    /// `dst` is a multicast or broadcast address: T34 wants no TCP answer, T151 no port unreachable.
    pub(crate) to_many: bool,
    /// The transport header and what follows.
    pub(crate) payload: &'a [u8],
    /// The packet from its IP header on, for [`Ip::port_unreachable`](crate::ip::Ip::port_unreachable).
    pub(crate) packet: &'a [u8],
    /// What is known of the transport checksum. [`Checksum::Partial`] needs no checking.
    pub(crate) checksum: Checksum,
    /// Set when it stands for several segments.
    pub(crate) segments: Option<Segments>,
}

/// An ICMP error, with what it quotes of our packet.
///
/// Nothing in it is authentic: the transport finds the connection and checks quoted sequence numbers
/// (RFC 5927 section 4.1) before it believes any of it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct IcmpError<'a> {
    /// What it says.
    pub(crate) kind: IcmpKind,
    /// Source of the quoted packet: one of our addresses (or any, in any-address mode).
    pub(crate) src: IpAddr,
    /// Destination of the quoted packet.
    pub(crate) dst: IpAddr,
    /// Protocol of the quoted packet.
    pub(crate) protocol: u8,
    /// Length of the quoted packet in bytes, as its header said.
    pub(crate) size: u16,
    /// What is quoted of the transport header and what follows: at least 8 bytes, often no more.
    pub(crate) quoted: &'a [u8],
}

/// What an ICMP error says, of either version.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum IcmpKind {
    /// No way to the network (ICMPv4 type 3 codes 0, 6, 11; ICMPv6 type 1 code 0). Soft: routes change
    /// (RFC 1122 section 4.2.3.9).
    NetworkUnreachable,
    /// No way to the host (ICMPv4 type 3 codes 1, 5, 7, 8, 12 and those that nobody has defined; ICMPv6
    /// type 1 codes 2, 3). As soft.
    HostUnreachable,
    /// Somebody forbids it (ICMPv4 type 3 codes 9, 10, 13; ICMPv6 type 1 codes 1, 5, 6).
    Prohibited,
    /// The host does not know the protocol (ICMPv4 type 3 code 2; ICMPv6 type 4 code 1).
    ProtocolUnreachable,
    /// Nobody listens on the port (ICMPv4 type 3 code 3; ICMPv6 type 1 code 4).
    PortUnreachable,
    /// Larger than the next link takes (ICMPv4 type 3 code 4; ICMPv6 type 2).
    PacketTooBig {
        /// The next link's MTU in bytes. 0 when an old router does not say (RFC 1191 section 5).
        mtu: u32,
    },
    /// The hop limit ran out, or fragments were missing (ICMPv4 type 11; ICMPv6 type 3).
    TimeExceeded,
    /// Something in the header was not understood (ICMPv4 type 12; ICMPv6 type 4 but code 1).
    ParameterProblem,
}

/// A packet that takes nothing but its header ([`Ip::begin_plain`](crate::ip::Ip::begin_plain)).
#[derive(Copy, Clone, Debug)]
pub(crate) struct Plain {
    /// From whom to whom, of one version.
    pub(crate) ends: (IpAddr, IpAddr),
    /// What it carries.
    pub(crate) protocol: u8,
    /// The TOS byte or traffic class: codepoint and mark.
    pub(crate) dscp_ecn: u8,
    /// TTL or hop limit.
    pub(crate) hop_limit: u8,
    /// Bytes behind the IP header.
    pub(crate) transport_len: usize,
}

impl fmt::Display for IcmpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IcmpKind::NetworkUnreachable => f.write_str("no way leads to its network"),
            IcmpKind::HostUnreachable => f.write_str("no way leads to its host"),
            IcmpKind::Prohibited => f.write_str("somebody on the way forbids it"),
            IcmpKind::ProtocolUnreachable => f.write_str("its host does not know the protocol"),
            IcmpKind::PortUnreachable => f.write_str("nobody listens on that port"),
            IcmpKind::PacketTooBig { mtu: 0 } => f.write_str("too big for a link on the way"),
            IcmpKind::PacketTooBig { mtu } => {
                write!(f, "too big for a link on the way, which takes {mtu} bytes")
            }
            IcmpKind::TimeExceeded => f.write_str("it was on the way for too long"),
            IcmpKind::ParameterProblem => f.write_str("its header was not understood"),
        }
    }
}

/// The way to one destination. Whoever sends to it often keeps the answer and asks
/// [`Ip::is_current`](crate::ip::Ip::is_current), a comparison, before each use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Through which interface; [`LOOPBACK`] for our own addresses.
    pub(crate) interface: InterfaceId,
    /// Who takes it on that link: the destination itself or a router.
    pub(crate) next_hop: IpAddr,
    /// The address to send from (RFC 6724 section 5), or the one that was asked for.
    pub(crate) source: IpAddr,
    /// The largest packet in bytes that fits the whole path as far as is known.
    pub(crate) mtu: u16,
    /// The largest packet in bytes that fits the first link.
    pub(crate) link_mtu: u16,
    /// Where the next hop stands in the neighbour cache: a hint, checked when used.
    pub(crate) neighbor: u32,
    /// Of what state of tables this was the answer.
    pub(crate) generation: u32,
}

/// Why there is no way to a destination.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No route covers the destination.
    #[error("no route covers {0}")]
    Unreachable(IpAddr),
    /// No interface on the way has an address of the destination's version that is ready.
    #[error("no address to reach {0} from")]
    NoSource(IpAddr),
    /// The address asked for is not one of ours.
    #[error("{0} is not an address of this stack")]
    NotOurs(IpAddr),
    /// Source and destination are of different versions, or the destination is no address to send to.
    #[error("{0} is not an address to send to")]
    BadDestination(IpAddr),
}

/// Why a packet was not sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The interface of the route is gone.
    #[error("the interface is gone")]
    NoInterface,
    /// Larger than the path takes, and not to be fragmented.
    #[error("the packet is larger than the path takes: {mtu} bytes")]
    MessageTooLong {
        /// The largest packet that fits, in bytes.
        mtu: u16,
    },
    /// The next hop does not answer ARP or NDP, and not long ago was found not to.
    #[error("the next hop does not answer")]
    HostUnreachable,
    /// A queue inside is full (packets that wait for a neighbour, or that we send to ourselves).
    #[error("the queue is full")]
    QueueFull,
    /// A source or destination that such a packet must not have.
    #[error("the address cannot be used for this packet")]
    BadAddress,
}

/// News from the internet layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IpEvent {
    /// The path to this destination takes packets of `mtu` bytes from now on: less than before, or
    /// more because what was known became too old (T136).
    PathMtu {
        /// The destination.
        dst: IpAddr,
        /// The largest packet in bytes.
        mtu: u16,
    },
    /// The next hop does not answer ARP or NDP; packets that waited for it are lost.
    NeighborFailed {
        /// On which link.
        interface: InterfaceId,
        /// Who does not answer.
        next_hop: IpAddr,
    },
    /// A packet of ours is lost: it waited for a next hop that does not answer.
    Undelivered(Undelivered),
    /// The address can be used: it is no duplicate, or nobody was asked.
    AddressReady {
        /// On which link.
        interface: InterfaceId,
        /// Which.
        address: IpAddr,
    },
    /// Somebody else uses the address. It is not used (T145), or, if it was in use already,
    /// defended once in a while (RFC 5227 section 2.4).
    AddressConflict {
        /// On which link.
        interface: InterfaceId,
        /// Which.
        address: IpAddr,
        /// True when it is given up.
        lost: bool,
    },
    /// The lifetime of an address that a router gave us has ended; connections from it end.
    AddressExpired {
        /// On which link.
        interface: InterfaceId,
        /// Which.
        address: IpAddr,
    },
}

/// What is told of a packet of ours that was lost because its next hop does not answer on the link
/// (RFC 1122 section 2.4: the link layer tells the layer above).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// Who does not answer.
    pub(crate) next_hop: IpAddr,
    /// From where it was.
    pub(crate) src: IpAddr,
    /// To whom it was.
    pub(crate) dst: IpAddr,
    /// What followed its IP header.
    pub(crate) protocol: u8,
    /// How its transport header began.
    pub(crate) quoted: [u8; 8],
}

/// A neighbour's state (RFC 4861 section 7.3.2), for ARP as well.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum NeighborState {
    /// Being asked for; packets wait.
    Incomplete,
    /// Heard from a moment ago.
    Reachable,
    /// Known, not heard from for a while; nothing is done until something is sent there.
    Stale,
    /// Something was sent; the transport has a moment to confirm that it arrives.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// Did not answer; packets are refused until a moment has passed.
    Failed,
    /// Set by hand, never asked for.
    Permanent,
}

/// What made a timer of the internet layer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum IpTimer {
    /// A neighbour, an address, a router, fragments or a path MTU: whatever is due first.
    Maintenance,
    /// Packets to ourselves wait to be taken (`Ip::next_loopback`).
    Loopback,
}
