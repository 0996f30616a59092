//! The receive sequence space (RFC 9293 section 3.3.1), and the window that is told.

use weir_core::budget::Share;
use weir_core::buf::Assembler;
use weir_core::limits::LARGEST_CHUNK;
use weir_core::window::RecvWindow;

use super::reorder::OutOfOrder;
use crate::limits::MOST_WINDOW;
use crate::wire::seq;
use crate::wire::tcp::{MAX_WINDOW_SHIFT, SackBlocks};

/// Bytes acknowledged at once from which on a stream counts as in full flow.
const FULL_FLOW: u64 = 8192;

/// The variables of receiving. Offsets: 0 is the peer's SYN, data begins at 1.
///
/// The window counts data bytes from 0, so an offset is one more than the window's. A part of the
/// window (a sixteenth) is kept back, so that rounding by the scale never has to take back what was
/// told (T54, T114): what is told may creep into that part by less than one unit an ACK.
#[derive(Debug)]
pub(super) struct Receiver {
    /// What arrived and was not read.
    pub(super) assembler: Assembler,
    /// How much may come, and how it grows.
    pub(super) window: RecvWindow,
    /// What is held of the budget.
    pub(super) share: Share,
    /// The right edge that the peer was told: RCV.NXT + RCV.WND, which never falls.
    pub(super) advertised: u64,
    /// Last.ACK.sent.
    pub(super) acked: u64,
    /// Where the peer's FIN is; `u64::MAX` while unknown.
    pub(super) fin_at: u64,
    /// What came out of order; only while there is something.
    pub(super) reorder: Option<Box<OutOfOrder>>,
    /// IRS.
    pub(super) irs: u32,
    /// The largest payload of a segment received.
    pub(super) mss: u32,
    /// How far our windows are shifted.
    pub(super) shift: u8,
    /// The peer's FIN is in order: RCV.NXT is behind it.
    pub(super) fin_taken: bool,
    /// Nobody reads any more.
    pub(super) stopped: bool,
    /// The reader found nothing (or never looked) and waits to hear.
    pub(super) waiting: bool,
    /// The window told last was 0.
    pub(super) told_zero: bool,
}

impl Receiver {
    #[inline(always)]
    pub(super) fn new(initial: u64) -> Receiver {
        Receiver {
            assembler: Receiver::assembler_at(1),
            window: RecvWindow::new(initial),
            share: Share::default(),
            advertised: 1,
            acked: 0,
            fin_at: u64::MAX,
            reorder: None,
            irs: 0,
            mss: 0,
            shift: 0,
            fin_taken: false,
            stopped: false,
            waiting: true,
            told_zero: false,
        }
    }

    /// An assembler that begins at `start`.
    pub(super) fn assembler_at(start: u64) -> Assembler {
        let mut assembler = Assembler::new(start, MOST_WINDOW.saturating_mul(2));
        assembler.keep_last(true);
        assembler
    }

    /// The least shift with which a window of `most` bytes can be told (RFC 7323 2.3).
    pub(super) fn shift_for(most: u64) -> u8 {
        let mut shift: u8 = 0;
        while shift < MAX_WINDOW_SHIFT && most >> shift > u64::from(u16::MAX) {
            shift = shift.saturating_add(1);
        }
        shift
    }

    /// RCV.NXT.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.assembler
            .end()
            .saturating_add(u64::from(self.fin_taken))
    }

    /// RCV.NXT as it goes on the wire.
    #[inline]
    pub(super) fn wire_next(&self) -> u32 {
        seq::wire(self.irs, self.next())
    }

    /// Bytes that the peer may send now.
    #[inline]
    pub(super) fn remaining(&self) -> u64 {
        self.advertised.saturating_sub(self.next())
    }

    /// How far the edge could be now: what was read makes room, but for the part kept back.
    #[inline]
    fn target(&self) -> u64 {
        let size = self.window.size();
        let unit = 2_u64 << self.shift;
        let kept = (size >> 4).max(unit.min(size >> 1));
        let open = size.saturating_sub(kept).saturating_add(1);
        self.window.consumed().saturating_add(open)
    }

    /// By how much the edge has to move to be worth it: the smaller of half the buffer and a full
    /// segment (RFC 9293 3.8.6.2.2, T60).
    #[inline]
    fn worthwhile(&self, mss: u16) -> u64 {
        u64::from(mss.max(1)).min(self.window.size() >> 1)
    }

    /// True when the peer should hear of the window without being asked: it at least doubles (T59).
    #[inline]
    pub(super) fn update_due(&self, mss: u16) -> bool {
        let gain = self.target().saturating_sub(self.advertised);
        gain >= self.remaining() && gain >= self.worthwhile(mss)
    }

    /// The window field of the next segment. What it says counts as told.
    pub(super) fn advertise(&mut self, mss: u16) -> u16 {
        let next = self.next();
        let target = self.target();
        if target >= self.advertised.saturating_add(self.worthwhile(mss)) {
            self.window.announce_all();
            let field = self.field(target.saturating_sub(next) >> self.shift);
            // Rounded down, it may still be less than what was told.
            if self.edge(next, field) >= self.advertised {
                return self.tell(next, field);
            }
        }
        // Rounded up, so that the edge stays at least; down if no memory stands behind that.
        let room = self.advertised.saturating_sub(next);
        let unit = 1_u64 << self.shift;
        let up = self.field(room.saturating_add(unit).saturating_sub(1) >> self.shift);
        let most = self.window.limit().saturating_add(1);
        if self.edge(next, up) <= most {
            return self.tell(next, up);
        }
        let down = self.field(most.saturating_sub(next) >> self.shift);
        self.tell(next, down)
    }

    /// The window field of a SYN, which is never scaled (T113).
    pub(super) fn advertise_in_syn(&mut self) -> u16 {
        let open = self.target().saturating_sub(1).min(u64::from(u16::MAX));
        let field = u16::try_from(open).unwrap_or(u16::MAX);
        let edge = self.next().max(1).saturating_add(u64::from(field));
        self.advertised = self.advertised.max(edge);
        field
    }

    #[inline]
    fn field(&self, units: u64) -> u16 {
        u16::try_from(units).unwrap_or(u16::MAX)
    }

    #[inline]
    fn edge(&self, next: u64, field: u16) -> u64 {
        next.saturating_add(u64::from(field) << self.shift)
    }

    #[inline]
    fn tell(&mut self, next: u64, field: u16) -> u16 {
        self.advertised = self.advertised.max(self.edge(next, field));
        field
    }

    /// What lies behind gaps, to be changed.
    pub(super) fn reorder_mut(&mut self) -> &mut OutOfOrder {
        self.reorder.get_or_insert_default()
    }

    /// RCV.NXT moved.
    #[inline]
    pub(super) fn advance(&mut self) {
        if let Some(reorder) = &mut self.reorder {
            reorder.advance(self.assembler.end());
            if reorder.is_empty() {
                self.reorder = None;
            }
        }
    }

    /// The SACK blocks of the next segment.
    pub(super) fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::NONE;
        if let Some(reorder) = &self.reorder {
            for block in reorder.blocks() {
                let (left, right) = (block.start, block.end);
                blocks.push(seq::wire(self.irs, left), seq::wire(self.irs, right));
            }
        }
        blocks
    }

    /// A segment with the blocks went out.
    #[inline]
    pub(super) fn on_acked(&mut self) {
        let next = self.next();
        let arrived = next.saturating_sub(self.acked);
        if arrived > 0 {
            // What came with one batch is likely to come with the next: a stream in full flow fills
            // large chunks, and its reader gets large pieces.
            let likely = if arrived >= FULL_FLOW {
                LARGEST_CHUNK
            } else {
                0
            };
            self.assembler.expect(likely);
            self.acked = next;
        }
        if let Some(reorder) = &mut self.reorder {
            reorder.on_reported();
            if reorder.is_empty() {
                self.reorder = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(size: u64, shift: u8) -> Receiver {
        let mut receiver = Receiver::new(size);
        receiver.shift = shift;
        receiver.advertise_in_syn();
        receiver
    }

    fn arrive(receiver: &mut Receiver, chunks: &mut weir_core::buf::Chunks, bytes: usize) {
        let at = receiver.assembler.end();
        receiver
            .assembler
            .insert(at, &vec![0; bytes], chunks)
            .unwrap();
        let end = receiver.assembler.end();
        receiver.window.on_received_to(end - 1).unwrap();
    }

    // T113: the least shift for the largest window; never above 14.
    #[test]
    fn the_shift_fits_the_largest_window() {
        assert_eq!(Receiver::shift_for(65_535), 0);
        assert_eq!(Receiver::shift_for(65_536), 1);
        assert_eq!(Receiver::shift_for(6 << 20), 7);
        assert_eq!(Receiver::shift_for(u64::MAX), 14);
    }

    // T54, T114: whatever arrives, the edge told never moves left, though units are 128 bytes.
    #[test]
    fn rounding_never_shrinks_the_window() {
        let mut chunks = weir_core::buf::Chunks::new(1 << 20);
        let mut receiver = receiver(70 << 10, 7);
        let mut told = receiver.advertised;
        while receiver.remaining() > 1460 {
            arrive(&mut receiver, &mut chunks, 1447);
            let field = receiver.advertise(1460);
            let edge = receiver.next() + (u64::from(field) << 7);
            assert!(edge >= told, "{edge} after {told}");
            assert_eq!(edge, receiver.advertised);
            told = edge;
        }
        assert!(told <= receiver.window.limit() + 1);
    }

    // T60: the edge does not move by less than a segment or half the buffer.
    #[test]
    fn the_window_moves_by_a_segment_at_least() {
        let mut chunks = weir_core::buf::Chunks::new(1 << 20);
        let mut receiver = receiver(16_000, 0);
        let first = receiver.advertised;
        arrive(&mut receiver, &mut chunks, 3000);
        assert_eq!(u64::from(receiver.advertise(1460)), first - 3001);
        receiver.assembler.read(1000, &mut chunks);
        receiver.window.on_consumed(1000);
        assert_eq!(u64::from(receiver.advertise(1460)), first - 3001);
        receiver.assembler.read(460, &mut chunks);
        receiver.window.on_consumed(460);
        assert_eq!(u64::from(receiver.advertise(1460)), first - 3001 + 1460);
    }
}
