//! Bytes from the application.

use super::Session;
use crate::error::WriteError;
use crate::event::Event;
use crate::limits::COPY_BELOW;
use crate::state::State;
use crate::stream::bit;
use bytes::{Buf, Bytes};
use weir_core::budget::fair_cap;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::{Event as Trace, HeldBy};

/// Writers that are looked at each time that memory may have come free.
const STARVED_AT_ONCE: usize = 64;

impl Session {
    /// Queues what fits of `data` for sending, advances `data` by it and says how many bytes. Large
    /// pieces are kept as they are, without a copy; small ones behind others are copied together.
    ///
    /// # Errors
    /// [`WriteError::Blocked`] when nothing fits: the send buffer is full, or memory is short.
    /// [`Event::Writable`] follows once.
    pub fn write(&mut self, now: Instant, key: Key, data: &mut Bytes) -> Result<usize, WriteError> {
        let count = self.admit_bytes(now, key, data.len())?;
        let Some(stream) = self.streams.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        if count < COPY_BELOW && !stream.outgoing.is_empty() {
            self.chunks
                .push_copy(&mut stream.outgoing, data.get(..count).unwrap_or_default());
            data.advance(count);
        } else {
            self.chunks.push(&mut stream.outgoing, data.split_to(count));
        }
        self.queue_data(key);
        Ok(count)
    }

    /// The same for borrowed bytes, which are copied.
    ///
    /// # Errors
    /// As [`Session::write`].
    pub fn write_slice(
        &mut self,
        now: Instant,
        key: Key,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        let count = self.admit_bytes(now, key, data.len())?;
        let Some(stream) = self.streams.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        self.chunks
            .push_copy(&mut stream.outgoing, data.get(..count).unwrap_or_default());
        self.queue_data(key);
        Ok(count)
    }

    /// How a stream's data is ranked against that of others; valid from its next turn on.
    pub fn set_priority(&mut self, key: Key, priority: Priority) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.priority = priority;
        }
    }

    /// How many of `wanted` bytes the stream may queue now; their memory is reserved.
    #[inline]
    fn admit_bytes(&mut self, now: Instant, key: Key, wanted: usize) -> Result<usize, WriteError> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        if stream.state == State::Reset {
            return Err(WriteError::Reset(stream.code));
        }
        if self.closed.is_some() {
            return Err(WriteError::Closed);
        }
        if stream.bits.any(bit::FIN_DUE | bit::FIN_SENT) {
            return Err(WriteError::Finished);
        }
        if wanted == 0 {
            return Ok(0);
        }
        let queued = stream.outgoing.len();
        let room = (self.config.send_buffer as usize).saturating_sub(queued);
        let mut count = wanted.min(room);
        if count == 0 {
            stream.bits.set(bit::WANTS_WRITE);
            return Err(WriteError::Blocked);
        }
        // One that sends more than a frame leaves the others as much memory as it takes.
        let fair_frame = self.config.fair_frame as usize;
        if queued.saturating_add(count) > fair_frame {
            let cap = usize::try_from(fair_cap(self.memory.available(), queued as u64));
            let cap = cap.unwrap_or(usize::MAX).max(fair_frame);
            count = count.min(cap.saturating_sub(queued));
        }
        if count == 0 || self.memory.try_reserve(count as u64).is_err() {
            return Err(self.starve(now, key));
        }
        Ok(count)
    }

    /// Memory is short for a writer: it waits until some comes free.
    #[cold]
    fn starve(&mut self, now: Instant, key: Key) -> WriteError {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.bits.set(bit::WANTS_WRITE);
            if stream.bits.put(bit::WANTS_MEMORY) {
                self.starved.push_back(key);
                let stream = u64::from(stream.id);
                self.tracer.emit(now, || Trace::Held {
                    stream,
                    by: HeldBy::SessionBudget,
                });
            }
        }
        self.clock.retry_memory(now);
        WriteError::Blocked
    }

    /// Memory may have come free: writers that wait for it are woken, the first first, as far as what
    /// is free goes and as far as they may queue more.
    pub(super) fn wake_starved(&mut self) {
        let fair_frame = u64::from(self.config.fair_frame);
        let mut free = self.memory.available();
        for _ in 0..self.starved.len().min(STARVED_AT_ONCE) {
            if free < fair_frame {
                return;
            }
            let Some(key) = self.starved.pop_front() else {
                return;
            };
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if !stream.bits.any(bit::WANTS_MEMORY) {
                continue;
            }
            let queued = stream.outgoing.len() as u64;
            let room = fair_cap(free, queued)
                .max(fair_frame)
                .saturating_sub(queued);
            if room == 0 {
                self.starved.push_back(key);
                continue;
            }
            stream.bits.clear(bit::WANTS_MEMORY);
            if stream.bits.take(bit::WANTS_WRITE) {
                self.news.push(Event::Writable(key));
                free = free.saturating_sub(room.min(fair_frame));
            }
        }
    }

    /// A part of the queue was sent: its writer is woken when half of the buffer is free, so that
    /// it is not woken for every frame.
    #[inline]
    pub(super) fn wake_writer(&mut self, key: Key) {
        let half = (self.config.send_buffer as usize) >> 1;
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.outgoing.len() <= half
            && !stream.bits.any(bit::WANTS_MEMORY)
            && stream.bits.take(bit::WANTS_WRITE)
        {
            self.news.push(Event::Writable(key));
        }
    }
}
