//! Bytes from the application.

use bytes::Bytes;
use weir_core::budget::fair_cap;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::HeldBy;

use super::entry::bit;
use super::error::WriteError;
use super::limits::{FAIR_QUEUE, STARVED_AT_ONCE};
use super::{StreamEvent, Streams};

impl Streams {
    /// Queues what fits of `data` for sending, advances `data` by it and says how many bytes. Large
    /// pieces are kept as they are, without a copy; small ones behind others are copied together.
    ///
    /// # Errors
    /// [`WriteError::Blocked`] when nothing fits: the send buffer is full, or memory is short.
    /// [`Writable`](StreamEvent::Writable) follows once.
    #[inline]
    pub(crate) fn write(
        &mut self,
        now: Instant,
        key: Key,
        data: &mut Bytes,
    ) -> Result<usize, WriteError> {
        let count = self.admit_bytes(now, key, data.len())?;
        self.append(now, key, count, |out, chunks| {
            out.append(data.split_to(count), chunks);
        });
        Ok(count)
    }

    /// The same for borrowed bytes, which are copied.
    ///
    /// # Errors
    /// As [`Streams::write`].
    #[inline]
    pub(crate) fn write_slice(
        &mut self,
        now: Instant,
        key: Key,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        let count = self.admit_bytes(now, key, data.len())?;
        let data = data.get(..count).unwrap_or_default();
        self.append(now, key, count, |out, chunks| {
            out.append_slice(data, chunks)
        });
        Ok(count)
    }

    #[inline]
    fn append(
        &mut self,
        now: Instant,
        key: Key,
        count: usize,
        append: impl FnOnce(&mut weir_core::buf::SendBuffer, &mut weir_core::buf::Chunks),
    ) {
        let Some(stream) = self.slots.get_mut(key).filter(|_| count > 0) else {
            return;
        };
        let out = match &mut stream.outgoing {
            Some(out) => out,
            None => {
                self.clock.sweep(now);
                stream.outgoing.insert(self.buffers.sender(stream.written))
            }
        };
        append(out, &mut self.buffers.chunks);
        stream.written = out.end();
        if stream.send.available() > 0 {
            self.queue_data(key);
        } else {
            self.note_blocked(key);
        }
    }

    /// A stream has data and no credit: the peer is told so, once for each limit (Q93).
    pub(super) fn note_blocked(&mut self, key: Key) {
        if let Some(stream) = self.slots.get_mut(key)
            && stream.unsent() > 0
            && stream.send.available() == 0
            && !stream.bits.any(bit::OVER_LIMIT)
            && stream.bits.put(bit::BLOCKED_TOLD)
        {
            self.seen.held(stream.id, HeldBy::PeerWindow);
            self.queue_control(key, bit::BLOCKED_DUE);
        }
    }

    /// How a stream's data is ranked against that of others; valid from its next turn on.
    pub(crate) fn set_priority(&mut self, key: Key, priority: Priority) {
        if let Some(stream) = self.slots.get_mut(key) {
            stream.priority = priority;
        }
    }

    /// Why nothing more can be written to a stream; `None` while it can.
    pub(crate) fn send_error(&self, key: Key) -> Option<WriteError> {
        let Some(stream) = self.slots.get(key) else {
            return Some(WriteError::Closed);
        };
        if stream.send_state.is_reset() {
            return Some(match stream.bits.any(bit::PEER_STOPPED) {
                true => WriteError::Stopped(stream.send_code),
                false => WriteError::Reset(stream.send_code),
            });
        }
        if self.closed {
            return Some(WriteError::Closed);
        }
        if stream.bits.any(bit::FINISHED) {
            return Some(WriteError::Finished);
        }
        stream
            .send_state
            .is_terminal()
            .then_some(WriteError::Closed)
    }

    /// Whether all that was written to a stream, and its end if it was finished, was sent once. While
    /// not, [`Writable`](StreamEvent::Writable) follows when it was.
    ///
    /// # Errors
    /// The stream was reset or the connection is over: what was queued is lost.
    pub(crate) fn poll_sent(&mut self, key: Key) -> Result<bool, WriteError> {
        self.check_unbroken(key)?;
        let Some(stream) = self.slots.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        let sent = stream.unsent() == 0 && !stream.bits.any(bit::FIN_DUE);
        if !sent {
            stream.bits.set(bit::WANTS_SENT);
        }
        Ok(sent)
    }

    /// Whether the peer has acknowledged all that was written to a stream, and its end if it was
    /// finished. While not, [`Writable`](StreamEvent::Writable) follows when it has.
    ///
    /// # Errors
    /// The stream was reset or the connection is over: what was queued is lost.
    pub(crate) fn poll_flushed(&mut self, key: Key) -> Result<bool, WriteError> {
        self.check_unbroken(key)?;
        let Some(stream) = self.slots.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        let flushed = stream.is_flushed();
        if !flushed {
            stream.bits.set(bit::WANTS_FLUSH);
        }
        Ok(flushed)
    }

    fn check_unbroken(&self, key: Key) -> Result<(), WriteError> {
        match self.send_error(key) {
            Some(WriteError::Finished) | None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// How many of `wanted` bytes the stream may queue now; their memory is reserved.
    #[inline]
    fn admit_bytes(&mut self, now: Instant, key: Key, wanted: usize) -> Result<usize, WriteError> {
        if let Some(error) = self.send_error(key) {
            return Err(error);
        }
        let Some(stream) = self.slots.get_mut(key) else {
            return Err(WriteError::Closed);
        };
        if wanted == 0 {
            return Ok(0);
        }
        let room = self.config.send_buffer.saturating_sub(stream.unsent());
        let mut count = (wanted as u64).min(room);
        if count == 0 {
            stream.bits.set(bit::WANTS_WRITE);
            return Err(WriteError::Blocked);
        }
        let kept = stream.unacked();
        if kept.saturating_add(count) > FAIR_QUEUE {
            // One that queues much leaves the others as much memory as it takes.
            let cap = fair_cap(self.free_memory(), kept).max(FAIR_QUEUE);
            count = count.min(cap.saturating_sub(kept));
        }
        if count == 0 || self.held.add(&self.memory, count).is_err() {
            return Err(self.starve(now, key));
        }
        Ok(usize::try_from(count).unwrap_or(wanted))
    }

    fn free_memory(&self) -> u64 {
        self.memory.available().saturating_add(self.held.spare())
    }

    /// Memory is short for a writer: it waits until some comes free.
    #[cold]
    fn starve(&mut self, now: Instant, key: Key) -> WriteError {
        if let Some(stream) = self.slots.get_mut(key) {
            stream.bits.set(bit::WANTS_WRITE);
            if stream.bits.put(bit::WANTS_MEMORY) {
                self.seen.held(stream.id, HeldBy::SessionBudget);
                self.starved.push_back(key);
            }
        }
        self.clock.retry_memory(now);
        WriteError::Blocked
    }

    /// All that an acknowledgement brought was told: who waits for the memory of what arrived goes on.
    #[inline]
    pub(crate) fn after_acks(&mut self) {
        if !self.starved.is_empty() {
            self.wake_starved();
        }
    }

    /// Memory may have come free: writers that wait for it are woken, the first first, as far as what
    /// is free goes and as far as they may queue more.
    pub(super) fn wake_starved(&mut self) {
        let mut free = self.free_memory();
        for _ in 0..self.starved.len().min(STARVED_AT_ONCE) {
            if free < FAIR_QUEUE {
                return;
            }
            let Some(key) = self.starved.pop_front() else {
                return;
            };
            let Some(stream) = self.slots.get_mut(key) else {
                continue;
            };
            if !stream.bits.any(bit::WANTS_MEMORY) {
                continue;
            }
            let kept = stream.unacked();
            let room = fair_cap(free, kept).max(FAIR_QUEUE).saturating_sub(kept);
            let over = stream.send_state.is_reset();
            if room == 0 && !over {
                self.starved.push_back(key);
                continue;
            }
            stream.bits.clear(bit::WANTS_MEMORY);
            if stream.bits.take(bit::WANTS_WRITE) {
                self.news.push(StreamEvent::Writable(key));
                free = free.saturating_sub(room.min(FAIR_QUEUE));
            }
        }
    }

    /// A part of the queue was sent: its writer is woken when half of the buffer is free, so that it
    /// is not woken for every packet.
    #[inline]
    pub(super) fn wake_writer(&mut self, key: Key) {
        let half = self.config.send_buffer >> 1;
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let wants = bit::WANTS_WRITE | bit::WANTS_SENT;
        if !stream.bits.any(wants) {
            return;
        }
        let unsent = stream.unsent();
        let writes = unsent <= half && !stream.bits.any(bit::WANTS_MEMORY);
        let all = unsent == 0 && !stream.bits.any(bit::FIN_DUE);
        let writer = writes && stream.bits.take(bit::WANTS_WRITE);
        let waiter = all && stream.bits.take(bit::WANTS_SENT);
        if writer || waiter {
            self.news.push(StreamEvent::Writable(key));
        }
    }
}
