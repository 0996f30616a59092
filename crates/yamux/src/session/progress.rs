//! What a driver and a writer ask about what has gone out.

use super::Session;
use crate::error::WriteError;
use crate::state::State;
use crate::stream::bit;
use weir_core::slab::Key;

impl Session {
    /// Whether [`poll_transmit`](Session::poll_transmit) has something to give. Cheap: for deciding
    /// after an application's call whether the driver has to be woken.
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        let out = &self.out;
        out.go_away.is_some()
            || self.closed.is_none()
                && (!out.opens.is_empty()
                    || !out.control.is_empty()
                    || !out.scheduler.is_empty()
                    || !out.pongs.is_empty()
                    || self.ping.due
                    || !out.refusals.is_empty()
                    // A flush is what notices that a session winding down has come to its end.
                    || self.going.is_some() && self.by_id.is_empty())
    }

    /// Streams that are open, in either direction.
    pub fn open_streams(&self) -> usize {
        self.by_id.len()
    }

    /// Why nothing more can be written to a stream; `None` while it can.
    pub fn send_error(&self, key: Key) -> Option<WriteError> {
        let Some(stream) = self.streams.get(key) else {
            return Some(WriteError::Closed);
        };
        if stream.state == State::Reset {
            Some(WriteError::Reset(stream.code))
        } else if self.closed.is_some() {
            Some(WriteError::Closed)
        } else if stream.bits.any(bit::FIN_DUE | bit::FIN_SENT) {
            Some(WriteError::Finished)
        } else {
            None
        }
    }

    /// Whether all that was written to a stream, and its end if it was finished, has been handed to
    /// the driver. While not, [`Event::Writable`](crate::Event::Writable) follows when asking again
    /// is worth it.
    ///
    /// # Errors
    /// The stream was reset or the session is over: what was queued is lost.
    pub fn poll_flushed(&mut self, key: Key) -> Result<bool, WriteError> {
        match self.send_error(key) {
            Some(WriteError::Finished) | None => {}
            Some(error) => return Err(error),
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        if stream.outgoing.is_empty() && !stream.bits.any(bit::FIN_DUE) {
            return Ok(true);
        }
        stream.bits.set(bit::WANTS_WRITE);
        Ok(false)
    }
}
