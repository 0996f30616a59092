//! Frame types, and what follows from a type alone (RFC 9000 table 3).

use crate::wire::header::PacketType;

/// PADDING.
pub const PADDING: u64 = 0x00;
/// PING.
pub const PING: u64 = 0x01;
/// ACK.
pub const ACK: u64 = 0x02;
/// ACK with ECN counts.
pub const ACK_ECN: u64 = 0x03;
/// RESET_STREAM.
pub const RESET_STREAM: u64 = 0x04;
/// STOP_SENDING.
pub const STOP_SENDING: u64 = 0x05;
/// CRYPTO.
pub const CRYPTO: u64 = 0x06;
/// NEW_TOKEN.
pub const NEW_TOKEN: u64 = 0x07;
/// STREAM; the three low bits are flags.
pub const STREAM: u64 = 0x08;
/// Flag of [`STREAM`]: an Offset field follows.
pub(super) const STREAM_OFF: u64 = 0x04;
/// Flag of [`STREAM`]: a Length field follows.
pub(super) const STREAM_LEN: u64 = 0x02;
/// Flag of [`STREAM`]: the stream ends here.
pub(super) const STREAM_FIN: u64 = 0x01;
/// STREAM with all flags, the last of its types.
pub(super) const STREAM_LAST: u64 = 0x0f;
/// MAX_DATA.
pub const MAX_DATA: u64 = 0x10;
/// MAX_STREAM_DATA.
pub const MAX_STREAM_DATA: u64 = 0x11;
/// MAX_STREAMS for bidirectional streams.
pub const MAX_STREAMS_BIDI: u64 = 0x12;
/// MAX_STREAMS for unidirectional streams.
pub const MAX_STREAMS_UNI: u64 = 0x13;
/// DATA_BLOCKED.
pub const DATA_BLOCKED: u64 = 0x14;
/// STREAM_DATA_BLOCKED.
pub const STREAM_DATA_BLOCKED: u64 = 0x15;
/// STREAMS_BLOCKED for bidirectional streams.
pub const STREAMS_BLOCKED_BIDI: u64 = 0x16;
/// STREAMS_BLOCKED for unidirectional streams.
pub const STREAMS_BLOCKED_UNI: u64 = 0x17;
/// NEW_CONNECTION_ID.
pub const NEW_CONNECTION_ID: u64 = 0x18;
/// RETIRE_CONNECTION_ID.
pub const RETIRE_CONNECTION_ID: u64 = 0x19;
/// PATH_CHALLENGE.
pub const PATH_CHALLENGE: u64 = 0x1a;
/// PATH_RESPONSE.
pub const PATH_RESPONSE: u64 = 0x1b;
/// CONNECTION_CLOSE from the transport.
pub const CONNECTION_CLOSE: u64 = 0x1c;
/// CONNECTION_CLOSE from the application.
pub const APPLICATION_CLOSE: u64 = 0x1d;
/// HANDSHAKE_DONE.
pub const HANDSHAKE_DONE: u64 = 0x1e;
/// IMMEDIATE_ACK (draft-ietf-quic-ack-frequency section 5).
pub const IMMEDIATE_ACK: u64 = 0x1f;
/// DATAGRAM up to the end of the packet (RFC 9221 section 4).
pub const DATAGRAM: u64 = 0x30;
/// DATAGRAM with a Length field.
pub const DATAGRAM_LEN: u64 = 0x31;
/// ACK_FREQUENCY (draft-ietf-quic-ack-frequency section 4).
pub const ACK_FREQUENCY: u64 = 0xaf;

const I: u8 = 1;
const H: u8 = 2;
const Z: u8 = 4;
const O: u8 = 8;

/// The column "Pkts" of table 3, with what section 12.5 takes out of 0-RTT (there RETIRE_CONNECTION_ID
/// is named, in the table it is not). 0 for a type that is not known.
#[inline]
const fn packets(kind: u64) -> u8 {
    match kind {
        PADDING | PING | CONNECTION_CLOSE => I | H | Z | O,
        ACK | ACK_ECN | CRYPTO => I | H | O,
        RESET_STREAM
        | STOP_SENDING
        | STREAM..=STREAMS_BLOCKED_UNI
        | NEW_CONNECTION_ID
        | PATH_CHALLENGE
        | APPLICATION_CLOSE
        | DATAGRAM
        | DATAGRAM_LEN => Z | O,
        NEW_TOKEN
        | RETIRE_CONNECTION_ID
        | PATH_RESPONSE
        | HANDSHAKE_DONE
        // The peer's min_ack_delay is not remembered for 0-RTT.
        | IMMEDIATE_ACK
        | ACK_FREQUENCY => O,
        _ => 0,
    }
}

/// Whether a frame of this type may be in such a packet (RFC 9000 sections 12.4 and 12.5).
#[inline]
#[must_use]
pub const fn permitted(kind: u64, packet: PacketType) -> bool {
    let bit = match packet {
        PacketType::Initial => I,
        PacketType::Handshake => H,
        PacketType::ZeroRtt => Z,
        PacketType::OneRtt => O,
        PacketType::VersionNegotiation | PacketType::Retry => 0,
    };
    packets(kind) & bit != 0
}

/// Whether frames of this type are known here.
#[inline]
#[must_use]
pub const fn is_known(kind: u64) -> bool {
    packets(kind) != 0
}

/// Whether a packet with a frame of this type is acknowledged.
#[inline]
#[must_use]
pub const fn is_ack_eliciting(kind: u64) -> bool {
    !matches!(
        kind,
        PADDING | ACK | ACK_ECN | CONNECTION_CLOSE | APPLICATION_CLOSE
    )
}

/// Whether a frame of this type may be sent on a path that is only tried (RFC 9000 section 9.1).
#[inline]
#[must_use]
pub const fn is_probing(kind: u64) -> bool {
    matches!(
        kind,
        PADDING | NEW_CONNECTION_ID | PATH_CHALLENGE | PATH_RESPONSE
    )
}

/// The type's name in its specification, "unknown" for those not known here.
#[must_use]
pub const fn name(kind: u64) -> &'static str {
    match kind {
        PADDING => "PADDING",
        PING => "PING",
        ACK | ACK_ECN => "ACK",
        RESET_STREAM => "RESET_STREAM",
        STOP_SENDING => "STOP_SENDING",
        CRYPTO => "CRYPTO",
        NEW_TOKEN => "NEW_TOKEN",
        STREAM..=STREAM_LAST => "STREAM",
        MAX_DATA => "MAX_DATA",
        MAX_STREAM_DATA => "MAX_STREAM_DATA",
        MAX_STREAMS_BIDI | MAX_STREAMS_UNI => "MAX_STREAMS",
        DATA_BLOCKED => "DATA_BLOCKED",
        STREAM_DATA_BLOCKED => "STREAM_DATA_BLOCKED",
        STREAMS_BLOCKED_BIDI | STREAMS_BLOCKED_UNI => "STREAMS_BLOCKED",
        NEW_CONNECTION_ID => "NEW_CONNECTION_ID",
        RETIRE_CONNECTION_ID => "RETIRE_CONNECTION_ID",
        PATH_CHALLENGE => "PATH_CHALLENGE",
        PATH_RESPONSE => "PATH_RESPONSE",
        CONNECTION_CLOSE | APPLICATION_CLOSE => "CONNECTION_CLOSE",
        HANDSHAKE_DONE => "HANDSHAKE_DONE",
        IMMEDIATE_ACK => "IMMEDIATE_ACK",
        DATAGRAM | DATAGRAM_LEN => "DATAGRAM",
        ACK_FREQUENCY => "ACK_FREQUENCY",
        _ => "unknown",
    }
}
