//! What the application is told when a call on a stream cannot be done.

/// Why no stream was opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The peer's limit on streams is reached, or memory is short; `OpenReady` follows.
    #[error("the peer permits no more streams now")]
    Blocked,
    /// All 2^60 streams of the kind were used: the connection has to be replaced.
    #[error("all streams of this kind were used")]
    Exhausted,
    /// This side is closing down.
    #[error("the connection takes no more streams")]
    GoAway,
    /// The connection is over.
    #[error("the connection is over")]
    Closed,
}

/// Why nothing was written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The stream's send buffer is full or memory is short; `Writable` follows once.
    #[error("the send buffer is full")]
    Blocked,
    /// `finish` was called before.
    #[error("the stream was finished")]
    Finished,
    /// The peer asked with this code to stop sending, and the stream was reset with it.
    #[error("the peer stopped the stream with code {0}")]
    Stopped(u64),
    /// This side reset the stream with this code.
    #[error("the stream was reset with code {0}")]
    Reset(u64),
    /// The connection is over, or the key names no stream that can be written to.
    #[error("the connection is over")]
    Closed,
}

/// Why nothing was read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing has arrived; `Readable` follows once.
    #[error("nothing has arrived")]
    Blocked,
    /// The peer reset the stream with this code.
    #[error("the stream was reset with code {0}")]
    Reset(u64),
    /// `stop` was called before, or the stream was let go for want of memory.
    #[error("reading was stopped")]
    Stopped,
    /// The connection is over and what had arrived was read, or the key names no stream that can be
    /// read from.
    #[error("the connection is over")]
    Closed,
}
