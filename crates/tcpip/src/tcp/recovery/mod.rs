//! What is in flight, what is lost, and how much may go (RFC 8985, 6298, 6675, 5682, 9937, 2883, 3042).
//!
//! One [`Recovery`] belongs to one connection. The calls: [`Recovery::allowance`] once for a batch,
//! then [`Recovery::next_range`] and [`Recovery::on_sent`] for each super-segment that goes out;
//! [`Recovery::on_ack`] for each acknowledgement; [`Recovery::on_timeout`] when
//! [`Recovery::poll_timeout`] says so. Recovery itself tells the send buffer what was acknowledged
//! and what was lost; [`SendBuffer::on_sent`] is the connection's to call.
//!
//! Offsets are the connection's: 0 is the SYN, data begins at 1, the FIN has the offset behind the
//! last byte. SYN and FIN are in no buffer: [`Recovery::needs_syn`] and [`Recovery::needs_fin`] say
//! when they are to be sent again.

mod types;

use core::ops::Range;
use std::collections::VecDeque;

use weir_core::buf::{Chunks, SendBuffer};
use weir_core::congestion::{AckSample, Config, Controller};
use weir_core::pacer::Pacer;
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

pub(crate) use types::{
    Ack, Acked, Allowance, Blocked, RecoveryConfig, RecoveryStats, RecoveryTimer, Sent, Timeout,
};

/// The clock granularity G of RFC 6298.
const GRANULARITY: Duration = Duration::from_millis(1);

#[derive(Copy, Clone, Debug)]
struct Record {
    start: u64,
    end: u64,
    sent_at: Instant,
    retransmitted: bool,
}

/// Loss recovery and congestion control of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    config: RecoveryConfig,
    controller: Box<dyn Controller>,
    rtt: Rtt,
    pacer: Pacer,
    records: VecDeque<Record>,
    in_flight: u64,
    una: u64,
    next: u64,
    timer_from: Instant,
    timeouts: u32,
    needs_syn: bool,
    needs_fin: bool,
    pace_at: Option<Instant>,
}

impl Recovery {
    /// A connection that has sent nothing.
    pub(crate) fn new(now: Instant, config: &RecoveryConfig) -> Recovery {
        let mut built = Config::new(u64::from(config.smss), config.seed);
        built.initial_window = Some(initial_window(config.smss));
        Recovery {
            config: *config,
            controller: config.algorithm.with_config(now, &built),
            rtt: Rtt::new(None),
            pacer: Pacer::new(now, u64::from(config.smss)),
            records: VecDeque::new(),
            in_flight: 0,
            una: 0,
            next: 0,
            timer_from: now,
            timeouts: 0,
            needs_syn: false,
            needs_fin: false,
            pace_at: None,
        }
    }

    /// The handshake is over: what was agreed, and the payload of a full segment in bytes.
    pub(crate) fn on_agreed(&mut self, now: Instant, sack: bool, timestamps: bool, smss: u32) {
        self.config.sack = sack;
        self.config.timestamps = timestamps;
        self.on_mtu(now, smss);
    }

    /// `range` goes out, in segments of `segment_size` bytes (the last may be smaller).
    #[inline]
    pub(crate) fn on_sent(
        &mut self,
        now: Instant,
        range: Range<u64>,
        kind: Sent,
        segment_size: u32,
    ) {
        let _ = segment_size;
        if range.is_empty() || kind == Sent::WindowProbe {
            return;
        }
        let len = range.end.saturating_sub(range.start);
        if self.in_flight == 0 {
            self.timer_from = now;
        }
        self.needs_syn &= range.start > 0;
        self.needs_fin &= range.end < self.next;
        self.pacer.on_sent(now, len);
        self.in_flight = self.in_flight.saturating_add(len);
        self.next = self.next.max(range.end);
        let again = range.start < self.records.back().map_or(0, |last| last.end);
        if again {
            for record in &mut self.records {
                record.retransmitted |= record.start < range.end && range.start < record.end;
            }
            return;
        }
        self.records.push_back(Record {
            start: range.start,
            end: range.end,
            sent_at: now,
            retransmitted: false,
        });
    }

    /// An acknowledgement, its numbers checked by the connection.
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        send: &mut SendBuffer,
        chunks: &mut Chunks,
    ) -> Acked {
        let mut acked = Acked::default();
        if ack.offset <= self.una {
            return acked;
        }
        acked.newly_acked = ack.offset.saturating_sub(self.una);
        send.on_acked(self.una..ack.offset, chunks);
        self.una = ack.offset;
        let prior_in_flight = self.in_flight;
        self.in_flight = self.in_flight.saturating_sub(acked.newly_acked);
        self.timer_from = now;
        self.timeouts = 0;
        let mut newest = None;
        while let Some(record) = self.records.front().copied()
            && record.end <= ack.offset
        {
            newest = Some(record);
            self.records.pop_front();
        }
        let Some(newest) = newest else {
            return acked;
        };
        if !newest.retransmitted {
            let sample = now.saturating_duration_since(newest.sent_at);
            self.rtt.update(sample, Duration::ZERO);
            acked.rtt = Some(sample);
        }
        self.controller.on_ack(&AckSample {
            now,
            bytes_acked: acked.newly_acked,
            largest_sent_at: newest.sent_at,
            largest_seq: newest.end,
            prior_in_flight,
            in_flight: self.in_flight,
            rtt: &self.rtt,
            latest_rtt: acked.rtt,
            rate: None,
            is_cwnd_limited: true,
        });
        acked
    }

    /// What is to be sent next: lost bytes first, then new ones below `limit`. As
    /// [`SendBuffer::next_range`], but new ones first while that tells whether a time-out was
    /// spurious (RFC 5682). Never has SYN or FIN.
    #[inline]
    pub(crate) fn next_range(&self, send: &SendBuffer, limit: u64) -> Range<u64> {
        send.next_range(limit)
    }

    /// The segment that a tail loss probe sends again when there is nothing new: the last one.
    /// It may end with the FIN.
    pub(crate) fn probe_range(&self) -> Option<Range<u64>> {
        let last = self.records.back()?;
        let size = u64::from(self.config.smss);
        Some(last.start.max(last.end.saturating_sub(size))..last.end)
    }

    /// How much may go now, when `wanted` bytes are ready. Ask once for a batch.
    pub(crate) fn allowance(&mut self, now: Instant, wanted: u64) -> Allowance {
        self.pace_at = None;
        let room = self.controller.window().saturating_sub(self.in_flight);
        if room < wanted {
            return Allowance {
                bytes: room,
                blocked: Some(Blocked::Congestion),
            };
        }
        let rate = self.controller.pacing_rate(&self.rtt);
        let (window, smss) = (self.controller.window(), u64::from(self.config.smss));
        if self.config.pacing
            && wanted > 0
            && let Some(at) = self.pacer.next_release(now, rate, window, smss)
        {
            self.pace_at = Some(at);
            return Allowance {
                bytes: 0,
                blocked: Some(Blocked::Pacing(at)),
            };
        }
        Allowance {
            bytes: room,
            blocked: None,
        }
    }

    /// When to call [`on_timeout`](Recovery::on_timeout), and what for.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, RecoveryTimer)> {
        let rto = (self.una < self.next)
            .then(|| (self.timer_from + self.rto(), RecoveryTimer::Retransmit));
        let pace = self.pace_at.map(|at| (at, RecoveryTimer::Pace));
        [rto, pace].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The timer expired.
    pub(crate) fn on_timeout(&mut self, now: Instant, send: &mut SendBuffer) -> Timeout {
        match self.poll_timeout() {
            Some((at, _)) if at > now => Timeout::Nothing,
            None => Timeout::Nothing,
            Some((_, RecoveryTimer::Retransmit)) => {
                self.timeouts = self.timeouts.saturating_add(1);
                self.timer_from = now;
                self.in_flight = 0;
                self.needs_syn = self.una == 0;
                self.needs_fin = self.next > send.end() && self.una > 0;
                send.reset_all_unacked();
                Timeout::Retransmit
            }
            Some(_) => {
                self.pace_at = None;
                Timeout::Transmit
            }
        }
    }

    /// The SYN (or SYN,ACK) is to be sent again.
    pub(crate) fn needs_syn(&self) -> bool {
        self.needs_syn
    }

    /// The FIN is to be sent again, once all data below it that was lost is.
    pub(crate) fn needs_fin(&self) -> bool {
        self.needs_fin
    }

    /// The payload of a full segment is now `smss` bytes.
    pub(crate) fn on_mtu(&mut self, _now: Instant, smss: u32) {
        self.config.smss = smss;
        self.controller.on_mtu(u64::from(smss));
    }

    /// Bytes that are in the network, as far as is known.
    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Retransmission time-outs in a row without an acknowledgement of new data (RFC 9293 3.8.3).
    #[inline]
    pub(crate) fn consecutive_timeouts(&self) -> u32 {
        self.timeouts
    }

    /// The retransmission time-out with its backoff.
    pub(crate) fn rto(&self) -> Duration {
        let base = match self.rtt.smoothed() {
            Some(_) => self.rtt.rto(self.config.min_rto.max(GRANULARITY)),
            None => self.config.initial_rto,
        };
        let factor = 1u32 << self.timeouts.min(16);
        base.saturating_mul(factor).min(self.config.max_rto)
    }

    /// When the oldest unacknowledged byte was first sent: user time-outs count from here.
    pub(crate) fn first_unacked_at(&self) -> Option<Instant> {
        self.records.front().map(|record| record.sent_at)
    }

    /// The path takes only segments of `smss` bytes, said by ICMP: what is larger and in flight is
    /// sent again at once, and the window stays (RFC 1191 section 6.4, RFC 8201 section 4).
    pub(crate) fn on_packet_too_big(&mut self, now: Instant, smss: u32, send: &mut SendBuffer) {
        self.on_mtu(now, smss);
        send.reset_all_unacked();
        self.in_flight = 0;
    }

    /// Full segments were lost again and again while smaller ones were not: a path that drops what
    /// is too big without a word (RFC 2923 section 2.1, RFC 4821 section 7.7).
    pub(crate) fn suspects_black_hole(&self) -> bool {
        self.timeouts >= 3
    }

    /// A round trip that the connection measured by itself, such as that of a SYN cookie.
    pub(crate) fn on_handshake_rtt(&mut self, _now: Instant, sample: Duration) {
        self.rtt.update(sample, Duration::ZERO);
    }

    /// The SYN or SYN,ACK had to be repeated so often, and recovery was not asked to do it: the
    /// first time-out is 3 s, and after more than one repeat the initial window is one segment
    /// (RFC 6298 5.7, RFC 6928 section 2).
    pub(crate) fn on_syn_retransmitted(&mut self, now: Instant, times: u32) {
        if times > 0 {
            self.config.initial_rto = self.config.initial_rto.max(Duration::from_secs(3));
        }
        if times > 1 {
            let mut built = Config::new(u64::from(self.config.smss), self.config.seed);
            built.initial_window = Some(u64::from(self.config.smss));
            self.controller = self.config.algorithm.with_config(now, &built);
        }
    }

    /// The application has nothing to send although the window has room.
    pub(crate) fn set_app_limited(&mut self, _now: Instant) {
        self.pace_at = None;
    }

    /// The connection is quiet: memory that is not in use goes back.
    pub(crate) fn release_memory(&mut self) {
        self.records.shrink_to_fit();
    }

    /// What `ss -ti` would show.
    pub(crate) fn stats(&self) -> RecoveryStats {
        RecoveryStats {
            algorithm: self.controller.name(),
            phase: "open",
            state: self.controller.state(),
            window: self.controller.window(),
            ssthresh: self.controller.ssthresh(),
            in_flight: self.in_flight,
            rtt: self.rtt.smoothed(),
            rttvar: self.rtt.variance(),
            min_rtt: self.rtt.min(),
            rto: self.rto(),
            reordering_window: Duration::ZERO,
            pacing_rate: self.controller.pacing_rate(&self.rtt),
            lost: 0,
            retransmitted: 0,
            timeouts: u64::from(self.timeouts),
            probes: 0,
            undone: 0,
        }
    }
}

/// The initial window of RFC 6928 section 2 in bytes.
pub(crate) fn initial_window(smss: u32) -> u64 {
    let smss = u64::from(smss);
    smss.saturating_mul(10)
        .min(smss.saturating_mul(2).max(14_600))
}
