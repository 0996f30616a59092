//! What the application is told when a call cannot be done, and what a peer did wrong.

use crate::wire::HeaderError;
use weir_core::close::CloseReason;

/// Why no stream was opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Too many streams wait for their ACK, or memory is short; [`Event::OpenReady`] follows
    /// (Y19).
    ///
    /// [`Event::OpenReady`]: crate::Event::OpenReady
    #[error("too many streams wait for the peer's acknowledgement")]
    Blocked,
    /// The peer takes no more streams, or this side is closing down (Y47).
    #[error("the session takes no more streams")]
    GoAway,
    /// All 2^31 ids of this side were used: the session has to be replaced (Y22).
    #[error("all stream ids of this session were used")]
    Exhausted,
    /// The session is over.
    #[error("the session is over: {0}")]
    Closed(CloseReason),
}

/// Why nothing was written.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// The stream's send buffer is full or memory is short; [`Event::Writable`] follows once.
    ///
    /// [`Event::Writable`]: crate::Event::Writable
    #[error("the send buffer is full")]
    Blocked,
    /// `finish` was called before.
    #[error("the stream was finished")]
    Finished,
    /// The stream was reset, by the peer with this code or by this side.
    #[error("the stream was reset with code {0}")]
    Reset(u32),
    /// The session is over (see `close_reason`), or the key names no stream.
    #[error("the session is over")]
    Closed,
}

/// Why nothing was read.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing has arrived; [`Event::Readable`] follows once.
    ///
    /// [`Event::Readable`]: crate::Event::Readable
    #[error("nothing has arrived")]
    Blocked,
    /// The stream was reset, by the peer with this code or by this side.
    #[error("the stream was reset with code {0}")]
    Reset(u32),
    /// `stop` was called before.
    #[error("reading was stopped")]
    Stopped,
    /// The session is over (see `close_reason`) and what had arrived was read, or the key names
    /// no stream.
    #[error("the session is over")]
    Closed,
}

/// The rule that a peer broke. Each ends the session with GoAway 1 (protocol error) and stands in
/// the close reason in these words.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// Twelve bytes that are no header (Y2, Y3, Y7, Y8).
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// A SYN with an id that is this side's to give (Y16).
    #[error("SYN on stream {0}, an id of the wrong parity")]
    IdParity(u32),
    /// A SYN with an id that is or was in use (Y11, Y17).
    #[error("SYN on stream {0}, an id used before")]
    IdUsed(u32),
    /// More data than the window allowed (Y26).
    #[error("{length} bytes on stream {stream_id}, its window had {window} left")]
    WindowExceeded {
        /// The stream.
        stream_id: u32,
        /// Bytes of the frame.
        length: u32,
        /// Bytes that the peer was allowed.
        window: u64,
    },
    /// A grant that takes the send window past 32 bits (Y27).
    #[error("window update of {delta} on stream {stream_id} overflows its window")]
    WindowOverflow {
        /// The stream.
        stream_id: u32,
        /// The grant.
        delta: u32,
    },
    /// Streams were opened and reset in a loop.
    #[error("streams are opened and reset faster than {rate} a second")]
    RapidReset {
        /// The rate allowed in the long run.
        rate: u32,
    },
    /// Refused streams came faster than their RST could be sent.
    #[error("streams over the backlog keep coming while their resets cannot be sent")]
    RefusalFlood,
}

impl Violation {
    /// The frame type in which the rule was broken.
    pub const fn frame(self) -> &'static str {
        match self {
            Violation::Header(_) => "header",
            Violation::IdParity(_)
            | Violation::IdUsed(_)
            | Violation::RapidReset { .. }
            | Violation::RefusalFlood => "SYN",
            Violation::WindowExceeded { .. } => "Data",
            Violation::WindowOverflow { .. } => "WindowUpdate",
        }
    }
}

/// The codes of a GoAway frame (specification, Session termination).
pub mod code {
    /// Normal termination.
    pub const NORMAL: u32 = 0;
    /// Protocol error.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// Internal error.
    pub const INTERNAL_ERROR: u32 = 2;
}
