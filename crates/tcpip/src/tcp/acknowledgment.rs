//! The ACK field and the SACK option (RFC 9293 3.10.7.4, RFC 2018): what the peer has.

use core::ops::Range;

use weir_core::time::{Duration, nanos};

use super::connection::{Connection, OwnTimer};
use super::interface::{Context, Received};
use super::recovery::Ack;
use crate::wire::seq;
use crate::wire::tcp::{Flags, SackBlocks};

/// SACK blocks as offsets, a D-SACK block apart.
struct Reported {
    blocks: [Range<u64>; 4],
    count: usize,
    duplicate: Option<Range<u64>>,
}

impl Connection {
    /// An acknowledgement up to `ack`, which is not above SND.NXT, of a segment at `seq`.
    pub(super) fn process_ack(
        &mut self,
        cx: &mut Context<'_>,
        received: &Received<'_>,
        seq: u64,
        ack: u64,
    ) {
        if ack < self.send.una {
            // An old duplicate says nothing new; its data may be (T46).
            return;
        }
        let segment = &received.segment;
        let has_syn = segment.flags.contains(Flags::SYN);
        let shift = if has_syn { 0 } else { self.send.shift };
        let moved = self.send.update_window(seq, ack, segment.window, shift);
        let progress = ack > self.send.una;
        if !progress && !self.send.is_outstanding() {
            if moved {
                self.on_window(cx);
            }
            return;
        }
        let ece = self.ecn.is_on && !has_syn && segment.flags.contains(Flags::ECE);
        let is_plain = progress && !ece && segment.options.sack.is_empty();
        if is_plain && self.recovery.is_plain_or_first() {
            self.advance_plain(cx, ack);
        } else {
            self.process_any_ack(cx, received, ack, (moved, ece));
        }
        if moved {
            self.on_window(cx);
        }
        if self.send.has_unsent() || self.send.buffer.has_lost() || self.recovery.needs_fin() {
            self.kick = true;
        }
    }

    /// What recovery makes of an acknowledgement up to `ack`, which has news of the window or not, and
    /// ECE or not.
    fn process_any_ack(
        &mut self,
        cx: &mut Context<'_>,
        received: &Received<'_>,
        ack: u64,
        (moved, ece): (bool, bool),
    ) {
        let segment = &received.segment;
        let progress = ack > self.send.una;
        self.send.una = ack;
        let reported = self.reported(&segment.options.sack, ack);
        let echo = segment
            .options
            .timestamps
            .filter(|_| self.clock.is_on && progress);
        let echoed_rtt = echo.and_then(|timestamps| self.echoed(cx, timestamps.echo));
        let acked = self.recovery.on_ack(
            cx.now,
            &Ack {
                offset: ack,
                sack: reported.blocks.get(..reported.count).unwrap_or_default(),
                dsack: reported.duplicate,
                echoed_rtt,
                is_window_update: moved,
                carries_data: segment.sequence_len() > 0,
                ece,
            },
            &mut self.send.buffer,
            cx.chunks,
        );
        self.ecn.reduced |= acked.send_cwr;
        self.count_recovery(cx);
        if let Some(sample) = acked.rtt {
            self.note_rtt(nanos(sample));
        }
        if progress {
            self.on_progress(cx);
        }
    }

    /// A round trip took `sample` nanoseconds (RFC 6298 2.3): for the receive window; recovery keeps
    /// its own.
    #[inline]
    pub(super) fn note_rtt(&mut self, sample: u64) {
        let old = self.seen.rtt.unwrap_or(sample);
        self.seen.rtt = Some(old.saturating_mul(7).saturating_add(sample) / 8);
    }

    /// What recovery did, in Linux' counters.
    #[inline]
    pub(super) fn count_recovery(&mut self, cx: &mut Context<'_>) {
        let news = self.recovery.take_news();
        let began = match self.sack {
            true => &mut cx.counters.tcp_sack_recovery,
            false => &mut cx.counters.tcp_reno_recovery,
        };
        *began = began.saturating_add(u64::from(news.began));
        let repaired = &mut cx.counters.tcp_loss_probe_recovery;
        *repaired = repaired.saturating_add(u64::from(news.probe_repaired));
        let spurious = &mut cx.counters.tcp_spurious_rtos;
        *spurious = spurious.saturating_add(u64::from(news.spurious_timeout));
    }

    /// SND.UNA moved.
    #[inline]
    pub(super) fn on_progress(&mut self, cx: &mut Context<'_>) {
        self.soft_error = None;
        self.news.confirmed = true;
        self.persists = 0;
        if self.send.una >= self.send.probe_end {
            self.send.probe_end = 0;
            self.send.fin_again = false;
        }
        let kept = self.send.buffer.len_unacked();
        self.send.share.shrink_to(cx.budget, kept);
        if self.send.blocked {
            self.wake_writer();
        }
        if !self.send.is_outstanding() {
            // What is empty keeps its memory for the next write; a connection at rest gives it back.
            self.timers.stop(OwnTimer::Persist);
        }
    }

    /// The peer's window is another now.
    #[inline]
    pub(super) fn on_window(&mut self, cx: &Context<'_>) {
        if self.send.wnd() == 0 {
            return;
        }
        if self.persists > 0 {
            // What waited for the window is late from now on, not from the first probe (T127).
            self.persist_asked = cx.now;
        }
        self.persists = 0;
        self.timers.stop(OwnTimer::Persist);
        if self.send.probe_end > self.send.una {
            // What was sent to probe may not have been taken.
            let end = self.send.probe_end.min(self.send.buffer.end());
            self.send.buffer.on_lost(self.send.una..end);
            self.send.fin_again = self.send.probe_end > self.send.buffer.end();
            self.send.probe_end = 0;
        }
        self.kick |= self.send.has_unsent() || self.send.buffer.has_lost() || self.send.fin_again;
    }

    /// The time since the segment was sent whose timestamp came back (RFC 7323 section 4.1).
    #[inline]
    pub(super) fn echoed(&self, cx: &Context<'_>, echo: u32) -> Option<Duration> {
        let elapsed = self.numbers.timestamp(cx.now).wrapping_sub(echo);
        // More than this connection is old: no echo of ours.
        let age = super::interface::ticks(cx.now.saturating_duration_since(self.begin.at));
        (elapsed <= age.saturating_add(1)).then(|| Duration::from_millis(u64::from(elapsed)))
    }

    /// The blocks of a SACK option as offsets (T102): what is in the wrong order is left out; the
    /// first tells a duplicate if it lies below the acknowledgement or within the second (RFC 2883
    /// section 5).
    #[inline]
    fn reported(&self, sack: &SackBlocks, ack: u64) -> Reported {
        let mut reported = Reported {
            blocks: [0..0, 0..0, 0..0, 0..0],
            count: 0,
            duplicate: None,
        };
        if sack.is_empty() || !self.sack {
            return reported;
        }
        let widen = |value| seq::widen(self.numbers.iss, value, ack);
        let ranges = sack.as_slice().iter().map(|(left, right)| {
            let range = widen(*left)?..widen(*right)?;
            (range.start < range.end && range.end <= self.send.nxt).then_some(range)
        });
        for (index, range) in ranges.enumerate() {
            let Some(range) = range else {
                continue;
            };
            if index == 0 && range.end <= ack {
                reported.duplicate = Some(range);
            } else if let Some(place) = reported.blocks.get_mut(reported.count) {
                *place = range;
                reported.count = reported.count.saturating_add(1);
            }
        }
        let [first, second, ..] = &reported.blocks;
        let nested = second.start <= first.start && first.end <= second.end;
        if reported.duplicate.is_none() && reported.count > 1 && nested {
            reported.duplicate = Some(first.clone());
            reported.blocks.rotate_left(1);
            reported.count = reported.count.saturating_sub(1);
        }
        reported
    }
}
