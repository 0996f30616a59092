//! The send sequence space (RFC 9293 section 3.3.1) and what is kept until it is acknowledged.

use weir_core::budget::Share;
use weir_core::buf::SendBuffer;

/// The variables of sending. Offsets: 0 is our SYN, data begins at 1, FIN is behind the last byte.
#[derive(Debug)]
pub(super) struct Sender {
    /// Bytes written and not acknowledged.
    pub(super) buffer: SendBuffer,
    /// SND.UNA.
    pub(super) una: u64,
    /// SND.NXT.
    pub(super) nxt: u64,
    /// The offset behind the last that the peer's window takes: SND.UNA + SND.WND as of the segment
    /// that told it. It may move left (T55).
    pub(super) right: u64,
    /// SND.WL1.
    pub(super) wl1: u64,
    /// SND.WL2.
    pub(super) wl2: u64,
    /// MAX.SND.WND (RFC 5961 section 5.2).
    pub(super) max_wnd: u64,
    /// Behind the last segment sent that was not full: while it is not acknowledged, no other goes
    /// (RFC 9293 appendix A.3).
    pub(super) small_end: u64,
    /// Behind what was sent to probe a closed window and is to be sent again when it opens.
    pub(super) probe_end: u64,
    /// How much may be written ahead at present.
    pub(super) limit: u64,
    /// What the buffer holds of the budget.
    pub(super) share: Share,
    /// The peer's MSS.
    pub(super) peer_mss: u16,
    /// How far the peer's windows are shifted.
    pub(super) shift: u8,
    /// The FIN was sent as a probe and is to be sent again.
    pub(super) fin_again: bool,
    /// The application finished: FIN goes behind the last byte.
    pub(super) finish: bool,
    /// A write was refused and waits to hear of room.
    pub(super) blocked: bool,
}

impl Sender {
    #[inline(always)]
    pub(super) fn new(limit: u64, peer_mss: u16) -> Sender {
        Sender {
            buffer: Sender::buffer_at(1),
            una: 0,
            nxt: 0,
            right: 0,
            wl1: 0,
            wl2: 0,
            max_wnd: 0,
            small_end: 0,
            probe_end: 0,
            limit,
            share: Share::default(),
            peer_mss,
            shift: 0,
            fin_again: false,
            finish: false,
            blocked: false,
        }
    }

    /// An empty buffer whose first byte has the offset `start`. It keeps the chunk of a small message for
    /// the next one; [`sleep`](super::connection::Connection::sleep) and `release` give it back.
    pub(super) fn buffer_at(start: u64) -> SendBuffer {
        let mut buffer = SendBuffer::new(start);
        buffer.keep_chunk();
        buffer
    }

    /// SND.WND: how far the peer's window reaches from the first byte not acknowledged.
    #[inline]
    pub(super) fn wnd(&self) -> u64 {
        self.right.saturating_sub(self.una)
    }

    /// The number of a segment without data: SND.NXT, or the window's edge where what was sent lies
    /// beyond it, as a probe's byte does. A peer whose window is closed takes nothing but that (RFC
    /// 9293 3.4), not even the news that our window has opened, and both would wait for ever.
    #[inline]
    pub(super) fn acceptable(&self) -> u64 {
        self.nxt.min(self.right.max(self.una))
    }

    /// True when something sent is not acknowledged.
    #[inline]
    pub(super) fn is_outstanding(&self) -> bool {
        self.una < self.nxt
    }

    /// True when our FIN was sent.
    #[inline]
    pub(super) fn fin_sent(&self) -> bool {
        self.finish && self.nxt > self.buffer.end()
    }

    /// True when our FIN was acknowledged.
    #[inline]
    pub(super) fn fin_acked(&self) -> bool {
        self.finish && self.una > self.buffer.end()
    }

    /// True when our FIN waits to be sent for the first time, and all data before it was sent.
    #[inline]
    pub(super) fn fin_due(&self) -> bool {
        self.finish && self.nxt == self.buffer.end()
    }

    /// True when something was never sent.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.buffer.unsent() > 0 || (self.finish && !self.fin_sent())
    }

    /// Takes the window that a segment announces, unless it is older than the one known: SND.WL1
    /// and SND.WL2 tell (RFC 9293 3.10.7.4, T56). True when the window is another now.
    #[inline]
    pub(super) fn update_window(&mut self, seq: u64, ack: u64, field: u16, shift: u8) -> bool {
        if !(self.wl1 < seq || (self.wl1 == seq && self.wl2 <= ack)) {
            return false;
        }
        self.wl1 = seq;
        self.wl2 = ack;
        let wnd = u64::from(field) << shift;
        let right = ack.saturating_add(wnd);
        let changed = right != self.right;
        self.right = right;
        self.max_wnd = self.max_wnd.max(wnd);
        changed
    }
}
