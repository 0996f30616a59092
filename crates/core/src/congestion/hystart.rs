//! HyStart++ (RFC 9406): leaves slow start when the round trip grows, before packets are lost.

use crate::time::Duration;

/// The least growth of the round trip that counts (RFC 9406 4.3).
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
/// Growth that always counts.
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
/// In between, this part of the last round's least round trip does.
const MIN_RTT_DIVISOR: u32 = 8;
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
#[derive(Clone, Debug, Default)]
pub struct HyStart {
    last_sent: u64,
    /// The round ends when this packet is acknowledged: the first one sent in it, so that a round
    /// lasts a round trip even if everything in flight was acknowledged when it began.
    window_end: Option<u64>,
    last_round_min: Option<Duration>,
    current_round_min: Option<Duration>,
    samples: u32,
    css: Option<Conservative>,
}

#[derive(Copy, Clone, Debug)]
struct Conservative {
    baseline: Duration,
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
            let least = self.current_round_min.map_or(rtt, |least| least.min(rtt));
            self.current_round_min = Some(least);
            self.samples = self.samples.saturating_add(1);
        }
        self.judge();
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
        self.last_round_min = self.current_round_min.take();
        self.samples = 0;
        let Some(css) = &mut self.css else {
            return false;
        };
        // The round in which it began counts, even if it was not whole.
        css.rounds = css.rounds.saturating_add(1);
        css.rounds >= CSS_ROUNDS
    }

    fn judge(&mut self) {
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        let Some(current) = self.current_round_min else {
            return;
        };
        if let Some(css) = self.css {
            // The round trip fell again: it was jitter, not a queue of ours.
            if current < css.baseline {
                self.css = None;
            }
            return;
        }
        let Some(last) = self.last_round_min else {
            return;
        };
        let thresh = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
        if current >= last.saturating_add(thresh) {
            self.css = Some(Conservative {
                baseline: current,
                rounds: 0,
            });
        }
    }
}
