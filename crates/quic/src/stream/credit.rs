//! Frames about what this side sends: credit, and STOP_SENDING.

use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::HeldBy;

use super::accept::About;
use super::entry::bit;
use super::state::SendState;
use super::{StreamEvent, Streams};
use crate::error::TransportError;
use crate::wire::{StreamId, frame};

impl Streams {
    /// MAX_DATA (RFC 9000 section 19.9). A smaller one than before is an old one and ignored (Q84).
    pub(crate) fn on_max_data(&mut self, limit: u64) {
        if !self.send.set_limit(limit) {
            return;
        }
        self.out.data_blocked.cancel();
        for key in std::mem::take(&mut self.out.waiting) {
            if let Some(stream) = self.slots.get_mut(key) {
                stream.bits.clear(bit::IN_WAITING);
            }
            self.queue_data(key);
            self.try_free(key);
        }
    }

    /// MAX_STREAM_DATA (RFC 9000 section 19.10).
    ///
    /// # Errors
    /// The stream cannot be sent on by this side (Q79), or was not opened (Q80, Q82).
    pub(crate) fn on_max_stream_data(
        &mut self,
        now: Instant,
        id: StreamId,
        limit: u64,
    ) -> Result<(), TransportError> {
        let key = self.find(now, id, About::Sending, frame::MAX_STREAM_DATA)?;
        if let Some(key) = key {
            self.raise_stream_credit(key, limit);
        }
        Ok(())
    }

    pub(super) fn raise_stream_credit(&mut self, key: Key, limit: u64) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if stream.send.set_limit(limit) {
            stream.bits.clear(bit::BLOCKED_DUE);
            if stream.bits.take(bit::BLOCKED_TOLD) {
                self.seen.held(stream.id, HeldBy::Nothing);
            }
            self.queue_data(key);
        }
    }

    /// STOP_SENDING (RFC 9000 section 19.5): answered by RESET_STREAM with its code. When all was
    /// sent already, only if some of it is lost (section 3.5).
    ///
    /// # Errors
    /// The stream cannot be sent on by this side (Q79), or was not opened (Q80, Q82).
    pub(crate) fn on_stop_sending(
        &mut self,
        now: Instant,
        id: StreamId,
        code: u64,
    ) -> Result<(), TransportError> {
        let Some(key) = self.find(now, id, About::Sending, frame::STOP_SENDING)? else {
            return Ok(());
        };
        let Some(stream) = self.slots.get_mut(key) else {
            return Ok(());
        };
        if !stream.bits.put(bit::PEER_STOPPED) {
            return Ok(());
        }
        match stream.send_state {
            SendState::Ready | SendState::Send => {
                self.abort_send(key, code);
                self.announce(key, StreamEvent::Stopped(key));
                self.drop_unaccepted(key);
            }
            SendState::DataSent => stream.send_code = code,
            _ => stream.bits.clear(bit::PEER_STOPPED),
        }
        Ok(())
    }
}
