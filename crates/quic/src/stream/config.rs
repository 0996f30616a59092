//! What can be chosen about streams, and the limits that the two ends tell each other.

use weir_core::limits::{MAX_OFFSET, OutOfRange, check_range};
use weir_core::window::WindowConfig;

use crate::wire::frame::MAX_STREAM_COUNT;

/// Settings of a connection's streams. Sizes in bytes.
#[derive(Clone, Debug)]
pub(crate) struct StreamConfig {
    /// Receive window that a stream starts with.
    pub(crate) stream_window: u64,
    /// What a stream's receive window may grow to when its reader keeps up.
    pub(crate) max_stream_window: u64,
    /// Receive window of all streams together that the connection starts with.
    pub(crate) connection_window: u64,
    /// What that may grow to: no more unread data than this is ever held.
    pub(crate) max_connection_window: u64,
    /// Bidirectional streams that the peer may have open at once.
    pub(crate) max_bidi: u64,
    /// Unidirectional streams that the peer may have open at once.
    pub(crate) max_uni: u64,
    /// Bytes that one stream may have written and not sent yet. What is sent and not acknowledged
    /// comes on top: it is bounded by the congestion window.
    pub(crate) send_buffer: u64,
    /// Bytes that a stream may send before another of its urgency gets its turn.
    pub(crate) turn: u64,
    /// Streams that the peer may reset before they were answered in a burst ...
    pub(crate) reset_burst: u32,
    /// ... and each second in the long run, before it gets fewer new ones.
    pub(crate) reset_rate: u32,
}

impl Default for StreamConfig {
    fn default() -> StreamConfig {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * KIB;
        StreamConfig {
            stream_window: 512 * KIB,
            max_stream_window: 16 * MIB,
            connection_window: 1536 * KIB,
            max_connection_window: 32 * MIB,
            max_bidi: 1024,
            max_uni: 1024,
            send_buffer: MIB,
            turn: 32 * KIB,
            reset_burst: 1024,
            reset_rate: 256,
        }
    }
}

impl StreamConfig {
    /// Checks every field and how they fit together.
    ///
    /// # Errors
    /// The first field that is out of its range, with the range.
    pub(crate) fn validate(&self) -> Result<(), OutOfRange> {
        let (stream, connection) = (self.stream_window, self.connection_window);
        check_range("stream_window", stream, 1, MAX_OFFSET)?;
        check_range(
            "max_stream_window",
            self.max_stream_window,
            stream,
            MAX_OFFSET,
        )?;
        check_range("connection_window", connection, 1, MAX_OFFSET)?;
        let most = self.max_connection_window;
        check_range("max_connection_window", most, connection, MAX_OFFSET)?;
        check_range("max_bidi", self.max_bidi, 0, MAX_STREAM_COUNT)?;
        check_range("max_uni", self.max_uni, 0, MAX_STREAM_COUNT)?;
        check_range("send_buffer", self.send_buffer, 1, 1 << 40)?;
        check_range("turn", self.turn, 1, 1 << 30)?;
        check_range("reset_burst", self.reset_burst.into(), 1, 1 << 24)?;
        check_range("reset_rate", self.reset_rate.into(), 1, 1 << 24)
    }

    pub(super) fn stream_windows(&self) -> WindowConfig {
        WindowConfig::new(self.stream_window, self.max_stream_window)
    }

    pub(super) fn connection_windows(&self) -> WindowConfig {
        WindowConfig::new(self.connection_window, self.max_connection_window)
    }
}

/// What an endpoint lets its peer do before it hears of more: the six transport parameters about
/// streams (RFC 9000 section 18.2), under their names and as seen by the endpoint that sends them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamLimits {
    /// `initial_max_data`
    pub(crate) max_data: u64,
    /// `initial_max_stream_data_bidi_local`: for bidirectional streams that the sender opens.
    pub(crate) bidi_local: u64,
    /// `initial_max_stream_data_bidi_remote`: for bidirectional streams that the receiver opens.
    pub(crate) bidi_remote: u64,
    /// `initial_max_stream_data_uni`
    pub(crate) uni: u64,
    /// `initial_max_streams_bidi`
    pub(crate) streams_bidi: u64,
    /// `initial_max_streams_uni`
    pub(crate) streams_uni: u64,
}
