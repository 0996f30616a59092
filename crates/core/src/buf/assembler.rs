//! Bytes that arrived in any order, put back in order.

#![deny(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use bytes::Bytes;

use super::ahead::Ahead;
use super::chunks::{Chunk, Chunks};
use crate::limits::LARGEST_CHUNK;

/// A list that grew beyond this is not kept when the assembler starts anew.
const KEEP_CHUNKS: usize = 16;
/// A chunk no larger than this is kept for the next bytes, where that is wanted.
const KEEP_SIZE: usize = 4096;
/// A chunk of which no more is unread is left for a smaller one when memory is crowded.
const SMALL_REST: usize = 4096;

/// Bytes would lie farther ahead than the assembler holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("data up to offset {end}, but only up to {limit} can be held")]
pub struct Full {
    /// The offset behind the last byte that came.
    pub end: u64,
    /// The offset up to which bytes can be held now.
    pub limit: u64,
}

/// Puts a stream of bytes back in order.
///
/// ```text
///      read               end          first gap
///   ----+------------------+........................+======+...==+--->  offset
///   gone| in order: chunks |  missing               | held in pages |
/// ```
///
/// What comes in order is appended to a chunk, from which the reader takes slices without a copy.
/// What comes ahead of a gap is put at its place into pages of 4 KiB with a bit for each byte, and
/// moves over when the gap is filled. So memory follows how far ahead bytes lie, which flow control
/// bounds, and not how many gaps there are; and an insertion costs its length and nothing more,
/// however a peer chooses the holes (RFC 9000 section 21.7).
#[derive(Debug)]
pub struct Assembler {
    start: u64,
    read: u64,
    end: u64,
    max_ahead: u64,
    /// How large the first chunk should be, in bytes.
    expected: usize,
    /// The last chunk stays when all of it was read.
    keeps: bool,
    /// In order and unread; the last one is being filled.
    ready: VecDeque<Chunk>,
    ahead: Ahead,
}

impl Assembler {
    /// An assembler whose first byte has the offset `start`, and which holds bytes up to
    /// `max_ahead` bytes ahead of what was read. Allocates nothing.
    #[must_use]
    pub fn new(start: u64, max_ahead: u64) -> Assembler {
        Assembler {
            start,
            read: start,
            end: start,
            max_ahead,
            expected: 0,
            keeps: false,
            ready: VecDeque::new(),
            ahead: Ahead::default(),
        }
    }

    /// Forgets everything and starts anew at the offset `start`. Chunks go back to `chunks`, and
    /// what was allocated for lists is kept if it is small.
    pub fn restart(&mut self, start: u64, chunks: &mut Chunks) {
        while let Some(chunk) = self.ready.pop_front() {
            chunks.give(chunk);
        }
        if self.ready.capacity() > KEEP_CHUNKS {
            self.ready = VecDeque::new();
        }
        self.ahead.clear(chunks);
        (self.start, self.read, self.end, self.expected) = (start, start, start, 0);
    }

    /// Whether a small chunk stays for the next bytes when all of it was read, unless memory is crowded:
    /// small messages that are read as they come do without a new chunk each. The owner
    /// [restarts](Assembler::restart) an assembler that fell idle. At first none stays.
    pub fn keep_last(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    /// About so many bytes are to be expected at once: chunks are made for that, unless memory is
    /// crowded.
    #[inline]
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes.min(LARGEST_CHUNK);
    }

    /// Offset of the first byte since it started (anew).
    #[inline]
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset of the next byte that [`read`](Assembler::read) gives.
    #[inline]
    #[must_use]
    pub fn read_offset(&self) -> u64 {
        self.read
    }

    /// Every byte below this offset has arrived.
    #[inline]
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that can be read now.
    #[inline]
    #[must_use]
    pub fn readable(&self) -> u64 {
        self.end.saturating_sub(self.read)
    }

    /// Bytes that wait behind a gap.
    #[inline]
    #[must_use]
    pub fn held(&self) -> u64 {
        self.ahead.count()
    }

    /// True when it holds no byte.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read == self.end && self.ahead.count() == 0
    }

    /// Puts `data` at `offset`. What is there already stays as it is. Returns how many bytes were
    /// new.
    ///
    /// # Errors
    /// [`Full`] when it lies too far ahead; nothing is taken then.
    #[inline]
    pub fn insert(&mut self, offset: u64, data: &[u8], chunks: &mut Chunks) -> Result<u64, Full> {
        let end = offset.saturating_add(data.len() as u64);
        let limit = self.read.saturating_add(self.max_ahead);
        if end > limit {
            return Err(Full { end, limit });
        }
        if offset == self.end && self.ahead.count() == 0 {
            self.append(data, chunks);
            return Ok(data.len() as u64);
        }
        Ok(self.insert_out_of_order(offset, data, chunks))
    }

    /// Takes the next bytes in order, at most `max`, without a copy. `None`: there is none, or
    /// `max` is 0.
    #[inline]
    pub fn read(&mut self, max: usize, chunks: &mut Chunks) -> Option<Bytes> {
        if self.read == self.end || max == 0 {
            return None;
        }
        let front = self.ready.front_mut()?;
        let bytes = front.take(max);
        self.read = self.read.saturating_add(bytes.len() as u64);
        self.after_read(chunks);
        Some(bytes)
    }

    /// Copies the next bytes in order to `out` and says how many.
    pub fn read_into(&mut self, out: &mut [u8], chunks: &mut Chunks) -> usize {
        let mut filled: usize = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty())
            && let Some(front) = self.ready.front_mut()
            && self.read < self.end
        {
            let count = rest.len().min(front.data.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..count), front.data.get(..count)) {
                to.copy_from_slice(from);
            }
            bytes::Buf::advance(&mut front.data, count);
            filled = filled.saturating_add(count);
            self.read = self.read.saturating_add(count as u64);
            self.after_read(chunks);
        }
        filled
    }

    /// Lets go of the front chunk when all of it was read, and of a large one that little is in.
    #[inline]
    fn after_read(&mut self, chunks: &mut Chunks) {
        let Some(front) = self.ready.front() else {
            return;
        };
        if front.data.is_empty() {
            // The last one is filled further as long as something is to be expected for it.
            let is_last = self.ready.len() == 1;
            let stays = self.keeps && is_last && self.expected == 0;
            if (!is_last || front.room() == 0 || self.is_empty())
                && !(stays && front.size() <= KEEP_SIZE && !chunks.is_crowded())
                && let Some(chunk) = self.ready.pop_front()
            {
                chunks.give(chunk);
            }
        } else if chunks.is_crowded() {
            self.compact(chunks);
        }
    }

    /// What is left of the last chunk moves to one of its size.
    #[cold]
    fn compact(&mut self, chunks: &mut Chunks) {
        let Some(front) = self.ready.front_mut() else {
            return;
        };
        let rest = front.data.len();
        if rest > SMALL_REST || rest > front.size() / 4 {
            return;
        }
        let mut small = chunks.take(rest);
        if small.size() >= front.size() {
            chunks.give(small);
            return;
        }
        small.fill(&front.data);
        chunks.give(core::mem::replace(front, small));
    }

    /// Appends what comes next in order.
    #[inline]
    fn append(&mut self, mut data: &[u8], chunks: &mut Chunks) {
        self.end = self.end.saturating_add(data.len() as u64);
        if let Some(last) = self.ready.back_mut() {
            if last.room() >= data.len() {
                last.fill(data);
                return;
            }
            data = self.fill_last(data, chunks);
        }
        while !data.is_empty() {
            data = self.append_to_new(data, chunks);
        }
    }

    /// Appends what fits to the last chunk, which has not room for all of `data`, and returns the rest.
    fn fill_last<'a>(&mut self, data: &'a [u8], chunks: &mut Chunks) -> &'a [u8] {
        let Some(last) = self.ready.back_mut() else {
            return data;
        };
        if !last.data.is_empty() {
            return last.fill(data);
        }
        if last.size() >= data.len() && (last.reclaim() || last.room() > 0) {
            return last.fill(data);
        }
        // Too small, or readers hold what they took of it.
        if let Some(chunk) = self.ready.pop_back() {
            chunks.give(chunk);
        }
        data
    }

    /// Appends to a chunk that is as large as what waits already, so that memory stays in
    /// proportion and a stream in full flow soon has large chunks.
    fn append_to_new<'a>(&mut self, data: &'a [u8], chunks: &mut Chunks) -> &'a [u8] {
        let waiting = usize::try_from(self.readable()).unwrap_or(LARGEST_CHUNK);
        let mut size = data.len().max(waiting.min(LARGEST_CHUNK));
        if !chunks.is_crowded() {
            size = size.max(self.expected);
        }
        let mut chunk = chunks.take(size);
        let rest = chunk.fill(data);
        self.ready.push_back(chunk);
        rest
    }

    /// Data with or before a gap, or that came before.
    fn insert_out_of_order(&mut self, offset: u64, data: &[u8], chunks: &mut Chunks) -> u64 {
        let known = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(data) = data.get(known..).filter(|data| !data.is_empty()) else {
            return 0;
        };
        let offset = offset.max(self.end);
        if offset > self.end {
            return self.ahead.insert(offset, data, chunks);
        }
        let mut new = data.len() as u64;
        self.append(data, chunks);
        if self.ahead.count() == 0 {
            return new;
        }
        // Some of it may have been held; what was held behind it is in order now.
        new = new.saturating_sub(self.ahead.remove_below(self.end, chunks));
        while let Some((page, from, to)) = self.ahead.take_run(self.end) {
            if let Some(run) = page.data.get(from..to) {
                // Borrowed from a page that was taken out, so that the chunk can grow.
                let mut rest = match self.ready.back_mut() {
                    Some(last) => last.fill(run),
                    None => run,
                };
                while !rest.is_empty() {
                    rest = self.append_to_new(rest, chunks);
                }
            }
            self.end = self.end.saturating_add(to.saturating_sub(from) as u64);
            self.ahead.put_back(page, from..to, chunks);
        }
        if self.ahead.count() == 0 {
            self.ahead.clear(chunks);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(assembler: &mut Assembler, chunks: &mut Chunks) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(bytes) = assembler.read(700, chunks) {
            out.extend_from_slice(&bytes);
        }
        out
    }

    fn pattern(range: core::ops::Range<u64>) -> Vec<u8> {
        range.map(|at| (at ^ (at >> 8)) as u8).collect()
    }

    #[test]
    fn a_gap_that_is_filled_lets_all_through() {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(1000, 1 << 20);
        let mut put = |assembler: &mut Assembler, range: core::ops::Range<u64>| {
            let data = pattern(range.clone());
            assembler.insert(range.start, &data, &mut chunks).unwrap()
        };
        assert_eq!(put(&mut assembler, 5000..9300), 4300);
        assert_eq!(put(&mut assembler, 4090..5010), 910);
        assert_eq!(put(&mut assembler, 20_000..20_001), 1);
        assert_eq!((assembler.readable(), assembler.held()), (0, 5211));
        assert_eq!(put(&mut assembler, 900..1200), 200);
        assert_eq!(put(&mut assembler, 1100..4100), 2890);
        assert_eq!((assembler.end(), assembler.held()), (9300, 1));
        assert_eq!(read_all(&mut assembler, &mut chunks), pattern(1000..9300));
        assert_eq!(
            (assembler.read_offset(), assembler.is_empty()),
            (9300, false)
        );
    }

    #[test]
    fn what_came_first_stays() {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(0, 1 << 20);
        assert_eq!(assembler.insert(0, b"abc", &mut chunks), Ok(3));
        assert_eq!(assembler.insert(0, b"ABCd", &mut chunks), Ok(1));
        assert_eq!(assembler.insert(2, b"xx", &mut chunks), Ok(0));
        assert_eq!(read_all(&mut assembler, &mut chunks), b"abcd");
        assert_eq!(assembler.insert(1, b"xx", &mut chunks), Ok(0));
        assert_eq!(assembler.insert(4, b"", &mut chunks), Ok(0));
        assert_eq!(assembler.readable(), 0);
    }

    // Q95, RFC 9000 7.5: what is buffered ahead is bounded, and the bound moves with the reading.
    #[test]
    fn too_far_ahead_is_refused() {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(0, 4096);
        assert_eq!(assembler.insert(4000, &[1; 96], &mut chunks), Ok(96));
        let full = Full {
            end: 4097,
            limit: 4096,
        };
        assert_eq!(assembler.insert(0, &[1; 4097], &mut chunks), Err(full));
        assert!(assembler.insert(u64::MAX, &[1], &mut chunks).is_err());
        assert_eq!(assembler.insert(0, &[1; 4000], &mut chunks), Ok(4000));
        assert_eq!(read_all(&mut assembler, &mut chunks).len(), 4096);
        assert_eq!(assembler.insert(8191, &[1], &mut chunks), Ok(1));
    }

    #[test]
    fn chunks_grow_with_use_and_come_back() {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(0, u64::MAX);
        let mut offset = 0;
        for _ in 0..100 {
            for _ in 0..100 {
                let _new = assembler.insert(offset, &[7; 1200], &mut chunks);
                offset += 1200;
            }
            let first = assembler.read(usize::MAX, &mut chunks).unwrap();
            assert!(first.len() <= 2048);
            let mut pieces = 1;
            while assembler.read(usize::MAX, &mut chunks).is_some() {
                pieces += 1;
            }
            assert!(pieces < 9, "{pieces} pieces");
            assert_eq!(chunks.in_use(), 0);
        }
        assert!(chunks.allocations() < 12, "{chunks:?}");
    }

    #[test]
    fn what_is_expected_comes_in_one_piece_while_memory_is_ample() {
        for (ample, pieces) in [(1 << 20, 1), (0, 6)] {
            let mut chunks = Chunks::new(ample);
            let _crowd = chunks.take(1);
            let mut assembler = Assembler::new(0, u64::MAX);
            assembler.expect(1 << 20);
            for at in (0..40_000).step_by(1000) {
                let _new = assembler.insert(at, &[7; 1000], &mut chunks);
            }
            let read = core::iter::from_fn(|| assembler.read(usize::MAX, &mut chunks));
            assert_eq!(read.count(), pieces);
        }
    }

    #[test]
    fn a_crowded_memory_is_not_held_by_small_rests() {
        let mut chunks = Chunks::new(0);
        let mut assemblers = Vec::new();
        for _ in 0..100 {
            let mut assembler = Assembler::new(0, u64::MAX);
            let _new = assembler.insert(0, &[7; 60_000], &mut chunks);
            let _new = assembler.insert(60_000, &[8; 10], &mut chunks);
            assert_eq!(assembler.read(59_990, &mut chunks).unwrap().len(), 59_990);
            assemblers.push(assembler);
        }
        assert_eq!(chunks.in_use(), 100 * 512);
        for assembler in &mut assemblers {
            assert_eq!(read_all(assembler, &mut chunks)[9..12], [7, 8, 8]);
        }
        assert_eq!(chunks.in_use(), 0);
    }

    #[test]
    fn a_reader_may_copy_out() {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(0, 1 << 20);
        for at in (0..10_000).step_by(100) {
            let data = pattern(at..at + 100);
            assert_eq!(assembler.insert(at, &data, &mut chunks), Ok(100));
        }
        let mut out = vec![0; 9_999];
        assert_eq!(assembler.read_into(&mut out, &mut chunks), 9_999);
        assert_eq!((out, assembler.readable()), (pattern(0..9_999), 1));
        let mut rest = [0; 10];
        assert_eq!(assembler.read_into(&mut rest, &mut chunks), 1);
        assert_eq!((assembler.is_empty(), chunks.in_use()), (true, 0));
    }

    // What small messages are made of: one chunk does for all of them, as long as each is read and let
    // go before the next comes.
    #[test]
    fn a_kept_chunk_is_filled_again_and_again() {
        let mut chunks = Chunks::new(1 << 20);
        let mut assembler = Assembler::new(0, 1 << 20);
        assembler.keep_last(true);
        for n in 0..100_u64 {
            assembler
                .insert(n * 1000, &[n as u8; 1000], &mut chunks)
                .unwrap();
            let read = assembler.read(usize::MAX, &mut chunks).unwrap();
            assert_eq!(
                (&read[..], assembler.is_empty()),
                (&[n as u8; 1000][..], true)
            );
        }
        assert_eq!((chunks.allocations(), chunks.in_use()), (1, 1024));
        // A larger one needs a larger chunk; what readers hold stays as it is.
        assembler.insert(100_000, &[1; 1500], &mut chunks).unwrap();
        let held = assembler.read(usize::MAX, &mut chunks).unwrap();
        assembler.insert(101_500, &[2; 1500], &mut chunks).unwrap();
        let next = assembler.read(usize::MAX, &mut chunks).unwrap();
        assert_eq!((&held[..], &next[..548]), (&[1; 1500][..], &[2; 548][..]));
        let rest = assembler.read(usize::MAX, &mut chunks).unwrap();
        assert_eq!((&rest[..], assembler.end()), (&[2; 952][..], 103_000));
        assembler.restart(103_000, &mut chunks);
        assert_eq!(chunks.in_use(), 0);
    }
}
