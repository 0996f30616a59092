//! What a stack tells the one above, and which wake-ups it asks for.

use std::net::{IpAddr, SocketAddr};

use super::{IncomingKey, ListenerKey, TcpKey, UdpKey};
use crate::device::InterfaceId;
use crate::tcp::CloseCause;

/// News for the application, from [`poll_event`](crate::Stack::poll_event). "Readable" and
/// "writable" are told when that becomes so after it was not, not for each segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection that this side began, or that it confirmed, is established.
    TcpConnected(TcpKey),
    /// There is something to read: data, the peer's end of data, or the connection's failure.
    TcpReadable(TcpKey),
    /// The peer has sent urgent data, or more of it, that was not read yet (RFC 9293 section 3.8.5):
    /// [`tcp_urgent`](crate::Stack::tcp_urgent) says how far it reaches. Told once until that is asked.
    TcpUrgent(TcpKey),
    /// There is room to write after a write had found too little.
    TcpWritable(TcpKey),
    /// The connection has ended, both ways, and why. What arrived before can still be read, and the
    /// key is there until it is closed.
    TcpClosed(TcpKey, CloseCause),
    /// [`tcp_accept`](crate::Stack::tcp_accept) has a connection to give.
    TcpAcceptable(ListenerKey),
    /// A client asks a deferring listener for a connection. It hears nothing before
    /// [`tcp_confirm`](crate::Stack::tcp_confirm) or [`tcp_refuse`](crate::Stack::tcp_refuse).
    TcpIncoming {
        /// Whose listener.
        listener: ListenerKey,
        /// The attempt.
        incoming: IncomingKey,
        /// The address and port that the client wants.
        local: SocketAddr,
        /// The client.
        remote: SocketAddr,
    },
    /// An attempt is over without an answer: the client took it back or it is too old.
    TcpIncomingGone(IncomingKey),
    /// A datagram waits to be received after none did.
    UdpReadable(UdpKey),
    /// There is room to send after a send had found too little.
    UdpWritable(UdpKey),
    /// Something went wrong with what was sent: [`udp_error`](crate::Stack::udp_error) says what.
    UdpError(UdpKey),
    /// An address of an interface is in use from now on (duplicate detection found nobody else), or
    /// not any more.
    Address {
        /// The interface.
        interface: InterfaceId,
        /// The address.
        address: IpAddr,
        /// What became of it.
        state: AddressState,
    },
}

/// What became of an address.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressState {
    /// It can be used.
    Ready,
    /// Somebody else uses it (RFC 4862 5.4.5, RFC 5227).
    Conflict,
    /// Its lifetime is over, or it was removed.
    Gone,
}

/// Why [`poll_timeout`](crate::Stack::poll_timeout) asks for a wake-up.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// Neighbours, routers, addresses, reassembly.
    Internet,
    /// Connections: retransmission, delayed ACK, probe, pacing, keep-alive, TIME-WAIT; attempts that
    /// nobody decided on.
    Connection,
}
