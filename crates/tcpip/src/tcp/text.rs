//! Data and FIN that arrive (RFC 9293 3.10.7.4, seventh and eighth step).

use core::ops::Range;

use super::connection::{Connection, OwnTimer};
use super::error::CloseCause;
use super::interface::{Context, Received};
use super::state::State;
use crate::wire::tcp::Flags;

impl Connection {
    /// The data and the FIN of an acceptable segment, cut to the window (T47).
    pub(super) fn take_text(&mut self, cx: &mut Context<'_>, received: &Received<'_>, seq: u64) {
        let segment = &received.segment;
        let len = segment.payload.len() as u64;
        let end = seq.saturating_add(len);
        let edge = self.receive.advertised.min(self.receive.fin_at);
        if len > 0 {
            let room = usize::try_from(edge.saturating_sub(seq)).unwrap_or(usize::MAX);
            let inside = segment.payload.get(..segment.payload.len().min(room));
            let inside = inside.unwrap_or_default();
            if inside.is_empty() {
                // A probe of the closed window, or data behind the FIN (T58, T117).
                self.acknowledge_now();
            } else {
                self.take_data(cx, seq, inside, received.segments);
            }
        }
        if segment.flags.contains(Flags::FIN)
            && self.receive.fin_at == u64::MAX
            && end >= self.receive.next()
            && end <= self.receive.advertised
        {
            self.receive.fin_at = end;
            // A gap before it is told at once, too.
            self.acknowledge_now();
        }
        if self.receive.fin_at == self.receive.assembler.end()
            && !self.receive.fin_taken
            && self.state != State::Closed
        {
            self.take_fin(cx);
        }
    }

    /// Data within the window. What was there already stays as it is (T52).
    pub(super) fn take_data(&mut self, cx: &mut Context<'_>, seq: u64, data: &[u8], segments: u16) {
        let next = self.receive.next();
        let end = seq.saturating_add(data.len() as u64);
        if end <= next {
            self.on_duplicate_data(cx, seq..end);
            self.acking.on_out_of_order();
            self.kick = true;
            return;
        }
        if self.orphan {
            // Nobody will read it, and the peer has to know (RFC 9293 3.6.1, RFC 2525 2.17).
            let count = &mut cx.counters.tcp_abort_on_data;
            *count = count.saturating_add(1);
            self.reset(cx, CloseCause::Unread);
            return;
        }
        if !self.has_memory_for(cx, end) {
            return;
        }
        let had_gap = self.receive.assembler.held() > 0;
        if self.receive.assembler.insert(seq, data, cx.chunks).is_err() {
            return;
        }
        self.note_segment(cx, data.len(), segments);
        if seq > next {
            self.on_gap(cx, seq..end);
            return;
        }
        if seq < next {
            self.on_duplicate_data(cx, seq..next);
        }
        self.receive.advance();
        if had_gap || seq < next {
            // T64: a gap was filled, in part at least.
            self.acknowledge_now();
        } else {
            self.owe_ack(cx, segments);
        }
        self.on_readable(cx);
    }

    /// Whether the budget has room for data up to `end`. If not, the segment is as if lost.
    #[inline]
    pub(super) fn has_memory_for(&mut self, cx: &mut Context<'_>, end: u64) -> bool {
        let receive = &mut self.receive;
        let offset = end.saturating_sub(1);
        let farthest = offset.max(receive.window.received());
        let held = farthest.saturating_sub(receive.window.consumed());
        let charged = receive.share.grow_to(cx.budget, held).is_ok()
            && receive.window.on_received_to(offset).is_ok();
        if !charged {
            self.on_no_memory(cx);
        }
        charged
    }

    #[cold]
    fn on_no_memory(&mut self, cx: &mut Context<'_>) {
        let count = &mut cx.counters.tcp_rcvq_drop;
        *count = count.saturating_add(1);
        self.acknowledge_now();
    }

    #[inline]
    pub(super) fn note_segment(&mut self, cx: &Context<'_>, len: usize, segments: u16) {
        self.seen.last_data = cx.now;
        let count = u64::from(segments);
        self.seen.data_segments_in = self.seen.data_segments_in.saturating_add(count);
        let each = match segments {
            0 | 1 => len,
            // No division for what arrives one by one.
            _ => len.checked_div(usize::from(segments)).unwrap_or(len),
        };
        let each = u32::try_from(each).unwrap_or(u32::MAX).min(65_535);
        self.receive.mss = self.receive.mss.max(each);
    }

    /// An acknowledgement for data in order is owed, sooner or later.
    #[inline]
    pub(super) fn owe_ack(&mut self, cx: &Context<'_>, segments: u16) {
        let unacked = self.receive.next().saturating_sub(self.receive.acked);
        self.acking.on_data(unacked, self.receive.mss, segments);
        if self.acking.now {
            self.kick = true;
        } else if self.timers.get(OwnTimer::DelayedAck).is_none() {
            let at = cx.now + self.config.delayed_ack;
            self.timers.set(OwnTimer::DelayedAck, at);
        }
    }

    /// Data came ahead of a gap.
    fn on_gap(&mut self, cx: &mut Context<'_>, range: Range<u64>) {
        let count = &mut cx.counters.tcp_ofo_queue;
        *count = count.saturating_add(1);
        if self.receive.reorder_mut().insert(range) {
            let count = &mut cx.counters.tcp_dsack_ofo_sent;
            *count = count.saturating_add(u64::from(self.sack));
        }
        self.acking.on_out_of_order();
        self.kick = true;
    }

    /// Data came that had been acknowledged (T100).
    pub(super) fn on_duplicate_data(&mut self, cx: &mut Context<'_>, range: Range<u64>) {
        if !self.sack {
            return;
        }
        self.receive.reorder_mut().on_duplicate(range);
        let count = &mut cx.counters.tcp_dsack_old_sent;
        *count = count.saturating_add(1);
    }

    /// There is more to read.
    #[inline]
    fn on_readable(&mut self, cx: &mut Context<'_>) {
        if self.receive.stopped {
            self.discard(cx);
        } else if self.receive.waiting {
            self.receive.waiting = false;
            self.news.readable = true;
        }
    }

    /// The peer's FIN is next in order (T115 to T117).
    pub(super) fn take_fin(&mut self, cx: &mut Context<'_>) {
        self.receive.fin_taken = true;
        self.receive.reorder = None;
        self.news.readable |= self.receive.waiting;
        self.receive.waiting = false;
        self.acknowledge_now();
        match self.state {
            State::Established => self.set_state(cx, State::CloseWait, "FIN received"),
            State::FinWait1 if self.send.fin_acked() => self.enter_time_wait(cx),
            State::FinWait1 => self.set_state(cx, State::Closing, "FIN received"),
            State::FinWait2 => self.enter_time_wait(cx),
            _ => {}
        }
    }
}
