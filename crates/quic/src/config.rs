//! Settings of connections, checked before the first one starts.

use std::net::{SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_core::congestion::Algorithm;
use weir_core::time::Duration;

use crate::crypto::{ServerTls, TlsError};
use crate::limits::{MAX_DATAGRAM, MIN_DATAGRAM};
use crate::recovery::GRANULARITY;
use crate::wire::Version;
use crate::wire::transport_parameters::{Remembered, TransportParameters};

/// A setting that is out of its range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {value} {unit}, it must be between {min} and {max}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
    /// What the three numbers count.
    pub unit: &'static str,
}

/// Settings of the transport, the same for both ends. [`TransportConfig::validate`] is run when a
/// connection is made.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Bytes a peer may send on a new stream before this side has read any (RFC 9000 4.1).
    pub stream_window: u64,
    /// The most that one stream's window grows to when bandwidth times delay asks for it.
    pub max_stream_window: u64,
    /// Bytes a peer may send on all streams together before this side has read any.
    pub connection_window: u64,
    /// The most that the connection's window grows to.
    pub max_connection_window: u64,
    /// Memory of the whole connection, in bytes: unread and unsent data, enlarged windows, streams.
    pub connection_memory: u64,
    /// Bytes of one stream that may wait to be sent or acknowledged; a writer beyond it waits.
    pub send_buffer: u64,
    /// Bidirectional streams that the peer may have open at once (RFC 9000 4.6).
    pub max_bidi_streams: u64,
    /// Unidirectional streams that the peer may have open at once.
    pub max_uni_streams: u64,
    /// Streams that the peer may reset unanswered in a burst ...
    pub reset_burst: u32,
    /// ... and each second in the long run, before that ends the connection.
    pub reset_rate: u32,
    /// Largest DATAGRAM frame that is taken (RFC 9221 section 3), in bytes; 0: none is.
    pub max_datagram_frame: u64,
    /// Bytes of received datagrams that wait for the application; the oldest is dropped beyond it.
    pub datagram_receive_buffer: usize,
    /// Bytes of datagrams that wait to be sent; the oldest is dropped beyond it.
    pub datagram_send_buffer: usize,
    /// Congestion control.
    pub congestion: Algorithm,
    /// Round trip time that is assumed before one was measured (RFC 9002 6.2.2).
    pub initial_rtt: Duration,
    /// How long this side may leave an ACK out (RFC 9000 13.2.1); at most 2^14 ms. The timer is set
    /// a millisecond earlier.
    pub max_ack_delay: Duration,
    /// Silence after which the connection ends (RFC 9000 10.1); zero: never from this side.
    pub idle_timeout: Duration,
    /// A PING is sent when nothing was received for this long; `None`: never.
    pub keep_alive: Option<Duration>,
    /// How long probes may go unacknowledged, once the handshake is done, before the connection ends:
    /// sooner than by `idle_timeout`, and also where the path is cut in one direction only. Zero: never.
    pub answer_timeout: Duration,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// Largest UDP payload that is probed for (RFC 8899), in bytes. 1,452 is what Ethernet carries
    /// over IPv6.
    pub max_datagram: usize,
    /// Whether larger datagrams than 1,200 bytes are probed for at all.
    pub discover_mtu: bool,
    /// Whether packets are marked ECT(0) where the path passes it (RFC 9000 13.4).
    pub ecn: bool,
    /// Whether packets are spread over the round trip (RFC 9002 7.7).
    pub pacing: bool,
    /// Whether the peer is asked for fewer acknowledgements, and may ask (ack-frequency draft).
    pub ack_frequency: bool,
    /// Whether reserved values are sent now and then, and the fixed bit is random where the peer
    /// takes it (RFC 9287).
    pub grease: bool,
    /// Whether the latency spin bit spins, on 15 of 16 paths (RFC 9000 17.4).
    pub spin: bool,
    /// Whether the peer may move to another address on purpose (RFC 9000 section 9).
    pub migration: bool,
    /// Packets sealed under one key before it is updated; `None`: as the cipher's limit asks.
    pub key_update_after: Option<u64>,
    /// Whether a server keeps TLS after the handshake, so that keying material can be exported
    /// (RFC 8446 7.5). It costs some 10 KiB a connection.
    pub exporter: bool,
}

impl Default for TransportConfig {
    fn default() -> Self {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        TransportConfig {
            stream_window: 512 * KIB,
            max_stream_window: 16 * MIB,
            connection_window: 2 * MIB,
            max_connection_window: 48 * MIB,
            connection_memory: 64 * MIB,
            send_buffer: 2 * MIB,
            max_bidi_streams: 1000,
            max_uni_streams: 1000,
            reset_burst: 1_024,
            reset_rate: 256,
            max_datagram_frame: 65_535,
            datagram_receive_buffer: MIB as usize,
            datagram_send_buffer: MIB as usize,
            congestion: Algorithm::Cubic,
            initial_rtt: Duration::from_millis(333),
            max_ack_delay: Duration::from_millis(25),
            idle_timeout: Duration::from_secs(30),
            keep_alive: None,
            answer_timeout: Duration::ZERO,
            handshake_timeout: Duration::from_secs(10),
            max_datagram: 1452,
            discover_mtu: true,
            ecn: true,
            pacing: true,
            ack_frequency: true,
            grease: true,
            spin: false,
            migration: true,
            key_update_after: None,
            exporter: false,
        }
    }
}

/// A day: no time-out is meant to be longer, and sums of times stay far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The largest window (RFC 9000 section 16 bounds what an offset can be).
const MAX_WINDOW: u64 = 1 << 40;

impl TransportConfig {
    /// Checks every field and how they fit together.
    ///
    /// # Errors
    /// The first field that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_windows()?;
        self.validate_counts()?;
        self.validate_times()
    }

    /// How long an acknowledgement is put off: less than is announced, as timers fire late (RFC 9000
    /// section 18.2).
    pub(crate) fn own_ack_delay(&self) -> Duration {
        let late = GRANULARITY.min(self.max_ack_delay / 2);
        self.max_ack_delay.saturating_sub(late)
    }

    fn validate_windows(&self) -> Result<(), ConfigError> {
        let bytes = |field, value, min, max| check(field, value, min, max, "bytes");
        bytes("stream_window", self.stream_window, 1024, MAX_WINDOW)?;
        bytes(
            "max_stream_window",
            self.max_stream_window,
            self.stream_window,
            MAX_WINDOW,
        )?;
        bytes(
            "connection_window",
            self.connection_window,
            1024,
            MAX_WINDOW,
        )?;
        bytes(
            "max_connection_window",
            self.max_connection_window,
            self.connection_window,
            MAX_WINDOW,
        )?;
        bytes(
            "connection_memory",
            self.connection_memory,
            64 * 1024,
            1 << 48,
        )?;
        bytes("send_buffer", self.send_buffer, 4096, MAX_WINDOW)?;
        bytes(
            "max_datagram",
            self.max_datagram as u64,
            MIN_DATAGRAM as u64,
            MAX_DATAGRAM as u64,
        )?;
        bytes("max_datagram_frame", self.max_datagram_frame, 0, 65_535)
    }

    fn validate_counts(&self) -> Result<(), ConfigError> {
        let streams = |field, value: u64| check(field, value, 0, 1 << 60, "streams");
        streams("max_bidi_streams", self.max_bidi_streams)?;
        streams("max_uni_streams", self.max_uni_streams)?;
        let resets = |field, value: u32| check(field, value.into(), 1, 1 << 24, "streams");
        resets("reset_burst", self.reset_burst)?;
        resets("reset_rate", self.reset_rate)?;
        if let Some(packets) = self.key_update_after {
            check("key_update_after", packets, 1, u64::MAX, "packets")?;
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let time = |field, value: Duration, min: u64, max: Duration| {
            check(field, micros(value), min, micros(max), "microseconds")
        };
        time("initial_rtt", self.initial_rtt, 1, Duration::from_secs(10))?;
        let most = Duration::from_millis((1 << 14) - 1);
        time("max_ack_delay", self.max_ack_delay, 1, most)?;
        time("idle_timeout", self.idle_timeout, 0, LONGEST)?;
        if let Some(keep_alive) = self.keep_alive {
            time("keep_alive", keep_alive, 1000, LONGEST)?;
        }
        time("answer_timeout", self.answer_timeout, 0, LONGEST)?;
        time("handshake_timeout", self.handshake_timeout, 1000, LONGEST)
    }
}

/// What a client needs to begin a connection.
#[derive(Clone)]
pub struct ClientConfig {
    /// Settings of the transport.
    pub transport: Arc<TransportConfig>,
    /// Settings of TLS: version 1.3 only, with at least one application protocol.
    pub crypto: Arc<rustls::ClientConfig>,
    /// Versions in the order of preference. The first is tried, unless `first_version` says
    /// otherwise; the others are offered for compatible version negotiation (RFC 9368 section 2.3).
    pub versions: Vec<Version>,
    /// The version to begin with, one of `versions`, when that is not the preferred one: a server
    /// that speaks both moves the connection to the better one, and one that does not know of it
    /// need not be asked twice.
    pub first_version: Option<Version>,
    /// A token that the server gave in an earlier connection (RFC 9000 8.1.3): it spares a round
    /// trip when the server asks for proof of the address. Used once.
    pub token: Option<Bytes>,
    /// What the server allowed in the connection that the TLS session is resumed from: with it and
    /// a ticket that permits it, data goes out in the first flight (0-RTT).
    ///
    /// Whoever records the first flight can send it to the server again (RFC 9001 9.2): only what
    /// may happen twice belongs into it.
    pub remembered: Option<Remembered>,
}

impl ClientConfig {
    /// The version of the first packet.
    pub(crate) fn begin_with(&self) -> Option<Version> {
        self.first_version.or(self.versions.first().copied())
    }

    /// Version 1 first, version 2 offered, nothing remembered.
    #[must_use]
    pub fn new(crypto: Arc<rustls::ClientConfig>) -> ClientConfig {
        ClientConfig {
            transport: Arc::default(),
            crypto,
            versions: vec![Version::V1, Version::V2],
            first_version: None,
            token: None,
            remembered: None,
        }
    }
}

/// An address that a server asks its clients to move to after the handshake (RFC 9000 9.6).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferredAddresses {
    /// For clients that speak IPv4.
    pub v4: Option<SocketAddrV4>,
    /// For clients that speak IPv6.
    pub v6: Option<SocketAddrV6>,
}

/// What a server needs to take a connection.
#[derive(Clone)]
pub struct ServerConfig {
    /// Settings of the transport.
    pub transport: Arc<TransportConfig>,
    /// Settings of TLS: version 1.3 only, with at least one application protocol. 0-RTT is taken
    /// when `max_early_data_size` is `u32::MAX`, and rustls then keeps the tickets' use to once.
    pub crypto: Arc<rustls::ServerConfig>,
    /// Versions that are spoken, the preferred one first. A client that began with another than the
    /// first of these that it offers is moved there (RFC 9368 section 2.3), but not to version 1:
    /// with `[V2, V1]` whoever offers version 2 gets it, with `[V1, V2]` the client's choice is kept.
    pub versions: Vec<Version>,
    /// Whether the client's order of preference decides among `versions`, and not theirs.
    pub follows_client_versions: bool,
    /// Where clients are asked to move to.
    pub preferred: PreferredAddresses,
    /// What is derived from `crypto` once and used for all connections; [`Default`] to begin with,
    /// and again when `crypto` or `transport` is changed after a connection was taken.
    pub derived: DerivedTls,
}

/// TLS configurations that a [`ServerConfig`] derives from its own, one for each pair of versions.
#[derive(Clone, Default)]
pub struct DerivedTls(Arc<OnceLock<ServerTls>>);

impl ServerConfig {
    /// Versions 1 and 2, the client's first choice kept.
    #[must_use]
    pub fn new(crypto: Arc<rustls::ServerConfig>) -> ServerConfig {
        ServerConfig {
            transport: Arc::default(),
            crypto,
            versions: vec![Version::V1, Version::V2],
            follows_client_versions: false,
            preferred: PreferredAddresses::default(),
            derived: DerivedTls::default(),
        }
    }

    /// TLS for connections to which `own` is announced. Tickets are good for what was announced with
    /// them (RFC 9000 7.4.1).
    pub(crate) fn tls(&self, own: &TransportParameters) -> Result<&ServerTls, TlsError> {
        let cell = &self.derived.0;
        if let Some(tls) = cell.get() {
            return Ok(tls);
        }
        let mut limits = Vec::new();
        own.remember().encode(&mut limits);
        let tls = ServerTls::new(&self.crypto, &limits)?;
        Ok(cell.get_or_init(|| tls))
    }
}

/// Whether a field is in its range.
pub(crate) fn check(
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
    unit: &'static str,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value,
        min,
        max,
        unit,
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(TransportConfig::default().validate(), Ok(()));
    }

    #[test]
    fn an_error_names_field_value_and_range() {
        let config = TransportConfig {
            max_datagram: 1000,
            ..TransportConfig::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(
            error,
            "max_datagram is 1000 bytes, it must be between 1200 and 65507"
        );
        let config = TransportConfig {
            max_ack_delay: Duration::from_millis(1 << 14),
            ..TransportConfig::default()
        };
        assert_eq!(config.validate().unwrap_err().field, "max_ack_delay");
    }
}
