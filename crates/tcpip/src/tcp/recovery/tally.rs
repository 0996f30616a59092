//! What one acknowledgement, or one look at the clock, found.

use weir_core::delivery::PacketRate;
use weir_core::time::{Duration, Instant};

use super::record::Record;

/// What one acknowledgement newly delivered.
#[derive(Debug)]
pub(super) struct Tally {
    now: Instant,
    /// A retransmission that would have been answered faster than this was not what was answered.
    min_rtt: Duration,
    /// When the segment was sent whose timestamp came back, at the latest.
    pub(super) echoed_at: Option<Instant>,
    /// Bytes newly delivered, cumulatively or selectively.
    pub(super) delivered: u64,
    /// Bytes of them selectively.
    pub(super) sacked: u64,
    /// The newest transmission that was surely delivered: when it was sent, where it ended.
    pub(super) newest: Option<(Instant, u64)>,
    /// When the oldest delivered segment was sent that was never sent again.
    pub(super) first_original: Option<Instant>,
    /// When the newest such was.
    pub(super) last_original: Option<Instant>,
    /// The lowest end of such segments.
    pub(super) lowest_original: u64,
    /// The highest end of all.
    pub(super) highest: u64,
    /// The cumulative acknowledgement passed something that was sent again.
    pub(super) passed_resent: bool,
    /// Bytes that had been declared lost, were not sent again, and arrived, ...
    pub(super) late: u64,
    /// ... and when the newest of them was sent.
    pub(super) late_sent_at: Instant,
    /// A full segment was delivered.
    pub(super) full_sized: u32,
    /// Records and ranges looked at.
    pub(super) steps: u64,
}

impl Tally {
    #[inline]
    pub(super) fn new(now: Instant, min_rtt: Duration, echoed_at: Option<Instant>) -> Tally {
        Tally {
            now,
            min_rtt,
            echoed_at,
            delivered: 0,
            sacked: 0,
            newest: None,
            first_original: None,
            last_original: None,
            lowest_original: u64::MAX,
            highest: 0,
            passed_resent: false,
            late: 0,
            late_sent_at: Instant::ZERO,
            full_sized: 0,
            steps: 0,
        }
    }

    /// When the acknowledgement arrived.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Cells `mask` of `record`, never sent again, were delivered.
    #[inline]
    pub(super) fn original(&mut self, record: &Record, mask: u64) {
        let end = record.end_of(mask);
        self.newest = self.newest.max(Some((record.sent_at, end)));
        // What had been given up may have arrived long ago, and the news of it been lost.
        if mask & !record.lost != 0 {
            let first = self.first_original.unwrap_or(record.sent_at);
            self.first_original = Some(first.min(record.sent_at));
            self.last_original = self.last_original.max(Some(record.sent_at));
        }
        self.lowest_original = self.lowest_original.min(record.first_end_of(mask));
        self.highest = self.highest.max(end);
    }

    /// Something that ends at `end` and was sent again at `sent_at` was delivered, in this form or
    /// an earlier one.
    pub(super) fn resent(&mut self, sent_at: Instant, end: u64, is_cumulative: bool) {
        self.highest = self.highest.max(end);
        self.passed_resent |= is_cumulative;
        // RFC 8985 6.2 step 2. The echo tells of the segment that moved the cumulative
        // acknowledgement, not of what is reported above it.
        let is_earlier = is_cumulative && self.echoed_at.is_some_and(|echoed| echoed < sent_at);
        let rtt = self.now.saturating_duration_since(sent_at);
        if !is_earlier && rtt >= self.min_rtt {
            self.newest = self.newest.max(Some((sent_at, end)));
        }
    }
}

/// What was declared lost at one moment.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Losses {
    /// Bytes.
    pub(super) bytes: u64,
    /// The newest transmission among them: when, ...
    pub(super) sent_at: Instant,
    /// ... and where it ended.
    pub(super) end: u64,
    /// Its snapshot, for BBR.
    pub(super) rate: Option<PacketRate>,
    /// The SYN is among them.
    pub(super) syn: bool,
    /// The FIN is among them.
    pub(super) fin: bool,
}

impl Losses {
    /// Adds `bytes` of a transmission.
    pub(super) fn add(&mut self, bytes: u64, sent_at: Instant, end: u64, rate: Option<PacketRate>) {
        self.bytes = self.bytes.saturating_add(bytes);
        if (sent_at, end) >= (self.sent_at, self.end) {
            (self.sent_at, self.end, self.rate) = (sent_at, end, rate);
        }
    }
}
