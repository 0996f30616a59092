//! How streams end from this side: finish, stop, reset, and letting go.

use super::Session;
use super::timers::after;
use crate::event::Event;
use crate::state::{State, Trigger};
use crate::stream::bit;
use weir_core::slab::Key;
use weir_core::time::Instant;

/// One direction of a stream.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Half {
    /// What this side writes.
    Send,
    /// What this side reads.
    Recv,
}

impl Session {
    /// Ends the writing: the FIN goes out with the last byte (Y36), or by itself when all are out
    /// (Y35). Nothing happens when it was ended before.
    pub fn finish(&mut self, _now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.bits.clear(bit::FIN_IMPLIED);
        if stream.bits.put(bit::FIN_DUE) && stream.fin_ready() && stream.state != State::Init {
            self.queue_control(key);
        }
    }

    /// Ends the stream both ways at once (Y38): what waits to be sent or read is thrown away. The
    /// peer learns `code` if it knows of codes. Nothing happens when the stream is over.
    pub fn reset(&mut self, now: Instant, key: Key, code: u32) {
        self.abort(now, key, code);
        self.wake_both(key);
    }

    /// Reads no more. What the peer still sends is thrown away; yamux cannot tell it to stop without
    /// ending the other direction too, so that happens (RST with `code`) once this side has
    /// finished and the peer still sends.
    pub fn stop(&mut self, now: Instant, key: Key, code: u32) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.bits.put(bit::STOPPED) {
            return;
        }
        if stream.state != State::Reset {
            stream.code = code;
        }
        let unread = self.chunks.clear(&mut stream.incoming) as u64;
        stream.recv.on_consumed(unread);
        if unread > 0 {
            stream.bits.set(bit::DISCARDED);
        }
        let (id, receiving) = (stream.id, stream.is_receiving());
        let finished = stream.bits.any(bit::FIN_SENT);
        if !receiving || self.closed.is_some() {
            stream.share.shrink_to(&self.memory, 0);
        }
        self.note_discarded(now, id, unread, "reading was stopped");
        if receiving && self.closed.is_none() {
            if finished && unread > 0 {
                self.give_up(now, key, code);
            } else {
                self.refill(now, key);
            }
        }
        self.wake_both(key);
    }

    /// Lets go of one half. A writer that did not finish does so now; a reader stops. When both are
    /// let go of and the writing was not finished, the stream is reset (Y41). The key names nothing
    /// once the stream is over.
    pub fn release(&mut self, now: Instant, key: Key, half: Half) {
        match half {
            Half::Send => {
                let Some(stream) = self.streams.get_mut(key) else {
                    return;
                };
                stream.bits.set(bit::SEND_RELEASED);
                if !stream.bits.any(bit::FIN_DUE | bit::FIN_SENT) {
                    self.finish(now, key);
                    if let Some(stream) = self.streams.get_mut(key) {
                        stream.bits.set(bit::FIN_IMPLIED);
                    }
                }
            }
            Half::Recv => {
                let code = self.streams.get(key).map_or(0, |stream| stream.code);
                self.stop(now, key, code);
                let Some(stream) = self.streams.get_mut(key) else {
                    return;
                };
                stream.bits.set(bit::RECV_RELEASED);
            }
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.bits.all(bit::RELEASED) {
            stream
                .bits
                .clear(bit::WANTS_READ | bit::WANTS_WRITE | bit::WANTS_ACK);
            if stream.bits.any(bit::FIN_IMPLIED) && !stream.bits.any(bit::FIN_SENT) {
                let code = stream.code;
                self.abort(now, key, code);
            }
            self.try_free(key);
        }
    }

    /// Ends a stream by RST. The slot stays until the RST is out.
    pub(super) fn abort(&mut self, now: Instant, key: Key, code: u32) {
        if self.closed.is_some() {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.state.is_terminal() {
            return;
        }
        stream.code = code;
        // What the peer ended in order is not to be taken for the end of an aborted stream.
        stream.bits.clear(bit::FIN_RECEIVED);
        self.stats.resets_sent = self.stats.resets_sent.saturating_add(1);
        // A stream whose SYN never went out is unknown to the peer.
        if stream.state != State::Init {
            stream.bits.set(bit::RST_DUE);
            self.queue_control(key);
        }
        self.transition(now, key, Trigger::RstSent);
        self.drop_unread(now, key, "the stream was reset");
        self.try_free(key);
    }

    /// Ends a stream by RST without having been asked to, and tells the application.
    pub(super) fn give_up(&mut self, now: Instant, key: Key, code: u32) {
        self.abort(now, key, code);
        self.announce_reset(key);
    }

    /// Throws away what a stream that was reset has not been read of, except when it had come to its
    /// end in order before.
    pub(super) fn drop_unread(&mut self, now: Instant, key: Key, why: &'static str) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.bits.any(bit::FIN_RECEIVED) {
            return;
        }
        let unread = self.chunks.clear(&mut stream.incoming) as u64;
        stream.recv.on_consumed(unread);
        stream.share.shrink_to(&self.memory, 0);
        let id = stream.id;
        self.note_discarded(now, id, unread, why);
    }

    /// Tells the application of a reset that it did not ask for.
    pub(super) fn announce_reset(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if !stream.bits.all(bit::RELEASED) {
            self.news.push(Event::StreamReset(key));
            self.wake_both(key);
        }
    }

    /// Wakes whoever waits for a stream.
    pub(super) fn wake_both(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.bits.take(bit::WANTS_READ) {
            self.news.push(Event::Readable(key));
        }
        if stream.bits.take(bit::WANTS_WRITE) {
            self.news.push(Event::Writable(key));
        }
    }

    /// Our FIN went out. From now on the peer has to send something now and then, or end (Y43).
    #[inline]
    pub(super) fn fin_sent(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.bits.clear(bit::FIN_DUE);
        stream.bits.set(bit::FIN_SENT);
        // Whoever waits for the flush has it now.
        if stream.bits.take(bit::WANTS_WRITE) {
            self.news.push(Event::Writable(key));
        }
        self.transition(now, key, Trigger::FinSent);
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.state.is_terminal() {
            return;
        }
        if stream.bits.all(bit::STOPPED | bit::DISCARDED) {
            // The peer has sent to nobody: it learns that now, behind all that it was to get.
            let code = stream.code;
            self.give_up(now, key, code);
            return;
        }
        if stream.bits.put(bit::CLOSE_TIMER) {
            let streams = &self.streams;
            self.close_deadlines
                .arm(after(now, self.config.close_timeout), key, |key| {
                    streams
                        .get(key)
                        .is_some_and(|stream| stream.bits.any(bit::CLOSE_TIMER))
                });
        }
    }
}
