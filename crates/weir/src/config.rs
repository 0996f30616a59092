//! What can be set on an endpoint, with the reason for each default.

use std::time::Duration;

use crate::error::EndpointError;
use crate::quic::QuicConfig;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Settings of an endpoint and its connections. Values are checked when the endpoint is made.
///
/// ```
/// use std::time::Duration;
/// let config = weir::Config {
///     memory_limit: 50 * 1024 * 1024, // a phone's network extension
///     keep_alive: Some(Duration::from_secs(15)),
///     ..weir::Config::default()
/// };
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes that all connections of the endpoint together may hold for their streams. No peer can
    /// make them hold more. 1 GiB.
    pub memory_limit: u64,
    /// Bytes that one connection may hold for its streams, shared fairly among them. 64 MiB.
    pub connection_memory: u64,
    /// Bytes a peer may send on a new stream before this side has read any, and the size a window
    /// shrinks back to. 256 KiB, the least that multiplexers of other makes assume.
    pub stream_window: u64,
    /// The most that one stream's window grows to when its bandwidth times delay asks for it.
    /// 16 MiB, which is 1.3 Gbit/s over 100 ms.
    pub max_stream_window: u64,
    /// Bytes of one stream that may wait to be sent; a writer beyond it waits. 1 MiB.
    pub send_buffer: u64,
    /// Streams that the peer may have open at once. 65,536.
    pub max_inbound_streams: u32,
    /// Streams of the peer that may wait for [`crate::Connection::accept_bi`]; more are refused one
    /// by one. 1,024.
    pub accept_backlog: u32,
    /// How long the handshake of a new connection may take. 10 s.
    pub handshake_timeout: Duration,
    /// Connections in their handshake at once; more wait in the system's listen queue. 512.
    pub max_handshakes: usize,
    /// Connections that wait for [`crate::Endpoint::accept`]. 1,024.
    pub connection_backlog: usize,
    /// Idle time after which the peer is asked for a sign of life; `None` never asks. 30 s.
    pub keep_alive: Option<Duration>,
    /// How long the answer to that may take before the connection is given up. Over QUIC, where every
    /// packet is answered, the answer to anything that was sent: a path that is cut under a running
    /// transfer is noticed after this time. 10 s.
    pub keep_alive_timeout: Duration,
    /// How long a new stream may stay unanswered by the peer before it fails. 75 s.
    pub open_timeout: Duration,
    /// How long the peer may say nothing on a stream that this side has finished before the stream is
    /// reset. 5 min.
    pub close_timeout: Duration,
    /// How long the carrier may take no bytes at all before the connection is given up. 30 s.
    pub write_timeout: Duration,
    /// What concerns QUIC alone.
    pub quic: QuicConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            memory_limit: 1024 * MIB,
            connection_memory: 64 * MIB,
            stream_window: 256 * KIB,
            max_stream_window: 16 * MIB,
            send_buffer: MIB,
            max_inbound_streams: 65_536,
            accept_backlog: 1024,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 512,
            connection_backlog: 1024,
            keep_alive: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(75),
            close_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            quic: QuicConfig::default(),
        }
    }
}

impl Config {
    /// Checks every value; the error names the field, its value and its range.
    pub fn check(&self) -> Result<(), EndpointError> {
        let wrong = |field: &str, value: String, range: &str| {
            Err(EndpointError::Config(format!(
                "{field} is {value}, but must be {range}"
            )))
        };
        if self.memory_limit < MIB {
            return wrong(
                "memory_limit",
                self.memory_limit.to_string(),
                "at least 1 MiB",
            );
        }
        if self.connection_memory < MIB {
            return wrong(
                "connection_memory",
                self.connection_memory.to_string(),
                "at least 1 MiB",
            );
        }
        for (field, value) in [
            ("max_handshakes", self.max_handshakes),
            ("connection_backlog", self.connection_backlog),
        ] {
            if value == 0 || value > 1 << 20 {
                return wrong(field, value.to_string(), "from 1 to 1,048,576");
            }
        }
        if self.handshake_timeout.is_zero() {
            return wrong("handshake_timeout", "zero".to_owned(), "more than zero");
        }
        let words = |error: &dyn std::fmt::Display| EndpointError::Config(error.to_string());
        self.yamux().validate().map_err(|error| words(&error))?;
        let transport = self.quic_transport();
        transport.validate().map_err(|error| words(&error))
    }

    /// The multiplexer's settings that follow from these.
    pub(crate) fn yamux(&self) -> weir_yamux::Config {
        let bytes = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        weir_yamux::Config {
            receive_window: bytes(self.stream_window),
            max_receive_window: bytes(self.max_stream_window),
            max_streams: self.max_inbound_streams,
            accept_backlog: self.accept_backlog,
            send_buffer: bytes(self.send_buffer),
            keepalive: self.keep_alive,
            keepalive_timeout: self.keep_alive_timeout,
            open_timeout: self.open_timeout,
            close_timeout: self.close_timeout,
            write_timeout: self.write_timeout,
            session_budget: self.connection_memory,
            ..weir_yamux::Config::default()
        }
    }
}
