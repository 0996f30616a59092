//! What leaves: a batch of frames as slices for one vectored write.

use crate::limits::{MAX_BATCH_BYTES, MAX_BATCH_SLICES};
use bytes::Bytes;
use std::io::IoSlice;

/// A piece of the batch in the order of the wire.
#[derive(Debug)]
enum Segment {
    /// This many bytes of the staging buffer, after those of the staged segments before.
    Staged(usize),
    /// A large payload, as the application wrote it.
    Shared(Bytes),
}

/// A batch of frames. The engine appends in `Session::poll_transmit`; the driver writes the
/// slices to the carrier and reports with [`TransmitBuf::advance`] how much was taken.
///
/// Headers and small payloads lie behind each other in one staging buffer, so a hundred small
/// frames are one slice; large payloads are slices of what the application wrote. The memory is
/// used again: once grown, a batch needs no allocation.
///
/// ```
/// # use weir_yamux::TransmitBuf;
/// # use std::io::{IoSlice, Write};
/// # let mut carrier = Vec::new();
/// let mut batch = TransmitBuf::new();
/// // session.poll_transmit(now, &mut batch);
/// while !batch.is_empty() {
///     let mut slices = [IoSlice::new(&[]); 64];
///     let count = batch.fill_slices(&mut slices);
///     let written = carrier.write_vectored(&slices[..count]).unwrap();
///     batch.advance(written);
/// }
/// ```
#[derive(Debug, Default)]
pub struct TransmitBuf {
    staging: Vec<u8>,
    segments: Vec<Segment>,
    /// Segments that were written whole.
    head: usize,
    /// Bytes of the segment at `head` that were written.
    head_sent: usize,
    /// Where in `staging` the next unwritten staged byte is.
    staging_head: usize,
    /// Bytes not written yet.
    len: usize,
}

impl TransmitBuf {
    /// An empty batch; it grows with use.
    pub fn new() -> TransmitBuf {
        TransmitBuf::default()
    }

    /// Bytes that wait to be written.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slices that wait to be written.
    pub fn slice_count(&self) -> usize {
        self.segments.len().saturating_sub(self.head)
    }

    /// Fills `slices` from the front with what waits, in order, and says how many were filled.
    /// When there is more than fits, what was filled is written first and the rest asked for
    /// again after `advance`.
    pub fn fill_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut staged_at = self.staging_head;
        let mut skip = self.head_sent;
        let mut filled = 0_usize;
        let waiting = self.segments.iter().skip(self.head);
        for (slot, segment) in slices.iter_mut().zip(waiting) {
            let bytes = match segment {
                Segment::Staged(length) => {
                    let end = staged_at.saturating_add(length.saturating_sub(skip));
                    let bytes = self.staging.get(staged_at..end).unwrap_or_default();
                    staged_at = end;
                    bytes
                }
                Segment::Shared(bytes) => bytes.get(skip..).unwrap_or_default(),
            };
            skip = 0;
            *slot = IoSlice::new(bytes);
            filled = filled.saturating_add(1);
        }
        filled
    }

    /// Marks the first `written` bytes as taken by the carrier. Slices that are through are let
    /// go at once. More than [`TransmitBuf::len`] counts as all.
    pub fn advance(&mut self, written: usize) {
        if written >= self.len {
            self.clear();
            return;
        }
        let mut left = written;
        self.len = self.len.saturating_sub(written);
        while left > 0 {
            let Some(segment) = self.segments.get_mut(self.head) else {
                break;
            };
            let length = match segment {
                Segment::Staged(length) => *length,
                Segment::Shared(bytes) => bytes.len(),
            };
            let rest = length.saturating_sub(self.head_sent);
            let step = rest.min(left);
            left = left.saturating_sub(step);
            if matches!(segment, Segment::Staged(_)) {
                self.staging_head = self.staging_head.saturating_add(step);
            }
            if step < rest {
                self.head_sent = self.head_sent.saturating_add(step);
            } else {
                *segment = Segment::Staged(0);
                self.head_sent = 0;
                self.head = self.head.saturating_add(1);
            }
        }
    }

    /// Forgets what waits (the carrier is gone) and keeps the memory.
    pub fn clear(&mut self) {
        self.staging.clear();
        self.segments.clear();
        self.head = 0;
        self.head_sent = 0;
        self.staging_head = 0;
        self.len = 0;
    }

    /// Whether another frame fits under the caps. What was written of a batch that is not empty
    /// yet still counts: its memory is in use.
    #[inline]
    pub(crate) fn has_room(&self, batch_bytes: usize) -> bool {
        let batch = batch_bytes.min(MAX_BATCH_BYTES);
        self.len < batch
            && self.staging.len() < MAX_BATCH_BYTES
            // A data frame adds its header and, often, one slice.
            && self.segments.len() < MAX_BATCH_SLICES.saturating_sub(2)
    }

    /// Slices that may still be appended.
    #[inline]
    pub(crate) fn slices_left(&self) -> usize {
        MAX_BATCH_SLICES.saturating_sub(self.segments.len())
    }

    /// Appends bytes by copy, in one slice with the copied bytes before them.
    #[inline]
    pub(crate) fn push_copied(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.staging.extend_from_slice(bytes);
        self.len = self.len.saturating_add(bytes.len());
        // The last segment can grow unless it was written whole (then head is past it).
        let open = self.segments.len() > self.head;
        match self.segments.last_mut() {
            Some(Segment::Staged(length)) if open => *length = length.saturating_add(bytes.len()),
            _ => self.segments.push(Segment::Staged(bytes.len())),
        }
    }

    /// Appends bytes without a copy, as a slice of their own.
    #[inline]
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.saturating_add(bytes.len());
        self.segments.push(Segment::Shared(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(batch: &TransmitBuf, slots: usize) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); slots];
        let count = batch.fill_slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    fn sample() -> (TransmitBuf, Vec<u8>) {
        let mut batch = TransmitBuf::new();
        batch.push_copied(b"head1");
        batch.push_copied(b"small");
        batch.push_copied(b"head2");
        batch.push_shared(Bytes::from_static(b"a large payload"));
        batch.push_shared(Bytes::from_static(b"another"));
        batch.push_copied(b"head3");
        (
            batch,
            b"head1smallhead2a large payloadanotherhead3".to_vec(),
        )
    }

    #[test]
    fn copied_bytes_are_one_slice() {
        let (batch, all) = sample();
        assert_eq!(batch.slice_count(), 4);
        assert_eq!(batch.len(), all.len());
        assert_eq!(written(&batch, 16), all);
        assert_eq!(written(&batch, 2), b"head1smallhead2a large payload");
    }

    #[test]
    fn every_cut_continues_where_it_stopped() {
        let (_, all) = sample();
        for first in 0..=all.len() {
            for second in 0..=all.len() - first {
                let (mut batch, _) = sample();
                batch.advance(first);
                batch.advance(second);
                let at = first + second;
                assert_eq!(written(&batch, 16), all[at..], "{first} + {second}");
                assert_eq!(batch.len(), all.len() - at);
                assert_eq!(batch.is_empty(), at == all.len());
            }
        }
    }

    #[test]
    fn more_can_be_appended_to_a_batch_partly_written() {
        let (mut batch, all) = sample();
        batch.advance(all.len() - 2);
        batch.push_copied(b"xyz");
        assert_eq!(written(&batch, 16), b"d3xyz");
        batch.advance(5);
        assert!(batch.is_empty());
        batch.push_copied(b"new");
        assert_eq!(written(&batch, 16), b"new");
    }

    #[test]
    fn memory_is_used_again() {
        let (mut batch, _) = sample();
        let capacity = (batch.staging.capacity(), batch.segments.capacity());
        for _ in 0..100 {
            batch.advance(usize::MAX);
            batch.push_copied(b"head1smallhead2");
            batch.push_shared(Bytes::from_static(b"a large payload"));
            assert_eq!(
                (batch.staging.capacity(), batch.segments.capacity()),
                capacity
            );
        }
    }
}
