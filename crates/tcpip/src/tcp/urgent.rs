//! Urgent data (RFC 9293 section 3.8.5, RFC 6093): bytes like all others, delivered in line, and a
//! pointer that says how far they reach.
//!
//! RFC 6093 advises new applications against it: middleboxes clear the pointer. It is for those that
//! have it in their protocol, as telnet has.

use super::connection::Connection;
use super::error::WriteError;
use super::interface::Context;
use crate::wire::tcp::{Flags, Segment};

/// Both pointers of a connection. Few have them.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    /// RCV.UP: the offset behind the last urgent byte that the peer told of.
    received: u64,
    /// SND.UP: the offset behind the last urgent byte that was written here.
    sent: u64,
    /// The application was told, and has not asked since.
    is_told: bool,
}

impl Connection {
    /// Takes the urgent pointer of a segment at `seq`. The application is told when it moves on beyond
    /// what was read (MUST-32), once until it asks.
    pub(super) fn take_urgent(&mut self, segment: &Segment<'_>, seq: u64) {
        let end = seq.saturating_add(u64::from(segment.urgent));
        let is_ahead = end > self.receive.assembler.read_offset();
        if !segment.flags.contains(Flags::URG) || !is_ahead || self.receive.stopped {
            return;
        }
        let urgent = self.urgent.get_or_insert_default();
        if end > urgent.received {
            urgent.received = end;
            self.news.urgent |= !core::mem::replace(&mut urgent.is_told, true);
        }
    }

    /// How many bytes remain to be read up to the last urgent one (MUST-33). Some of them may still be
    /// on their way.
    pub(crate) fn urgent_remaining(&mut self) -> u64 {
        let read = self.receive.assembler.read_offset();
        let Some(urgent) = &mut self.urgent else {
            return 0;
        };
        urgent.is_told = false;
        urgent.received.saturating_sub(read)
    }

    /// True while urgent data was told of that was not read: the pointer is not forgotten then.
    pub(super) fn awaits_urgent(&self) -> bool {
        let read = self.receive.assembler.read_offset();
        let urgent = self.urgent.as_ref();
        urgent.is_some_and(|urgent| urgent.received > read)
    }

    /// As `write_slice`; what is taken is urgent, and with it all before it that was not read yet.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is taken then.
    pub(crate) fn write_urgent(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        let written = self.write_slice(cx, data)?;
        if written > 0 {
            self.urgent.get_or_insert_default().sent = self.send.buffer.end();
            if self.send.wnd() == 0 && self.state.is_synchronized() {
                // What does not fit can be told of all the same (T58).
                self.acknowledge_now();
            }
        }
        Ok(written)
    }

    /// True while the peer has not acknowledged all urgent data.
    #[inline]
    pub(super) fn is_sending_urgent(&self) -> bool {
        let urgent = self.urgent.as_ref();
        urgent.is_some_and(|urgent| urgent.sent > self.send.una)
    }

    /// The flag and the pointer of a segment at `offset`: what is further away than it can tell is told
    /// by a later one.
    #[inline]
    pub(super) fn urgent_field(&self, offset: u64) -> (Flags, u16) {
        match &self.urgent {
            Some(urgent) if urgent.sent > offset.max(self.send.una) => {
                let ahead = urgent.sent.saturating_sub(offset);
                (Flags::URG, u16::try_from(ahead).unwrap_or(u16::MAX))
            }
            _ => (Flags::NONE, 0),
        }
    }
}
