//! Transport parameters (RFC 9000 section 18, RFC 9221, 9287, 9368, the ACK frequency extension).

#![deny(clippy::arithmetic_side_effects)]

mod decode;
mod encode;
mod remembered;
#[cfg(test)]
mod tests;

use std::net::{SocketAddrV4, SocketAddrV6};

use weir_core::time::Duration;

use super::{ConnectionId, Version};

pub use remembered::Remembered;

/// Identifiers (RFC 9000 section 18.2 and the extensions).
pub mod id {
    /// `original_destination_connection_id`, from servers only.
    pub const ORIGINAL_DESTINATION_CONNECTION_ID: u64 = 0x00;
    /// `max_idle_timeout`.
    pub const MAX_IDLE_TIMEOUT: u64 = 0x01;
    /// `stateless_reset_token`, from servers only.
    pub const STATELESS_RESET_TOKEN: u64 = 0x02;
    /// `max_udp_payload_size`.
    pub const MAX_UDP_PAYLOAD_SIZE: u64 = 0x03;
    /// `initial_max_data`.
    pub const INITIAL_MAX_DATA: u64 = 0x04;
    /// `initial_max_stream_data_bidi_local`.
    pub const INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
    /// `initial_max_stream_data_bidi_remote`.
    pub const INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
    /// `initial_max_stream_data_uni`.
    pub const INITIAL_MAX_STREAM_DATA_UNI: u64 = 0x07;
    /// `initial_max_streams_bidi`.
    pub const INITIAL_MAX_STREAMS_BIDI: u64 = 0x08;
    /// `initial_max_streams_uni`.
    pub const INITIAL_MAX_STREAMS_UNI: u64 = 0x09;
    /// `ack_delay_exponent`.
    pub const ACK_DELAY_EXPONENT: u64 = 0x0a;
    /// `max_ack_delay`.
    pub const MAX_ACK_DELAY: u64 = 0x0b;
    /// `disable_active_migration`.
    pub const DISABLE_ACTIVE_MIGRATION: u64 = 0x0c;
    /// `preferred_address`, from servers only.
    pub const PREFERRED_ADDRESS: u64 = 0x0d;
    /// `active_connection_id_limit`.
    pub const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
    /// `initial_source_connection_id`.
    pub const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
    /// `retry_source_connection_id`, from servers only.
    pub const RETRY_SOURCE_CONNECTION_ID: u64 = 0x10;
    /// `version_information` (RFC 9368).
    pub const VERSION_INFORMATION: u64 = 0x11;
    /// `max_datagram_frame_size` (RFC 9221).
    pub const MAX_DATAGRAM_FRAME_SIZE: u64 = 0x20;
    /// `grease_quic_bit` (RFC 9287).
    pub const GREASE_QUIC_BIT: u64 = 0x2ab2;
    /// `min_ack_delay` (draft-ietf-quic-ack-frequency section 3).
    pub const MIN_ACK_DELAY: u64 = 0xff04_de1b;

    /// All that are known here.
    pub(super) const KNOWN: [u64; 21] = [
        ORIGINAL_DESTINATION_CONNECTION_ID,
        MAX_IDLE_TIMEOUT,
        STATELESS_RESET_TOKEN,
        MAX_UDP_PAYLOAD_SIZE,
        INITIAL_MAX_DATA,
        INITIAL_MAX_STREAM_DATA_BIDI_LOCAL,
        INITIAL_MAX_STREAM_DATA_BIDI_REMOTE,
        INITIAL_MAX_STREAM_DATA_UNI,
        INITIAL_MAX_STREAMS_BIDI,
        INITIAL_MAX_STREAMS_UNI,
        ACK_DELAY_EXPONENT,
        MAX_ACK_DELAY,
        DISABLE_ACTIVE_MIGRATION,
        PREFERRED_ADDRESS,
        ACTIVE_CONNECTION_ID_LIMIT,
        INITIAL_SOURCE_CONNECTION_ID,
        RETRY_SOURCE_CONNECTION_ID,
        VERSION_INFORMATION,
        MAX_DATAGRAM_FRAME_SIZE,
        GREASE_QUIC_BIT,
        MIN_ACK_DELAY,
    ];

    /// Whether it is one of those that are to be ignored (RFC 9000 section 18.1).
    #[must_use]
    pub const fn is_reserved(id: u64) -> bool {
        id % 31 == 27
    }
}

/// `max_udp_payload_size` when it is absent, and its largest useful value.
pub const MAX_UDP_PAYLOAD: u64 = 65_527;
/// Smallest `max_udp_payload_size`.
pub const MIN_UDP_PAYLOAD: u64 = 1200;
/// Largest `ack_delay_exponent`.
pub const MAX_ACK_DELAY_EXPONENT: u8 = 20;
/// `max_ack_delay` has to be below this many milliseconds.
pub const MAX_ACK_DELAY_END_MS: u64 = 1 << 14;
/// Smallest `active_connection_id_limit`.
pub const MIN_ACTIVE_CONNECTION_IDS: u64 = 2;

/// What one side tells the other in the handshake. [`Default`] is what holds where nothing is told
/// (RFC 9000 section 18.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportParameters {
    /// Destination ID of the client's first Initial. From servers only.
    pub original_destination_connection_id: Option<ConnectionId>,
    /// Silence after which the sender forgets the connection, in whole milliseconds; `None`, on the
    /// wire also 0: never.
    pub max_idle_timeout: Option<Duration>,
    /// Token for the connection ID of the handshake. From servers only.
    pub stateless_reset_token: Option<[u8; 16]>,
    /// Largest UDP payload that the sender takes, in bytes, 1200 at least.
    pub max_udp_payload_size: u64,
    /// Bytes on all streams.
    pub initial_max_data: u64,
    /// Bytes on a bidirectional stream that the sender of the parameters opens.
    pub initial_max_stream_data_bidi_local: u64,
    /// Bytes on a bidirectional stream that the receiver of the parameters opens.
    pub initial_max_stream_data_bidi_remote: u64,
    /// Bytes on a unidirectional stream that the receiver of the parameters opens.
    pub initial_max_stream_data_uni: u64,
    /// Bidirectional streams that the receiver may open, 2^60 at most.
    pub initial_max_streams_bidi: u64,
    /// Unidirectional streams that the receiver may open, 2^60 at most.
    pub initial_max_streams_uni: u64,
    /// ACK delays of the sender are in units of 2^this microseconds, 20 at most.
    pub ack_delay_exponent: u8,
    /// Longest that the sender delays an ACK on purpose, in whole milliseconds below 2^14.
    pub max_ack_delay: Duration,
    /// No migration to the address of the handshake.
    pub disable_active_migration: bool,
    /// Where the server would rather be talked to. From servers only.
    pub preferred_address: Option<PreferredAddress>,
    /// Connection IDs that the sender keeps, 2 at least.
    pub active_connection_id_limit: u64,
    /// Source ID of the sender's first Initial.
    pub initial_source_connection_id: Option<ConnectionId>,
    /// Source ID of the Retry packet, if there was one. From servers only.
    pub retry_source_connection_id: Option<ConnectionId>,
    /// Largest DATAGRAM frame that the sender takes, in bytes with type and length; 0: none.
    pub max_datagram_frame_size: u64,
    /// Versions (RFC 9368 section 3).
    pub version_information: Option<VersionInformation>,
    /// The fixed bit may have any value (RFC 9287).
    pub grease_quic_bit: bool,
    /// The sender takes ACK_FREQUENCY, and can wait no shorter than this, in whole microseconds.
    pub min_ack_delay: Option<Duration>,
}

impl Default for TransportParameters {
    fn default() -> Self {
        TransportParameters {
            original_destination_connection_id: None,
            max_idle_timeout: None,
            stateless_reset_token: None,
            max_udp_payload_size: MAX_UDP_PAYLOAD,
            initial_max_data: 0,
            initial_max_stream_data_bidi_local: 0,
            initial_max_stream_data_bidi_remote: 0,
            initial_max_stream_data_uni: 0,
            initial_max_streams_bidi: 0,
            initial_max_streams_uni: 0,
            ack_delay_exponent: 3,
            max_ack_delay: Duration::from_millis(25),
            disable_active_migration: false,
            preferred_address: None,
            active_connection_id_limit: MIN_ACTIVE_CONNECTION_IDS,
            initial_source_connection_id: None,
            retry_source_connection_id: None,
            max_datagram_frame_size: 0,
            version_information: None,
            grease_quic_bit: false,
            min_ack_delay: None,
        }
    }
}

/// `preferred_address`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PreferredAddress {
    /// Over IPv4; all zero on the wire is none.
    pub ipv4: Option<SocketAddrV4>,
    /// Over IPv6; all zero on the wire is none.
    pub ipv6: Option<SocketAddrV6>,
    /// Connection ID number 1, never empty.
    pub id: ConnectionId,
    /// Its stateless reset token.
    pub reset_token: [u8; 16],
}

/// `version_information`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInformation {
    /// What the sender chose.
    pub chosen: Version,
    /// From a client, what its first flight is compatible with, the best first; from a server, what
    /// it speaks, in no order. Reserved versions may be among them.
    pub available: Vec<Version>,
}
