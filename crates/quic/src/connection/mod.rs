//! One connection: the parts of the engine put together.
//!
//! | file | what of it |
//! |---|---|
//! | `begin.rs` | how a connection starts, on each side |
//! | `receive.rs`, `frames.rs` | datagrams to packets, packets to frames, frames to the parts |
//! | `drops.rs` | why something that arrived is thrown away |
//! | `transmit.rs`, `write.rs`, `packet.rs` | what is sent when, which frames go into a packet, how it is sealed |
//! | `settle.rs` | what acknowledgement and loss mean for each frame |
//! | `handshake.rs`, `negotiate.rs` | TLS and its keys; Retry and versions |
//! | `close.rs`, `timers.rs`, `paths.rs` | how it ends, when it wakes up, where packets go |
//! | `unreachable.rs` | what the network says of a peer that takes no datagrams |
//! | `application.rs`, `stats.rs` | what the one above calls and sees |
//! | `trace/` | what is traced: packets with their frames, and what each call changed |

mod application;
mod begin;
mod close;
mod drops;
mod event;
mod frames;
mod handshake;
mod hasten;
mod negotiate;
mod packet;
mod paths;
mod receive;
mod settle;
mod stats;
#[cfg(any(test, feature = "measure"))]
mod testing;
mod timers;
mod trace;
mod transmit;
mod unreachable;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::close::CloseReason;
use weir_core::deliver::Deliver;
use weir_core::rng::Rng;
use weir_core::time::Instant;
use weir_core::trace::Tracer;

pub(crate) use begin::{Origin, Seed};
pub use event::{EndpointEvent, Event, Timer};
pub use handshake::HandshakeInfo;
pub use stats::{ConnectionStats, EcnReport};

use crate::cid::ResetToken;
use crate::cid::local::LocalCids;
use crate::config::TransportConfig;
use crate::crypto::Protection;
use crate::path::PathSet;
use crate::recovery::received::Received;
use crate::recovery::{Outcome, Recovery};
use crate::sent::SentFrame;
use crate::stream::Streams;
use crate::stream::datagrams::Datagrams;
use crate::wire::transport_parameters::TransportParameters;
use crate::wire::{Side, Space, Version};

/// One end of a QUIC connection (RFC 9000), as a state machine without socket, clock or tasks.
///
/// # How it is driven
/// - [`handle_datagram`](Connection::handle_datagram) for every datagram that the endpoint routed
///   here, [`handle_timeout`](Connection::handle_timeout) when the time of
///   [`poll_timeout`](Connection::poll_timeout) has come; a call too many does nothing.
/// - After a batch of those and of calls from the application:
///   [`poll_transmit`](Connection::poll_transmit) until `None`, sending what each call wrote, then
///   [`poll_event`](Connection::poll_event) and
///   [`poll_endpoint_event`](Connection::poll_endpoint_event) until `None`, then
///   [`poll_timeout`](Connection::poll_timeout), whose answer holds until the next call.
/// - `now` never goes back. Nothing a peer sends is an error of a call: it becomes
///   [`Event::Closed`].
///
/// Acknowledgements are decided once per `poll_transmit`, so the larger the batch of datagrams
/// before it, the fewer packets they take.
pub struct Connection {
    side: Side,
    config: Arc<TransportConfig>,
    version: Version,
    rng: Rng,
    state: State,
    /// What only the handshake needs, and the CRYPTO streams.
    handshake: handshake::Handshake,
    protection: Protection,
    recovery: Recovery,
    received: [Received; 3],
    memory: Budget,
    streams: Streams,
    datagrams: Datagrams,
    paths: PathSet,
    local_cids: LocalCids,
    /// What the peer announced; the defaults until then.
    peer: Box<TransportParameters>,
    outbox: Outbox,
    clock: Clock,
    /// Frames of the packet that is being written.
    log: Vec<SentFrame>,
    /// Where acknowledged and lost frames are collected, kept for its memory.
    outcome: Outcome,
    events: VecDeque<Event>,
    endpoint_events: VecDeque<EndpointEvent>,
    /// The reset tokens in use, and their addresses, that the endpoint was told of.
    told_tokens: Vec<(std::net::SocketAddr, ResetToken)>,
    /// The application takes no new streams.
    is_going_away: bool,
    spin: Spin,
    tracer: Tracer,
    /// What the tracer was told last; `None` while nobody listens.
    seen: Option<Box<trace::Seen>>,
    stats: stats::Counters,
}

/// Where a connection is in its life (RFC 9000 section 10).
#[derive(Debug)]
enum State {
    /// TLS has not finished.
    Handshaking,
    /// TLS has finished; `confirmed` once the peer is known to know.
    Established { confirmed: bool },
    /// This side closed: packets are answered with CONNECTION_CLOSE.
    Closing(Box<close::Closing>),
    /// The peer closed, or is gone: nothing is sent any more.
    Draining { until: Instant, reason: CloseReason },
    /// Nothing is left.
    Drained { reason: CloseReason },
}

/// Frames of the connection itself that wait to be sent.
#[derive(Debug, Default)]
struct Outbox {
    /// Probes that the recovery asked for, by space (RFC 9002 6.2.4).
    probes: [u8; 3],
    /// HANDSHAKE_DONE until it is acknowledged.
    handshake_done: Deliver<u8>,
    /// NEW_TOKEN until it is acknowledged.
    new_token: Deliver<u8>,
    /// The token itself.
    token: Bytes,
    /// Whether the packets of the batch that is written are marked for congestion notification;
    /// `None` before its first.
    marks: Option<bool>,
    /// Ask the peer for a sign of life.
    ping: bool,
}

/// The latency spin bit (RFC 9000 section 17.4).
#[derive(Copy, Clone, Debug, Default)]
struct Spin {
    /// It spins; otherwise it is always 0.
    enabled: bool,
    /// What the next packet says.
    value: bool,
}

/// Times that belong to the connection as a whole.
#[derive(Debug)]
struct Clock {
    /// When it began.
    started: Instant,
    /// When a packet was last received and processed.
    received: Instant,
    /// What the idle time-out counts from (RFC 9000 10.1).
    idle_from: Instant,
    /// When the first of the probe time-outs in a row expired that nothing was acknowledged since.
    silent_from: Instant,
    /// What the next sign of life counts from (RFC 9000 10.1.2): the last packet received, or the
    /// last one asked for.
    alive_from: Instant,
    /// An ack-eliciting packet was sent since the last packet was received.
    eliciting_sent: bool,
    /// The peer was sending: when it falls silent in the middle of something, it is asked once.
    expects: bool,
    /// The pacer holds packets back until then.
    pacing: Option<Instant>,
    /// When memory that only traffic needs is given back.
    rest: Option<Instant>,
    /// Keys of early data are kept until then (RFC 9001 4.9.3).
    early_keys: Option<Instant>,
}

impl Connection {
    /// Which end this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The version that is spoken.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// True until TLS has finished on this side.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Handshaking)
    }

    /// True once the handshake is confirmed (RFC 9001 4.1.2) and the connection is open.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Established { confirmed: true })
    }

    /// True while streams can be used: neither side has closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Handshaking | State::Established { .. })
    }

    /// True when nothing of the connection is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(self.state, State::Drained { .. })
    }

    /// Why the connection is over, once it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<&CloseReason> {
        match &self.state {
            State::Closing(closing) => Some(closing.reason()),
            State::Draining { reason, .. } | State::Drained { reason } => Some(reason),
            _ => None,
        }
    }

    /// The next piece of news.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if !self.is_open() {
            // `Closed` was said: it means every stream, whatever was to be said of one.
            return None;
        }
        self.poll_stream_event()
    }

    /// The next thing that the endpoint has to know.
    pub fn poll_endpoint_event(&mut self) -> Option<EndpointEvent> {
        self.collect_endpoint_events();
        self.endpoint_events.pop_front()
    }

    fn received(&mut self, space: Space) -> &mut Received {
        let [initial, handshake, data] = &mut self.received;
        match space {
            Space::Initial => initial,
            Space::Handshake => handshake,
            Space::Data => data,
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("side", &self.side)
            .field("version", &self.version)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
