//! How streams end from this side: finish, stop, reset, and letting go.

use weir_core::slab::Key;
use weir_core::time::Instant;

use super::entry::bit;
use super::state::{RecvState, RecvTrigger, SendState, SendTrigger};
use super::{StreamEvent, Streams};

/// One direction of a stream.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Half {
    /// What this side writes.
    Send,
    /// What this side reads.
    Recv,
}

impl Streams {
    /// Ends the writing: the end goes out with the last byte, or by itself. Nothing happens when it
    /// was ended before.
    pub(crate) fn finish(&mut self, _now: Instant, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        stream.bits.clear(bit::FIN_IMPLIED);
        if stream.send_state.is_reset() || stream.send_state.is_terminal() {
            return;
        }
        if stream.bits.put(bit::FINISHED) {
            stream.bits.set(bit::FIN_DUE);
            self.queue_data(key);
        }
    }

    /// Ends the writing at once (RESET_STREAM with `code`): what was not sent is thrown away, and
    /// what was lost is not sent again. The reading goes on. Nothing happens when the peer has all
    /// of it.
    pub(crate) fn reset(&mut self, _now: Instant, key: Key, code: u64) {
        if let Some(stream) = self.slots.get_mut(key)
            && !stream.send_state.is_reset()
        {
            // Its wish was not what ended the stream.
            stream.bits.clear(bit::PEER_STOPPED);
        }
        self.abort_send(key, code);
        self.wake(key, bit::WRITERS);
    }

    /// Reads no more: the peer is asked to stop (STOP_SENDING with `code`), and what it still sends
    /// is thrown away, its credit given back.
    pub(crate) fn stop(&mut self, _now: Instant, key: Key, code: u64) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if !stream.bits.put(bit::STOPPED) {
            return;
        }
        let receiving = stream.recv_state == RecvState::Recv;
        if receiving {
            stream.recv_code = code;
        }
        self.drop_unread(key);
        if receiving {
            self.queue_control(key, bit::STOP_DUE);
        } else {
            self.end_reading(key);
        }
        self.wake(key, bit::WANTS_READ);
    }

    /// Nobody reads, and all that can come is known: the receiving half is over.
    pub(super) fn end_reading(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        stream.bits.clear(bit::STOP_DUE | bit::CREDIT_DUE);
        // What is missing will not be waited for.
        stream.move_recv(RecvTrigger::AllReceived, &mut self.seen);
        stream.move_recv(RecvTrigger::Read, &mut self.seen);
    }

    /// Lets go of one half. A writer that did not finish does so now; a reader stops. When both are
    /// let go of and the end was not sent, the writing is reset. The key names nothing once the
    /// stream is over.
    pub(crate) fn release(&mut self, now: Instant, key: Key, half: Half) {
        match half {
            Half::Send => {
                let Some(stream) = self.slots.get_mut(key) else {
                    return;
                };
                stream.bits.set(bit::SEND_RELEASED);
                stream.bits.clear(bit::WRITERS);
                if !stream.bits.any(bit::FINISHED) {
                    self.finish(now, key);
                    if let Some(stream) = self.slots.get_mut(key)
                        && stream.id.dir() == crate::wire::Dir::Bi
                    {
                        stream.bits.set(bit::FIN_IMPLIED);
                    }
                }
            }
            Half::Recv => {
                let code = self.slots.get(key).map_or(0, |stream| stream.recv_code);
                self.stop(now, key, code);
                let Some(stream) = self.slots.get_mut(key) else {
                    return;
                };
                stream.bits.set(bit::RECV_RELEASED);
                stream.bits.clear(bit::WANTS_READ);
            }
        }
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if stream.bits.all(bit::RELEASED) {
            let unsent = matches!(stream.send_state, SendState::Ready | SendState::Send);
            if stream.bits.any(bit::FIN_IMPLIED) && unsent {
                self.abort_send(key, 0);
            }
            self.try_free(key);
        }
    }

    /// Ends the sending half by RESET_STREAM.
    pub(super) fn abort_send(&mut self, key: Key, code: u64) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if self.closed || stream.send_state.next(SendTrigger::Reset).is_none() {
            return;
        }
        stream.send_code = code;
        stream.bits.clear(bit::FIN_DUE | bit::BLOCKED_DUE);
        stream.move_send(SendTrigger::Reset, &mut self.seen);
        self.stats.resets_sent = self.stats.resets_sent.saturating_add(1);
        self.drop_unsent(key);
        self.queue_control(key, bit::RESET_DUE);
    }

    /// Ends both halves without having been asked to, and tells the application.
    pub(super) fn give_up(&mut self, now: Instant, key: Key, code: u64) {
        self.abort_send(key, code);
        self.stop(now, key, code);
        self.announce(key, StreamEvent::StreamReset(key));
        self.drop_unaccepted(key);
    }

    /// Tells the application what happened to a stream, if it has it, and wakes who waits for it.
    pub(super) fn announce(&mut self, key: Key, event: StreamEvent) {
        let Some(stream) = self.slots.get(key) else {
            return;
        };
        let half = match event {
            StreamEvent::Stopped(_) => bit::SEND_RELEASED,
            _ => bit::RECV_RELEASED,
        };
        if !stream.bits.any(bit::UNACCEPTED | half) {
            self.news.push(event);
        }
        self.wake(key, bit::WANTS_READ | bit::WRITERS);
    }

    /// A stream that was ended both ways before it was accepted is not given to the application.
    pub(super) fn drop_unaccepted(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let over = !stream.recv_state.is_receiving() && stream.recv_state.is_reset()
            || stream.bits.any(bit::STOPPED);
        let silent = stream.send_state.is_reset() || stream.send_state.is_terminal();
        if over && silent && stream.bits.take(bit::UNACCEPTED) {
            stream.bits.set(bit::RELEASED | bit::STOPPED);
            self.end_reading_if_known(key);
            self.try_free(key);
        }
    }

    fn end_reading_if_known(&mut self, key: Key) {
        let known = self
            .slots
            .get(key)
            .is_some_and(|stream| stream.recv_state != RecvState::Recv);
        if known {
            self.end_reading(key);
        }
    }

    /// Throws away what waits to be sent or acknowledged.
    pub(super) fn drop_unsent(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let Some(buffer) = stream.outgoing.take() else {
            return;
        };
        self.held.sub(&self.memory, buffer.len_unacked());
        self.buffers.keep_sender(buffer);
    }

    /// Throws away what was not read, and gives its credit back.
    pub(super) fn drop_unread(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let unread = stream.recv.buffered();
        stream.recv.on_consumed(unread);
        if let Some(assembler) = stream.incoming.take() {
            self.buffers.keep_assembler(assembler);
        }
        if unread > 0 {
            self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(unread);
            self.seen
                .discarded(stream.id, unread, "nobody reads the stream any more");
            self.consume(unread);
        }
    }
}
