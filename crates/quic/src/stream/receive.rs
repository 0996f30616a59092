//! Frames about what the peer sends: STREAM, RESET_STREAM, and those that say that it is blocked.

use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::HeldBy;
use weir_core::window::{RecvWindow, WindowError};

use super::accept::About;
use super::entry::{Stream, bit};
use super::limits::{SHED_AT_ONCE, SHED_SEARCH_BYTES};
use super::memory::reserve;
use super::state::{RecvState, RecvTrigger};
use super::{StreamEvent, Streams};
use crate::error::{TransportError, code};
use crate::wire::{StreamId, frame, varint};

impl Streams {
    /// STREAM (RFC 9000 section 19.8).
    ///
    /// # Errors
    /// The stream cannot be sent on (Q79, Q80, Q82), a limit was passed (Q90, Q94), or the final
    /// size changed (Q81).
    #[inline]
    pub(crate) fn on_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        offset: u64,
        data: &[u8],
        fin: bool,
    ) -> Result<(), TransportError> {
        let end = offset.saturating_add(data.len() as u64);
        if end > varint::MAX {
            let words = "stream data beyond 2^62 - 1";
            return Err(
                TransportError::new(code::FRAME_ENCODING_ERROR, words).in_frame(frame::STREAM)
            );
        }
        let Some(key) = self.find(now, id, About::Receiving, frame::STREAM)? else {
            return self.check_ended(id, end, fin, frame::STREAM);
        };
        let Some(stream) = self.slots.get_mut(key) else {
            return Ok(());
        };
        if stream.recv_state != RecvState::Recv || fin {
            check_size(stream, end, fin, frame::STREAM)?;
        }
        if !stream.recv_state.is_receiving() {
            return Ok(());
        }
        let farther = count(stream, &mut self.recv, end, frame::STREAM)?;
        if stream.bits.any(bit::STOPPED) {
            self.discard(key, farther, fin, end);
            return Ok(());
        }
        if self.recv.buffered() > self.unread.held()
            && reserve(&mut self.unread, &self.memory, self.recv.buffered()).is_err()
            && !self.make_room(now, key)
        {
            return Ok(());
        }
        self.deliver(now, key, offset, data);
        if fin {
            self.on_fin(key, end);
        }
        self.after_data(key);
        Ok(())
    }

    /// Data goes to its place.
    #[inline]
    fn deliver(&mut self, now: Instant, key: Key, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let buffers = &mut self.buffers;
        let assembler = match &mut stream.incoming {
            Some(assembler) => assembler,
            // Nothing is held, so all that was received in order was read; there are no gaps.
            None => {
                self.clock.sweep(now);
                let read = stream.recv.consumed();
                let expected = stream.expected();
                stream.incoming.insert(buffers.assembler(read, expected))
            }
        };
        // Bounded by the windows, not by the assembler.
        let _new = assembler.insert(offset, data, &mut buffers.chunks);
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(data.len() as u64);
        if assembler.is_empty()
            && let Some(assembler) = stream.incoming.take()
        {
            // It had come before.
            buffers.keep_assembler(assembler);
        }
    }

    /// The final size is known.
    fn on_fin(&mut self, key: Key, end: u64) {
        if let Some(stream) = self.slots.get_mut(key) {
            stream.final_size = end;
            stream.bits.clear(bit::CREDIT_DUE);
            stream.move_recv(RecvTrigger::FinReceived, &mut self.seen);
        }
    }

    /// Wakes the reader if there is something for it, and notices that all is here.
    #[inline]
    fn after_data(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let consumed = stream.recv.consumed();
        let end = stream.incoming.as_ref().map_or(consumed, |held| held.end());
        if stream.recv_state == RecvState::SizeKnown && end == stream.final_size {
            stream.move_recv(RecvTrigger::AllReceived, &mut self.seen);
        }
        if end > consumed || stream.recv_state == RecvState::DataRecvd {
            self.wake(key, bit::WANTS_READ);
        }
    }

    /// Nobody reads: what came is thrown away, its credit given back (RFC 9000 section 3.5).
    #[cold]
    fn discard(&mut self, key: Key, farther: u64, fin: bool, end: u64) {
        if fin {
            self.on_fin(key, end);
        }
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        stream.recv.on_consumed(farther);
        self.stats.bytes_discarded = self.stats.bytes_discarded.saturating_add(farther);
        self.seen
            .discarded(stream.id, farther, "reading was stopped");
        self.consume(farther);
        if fin {
            self.end_reading(key);
            self.try_free(key);
        }
    }

    /// RESET_STREAM (RFC 9000 section 19.4). What was not read is dropped, unless all had come.
    ///
    /// # Errors
    /// As [`on_stream`](Streams::on_stream).
    pub(crate) fn on_reset_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        code: u64,
        final_size: u64,
    ) -> Result<(), TransportError> {
        const FRAME: u64 = frame::RESET_STREAM;
        let Some(key) = self.find(now, id, About::Receiving, FRAME)? else {
            return self.check_ended(id, final_size, true, FRAME);
        };
        let Some(stream) = self.slots.get_mut(key) else {
            return Ok(());
        };
        check_size(stream, final_size, true, FRAME)?;
        if !stream.recv_state.is_receiving() {
            return Ok(());
        }
        count(stream, &mut self.recv, final_size, FRAME)?;
        stream.final_size = final_size;
        stream.recv_code = code;
        stream.bits.clear(bit::STOP_DUE | bit::CREDIT_DUE);
        stream.move_recv(RecvTrigger::ResetReceived, &mut self.seen);
        let stopped = stream.bits.any(bit::STOPPED);
        self.stats.resets_received = self.stats.resets_received.saturating_add(1);
        self.count_reset(now, key);
        // Q91: all of it counts as read.
        self.drop_unread(key);
        if stopped {
            self.end_reading(key);
        } else {
            self.announce(key, StreamEvent::StreamReset(key));
        }
        self.drop_unaccepted(key);
        self.try_free(key);
        Ok(())
    }

    /// A stream that the peer opened and resets before it was answered costs it a token; without one,
    /// it does not get a new stream for it at once (threats C9, Q172).
    fn count_reset(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let theirs = stream.id.initiator() != self.side;
        let answered = stream.bits.any(bit::FINISHED) && !stream.bits.any(bit::FIN_IMPLIED);
        let unanswered = stream.bits.any(bit::UNACCEPTED) || !answered;
        if theirs && unanswered && !self.resets.take(now) {
            stream.bits.set(bit::WITHHOLD);
            self.stats.streams_withheld = self.stats.streams_withheld.saturating_add(1);
            let count = self.stats.streams_withheld;
            self.seen
                .rate_limited("streams are opened and reset too fast", count);
            self.clock.give_withheld(now);
        }
    }

    /// STREAM_DATA_BLOCKED (RFC 9000 section 19.13). The window is tuned by what is read, so there is
    /// nothing to do but to check that the stream may be spoken of.
    ///
    /// # Errors
    /// The stream cannot be sent on (Q79, Q80, Q82).
    pub(crate) fn on_stream_data_blocked(
        &mut self,
        now: Instant,
        id: StreamId,
        _limit: u64,
    ) -> Result<(), TransportError> {
        self.find(now, id, About::Receiving, frame::STREAM_DATA_BLOCKED)
            .map(drop)
    }

    /// DATA_BLOCKED (RFC 9000 section 19.12). When the limit is the present one and much of it is
    /// unread, streams whose readers sleep hold it: more is given for the others, if memory allows.
    pub(crate) fn on_data_blocked(&mut self, limit: u64) {
        let size = self.recv.size();
        if self.closed || limit < self.recv.limit() || self.recv.buffered() < size / 2 {
            return;
        }
        if self.memory.is_short() {
            return;
        }
        let wanted = size.saturating_mul(2);
        let windows = &self.connection_windows;
        let raised = self
            .recv
            .raise(wanted, windows, &self.memory, &mut self.unread);
        if raised && self.recv.announce_all().is_some() {
            self.out.max_data.set(self.recv.limit());
        }
    }

    /// A frame for a stream that is over: only its end can still be wrong (Q81).
    #[cold]
    fn check_ended(
        &self,
        id: StreamId,
        end: u64,
        fin: bool,
        frame: u64,
    ) -> Result<(), TransportError> {
        match self.ended.get(id) {
            Some(size) if end > size || fin && end != size => Err(wrong_size(id, size, end, frame)),
            _ => Ok(()),
        }
    }

    /// Memory ran out with what arrived for a stream: the stream that holds most of it is let go, so
    /// the connection and its other streams live. False when that was the stream itself.
    #[cold]
    fn make_room(&mut self, now: Instant, arrived: Key) -> bool {
        for _ in 0..SHED_AT_ONCE {
            let victim = self.largest_reader(arrived);
            self.stats.streams_shed = self.stats.streams_shed.saturating_add(1);
            if let Some(stream) = self.slots.get(victim) {
                self.seen.held(stream.id, HeldBy::SessionBudget);
            }
            self.give_up(now, victim, code::INTERNAL_ERROR);
            if victim == arrived {
                return false;
            }
            if reserve(&mut self.unread, &self.memory, self.recv.buffered()).is_ok() {
                return true;
            }
        }
        self.give_up(now, arrived, code::INTERNAL_ERROR);
        false
    }

    /// The stream with most unread bytes. Looking at all is only done once in a while; in between it
    /// is the stream that asks for more (threats C5).
    fn largest_reader(&mut self, arrived: Key) -> Key {
        if self.recv.received() < self.shed_search_at {
            return arrived;
        }
        self.shed_search_at = self.recv.received().saturating_add(SHED_SEARCH_BYTES);
        let unread = |(key, stream): (Key, &Stream)| (stream.buffered(), key);
        let largest = self.slots.iter().map(unread).max();
        largest.map_or(arrived, |(_, key)| key)
    }
}

/// Counts data up to `end` against the stream's credit and that of all, and says by how much it is
/// farther than before.
#[inline]
fn count(
    stream: &mut Stream,
    all: &mut RecvWindow,
    end: u64,
    frame: u64,
) -> Result<u64, TransportError> {
    let mut own = stream.recv.clone();
    let farther = own.on_received_to(end);
    let farther = farther.map_err(|error| too_far(stream.id, error, frame))?;
    let counted = all.on_received(farther);
    counted.map_err(|error| too_much(error, frame))?;
    stream.recv = own;
    Ok(farther)
}

/// Whether data up to `end`, the last of the stream if `fin`, fits what is known of its size
/// (RFC 9000 section 4.5).
fn check_size(stream: &Stream, end: u64, fin: bool, frame: u64) -> Result<(), TransportError> {
    let known = stream.recv_state != RecvState::Recv;
    let size = stream.final_size;
    if known && (end > size || fin && end != size) {
        return Err(wrong_size(stream.id, size, end, frame));
    }
    if fin && end < stream.recv.received() {
        return Err(wrong_size(stream.id, stream.recv.received(), end, frame));
    }
    Ok(())
}

#[cold]
fn wrong_size(id: StreamId, size: u64, end: u64, frame: u64) -> TransportError {
    let words = format!("stream {id} of {size} bytes is said to reach to {end}");
    TransportError::new(code::FINAL_SIZE_ERROR, words).in_frame(frame)
}

#[cold]
fn too_far(id: StreamId, error: WindowError, frame: u64) -> TransportError {
    let words = format!("stream {id}: {error}");
    TransportError::new(code::FLOW_CONTROL_ERROR, words).in_frame(frame)
}

#[cold]
fn too_much(error: WindowError, frame: u64) -> TransportError {
    let words = format!("all streams together: {error}");
    TransportError::new(code::FLOW_CONTROL_ERROR, words).in_frame(frame)
}
