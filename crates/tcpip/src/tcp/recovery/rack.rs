//! Loss by time: what was sent well before something that arrived is lost (RFC 8985 section 6).

use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant, nanos};

use super::lose::Horizon;
use super::plain::Passed;
use super::tally::Tally;

/// Segments sacked above a hole that make it lost at once, as long as no reordering was seen.
pub(super) const DUP_THRESH: u32 = 3;
/// Recoveries without a DSACK after which the window is what it was at first (RFC 8985 section 6.2).
const PERSISTENCE: u8 = 16;
/// The window never is more than a smoothed round trip; more steps than this are never needed.
const MAX_MULTIPLIER: u8 = 64;

/// The newest delivery, and how much reordering there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Rack {
    /// RACK.xmit_ts and RACK.end_seq.
    sent_at: Instant,
    /// 0 when nothing was delivered yet.
    end: u64,
    /// RACK.rtt in nanoseconds.
    rtt: u64,
    /// RACK.fack: the highest offset known to be delivered.
    fack: u64,
    reordering_seen: bool,
    /// RACK.dsack_round; 0 for none.
    dsack_round: u64,
    /// RACK.reo_wnd_mult less one.
    extra: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
}

/// How much reordering there is, for a connection that sleeps.
#[derive(Clone, Debug)]
pub(super) struct Reordering {
    is_seen: bool,
    extra: u8,
    persist: u8,
}

impl Rack {
    pub(super) fn reordering(&self) -> Reordering {
        Reordering {
            is_seen: self.reordering_seen,
            extra: self.extra,
            persist: self.persist,
        }
    }

    pub(super) fn remember(&mut self, reordering: &Reordering) {
        self.reordering_seen = reordering.is_seen;
        self.extra = reordering.extra;
        self.persist = reordering.persist;
    }

    /// Steps 2 and 3: what was delivered.
    #[inline]
    pub(super) fn on_delivered(&mut self, now: Instant, tally: &Tally) {
        if let Some((sent_at, end)) = tally.newest {
            self.rtt = nanos(now.saturating_duration_since(sent_at));
            (self.sent_at, self.end) = (self.sent_at, self.end).max((sent_at, end));
        }
        self.reordering_seen |= tally.lowest_original < self.fack;
        self.fack = self.fack.max(tally.highest);
    }

    /// Steps 2 and 3 for segments sent once, of which the newest took `rtt` nanoseconds.
    #[inline]
    pub(super) fn on_passed(&mut self, rtt: u64, passed: &Passed) {
        self.rtt = rtt;
        if (passed.last_sent_at, passed.end) > (self.sent_at, self.end) {
            (self.sent_at, self.end) = (passed.last_sent_at, passed.end);
        }
        self.reordering_seen |= passed.first_end < self.fack;
        self.fack = self.fack.max(passed.end);
    }

    /// Step 4: the peer received something twice, so that something was given up too early.
    /// Once in a round trip.
    pub(super) fn on_dsack(&mut self, una: u64, next: u64) {
        if una > self.dsack_round {
            self.dsack_round = next;
            self.extra = self.extra.saturating_add(1).min(MAX_MULTIPLIER);
            self.persist = PERSISTENCE;
        }
    }

    /// Step 4: a recovery is over.
    pub(super) fn on_recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.extra = 0;
        }
    }

    /// A recovery was undone: what seemed lost was late.
    pub(super) fn on_undone(&mut self) {
        self.reordering_seen = true;
    }

    /// RACK.reo_wnd.
    pub(super) fn reordering_window(
        &self,
        rtt: &Rtt,
        is_recovering: bool,
        sacked_cells: u32,
    ) -> Duration {
        if !self.reordering_seen && (is_recovering || sacked_cells >= DUP_THRESH) {
            return Duration::ZERO;
        }
        let quarter = rtt
            .min()
            .and_then(|min| min.checked_div(4))
            .unwrap_or_default();
        let factor = u32::from(self.extra).saturating_add(1);
        quarter.saturating_mul(factor).min(rtt.estimate())
    }

    /// Step 5: what can be told lost `now`, if anything was ever delivered.
    pub(super) fn horizon(&self, now: Instant, window: Duration) -> Option<Horizon> {
        self.has_delivery().then(|| Horizon {
            sent_at: self.sent_at,
            end: self.end,
            late_at: now - self.wait(window),
        })
    }

    /// How long after it was sent something is lost.
    pub(super) fn wait(&self, window: Duration) -> Duration {
        Duration::from_nanos(self.rtt).saturating_add(window)
    }

    /// Whether a delivery was ever seen.
    pub(super) fn has_delivery(&self) -> bool {
        self.end > 0
    }

    /// When the newest delivered segment was sent.
    pub(super) fn newest_sent_at(&self) -> Option<Instant> {
        self.has_delivery().then_some(self.sent_at)
    }
}
