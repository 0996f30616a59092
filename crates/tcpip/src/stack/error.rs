//! What can go wrong with a call, in words.

use std::net::SocketAddr;

use weir_core::limits::OutOfRange;

/// A listener or socket cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The address and port are taken.
    #[error("{0} is in use")]
    InUse(SocketAddr),
    /// No interface has the address.
    #[error("{0} is no address of this stack")]
    NotLocal(SocketAddr),
    /// Every port of the range is taken.
    #[error("no port is free")]
    NoPort,
    /// As many as there may be.
    #[error("there are {0} already, the limit")]
    TooMany(usize),
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] OutOfRange),
}

/// A connection cannot be begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Port 0, or an address that is no single host's.
    #[error("{0} is no address to connect to")]
    InvalidRemote(SocketAddr),
    /// The local address is not this stack's, or of the other family.
    #[error("{0} is no address of this stack to connect from")]
    InvalidLocal(SocketAddr),
    /// The two addresses are connected already.
    #[error("{local} and {remote} are connected already")]
    InUse {
        /// This side.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
    },
    /// Every port of the range is taken.
    #[error("no port is free")]
    NoPort,
    /// There is no route there.
    #[error("no route to {0}")]
    NoRoute(SocketAddr),
    /// As many connections as there may be.
    #[error("there are {0} connections already, the limit")]
    TooMany(usize),
    /// The memory budget is used up.
    #[error("no memory left for another connection")]
    NoMemory,
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] OutOfRange),
}

/// A datagram was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpSendError {
    /// The key was let go.
    #[error("the socket is closed")]
    Closed,
    /// The queue is full: try again after [`UdpWritable`](crate::Event::UdpWritable).
    #[error("the send queue is full")]
    Full,
    /// No destination was given and the socket is not connected.
    #[error("no destination")]
    NoDestination,
    /// The source is not this stack's, or of the other family than the destination.
    #[error("{0} cannot be the source")]
    InvalidSource(SocketAddr),
    /// There is no route there.
    #[error("no route to {0}")]
    NoRoute(SocketAddr),
    /// The payload is larger than a datagram can be, or (with several in one) than fits a packet.
    #[error("{size} bytes are too long, {most} fit")]
    TooLong {
        /// Bytes of one datagram's payload.
        size: usize,
        /// The most there may be.
        most: usize,
    },
}

/// The attempt or connection is not there any more.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not there any more")]
pub struct Gone;

/// How an attempt at a deferring listener is refused
/// ([`Stack::tcp_refuse_with`](crate::Stack::tcp_refuse_with)): what its host makes of it.
///
/// Errors of ICMP are for the whole of an attempt to connect in Linux and the BSDs, which report them at
/// once; a host may also go on until its own time is over (RFC 1122 section 4.2.3.9). They are sent at a
/// bounded rate; beyond it, all of these are [`Refusal::Reset`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// RST: nobody listens.
    #[default]
    Reset,
    /// ICMP: no way to the network (ICMPv4 type 3 code 0, ICMPv6 type 1 code 0).
    NetworkUnreachable,
    /// ICMP: the host does not answer (ICMPv4 type 3 code 1, ICMPv6 type 1 code 3).
    HostUnreachable,
    /// ICMP: somebody forbids it (ICMPv4 type 3 code 13, ICMPv6 type 1 code 1).
    Prohibited,
}
