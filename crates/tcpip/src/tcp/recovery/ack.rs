//! An acknowledgement: what it delivers, and what follows from it.

use weir_core::buf::{Chunks, SendBuffer};
use weir_core::congestion::AckSample;
use weir_core::time::{Duration, Instant};

use super::episode::Phase;
use super::rack::DUP_THRESH;
use super::tally::{Losses, Tally};
use super::{Ack, Acked, GRANULARITY, Recovery};

impl Recovery {
    /// An acknowledgement. Its offset was checked to lie between what was acknowledged before and
    /// what was sent; SACK blocks are checked here, one by one.
    #[inline]
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        send: &mut SendBuffer,
        chunks: &mut Chunks,
    ) -> Acked {
        let (before, was) = (self.flight.una, self.phase);
        if self.is_starved && self.flight.rates.is_some() {
            // The peer's window, too, says nothing of how fast the path is.
            self.set_app_limited(now);
        }
        let offset = ack.offset.max(before);
        let prior_in_flight = self.in_flight();
        let min_rtt = self.rtt.min().unwrap_or(Duration::ZERO);
        let mut tally = Tally::new(now, min_rtt, self.echoed_at(now, ack));
        let advanced = offset > before;
        if advanced {
            self.advance(offset, send, chunks, &mut tally);
        }
        let mut acked = Acked {
            newly_acked: offset.saturating_sub(before),
            is_duplicate: self.is_duplicate(ack, before),
            ..Acked::default()
        };
        let is_calm = self.phase == Phase::Open
            && ack.sack.is_empty()
            && ack.dsack.is_none()
            && !acked.is_duplicate
            && self.episode.is_none()
            // Without SACK: what ends a count of duplicates has to be heard.
            && self.dup_acks == 0
            && !self.flight.is_troubled();
        let mut losses = Losses::default();
        if is_calm {
            self.measure(now, ack, &tally, advanced, &mut acked);
            if tally.delivered > 0 {
                self.rack.on_delivered(now, &tally);
            }
        } else {
            self.take_trouble(
                now,
                ack,
                send,
                advanced,
                &mut tally,
                &mut acked,
                &mut losses,
            );
        }
        if advanced {
            self.on_progress(now, &tally);
        }
        if self.tlp.is_out() {
            self.judge_probe(now, ack, &tally, &acked);
        }
        if ack.ece {
            acked.send_cwr = self.on_ecn_echo(now, offset);
        }
        if tally.delivered > 0 || losses.bytes > 0 {
            self.update_prr(tally.delivered, advanced && losses.bytes == 0, false);
        }
        if tally.delivered > 0 && before > 0 {
            self.tell_controller(now, was, (before, prior_in_flight), &tally, &acked);
        }
        acked
    }

    /// The cumulative acknowledgement moves to `offset`.
    #[inline]
    fn advance(
        &mut self,
        offset: u64,
        send: &mut SendBuffer,
        chunks: &mut Chunks,
        tally: &mut Tally,
    ) {
        let before = self.flight.una;
        self.flight.acknowledge(offset, tally);
        // What was sent without recovery being told counts as sent and delivered.
        self.flight.next = self.flight.next.max(offset);
        send.on_acked(before..offset, chunks);
        if before == 0 {
            self.needs_syn = false;
            self.first_data(send);
        }
    }

    /// Everything but a plain acknowledgement in order.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one acknowledgement"
    )]
    fn take_trouble(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        send: &mut SendBuffer,
        advanced: bool,
        tally: &mut Tally,
        acked: &mut Acked,
        losses: &mut Losses,
    ) {
        if self.sack {
            self.take_sack(ack, send, tally);
        }
        acked.newly_sacked = tally.sacked;
        self.measure(now, ack, tally, advanced, acked);
        if tally.delivered > 0 {
            self.rack.on_delivered(now, tally);
        }
        if tally.late > 0 {
            let (bytes, sent_at) = (tally.late, tally.late_sent_at);
            self.controller.on_spurious_loss(now, bytes, sent_at);
        }
        let mut is_spurious = self.is_spurious(ack, tally, advanced);
        if let Some(dsack) = &ack.dsack {
            self.rack.on_dsack(self.flight.una, self.flight.next);
            let bytes = dsack.end.saturating_sub(dsack.start);
            is_spurious |= self.is_all_duplicated(bytes);
        }
        if is_spurious {
            self.undo(now, send);
            acked.spurious = true;
        }
        if !self.sack {
            self.count_duplicates(advanced, acked.is_duplicate, send, tally, losses);
        } else if self.flight.is_troubled() {
            self.detect(now, send, losses);
        }
        acked.newly_lost = losses.bytes;
        if losses.bytes > 0 {
            self.on_losses(now, losses, tally);
        }
        self.end_recovery();
    }

    /// The SACK blocks, each on its own (RFC 2018 section 5, RFC 2883 section 5).
    fn take_sack(&mut self, ack: &Ack<'_>, send: &mut SendBuffer, tally: &mut Tally) {
        let (una, next) = (self.flight.una, self.flight.next);
        for block in ack.sack.iter().take(MAX_BLOCKS) {
            if block.start < block.end && block.start > una && block.end <= next {
                self.flight.sack(block.clone(), send, tally);
            }
        }
        #[cfg(test)]
        {
            self.steps = self.steps.saturating_add(tally.steps);
        }
    }

    /// RACK: what is lost now, and when the next will be.
    pub(super) fn detect(&mut self, now: Instant, send: &mut SendBuffer, losses: &mut Losses) {
        self.reorder_at = Instant::MAX;
        let window = self.reordering_window();
        let Some(horizon) = self.rack.horizon(now, window) else {
            return;
        };
        if let Some(sent_at) = self.flight.detect(&horizon, send, losses) {
            self.reorder_at = sent_at + self.rack.wait(window);
        }
    }

    /// A duplicate acknowledgement by RFC 5681 section 2.
    #[inline]
    fn is_duplicate(&self, ack: &Ack<'_>, before: u64) -> bool {
        ack.offset == before
            && !ack.carries_data
            && !ack.is_window_update
            && self.flight.next > before
    }

    /// RFC 5681 section 3.2 and RFC 6582: no SACK, so that duplicates are counted.
    fn count_duplicates(
        &mut self,
        advanced: bool,
        is_duplicate: bool,
        send: &mut SendBuffer,
        tally: &mut Tally,
        losses: &mut Losses,
    ) {
        let smss = u64::from(self.smss);
        if is_duplicate {
            self.dup_acks = self.dup_acks.saturating_add(1);
            // Each tells that one segment has left the network, but not which, and never more than
            // there are behind the first.
            let most = self.flight.in_flight.saturating_sub(smss);
            let left = self.reno_left.saturating_add(smss).min(most);
            tally.delivered = left.saturating_sub(self.reno_left);
            self.reno_left = left;
            let may_begin = self.phase == Phase::Open && self.flight.una > self.point;
            if self.dup_acks == DUP_THRESH && may_begin {
                self.flight.lose_head(false, send, losses);
                self.clamp_left();
            }
            return;
        }
        if !advanced {
            return;
        }
        self.dup_acks = 0;
        if self.flight.una >= self.point || self.phase == Phase::Open {
            self.reno_left = 0;
            return;
        }
        // A partial acknowledgement: the next segment was lost as well.
        let left = self.reno_left;
        self.reno_left = left.saturating_sub(tally.delivered.saturating_sub(smss));
        tally.delivered = tally
            .delivered
            .saturating_sub(left.saturating_sub(self.reno_left));
        if self.phase == Phase::Recovery {
            self.flight.lose_head(false, send, losses);
        }
        self.clamp_left();
    }

    fn clamp_left(&mut self) {
        self.reno_left = self.reno_left.min(self.flight.in_flight);
    }

    /// A round trip, if one can be told (RFC 6298 section 3, RFC 7323 section 4).
    #[inline]
    fn measure(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        tally: &Tally,
        advanced: bool,
        acked: &mut Acked,
    ) {
        // What answers a duplicate echoes the segment in order before it, which may have come long
        // ago: its own acknowledgement was lost.
        let answers = advanced && self.timestamps && ack.dsack.is_none();
        let echoed = ack.echoed_rtt.filter(|_| answers);
        let echoed = echoed.map(|echoed| echoed.max(GRANULARITY));
        let sample = match tally.first_original {
            Some(sent_at) if !tally.passed_resent => Some(now.saturating_duration_since(sent_at)),
            // Karn: only the timestamp tells which transmission was answered.
            _ if tally.passed_resent => echoed,
            _ => None,
        };
        let Some(sample) = sample else {
            // RFC 8961 section 4 (4) (a): something arrived that was sent but once. How long it took
            // cannot be told, but the time-out need not stay backed off.
            if tally.first_original.is_some() {
                self.backoff = 0;
            }
            return;
        };
        self.round.count(self.flight.una, self.flight.next);
        self.rtt.update_one_of(sample, self.round.samples());
        self.tlp.on_sample();
        self.backoff = 0;
        acked.rtt = Some(sample);
    }

    /// The cumulative acknowledgement moved: RFC 6298 5.2 and 5.3.
    #[inline]
    fn on_progress(&mut self, now: Instant, tally: &Tally) {
        self.timer_from = now;
        self.progress_at = now;
        self.timeouts = 0;
        if self.flight.una > self.probed_from {
            self.probed_from = u64::MAX;
        }
        if u64::from(tally.full_sized) >= u64::from(self.smss) {
            self.black_hole = 0;
        }
        self.needs_fin &= self.flight.lost() > 0;
    }

    /// What the answer to a tail loss probe tells (RFC 8985 section 7.4).
    fn judge_probe(&mut self, now: Instant, ack: &Ack<'_>, tally: &Tally, acked: &Acked) {
        let is_bare = acked.is_duplicate && ack.sack.is_empty();
        if self.tlp.on_ack(ack.offset, ack.dsack.as_ref(), is_bare) && self.phase == Phase::Open {
            // The probe repaired the loss by itself: congestion control hears of it all the same.
            self.news.probe_repaired = true;
            self.wake_for_losses(now);
            let flight = self.flight.next.saturating_sub(self.flight.una);
            let flight = flight.saturating_add(tally.delivered);
            self.controller.limit_to_flight(flight);
            let losses = Losses {
                bytes: u64::from(self.smss),
                sent_at: self.tlp.sent_at(),
                ..Losses::default()
            };
            let sample = self.loss_sample(now, &losses);
            self.controller.on_loss(&sample);
        }
    }

    /// ECE: once for each window of data (RFC 3168 section 6.1.2). True when the answer is CWR.
    fn on_ecn_echo(&mut self, now: Instant, offset: u64) -> bool {
        if offset <= self.cwr_point || self.phase == Phase::Loss {
            return false;
        }
        self.cwr_point = self.flight.next;
        if self.phase == Phase::Open {
            let sent_at = self.rack.newest_sent_at().unwrap_or(now);
            let in_flight = self.in_flight();
            self.controller.on_ecn_ce(now, sent_at, in_flight, 1);
        }
        true
    }

    /// The controller hears of what was delivered. `was` is where the connection stood, `before`
    /// what was acknowledged and in flight before.
    #[inline]
    fn tell_controller(
        &mut self,
        now: Instant,
        was: Phase,
        (before, prior_in_flight): (u64, u64),
        tally: &Tally,
        acked: &Acked,
    ) {
        let rate = match &mut self.flight.rates {
            Some(rates) => rates.sampler.finish_ack(now, self.rtt.min()),
            None => None,
        };
        // A model of the path wants to know of every delivery. A window grows only by what is
        // acknowledged cumulatively (RFC 5681 section 3.1, RFC 3042 section 2), and not in a fast
        // recovery nor by the acknowledgement that ends one (RFC 5681 section 3.2).
        let is_model = self.flight.rates.is_some();
        if !is_model && acked.newly_acked == 0 {
            return;
        }
        let is_recovering = was == Phase::Recovery || self.phase == Phase::Recovery;
        let is_open = was == Phase::Open && self.phase == Phase::Open;
        let bytes_acked = if is_open && !is_model {
            acked.newly_acked
        } else {
            tally.delivered
        };
        // Where nobody knows which transmission arrived, the newest that surely did has to do.
        let known = (self.rack.newest_sent_at().unwrap_or(now), tally.highest);
        let (sent_at, end) = tally.newest.unwrap_or(known);
        let last = tally.last_original;
        self.controller.on_ack(&AckSample {
            now,
            bytes_acked,
            largest_sent_at: sent_at,
            largest_seq: end,
            prior_in_flight,
            in_flight: self.in_flight(),
            rtt: &self.rtt,
            latest_rtt: last
                .filter(|_| acked.rtt.is_some())
                .map(|last| now.saturating_duration_since(last)),
            rate: rate.as_ref(),
            is_cwnd_limited: before < self.limited_before && (is_model || !is_recovering),
        });
    }
}

/// Blocks that fit into one segment's options.
const MAX_BLOCKS: usize = 4;
