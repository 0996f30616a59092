//! Bytes to the application, and the windows that follow its reading.

use bytes::Bytes;
use weir_core::slab::Key;
use weir_core::time::Instant;

use super::Streams;
use super::entry::bit;
use super::error::ReadError;
use super::memory::relax;
use super::state::{RecvState, RecvTrigger};

impl Streams {
    /// The next bytes of a stream, at most `max`. `None`: the peer ended the stream and all was read.
    ///
    /// # Errors
    /// [`ReadError::Blocked`] when nothing has arrived in order
    /// ([`Readable`](super::StreamEvent::Readable) follows once); others when nothing will.
    #[inline]
    pub(crate) fn read(
        &mut self,
        _now: Instant,
        key: Key,
        max: usize,
    ) -> Result<Option<Bytes>, ReadError> {
        let Some(stream) = self.slots.get_mut(key) else {
            return Err(ReadError::Closed);
        };
        if let Some(assembler) = &mut stream.incoming
            && let Some(bytes) = assembler.read(max, &mut self.buffers.chunks)
        {
            self.after_read(key, bytes.len() as u64);
            return Ok(Some(bytes));
        }
        self.nothing_to_read(key, max == 0).map(|end| match end {
            true => None,
            false => Some(Bytes::new()),
        })
    }

    /// Bytes were taken: the windows move, and what is over is let go of.
    #[inline]
    fn after_read(&mut self, key: Key, count: u64) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        stream.recv.on_consumed(count);
        if stream.incoming.as_ref().is_some_and(|held| held.is_empty())
            && let Some(assembler) = stream.take_incoming()
        {
            self.buffers.keep_assembler(assembler);
        }
        // No credit is needed once the final size is known (RFC 9000 section 3.2).
        let wants_credit = stream.recv_state == RecvState::Recv;
        if wants_credit && !stream.bits.any(bit::CREDIT_DUE) && stream.recv.update_due() {
            self.queue_control(key, bit::CREDIT_DUE);
        }
        self.consume(count);
        if !self.starved.is_empty() {
            self.wake_starved();
        }
    }

    /// Whether all was read to the stream's end, which counts as read from now on.
    #[inline]
    pub(crate) fn take_end(&mut self, key: Key) -> bool {
        let Some(stream) = self.slots.get_mut(key) else {
            return false;
        };
        let has_all = !stream.recv_state.is_receiving() && !stream.recv_state.is_reset();
        let is_over = has_all && stream.incoming.is_none() && !stream.bits.any(bit::STOPPED);
        if is_over {
            stream.move_recv(RecvTrigger::Read, &mut self.seen);
        }
        is_over
    }

    /// True at the end of the stream, false when nothing was asked for.
    fn nothing_to_read(&mut self, key: Key, asked_nothing: bool) -> Result<bool, ReadError> {
        let Some(stream) = self.slots.get_mut(key) else {
            return Err(ReadError::Closed);
        };
        if asked_nothing
            && stream
                .incoming
                .as_ref()
                .is_some_and(|held| held.readable() > 0)
        {
            return Ok(false);
        }
        if stream.bits.any(bit::STOPPED) {
            return Err(ReadError::Stopped);
        }
        if stream.recv_state.is_reset() {
            stream.move_recv(RecvTrigger::Read, &mut self.seen);
            return Err(ReadError::Reset(stream.recv_code));
        }
        if !stream.recv_state.is_receiving() {
            if stream.bits.any(bit::RECV_RELEASED) {
                return Err(ReadError::Closed);
            }
            stream.move_recv(RecvTrigger::Read, &mut self.seen);
            return Ok(true);
        }
        if self.closed {
            return Err(ReadError::Closed);
        }
        stream.bits.set(bit::WANTS_READ);
        Err(ReadError::Blocked)
    }

    /// Bytes were read or thrown away: memory and the connection's credit for them come back.
    #[inline]
    pub(super) fn consume(&mut self, count: u64) {
        self.recv.on_consumed(count);
        if self.closed {
            self.settle_unread();
            return;
        }
        self.out.credit_due |= self.recv.update_due();
        let grown = self
            .recv
            .size()
            .saturating_sub(self.connection_windows.initial);
        let needed = self.recv.buffered().max(grown);
        relax(&mut self.unread, &self.memory, needed);
    }

    /// Nothing more will come: no memory is needed but for what is still unread.
    pub(super) fn settle_unread(&mut self) {
        self.unread.shrink_to(&self.memory, self.recv.buffered());
    }
}
