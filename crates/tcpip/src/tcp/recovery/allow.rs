//! How much may go now: the window, the pacer, and the restart after a pause.

use weir_core::pacer::QUANTUM_TIME;
use weir_core::time::Instant;

use super::{Allowance, Blocked, Recovery, initial_window};
use crate::limits::MAX_RECORDS;

impl Recovery {
    /// How much may go now, when `wanted` bytes are ready. Ask once for a batch.
    #[inline]
    pub(crate) fn allowance(&mut self, now: Instant, wanted: u64) -> Allowance {
        self.pace_at = Instant::MAX;
        let smss = u64::from(self.smss);
        if self.is_resting {
            if wanted <= 1 && self.flight.una == self.flight.next {
                // A FIN or a single byte, alone: every window has room for it.
                self.is_starved = true;
                return Allowance {
                    bytes: smss,
                    blocked: None,
                };
            }
            self.wake(now);
        }
        if self.flight.una == self.flight.next {
            self.restart_if_idle(now);
        }
        let in_flight = self.in_flight();
        let window = self.window();
        let mut room = window.saturating_sub(in_flight);
        if self.is_forced || in_flight == 0 {
            room = room.max(smss);
        } else if self.flight.records.len() >= MAX_RECORDS && self.flight.lost() == 0 {
            room = 0;
        }
        let mut allowance = Allowance {
            bytes: room,
            blocked: None,
        };
        self.is_starved = room >= wanted;
        if room < wanted {
            self.limited_before = self.flight.next;
            // Whole segments: a smaller one would only be more of them.
            allowance.bytes = room.saturating_sub(room.checked_rem(smss).unwrap_or(0));
            allowance.blocked = Some(Blocked::Congestion);
        }
        if wanted > 0 && allowance.bytes > 0 && !self.is_forced && self.is_paced() {
            self.pace(now, window, wanted, &mut allowance);
        }
        allowance
    }

    fn pace(&mut self, now: Instant, window: u64, wanted: u64, allowance: &mut Allowance) {
        let smss = u64::from(self.smss);
        let rate = self.controller.pacing_rate(&self.rtt);
        if let Some(at) = self.pacer.next_release(now, rate, window, smss) {
            *allowance = self.held_back(0, at);
            return;
        }
        let budget = self.pacer.budget(now, rate, window);
        if budget < allowance.bytes.min(wanted) {
            let whole = budget.saturating_sub(budget.checked_rem(smss).unwrap_or(0));
            *allowance = self.held_back(whole.max(smss), now + QUANTUM_TIME);
        }
    }

    fn held_back(&mut self, bytes: u64, at: Instant) -> Allowance {
        self.pace_at = at;
        self.is_starved = false;
        self.limited_before = self.flight.next;
        Allowance {
            bytes,
            blocked: Some(Blocked::Pacing(at)),
        }
    }

    /// RFC 5681 section 4.1: who sent nothing for longer than a time-out has lost the clock of his
    /// acknowledgements. Nothing is in flight.
    #[inline]
    fn restart_if_idle(&mut self, now: Instant) {
        let idle = now.nanos_since(self.last_sent_at);
        if self.flight.una > 1 && idle > self.rto_nanos() {
            self.controller.on_restart(initial_window(self.smss));
        }
    }
}
