//! What is in flight, what is lost, and how much may go (RFC 8985, 6298, 6675, 5682, 9937, 2883, 3042).
//!
//! | file | what it is |
//! |---|---|
//! | `types` | what goes in and out |
//! | `record`, `flight` | super-segments that were sent, and the state of each segment in them |
//! | `board`, `lose` | what is sacked, lost or sent again, while anything is |
//! | `tally` | what one acknowledgement found |
//! | `plain` | an acknowledgement while nothing is amiss |
//! | `ack` | any acknowledgement, and what follows from it |
//! | `rack` | loss by time, and how much reordering there is (RFC 8985 section 6) |
//! | `timer` | the one timer: reordering, tail loss probe, retransmission, pacing |
//! | `episode` | recoveries, and taking them back (F-RTO, Eifel, DSACK) |
//! | `prr` | proportional rate reduction (RFC 9937) |
//! | `allow` | how much may go now: window, pacer, restart after idling |
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
//!
//! Choices where the texts leave one:
//! - The time-out is SRTT + max(4 RTTVAR, 200 ms): the floor is for the variation, so that a path
//!   of 190 ms does not time out by a delayed acknowledgement.
//! - Every acknowledgement is a measurement, and the gains are divided by their number in a round
//!   trip (RFC 7323 appendix G).
//! - Slow start grows by what is acknowledged, however few acknowledgements say it, as the sender is
//!   paced (RFC 9406 section 4.2: L is infinite).
//! - The reordering timer is set for the first segment that will be lost, not for the last.
//! - Paths with a round trip below [`MIN_PACED_RTT`] are not paced: a timer could not do it.

mod ack;
mod allow;
mod board;
mod episode;
mod flight;
mod lose;
mod plain;
mod prr;
mod rack;
mod record;
mod resting;
mod tally;
mod timer;
mod types;

#[cfg(test)]
mod congestion_tests;
#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod plain_tests;
#[cfg(test)]
mod sack_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod timer_tests;
#[cfg(test)]
mod undo_tests;

use core::ops::Range;

use weir_core::buf::SendBuffer;
use weir_core::congestion::{Algorithm, Controller};
use weir_core::pacer::Pacer;
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

use episode::{Episode, Frto, Phase};
use flight::Flight;
use rack::Rack;
pub(crate) use resting::Asleep;
use resting::Resting;
use tally::Losses;
use timer::{Round, Tlp};

pub(crate) use types::{
    Ack, Acked, Allowance, Blocked, RecoveryConfig, RecoveryNews, RecoveryStats, RecoveryTimer,
    Sent, Timeout,
};

/// The clock granularity G of RFC 6298, and of the timestamps that come back.
const GRANULARITY: Duration = Duration::from_millis(1);

/// In nanoseconds: what the pacer lets go at once on such a path is more than a window.
const MIN_PACED_RTT: u64 = 2_000_000;

/// The first time-out for data when the SYN had to be repeated, in milliseconds (RFC 6298 5.7).
const RTO_AFTER_SYN_LOSS: u32 = 3000;

/// Time-outs of full segments in a row after which the path is suspected of dropping them for their
/// size (RFC 2923 section 2.1).
const BLACK_HOLE_TIMEOUTS: u8 = 2;

/// What is counted over a connection's life.
#[derive(Clone, Debug, Default)]
struct Counters {
    lost: u64,
    retransmitted: u64,
    timeouts: u32,
    probes: u32,
    undone: u32,
}

/// Loss recovery and congestion control of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    controller: Box<dyn Controller>,
    flight: Flight,
    rtt: Rtt,
    round: Round,
    rack: Rack,
    tlp: Tlp,
    pacer: Pacer,
    /// The last recovery, while something of it may still matter.
    episode: Option<Box<Episode>>,
    phase: Phase,
    algorithm: Algorithm,
    /// A stand-in has the controller's place: nothing that needs one was sent yet, or lately.
    is_resting: bool,
    sack: bool,
    timestamps: bool,
    pacing: bool,
    needs_syn: bool,
    needs_fin: bool,
    /// A time-out lets one segment go whatever is in flight.
    is_forced: bool,
    /// The last batch was all that there was, or all that the peer's window took.
    is_starved: bool,
    /// Doublings of the time-out.
    backoff: u8,
    /// Time-outs with a full segment at the front, none having been acknowledged since.
    black_hole: u8,
    syn_repeats: u16,
    /// Time-outs in a row.
    timeouts: u16,
    smss: u32,
    dup_acks: u32,
    /// Without SACK: bytes that duplicate acknowledgements tell to have left the network.
    reno_left: u64,
    /// SND.NXT when the last recovery began ("recover" of RFC 6582 plus one).
    point: u64,
    /// What lies below was sent while the window, or the pacer, held more back (RFC 7661).
    limited_before: u64,
    /// An ECE is answered once what lies at and above is acknowledged (RFC 3168 section 6.1.2).
    cwr_point: u64,
    /// Window probes were sent from here on; they have a timer of their own.
    probed_from: u64,
    /// What the retransmission timer counts from.
    timer_from: Instant,
    /// What the probe timer counts from.
    progress_at: Instant,
    last_sent_at: Instant,
    /// When a segment becomes lost by time; [`Instant::MAX`]: none will.
    reorder_at: Instant,
    /// When the pacer lets the next batch go; [`Instant::MAX`]: it holds nothing back.
    pace_at: Instant,
    /// In milliseconds, as the next two.
    min_rto: u32,
    max_rto: u32,
    initial_rto: u32,
    seed: u32,
    /// Where slow start ends, as the last controller knew it; [`u32::MAX`] for nowhere.
    ssthresh: u32,
    counters: Counters,
    news: RecoveryNews,
    /// Records and ranges looked at for SACK blocks.
    #[cfg(test)]
    steps: u64,
}

impl Recovery {
    /// A connection that has sent nothing.
    #[inline(always)]
    pub(crate) fn new(now: Instant, config: &RecoveryConfig) -> Recovery {
        Recovery {
            controller: Box::new(Resting),
            flight: Flight::new(config.algorithm == Algorithm::Bbr),
            rtt: Rtt::new(None),
            round: Round::default(),
            rack: Rack::default(),
            tlp: Tlp::default(),
            pacer: Pacer::new(now, u64::from(config.smss)),
            episode: None,
            phase: Phase::Open,
            algorithm: config.algorithm,
            is_resting: true,
            sack: config.sack,
            timestamps: config.timestamps,
            pacing: config.pacing,
            needs_syn: false,
            needs_fin: false,
            is_forced: false,
            is_starved: false,
            backoff: 0,
            black_hole: 0,
            syn_repeats: 0,
            smss: config.smss.max(1),
            timeouts: 0,
            dup_acks: 0,
            reno_left: 0,
            point: 0,
            limited_before: 0,
            cwr_point: 0,
            probed_from: u64::MAX,
            timer_from: now,
            progress_at: now,
            last_sent_at: now,
            reorder_at: Instant::MAX,
            pace_at: Instant::MAX,
            min_rto: millis(config.min_rto),
            max_rto: millis(config.max_rto),
            initial_rto: millis(config.initial_rto),
            seed: config.seed as u32,
            ssthresh: u32::MAX,
            counters: Counters::default(),
            news: RecoveryNews::default(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// The handshake is over: what was agreed, and the payload of a full segment in bytes.
    pub(crate) fn on_agreed(&mut self, now: Instant, sack: bool, timestamps: bool, smss: u32) {
        self.sack = sack;
        self.timestamps = timestamps;
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
        if range.is_empty() {
            return;
        }
        if self.is_resting && self.needs_controller(&range, kind) {
            self.wake(now);
        }
        let size = u16::try_from(segment_size).unwrap_or(u16::MAX).max(1);
        let in_flight = self.in_flight();
        if self.flight.una == self.flight.next {
            // A connection may begin at 1: what came before was a cookie's.
            if self.flight.next < range.start {
                self.flight.una = range.start;
                self.flight.next = range.start;
            }
            self.timer_from = now;
        }
        if kind == Sent::WindowProbe {
            self.on_window_probe(now, &range, size);
            return;
        }
        let known = self.flight.next;
        if range.start < known {
            self.on_sent_again(now, range.start..range.end.min(known));
        }
        if range.end > known {
            if kind == Sent::Handshake && known == 0 && range.end > 1 {
                // The data of a fast open is acknowledged, or not, apart from the SYN.
                self.flight.push(now, 1, 1);
            }
            self.flight.push(now, range.end, size);
            self.progress_at = now;
            if self.episode.is_some() {
                self.note_episode_sent(now, range.end.saturating_sub(known), false);
            }
        }
        if kind == Sent::Probe {
            self.counters.probes = self.counters.probes.saturating_add(1);
            self.tlp.on_sent(now, self.flight.next, range.end <= known);
            self.timer_from = now;
        }
        let bytes = range.end.saturating_sub(range.start);
        self.last_sent_at = now;
        self.pacer.on_sent(now, bytes);
        let end = self.flight.next;
        self.controller.on_sent(now, bytes, in_flight, end);
        let room = self.window().saturating_sub(self.in_flight());
        if room < u64::from(self.smss) {
            self.limited_before = end;
        }
    }

    fn on_sent_again(&mut self, now: Instant, range: Range<u64>) {
        let bytes = range.end.saturating_sub(range.start);
        self.counters.retransmitted = self.counters.retransmitted.saturating_add(bytes);
        self.flight.resend(now, &range);
        self.note_episode_sent(now, bytes, true);
        self.needs_syn &= range.start > 0;
        self.needs_fin &= range.end < self.flight.next;
        if range.end > self.probed_from {
            self.probed_from = u64::MAX;
        }
        if range.start <= self.flight.una {
            // The segment that all wait for has a whole time-out before it.
            self.timer_from = now;
            self.is_forced = false;
        }
    }

    /// Recorded as if lost: it counts nowhere, and is sent again as soon as the window opens.
    fn on_window_probe(&mut self, now: Instant, range: &Range<u64>, size: u16) {
        if range.end > self.flight.next {
            self.probed_from = self.probed_from.min(self.flight.next);
            self.flight.push_lost(now, range.end, size);
        }
        self.last_sent_at = now;
    }

    /// What is to be sent next: lost bytes first, then new ones below `limit`. As
    /// [`SendBuffer::next_range`], but new ones first while they tell whether a time-out was
    /// spurious (RFC 5682). Never has SYN or FIN.
    #[inline]
    pub(crate) fn next_range(&self, send: &SendBuffer, limit: u64) -> Range<u64> {
        if let Some(episode) = &self.episode
            && episode.frto == Frto::NewData
        {
            let new = send.next()..send.end().min(limit).max(send.next());
            if !new.is_empty() {
                return new;
            }
        }
        send.next_range(limit)
    }

    /// The segment that a tail loss probe sends again when there is nothing new: the last one.
    /// It may end with the FIN.
    pub(crate) fn probe_range(&self) -> Option<Range<u64>> {
        self.flight.last_cell()
    }

    /// The congestion window in bytes. While there is no controller it is the one to begin with.
    pub(crate) fn congestion_window(&self) -> u64 {
        if self.is_resting {
            self.first_window()
        } else {
            self.window()
        }
    }

    /// The window that holds now.
    #[inline]
    fn window(&self) -> u64 {
        match &self.episode {
            Some(episode) if self.phase == Phase::Recovery && self.flight.rates.is_none() => {
                episode.prr.window()
            }
            _ => self.controller.window(),
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
    pub(crate) fn on_mtu(&mut self, now: Instant, smss: u32) {
        let is_smaller = smss < self.smss;
        self.smss = smss.max(1);
        if self.suspects_black_hole() && is_smaller {
            // The next size is not made to wait for what the last ones cost, and one time-out says
            // that it is too large as well.
            self.black_hole = BLACK_HOLE_TIMEOUTS.saturating_sub(1);
            self.backoff = self.backoff.min(1);
        } else {
            self.black_hole = 0;
        }
        if self.flight.next <= 1 {
            self.controller = Box::new(Resting);
            self.is_resting = true;
            self.pacer = Pacer::new(now, u64::from(self.smss));
            self.limit_after_syn_loss();
        } else {
            self.controller.on_mtu(u64::from(self.smss));
        }
    }

    /// The SYN was acknowledged.
    fn first_data(&mut self, send: &mut SendBuffer) {
        if self.flight.next > self.flight.una {
            // The data of a fast open was not taken: at once again (RFC 7413 section 4.2.1).
            let mut losses = Losses::default();
            self.flight.lose_late(Instant::MAX, send, &mut losses);
        }
        self.backoff = 0;
        self.limit_after_syn_loss();
    }

    /// RFC 6298 5.7, RFC 6928 section 2.
    fn limit_after_syn_loss(&mut self) {
        if self.syn_repeats > 0 {
            self.initial_rto = self.initial_rto.max(RTO_AFTER_SYN_LOSS);
        }
        if self.syn_repeats > 1 {
            self.controller.on_restart(u64::from(self.smss));
        }
    }

    /// The SYN or SYN,ACK had to be repeated so often, and recovery was not asked to do it: the
    /// first time-out is 3 s, and after more than one repeat the initial window is one segment
    /// (RFC 6298 5.7, RFC 6928 section 2).
    #[cfg(test)]
    pub(crate) fn on_syn_retransmitted(&mut self, _now: Instant, times: u32) {
        let times = u16::try_from(times).unwrap_or(u16::MAX);
        self.syn_repeats = self.syn_repeats.max(times);
        self.backoff = 0;
        self.limit_after_syn_loss();
    }

    /// A round trip that the connection measured by itself, such as that of a SYN cookie.
    pub(crate) fn on_handshake_rtt(&mut self, _now: Instant, sample: Duration) {
        self.rtt.update(sample, Duration::ZERO);
    }

    /// The path takes only segments of `smss` bytes, said by ICMP: what is larger and in flight is
    /// sent again at once, and the window stays (RFC 1191 section 6.4, RFC 8201 section 4).
    pub(crate) fn on_packet_too_big(&mut self, now: Instant, smss: u32, send: &mut SendBuffer) {
        self.on_mtu(now, smss);
        let mut losses = Losses::default();
        let size = u16::try_from(smss).unwrap_or(u16::MAX);
        self.flight.lose_larger(size, send, &mut losses);
        self.needs_fin |= losses.fin;
    }

    /// What is to be counted since this was asked last.
    #[inline]
    pub(crate) fn take_news(&mut self) -> RecoveryNews {
        core::mem::take(&mut self.news)
    }

    /// Full segments were lost again and again while smaller ones were not: a path that drops what
    /// is too big without a word (RFC 2923 section 2.1, RFC 4821 section 7.7).
    pub(crate) fn suspects_black_hole(&self) -> bool {
        self.black_hole >= BLACK_HOLE_TIMEOUTS
    }

    /// The application has nothing to send although the window has room.
    #[inline]
    pub(crate) fn set_app_limited(&mut self, _now: Instant) {
        self.pace_at = Instant::MAX;
        if self.flight.rates.is_some() {
            let in_flight = self.in_flight();
            self.flight.set_app_limited(in_flight);
        }
    }

    /// Bytes that are in the network, as far as is known.
    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        let left = self.reno_left.saturating_add(self.flight.unsent_rest());
        self.flight.in_flight.saturating_sub(left)
    }

    /// Retransmission time-outs in a row without an acknowledgement of new data (RFC 9293 3.8.3).
    #[inline]
    pub(crate) fn consecutive_timeouts(&self) -> u32 {
        self.timeouts.into()
    }

    /// When the oldest unacknowledged byte was first sent: user time-outs count from here.
    #[inline]
    pub(crate) fn first_unacked_at(&self) -> Option<Instant> {
        self.flight.records.front().map(|record| record.sent_at)
    }

    /// How long RACK waits for what may only be reordered.
    fn reordering_window(&self) -> Duration {
        let is_recovering = self.phase != Phase::Open;
        let sacked = self.flight.sacked_cells();
        self.rack
            .reordering_window(&self.rtt, is_recovering, sacked)
    }

    /// Takes over what can be of use of one whose connection is over.
    pub(crate) fn reuse(&mut self, old: &mut Recovery) {
        self.flight.reuse(&mut old.flight);
    }

    /// The connection is quiet: memory that is not in use goes back.
    pub(crate) fn release_memory(&mut self) {
        self.flight.release();
        if self.phase == Phase::Open {
            self.episode = None;
        }
    }

    /// What `ss -ti` would show.
    pub(crate) fn stats(&self) -> RecoveryStats {
        let is_disordered = self.flight.sacked() > 0 || self.dup_acks > 0;
        RecoveryStats {
            algorithm: self.algorithm.as_str(),
            phase: match self.phase {
                Phase::Open if is_disordered => "disorder",
                Phase::Open => "open",
                Phase::Recovery => "recovery",
                Phase::Loss => "loss",
            },
            state: self.controller.state(),
            window: self.congestion_window(),
            ssthresh: self.controller.ssthresh(),
            in_flight: self.in_flight(),
            rtt: self.rtt.smoothed(),
            rttvar: self.rtt.variance(),
            min_rtt: self.rtt.min(),
            rto: self.rto(),
            reordering_window: self.reordering_window(),
            pacing_rate: self
                .controller
                .pacing_rate(&self.rtt)
                .filter(|_| self.is_paced()),
            lost: self.counters.lost,
            retransmitted: self.counters.retransmitted,
            timeouts: self.counters.timeouts.into(),
            probes: self.counters.probes.into(),
            undone: self.counters.undone.into(),
        }
    }
}

/// Whole milliseconds, as many as fit.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The initial window of RFC 6928 section 2 in bytes.
pub(crate) fn initial_window(smss: u32) -> u64 {
    let smss = u64::from(smss);
    smss.saturating_mul(10)
        .min(smss.saturating_mul(2).max(14_600))
}
