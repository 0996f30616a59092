//! Which frames leave, in which order.
//!
//! One flush takes the session's own frames first, then SYNs in the order of their ids, then what
//! streams have to say apart from data, then data in turns (Y31, Y32). A small stream's data goes
//! out with its SYN or ACK in one frame, and never meets the scheduler.

use super::Session;
use crate::limits::{BATCH_MILLIS, COPY_BELOW, MAX_BATCH_BYTES, MIN_BATCH_BYTES};
use crate::state::{State, Trigger};
use crate::stream::bit;
use crate::transmit::TransmitBuf;
use crate::wire::{Flags, FrameType, Header};
use weir_core::slab::Key;
use weir_core::time::{Instant, nanos};
use weir_core::trace::{Event as Trace, HeldBy};

/// What the driver reports of the carrier's writing side.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CarrierState {
    /// It took less than it was given.
    Blocked,
    /// It takes bytes (again).
    Ready,
}

/// How large batches are: what the carrier takes in a few milliseconds, for what comes later waits
/// behind what was handed out.
#[derive(Debug)]
pub(super) struct Batch {
    limit: usize,
    started_at: Instant,
    bytes: usize,
    was_blocked: bool,
    /// Bytes of payload handed out and, as far as is known, not written yet: they still use
    /// memory.
    pub(super) charged: u64,
}

impl Batch {
    pub(super) fn new(now: Instant) -> Batch {
        Batch {
            limit: MAX_BATCH_BYTES,
            started_at: now,
            bytes: 0,
            was_blocked: false,
            charged: 0,
        }
    }

    /// A batch was written whole; how large may the next one be?
    fn next(&mut self, now: Instant, is_blocked: bool) {
        if self.was_blocked && self.bytes > 0 {
            let elapsed = nanos(now.saturating_duration_since(self.started_at)).max(1);
            let bytes = (self.bytes as u64).saturating_mul(BATCH_MILLIS.saturating_mul(1_000_000));
            let taken = usize::try_from(bytes.checked_div(elapsed).unwrap_or(0));
            let taken = taken.unwrap_or(usize::MAX).min(MAX_BATCH_BYTES);
            // Half of the way: one odd batch does not decide.
            self.limit = (self.limit.saturating_add(taken) >> 1).max(MIN_BATCH_BYTES);
        } else {
            self.limit = self.limit.saturating_mul(2).min(MAX_BATCH_BYTES);
        }
        self.started_at = now;
        self.bytes = 0;
        self.was_blocked = is_blocked;
    }
}

impl Session {
    /// The carrier refuses bytes, or takes them again. While it refuses, the write time-out runs
    /// (Y51): any progress is to be reported as `Ready`.
    pub fn handle_carrier(&mut self, now: Instant, state: CarrierState) {
        let was_blocked = self.clock.blocked_since.is_some();
        match state {
            CarrierState::Blocked => {
                self.batch.was_blocked = true;
                if !was_blocked && self.closed.is_none() {
                    self.clock.blocked_since = Some(now);
                    self.tracer.emit(now, || Trace::Held {
                        stream: 0,
                        by: HeldBy::Carrier,
                    });
                }
            }
            CarrierState::Ready if was_blocked => {
                self.clock.blocked_since = None;
                self.tracer.emit(now, || Trace::Held {
                    stream: 0,
                    by: HeldBy::Nothing,
                });
            }
            CarrierState::Ready => {}
        }
    }

    /// Appends the frames that are ready to `out`, up to its caps, and says whether there were any.
    /// Best called when `out` is empty: what is handed out goes before anything that comes later.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> bool {
        let before = out.len();
        // What was handed out before and is written by now uses no memory any more.
        let unwritten = self.batch.charged.min(before as u64);
        self.memory
            .release(self.batch.charged.saturating_sub(unwritten));
        self.batch.charged = unwritten;
        if out.is_empty() {
            self.batch.next(now, self.clock.blocked_since.is_some());
        }
        self.flush_session(now, out);
        if self.closed.is_none() {
            self.flush_opens(now, out);
            self.flush_control(now, out);
            self.flush_data(now, out);
            self.finish_drain(now);
        }
        let added = out.len().saturating_sub(before);
        self.batch.bytes = self.batch.bytes.saturating_add(added);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(added as u64);
        if !self.starved.is_empty() {
            self.wake_starved();
        }
        added > 0
    }

    /// GoAway, pings, and refusals.
    fn flush_session(&mut self, now: Instant, out: &mut TransmitBuf) {
        if let Some(code) = self.out.go_away.take() {
            self.emit(
                now,
                out,
                session_frame(FrameType::GoAway, Flags::NONE, code),
            );
        }
        if self.closed.is_some() {
            return;
        }
        while let Some(value) = self.out.pongs.pop_front() {
            self.emit(now, out, session_frame(FrameType::Ping, Flags::ACK, value));
        }
        if self.ping.due {
            let value = self.ping.send(now);
            self.expect_answer(now);
            self.emit(now, out, session_frame(FrameType::Ping, Flags::SYN, value));
        }
        while out.has_room(self.batch.limit)
            && let Some(id) = self.out.refusals.pop()
        {
            self.emit(
                now,
                out,
                stream_frame(FrameType::WindowUpdate, Flags::RST, id, 0),
            );
        }
    }

    /// Streams whose SYN is to be sent, in the order of their ids.
    fn flush_opens(&mut self, now: Instant, out: &mut TransmitBuf) {
        while out.has_room(self.batch.limit)
            && let Some(key) = self.out.opens.pop_front()
        {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.bits.clear(bit::IN_OPENS);
            if stream.state != State::Init {
                self.try_free(key);
                continue;
            }
            self.transition(now, key, Trigger::SynSent);
            self.flush_stream(now, key, Flags::SYN, out);
        }
    }

    /// Streams with a RST, an ACK, credit or a FIN to be sent.
    fn flush_control(&mut self, now: Instant, out: &mut TransmitBuf) {
        while out.has_room(self.batch.limit)
            && let Some(key) = self.out.control.pop_front()
        {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.bits.clear(bit::IN_CONTROL);
            if stream.bits.take(bit::RST_DUE) {
                let (id, code) = (stream.id, stream.code);
                self.emit(
                    now,
                    out,
                    stream_frame(FrameType::WindowUpdate, Flags::RST, id, code),
                );
                self.try_free(key);
                continue;
            }
            if stream.state.is_terminal() {
                self.try_free(key);
                continue;
            }
            if stream.state == State::Init {
                // Its SYN comes first and takes this along.
                continue;
            }
            let flag = if stream.bits.any(bit::ACK_DUE) {
                Flags::ACK
            } else {
                Flags::NONE
            };
            self.flush_stream(now, key, flag, out);
        }
    }

    /// What one stream has to say apart from bulk: its SYN or ACK (`flag`), credit, a small
    /// remainder of data, the FIN. Bulk goes to the scheduler.
    #[inline]
    fn flush_stream(&mut self, now: Instant, key: Key, mut flag: Flags, out: &mut TransmitBuf) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.credit > 0 {
            let credit = std::mem::take(&mut stream.credit);
            let header = stream_frame(FrameType::WindowUpdate, flag, stream.id, credit);
            self.emit(now, out, header);
            self.flag_sent(now, key, flag);
            flag = Flags::NONE;
        }
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let queued = stream.outgoing.len();
        // A stream that stands in the scheduler waits for its turn, unless its flag does not.
        let turn = stream.bits.any(bit::IN_SCHEDULER);
        let rides = flag != Flags::NONE && self.out.scheduler.is_empty();
        let at_once = queued <= COPY_BELOW && !(turn && flag == Flags::NONE) || rides;
        if stream.has_sendable() && at_once {
            self.emit_data(now, key, flag, self.config.max_frame, out);
        } else if stream.fin_ready() {
            let header = stream_frame(FrameType::Data, flag.with(Flags::FIN), stream.id, 0);
            self.emit(now, out, header);
            self.flag_sent(now, key, flag);
            self.fin_sent(now, key);
        } else if flag != Flags::NONE {
            let header = stream_frame(FrameType::WindowUpdate, flag, stream.id, 0);
            self.emit(now, out, header);
            self.flag_sent(now, key, flag);
        }
        self.queue_data(key);
        self.try_free(key);
    }

    /// Data in turns: large frames for a stream that is alone, smaller ones when others wait (Y31).
    fn flush_data(&mut self, now: Instant, out: &mut TransmitBuf) {
        while out.has_room(self.batch.limit)
            && let Some((key, queued_at)) = self.out.scheduler.pop()
        {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.bits.clear(bit::IN_SCHEDULER);
            if !stream.has_sendable() {
                self.try_free(key);
                continue;
            }
            let alone = self.out.scheduler.competitors(queued_at.urgency) == 0;
            let most = if alone {
                self.config.max_frame
            } else {
                self.config.fair_frame
            };
            let flag = if stream.bits.any(bit::ACK_DUE) {
                Flags::ACK
            } else {
                Flags::NONE
            };
            self.emit_data(now, key, flag, most, out);
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if stream.has_sendable() {
                stream.bits.set(bit::IN_SCHEDULER);
                let priority = stream.priority;
                if priority == queued_at {
                    self.out.scheduler.requeue(key, priority);
                } else {
                    self.out.scheduler.push(key, priority);
                }
            } else {
                self.try_free(key);
            }
        }
    }
}

/// A frame of the session itself.
fn session_frame(kind: FrameType, flags: Flags, length: u32) -> Header {
    Header {
        kind,
        flags,
        stream_id: 0,
        length,
    }
}

/// A frame of a stream.
pub(super) fn stream_frame(kind: FrameType, flags: Flags, stream_id: u32, length: u32) -> Header {
    Header {
        kind,
        flags,
        stream_id,
        length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_carrier_gets_small_batches_and_a_fast_one_large() {
        let mut batch = Batch::new(Instant::ZERO);
        // 1 MiB in 1 s, several times over.
        for second in 1..20 {
            batch.bytes = 1 << 20;
            batch.was_blocked = true;
            batch.next(Instant::from_millis(second * 1000), true);
        }
        assert_eq!(batch.limit, MIN_BATCH_BYTES);
        // It takes whole batches again.
        for _ in 0..5 {
            batch.was_blocked = false;
            batch.bytes = batch.limit;
            batch.next(Instant::from_millis(20_000), false);
        }
        assert_eq!(batch.limit, MAX_BATCH_BYTES);
    }
}
