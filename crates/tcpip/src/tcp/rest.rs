//! A connection that falls silent gives back what only a flow needs (T156).

use weir_core::buf::{Assembler, SendBuffer};
use weir_core::time::Instant;

use super::connection::Connection;
use crate::limits::{MOST_WINDOW, REST_AFTER};

impl Connection {
    /// When [`rest`](Connection::rest) is worth calling if nothing happens before; `None` while
    /// something is under way, and when it was called already.
    pub(crate) fn rest_at(&self) -> Option<Instant> {
        let is_quiet = self.state.is_synchronized()
            && self.send.buffer.is_empty()
            && self.send.una == self.send.nxt
            && self.receive.assembler.is_empty();
        if !is_quiet || self.recovery.is_resting() {
            return None;
        }
        let last = self.seen.last_sent.max(self.seen.last_received);
        Some(last + REST_AFTER)
    }

    /// Gives back the memory of lists and of the congestion controller.
    pub(crate) fn rest(&mut self) {
        if self.rest_at().is_none() || !self.recovery.rest() {
            return;
        }
        self.send.buffer = SendBuffer::new(self.send.buffer.end());
        let at = self.receive.assembler.end();
        self.receive.assembler = Assembler::new(at, MOST_WINDOW.saturating_mul(2));
        self.receive.reorder = None;
    }
}
