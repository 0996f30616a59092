//! One stream's state.

use weir_core::budget::Share;
use weir_core::buf::{Assembler, SendBuffer};
use weir_core::sched::Priority;
use weir_core::window::{RecvWindow, SendWindow};

use super::seen::Seen;
use super::state::{RecvState, RecvTrigger, SendState, SendTrigger};
use crate::wire::StreamId;

/// Facts about a stream that are one bit each.
pub(super) mod bit {
    /// The peer opened it and the application has not taken it yet.
    pub(crate) const UNACCEPTED: u32 = 1;
    /// `finish` was called.
    pub(crate) const FINISHED: u32 = 1 << 1;
    /// The end was not asked for, the sending half was dropped.
    pub(crate) const FIN_IMPLIED: u32 = 1 << 2;
    /// The end is to be sent, with or after the last byte.
    pub(crate) const FIN_DUE: u32 = 1 << 3;
    /// The peer has the end.
    pub(crate) const FIN_ACKED: u32 = 1 << 4;
    /// RESET_STREAM is to be sent.
    pub(crate) const RESET_DUE: u32 = 1 << 5;
    /// STOP_SENDING is to be sent.
    pub(crate) const STOP_DUE: u32 = 1 << 6;
    /// MAX_STREAM_DATA is to be sent.
    pub(crate) const CREDIT_DUE: u32 = 1 << 7;
    /// STREAM_DATA_BLOCKED is to be sent.
    pub(crate) const BLOCKED_DUE: u32 = 1 << 8;
    /// STREAM_DATA_BLOCKED was decided on for the present limit.
    pub(crate) const BLOCKED_TOLD: u32 = 1 << 9;
    /// In the queue of streams with a frame other than STREAM to send.
    pub(crate) const IN_CONTROL: u32 = 1 << 10;
    /// In the scheduler, or having its turn.
    pub(crate) const IN_SCHEDULER: u32 = 1 << 11;
    /// In the list of streams that wait for credit of the connection.
    pub(crate) const IN_WAITING: u32 = 1 << 12;
    /// `read` said Blocked: `Readable` is owed.
    pub(crate) const WANTS_READ: u32 = 1 << 13;
    /// `write` said Blocked: `Writable` is owed.
    pub(crate) const WANTS_WRITE: u32 = 1 << 14;
    /// `poll_sent` said no: `Writable` is owed once all is sent.
    pub(crate) const WANTS_SENT: u32 = 1 << 15;
    /// `poll_flushed` said no: `Writable` is owed once all is acknowledged.
    pub(crate) const WANTS_FLUSH: u32 = 1 << 16;
    /// The memory budget refused a write; the stream waits in the queue for memory.
    pub(crate) const WANTS_MEMORY: u32 = 1 << 17;
    /// The application let go of the half, or there is none.
    pub(crate) const SEND_RELEASED: u32 = 1 << 18;
    pub(crate) const RECV_RELEASED: u32 = 1 << 19;
    /// Nobody reads any more: what arrives is thrown away.
    pub(crate) const STOPPED: u32 = 1 << 20;
    /// The peer sent STOP_SENDING.
    pub(crate) const PEER_STOPPED: u32 = 1 << 21;
    /// The peer's limit on streams does not reach it any more (rejected 0-RTT).
    pub(crate) const OVER_LIMIT: u32 = 1 << 22;
    /// When it is over, the peer is not given a new stream for it at once.
    pub(crate) const WITHHOLD: u32 = 1 << 23;
    /// Memory for it could not be reserved.
    pub(crate) const UNPAID: u32 = 1 << 24;

    /// Not to be freed while it stands in a queue: so no queue has entries of streams that are
    /// gone, and a peer that makes streams come and go cannot make one grow.
    /// The list of those that wait for the connection's credit is swept instead.
    pub(crate) const QUEUED: u32 = IN_CONTROL | IN_SCHEDULER;
    /// Somebody waits for `Writable`.
    pub(crate) const WRITERS: u32 = WANTS_WRITE | WANTS_SENT | WANTS_FLUSH;
    /// The application let go of all.
    pub(crate) const RELEASED: u32 = SEND_RELEASED | RECV_RELEASED;
    /// Something other than STREAM is to be sent.
    pub(crate) const CONTROL_DUE: u32 = RESET_DUE | STOP_DUE | CREDIT_DUE | BLOCKED_DUE;
}

/// A set of [`bit`]s.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Bits(u32);

impl Bits {
    /// Whether any of `bits` is set.
    #[inline]
    pub(super) fn any(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether all of `bits` are set.
    #[inline]
    pub(super) fn all(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    #[inline]
    pub(super) fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }

    #[inline]
    pub(super) fn clear(&mut self, bits: u32) {
        self.0 &= !bits;
    }

    /// Clears `bit` and says whether it was set.
    #[inline]
    pub(super) fn take(&mut self, bit: u32) -> bool {
        let was = self.any(bit);
        self.clear(bit);
        was
    }

    /// Sets `bit` and says whether it was clear.
    #[inline]
    pub(super) fn put(&mut self, bit: u32) -> bool {
        let was = self.any(bit);
        self.set(bit);
        !was
    }
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) bits: Bits,
    pub(super) send_state: SendState,
    pub(super) recv_state: RecvState,
    pub(super) priority: Priority,
    /// The logarithm of how many bytes the reader took the last time until nothing was left.
    pub(super) appetite: u8,

    /// Credit of the stream; `sent()` is the offset behind the highest byte sent.
    pub(super) send: SendWindow,
    /// Offset behind the last byte written.
    pub(super) written: u64,
    /// While something is not acknowledged.
    pub(super) outgoing: Option<Box<SendBuffer>>,
    /// The code of RESET_STREAM; before that, the one that came with STOP_SENDING.
    pub(super) send_code: u64,

    pub(super) recv: RecvWindow,
    /// What the enlarged window counts; it costs no memory, the connection's does.
    pub(super) credit: Share,
    /// While something is not read.
    pub(super) incoming: Option<Box<Assembler>>,
    /// Known from SizeKnown or ResetRecvd on.
    pub(super) final_size: u64,
    /// The code of the RESET_STREAM that came; before that, the one that STOP_SENDING carries.
    pub(super) recv_code: u64,
}

impl Stream {
    /// A stream with credit for `send_limit` bytes, and for `window` bytes the other way.
    pub(super) fn new(id: StreamId, send_limit: u64, window: u64) -> Stream {
        Stream {
            id,
            bits: Bits::default(),
            send_state: SendState::Ready,
            recv_state: RecvState::Recv,
            priority: Priority::default(),
            appetite: 0,
            send: SendWindow::new(send_limit),
            written: 0,
            outgoing: None,
            send_code: 0,
            recv: RecvWindow::new(window),
            credit: Share::default(),
            incoming: None,
            final_size: 0,
            recv_code: 0,
        }
    }

    /// Makes it one that is only read.
    pub(super) fn without_send(mut self) -> Stream {
        self.send_state = SendState::DataRecvd;
        self.bits.set(bit::SEND_RELEASED);
        self
    }

    /// Makes it one that is only written.
    pub(super) fn without_recv(mut self) -> Stream {
        self.recv_state = RecvState::DataRead;
        self.bits.set(bit::RECV_RELEASED);
        self
    }

    /// Moves the sending half along its table.
    #[inline]
    pub(super) fn move_send(&mut self, trigger: SendTrigger, seen: &mut Seen) {
        if let Some(next) = self.send_state.next(trigger) {
            let old = self.send_state;
            self.send_state = next;
            seen.state(self.id, old.name(), next.name(), trigger.name());
        }
    }

    /// Moves the receiving half along its table.
    #[inline]
    pub(super) fn move_recv(&mut self, trigger: RecvTrigger, seen: &mut Seen) {
        if let Some(next) = self.recv_state.next(trigger) {
            let old = self.recv_state;
            self.recv_state = next;
            seen.state(self.id, old.name(), next.name(), trigger.name());
        }
    }

    /// Bytes written and never sent.
    #[inline]
    pub(super) fn unsent(&self) -> u64 {
        self.written.saturating_sub(self.send.sent())
    }

    /// Bytes written and not acknowledged.
    #[inline]
    pub(super) fn unacked(&self) -> u64 {
        self.outgoing.as_ref().map_or(0, |out| out.len_unacked())
    }

    /// Bytes received and not read, gaps included.
    #[inline]
    pub(super) fn buffered(&self) -> u64 {
        self.recv.buffered()
    }

    /// Gives up the assembler, which holds nothing, and notes how much went through it.
    #[inline]
    pub(super) fn take_incoming(&mut self) -> Option<Box<Assembler>> {
        let assembler = self.incoming.take()?;
        let bytes = self.recv.consumed().saturating_sub(assembler.start());
        // At most 64, which fits.
        self.appetite = u64::BITS.saturating_sub(bytes.leading_zeros()) as u8;
        Some(assembler)
    }

    /// About how many bytes are to be expected until the reader has taken all.
    #[inline]
    pub(super) fn expected(&self) -> usize {
        // Not more than the largest chunk, and half of the next power of two at least.
        (1usize << self.appetite.min(17)) >> 1
    }

    /// Whether a STREAM frame could go out as far as the stream's own credit is concerned.
    #[inline]
    pub(super) fn has_sendable(&self) -> bool {
        if self.bits.any(bit::OVER_LIMIT) || self.send_state.is_reset() {
            return false;
        }
        let unsent = self.unsent();
        unsent > 0 && self.send.available() > 0
            || unsent == 0 && self.bits.any(bit::FIN_DUE)
            || self.outgoing.as_ref().is_some_and(|out| out.has_lost())
    }

    /// Whether all that was written is acknowledged, and the end if there was one.
    #[inline]
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.is_none() && (!self.bits.any(bit::FINISHED) || self.bits.any(bit::FIN_ACKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_stream_is_small() {
        // With the slab's generation and the id map's 24 bytes: less than half of what a stream is
        // charged with.
        assert!(size_of::<Stream>() <= 192, "{} bytes", size_of::<Stream>());
    }

    #[test]
    fn bits_are_told_apart() {
        let mut bits = Bits::default();
        assert!(bits.put(bit::WANTS_READ) && !bits.put(bit::WANTS_READ));
        assert!(bits.any(bit::WANTS_READ | bit::STOPPED) && !bits.all(bit::RELEASED));
        assert!(bits.take(bit::WANTS_READ) && !bits.take(bit::WANTS_READ));
    }
}
