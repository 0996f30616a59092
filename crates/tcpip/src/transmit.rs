//! A batch of frames on its way to devices.

use core::ops::Range;

use bytes::Bytes;

use crate::device::{InterfaceId, Offload};

/// How many bytes of frames one batch takes before it counts as full.
const FULL_BYTES: usize = 256 * 1024;
/// How many frames one batch takes before it counts as full.
const FULL_FRAMES: usize = 256;

/// Frames that the stack wants sent, in order. Kept and used again by the driver, so that filling it
/// allocates nothing in the steady state.
///
/// A frame is its `head`, bytes in this buffer, and behind it a few shared slices of what the
/// application wrote, for a gathered write; frames of devices without offload are all head.
#[derive(Debug, Default)]
pub struct TransmitBuf {
    pub(crate) data: Vec<u8>,
    pub(crate) slices: Vec<Bytes>,
    pub(crate) frames: Vec<Meta>,
    /// Bytes of all frames, slices among them.
    pub(crate) bytes: usize,
}

/// Where a frame's bytes are.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) interface: InterfaceId,
    pub(crate) offload: Offload,
    pub(crate) head: Range<usize>,
    pub(crate) slices: Range<usize>,
}

/// One frame of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The device it is for.
    pub interface: InterfaceId,
    /// What the device is to do with it.
    pub offload: Offload,
    /// Its first bytes; all of it where `rest` is empty.
    pub head: &'a [u8],
    /// The bytes behind `head`.
    pub rest: &'a [Bytes],
}

impl TransmitBuf {
    /// An empty batch. Allocates nothing yet.
    #[must_use]
    pub fn new() -> TransmitBuf {
        TransmitBuf::default()
    }

    /// The frames in the order in which they are to be sent.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = Frame<'_>> {
        self.frames.iter().map(|meta| Frame {
            interface: meta.interface,
            offload: meta.offload,
            head: self.data.get(meta.head.clone()).unwrap_or_default(),
            rest: self.slices.get(meta.slices.clone()).unwrap_or_default(),
        })
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

    /// True when no more is to be added before it was sent.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES || self.frames.len() >= FULL_FRAMES
    }

    /// Forgets the frames; keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.data.clear();
        self.slices.clear();
        self.frames.clear();
        self.bytes = 0;
    }

    /// Begins a frame: whatever is appended to `data` (and then to `slices`) from here on belongs to
    /// it, until [`finish`](TransmitBuf::finish) is given what this returns.
    pub(crate) fn begin(&self) -> (usize, usize) {
        (self.data.len(), self.slices.len())
    }

    /// Ends a frame that is all head, begun when `data` was `begun` bytes long.
    #[inline]
    pub(crate) fn finish_whole(&mut self, begun: usize, interface: InterfaceId, offload: Offload) {
        let (end, slices) = (self.data.len(), self.slices.len());
        self.bytes = self.bytes.saturating_add(end.saturating_sub(begun));
        self.frames.push(Meta {
            interface,
            offload,
            head: begun..end,
            slices: slices..slices,
        });
    }

    /// Ends the frame begun at `begun`.
    pub(crate) fn finish(
        &mut self,
        begun: (usize, usize),
        interface: InterfaceId,
        offload: Offload,
    ) {
        let (head, slices) = (begun.0..self.data.len(), begun.1..self.slices.len());
        let shared = self.slices.get(slices.clone()).unwrap_or_default();
        let shared: usize = shared.iter().map(Bytes::len).sum();
        self.bytes = self.bytes.saturating_add(head.len()).saturating_add(shared);
        self.frames.push(Meta {
            interface,
            offload,
            head,
            slices,
        });
    }

    /// Forgets what was appended since `begun`: the frame is not sent after all.
    pub(crate) fn abandon(&mut self, begun: (usize, usize)) {
        self.data.truncate(begun.0);
        self.slices.truncate(begun.1);
    }
}
