//! Bytes on their way out, kept by 64-bit offset until the peer has them.

#![deny(clippy::arithmetic_side_effects)]

use core::ops::Range;
use std::collections::VecDeque;

use bytes::Bytes;

use super::chunks::{Chunk, Chunks};
use crate::limits::{COPY_BELOW, KEPT_CHUNK, LARGEST_CHUNK};
use crate::ranges::RangeSet;

/// A ring of segments that grew beyond this is not kept when the buffer starts anew.
const KEEP_SEGMENTS: usize = 64;

/// What was written and is not acknowledged, as a window that moves over a stream of bytes:
///
/// ```text
///      base                    next             end
///   ----+-----------------------+----------------+--------> offset
///   gone|  sent: acknowledged,  | written, never |
///       |  lost, or in flight   | sent           |
/// ```
///
/// Large pieces are kept as the [`Bytes`] they came in, small ones are copied behind each other into
/// chunks. A byte is copied from here into a packet each time that it is sent; going on where the
/// last copy ended costs no search.
///
/// # How it is driven
/// [`next_range`](SendBuffer::next_range) says what is to be sent next, lost bytes first;
/// [`copy_range`](SendBuffer::copy_range) as much of it as fits and tell
/// [`on_sent`](SendBuffer::on_sent); later tell [`on_acked`](SendBuffer::on_acked) or
/// [`on_lost`](SendBuffer::on_lost), in any order, split as it was sent.
#[derive(Debug)]
pub struct SendBuffer {
    base: u64,
    next: u64,
    end: u64,
    segments: VecDeque<Segment>,
    /// The segment that the last copy ended in.
    cursor: usize,
    /// Acknowledged above `base`. Not bounded by number: there are never more than frames in
    /// flight, which is for the congestion window to bound.
    acked: RangeSet,
    /// To be sent again; disjoint from `acked`.
    lost: RangeSet,
    /// A small chunk stays for the next piece when all is acknowledged.
    keeps: bool,
}

#[derive(Debug)]
struct Segment {
    /// Offset of its first byte.
    start: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// What the application gave.
    Shared(Bytes),
    /// Small pieces, with room for more.
    Filled(Chunk),
    /// What was in a chunk when it was shared, and the chunk, which may have room for more: that
    /// becomes the next segment.
    Frozen(Bytes, Chunk),
}

impl Segment {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Shared(bytes) | Data::Frozen(bytes, _) => bytes,
            Data::Filled(chunk) => &chunk.data,
        }
    }

    #[inline]
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes().len() as u64)
    }

    /// A part of the bytes, without a copy.
    #[inline]
    fn share(&mut self, part: Range<usize>) -> Option<Bytes> {
        if let Data::Filled(chunk) = &mut self.data {
            let bytes = chunk.take(usize::MAX);
            let chunk = std::mem::take(chunk);
            self.data = Data::Frozen(bytes, chunk);
        }
        match &self.data {
            Data::Shared(bytes) | Data::Frozen(bytes, _) => {
                bytes.get(part.clone())?;
                Some(bytes.slice(part))
            }
            Data::Filled(_) => None,
        }
    }
}

impl Default for SendBuffer {
    fn default() -> SendBuffer {
        SendBuffer::new(0)
    }
}

impl SendBuffer {
    /// An empty buffer whose first byte will have the offset `start`. Allocates nothing.
    #[must_use]
    pub fn new(start: u64) -> SendBuffer {
        SendBuffer {
            base: start,
            next: start,
            end: start,
            segments: VecDeque::new(),
            cursor: 0,
            acked: RangeSet::new(usize::MAX),
            lost: RangeSet::new(usize::MAX),
            keeps: false,
        }
    }

    /// From here on a chunk of small pieces stays when all is acknowledged, if it is no larger than
    /// [`KEPT_CHUNK`]: who writes a message at a time fills the same one again and again. The owner has
    /// to [`restart`](SendBuffer::restart) the buffer before he drops it, and when it falls idle.
    pub fn keep_chunk(&mut self) {
        self.keeps = true;
    }

    /// Forgets everything and starts anew at the offset `start`; chunks go back to `chunks`, and
    /// what was allocated for lists is kept if it is small.
    pub fn restart(&mut self, start: u64, chunks: &mut Chunks) {
        while let Some(segment) = self.segments.pop_front() {
            free(segment, chunks);
        }
        if self.segments.capacity() > KEEP_SEGMENTS {
            self.segments = VecDeque::new();
        }
        (self.base, self.next, self.end, self.cursor) = (start, start, start, 0);
        self.acked.clear();
        self.lost.clear();
    }

    /// Offset behind the last byte written.
    #[inline]
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Every byte below this offset was acknowledged.
    #[inline]
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Offset of the first byte that was never sent.
    #[inline]
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes written and never sent.
    #[inline]
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }

    /// Bytes from the first that is not acknowledged to the last written: what is kept here.
    #[inline]
    #[must_use]
    pub fn len_unacked(&self) -> u64 {
        self.end.saturating_sub(self.base)
    }

    /// True when all that was written was acknowledged.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.base == self.end
    }

    /// True when something is to be sent again.
    #[inline]
    #[must_use]
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Appends a piece: as it is when it is large, by copy when it is small and not the first.
    #[inline]
    pub fn append(&mut self, data: Bytes, chunks: &mut Chunks) {
        if data.len() < COPY_BELOW && !self.segments.is_empty() {
            self.append_slice(&data, chunks);
        } else if !data.is_empty() {
            let start = self.end;
            self.end = start.saturating_add(data.len() as u64);
            let data = Data::Shared(data);
            self.segments.push_back(Segment { start, data });
        }
    }

    /// Appends a copy of `data`.
    #[inline]
    pub fn append_slice(&mut self, mut data: &[u8], chunks: &mut Chunks) {
        if let Some(Segment {
            data: Data::Filled(chunk),
            ..
        }) = self.segments.back_mut()
        {
            let rest = chunk.fill(data);
            let filled = data.len().saturating_sub(rest.len());
            self.end = self.end.saturating_add(filled as u64);
            data = rest;
        }
        if !data.is_empty() {
            self.append_to_new(data, chunks);
        }
    }

    /// Appends a copy of `data`, for which there is no chunk, or none that is open.
    fn append_to_new(&mut self, mut data: &[u8], chunks: &mut Chunks) {
        if self.reopen() {
            return self.append_slice(data, chunks);
        }
        while !data.is_empty() {
            // In proportion to what waits, so that a few bytes do not hold a large chunk.
            let waiting = usize::try_from(self.len_unacked()).unwrap_or(LARGEST_CHUNK);
            let mut chunk = chunks.take(data.len().max(waiting.min(LARGEST_CHUNK)));
            let rest = chunk.fill(data);
            let start = self.end;
            self.end = start.saturating_add(data.len().saturating_sub(rest.len()) as u64);
            let filled = Data::Filled(chunk);
            self.segments.push_back(Segment {
                start,
                data: filled,
            });
            data = rest;
        }
    }

    /// The room that is left in the last chunk, if that was shared, becomes a segment of its own. True
    /// when there was such room.
    fn reopen(&mut self) -> bool {
        let start = self.end;
        if let Some(last) = self.segments.back_mut()
            && let Data::Frozen(bytes, chunk) = &mut last.data
            && chunk.room() > 0
        {
            let (bytes, chunk) = (std::mem::take(bytes), std::mem::take(chunk));
            last.data = Data::Shared(bytes);
            let data = Data::Filled(chunk);
            self.segments.push_back(Segment { start, data });
            return true;
        }
        false
    }

    /// What is to be sent next: lost bytes first, the lowest first; then bytes never sent, those
    /// below the offset `limit`. Empty when there is nothing; never from both kinds.
    #[inline]
    #[must_use]
    pub fn next_range(&self, limit: u64) -> Range<u64> {
        match self.lost.first() {
            Some(lost) => lost,
            None => self.next..self.end.min(limit).max(self.next),
        }
    }

    /// `range`, a front part of [`next_range`](SendBuffer::next_range), was sent.
    #[inline]
    pub fn on_sent(&mut self, range: &Range<u64>) {
        if !self.lost.is_empty() {
            self.lost.remove(range.clone());
        }
        self.next = self.next.max(range.end.min(self.end));
    }

    /// Appends the bytes of `range` to `out`, as far as they are here: nothing when the first was
    /// acknowledged and let go. A copy that goes on where the last one ended searches for nothing.
    #[inline]
    pub fn copy_range(&mut self, range: Range<u64>, out: &mut Vec<u8>) {
        // Nearly always within the segment that the last copy ended in.
        if let Some(segment) = self.segments.get(self.cursor)
            && let Some(from) = range.start.checked_sub(segment.start)
            && let Some(to) = range.end.checked_sub(segment.start)
            && let Some(part) = segment.bytes().get(from as usize..to as usize)
        {
            out.extend_from_slice(part);
        } else {
            self.copy_pieces(range, out);
        }
    }

    fn copy_pieces(&mut self, range: Range<u64>, out: &mut Vec<u8>) {
        let mut start = range.start;
        let mut at = self.segment_of(start);
        while start < range.end
            && let Some(segment) = self.segments.get(at)
        {
            self.cursor = at;
            let bytes = segment.bytes();
            let from = start.checked_sub(segment.start).unwrap_or(u64::MAX);
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let wanted = usize::try_from(range.end.saturating_sub(start)).unwrap_or(usize::MAX);
            let to = from.saturating_add(wanted).min(bytes.len());
            let Some(part) = bytes.get(from..to) else {
                return;
            };
            out.extend_from_slice(part);
            start = start.saturating_add(part.len() as u64);
            at = at.saturating_add(1);
        }
    }

    /// As [`copy_range`](SendBuffer::copy_range), but as slices of what is kept here: for writes that
    /// gather. Nothing is copied; a chunk of small pieces is frozen the first time that any of it is
    /// shared, which allocates once in the chunk's life, and it comes back when the bytes are
    /// acknowledged *and* the slices are dropped. Below a kilobyte or so, copying costs less.
    #[inline]
    pub fn share_range(&mut self, range: Range<u64>, out: &mut Vec<Bytes>) {
        let mut start = range.start;
        let mut at = self.segment_of(start);
        while start < range.end
            && let Some(segment) = self.segments.get_mut(at)
        {
            self.cursor = at;
            let from = start.checked_sub(segment.start).unwrap_or(u64::MAX);
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let wanted = usize::try_from(range.end.saturating_sub(start)).unwrap_or(usize::MAX);
            let to = from.saturating_add(wanted).min(segment.bytes().len());
            if from > to {
                return;
            }
            let Some(part) = segment.share(from..to) else {
                return;
            };
            start = start.saturating_add(part.len() as u64);
            if !part.is_empty() {
                out.push(part);
            }
            at = at.saturating_add(1);
        }
    }

    /// The peer has `range`. Returns how many bytes are not kept any more.
    #[inline]
    pub fn on_acked(&mut self, range: Range<u64>, chunks: &mut Chunks) -> u64 {
        let before = self.base;
        let range = range.start.max(before)..range.end.min(self.next);
        if range.is_empty() {
            return 0;
        }
        if !self.lost.is_empty() {
            // It was not lost after all.
            self.lost.remove(range.clone());
        }
        if range.start == before && self.acked.is_empty() {
            self.base = range.end;
        } else {
            self.acked.insert(range);
            if let Some(first) = self.acked.first()
                && first.start == before
            {
                self.base = first.end;
                self.acked.pop_first();
            }
        }
        while let Some(segment) = self.segments.front()
            && segment.end() <= self.base
        {
            if self.keeps && self.keep_last(chunks) {
                break;
            }
            if let Some(segment) = self.segments.pop_front() {
                self.cursor = self.cursor.saturating_sub(1);
                free(segment, chunks);
            }
        }
        self.base.saturating_sub(before)
    }

    /// Empties the only segment and keeps its chunk, if that is small and there are not too many.
    #[inline]
    fn keep_last(&mut self, chunks: &Chunks) -> bool {
        if self.segments.len() == 1
            && let Some(segment) = self.segments.front_mut()
            && let Data::Filled(chunk) = &mut segment.data
            && chunk.size() <= KEPT_CHUNK
            && !chunks.is_crowded()
        {
            chunk.data.clear();
            segment.start = self.end;
            return true;
        }
        false
    }

    /// `range` was lost: what of it is not acknowledged is to be sent again.
    pub fn on_lost(&mut self, range: Range<u64>) {
        let range = range.start.max(self.base)..range.end.min(self.next);
        if self.acked.is_empty() {
            self.lost.insert(range);
        } else {
            for missing in self.acked.gaps(range) {
                self.lost.insert(missing);
            }
        }
    }

    /// All that was sent and not acknowledged is to be sent again.
    pub fn reset_all_unacked(&mut self) {
        self.on_lost(self.base..self.next);
    }

    /// As if nothing that is kept had ever been sent.
    pub fn rewind(&mut self) {
        self.next = self.base;
        self.acked.clear();
        self.lost.clear();
    }

    /// The index of the segment that has the byte at `offset`.
    #[inline]
    fn segment_of(&self, offset: u64) -> usize {
        if self.is_in(self.cursor, offset) {
            return self.cursor;
        }
        self.search(offset)
    }

    #[inline]
    fn is_in(&self, at: usize, offset: u64) -> bool {
        let segment = self.segments.get(at);
        segment.is_some_and(|segment| segment.start <= offset && offset < segment.end())
    }

    fn search(&self, offset: u64) -> usize {
        let next = self.cursor.saturating_add(1);
        if self.is_in(next, offset) {
            return next;
        }
        self.segments
            .partition_point(|segment| segment.end() <= offset)
    }
}

fn free(segment: Segment, chunks: &mut Chunks) {
    if let Data::Filled(chunk) | Data::Frozen(_, chunk) = segment.data {
        chunks.give(chunk);
    }
}

#[cfg(test)]
mod tests;
