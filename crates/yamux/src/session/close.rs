//! How a session ends: by agreement, at once, by a broken rule, by the carrier.

use super::Session;
use crate::error::{Violation, code};
use crate::event::Event;
use crate::stream::bit;
use weir_core::close::{CloseReason, Initiator};
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::Event as Trace;

impl Session {
    /// Winds down: the peer is told to open no more streams (GoAway 0), what it opens still is
    /// refused, `open` is refused here, and the streams that are open go on. When the last has ended
    /// and all is out, the session is over by itself, cleanly (Y47, Y49).
    pub fn go_away(&mut self, now: Instant) {
        if self.closed.is_some() || self.going.is_some() {
            return;
        }
        self.going = Some(code::NORMAL);
        self.out.go_away = Some(code::NORMAL);
        self.news.open_ready();
        self.trace_state(now);
    }

    /// Ends the session at once with GoAway `code` (Y49): all streams fail, what was not sent is
    /// thrown away, what has arrived stays readable.
    pub fn close(&mut self, now: Instant, code: u32, reason: &str) {
        if self.closed.is_some() {
            return;
        }
        if self.going != Some(code) {
            self.going = Some(code);
            self.out.go_away = Some(code);
        }
        let reason = CloseReason::application(Initiator::Local, code.into(), reason.to_owned());
        self.end(now, reason);
    }

    /// Whether no stream is open in either direction.
    pub fn is_drained(&self) -> bool {
        self.closed.is_some() || self.by_id.is_empty()
    }

    /// Why the session is over, once it is.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// A GoAway came.
    pub(super) fn handle_go_away(&mut self, now: Instant, code: u32) {
        if code != code::NORMAL {
            // Y48
            let what = match code {
                code::PROTOCOL_ERROR => "the peer saw a protocol error",
                code::INTERNAL_ERROR => "the peer had an internal error",
                _ => "the peer gave a code of its own",
            };
            let reason = CloseReason::transport(Initiator::Peer, code.into(), what);
            self.end(now, reason.in_frame("GoAway"));
            return;
        }
        if self.peer_gone.replace(code).is_some() {
            return;
        }
        // Y47: no SYN goes out any more; streams that had not sent theirs were not opened.
        for key in std::mem::take(&mut self.out.opens) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.bits.clear(bit::IN_OPENS);
                self.give_up(now, key, code::NORMAL);
                self.try_free(key);
            }
        }
        self.news.push(Event::GoAway(code));
        self.news.open_ready();
        self.trace_state(now);
    }

    /// The peer broke a rule: the session ends with GoAway 1 and says which.
    #[cold]
    pub(super) fn violated(&mut self, now: Instant, violation: Violation) {
        self.going = Some(code::PROTOCOL_ERROR);
        self.out.go_away = Some(code::PROTOCOL_ERROR);
        let reason = CloseReason::transport(
            Initiator::Local,
            code::PROTOCOL_ERROR.into(),
            violation.to_string(),
        );
        self.end(now, reason.in_frame(violation.frame()));
    }

    /// The session is over: everybody who waits learns it at once (Y50), queues and timers are
    /// dropped, and memory goes back but for what readers may still take.
    #[cold]
    pub(super) fn end(&mut self, now: Instant, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        self.tracer.emit(now, || Trace::Closed(&reason));
        self.closed = Some(reason.clone());
        self.out.clear();
        self.by_id.clear();
        self.accept_queue.clear();
        self.starved.clear();
        self.grown.clear();
        self.open_deadlines.clear();
        self.close_deadlines.clear();
        self.clock.stop();
        (self.unacked, self.unaccepted) = (0, 0);
        let keys: Vec<Key> = self.streams.keys().collect();
        for key in keys {
            self.end_stream(key);
        }
        self.memory.trim();
        self.news.open_ready();
        self.news.acceptable();
        self.news.push(Event::Closed(reason));
        self.trace_state(now);
    }

    fn end_stream(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        self.memory
            .release(self.chunks.clear(&mut stream.outgoing) as u64);
        stream.share.shrink_to(&self.memory, stream.recv.buffered());
        if stream.bits.take(bit::UNACCEPTED) {
            stream.bits.set(bit::RELEASED);
        }
        stream.bits.clear(bit::UNACKED | bit::WANTS_MEMORY);
        self.wake_both(key);
        self.try_free(key);
    }

    /// After a flush: a session that winds down and has nothing open and nothing to send is over.
    pub(super) fn finish_drain(&mut self, now: Instant) {
        let idle = self.by_id.is_empty()
            && self.out.go_away.is_none()
            && self.out.control.is_empty()
            && self.out.refusals.is_empty();
        if self.going.is_some() && idle && self.closed.is_none() {
            let words = "all streams had ended";
            self.end(
                now,
                CloseReason::transport(Initiator::Local, code::NORMAL.into(), words),
            );
        }
    }
}
