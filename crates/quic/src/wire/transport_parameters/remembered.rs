//! What a client keeps of a server's transport parameters for 0-RTT (RFC 9000 section 7.4.1).

use super::{MIN_ACTIVE_CONNECTION_IDS, MIN_UDP_PAYLOAD, TransportParameters};
use crate::error::{TransportError, code};
use crate::wire::frame::MAX_STREAM_COUNT;
use crate::wire::varint::{self, Reader};

/// First byte of an encoded [`Remembered`]; another one is from another release and is not used.
const FORMAT: u8 = 1;

/// The parameters that hold for 0-RTT. Kept by the client beside the ticket, and by the server
/// inside it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Connection IDs that the server keeps.
    pub active_connection_id_limit: u64,
    /// Bytes on all streams.
    pub initial_max_data: u64,
    /// Bytes on a bidirectional stream of the server.
    pub initial_max_stream_data_bidi_local: u64,
    /// Bytes on a bidirectional stream of the client.
    pub initial_max_stream_data_bidi_remote: u64,
    /// Bytes on a unidirectional stream of the client.
    pub initial_max_stream_data_uni: u64,
    /// Bidirectional streams of the client.
    pub initial_max_streams_bidi: u64,
    /// Unidirectional streams of the client.
    pub initial_max_streams_uni: u64,
    /// Largest DATAGRAM frame (RFC 9221 section 3).
    pub max_datagram_frame_size: u64,
    /// Largest UDP payload that the server takes.
    pub max_udp_payload_size: u64,
    /// Milliseconds of silence, 0 for no end.
    pub max_idle_timeout_ms: u64,
    /// Whether the client has to stay where it is.
    pub disable_active_migration: bool,
}

impl TransportParameters {
    /// What of these holds for 0-RTT on a later connection.
    #[must_use]
    pub fn remember(&self) -> Remembered {
        let idle = self.max_idle_timeout.map_or(0, |idle| idle.as_millis());
        Remembered {
            active_connection_id_limit: self.active_connection_id_limit,
            initial_max_data: self.initial_max_data,
            initial_max_stream_data_bidi_local: self.initial_max_stream_data_bidi_local,
            initial_max_stream_data_bidi_remote: self.initial_max_stream_data_bidi_remote,
            initial_max_stream_data_uni: self.initial_max_stream_data_uni,
            initial_max_streams_bidi: self.initial_max_streams_bidi,
            initial_max_streams_uni: self.initial_max_streams_uni,
            max_datagram_frame_size: self.max_datagram_frame_size,
            max_udp_payload_size: self.max_udp_payload_size,
            max_idle_timeout_ms: u64::try_from(idle).map_or(varint::MAX, |ms| ms.min(varint::MAX)),
            disable_active_migration: self.disable_active_migration,
        }
    }
}

impl Remembered {
    /// Parameters for use until the server's new ones are known: what is not remembered has its
    /// default.
    #[must_use]
    pub fn to_parameters(&self) -> TransportParameters {
        let idle = weir_core::time::Duration::from_millis(self.max_idle_timeout_ms);
        TransportParameters {
            active_connection_id_limit: self.active_connection_id_limit,
            initial_max_data: self.initial_max_data,
            initial_max_stream_data_bidi_local: self.initial_max_stream_data_bidi_local,
            initial_max_stream_data_bidi_remote: self.initial_max_stream_data_bidi_remote,
            initial_max_stream_data_uni: self.initial_max_stream_data_uni,
            initial_max_streams_bidi: self.initial_max_streams_bidi,
            initial_max_streams_uni: self.initial_max_streams_uni,
            max_datagram_frame_size: self.max_datagram_frame_size,
            max_udp_payload_size: self.max_udp_payload_size,
            max_idle_timeout: (!idle.is_zero()).then_some(idle),
            disable_active_migration: self.disable_active_migration,
            ..TransportParameters::default()
        }
    }

    /// The limits that a client may come up against in 0-RTT, in one order.
    const fn limits(&self) -> [u64; 8] {
        [
            self.active_connection_id_limit,
            self.initial_max_data,
            self.initial_max_stream_data_bidi_local,
            self.initial_max_stream_data_bidi_remote,
            self.initial_max_stream_data_uni,
            self.initial_max_streams_bidi,
            self.initial_max_streams_uni,
            self.max_datagram_frame_size,
        ]
    }

    /// Whether none of these limits is lower in `now`: only then may a server take 0-RTT data.
    #[must_use]
    pub fn still_holds(&self, now: &TransportParameters) -> bool {
        let limits = now.remember().limits();
        self.limits()
            .iter()
            .zip(limits)
            .all(|(old, new)| *old <= new)
    }

    /// For a client whose 0-RTT data was accepted, with the server's parameters of this handshake.
    ///
    /// # Errors
    ///
    /// PROTOCOL_VIOLATION when a limit became lower than what 0-RTT was told.
    pub fn check_accepted(&self, now: &TransportParameters) -> Result<(), TransportError> {
        if self.still_holds(now) {
            return Ok(());
        }
        Err(TransportError::new(
            code::PROTOCOL_VIOLATION,
            "0-RTT was accepted and its limits were lowered",
        ))
    }

    /// Appends these values, to be stored.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        let rest = [
            self.max_udp_payload_size,
            self.max_idle_timeout_ms,
            u64::from(self.disable_active_migration),
        ];
        for value in self.limits().into_iter().chain(rest) {
            varint::encode(value, out);
        }
    }

    /// Reads stored values; `None` when they are not whole, of another release, or not what
    /// parameters can be.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Remembered> {
        let mut reader = Reader::new(bytes);
        if reader.u8().ok()? != FORMAT {
            return None;
        }
        let mut next = || reader.varint().ok();
        let remembered = Remembered {
            active_connection_id_limit: next()?,
            initial_max_data: next()?,
            initial_max_stream_data_bidi_local: next()?,
            initial_max_stream_data_bidi_remote: next()?,
            initial_max_stream_data_uni: next()?,
            initial_max_streams_bidi: next()?,
            initial_max_streams_uni: next()?,
            max_datagram_frame_size: next()?,
            max_udp_payload_size: next()?,
            max_idle_timeout_ms: next()?,
            disable_active_migration: next()? != 0,
        };
        let valid = reader.is_empty()
            && remembered.active_connection_id_limit >= MIN_ACTIVE_CONNECTION_IDS
            && remembered.max_udp_payload_size >= MIN_UDP_PAYLOAD
            && remembered.initial_max_streams_bidi <= MAX_STREAM_COUNT
            && remembered.initial_max_streams_uni <= MAX_STREAM_COUNT;
        valid.then_some(remembered)
    }
}
