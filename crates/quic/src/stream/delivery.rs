//! What became of the frames that were sent (RFC 9000 section 13.3).

use weir_core::slab::Key;

use super::Streams;
use super::entry::bit;
use super::state::{RecvState, SendState, SendTrigger};
use crate::sent::SentFrame;
use crate::wire::Dir;

impl Streams {
    /// A packet with this frame was acknowledged. Frames of others are none of our business.
    #[inline]
    pub(crate) fn on_acked(&mut self, frame: &SentFrame) {
        match *frame {
            SentFrame::Stream {
                key,
                offset,
                len,
                fin,
            } => self.stream_acked(key, offset, len, fin),
            SentFrame::ResetStream { key } => {
                if let Some(stream) = self.slots.get_mut(key) {
                    stream.move_send(SendTrigger::ResetAcked, &mut self.seen);
                    stream.bits.clear(bit::RESET_DUE);
                    self.try_free(key);
                }
            }
            SentFrame::MaxData { limit } => self.out.max_data.on_acked(limit),
            SentFrame::MaxStreams { dir, limit } => {
                self.theirs.get_mut(dir).limit.on_acked(limit);
            }
            SentFrame::DataBlocked { limit } => self.out.data_blocked.on_acked(limit),
            SentFrame::StreamsBlocked { dir, limit } => {
                self.own.get_mut(dir).blocked.on_acked(limit);
            }
            _ => {}
        }
    }

    /// A packet with this frame was lost. What still matters is sent again, with the values of then.
    pub(crate) fn on_lost(&mut self, frame: &SentFrame) {
        match *frame {
            SentFrame::Stream {
                key,
                offset,
                len,
                fin,
            } => self.stream_lost(key, offset, len, fin),
            SentFrame::ResetStream { key } => {
                self.due_again(key, bit::RESET_DUE, |stream| {
                    stream.send_state == SendState::ResetSent
                });
            }
            SentFrame::StopSending { key } => {
                self.due_again(key, bit::STOP_DUE, |stream| {
                    stream.recv_state == RecvState::Recv
                });
            }
            SentFrame::MaxStreamData { key, limit } => {
                self.due_again(key, bit::CREDIT_DUE, |stream| {
                    let latest = stream.recv.limit() == limit;
                    let reads = !stream.bits.any(bit::STOPPED);
                    latest && reads && stream.recv_state == RecvState::Recv
                });
            }
            SentFrame::StreamDataBlocked { key, limit } => {
                self.due_again(key, bit::BLOCKED_DUE, |stream| {
                    let held = stream.unsent() > 0 && stream.send.available() == 0;
                    held && stream.send.limit() == limit && !stream.send_state.is_reset()
                });
            }
            SentFrame::MaxData { limit } => self.out.max_data.on_lost(limit),
            SentFrame::MaxStreams { dir, limit } => {
                self.theirs.get_mut(dir).limit.on_lost(limit);
            }
            SentFrame::DataBlocked { limit } if !self.out.waiting.is_empty() => {
                self.out.data_blocked.on_lost(limit);
            }
            SentFrame::StreamsBlocked { dir, limit } if *self.news.wants_open.get(dir) => {
                self.own.get_mut(dir).blocked.on_lost(limit);
            }
            _ => {}
        }
    }

    /// 0-RTT was rejected: nothing that was sent arrived, and nothing is permitted before
    /// [`set_peer_limits`](Streams::set_peer_limits) says so. Everything is sent again then, on the
    /// same streams, as far as the new limits go.
    pub(crate) fn on_zero_rtt_rejected(&mut self) {
        self.peer = super::StreamLimits::default();
        self.send = weir_core::window::SendWindow::new(0);
        self.out.data_blocked.cancel();
        for dir in Dir::ALL {
            let own = self.own.get_mut(dir);
            own.limit = 0;
            own.blocked.cancel();
        }
        let keys: Vec<Key> = self.slots.keys().collect();
        for key in keys {
            self.rewind(key);
        }
    }

    fn rewind(&mut self, key: Key) {
        let own_side = self.side;
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if stream.id.initiator() != own_side {
            return;
        }
        stream.send = weir_core::window::SendWindow::new(0);
        stream.bits.clear(bit::BLOCKED_DUE | bit::BLOCKED_TOLD);
        stream.bits.set(bit::OVER_LIMIT);
        if let Some(out) = &mut stream.outgoing {
            out.rewind();
        }
        let mut due = 0;
        if stream.send_state.is_reset() {
            stream.send_state = SendState::ResetSent;
            due |= bit::RESET_DUE;
        } else {
            stream.send_state = SendState::Ready;
            if stream.bits.any(bit::FINISHED) {
                stream.bits.set(bit::FIN_DUE);
            }
        }
        if stream.bits.any(bit::STOPPED) && stream.recv_state == RecvState::Recv {
            due |= bit::STOP_DUE;
        }
        stream.bits.set(due);
    }

    #[inline]
    fn stream_acked(&mut self, key: Key, offset: u64, len: u32, fin: bool) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if let Some(out) = &mut stream.outgoing {
            let end = offset.saturating_add(u64::from(len));
            let freed = out.on_acked(offset..end, &mut self.buffers.chunks);
            if out.is_empty()
                && let Some(out) = stream.outgoing.take()
            {
                self.buffers.keep_sender(out);
            }
            if freed > 0 {
                self.held.sub(&self.memory, freed);
            }
        }
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if fin {
            stream.bits.set(bit::FIN_ACKED);
            stream.bits.clear(bit::FIN_DUE);
        }
        if stream.is_flushed() {
            self.flushed(key);
        }
    }

    /// Everything written so far was acknowledged.
    fn flushed(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if stream.bits.any(bit::FIN_ACKED) {
            stream.move_send(SendTrigger::AllAcked, &mut self.seen);
        }
        self.wake(key, bit::WANTS_FLUSH);
        self.try_free(key);
    }

    fn stream_lost(&mut self, key: Key, offset: u64, len: u32, fin: bool) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if stream.send_state.is_reset() || stream.send_state.is_terminal() {
            return;
        }
        let end = offset.saturating_add(u64::from(len));
        if let Some(out) = &mut stream.outgoing {
            out.on_lost(offset..end);
        }
        if fin && !stream.bits.any(bit::FIN_ACKED) && stream.send_state == SendState::DataSent {
            stream.bits.set(bit::FIN_DUE);
        }
        if stream.bits.any(bit::PEER_STOPPED) && stream.has_sendable() {
            // RFC 9000 section 3.5: the peer does not want it, so it learns that it is over instead.
            let code = stream.send_code;
            self.abort_send(key, code);
            self.announce(key, super::StreamEvent::Stopped(key));
            return;
        }
        self.queue_data(key);
    }

    fn due_again(
        &mut self,
        key: Key,
        due: u32,
        matters: impl FnOnce(&super::entry::Stream) -> bool,
    ) {
        if self.slots.get(key).is_some_and(matters) {
            self.queue_control(key, due);
        }
    }
}
