//! What is sent, and when (RFC 9293 3.7.4, 3.8.6.2.1): in as few and as large pieces as can be.

use core::ops::Range;

use weir_core::trace::HeldBy;

use super::connection::{Connection, OwnTimer};
use super::interface::{Context, SegmentSink};
use super::recovery::{Blocked, Sent};
use super::state::State;

/// Something to be sent in one go.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Its data; empty for a FIN alone.
    pub(super) range: Range<u64>,
    /// FIN follows the data.
    pub(super) fin: bool,
    /// Why it is sent.
    pub(super) kind: Sent,
}

impl Piece {
    fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// What comes next, or why nothing does.
enum Next {
    Piece(Piece),
    Held(HeldBy),
}

/// What the next piece has to fit in, in bytes.
#[derive(Copy, Clone)]
struct Room {
    /// Of the congestion window and the pacer.
    allowed: u64,
    /// Of one segment.
    mss: u64,
    /// Of one call to the sink, a multiple of `mss`.
    emit: u64,
}

impl Connection {
    /// True when `poll_transmit` may have something to send.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        self.kick
    }

    /// Sends what is to be sent. True when more could go, but the sink is full.
    pub(crate) fn poll_transmit(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
    ) -> bool {
        if !self.kick {
            return false;
        }
        if sink.is_full() {
            return true;
        }
        if self.reset_due || self.stray_reset.is_some() {
            self.transmit_resets(cx, sink);
        }
        let more = match self.state {
            State::Closed => false,
            State::SynSent => self.transmit_syn(cx, sink),
            State::SynReceived => {
                // Fast Open lets a server answer before the handshake is over (RFC 7413 4.2.2).
                self.transmit_syn(cx, sink)
                    || (self.begin.fast_open && self.transmit_data(cx, sink))
            }
            _ => self.transmit_data(cx, sink),
        };
        if more {
            return true;
        }
        if self.acking.now && self.state != State::Closed && self.state != State::SynSent {
            if sink.is_full() {
                return true;
            }
            self.transmit_ack(cx, sink);
        }
        self.kick = false;
        self.tell_metrics(cx);
        false
    }

    /// Probes, then what was lost, then new data and FIN. True when the sink took no more.
    fn transmit_data(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) -> bool {
        if self.transmit_probes(cx, sink) {
            return true;
        }
        let again = self.send.buffer.has_lost() || self.recovery.needs_fin() || self.send.fin_again;
        if !again && !self.send.has_unsent() {
            self.held_by = HeldBy::Application;
            return false;
        }
        let allowance = self.recovery.allowance(cx.now, self.wanted(again));
        let size = self.segment_size();
        if !again && let Some(range) = self.small_message(allowance.bytes, size) {
            if sink.is_full() {
                return true;
            }
            self.emit_message(cx, sink, range, size);
            self.on_held(cx, HeldBy::Application, None);
            return false;
        }
        let mss = u64::from(size);
        let most = u64::try_from(sink.max_segment_payload()).unwrap_or(u64::MAX);
        let segments = if self.is_sending_urgent() {
            // Each segment has a pointer of its own.
            1
        } else {
            most.checked_div(mss).unwrap_or(1).max(1)
        };
        let mut room = Room {
            allowed: allowance.bytes,
            mss,
            emit: segments.saturating_mul(mss),
        };
        loop {
            if sink.is_full() {
                return true;
            }
            match self.next_piece(room) {
                Next::Piece(piece) => {
                    room.allowed = room.allowed.saturating_sub(piece.len());
                    self.emit_piece(cx, sink, piece, self.segment_size());
                }
                Next::Held(by) => {
                    self.on_held(cx, by, allowance.blocked);
                    return false;
                }
            }
        }
    }

    /// All that waits, if that is data of one segment which nothing holds back: what a message is that
    /// somebody waits for. [`next_piece`](Connection::next_piece) would come to the same.
    #[inline]
    fn small_message(&self, allowed: u64, size: u16) -> Option<Range<u64>> {
        let send = &self.send;
        let range = send.buffer.next()..send.buffer.end();
        let len = range.end.saturating_sub(range.start);
        let is_one = len > 0 && len <= allowed.min(size.into()) && range.end <= send.right;
        // Nagle, as in `next_new`.
        let may = len == u64::from(size) || self.config.nodelay || send.una >= send.small_end;
        (is_one && may && !send.finish).then_some(range)
    }

    /// How many bytes would go if nothing but the peer's window held them.
    #[inline]
    fn wanted(&self, again: bool) -> u64 {
        let send = &self.send;
        let open = send.right.saturating_sub(send.buffer.next());
        let new = send.buffer.unsent().min(open);
        let lost = if again {
            send.nxt.saturating_sub(send.una)
        } else {
            0
        };
        new.saturating_add(lost).max(1)
    }

    /// The payload of a full segment sent now: SACK blocks take their room (T28, RFC 6691).
    #[inline]
    pub(super) fn segment_size(&self) -> u16 {
        let Some(reorder) = self.receive.reorder.as_ref().filter(|_| self.sack) else {
            return self.mss;
        };
        let most = if self.clock.is_on { 3 } else { 4 };
        let blocks = u16::try_from(reorder.len().min(most)).unwrap_or(0);
        let bytes = blocks.saturating_mul(8).saturating_add(4);
        self.mss.saturating_sub(bytes).max(8)
    }

    /// What comes next: lost data, the lost FIN, new data, the FIN.
    fn next_piece(&self, room: Room) -> Next {
        let send = &self.send;
        let range = self.recovery.next_range(&send.buffer, send.right);
        if range.is_empty() {
            return self.next_fin();
        }
        if range.start < send.buffer.next() {
            self.next_lost(range, room)
        } else {
            self.next_new(range, room)
        }
    }

    /// Lost data, as far as the peer's window takes it (T55).
    fn next_lost(&self, range: Range<u64>, room: Room) -> Next {
        let send = &self.send;
        let end = range.end.min(send.right);
        let len = end.saturating_sub(range.start).min(room.emit);
        if len == 0 {
            return Next::Held(HeldBy::PeerWindow);
        }
        let len = if room.allowed < len {
            whole(room.allowed, room.mss)
        } else {
            len
        };
        if len == 0 {
            return Next::Held(HeldBy::Congestion);
        }
        let end = range.start.saturating_add(len);
        let fin = end == send.buffer.end() && (self.recovery.needs_fin() || send.fin_again);
        Next::Piece(Piece {
            range: range.start..end,
            fin: fin && end < send.right,
            kind: Sent::Retransmit,
        })
    }

    /// New data: full segments, and the rest if the rules for small ones let it go (T61).
    fn next_new(&self, range: Range<u64>, room: Room) -> Next {
        let send = &self.send;
        let ready = range.end.saturating_sub(range.start);
        let is_all = range.end == send.buffer.end();
        let mut len = ready.min(room.emit);
        if room.allowed < len {
            len = whole(room.allowed, room.mss);
            if len == 0 {
                return Next::Held(HeldBy::Congestion);
            }
        }
        let full = whole(len, room.mss);
        if len == ready && full < len {
            let may = if is_all {
                // Nagle in the form of RFC 9293 appendix A.3: it waits for small ones only.
                send.finish
                    || self.config.nodelay
                    || send.una >= send.small_end
                    || self.is_sending_urgent()
            } else {
                full == 0 && len.saturating_mul(2) >= send.max_wnd
            };
            if !may {
                len = full;
            }
            if len == 0 {
                let by = if is_all {
                    HeldBy::Application
                } else {
                    HeldBy::PeerWindow
                };
                return Next::Held(by);
            }
        }
        let end = range.start.saturating_add(len);
        Next::Piece(Piece {
            range: range.start..end,
            fin: send.finish && end == send.buffer.end() && end < send.right,
            kind: Sent::New,
        })
    }

    /// FIN alone: behind all data, within the window, whatever the congestion window says.
    fn next_fin(&self) -> Next {
        let send = &self.send;
        let at = send.buffer.end();
        let again = send.fin_sent() && (self.recovery.needs_fin() || send.fin_again);
        if !again && !send.fin_due() {
            return Next::Held(if send.buffer.unsent() > 0 {
                HeldBy::PeerWindow
            } else {
                HeldBy::Application
            });
        }
        if at >= send.right {
            return Next::Held(HeldBy::PeerWindow);
        }
        Next::Piece(Piece {
            range: at..at,
            fin: true,
            kind: if again { Sent::Retransmit } else { Sent::New },
        })
    }

    /// Nothing more goes for now: why, and what wakes it up.
    #[inline]
    fn on_held(&mut self, cx: &Context<'_>, by: HeldBy, blocked: Option<Blocked>) {
        self.held_by = match (by, blocked) {
            (HeldBy::Congestion, Some(Blocked::Pacing(_))) => HeldBy::Pacing,
            (by, _) => by,
        };
        if self.held_by == HeldBy::PeerWindow && self.recovery.in_flight() == 0 {
            self.arm_persist(cx.now);
        } else {
            self.timers.stop(OwnTimer::Persist);
        }
        if self.held_by == HeldBy::Application {
            self.recovery.set_app_limited(cx.now);
        }
    }

    /// What goes past windows: tail loss probes, window probes, keep-alive probes.
    #[inline]
    fn transmit_probes(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) -> bool {
        if !(self.probe_due | self.persist_due | self.keepalive_due) {
            return false;
        }
        self.transmit_probes_due(cx, sink)
    }

    #[cold]
    fn transmit_probes_due(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) -> bool {
        if sink.is_full() {
            return true;
        }
        if core::mem::take(&mut self.probe_due) {
            self.transmit_tail_probe(cx, sink);
        }
        if core::mem::take(&mut self.persist_due) {
            self.transmit_window_probe(cx, sink);
        }
        if core::mem::take(&mut self.keepalive_due) {
            let at = self.send.nxt.saturating_sub(1);
            self.emit_bare(cx, sink, at, Some("keep_alive"));
            let count = &mut cx.counters.tcp_keep_alive;
            *count = count.saturating_add(1);
        }
        false
    }

    /// One segment past the congestion window: new data, or else the last again (RFC 8985 7.3).
    fn transmit_tail_probe(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) {
        let size = self.segment_size();
        let new = self.send.buffer.next_range(self.send.right);
        let is_new = !new.is_empty() && new.start >= self.send.buffer.next();
        let range = if is_new {
            new.start..new.end.min(new.start.saturating_add(u64::from(size)))
        } else {
            match self.recovery.probe_range() {
                // Not beyond a window that shrank (T55).
                Some(range) if range.end <= self.send.right.max(self.send.una) => range,
                _ => return,
            }
        };
        let end = self.send.buffer.end();
        let new_fin = is_new && self.send.finish && range.end == end && end < self.send.right;
        let fin = range.end > end || new_fin;
        let piece = Piece {
            range: range.start.min(end)..range.end.min(end),
            fin,
            kind: Sent::Probe,
        };
        let count = &mut cx.counters.tcp_loss_probes;
        *count = count.saturating_add(1);
        self.emit_piece(cx, sink, piece, size);
    }

    /// The persist timer expired: what fits into a small window goes after all, or one byte goes
    /// beyond a closed one (RFC 9293 3.8.6.1, 3.8.6.2.1; T57).
    fn transmit_window_probe(&mut self, cx: &mut Context<'_>, sink: &mut impl SegmentSink) {
        let send = &self.send;
        let at = send.buffer.next();
        let open = send
            .right
            .saturating_sub(at)
            .min(u64::from(self.segment_size()));
        if open > 0 && send.buffer.unsent() > 0 && !send.buffer.has_lost() {
            let end = send.buffer.end().min(at.saturating_add(open));
            let piece = Piece {
                range: at..end,
                fin: false,
                kind: Sent::New,
            };
            self.emit_piece(cx, sink, piece, self.segment_size());
            return;
        }
        let end = send.buffer.end();
        let range = if send.una < at {
            send.una..send.una.saturating_add(1)
        } else {
            at..end.min(at.saturating_add(1))
        };
        let fin = range.is_empty() && send.finish;
        if range.is_empty() && !fin {
            return;
        }
        let behind = range.end.saturating_add(u64::from(fin));
        self.send.probe_end = self.send.probe_end.max(behind);
        let count = &mut cx.counters.tcp_win_probe;
        *count = count.saturating_add(1);
        let piece = Piece {
            range,
            fin,
            kind: Sent::WindowProbe,
        };
        self.emit_piece(cx, sink, piece, 1);
        self.arm_persist(cx.now);
    }
}

/// The part of `bytes` that is full segments.
#[inline]
fn whole(bytes: u64, mss: u64) -> u64 {
    let rest = bytes.checked_rem(mss).unwrap_or(0);
    bytes.saturating_sub(rest)
}
