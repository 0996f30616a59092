//! What happens to a segment that arrives (RFC 9293 3.10.7.4), in the RFC's order: timestamp (RFC 7323
//! section 5), sequence number, RST, SYN, ACK, urgent pointer, data, FIN.

use super::connection::Connection;
use super::error::CloseCause;
use super::interface::{Context, Received};
use super::state::State;
use crate::ip::Ecn;
use crate::wire::seq;
use crate::wire::tcp::{Flags, Plain};

impl Connection {
    /// A segment of this connection arrived.
    pub(crate) fn handle_segment(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {
        let plain = Plain::of(&received.segment);
        if plain.is_some_and(|plain| self.take_plain(cx, &plain, received.segments, received.ecn)) {
            return;
        }
        self.on_received(cx, received.segments);
        self.tell_received(cx, received);
        match self.state {
            State::Closed => {}
            State::SynSent => self.on_segment_in_syn_sent(cx, received),
            _ => self.on_segment(cx, received),
        }
    }

    /// The way that every segment can go.
    fn on_segment(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {
        let segment = &received.segment;
        let offset = seq::widen(self.receive.irs, segment.seq, self.receive.next());
        if self.state == State::SynReceived && self.on_repeated_syn(cx, received, offset) {
            return;
        }
        if self.is_old_duplicate(cx, received) {
            return;
        }
        let Some(seq) = offset.filter(|seq| self.is_acceptable(*seq, received)) else {
            self.on_unacceptable(cx, received, offset);
            return;
        };
        if segment.flags.contains(Flags::RST) {
            self.on_reset(cx, seq);
            return;
        }
        if segment.flags.contains(Flags::SYN) {
            self.on_unexpected_syn(cx);
            return;
        }
        let Some(ack) = self.acceptable_ack(cx, received) else {
            return;
        };
        self.note_marks(cx, received, seq);
        self.process_ack(cx, received, seq, ack);
        self.after_ack(cx);
        if self.state == State::Closed {
            return;
        }
        if self.state.is_receiving() {
            self.take_urgent(segment, seq);
            self.take_text(cx, received, seq);
        }
    }

    /// A SYN, or SYN,ACK, in SYN-RECEIVED. True when that was all there is to it.
    fn on_repeated_syn(
        &mut self,
        cx: &mut Context<'_>,
        received: &Received<'_>,
        offset: Option<u64>,
    ) -> bool {
        let flags = received.segment.flags;
        if !flags.contains(Flags::SYN) || flags.contains(Flags::RST) || offset != Some(0) {
            return false;
        }
        if !flags.contains(Flags::ACK) {
            // T21. One without ECN's flags gave ECN up (RFC 3168 6.1.1.1).
            self.ecn.is_on &= Connection::asks_for_ecn(flags);
            self.begin.syn_due = true;
            self.kick = true;
            return true;
        }
        // The peer's answer to our SYN in a simultaneous open (T13, T32).
        let ack = seq::widen(self.numbers.iss, received.segment.ack, self.send.una);
        let Some(ack) = ack.filter(|ack| self.send.una < *ack && *ack <= self.send.nxt) else {
            self.stray_reset = Some(received.segment.ack);
            self.kick = true;
            return true;
        };
        self.process_ack(cx, received, 0, ack);
        self.establish(cx);
        self.acknowledge_now();
        true
    }

    /// PAWS (RFC 7323 section 5, T110). True when the segment is dropped.
    fn is_old_duplicate(&mut self, cx: &mut Context<'_>, received: &Received<'_>) -> bool {
        let segment = &received.segment;
        // T111: a segment without the option that was agreed is taken as it is, as Linux does, for
        // middleboxes take options away; the sequence number has to do then.
        let Some(timestamps) = segment.options.timestamps.filter(|_| self.clock.is_on) else {
            return false;
        };
        let old = self.clock.is_old(cx.now, timestamps.value);
        if !old || segment.flags.contains(Flags::RST) {
            return false;
        }
        let refused = &mut cx.counters.paws_estab;
        *refused = refused.saturating_add(1);
        self.answer_unacceptable(cx, received);
        true
    }

    /// The acceptability test (RFC 9293 table 6, T39), with the window as the peer was told it.
    fn is_acceptable(&self, seq: u64, received: &Received<'_>) -> bool {
        let next = self.receive.next();
        let edge = next.max(self.receive.advertised);
        let len = u64::from(received.segment.sequence_len());
        if len == 0 {
            // The peer's own next number is the edge when it has filled the window (RFC 9293
            // appendix A.2). A RST that is no attack has RCV.NXT.
            let reset = received.segment.flags.contains(Flags::RST);
            return seq == next || (next < seq && (seq < edge || (seq == edge && !reset)));
        }
        let last = seq.saturating_add(len).saturating_sub(1);
        if edge == next {
            // T58: at a closed window data is not taken, but what comes with it is.
            return seq == next;
        }
        (next <= seq && seq < edge) || (next <= last && last < edge) || (seq < next && edge <= last)
    }

    /// A segment out of the window (T40).
    fn on_unacceptable(
        &mut self,
        cx: &mut Context<'_>,
        received: &Received<'_>,
        offset: Option<u64>,
    ) {
        let segment = &received.segment;
        if segment.flags.contains(Flags::RST) {
            return;
        }
        if let Some(seq) = offset {
            let end = seq.saturating_add(segment.payload.len() as u64);
            let next = self.receive.next();
            if seq < end && end <= next {
                self.on_duplicate_data(cx, seq..end);
            } else if seq >= next {
                let count = &mut cx.counters.tcp_out_of_window;
                *count = count.saturating_add(1);
            }
        }
        self.answer_unacceptable(cx, received);
    }

    /// An ACK for a segment that is dropped. Those that carry nothing are answered only so often: two
    /// ends that disagree would answer each other for ever.
    fn answer_unacceptable(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {
        if received.segment.sequence_len() == 0 && !received.segment.flags.contains(Flags::SYN) {
            self.challenge(cx);
        } else if received.segment.flags.contains(Flags::SYN) {
            self.on_unexpected_syn(cx);
        } else {
            self.acking.on_out_of_order();
            self.kick = true;
        }
    }

    /// A RST in the window (RFC 5961 section 3.2, T41).
    fn on_reset(&mut self, cx: &mut Context<'_>, seq: u64) {
        if seq != self.receive.next() {
            self.challenge(cx);
            return;
        }
        match self.state {
            State::SynReceived => {
                let count = &mut cx.counters.embryonic_rsts;
                *count = count.saturating_add(1);
                self.die(cx, CloseCause::Refused);
            }
            // RFC 1337: TIME-WAIT is not cut short (T121).
            State::TimeWait => {}
            State::Closing | State::LastAck => self.die(cx, CloseCause::Finished),
            _ => {
                let count = &mut cx.counters.estab_resets;
                *count = count.saturating_add(1);
                self.die(cx, CloseCause::Reset);
            }
        }
    }

    /// A SYN where there is none to come (RFC 5961 section 4.2, T42).
    fn on_unexpected_syn(&mut self, cx: &mut Context<'_>) {
        let count = &mut cx.counters.tcp_syn_challenge;
        *count = count.saturating_add(1);
        self.challenge(cx);
    }

    /// The ACK field as an offset, if the segment may be processed (T20, T43, T45, T48).
    fn acceptable_ack(&mut self, cx: &mut Context<'_>, received: &Received<'_>) -> Option<u64> {
        let segment = &received.segment;
        if !segment.flags.contains(Flags::ACK) {
            return None;
        }
        let ack = seq::widen(self.numbers.iss, segment.ack, self.send.una);
        if self.state == State::SynReceived {
            let good = ack.filter(|ack| self.send.una < *ack && *ack <= self.send.nxt);
            if good.is_none() {
                self.stray_reset = Some(segment.ack);
                self.kick = true;
            }
            return good;
        }
        let least = self.send.una.saturating_sub(self.send.max_wnd);
        let good = ack.filter(|ack| least <= *ack && *ack <= self.send.nxt);
        if good.is_none() {
            self.challenge(cx);
        }
        good
    }

    /// TS.Recent and ECN's marks of a segment that is acceptable.
    fn note_marks(&mut self, cx: &mut Context<'_>, received: &Received<'_>, seq: u64) {
        let segment = &received.segment;
        if let Some(timestamps) = segment.options.timestamps.filter(|_| self.clock.is_on)
            && seq <= self.receive.acked
            && seq.saturating_add(u64::from(segment.sequence_len())) >= self.receive.acked
        {
            self.clock.update(cx.now, &timestamps);
        }
        if !self.ecn.is_on {
            return;
        }
        if segment.flags.contains(Flags::CWR) {
            self.ecn.echo = false;
        }
        if received.ecn == Ecn::Ce && !segment.payload.is_empty() {
            // T130.
            self.ecn.echo = true;
            self.acknowledge_now();
            let count = &mut cx.counters.tcp_ecn_ce;
            *count = count.saturating_add(1);
        }
    }

    /// What an acknowledgement of our FIN, or of our SYN, does to the state (T116).
    pub(super) fn after_ack(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::SynReceived if self.send.una > 0 => {
                self.establish(cx);
                // With Fast Open the FIN may have been acknowledged along with the SYN.
                self.after_ack(cx);
            }
            State::FinWait1 if self.send.fin_acked() => {
                self.set_state(cx, State::FinWait2, "FIN acknowledged");
                self.arm_close(cx);
            }
            State::Closing if self.send.fin_acked() => self.enter_time_wait(cx),
            State::LastAck if self.send.fin_acked() => self.die(cx, CloseCause::Finished),
            _ => {}
        }
    }
}
