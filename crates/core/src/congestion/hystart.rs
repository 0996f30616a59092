//! HyStart++ (RFC 9406): leaves slow start when the round trip grows, before packets are lost.

use crate::time::{Duration, nanos};

/// The least growth of the round trip that counts (RFC 9406 4.3), in nanoseconds as all times here.
const MIN_RTT_THRESH: u64 = 4_000_000;
/// Growth that always counts.
const MAX_RTT_THRESH: u64 = 16_000_000;
/// In between, this part of the last round's least round trip does.
const MIN_RTT_DIVISOR: u64 = 8;
/// Fewer measurements in a round say nothing.
const N_RTT_SAMPLE: u32 = 8;
/// Conservative slow start grows by this part of what slow start would.
pub(super) const CSS_GROWTH_DIVISOR: u64 = 4;
/// So many rounds of it, then congestion avoidance.
const CSS_ROUNDS: u32 = 5;

/// What slow start does with an acknowledgement.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Grow by all that was acknowledged.
    SlowStart,
    /// The round trip has grown: grow by a quarter of it and watch (RFC 9406, CSS).
    Conservative,
    /// The growth has lasted: slow start is over, the threshold is the window.
    Exit,
}

/// The state of one initial slow start. As packets are paced, the limit L on the growth by one
/// acknowledgement is infinite (RFC 9406 4.3).
#[derive(Clone, Debug)]
pub struct HyStart {
    last_sent: u64,
    /// The round ends when this packet is acknowledged: the first one sent in it, so that a round
    /// lasts a round trip even if everything in flight was acknowledged when it began.
    window_end: Option<u64>,
    /// [`NONE`] where nothing was measured, as in the next.
    last_round_min: u64,
    current_round_min: u64,
    samples: u32,
    css: Option<Conservative>,
}

/// Nothing was measured.
const NONE: u64 = u64::MAX;

impl Default for HyStart {
    fn default() -> HyStart {
        HyStart {
            last_sent: 0,
            window_end: None,
            last_round_min: NONE,
            current_round_min: NONE,
            samples: 0,
            css: None,
        }
    }
}

#[derive(Copy, Clone, Debug)]
struct Conservative {
    baseline: u64,
    rounds: u32,
}

impl HyStart {
    /// The packet with this sequence number was sent.
    #[inline]
    pub fn on_sent(&mut self, seq: u64) {
        self.last_sent = self.last_sent.max(seq);
        if self.window_end.is_none() {
            self.window_end = Some(seq);
        }
    }

    /// An acknowledgement up to `largest_seq`, with the round trip it measured.
    #[inline]
    pub fn on_ack(&mut self, largest_seq: u64, rtt: Option<Duration>) -> Verdict {
        if self.window_end.is_some_and(|end| largest_seq >= end) && self.end_round() {
            return Verdict::Exit;
        }
        if let Some(rtt) = rtt {
            self.current_round_min = self.current_round_min.min(nanos(rtt));
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            self.judge();
        }
        if self.css.is_some() {
            Verdict::Conservative
        } else {
            Verdict::SlowStart
        }
    }

    /// The packet that ends the round was acknowledged. True when that was the last round of
    /// conservative slow start.
    fn end_round(&mut self) -> bool {
        self.window_end = Some(self.last_sent.saturating_add(1));
        self.last_round_min = core::mem::replace(&mut self.current_round_min, NONE);
        self.samples = 0;
        let Some(css) = &mut self.css else {
            return false;
        };
        // The round in which it began counts, even if it was not whole.
        css.rounds = css.rounds.saturating_add(1);
        css.rounds >= CSS_ROUNDS
    }

    /// Enough was measured in this round: has the round trip grown?
    fn judge(&mut self) {
        let current = self.current_round_min;
        if let Some(css) = self.css {
            // The round trip fell again: it was jitter, not a queue of ours.
            if current < css.baseline {
                self.css = None;
            }
            return;
        }
        let last = self.last_round_min;
        if last == NONE {
            return;
        }
        let thresh = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
        if current >= last.saturating_add(thresh) {
            self.css = Some(Conservative {
                baseline: current,
                rounds: 0,
            });
        }
    }
}
