//! How many challenge ACKs one connection sends (RFC 5961 section 7).

use weir_core::time::Instant;

use crate::limits::{CHALLENGE_PERIOD, MAX_CHALLENGE_ACKS};

/// A counter of one connection. It is shared with nobody: what one peer uses up, another cannot
/// notice (T44, CVE-2016-5696).
#[derive(Clone, Debug, Default)]
pub(super) struct Challenge {
    since: Instant,
    /// One is to be sent.
    pub(super) is_due: bool,
    sent: u8,
}

impl Challenge {
    /// True when one more may be sent now; it counts as sent.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= CHALLENGE_PERIOD {
            self.since = now;
            self.sent = 0;
        }
        let allowed = self.sent < MAX_CHALLENGE_ACKS;
        if allowed {
            self.sent = self.sent.saturating_add(1);
            self.is_due = true;
        }
        allowed
    }
}
