//! Every cap that more than one engine keeps, by name.
//!
//! An engine's own caps stand in its own `limits.rs`. Each number here bounds a queue, a loop or a
//! text that a peer can influence, and a test walks up to it and past it.

/// The largest offset in a stream and the largest credit, in bytes: 2^62 - 1, what a
/// variable-length integer can say (RFC 9000 section 16). Engines whose wire has smaller fields
/// have smaller caps of their own.
pub const MAX_OFFSET: u64 = (1 << 62) - 1;

/// How much of a peer's close reason is kept, in bytes. Enough for a sentence; a peer that sends a
/// book does not get to fill our logs.
pub const MAX_REASON_BYTES: usize = 1024;

/// Bytes in one read buffer chunk. At 128 KiB and more the system call no longer dominates a read
/// from a socket; 256 KiB is still a fraction of a level 2 cache.
pub const READ_CHUNK_BYTES: usize = 256 * 1024;

/// How many filled read chunks one reader keeps an eye on (16 MiB at the default chunk size). Past
/// it the oldest is let go: its memory returns when its last slice is dropped.
pub const MAX_RETIRED_CHUNKS: usize = 64;

/// How many free read chunks a pool keeps for the next reader (8 MiB at the default chunk size).
pub const MAX_POOLED_CHUNKS: usize = 32;

/// The largest chunk that stream data is put into, in bytes: what a batch of packets brings.
pub const LARGEST_CHUNK: usize = 64 * 1024;

/// Pieces written that are smaller than this join the piece before by copy, in bytes: below it a
/// segment of its own costs more than the copy.
pub const COPY_BELOW: usize = 1024;
/// The largest chunk, in bytes, that an empty send buffer keeps for the next message if it is told to
/// ([`SendBuffer::keep_chunk`](crate::buf::SendBuffer::keep_chunk)).
pub const KEPT_CHUNK: usize = 2048;

/// How much of each chunk size one connection keeps for its next stream, in bytes, ...
pub const FREE_CHUNK_BYTES: usize = 256 * 1024;
/// ... but never fewer chunks than this ...
pub const MIN_FREE_CHUNKS: usize = 4;
/// ... nor more.
pub const MAX_FREE_CHUNKS: usize = 256;

/// Urgencies of a scheduler: 0 to 7 (RFC 9218 section 4.1).
pub const URGENCIES: usize = 8;

/// The largest congestion window in bytes: 4 GiB, a third of a second at 100 Gbit/s. A peer that
/// acknowledges faster than any path could does not get past it.
pub const MAX_CONGESTION_WINDOW: u64 = 1 << 32;

/// The most a congestion controller asks to be handed down in one piece, in bytes: what
/// segmentation offload takes in one call.
pub const MAX_SEND_QUANTUM: u64 = 64 * 1024;

/// Flag names that one traced frame can carry.
pub const MAX_TRACED_FLAGS: usize = 9;

/// A number in a configuration that is not in its range.
///
/// Every `validate` of the project says it like this, so a person learns the field, the value and
/// what would have been right.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be from {least} to {most}")]
pub struct OutOfRange {
    /// The field's name as the user writes it.
    pub field: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The smallest value allowed.
    pub least: u64,
    /// The largest value allowed.
    pub most: u64,
}

/// Checks that `value` lies in `least..=most`.
///
/// # Errors
/// [`OutOfRange`] with the field's name when it does not.
pub fn check_range(
    field: &'static str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<(), OutOfRange> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OutOfRange {
        field,
        value,
        least,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_told_with_field_value_and_range() {
        assert_eq!(check_range("max_streams", 1, 1, 10), Ok(()));
        assert_eq!(check_range("max_streams", 10, 1, 10), Ok(()));
        let error = check_range("max_streams", 11, 1, 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "max_streams is 11, but must be from 1 to 10"
        );
    }
}
