//! When to acknowledge (RFC 9293 3.8.6.3, RFC 5681 section 4.2).

use crate::limits::{MAX_DUPLICATE_ACKS, QUICK_ACKS};

/// Whether an acknowledgement is owed, and how soon.
#[derive(Clone, Debug)]
pub(super) struct Acking {
    /// With the batch that is under way.
    pub(super) now: bool,
    /// When the delayed-ACK timer expires, at the latest.
    pub(super) delayed: bool,
    /// Segments that no acknowledgement has covered yet.
    pub(super) segments: u8,
    /// Segments that are still acknowledged at once (T65).
    pub(super) quick: u8,
    /// The application answers what it reads, so that an ACK finds company: no quick ACKs.
    pub(super) interactive: bool,
    /// Segments out of order in this batch: without SACK each is answered, because the peer counts
    /// duplicate ACKs (RFC 5681 section 3.2).
    pub(super) duplicates: u8,
}

impl Default for Acking {
    fn default() -> Acking {
        Acking {
            now: false,
            delayed: false,
            segments: 0,
            quick: QUICK_ACKS,
            interactive: false,
            duplicates: 0,
        }
    }
}

impl Acking {
    /// Data arrived in order, in so many segments: `unacked` bytes are not acknowledged now, full segments
    /// have `mss`.
    #[inline]
    pub(super) fn on_data(&mut self, unacked: u64, mss: u32, segments: u16) {
        let quick = self.quick > 0;
        let count = u8::try_from(segments).unwrap_or(u8::MAX);
        self.quick = self.quick.saturating_sub(count);
        self.segments = self.segments.saturating_add(count);
        // T63: at least every second full-sized segment. Every second one whatever its size, unless the
        // application answers: a sender with two under way takes a delay for a loss, and probes (RFC
        // 8985 section 7.2 adds the delay only where one segment is under way).
        let second = self.segments >= 2 && !self.interactive;
        if second
            || unacked >= u64::from(mss.max(1)).saturating_mul(2)
            || (quick && !self.interactive)
        {
            self.now = true;
        } else {
            self.delayed = true;
        }
    }

    /// A segment came out of order, or again (T64).
    #[inline]
    pub(super) fn on_out_of_order(&mut self) {
        self.now = true;
        // The peer is in recovery: it needs to hear soon for a while.
        self.quick = QUICK_ACKS;
        self.interactive = false;
        self.duplicates = self.duplicates.saturating_add(1).min(MAX_DUPLICATE_ACKS);
    }

    /// An acknowledgement went out.
    #[inline]
    pub(super) fn on_sent(&mut self) {
        self.now = false;
        self.delayed = false;
        self.segments = 0;
        self.duplicates = 0;
    }
}
