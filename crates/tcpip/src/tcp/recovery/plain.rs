//! The acknowledgement that most are: it says how far everything has come, while nothing was lost,
//! reported, or sent again.

use weir_core::buf::{Chunks, SendBuffer};
use weir_core::congestion::AckSample;
use weir_core::time::{Duration, Instant};

use super::Recovery;
use super::episode::Phase;

/// What an acknowledgement passed of the flight, where nothing had happened to any of it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Passed {
    /// When the oldest segment passed was sent; [`Instant::MAX`]: no whole segment was.
    pub(super) first_sent_at: Instant,
    /// When the newest was.
    pub(super) last_sent_at: Instant,
    /// Where the oldest ended.
    pub(super) first_end: u64,
    /// Where the newest ended.
    pub(super) end: u64,
    /// The largest of them in bytes.
    pub(super) size: u32,
}

impl Recovery {
    /// True when an acknowledgement of new data without SACK blocks, ECE and SYN can be taken by
    /// [`on_plain_ack`](Recovery::on_plain_ack), and one that says nothing new, and is no duplicate,
    /// need not be told at all.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flight.is_plain()
            && self.phase == Phase::Open
            && self.episode.is_none()
            && !self.tlp.is_out()
            && (self.reno_left | u64::from(self.dup_acks)) == 0
            && self.flight.una > 0
    }

    /// The same also while nothing but a SYN was sent, once.
    #[inline]
    pub(crate) fn is_plain_or_first(&self) -> bool {
        let is_first = self.flight.is_plain()
            && self.is_resting
            && (self.flight.una, self.flight.next) == (0, 1)
            && self.syn_repeats == 0
            && !self.needs_syn
            && self.dup_acks == 0;
        is_first || self.is_plain()
    }

    /// Everything below `offset` is acknowledged, which is more than before: what
    /// [`on_ack`](Recovery::on_ack) comes to while [`is_plain`](Recovery::is_plain). Returns the round
    /// trip in nanoseconds, if one was measured.
    #[inline]
    pub(crate) fn on_plain_ack(
        &mut self,
        now: Instant,
        offset: u64,
        send: &mut SendBuffer,
        chunks: &mut Chunks,
    ) -> Option<u64> {
        let before = self.flight.una;
        let prior_in_flight = self.flight.in_flight;
        let passed = self.flight.pass(offset);
        send.on_acked(before..offset, chunks);
        // RFC 6298 5.2 and 5.3.
        self.timer_from = now;
        self.progress_at = now;
        self.timeouts = 0;
        self.needs_fin = false;
        if offset > self.probed_from {
            self.probed_from = u64::MAX;
        }
        if passed.size >= self.smss {
            self.black_hole = 0;
        }
        let mut rtt = None;
        let mut latest_rtt = None;
        if passed.first_sent_at != Instant::MAX {
            let sample = now.nanos_since(passed.first_sent_at);
            self.round.count(offset, self.flight.next);
            self.rtt.update_one_of_nanos(sample, self.round.samples());
            self.tlp.on_sample();
            self.backoff = 0;
            let latest = now.nanos_since(passed.last_sent_at);
            self.rack.on_passed(latest, &passed);
            rtt = Some(sample);
            latest_rtt = Some(Duration::from_nanos(latest));
        }
        let newest_sent_at = match rtt {
            Some(_) => passed.last_sent_at,
            None => self.rack.newest_sent_at().unwrap_or(now),
        };
        self.controller.on_ack(&AckSample {
            now,
            bytes_acked: offset.saturating_sub(before),
            largest_sent_at: newest_sent_at,
            largest_seq: passed.end,
            prior_in_flight,
            in_flight: self.flight.in_flight,
            rtt: &self.rtt,
            latest_rtt,
            rate: None,
            is_cwnd_limited: before < self.limited_before,
        });
        rtt
    }
}
