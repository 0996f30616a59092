//! Every bound of streams that is not a configuration field, each with its reason.

/// Memory that a stream's bookkeeping is charged with, in bytes.
pub(crate) const STREAM_COST: u64 = 384;

/// Streams that ended last whose final sizes are remembered, to check late frames.
pub(crate) const REMEMBERED_SIZES: usize = 32;

/// Memory is taken from the budget in steps of this many bytes, so that a packet does not touch
/// counters that other connections touch too.
pub(crate) const MEMORY_STEP: u64 = 16 * 1024;

/// Send buffers and assemblers without a stream that are kept for the next one, of each kind.
pub(crate) const KEPT_BUFFERS: usize = 128;

/// Bytes of chunks that streams may hold generously, before chunks follow closely what they hold.
pub(crate) const AMPLE_CHUNKS: usize = 4 * 1024 * 1024;

/// A frame with less data than this is not begun at the end of a packet, unless it has all that
/// waits: its header would be half of it.
pub(crate) const SMALLEST_PIECE: usize = 16;

/// A stream may queue this much however little memory is free, in bytes, as long as any is: one
/// turn's worth, so that nobody starves.
pub(crate) const FAIR_QUEUE: u64 = 16 * 1024;

/// How long a writer that the memory budget holds waits before it is woken to try again, in
/// milliseconds: memory that other connections give back is not announced here.
pub(crate) const BUDGET_RETRY_MILLIS: u64 = 20;

/// How often windows that grew and buffers that are kept are looked at, in milliseconds, so that
/// what fell idle gives its memory back.
pub(crate) const SWEEP_MILLIS: u64 = 1_000;

/// How often streams withheld from a peer that resets too many are given back, in milliseconds.
pub(crate) const WITHHELD_MILLIS: u64 = 100;

/// The list of streams that wait for credit of the connection is swept when it has this many entries
/// more than twice what there are streams.
pub(crate) const SWEEP_ABOVE: usize = 64;

/// Events for the trace that wait to be taken; beyond it the oldest is forgotten.
pub(crate) const MAX_SEEN: usize = 1024;

/// Streams let go at most when one piece of data finds no memory.
pub(crate) const SHED_AT_ONCE: usize = 4;

/// After a search for the stream that holds most, the next search waits for this many bytes
/// received: a search walks all streams, and a frame must not cost that.
pub(crate) const SHED_SEARCH_BYTES: u64 = 64 * 1024;

/// Writers looked at each time that memory may have come free.
pub(crate) const STARVED_AT_ONCE: usize = 64;
