//! The packets of one space that were received, and when to acknowledge them
//! (RFC 9000 section 13.2).

use weir_core::ranges::{Insert, RangeSet, WhenFull};
use weir_core::time::{Duration, Instant};

use super::ack_frequency::AckPolicy;
use crate::error::TransportError;
use crate::limits::MAX_ACK_RANGES;
use crate::sent::SentFrame;
use crate::transmit::Ecn;
use crate::wire::Space;
use crate::wire::frame::EcnCounts;

/// What was received in one space.
#[derive(Debug)]
pub(crate) struct Received {
    /// Acknowledgements are not delayed: Initial and Handshake.
    immediate_space: bool,
    ranges: RangeSet,
    /// Numbers below count as received, whether they were or not: they are not accepted any more,
    /// so that ranges can be forgotten (RFC 9000 section 13.2.3).
    floor: u64,
    largest: Option<Largest>,
    largest_eliciting: Option<u64>,
    ecn: EcnCounts,
    last_was_ce: bool,
    policy: AckPolicy,
    /// Ack-eliciting packets since the last ACK was written.
    unacked: u64,
    /// When the first of them has to be acknowledged at the latest.
    deadline: Option<Instant>,
    /// Something has to be acknowledged at once.
    at_once: bool,
    /// The largest number in the last ACK that was written.
    largest_reported: Option<u64>,
    /// Numbers below need not be told of any more, once what waits is acknowledged.
    settled: u64,
}

#[derive(Copy, Clone, Debug)]
struct Largest {
    pn: u64,
    at: Instant,
}

/// What an ACK frame says, but for its ranges.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct AckFields {
    /// The field ACK Delay.
    pub(crate) delay: u64,
    /// Counts of marks; `None` when none was seen.
    pub(crate) ecn: Option<EcnCounts>,
}

impl Received {
    /// Nothing received. `max_ack_delay` is how long acknowledgements are put off; it does not matter in Initial and
    /// Handshake, which are acknowledged at once.
    pub(crate) fn new(space: Space, max_ack_delay: Duration) -> Received {
        Received {
            immediate_space: space != Space::Data,
            ranges: RangeSet::with_policy(MAX_ACK_RANGES, WhenFull::EvictLowest),
            floor: 0,
            largest: None,
            largest_eliciting: None,
            ecn: EcnCounts::default(),
            last_was_ce: false,
            policy: AckPolicy::new(max_ack_delay),
            unacked: 0,
            deadline: None,
            at_once: false,
            largest_reported: None,
            settled: 0,
        }
    }

    /// The largest number received; packet numbers are decoded against it.
    #[inline]
    pub(crate) fn largest(&self) -> Option<u64> {
        self.largest.map(|largest| largest.pn)
    }

    /// Whether `pn` was received before, or is so old that nobody knows (Q7).
    #[inline]
    pub(crate) fn is_duplicate(&self, pn: u64) -> bool {
        pn < self.floor || self.ranges.contains(pn)
    }

    /// A packet was processed that is no duplicate.
    #[inline]
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        pn: u64,
        ack_eliciting: bool,
        ecn: Option<Ecn>,
    ) {
        match self.ranges.insert_one(pn) {
            Insert::Evicted(range) => self.floor = self.floor.max(range.end),
            // Below all ranges, and there is no room: not acknowledged, not accepted again.
            Insert::Refused => self.floor = self.floor.max(pn.saturating_add(1)),
            Insert::Present | Insert::Merged | Insert::New => {}
        }
        if self.largest.is_none_or(|largest| pn > largest.pn) {
            self.largest = Some(Largest { pn, at: now });
        }
        self.count(ecn);
        let is_ce = ecn == Some(Ecn::Ce);
        if ack_eliciting {
            self.on_ack_eliciting(now, pn, is_ce);
        }
        self.last_was_ce = is_ce;
    }

    fn count(&mut self, ecn: Option<Ecn>) {
        let count = match ecn {
            None => return,
            Some(Ecn::Ect0) => &mut self.ecn.ect0,
            Some(Ecn::Ect1) => &mut self.ecn.ect1,
            Some(Ecn::Ce) => &mut self.ecn.ce,
        };
        *count = count.saturating_add(1);
    }

    fn on_ack_eliciting(&mut self, now: Instant, pn: u64, is_ce: bool) {
        self.unacked = self.unacked.saturating_add(1);
        let deadline = now + self.policy.max_delay;
        self.deadline.get_or_insert(deadline);
        // A mark is told at once; where the peer wants few acknowledgements, the first of a row is
        // (section 6.4 of the draft).
        let marked = is_ce && (self.policy.threshold <= 1 || !self.last_was_ce);
        let at_once = self.immediate_space || marked || self.is_reordered(pn);
        self.at_once |= at_once;
        self.largest_eliciting = self.largest_eliciting.max(Some(pn));
    }

    /// Whether the packet shows reordering or a gap that the peer wants to hear of at once.
    #[inline]
    fn is_reordered(&self, pn: u64) -> bool {
        match (self.policy.reordering, self.largest_eliciting) {
            (0, _) | (1, None) => false,
            // RFC 9000 section 13.2.1: less than another, or with a gap before it.
            (1, Some(largest)) => {
                let next = largest.saturating_add(1).max(self.floor);
                let gapless = self
                    .ranges
                    .range_of(pn)
                    .is_some_and(|range| range.start <= next);
                pn < largest || !gapless
            }
            (threshold, largest) => self.passes_window(pn, largest, threshold),
        }
    }

    /// Section 6.2 of the draft: the packet is outside of the reordering window, or lets another be
    /// declared lost.
    fn passes_window(&self, pn: u64, largest: Option<u64>, threshold: u64) -> bool {
        let reported = self.largest_reported;
        let missing = reported.and_then(|reported| reported.checked_sub(threshold));
        if missing.is_some_and(|missing| pn <= missing) {
            return true;
        }
        let unacked = largest.map_or(pn, |largest| largest.max(pn));
        let from = missing.map_or(0, |missing| missing.saturating_add(1));
        let gap = self.ranges.first_gap(from.max(self.floor)..unacked);
        gap.is_some_and(|gap| unacked.saturating_sub(gap.start) >= threshold)
    }

    /// An ACK_FREQUENCY frame: see [`AckPolicy::on_frame`].
    pub(crate) fn on_ack_frequency(
        &mut self,
        sequence: u64,
        threshold: u64,
        delay: u64,
        reordering: u64,
        min_ack_delay: Duration,
    ) -> Result<(), TransportError> {
        let policy = &mut self.policy;
        policy.on_frame(sequence, threshold, delay, reordering, min_ack_delay)
    }

    /// An IMMEDIATE_ACK frame (section 5 of the draft).
    pub(crate) fn on_immediate_ack(&mut self) {
        self.at_once = true;
    }

    /// Whether an ACK has to go out now even if nothing else does. Asked once after a batch of
    /// packets, not for each (RFC 9000 section 13.2.2).
    #[inline]
    pub(crate) fn ack_due(&self, now: Instant) -> bool {
        self.unacked > 0
            && (self.at_once
                || self.unacked > self.policy.threshold
                || self.deadline.is_some_and(|deadline| deadline <= now))
    }

    /// When an ACK has to go out at the latest (Q129); `None` when nothing asks for one. Packets
    /// that elicit no acknowledgement never do (Q131).
    #[inline]
    pub(crate) fn ack_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether a packet that goes out anyway should carry an ACK.
    #[inline]
    pub(crate) fn has_something_to_ack(&self) -> bool {
        self.unacked > 0
    }

    /// The ranges that an ACK tells, of which the newest go first.
    #[inline]
    pub(crate) fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// The rest of what an ACK frame says; `exponent` is our ack_delay_exponent. `None` when
    /// nothing was received that is not settled.
    pub(crate) fn ack_fields(&self, now: Instant, exponent: u8) -> Option<AckFields> {
        let largest = self.largest.filter(|_| !self.ranges.is_empty())?;
        let delay = now.saturating_duration_since(largest.at).as_micros();
        let delay = u64::try_from(delay).unwrap_or(u64::MAX);
        Some(AckFields {
            delay: delay.checked_shr(u32::from(exponent)).unwrap_or(0),
            ecn: (self.ecn != EcnCounts::default()).then_some(self.ecn),
        })
    }

    /// Appends an ACK frame of at most `max` bytes to `out`, with as many of the newest ranges as
    /// fit; `exponent` is our ack_delay_exponent. False, and nothing is written, when there is
    /// nothing to tell or no room.
    #[cfg(test)]
    pub(crate) fn write_ack(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        max: usize,
        exponent: u8,
        log: &mut Vec<SentFrame>,
    ) -> bool {
        let Some(fields) = self.ack_fields(now, exponent) else {
            return false;
        };
        match crate::wire::frame::encode::ack(out, max, &self.ranges, fields.delay, fields.ecn) {
            Some(largest) => {
                self.on_ack_written(largest, log);
                true
            }
            None => false,
        }
    }

    /// An ACK frame was written that tells of numbers up to `largest`.
    pub(crate) fn on_ack_written(&mut self, largest: u64, log: &mut Vec<SentFrame>) {
        log.push(SentFrame::Ack { largest });
        self.unacked = 0;
        self.deadline = None;
        self.at_once = false;
        self.largest_reported = self.largest_reported.max(Some(largest));
        self.settle();
    }

    /// An ACK that told of numbers up to `largest` was acknowledged: they are settled
    /// (RFC 9000 section 13.2.4, Q132). Packets up to it that still come were overtaken by a whole
    /// round trip; they are taken for duplicates and their content is sent again. What came since
    /// and was not acknowledged once is acknowledged first.
    pub(crate) fn on_ack_of_ack(&mut self, largest: u64) {
        self.settled = self.settled.max(largest.saturating_add(1));
        if self.unacked == 0 {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if self.settled > self.floor {
            self.ranges.remove_below(self.settled);
            self.floor = self.settled;
        }
    }
}
