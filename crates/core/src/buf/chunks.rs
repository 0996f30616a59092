//! Memory that one connection's buffers are made of: chunks in a few sizes that come back.
//!
//! Small streams that come and go would allocate and free a chunk each; here the next one gets the
//! last one's. A chunk may be given back while readers still hold slices of it: it is used again
//! when they have dropped them.

use core::fmt;
use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{FREE_CHUNK_BYTES, LARGEST_CHUNK, MAX_FREE_CHUNKS, MIN_FREE_CHUNKS};

/// The least chunk, in bytes.
const SMALLEST: usize = 512;
/// Sizes from [`SMALLEST`] to [`LARGEST_CHUNK`], each twice the one before.
const CLASSES: usize = 8;
/// Pages kept for the next hole.
const MAX_FREE_PAGES: usize = 64;

/// Bytes of a [`Page`].
pub(super) const PAGE: usize = 4096;

/// A piece of memory with some bytes in it. Knows its whole size, however much was split off.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) data: BytesMut,
    size: usize,
}

impl Chunk {
    /// Bytes that can be appended without growing.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.data.capacity().saturating_sub(self.data.len())
    }

    /// Bytes in all, used or not.
    #[inline]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Appends what fits and returns the rest.
    #[inline]
    pub(super) fn fill<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let (fits, rest) = data.split_at(data.len().min(self.room()));
        self.data.put_slice(fits);
        rest
    }

    /// Takes the first `bytes` (all, if it is less) without a copy.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        let bytes = bytes.min(self.data.len());
        self.data.split_to(bytes).freeze()
    }

    /// Makes the whole of it free again, if it is empty and nobody refers to it.
    #[inline]
    pub(super) fn reclaim(&mut self) -> bool {
        // Most were never split.
        let is_whole = self.data.capacity() >= self.size;
        self.data.is_empty() && (is_whole || self.data.try_reclaim(self.size))
    }
}

/// Bytes of a stretch that has holes, and which of them are there: a bit each. So one byte in
/// every hole costs no more than a stretch without.
pub(super) struct Page {
    pub(super) bits: [u64; PAGE / 64],
    pub(super) data: [u8; PAGE],
}

/// The chunks that are free now, of one connection or one shard.
///
/// Not for many threads: whoever drives the buffers owns it, and no lock is on the way of a byte.
pub struct Chunks {
    /// By size; none where nothing was ever given back.
    free: Vec<VecDeque<Chunk>>,
    pages: Vec<Box<Page>>,
    /// Bytes of chunks taken and not given back.
    in_use: usize,
    /// Above this, chunks are made no larger than what they are for.
    ample: usize,
    allocations: u64,
}

impl Chunks {
    /// No chunks yet. While no more than `ample` bytes of chunks are in use, a stream that is in
    /// full flow gets large ones; above, chunks follow closely what they hold.
    #[must_use]
    pub fn new(ample: usize) -> Chunks {
        Chunks {
            free: Vec::new(),
            pages: Vec::new(),
            in_use: 0,
            ample,
            allocations: 0,
        }
    }

    /// Bytes of chunks that buffers hold now, used or not.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Bytes kept for the next that needs a chunk.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        let chunks = self.free.iter().flatten().map(Chunk::size);
        let pages = self.pages.len().saturating_mul(size_of::<Page>());
        chunks.sum::<usize>().saturating_add(pages)
    }

    /// True when nothing is kept: [`trim`](Chunks::trim) would do nothing.
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        self.pages.is_empty() && self.free.iter().all(VecDeque::is_empty)
    }

    /// How many chunks and pages were ever allocated.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations
    }

    /// True when so much is in use that none should be unused.
    #[inline]
    pub(super) fn is_crowded(&self) -> bool {
        self.in_use > self.ample
    }

    /// Frees what is kept: for a connection that fell idle.
    pub fn trim(&mut self) {
        self.free = Vec::new();
        self.pages = Vec::new();
    }

    /// An empty chunk with room for `wanted` bytes, but no more than [`LARGEST_CHUNK`].
    #[inline]
    pub(super) fn take(&mut self, wanted: usize) -> Chunk {
        let size = wanted.clamp(SMALLEST, LARGEST_CHUNK).next_power_of_two();
        self.in_use = self.in_use.saturating_add(size);
        if let Some(free) = self.free.get_mut(class(size)) {
            // The last one that came back is the likeliest to be in the cache; the first one, where readers
            // keep what they got for a while, to be theirs no more.
            for end in [VecDeque::pop_back, VecDeque::pop_front] {
                let Some(mut chunk): Option<Chunk> = end(free) else {
                    break;
                };
                if chunk.reclaim() {
                    return chunk;
                }
                free.push_back(chunk);
            }
        }
        self.allocations = self.allocations.saturating_add(1);
        Chunk {
            data: BytesMut::with_capacity(size),
            size,
        }
    }

    /// Keeps a chunk for the next that needs one of its size; what is in it is dropped.
    #[inline]
    pub(super) fn give(&mut self, mut chunk: Chunk) {
        self.in_use = self.in_use.saturating_sub(chunk.size);
        chunk.data.clear();
        if self.free.is_empty() {
            self.free.resize_with(CLASSES, VecDeque::new);
        }
        let Some(free) = self.free.get_mut(class(chunk.size)) else {
            return;
        };
        // What a division by the size, a power of two, would give.
        let most = FREE_CHUNK_BYTES.checked_shr(chunk.size.trailing_zeros());
        let most = most.unwrap_or(0);
        if free.len() >= most.clamp(MIN_FREE_CHUNKS, MAX_FREE_CHUNKS) {
            free.pop_front();
        }
        free.push_back(chunk);
    }

    /// A page in which nothing is there.
    pub(super) fn take_page(&mut self) -> Box<Page> {
        match self.pages.pop() {
            Some(mut page) => {
                page.bits = [0; PAGE / 64];
                page
            }
            None => {
                self.allocations = self.allocations.saturating_add(1);
                Box::new(Page {
                    bits: [0; PAGE / 64],
                    data: [0; PAGE],
                })
            }
        }
    }

    /// Keeps a page for the next hole.
    pub(super) fn give_page(&mut self, page: Box<Page>) {
        if self.pages.len() < MAX_FREE_PAGES {
            self.pages.push(page);
        }
    }
}

/// The place of a size, which is a power of two, in the table of free chunks.
#[inline]
fn class(size: usize) -> usize {
    (size / SMALLEST).trailing_zeros() as usize
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("in_use", &self.in_use)
            .field("free_bytes", &self.free_bytes())
            .field("allocations", &self.allocations)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.data.len(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_once_nobody_refers_to_it() {
        let mut chunks = Chunks::new(1 << 20);
        let mut chunk = chunks.take(1000);
        assert_eq!(chunk.fill(&[7; 2000]).len(), 976);
        let slice = chunk.take(500);
        chunks.give(chunk);
        assert_eq!((chunks.in_use(), chunks.free_bytes()), (0, 1024));
        let other = chunks.take(1000);
        assert_eq!((chunks.allocations(), &slice[..]), (2, &[7; 500][..]));
        chunks.give(other);
        drop(slice);
        let (a, b) = (chunks.take(513), chunks.take(1024));
        assert_eq!((chunks.allocations(), a.room(), b.room()), (2, 1024, 1024));
    }

    #[test]
    fn chunks_that_are_still_read_do_not_hide_one_that_is_free() {
        let mut chunks = Chunks::new(1 << 20);
        let free = chunks.take(1000);
        let held: Vec<_> = (0..2)
            .map(|_| {
                let mut chunk = chunks.take(1000);
                chunk.fill(&[7; 500]);
                (chunk.take(500), chunk)
            })
            .collect();
        let allocated = chunks.allocations();
        chunks.give(free);
        let slices: Vec<Bytes> = held
            .into_iter()
            .map(|(slice, chunk)| {
                chunks.give(chunk);
                slice
            })
            .collect();
        chunks.take(1000);
        assert_eq!(chunks.allocations(), allocated);
        assert!(slices.iter().all(|slice| slice[..] == [7; 500]));
    }

    #[test]
    fn what_is_kept_is_bounded_and_can_be_let_go() {
        let mut chunks = Chunks::new(1 << 20);
        let mut wanted = 1;
        while wanted <= 1 << 20 {
            let taken: Vec<Chunk> = (0..200).map(|_| chunks.take(wanted)).collect();
            taken.into_iter().for_each(|chunk| chunks.give(chunk));
            wanted *= 2;
        }
        let taken: Vec<_> = (0..100).map(|_| chunks.take_page()).collect();
        taken.into_iter().for_each(|page| chunks.give_page(page));
        assert!(chunks.free_bytes() < 9 << 18, "{chunks:?}");
        chunks.trim();
        assert_eq!((chunks.free_bytes(), chunks.is_trimmed()), (0, true));
    }
}
