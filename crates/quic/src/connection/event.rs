//! News for the one above, for the endpoint, and the names of the timers.

use std::net::SocketAddr;

use bytes::Bytes;
use weir_core::close::CloseReason;
use weir_core::slab::Key;

use crate::cid::ResetToken;
use crate::wire::transport_parameters::Remembered;
use crate::wire::{ConnectionId, Dir};

/// What happened that the application may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete: the peer is authenticated, streams can be used both ways.
    Connected,
    /// The handshake is confirmed (RFC 9001 4.1.2): the peer knows that it is complete.
    Confirmed,
    /// A read that was blocked can go on.
    Readable(Key),
    /// A write, or a wait for all to be acknowledged, that was blocked can go on.
    Writable(Key),
    /// The peer reset the stream.
    StreamReset(Key),
    /// The peer wants no more of what is sent on the stream.
    Stopped(Key),
    /// The peer opened a stream.
    Acceptable(Dir),
    /// An `open` that was blocked can go on.
    OpenReady(Dir),
    /// `recv_datagram` said `None` and has one now.
    DatagramReceived,
    /// Datagrams had to be dropped before they were sent; now the queue is empty.
    DatagramsUnblocked,
    /// Packets now go to another address: the connection moved.
    PathChanged {
        /// Where they went before.
        old: SocketAddr,
        /// Where they go now.
        new: SocketAddr,
    },
    /// The server did not take the early data. It is being sent again; what the streams were told
    /// of the peer's limits may have changed.
    ZeroRttRejected,
    /// The server gave a token for the next connection to it (RFC 9000 8.1.3).
    NewToken(Bytes),
    /// What the server allows, to be kept with the TLS session for 0-RTT (RFC 9000 7.4.1).
    Remember(Box<Remembered>),
    /// The connection is over. Nothing but [`Event::Drained`] follows.
    Closed(CloseReason),
    /// Nothing of the connection is left: it can be dropped.
    Drained,
}

/// What the endpoint has to know to route datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointEvent {
    /// The peer was given this connection ID.
    NewCid(ConnectionId),
    /// The peer will not use this connection ID any more.
    RetiredCid(ConnectionId),
    /// A datagram from `remote` that ends in this token is a stateless reset (RFC 9000 10.3).
    ResetTokenAdded {
        /// The peer's address.
        remote: SocketAddr,
        /// What it would end in.
        token: ResetToken,
    },
    /// The token means nothing any more.
    ResetTokenRemoved {
        /// The peer's address.
        remote: SocketAddr,
        /// What it would have ended in.
        token: ResetToken,
    },
    /// The peer's address is validated: the connection is not half-open any more.
    Validated,
    /// The connection is gone.
    Drained,
}

/// What a wake-up is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// A packet is taken for lost (RFC 9002 6.1.2).
    Loss,
    /// The peer was silent for too long after a packet (RFC 9002 6.2).
    Pto,
    /// An acknowledgement was left out long enough (RFC 9000 13.2.1).
    AckDelay,
    /// The next packet may go.
    Pacing,
    /// Nothing was heard for too long (RFC 9000 10.1).
    Idle,
    /// Time to ask whether the peer is there (RFC 9000 10.1.2).
    KeepAlive,
    /// The handshake takes too long.
    Handshake,
    /// A path has not answered, or a larger size is due to be tried.
    Path,
    /// Old keys are forgotten (RFC 9001 6.5).
    Keys,
    /// Windows that were grown and fell idle are looked at.
    Streams,
    /// Own connection IDs are replaced.
    ConnectionIds,
    /// Nothing came or went for a while: memory is given back.
    Rest,
    /// The closing or draining period ends (RFC 9000 10.2).
    Close,
}

impl Timer {
    /// The timer's name in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Timer::Loss => "loss",
            Timer::Pto => "pto",
            Timer::AckDelay => "ack_delay",
            Timer::Pacing => "pacing",
            Timer::Idle => "idle",
            Timer::KeepAlive => "keep_alive",
            Timer::Handshake => "handshake",
            Timer::Path => "path",
            Timer::Keys => "keys",
            Timer::Streams => "streams",
            Timer::ConnectionIds => "connection_ids",
            Timer::Rest => "rest",
            Timer::Close => "close",
        }
    }
}
