//! What a packet carried that matters again when it is acknowledged or lost.

use weir_core::slab::Key;

use crate::path::PathId;
use crate::wire::Dir;

/// One frame of a sent packet. The content is not kept: who owns it makes it again, if it still
/// matters then (RFC 9000 section 13.3).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum SentFrame {
    /// STREAM: `len` bytes from `offset`, and whether the end was in it.
    Stream {
        key: Key,
        offset: u64,
        len: u32,
        fin: bool,
    },
    /// CRYPTO of the packet's space.
    Crypto { offset: u64, len: u32 },
    /// ACK that told of numbers up to `largest` in the packet's space.
    Ack { largest: u64 },
    /// RESET_STREAM.
    ResetStream { key: Key },
    /// STOP_SENDING.
    StopSending { key: Key },
    /// MAX_DATA with its value.
    MaxData { limit: u64 },
    /// MAX_STREAM_DATA with its value.
    MaxStreamData { key: Key, limit: u64 },
    /// MAX_STREAMS with its value.
    MaxStreams { dir: Dir, limit: u64 },
    /// DATA_BLOCKED at this limit.
    DataBlocked { limit: u64 },
    /// STREAM_DATA_BLOCKED at this limit.
    StreamDataBlocked { key: Key, limit: u64 },
    /// STREAMS_BLOCKED at this limit.
    StreamsBlocked { dir: Dir, limit: u64 },
    /// NEW_CONNECTION_ID of a sequence number.
    NewConnectionId { sequence: u64 },
    /// RETIRE_CONNECTION_ID of a sequence number.
    RetireConnectionId { sequence: u64 },
    /// NEW_TOKEN.
    NewToken,
    /// HANDSHAKE_DONE.
    HandshakeDone,
    /// ACK_FREQUENCY of a sequence number.
    AckFrequency { sequence: u64 },
    /// DATAGRAM, by the number the queue gave it: never sent again.
    Datagram { number: u64 },
    /// PATH_CHALLENGE: never sent again, its path sends a new one.
    PathChallenge { path: PathId },
    /// A probe for a larger datagram: its loss says nothing of congestion.
    MtuProbe { path: PathId, size: u16 },
}
