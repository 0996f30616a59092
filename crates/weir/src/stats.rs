//! What a connection and its streams are doing, and what holds them back.

use std::net::SocketAddr;
use std::time::Duration;

pub use weir_core::trace::HeldBy;
pub use weir_quic::EcnReport;

use crate::observe::ConnectionInfo;
use crate::security::PeerId;
use crate::via::Via;

/// A picture of one connection, taken at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// How the streams are carried.
    pub via: Via,
    /// Whose key answered, where the way is authenticated.
    pub peer: Option<PeerId>,
    /// The peer's address.
    pub remote_addr: SocketAddr,
    /// Time since the handshake ended.
    pub age: Duration,
    /// Smoothed round-trip time, once one has been measured.
    pub rtt: Option<Duration>,
    /// Bytes given to the carrier and taken from it, framing included.
    pub sent: u64,
    /// See [`Stats::sent`].
    pub received: u64,
    /// Bytes of memory that the connection holds for its streams now.
    pub memory_used: u64,
    /// The most it may hold.
    pub memory_limit: u64,
    /// Bytes of peers' data that were read and thrown away (streams that nobody reads any more).
    pub discarded: u64,
    /// The network path, where the way manages it itself (QUIC).
    pub path: Option<PathStats>,
    /// Streams that are open, in the order of their IDs.
    pub streams: Vec<StreamStats>,
}

impl Stats {
    /// A picture with nothing in it yet.
    pub(crate) fn new(info: &ConnectionInfo, age: Duration) -> Stats {
        Stats {
            via: info.via,
            peer: info.peer,
            remote_addr: info.remote_addr,
            age,
            rtt: None,
            sent: 0,
            received: 0,
            memory_used: 0,
            memory_limit: 0,
            discarded: 0,
            path: None,
            streams: Vec::new(),
        }
    }
}

/// The network path of a connection that manages it itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PathStats {
    /// The least round-trip time seen, once one has been measured.
    pub min_rtt: Option<Duration>,
    /// Bytes that may be on their way at once: the congestion window.
    pub congestion_window: u64,
    /// Bytes that are on their way.
    pub in_flight: u64,
    /// The congestion controller and the state it is in, in its own words.
    pub congestion: (&'static str, &'static str),
    /// Size of the datagrams that the path carries, in bytes of UDP payload.
    pub datagram_size: usize,
    /// What became of the marks for explicit congestion notification.
    pub ecn: EcnReport,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// UDP datagrams received.
    pub datagrams_received: u64,
    /// Packets that were sent and taken for lost.
    pub packets_lost: u64,
    /// Times that the connection moved to another address.
    pub migrations: u64,
    /// Times that the packet keys were replaced.
    pub key_updates: u64,
}

/// A picture of one stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamStats {
    /// The stream's ID on the wire.
    pub id: u64,
    /// The protocol's name for the state it is in.
    pub state: &'static str,
    /// Bytes handed to the carrier.
    pub sent: u64,
    /// Bytes that arrived.
    pub received: u64,
    /// Bytes written by the application that wait to be sent.
    pub queued: u64,
    /// Bytes that arrived and wait to be read by the application.
    pub unread: u64,
    /// Bytes that the peer still allows this side to send.
    pub send_window: u64,
    /// Bytes that this side still allows the peer to send.
    pub receive_window: u64,
    /// What keeps this side's data from going out now.
    pub send_held_by: HeldBy,
    /// What keeps the peer's data from coming in now, as far as this side can know.
    pub receive_held_by: HeldBy,
}
