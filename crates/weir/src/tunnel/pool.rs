//! Buffers for bytes on their way from TCP into a stream, lent only while bytes move.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes in one chunk: the largest frame that the multiplexer makes, so one read fills one frame.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Reads up to this long are copied into a buffer of their size: a keystroke must not pin a whole chunk for as long
/// as the peer does not read it. Copying 4 KiB costs less than the read that brought it.
const COPY_UP_TO: usize = 4 * 1024;

/// Chunks that wait to be used again: 2 MiB, enough for the bursts of a few dozen connections.
const MAX_FREE: usize = 32;

/// Chunks that may be pinned by queued data, 16 MiB in all; beyond it reads are copied to their size, so that
/// what many stalled connections pin is what they queued and no more.
const MAX_LENT: usize = 256;

/// A pool that all forwarded connections of one tunnel share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChunkPool(Arc<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    free: Mutex<Vec<Vec<u8>>>,
    lent: AtomicUsize,
}

/// A buffer of [`CHUNK`] bytes, back on the shelf when it is dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    data: Vec<u8>,
    len: usize,
    pinned: bool,
    shelf: Arc<Shelf>,
}

impl ChunkPool {
    /// A chunk to read into.
    pub(crate) fn take(&self) -> Chunk {
        let free = self
            .0
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let data = free.unwrap_or_else(|| vec![0; CHUNK]);
        Chunk {
            data,
            len: 0,
            pinned: false,
            shelf: Arc::clone(&self.0),
        }
    }

    /// Chunks that queued data pins now.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> usize {
        self.0.lent.load(Ordering::Relaxed)
    }
}

impl Chunk {
    /// The space to read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The first `len` bytes; a long read goes on without a copy.
    pub(crate) fn into_bytes(mut self, len: usize) -> Bytes {
        let read = self.data.get(..len).unwrap_or_default();
        if read.len() <= COPY_UP_TO || self.shelf.lent.load(Ordering::Relaxed) >= MAX_LENT {
            return Bytes::copy_from_slice(read);
        }
        self.len = len;
        self.pinned = true;
        self.shelf.lent.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.pinned {
            self.shelf.lent.fetch_sub(1, Ordering::Relaxed);
        }
        let mut free = self
            .shelf
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE {
            free.push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pool: &ChunkPool, len: usize) -> Bytes {
        let mut chunk = pool.take();
        chunk.space()[..len].fill(7);
        chunk.into_bytes(len)
    }

    #[test]
    fn a_long_read_is_not_copied_and_its_chunk_comes_back() {
        let pool = ChunkPool::default();
        let bytes = read(&pool, CHUNK);
        let at = bytes.as_ptr();
        assert_eq!((bytes.len(), pool.lent()), (CHUNK, 1));
        drop(bytes);
        assert_eq!(pool.lent(), 0);
        assert_eq!(read(&pool, CHUNK).as_ptr(), at, "the same memory again");
    }

    #[test]
    fn a_short_read_pins_nothing() {
        let pool = ChunkPool::default();
        let bytes = read(&pool, COPY_UP_TO);
        assert_eq!(&bytes[..], [7; COPY_UP_TO]);
        assert_eq!(pool.lent(), 0);
    }

    /// C4: stalled readers cannot pin more chunks than the limit.
    #[test]
    fn what_is_pinned_is_bounded() {
        let pool = ChunkPool::default();
        let held: Vec<Bytes> = (0..MAX_LENT + 10)
            .map(|_| read(&pool, COPY_UP_TO + 1))
            .collect();
        assert_eq!(pool.lent(), MAX_LENT);
        assert!(held.iter().all(|bytes| bytes.len() == COPY_UP_TO + 1));
        drop(held);
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.0.free.lock().unwrap().len(), MAX_FREE);
    }
}
