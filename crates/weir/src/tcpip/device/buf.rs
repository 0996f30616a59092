//! A batch of frames that were received.

use core::fmt;
use core::ops::Range;

use bytes::Bytes;
use weir_tcpip::Offload;
use weir_tcpip::limits::MAX_FRAME;

/// Room for frames of one batch, in bytes: some 160 of 1,500 bytes, or three super-segments. All of
/// it stays in a processor's second cache.
const ROOM: usize = 4 * MAX_FRAME;
/// Frames of one batch.
const FRAMES: usize = 256;

/// Frames on their way from a device to the stack, one behind the other in one buffer. Kept and used
/// again, so that filling it allocates nothing in the steady state.
///
/// A device that reads from a system fills [`room`](ReceiveBuf::room) and says with
/// [`push`](ReceiveBuf::push) what came; one that has its frames in memory already copies them in by
/// [`put`](ReceiveBuf::put).
#[derive(Default)]
pub struct ReceiveBuf {
    data: Vec<u8>,
    frames: Vec<(Range<usize>, Offload)>,
    /// Where the next frame goes.
    filled: usize,
}

impl ReceiveBuf {
    /// An empty batch. Allocates nothing yet.
    #[must_use]
    pub fn new() -> ReceiveBuf {
        ReceiveBuf::default()
    }

    /// Memory for the next frame: at least [`MAX_FRAME`] bytes, initialised, with anything in them;
    /// `None` when the batch is full.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        if self.data.len() < ROOM {
            self.data.resize(ROOM, 0);
        }
        self.data.get_mut(self.filled..)
    }

    /// Adds the frame that stands at `within` of what [`room`](ReceiveBuf::room) gave, in bytes.
    pub fn push(&mut self, within: Range<usize>, offload: Offload) {
        let end = self.filled.saturating_add(within.end).min(self.data.len());
        let start = self.filled.saturating_add(within.start).min(end);
        self.frames.push((start..end, offload));
        self.filled = end;
    }

    /// Copies a frame in, given as its first bytes and what follows them.
    pub fn put(&mut self, head: &[u8], rest: &[Bytes], offload: Offload) {
        let start = self.filled;
        self.data.truncate(start);
        self.data.extend_from_slice(head);
        for slice in rest {
            self.data.extend_from_slice(slice);
        }
        self.filled = self.data.len();
        self.frames.push((start..self.filled, offload));
    }

    /// True when the batch has no room for another frame.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled.saturating_add(MAX_FRAME) > ROOM || self.frames.len() >= FRAMES
    }

    /// The frames in the order in which they came.
    pub fn frames(&self) -> Frames<'_> {
        Frames {
            data: &self.data,
            frames: self.frames.iter(),
        }
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of all frames.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.filled
    }

    /// Forgets the frames; keeps the memory.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.filled = 0;
    }

    /// Gives the memory back too: nothing has come for a while.
    pub fn rest(&mut self) {
        if self.is_empty() {
            *self = ReceiveBuf::default();
        }
    }
}

impl fmt::Debug for ReceiveBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuf")
            .field("frames", &self.frames.len())
            .field("bytes", &self.filled)
            .finish_non_exhaustive()
    }
}

/// The frames of a [`ReceiveBuf`], each with what the device said of it.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    data: &'a [u8],
    frames: core::slice::Iter<'a, (Range<usize>, Offload)>,
}

impl<'a> Iterator for Frames<'a> {
    type Item = (&'a [u8], Offload);

    fn next(&mut self) -> Option<Self::Item> {
        let (range, offload) = self.frames.next()?;
        Some((self.data.get(range.clone()).unwrap_or_default(), *offload))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.frames.size_hint()
    }
}

impl ExactSizeIterator for Frames<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_behind_each_other_whichever_way_they_came() {
        let mut batch = ReceiveBuf::new();
        batch.put(
            b"head",
            &[Bytes::from_static(b" and rest")],
            Offload::default(),
        );
        batch.put(b"second", &[], Offload::default());
        let frames: Vec<_> = batch.frames().map(|(frame, _)| frame.to_vec()).collect();
        assert_eq!(frames, [&b"head and rest"[..], b"second"]);
        batch.clear();
        // A header of ten bytes in front of the frame, as a TUN device has it.
        batch.room().unwrap()[..14].copy_from_slice(b"0123456789abcd");
        batch.push(10..14, Offload::default());
        batch.room().unwrap()[..2].copy_from_slice(b"ef");
        batch.push(0..2, Offload::default());
        let frames: Vec<_> = batch.frames().map(|(frame, _)| frame.to_vec()).collect();
        assert_eq!(frames, [&b"abcd"[..], b"ef"]);
    }

    #[test]
    fn there_is_room_for_the_largest_frame_until_the_batch_is_full() {
        let mut batch = ReceiveBuf::new();
        let mut count = 0;
        while let Some(room) = batch.room() {
            assert!(room.len() >= MAX_FRAME);
            batch.push(0..MAX_FRAME, Offload::default());
            count += 1;
        }
        assert_eq!((count, batch.len()), (4, 4));
        batch.clear();
        while batch.room().is_some() {
            batch.push(0..1, Offload::default());
        }
        assert_eq!(batch.len(), FRAMES);
    }
}
