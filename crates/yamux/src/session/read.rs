//! Bytes to the application, and the window that follows its reading.

use super::Session;
use super::timers::after_millis;
use crate::error::ReadError;
use crate::limits::WINDOW_SWEEP_MILLIS;
use crate::state::State;
use crate::stream::bit;
use bytes::Bytes;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::Event as Trace;

impl Session {
    /// The next bytes of a stream, at most `max`, as a slice of what the carrier brought. `None`:
    /// the peer ended the stream and all was read.
    ///
    /// # Errors
    /// [`ReadError::Blocked`] when nothing has arrived ([`Event::Readable`](crate::Event::Readable)
    /// follows once); others when nothing will.
    pub fn read(&mut self, now: Instant, key: Key, max: usize) -> Result<Option<Bytes>, ReadError> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Err(ReadError::Closed);
        };
        if let Some(bytes) = self.chunks.pop(&mut stream.incoming, max) {
            stream.recv.on_consumed(bytes.len() as u64);
            if stream.is_receiving() && self.closed.is_none() {
                self.refill(now, key);
            } else {
                stream.share.shrink_to(&self.memory, stream.recv.buffered());
            }
            if !self.starved.is_empty() {
                self.wake_starved();
            }
            return Ok(Some(bytes));
        }
        if max == 0 && !stream.incoming.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        if stream.bits.any(bit::STOPPED) {
            return Err(ReadError::Stopped);
        }
        if stream.bits.any(bit::FIN_RECEIVED) {
            return Ok(None);
        }
        if stream.state == State::Reset {
            return Err(ReadError::Reset(stream.code));
        }
        if self.closed.is_some() {
            return Err(ReadError::Closed);
        }
        stream.bits.set(bit::WANTS_READ);
        Err(ReadError::Blocked)
    }

    /// Bytes were consumed: gives memory back, and notes the credit that the peer is told of once it
    /// is worth a frame (Y28), with the window tuned to the round trip (Y29).
    #[inline]
    pub(super) fn refill(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.recv.update_due() {
            let grown = stream.recv.size().saturating_sub(self.windows.initial);
            stream
                .share
                .shrink_to(&self.memory, stream.recv.buffered().max(grown));
            return;
        }
        self.update_window(now, key);
        if self.windows.max > self.windows.initial {
            self.ping.want_sample(now);
        }
        self.queue_control(key);
    }

    /// Tunes the window, and takes the credit there is to announce.
    pub(super) fn update_window(&mut self, now: Instant, key: Key) {
        let rtt = self.ping.tuning_rtt();
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let old = stream.recv.size();
        let due = stream
            .recv
            .poll_update(now, rtt, &self.windows, &self.memory, &mut stream.share);
        // Windows are at most 1 GiB (`Config::validate`), so 32 bits hold any sum of credit.
        let due = u32::try_from(due.unwrap_or(0)).unwrap_or(u32::MAX);
        stream.credit = stream.credit.saturating_add(due);
        let new = stream.recv.size();
        if new != old {
            let stream = u64::from(stream.id);
            self.tracer.emit(now, || Trace::WindowTuned {
                stream,
                old,
                new,
                rtt,
            });
        }
        self.note_grown(now, key);
    }

    /// Enlarged windows are looked at now and then, so that they shrink when they fall idle.
    pub(super) fn note_grown(&mut self, now: Instant, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.recv.is_grown(&self.windows) && stream.bits.put(bit::GROWN) {
            self.grown.push_back(key);
            let at = after_millis(now, WINDOW_SWEEP_MILLIS);
            self.clock.windows_at.get_or_insert(at);
        }
    }

    /// Looks at every enlarged window once.
    pub(super) fn sweep_windows(&mut self, now: Instant) {
        self.clock.windows_at = None;
        for _ in 0..self.grown.len() {
            let Some(key) = self.grown.pop_front() else {
                break;
            };
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            stream.bits.clear(bit::GROWN);
            if !stream.is_receiving() {
                continue;
            }
            self.update_window(now, key);
            // One that waits to be accepted announces with its ACK (Y13, Y15).
            if self
                .streams
                .get(key)
                .is_some_and(|stream| stream.credit > 0 && !stream.bits.any(bit::UNACCEPTED))
            {
                self.queue_control(key);
            }
        }
        self.memory.trim();
        if !self.starved.is_empty() {
            self.wake_starved();
        }
    }
}
