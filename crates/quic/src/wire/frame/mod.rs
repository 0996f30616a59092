//! Frames (RFC 9000 section 19, RFC 9221, the ACK frequency extension).
//!
//! [`Frames`] reads a packet's payload; [`encode`] has a writer for each frame. What is read borrows
//! from the payload, and every limit that a frame carries in itself was checked.

#![deny(clippy::arithmetic_side_effects)]

mod ack;
mod decode;
mod display;
pub mod encode;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_hostile;
mod types;

pub use ack::{Ack, EcnCounts, Ranges};
pub use decode::Frames;
pub(crate) use display::fmt_ack;
pub use types::{
    ACK, ACK_ECN, ACK_FREQUENCY, APPLICATION_CLOSE, CONNECTION_CLOSE, CRYPTO, DATA_BLOCKED,
    DATAGRAM, DATAGRAM_LEN, HANDSHAKE_DONE, IMMEDIATE_ACK, MAX_DATA, MAX_STREAM_DATA,
    MAX_STREAMS_BIDI, MAX_STREAMS_UNI, NEW_CONNECTION_ID, NEW_TOKEN, PADDING, PATH_CHALLENGE,
    PATH_RESPONSE, PING, RESET_STREAM, RETIRE_CONNECTION_ID, STOP_SENDING, STREAM,
    STREAM_DATA_BLOCKED, STREAMS_BLOCKED_BIDI, STREAMS_BLOCKED_UNI, is_ack_eliciting, is_known,
    is_probing, name, permitted,
};

use super::{ConnectionId, Dir, StreamId};

/// Most streams of a kind that there can be: a stream ID is a variable-length integer and two of
/// its bits say the kind (RFC 9000 section 4.6).
pub const MAX_STREAM_COUNT: u64 = 1 << 60;

/// A frame, borrowed from the payload it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// PADDING: as many of them as there were in a row.
    Padding {
        /// How many bytes.
        len: usize,
    },
    /// PING.
    Ping,
    /// ACK, with or without ECN counts.
    Ack(Ack<'a>),
    /// RESET_STREAM.
    ResetStream {
        /// The stream.
        id: StreamId,
        /// The application's error code.
        code: u64,
        /// Final size of the stream in bytes.
        final_size: u64,
    },
    /// STOP_SENDING.
    StopSending {
        /// The stream.
        id: StreamId,
        /// The application's error code.
        code: u64,
    },
    /// CRYPTO. Offset and length together are at most 2^62 - 1.
    Crypto {
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// NEW_TOKEN. Never empty.
    NewToken {
        /// The token.
        token: &'a [u8],
    },
    /// STREAM. Offset and length together are at most 2^62 - 1.
    Stream {
        /// The stream.
        id: StreamId,
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
        /// Whether the stream ends behind them.
        fin: bool,
    },
    /// MAX_DATA.
    MaxData {
        /// Bytes on all streams together.
        limit: u64,
    },
    /// MAX_STREAM_DATA.
    MaxStreamData {
        /// The stream.
        id: StreamId,
        /// Bytes on it.
        limit: u64,
    },
    /// MAX_STREAMS. At most [`MAX_STREAM_COUNT`].
    MaxStreams {
        /// Which kind.
        dir: Dir,
        /// How many, since the beginning.
        limit: u64,
    },
    /// DATA_BLOCKED.
    DataBlocked {
        /// The limit that held it back.
        limit: u64,
    },
    /// STREAM_DATA_BLOCKED.
    StreamDataBlocked {
        /// The stream.
        id: StreamId,
        /// The limit that held it back.
        limit: u64,
    },
    /// STREAMS_BLOCKED. At most [`MAX_STREAM_COUNT`].
    StreamsBlocked {
        /// Which kind.
        dir: Dir,
        /// The limit that held it back.
        limit: u64,
    },
    /// NEW_CONNECTION_ID.
    NewConnectionId(NewConnectionId),
    /// RETIRE_CONNECTION_ID.
    RetireConnectionId {
        /// Its sequence number.
        sequence: u64,
    },
    /// PATH_CHALLENGE.
    PathChallenge {
        /// What to send back.
        data: [u8; 8],
    },
    /// PATH_RESPONSE.
    PathResponse {
        /// What was asked for.
        data: [u8; 8],
    },
    /// CONNECTION_CLOSE of type 0x1c, from the transport.
    ConnectionClose {
        /// A code of RFC 9000 section 20.1.
        code: u64,
        /// The type of the frame at fault, 0 when none is named.
        frame: u64,
        /// In words, as they came: not checked to be text.
        reason: &'a [u8],
    },
    /// CONNECTION_CLOSE of type 0x1d, from the application.
    ApplicationClose {
        /// The application's code.
        code: u64,
        /// In words, as they came: not checked to be text.
        reason: &'a [u8],
    },
    /// HANDSHAKE_DONE.
    HandshakeDone,
    /// ACK_FREQUENCY.
    AckFrequency(AckFrequency),
    /// IMMEDIATE_ACK.
    ImmediateAck,
    /// DATAGRAM.
    Datagram {
        /// The bytes.
        data: &'a [u8],
        /// Size of the whole frame, which `max_datagram_frame_size` limits (RFC 9221 section 3).
        frame_size: usize,
    },
}

/// NEW_CONNECTION_ID (RFC 9000 section 19.15): 1 to 20 bytes, `retire_prior_to` at most `sequence`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct NewConnectionId {
    /// Number that the issuer gave it.
    pub sequence: u64,
    /// All before this one are to be retired.
    pub retire_prior_to: u64,
    /// The connection ID.
    pub id: ConnectionId,
    /// What a stateless reset for it ends with.
    pub reset_token: [u8; 16],
}

/// ACK_FREQUENCY (draft-ietf-quic-ack-frequency section 4).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AckFrequency {
    /// Those that are not above the largest seen are ignored.
    pub sequence: u64,
    /// Ack-eliciting packets that may go without an ACK.
    pub ack_eliciting_threshold: u64,
    /// What `max_ack_delay` shall become, in microseconds; whether it may be is not checked here.
    pub requested_max_ack_delay: u64,
    /// Reordering that an ACK answers at once; 0: none does.
    pub reordering_threshold: u64,
}

impl Frame<'_> {
    /// The frame's type, as it would be written here.
    #[must_use]
    pub fn kind(&self) -> u64 {
        match self {
            Frame::Padding { .. } => PADDING,
            Frame::Ping => PING,
            Frame::Ack(ack) if ack.ecn.is_some() => ACK_ECN,
            Frame::Ack(_) => ACK,
            Frame::ResetStream { .. } => RESET_STREAM,
            Frame::StopSending { .. } => STOP_SENDING,
            Frame::Crypto { .. } => CRYPTO,
            Frame::NewToken { .. } => NEW_TOKEN,
            Frame::Stream { .. } => STREAM,
            Frame::MaxData { .. } => MAX_DATA,
            Frame::MaxStreamData { .. } => MAX_STREAM_DATA,
            Frame::MaxStreams { dir: Dir::Bi, .. } => MAX_STREAMS_BIDI,
            Frame::MaxStreams { dir: Dir::Uni, .. } => MAX_STREAMS_UNI,
            Frame::DataBlocked { .. } => DATA_BLOCKED,
            Frame::StreamDataBlocked { .. } => STREAM_DATA_BLOCKED,
            Frame::StreamsBlocked { dir: Dir::Bi, .. } => STREAMS_BLOCKED_BIDI,
            Frame::StreamsBlocked { dir: Dir::Uni, .. } => STREAMS_BLOCKED_UNI,
            Frame::NewConnectionId(_) => NEW_CONNECTION_ID,
            Frame::RetireConnectionId { .. } => RETIRE_CONNECTION_ID,
            Frame::PathChallenge { .. } => PATH_CHALLENGE,
            Frame::PathResponse { .. } => PATH_RESPONSE,
            Frame::ConnectionClose { .. } => CONNECTION_CLOSE,
            Frame::ApplicationClose { .. } => APPLICATION_CLOSE,
            Frame::HandshakeDone => HANDSHAKE_DONE,
            Frame::AckFrequency(_) => ACK_FREQUENCY,
            Frame::ImmediateAck => IMMEDIATE_ACK,
            Frame::Datagram { .. } => DATAGRAM,
        }
    }

    /// Whether a packet with it is acknowledged: all but ACK, PADDING and CONNECTION_CLOSE
    /// (RFC 9002 section 2).
    #[inline]
    #[must_use]
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(
            self,
            Frame::Padding { .. }
                | Frame::Ack(_)
                | Frame::ConnectionClose { .. }
                | Frame::ApplicationClose { .. }
        )
    }

    /// Whether it may be sent on a path that is only tried (RFC 9000 section 9.1).
    #[inline]
    #[must_use]
    pub const fn is_probing(&self) -> bool {
        matches!(
            self,
            Frame::Padding { .. }
                | Frame::NewConnectionId(_)
                | Frame::PathChallenge { .. }
                | Frame::PathResponse { .. }
        )
    }
}
