//! The segment that most are: the next data in order, or an acknowledgement of what is in flight,
//! with nothing else about it (the header prediction of RFC 7323 4.2 and of many stacks before).

use weir_core::trace::Level;

use super::connection::Connection;
use super::interface::Context;
use super::state::State;
use crate::ip::Ecn;
use crate::wire::seq;
use crate::wire::tcp::Plain;

impl Connection {
    /// Takes a segment that is as expected and stands for so many, in a straight line. False:
    /// nothing was done, [`handle_segment`](Connection::handle_segment) is to have it.
    #[inline]
    pub(crate) fn take_plain(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Plain<'_>,
        segments: u16,
        ecn: Ecn,
    ) -> bool {
        if self.state != State::Established || segment.fin {
            return self.take_turn(cx, segment, segments);
        }
        let next = self.receive.next();
        let len = segment.payload.len() as u64;
        if segment.seq != seq::wire(self.receive.irs, next)
            || ecn == Ecn::Ce
            || self.orphan
            || self.receive.stopped
            || self.receive.reorder.is_some()
            || len > self.receive.advertised.saturating_sub(next)
            || cx.tracer.enabled(Level::Frame)
        {
            return false;
        }
        let (ack, newly) = self.acknowledged(segment.ack);
        let is_outstanding = self.send.una < self.send.nxt;
        // An acknowledgement without data that says nothing new may be a duplicate (RFC 5681 section
        // 2), which recovery counts.
        if ack > self.send.nxt
            || (is_outstanding && (!self.recovery.is_plain() || (newly == 0 && len == 0)))
            || !self.take_plain_stamps(cx, segment, next)
        {
            return false;
        }
        self.on_received(cx, segments);
        self.take_plain_ack(cx, segment.window, next, ack);
        let hits = if len == 0 {
            &mut cx.counters.tcp_hp_acks
        } else {
            &mut cx.counters.tcp_hp_hits
        };
        *hits = hits.saturating_add(1);
        if len > 0 {
            self.take_next(cx, next, segment.payload, segments);
        }
        true
    }

    /// What an ACK field acknowledges, and how much of it is new; an old one lies beyond SND.NXT by that.
    #[inline]
    fn acknowledged(&self, field: u32) -> (u64, u32) {
        let una = self.send.una;
        let newly = field.wrapping_sub(seq::wire(self.numbers.iss, una));
        (una.saturating_add(newly.into()), newly)
    }

    /// The timestamps of a segment at `next`, the number awaited. False when it is the long way that has to
    /// judge them; nothing was done then.
    #[inline]
    fn take_plain_stamps(&mut self, cx: &Context<'_>, segment: &Plain<'_>, next: u64) -> bool {
        if !self.clock.is_on {
            return true;
        }
        let Some(timestamps) = &segment.timestamps else {
            return false;
        };
        if self.clock.is_old(cx.now, timestamps.value) {
            return false;
        }
        if next == self.receive.acked {
            self.clock.update(cx.now, timestamps);
        }
        true
    }

    /// The same for a segment without data that takes the connection into its next state, as one that is
    /// opened and closed has hardly any other: the last ACK of the handshake, the peer's FIN in order,
    /// the ACK of ours.
    #[inline(never)]
    fn take_turn(&mut self, cx: &mut Context<'_>, segment: &Plain<'_>, segments: u16) -> bool {
        let next = self.receive.next();
        let is_opening = self.state == State::SynReceived;
        if matches!(self.state, State::SynSent | State::TimeWait | State::Closed)
            || !segment.payload.is_empty()
            || segment.seq != seq::wire(self.receive.irs, next)
            || (segment.fin && (is_opening || self.receive.fin_at != u64::MAX))
            || cx.tracer.enabled(Level::Frame)
        {
            return false;
        }
        let (ack, newly) = self.acknowledged(segment.ack);
        let is_outstanding = self.send.una < self.send.nxt;
        if ack > self.send.nxt
            || (is_outstanding && !self.recovery.is_plain_or_first())
            // A duplicate, perhaps; in SYN-RECEIVED no acknowledgement of ours.
            || (newly == 0 && (is_opening || (is_outstanding && !segment.fin)))
            || !self.take_plain_stamps(cx, segment, next)
        {
            return false;
        }
        self.on_received(cx, segments);
        self.take_plain_ack(cx, segment.window, next, ack);
        self.after_ack(cx);
        if segment.fin && self.state.is_receiving() {
            self.receive.fin_at = next;
            self.take_fin(cx);
        }
        true
    }

    /// Data within the window that is next in order, to be read by somebody.
    #[inline]
    fn take_next(&mut self, cx: &mut Context<'_>, next: u64, data: &[u8], segments: u16) {
        if self.receive.assembler.held() > 0 {
            self.take_data(cx, next, data, segments);
            return;
        }
        if !self.has_memory_for(cx, next.saturating_add(data.len() as u64))
            || self
                .receive
                .assembler
                .insert(next, data, cx.chunks)
                .is_err()
        {
            return;
        }
        self.note_segment(cx, data.len(), segments);
        self.owe_ack(cx, segments);
        if self.receive.waiting {
            self.receive.waiting = false;
            self.news.readable = true;
        }
    }

    /// The ACK field, between SND.UNA and SND.NXT, and the window of a plain segment at `seq`.
    #[inline]
    fn take_plain_ack(&mut self, cx: &mut Context<'_>, window: u16, seq: u64, ack: u64) {
        let shift = self.send.shift;
        let moved = self.send.update_window(seq, ack, window, shift);
        let is_outstanding = self.send.is_outstanding();
        if ack > self.send.una {
            self.advance_plain(cx, ack);
        }
        if moved {
            self.on_window(cx);
        }
        if is_outstanding && (self.send.has_unsent() || self.send.buffer.has_lost()) {
            self.kick = true;
        }
    }

    /// Everything below `ack` is acknowledged, and nothing else is said; see
    /// [`is_plain`](super::recovery::Recovery::is_plain).
    #[inline]
    pub(super) fn advance_plain(&mut self, cx: &mut Context<'_>, ack: u64) {
        self.send.una = ack;
        let send = &mut self.send.buffer;
        let rtt = self.recovery.on_plain_ack(cx.now, ack, send, cx.chunks);
        if let Some(sample) = rtt {
            self.note_rtt(sample);
        }
        self.on_progress(cx);
    }
}
