//! Headers, and what is remembered of each segment that goes out.

use core::ops::Range;

use weir_core::time::nanos;

use super::connection::{Connection, OwnTimer};
use super::interface::{Context, SegmentSink};
use super::recovery::Sent;
use super::telling::Going;
use super::transmit::Piece;
use crate::ip::Ecn;
use crate::wire::seq;
use crate::wire::tcp::{Flags, Header, Options, SackBlocks, Timestamps};

impl Connection {
    /// Sends a piece in segments of at most `size` bytes.
    pub(super) fn emit_piece(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
        piece: Piece,
        size: u16,
    ) {
        self.emit(cx, sink, piece.range, (piece.fin, piece.kind), size);
    }

    /// The same for new data of at most one segment: of what has to be asked of a piece little is left.
    pub(super) fn emit_message(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
        range: Range<u64>,
        size: u16,
    ) {
        self.emit(cx, sink, range, (false, Sent::New), size);
    }

    #[inline(always)]
    fn emit(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
        range: Range<u64>,
        (fin, kind): (bool, Sent),
        size: u16,
    ) {
        let len = range.end.saturating_sub(range.start);
        // A probe may repeat what was sent before.
        let is_new = range.end > self.send.buffer.next() || (fin && !self.send.fin_sent());
        let mut flags = Flags::ACK;
        if fin {
            flags = flags | Flags::FIN;
        }
        if len > 0 && (range.end == self.send.buffer.end() || fin) {
            // T66: nothing follows for now.
            flags = flags | Flags::PSH;
        }
        // T129, T131: new data only.
        let marks = len > 0 && is_new && kind == Sent::New;
        if marks && core::mem::take(&mut self.ecn.reduced) {
            flags = flags | Flags::CWR;
        }
        let ecn = if marks && self.ecn.is_on {
            Ecn::Ect0
        } else {
            Ecn::NotEct
        };
        let header = self.header(cx, flags, range.start);
        let behind = range.end.saturating_add(u64::from(fin));
        self.send.buffer.on_sent(&range);
        self.recovery
            .on_sent(cx.now, range.start..behind, kind, u32::from(size));
        self.send.nxt = self.send.nxt.max(behind);
        // Most are one segment: no division for them.
        let (segments, last) = match u64::from(size.max(1)) {
            size if len <= size => (1, len),
            size => (len.div_ceil(size), len.checked_rem(size).unwrap_or(0)),
        };
        if is_new && last != 0 && last != u64::from(size) {
            self.send.small_end = range.end;
        }
        if fin && kind != Sent::WindowProbe {
            self.send.fin_again = false;
        }
        self.note_sent(cx, len, segments, is_new);
        let trigger = self.trigger(cx, kind);
        let going = Going {
            offset: range.start,
            len,
            segments,
            ecn,
            trigger,
        };
        self.tell_sent(cx, &header, &going);
        let size = if len == 0 { 0 } else { size };
        let data = (len > 0).then_some((&mut self.send.buffer, range));
        sink.emit(&header, ecn, size, data);
        self.on_ack_sent();
    }

    /// What is counted of a piece, and whether the application answers what it read.
    #[inline]
    fn note_sent(&mut self, cx: &mut Context<'_>, len: u64, segments: u64, is_new: bool) {
        self.count_sent(cx, segments, !is_new);
        if len > 0 && is_new {
            let count = &mut self.seen.data_segments_out;
            *count = count.wrapping_add(segments);
            let count = &mut cx.counters.tcp_orig_data_sent;
            *count = count.wrapping_add(segments);
            if !self.acking.interactive && self.seen.data_segments_in > 0 {
                let since = cx.now.nanos_since(self.seen.last_data);
                self.acking.interactive = since < nanos(self.config.delayed_ack);
            }
            self.seen.last_sent = cx.now;
        }
    }

    /// Counts segments that go out. (2^64 of them are not reached: no need to saturate.)
    #[inline]
    pub(super) fn count_sent(&mut self, cx: &mut Context<'_>, segments: u64, again: bool) {
        self.seen.segments_out = self.seen.segments_out.wrapping_add(segments);
        if again {
            self.seen.retransmissions = self.seen.retransmissions.wrapping_add(segments);
            let count = &mut cx.counters.retrans_segs;
            *count = count.wrapping_add(segments);
        } else {
            let count = &mut cx.counters.out_segs;
            *count = count.wrapping_add(segments);
        }
    }

    /// The header of a segment at `offset`, with the acknowledgement, window and options of now.
    #[inline]
    fn header(&mut self, cx: &mut Context<'_>, flags: Flags, offset: u64) -> Header {
        let window = self.receive.advertise(self.mss);
        self.note_zero_window(cx, window == 0);
        let echo = if self.ecn.echo {
            Flags::ECE
        } else {
            Flags::NONE
        };
        let sack = if self.sack && self.receive.reorder.is_some() {
            self.receive.sack_blocks()
        } else {
            SackBlocks::NONE
        };
        let (urg, urgent) = self.urgent_field(offset);
        Header {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            seq: seq::wire(self.numbers.iss, offset),
            ack: self.receive.wire_next(),
            flags: flags | echo | urg,
            window,
            urgent,
            options: Options {
                timestamps: self.clock.is_on.then(|| Timestamps {
                    value: self.numbers.timestamp(cx.now),
                    echo: self.clock.recent,
                }),
                sack,
                ..Options::default()
            },
        }
    }

    #[inline]
    fn note_zero_window(&mut self, cx: &mut Context<'_>, is_zero: bool) {
        if is_zero == self.receive.told_zero {
            return;
        }
        self.receive.told_zero = is_zero;
        let count = if is_zero {
            &mut cx.counters.tcp_to_zero_window_adv
        } else {
            &mut cx.counters.tcp_from_zero_window_adv
        };
        *count = count.saturating_add(1);
    }

    /// A segment with the acknowledgement of now went out.
    #[inline]
    pub(super) fn on_ack_sent(&mut self) {
        self.receive.on_acked();
        self.acking.on_sent();
        self.timers.stop(OwnTimer::DelayedAck);
    }

    /// An acknowledgement without data; without SACK, one for each segment out of order.
    pub(super) fn transmit_ack(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) {
        let repeats = if self.sack {
            1
        } else {
            self.acking.duplicates.max(1)
        };
        let challenge = core::mem::take(&mut self.challenge.is_due);
        let trigger = challenge.then_some("challenge_ack");
        for _ in 0..repeats {
            self.emit_bare(cx, sink, self.send.acceptable(), trigger);
        }
    }

    /// A segment without data at `offset`.
    pub(super) fn emit_bare(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
        offset: u64,
        trigger: Option<&'static str>,
    ) {
        let header = self.header(cx, Flags::ACK, offset);
        self.count_sent(cx, 1, false);
        self.tell_sent(cx, &header, &Going::bare(offset, trigger));
        sink.emit(&header, Ecn::NotEct, 0, None);
        self.on_ack_sent();
    }

    /// RSTs: in answer to a segment that is not ours (T18, T20), and our own (T124).
    pub(super) fn transmit_resets(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) {
        if let Some(sequence) = self.stray_reset.take() {
            self.emit_reset(cx, sink, Flags::RST, sequence, 0);
        }
        if core::mem::take(&mut self.reset_due) {
            let sequence = seq::wire(self.numbers.iss, self.send.acceptable());
            let ack = self.receive.wire_next();
            self.emit_reset(cx, sink, Flags::RST | Flags::ACK, sequence, ack);
        }
    }

    fn emit_reset(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
        flags: Flags,
        sequence: u32,
        ack: u32,
    ) {
        let header = Header {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            seq: sequence,
            ack,
            flags,
            ..Header::default()
        };
        self.count_sent(cx, 1, false);
        let offset = u64::from(sequence.wrapping_sub(self.numbers.iss));
        self.tell_sent(cx, &header, &Going::bare(offset, None));
        let count = &mut cx.counters.out_rsts;
        *count = count.saturating_add(1);
        sink.emit(&header, Ecn::NotEct, 0, None);
    }
}
