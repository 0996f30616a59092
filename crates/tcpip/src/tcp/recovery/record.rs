//! One super-segment that was sent, and the state of each segment in it.

use core::ops::Range;

use weir_core::time::Instant;

/// Segments in one record: a bit for each in a word.
pub(super) const CELLS: u32 = 64;

/// No retransmission yet.
pub(super) const NONE: u64 = u64::MAX;

/// Consecutive offsets that went out at one moment, cut into *cells*: the segments as they were sent
/// first. A cell is sacked, or lost, or in flight; in flight as it was sent first, or again.
///
/// Nothing is ever split: a bit is set instead. A cell is sent again with the first of its bytes that
/// is, and is in flight by the last transmission of any of them: so what is sent again in smaller
/// segments than before is lost, and sent once more, as a whole.
#[derive(Copy, Clone, Debug)]
pub(super) struct Record {
    /// Offset of the first byte.
    pub(super) start: u64,
    /// When it was sent first.
    pub(super) sent_at: Instant,
    /// The newest retransmission of any of it, by its number; or [`NONE`].
    pub(super) chain: u64,
    /// Bytes.
    pub(super) len: u32,
    /// Bytes of a cell; the last may be smaller.
    pub(super) size: u16,
    /// How many cells, from 1 to [`CELLS`].
    pub(super) cells: u8,
    /// The peer has these: it reported them, or they lie below the cumulative acknowledgement.
    pub(super) sacked: u64,
    /// To be sent again.
    pub(super) lost: u64,
    /// Sent again and in flight.
    pub(super) live: u64,
    /// Ever sent again (Karn).
    pub(super) again: u64,
}

/// Bytes of a record by state.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) in_flight: u64,
    pub(super) sacked: u64,
    pub(super) lost: u64,
    /// Cells that are sacked.
    pub(super) sacked_cells: u32,
}

/// The lowest `count` bits.
#[inline]
pub(super) fn low(count: u64) -> u64 {
    let shift = 64u64.saturating_sub(count.min(64)) as u32;
    u64::MAX.checked_shr(shift).unwrap_or(0)
}

/// The bit `index`.
#[inline]
fn bit(index: u64) -> u64 {
    1u64.checked_shl(u32::try_from(index).unwrap_or(CELLS))
        .unwrap_or(0)
}

impl Record {
    /// `len` bytes from `start` in cells of `size`, which go out now. No more than [`CELLS`].
    #[inline]
    pub(super) fn new(start: u64, len: u32, size: u16, now: Instant) -> Record {
        let size = size.max(1);
        let cells = if len <= u32::from(size) {
            1
        } else {
            len.div_ceil(u32::from(size)).min(CELLS)
        };
        Record {
            start,
            sent_at: now,
            chain: NONE,
            len,
            size,
            cells: cells as u8,
            sacked: 0,
            lost: 0,
            live: 0,
            again: 0,
        }
    }

    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.len))
    }

    /// Every cell.
    #[inline]
    pub(super) fn all(&self) -> u64 {
        low(u64::from(self.cells))
    }

    /// In flight as they were sent first.
    #[inline]
    pub(super) fn original(&self) -> u64 {
        self.all() & !(self.sacked | self.lost | self.live)
    }

    /// In flight.
    #[inline]
    pub(super) fn in_flight(&self) -> u64 {
        self.all() & !(self.sacked | self.lost)
    }

    /// Nothing has happened to any cell.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        (self.sacked | self.lost | self.live | self.again) == 0
    }

    /// The first `count` cells, but not all, are of no interest any more. Only while
    /// [`is_plain`](Record::is_plain): what is sent again knows its cells by their places.
    #[inline]
    pub(super) fn trim(&mut self, count: u32) {
        let bytes = count.saturating_mul(self.size.into()).min(self.len);
        self.start = self.start.saturating_add(bytes.into());
        self.len = self.len.saturating_sub(bytes);
        self.cells = self.cells.saturating_sub(count as u8);
    }

    /// How many cells lie wholly below `offset`, which lies within the record.
    #[inline]
    pub(super) fn whole_below(&self, offset: u64) -> u32 {
        let distance = offset.saturating_sub(self.start) as u32;
        distance.checked_div(self.size.into()).unwrap_or(0)
    }

    /// The number of whole cells from the start to `offset`.
    #[inline]
    fn whole(&self, offset: u64) -> u64 {
        if offset >= self.end() {
            return u64::from(self.cells);
        }
        let distance = offset.saturating_sub(self.start);
        distance.checked_div(u64::from(self.size)).unwrap_or(0)
    }

    /// The cell that the byte at `offset` is in.
    #[inline]
    pub(super) fn cell_at(&self, offset: u64) -> u64 {
        bit(self.whole(offset)) & self.all()
    }

    /// Cells that lie in `range` as a whole.
    #[inline]
    pub(super) fn within(&self, range: &Range<u64>) -> u64 {
        let from = if range.start <= self.start {
            0
        } else {
            let before = range.start.saturating_sub(1);
            self.whole(before).saturating_add(1)
        };
        low(self.whole(range.end)) & !low(from)
    }

    /// Cells that have a byte in `range`.
    #[inline]
    pub(super) fn touching(&self, range: &Range<u64>) -> u64 {
        if range.end <= self.start {
            return 0;
        }
        let last = self.whole(range.end.saturating_sub(1)).saturating_add(1);
        low(last) & !low(self.whole(range.start)) & self.all()
    }

    /// Cells that end before `offset`.
    #[inline]
    pub(super) fn ending_before(&self, offset: u64) -> u64 {
        low(self.whole(offset.saturating_sub(1)))
    }

    /// Cells that lie wholly below `offset`.
    #[inline]
    pub(super) fn below(&self, offset: u64) -> u64 {
        low(self.whole(offset))
    }

    /// Where the highest cell of `mask` ends.
    #[inline]
    pub(super) fn end_of(&self, mask: u64) -> u64 {
        let cells = u64::from(u64::BITS.saturating_sub(mask.leading_zeros()));
        let end = self
            .start
            .saturating_add(cells.saturating_mul(self.size.into()));
        end.min(self.end())
    }

    /// Where the lowest cell of `mask` ends.
    #[inline]
    pub(super) fn first_end_of(&self, mask: u64) -> u64 {
        self.end_of(mask & mask.wrapping_neg())
    }

    /// Bytes of the cells of `mask` at and above `una`.
    #[inline]
    pub(super) fn bytes(&self, mask: u64, una: u64) -> u64 {
        let mut mask = mask & self.all();
        if mask == 0 {
            return 0;
        }
        let mut cut = 0;
        if una > self.start {
            let index = self.whole(una);
            mask &= !low(index);
            if mask & bit(index) != 0 {
                let cell = self
                    .start
                    .saturating_add(index.saturating_mul(self.size.into()));
                cut = una.saturating_sub(cell);
            }
        }
        let last = u64::from(self.cells).saturating_sub(1);
        if mask & bit(last) != 0 {
            let full = u64::from(self.cells).saturating_mul(self.size.into());
            cut = cut.saturating_add(full.saturating_sub(self.len.into()));
        }
        u64::from(mask.count_ones())
            .saturating_mul(self.size.into())
            .saturating_sub(cut)
    }

    /// Bytes by state.
    #[inline]
    pub(super) fn sums(&self, una: u64) -> Sums {
        Sums {
            in_flight: self.bytes(self.in_flight(), una),
            sacked: self.bytes(self.sacked, una),
            lost: self.bytes(self.lost, una),
            sacked_cells: (self.sacked & !self.below(una)).count_ones(),
        }
    }

    /// The runs of neighbouring cells in `mask` as ranges of offsets at and above `una`.
    pub(super) fn runs(&self, mask: u64, una: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let (record, mut mask) = (*self, mask & self.all());
        std::iter::from_fn(move || {
            while mask != 0 {
                let from = mask.trailing_zeros();
                let shifted = mask.checked_shr(from).unwrap_or(0);
                let count = shifted.trailing_ones();
                let to = from.saturating_add(count);
                mask &= !low(to.into());
                let size = u64::from(record.size);
                let start = record
                    .start
                    .saturating_add(size.saturating_mul(from.into()));
                let end = record.start.saturating_add(size.saturating_mul(to.into()));
                let range = start.max(una)..end.min(record.end());
                if !range.is_empty() {
                    return Some(range);
                }
            }
            None
        })
    }
}
