//! Proportional rate reduction (RFC 9937): what may go during a recovery.

/// The state of one episode. All in bytes.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Prr {
    /// What the controller reduced its window to.
    ssthresh: u64,
    /// RecoverFS: what may still be delivered in the episode.
    flight: u64,
    /// prr_delivered.
    delivered: u64,
    /// prr_out.
    out: u64,
    /// cwnd.
    window: u64,
}

/// What one acknowledgement, or the reordering timer, tells.
#[derive(Copy, Clone, Debug)]
pub(super) struct Progress {
    /// DeliveredData.
    pub(super) delivered: u64,
    /// Bytes in flight.
    pub(super) in_flight: u64,
    /// The cumulative acknowledgement moved, and nothing more was lost.
    pub(super) is_safe: bool,
    /// At least one segment is to go: a timer found losses, and nobody else will start it.
    pub(super) is_forced: bool,
}

impl Prr {
    /// An episode begins: section 6.1.
    pub(super) fn new(ssthresh: u64, flight: u64) -> Prr {
        Prr {
            ssthresh,
            flight: flight.max(1),
            ..Prr::default()
        }
    }

    /// Section 6.2.
    pub(super) fn update(&mut self, progress: &Progress, smss: u64, is_sacked: bool) {
        let mut delivered = progress.delivered;
        if !is_sacked {
            // Made-up duplicates do not count beyond what there was.
            delivered = delivered.min(self.flight.saturating_sub(self.delivered));
        }
        self.delivered = self.delivered.saturating_add(delivered);
        let mut count = if progress.in_flight > self.ssthresh {
            let product = u128::from(self.delivered).saturating_mul(u128::from(self.ssthresh));
            let out = product.div_ceil(u128::from(self.flight.max(1)));
            let out = u64::try_from(out).unwrap_or(u64::MAX);
            // Rounded up to whole segments, as what goes out are segments.
            let segments = out.div_ceil(smss.max(1));
            segments.saturating_mul(smss).saturating_sub(self.out)
        } else {
            let banked = self.delivered.saturating_sub(self.out);
            let mut count = banked.max(delivered);
            if progress.is_safe {
                count = count.saturating_add(smss);
            }
            count.min(self.ssthresh.saturating_sub(progress.in_flight))
        };
        // The first retransmission goes at once, and as a whole segment.
        if progress.is_forced || self.out == 0 {
            count = count.max(smss);
        }
        self.window = progress.in_flight.saturating_add(count);
    }

    /// Section 6.3.
    #[inline]
    pub(super) fn on_sent(&mut self, bytes: u64) {
        self.out = self.out.saturating_add(bytes);
    }

    /// cwnd during the episode.
    #[inline]
    pub(super) fn window(&self) -> u64 {
        self.window
    }
}
