//! One stream's state: two cache lines, so that ten thousand idle ones are little more than a megabyte.

use crate::limits::INITIAL_WINDOW;
use crate::queue::Queue;
use crate::state::State;
use weir_core::budget::Share;
use weir_core::sched::Priority;
use weir_core::window::{RecvWindow, SendWindow};

/// Facts about a stream that are one bit each.
pub(crate) mod bit {
    /// The peer opened it.
    pub(crate) const INBOUND: u32 = 1;
    /// The peer opened it and the application has not taken it yet.
    pub(crate) const UNACCEPTED: u32 = 1 << 1;
    /// Ours, and counted as waiting for the peer's ACK.
    pub(crate) const UNACKED: u32 = 1 << 2;
    /// The ACK is to be sent.
    pub(crate) const ACK_DUE: u32 = 1 << 3;
    /// `finish` was called: the FIN goes out with or after the last byte.
    pub(crate) const FIN_DUE: u32 = 1 << 4;
    /// The FIN was not asked for, the sending half was dropped.
    pub(crate) const FIN_IMPLIED: u32 = 1 << 5;
    pub(crate) const FIN_SENT: u32 = 1 << 6;
    pub(crate) const FIN_RECEIVED: u32 = 1 << 7;
    /// The RST is to be sent.
    pub(crate) const RST_DUE: u32 = 1 << 8;
    /// In the queue of streams whose SYN is to be sent.
    pub(crate) const IN_OPENS: u32 = 1 << 9;
    /// In the queue of streams with something other than data to send.
    pub(crate) const IN_CONTROL: u32 = 1 << 10;
    /// In the scheduler: has data and credit.
    pub(crate) const IN_SCHEDULER: u32 = 1 << 11;
    /// `read` said Blocked: `Readable` is owed.
    pub(crate) const WANTS_READ: u32 = 1 << 12;
    /// `write` said Blocked: `Writable` is owed.
    pub(crate) const WANTS_WRITE: u32 = 1 << 13;
    /// The application asked whether the ACK came: `Opened` is owed.
    pub(crate) const WANTS_ACK: u32 = 1 << 14;
    /// The memory budget refused a write; the stream waits in the queue for memory.
    pub(crate) const WANTS_MEMORY: u32 = 1 << 15;
    /// The application let go of the half.
    pub(crate) const SEND_RELEASED: u32 = 1 << 16;
    pub(crate) const RECV_RELEASED: u32 = 1 << 17;
    /// `stop` was called: what arrives is thrown away.
    pub(crate) const STOPPED: u32 = 1 << 18;
    /// Something was thrown away since.
    pub(crate) const DISCARDED: u32 = 1 << 19;
    /// Has an entry in the queue of open time-outs, or of close time-outs.
    pub(crate) const OPEN_TIMER: u32 = 1 << 20;
    pub(crate) const CLOSE_TIMER: u32 = 1 << 21;
    /// The peer sent something since the close time-out was last looked at.
    pub(crate) const ACTIVE: u32 = 1 << 22;
    /// The last thing reported about its sending was that the peer's window holds it.
    pub(crate) const HELD: u32 = 1 << 23;
    /// In the list of streams with an enlarged receive window.
    pub(crate) const GROWN: u32 = 1 << 24;

    /// Not to be freed while it stands in a queue: so no queue has entries of streams that are
    /// gone, and a peer that makes streams come and go cannot make one grow.
    pub(crate) const QUEUED: u32 = IN_OPENS | IN_CONTROL | IN_SCHEDULER | RST_DUE;
    /// The application let go of all.
    pub(crate) const RELEASED: u32 = SEND_RELEASED | RECV_RELEASED;
}

/// A set of [`bit`]s.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Bits(u32);

impl Bits {
    /// Whether any of `bits` is set.
    #[inline]
    pub(crate) fn any(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether all of `bits` are set.
    #[inline]
    pub(crate) fn all(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    #[inline]
    pub(crate) fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }

    #[inline]
    pub(crate) fn clear(&mut self, bits: u32) {
        self.0 &= !bits;
    }

    /// Clears `bit` and says whether it was set.
    #[inline]
    pub(crate) fn take(&mut self, bit: u32) -> bool {
        let was = self.any(bit);
        self.clear(bit);
        was
    }

    /// Sets `bit` and says whether it was clear.
    #[inline]
    pub(crate) fn put(&mut self, bit: u32) -> bool {
        let was = self.any(bit);
        self.set(bit);
        !was
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) bits: Bits,
    pub(crate) state: State,
    pub(crate) priority: Priority,
    /// The code of the RST, sent or received; before that, the one given to `stop`.
    pub(crate) code: u32,
    /// Credit for the peer that the next WindowUpdate carries.
    pub(crate) credit: u32,
    pub(crate) send: SendWindow,
    pub(crate) recv: RecvWindow,
    /// Memory held for unread data and an enlarged window.
    pub(crate) share: Share,
    pub(crate) outgoing: Queue,
    pub(crate) incoming: Queue,
}

impl Stream {
    /// A stream of this side (`Init`) or of the peer (`SynReceived`), each way with the window that
    /// both sides assume (Y24), plus what `receive_window` has more, announced with SYN or ACK.
    pub(crate) fn new(id: u32, state: State, bits: u32) -> Stream {
        Stream {
            id,
            bits: Bits(bits),
            state,
            priority: Priority::default(),
            code: 0,
            credit: 0,
            send: SendWindow::new(u64::from(INITIAL_WINDOW)),
            recv: RecvWindow::new(u64::from(INITIAL_WINDOW)),
            share: Share::default(),
            outgoing: Queue::default(),
            incoming: Queue::default(),
        }
    }

    #[inline]
    pub(crate) fn is_inbound(&self) -> bool {
        self.bits.any(bit::INBOUND)
    }

    /// Whether Data frames may go out and there is something for them.
    #[inline]
    pub(crate) fn has_sendable(&self) -> bool {
        !self.outgoing.is_empty() && self.send.available() > 0 && !self.state.is_terminal()
    }

    /// Whether the FIN can go out now, behind the last byte.
    #[inline]
    pub(crate) fn fin_ready(&self) -> bool {
        self.bits.any(bit::FIN_DUE) && self.outgoing.is_empty() && !self.state.is_terminal()
    }

    /// Whether the peer may still send and somebody here may still read.
    #[inline]
    pub(crate) fn is_receiving(&self) -> bool {
        !self.bits.any(bit::FIN_RECEIVED) && !self.state.is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_stream_is_small() {
        // Y53: the slab adds a generation and the option's tag, the id map about 16 bytes.
        assert!(size_of::<Stream>() <= 144, "{} bytes", size_of::<Stream>());
    }

    #[test]
    fn bits_are_told_apart() {
        let mut bits = Bits::default();
        assert!(bits.put(bit::WANTS_READ) && !bits.put(bit::WANTS_READ));
        assert!(bits.any(bit::WANTS_READ | bit::STOPPED) && !bits.all(bit::RELEASED));
        assert!(bits.take(bit::WANTS_READ) && !bits.take(bit::WANTS_READ));
    }
}
