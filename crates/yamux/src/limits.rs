//! Every bound of the engine that is not a [`Config`](crate::Config) field, each with its reason.

/// Receive window that both sides assume for a new stream, in bytes (specification, Flow Control).
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// Most credit that a peer may have granted and we not used, in bytes. It is what a 32-bit
/// window can hold; a grant past it is a protocol error (Y27).
pub const MAX_SEND_CREDIT: u64 = u32::MAX as u64;

/// Largest payload of a Data frame that is sent (Y9): streams interleave, and no known peer
/// refuses it. Frames received may be as large as the window granted (Y10).
pub const MAX_FRAME: u32 = 64 * 1024;

/// Payloads up to this many bytes are copied behind their header into one buffer instead of
/// leaving as a slice of their own: below it a copy costs less than one more slice in the kernel.
pub const COPY_BELOW: usize = 2 * 1024;

/// Received payloads under this many bytes join the tail of a queue that is not empty by copy, so
/// that a tiny frame never keeps a whole read buffer alive.
pub const COALESCE_BELOW: usize = 2 * 1024;

/// With read buffers pinned past [`PINNED_LIMIT`], received payloads under this are copied too.
pub const COPY_WHEN_PINNED: usize = 32 * 1024;

/// Bytes of read buffers that waiting readers may pin before payloads are copied out.
pub const PINNED_LIMIT: u64 = 4 * 1024 * 1024;

/// Most bytes that one `poll_transmit` leaves in a [`TransmitBuf`](crate::TransmitBuf).
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// Fewest bytes that a batch may be limited to when the carrier is slow: a frame of full size.
pub const MIN_BATCH_BYTES: usize = 64 * 1024;

/// Most slices in one batch: half of what a vectored write takes (IOV_MAX is 1024), room for a
/// carrier's own.
pub const MAX_BATCH_SLICES: usize = 512;

/// A slow carrier's batch is what it took in this many milliseconds: what waits behind a batch
/// waits no longer than about that.
pub const BATCH_MILLIS: u64 = 5;

/// Answers to pings that may wait to be sent; a newer one replaces the oldest (Y45).
pub const MAX_PENDING_PONGS: usize = 32;

/// Runs of refused stream ids that may wait for their RST to be sent. Ids opened one after the
/// other are one run, so an honest opener that went too far needs one.
pub const MAX_REFUSAL_RUNS: usize = 1024;

/// Ids that were never opened and got data: the last this many are remembered, so that each gets
/// one RST and not one a frame.
pub const REMEMBERED_STRANGERS: usize = 8;

/// Gaps that are remembered between the ids a peer used. Beyond it the lowest ids count as used.
pub const MAX_ID_GAPS: usize = 256;

/// Memory that a stream's bookkeeping is charged with, in bytes.
pub const STREAM_COST: u64 = 256;

/// Memory is taken from the shared budget in blocks of this many bytes, so that a frame does not
/// touch counters that other sessions touch too. A session may hold two of them unused.
pub const MEMORY_BLOCK: u64 = 16 * 1024;

/// Memory that a session may take before it has to leave as much free for others as it holds, in
/// bytes: four streams' first windows. The least that `Config::session_budget` may be.
pub const MIN_SESSION_MEMORY: u64 = 1024 * 1024;

/// After a search for the stream that holds most, the next search waits for this many bytes
/// received: a search walks all streams, and a frame must not cost that.
pub const SHED_SEARCH_BYTES: u64 = 64 * 1024;

/// How long a writer that the memory budget holds waits before it is woken to try again, in
/// milliseconds: memory that other sessions give back is not announced here.
pub const BUDGET_RETRY_MILLIS: u64 = 20;

/// Enlarged receive windows are looked at this often, in milliseconds, so that those fallen idle
/// give their memory back.
pub const WINDOW_SWEEP_MILLIS: u64 = 1_000;

/// A round-trip sample older than this many seconds is renewed when a window wants tuning.
pub const RTT_MAX_AGE_SECS: u64 = 10;

/// SYNs that are refused because the peer resets too much, as a multiple of the burst allowed,
/// before the session is ended.
pub const RESET_PATIENCE: u64 = 8;

/// With pings unanswered but other input arriving, keepalive ends the session after this many
/// times its timeout.
pub const KEEPALIVE_PATIENCE: u32 = 8;
