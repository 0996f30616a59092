//! Buffers that bytes are read into, and from which readers get slices without a copy.
//!
//! One read from a socket fills a piece of a large chunk; what it brought is handed out as
//! [`Bytes`], counted references to that chunk. When the readers have dropped theirs the chunk is
//! filled again: in the steady state nothing is allocated.

#![deny(clippy::arithmetic_side_effects)]

mod ahead;
pub mod assembler;
pub mod chunks;
pub mod send;

pub use assembler::Assembler;
pub use chunks::Chunks;
pub use send::SendBuffer;

use core::fmt;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::limits::{MAX_POOLED_CHUNKS, MAX_RETIRED_CHUNKS, READ_CHUNK_BYTES};

/// How many retired chunks are looked at when a new one is needed: finding a free one among many
/// pinned ones may take several rounds, but no round costs more.
const PROBES: usize = 4;

/// Free chunks that several readers share. Clones are handles to the same pool.
///
/// A reader that rests gives its chunks back here, so a thousand idle connections hold none.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    chunk_bytes: usize,
    max_free: usize,
    free: Mutex<Vec<BytesMut>>,
    allocations: AtomicU64,
}

impl Default for Pool {
    /// Chunks of [`READ_CHUNK_BYTES`], of which [`MAX_POOLED_CHUNKS`] are kept.
    fn default() -> Pool {
        Pool::new(READ_CHUNK_BYTES, MAX_POOLED_CHUNKS)
    }
}

impl Pool {
    /// A pool of chunks of `chunk_bytes` bytes (at least one) that keeps at most `max_free` unused.
    #[must_use]
    pub fn new(chunk_bytes: usize, max_free: usize) -> Pool {
        let shared = Shared {
            chunk_bytes: chunk_bytes.max(1),
            max_free,
            free: Mutex::new(Vec::new()),
            allocations: AtomicU64::new(0),
        };
        Pool {
            shared: Arc::new(shared),
        }
    }

    /// A buffer for one source of bytes. It takes a chunk when the first is needed.
    #[must_use]
    pub fn reader(&self) -> ReadBuf {
        ReadBuf {
            pool: self.clone(),
            current: BytesMut::new(),
            has_chunk: false,
            retired: VecDeque::new(),
            allocations: 0,
        }
    }

    /// The size of a chunk in bytes.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        self.shared.chunk_bytes
    }

    /// Chunks kept for the next reader.
    #[must_use]
    pub fn free_chunks(&self) -> usize {
        self.free().len()
    }

    /// How many chunks were ever allocated.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.shared.allocations.load(Relaxed)
    }

    /// A chunk with room for `least` bytes, and whether it had to be allocated.
    fn chunk(&self, least: usize) -> (BytesMut, bool) {
        if let Some(chunk) = self.free().pop()
            && chunk.capacity() >= least
        {
            return (chunk, false);
        }
        self.shared.allocations.fetch_add(1, Relaxed);
        let size = least.max(self.shared.chunk_bytes);
        (BytesMut::with_capacity(size), true)
    }

    /// Keeps an empty chunk that nobody refers to, or frees it.
    fn give(&self, chunk: BytesMut) {
        // One that was made larger for a single record is not worth keeping.
        let usual = chunk.capacity() <= self.shared.chunk_bytes.saturating_mul(2);
        let mut free = self.free();
        if usual && free.len() < self.shared.max_free {
            free.push(chunk);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        // A vector of chunks is whole whatever the thread that panicked was doing.
        let free = self.shared.free.lock();
        free.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("chunk_bytes", &self.shared.chunk_bytes)
            .field("free_chunks", &self.free_chunks())
            .field("allocations", &self.allocations())
            .finish()
    }
}

/// What one source of bytes is read into.
///
/// # How it is driven
/// [`spare`](ReadBuf::spare) gives the chunk to append to; [`take`](ReadBuf::take) hands out what was
/// appended. What was not taken (half a record) stays in front of what is appended next, also when
/// the chunk changes. [`rest`](ReadBuf::rest) when nothing arrives for a while.
pub struct ReadBuf {
    pool: Pool,
    current: BytesMut,
    /// False before the first chunk and at rest.
    has_chunk: bool,
    /// Chunks that are full and, when they were last looked at, referred to.
    retired: VecDeque<BytesMut>,
    allocations: u64,
}

impl ReadBuf {
    /// The buffer to append to, with room for `least` bytes at least without growing.
    ///
    /// In this order: the present chunk if it has the room; the same chunk from its start, when all
    /// slices of it were dropped; a retired chunk that became free; one from the pool; a new one.
    #[inline]
    pub fn spare(&mut self, least: usize) -> &mut BytesMut {
        let least = least.max(1);
        if self.current.is_empty() && self.has_chunk {
            // From its start whenever possible: the same memory stays in the cache, and the next
            // read is not cut short by the chunk's end. A flag test when slices are outstanding.
            let whole = least.max(self.pool.shared.chunk_bytes);
            let _from_start = self.current.capacity() >= whole || self.current.try_reclaim(whole);
        }
        let room = self.current.capacity().saturating_sub(self.current.len());
        if room < least && !self.current.try_reclaim(least) {
            self.change_chunk(least);
        }
        &mut self.current
    }

    /// Bytes appended and not taken.
    #[inline]
    #[must_use]
    pub fn filled(&mut self) -> &mut BytesMut {
        &mut self.current
    }

    /// How many bytes were appended and not taken.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.len()
    }

    /// True when all was taken.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// Everything appended and not taken, without a copy.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        self.current.split().freeze()
    }

    /// The first `bytes` of what was appended (all, if it is less), without a copy.
    #[inline]
    #[must_use]
    pub fn take_front(&mut self, bytes: usize) -> Bytes {
        let bytes = bytes.min(self.current.len());
        self.current.split_to(bytes).freeze()
    }

    /// Bytes of memory that readers keep from being used again, estimated: all of each chunk that
    /// is full and was still referred to when last looked at.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.retired
            .len()
            .saturating_mul(self.pool.shared.chunk_bytes)
    }

    /// How many chunks were allocated for this reader.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations
    }

    /// Gives every chunk that nobody refers to back to the pool: for a source that fell idle.
    /// What was not taken stays.
    pub fn rest(&mut self) {
        let whole = self.pool.shared.chunk_bytes;
        for _ in 0..self.retired.len() {
            let Some(mut chunk) = self.retired.pop_front() else {
                break;
            };
            if chunk.try_reclaim(whole) {
                self.pool.give(chunk);
            } else {
                self.retired.push_back(chunk);
            }
        }
        if self.has_chunk && self.current.is_empty() {
            self.has_chunk = false;
            let mut chunk = core::mem::take(&mut self.current);
            if chunk.try_reclaim(whole) {
                self.pool.give(chunk);
            } else {
                self.retire(chunk);
            }
        }
    }

    /// Goes on in another chunk, with what was not taken copied to its start.
    #[cold]
    fn change_chunk(&mut self, least: usize) {
        let needed = self.current.len().saturating_add(least);
        let mut fresh = match self.freed_chunk(needed) {
            Some(chunk) => chunk,
            None => {
                let (chunk, allocated) = self.pool.chunk(needed);
                self.allocations = self.allocations.saturating_add(u64::from(allocated));
                chunk
            }
        };
        fresh.extend_from_slice(&self.current);
        let mut full = core::mem::replace(&mut self.current, fresh);
        if self.has_chunk {
            full.clear();
            self.retire(full);
        }
        self.has_chunk = true;
    }

    /// A retired chunk that became free. Others found free on the way go to the pool.
    fn freed_chunk(&mut self, needed: usize) -> Option<BytesMut> {
        let whole = needed.max(self.pool.shared.chunk_bytes);
        let mut found = None;
        for _ in 0..PROBES.min(self.retired.len()) {
            let mut chunk = self.retired.pop_front()?;
            if !chunk.try_reclaim(whole) {
                self.retired.push_back(chunk);
            } else if found.is_none() {
                found = Some(chunk);
            } else {
                self.pool.give(chunk);
            }
        }
        found
    }

    fn retire(&mut self, chunk: BytesMut) {
        if self.retired.len() >= MAX_RETIRED_CHUNKS {
            // Its memory is freed by the last reader that drops a slice of it.
            self.retired.pop_front();
        }
        self.retired.push_back(chunk);
    }
}

impl Drop for ReadBuf {
    fn drop(&mut self) {
        self.current.clear();
        self.rest();
    }
}

impl fmt::Debug for ReadBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuf")
            .field("len", &self.len())
            .field("outstanding", &self.outstanding())
            .field("allocations", &self.allocations)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_reused_once_its_slices_are_dropped() {
        let pool = Pool::new(1024, 4);
        let mut buf = pool.reader();
        for round in 0..1000u32 {
            buf.spare(512).extend_from_slice(&[round as u8; 512]);
            let slice = buf.take();
            assert_eq!(slice[..], [round as u8; 512]);
        }
        assert_eq!((buf.allocations(), buf.outstanding()), (1, 0));
    }

    #[test]
    fn slices_keep_their_bytes_while_others_are_read() {
        let pool = Pool::new(64, 4);
        let mut buf = pool.reader();
        let mut held = VecDeque::new();
        for round in 0..200u8 {
            buf.spare(48).extend_from_slice(&[round; 48]);
            held.push_back((round, buf.take()));
            if held.len() > 3 {
                held.pop_front();
            }
            for (value, slice) in &held {
                assert!(slice.iter().all(|byte| byte == value));
            }
        }
        // Three held by the reader, one current, and at most one more in turnover.
        assert!(buf.allocations() <= 5, "{buf:?}");
    }

    #[test]
    fn what_was_not_taken_moves_to_the_next_chunk() {
        let pool = Pool::new(16, 4);
        let mut buf = pool.reader();
        buf.spare(16).extend_from_slice(b"taken and a half");
        let first = buf.take_front(10);
        buf.spare(12).extend_from_slice(b" more");
        assert_eq!((&first[..], buf.len()), (&b"taken and "[..], 11));
        assert_eq!(&buf.take()[..], b"a half more");
        buf.spare(100).extend_from_slice(&[7; 100]);
        assert_eq!(buf.take().len(), 100);
    }

    #[test]
    fn a_resting_reader_holds_nothing_that_is_free() {
        let pool = Pool::new(1024, 1);
        let mut buf = pool.reader();
        buf.spare(1).extend_from_slice(b"x");
        buf.rest();
        assert_eq!((buf.len(), pool.free_chunks()), (1, 0));
        let slice = buf.take();
        buf.rest();
        assert_eq!((pool.free_chunks(), buf.outstanding()), (0, 1024));
        drop(slice);
        buf.rest();
        assert_eq!((pool.free_chunks(), buf.outstanding()), (1, 0));
        let mut other = pool.reader();
        other.spare(1024).extend_from_slice(b"y");
        assert_eq!((other.allocations(), pool.free_chunks()), (0, 0));
        drop(other);
        assert_eq!((pool.free_chunks(), pool.allocations()), (1, 1));
    }

    // threats C4: a reader that drops nothing is kept track of only up to a limit.
    #[test]
    fn tracking_of_retired_chunks_is_bounded() {
        let pool = Pool::new(8, 4);
        let mut buf = pool.reader();
        let mut held = Vec::new();
        for _ in 0..10 * MAX_RETIRED_CHUNKS {
            buf.spare(8).extend_from_slice(&[0; 8]);
            held.push(buf.take());
        }
        assert_eq!(buf.outstanding(), 8 * MAX_RETIRED_CHUNKS);
        drop(held);
        buf.rest();
        assert_eq!((buf.outstanding(), pool.free_chunks()), (0, 4));
    }
}
