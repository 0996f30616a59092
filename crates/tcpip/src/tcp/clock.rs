//! The Timestamps option of one connection: TS.Recent and PAWS (RFC 7323 sections 3 to 5).

use weir_core::time::Instant;

use crate::limits::PAWS_IDLE;
use crate::wire::tcp::Timestamps;

/// What is known of the peer's timestamps.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Both SYNs carried the option: every segment but RST has it (T108).
    pub(super) is_on: bool,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When it was last updated.
    pub(super) recent_at: Instant,
}

impl Clock {
    /// PAWS (RFC 7323 section 5.3): true when the segment is an old duplicate, unless TS.Recent is
    /// so old that it says nothing (5.5, T110).
    #[inline]
    pub(super) fn is_old(&self, now: Instant, value: u32) -> bool {
        let behind = self.recent.wrapping_sub(value);
        behind != 0
            && behind < 1 << 31
            && now.saturating_duration_since(self.recent_at) <= PAWS_IDLE
    }

    /// Takes TSval of an acceptable segment whose sequence number is not above Last.ACK.sent
    /// (RFC 7323 section 4.3, T109).
    #[inline]
    pub(super) fn update(&mut self, now: Instant, timestamps: &Timestamps) {
        let ahead = timestamps.value.wrapping_sub(self.recent);
        if ahead < 1 << 31 || self.is_outdated(now) {
            self.recent = timestamps.value;
            self.recent_at = now;
        }
    }

    fn is_outdated(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.recent_at) > PAWS_IDLE
    }
}
