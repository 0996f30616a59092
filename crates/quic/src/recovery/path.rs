//! What loss recovery and congestion control know of one path.

use weir_core::congestion::{self, Algorithm, Controller};
use weir_core::delivery::RateSampler;
use weir_core::pacer::Pacer;
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

use super::ecn::EcnState;
use crate::limits::{MAX_PACKET_THRESHOLD, MAX_TIME_THRESHOLD_EIGHTHS};
use crate::path::PathId;

/// The timer granularity: no time threshold and no margin is shorter (RFC 9002 section 6.1.2).
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);
/// The reordering threshold in packets (RFC 9002 section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;
/// The time threshold in eighths of a round trip (RFC 9002 section 6.1.2).
const TIME_THRESHOLD_EIGHTHS: u32 = 9;
/// Persistent congestion is this many probe time-outs (RFC 9002 section 7.6.1).
const PERSISTENT_CONGESTION_THRESHOLD: u32 = 3;

/// What a connection's recovery is built from.
#[derive(Copy, Clone, Debug)]
pub(crate) struct RecoveryConfig {
    /// Which congestion controller.
    pub(crate) algorithm: Algorithm,
    /// The round trip assumed before one is measured; `None`: 333 ms (RFC 9002 section 6.2.2).
    pub(crate) initial_rtt: Option<Duration>,
    /// The window to begin with in bytes; `None`: that of RFC 9002 section 7.2.
    pub(crate) initial_window: Option<u64>,
    /// Whether paths are tested for and marked with ECT(0).
    pub(crate) ecn: bool,
    /// Whether packet numbers are skipped now and then (RFC 9000 section 21.4).
    pub(crate) skip_packet_numbers: bool,
}

impl Default for RecoveryConfig {
    fn default() -> RecoveryConfig {
        RecoveryConfig {
            algorithm: Algorithm::default(),
            initial_rtt: None,
            initial_window: None,
            ecn: true,
            skip_packet_numbers: true,
        }
    }
}

/// How recovery finds the paths. The set of paths implements it.
pub(crate) trait PathLookup {
    /// The state of a path, `None` when the path is gone.
    fn recovery(&mut self, path: PathId) -> Option<&mut PathRecovery>;
    /// The round trip time of the path that is in use: timers follow it.
    fn active_rtt(&self) -> &Rtt;
    /// The path that is in use.
    fn active(&self) -> PathId;
}

/// The state of one path.
#[derive(Debug)]
pub(crate) struct PathRecovery {
    /// The round trip time.
    pub(crate) rtt: Rtt,
    /// The congestion window.
    pub(crate) controller: Box<dyn Controller>,
    /// When the next batch may go.
    pub(crate) pacer: Pacer,
    /// Delivery rate samples.
    pub(crate) rate: RateSampler,
    /// Bytes in flight on this path, of all spaces (RFC 9002 section 7, Q145).
    pub(crate) in_flight: u64,
    /// Whether and how packets are marked.
    pub(crate) ecn: EcnState,
    /// The size of full datagrams.
    mtu: u16,
    /// When the first round trip was measured: losses of packets sent before say nothing of
    /// persistent congestion (RFC 9002 section 7.6.2).
    pub(super) first_sample_at: Option<Instant>,
    /// In-flight packets sent so far: names them to the controller.
    pub(super) next_seq: u64,
    /// Packets before this one were sent while the window was used up (RFC 9002 section 7.8).
    limited_before: u64,
    packet_threshold: u64,
    time_threshold: u32,
}

impl PathRecovery {
    /// A path of which nothing is known; `mtu` is the size of full datagrams in bytes, `seed` what
    /// the controller may draw from.
    pub(crate) fn new(now: Instant, config: &RecoveryConfig, mtu: u16, seed: u64) -> PathRecovery {
        PathRecovery {
            rtt: Rtt::new(config.initial_rtt),
            controller: controller(now, config, mtu, seed),
            pacer: Pacer::new(now, u64::from(mtu)),
            rate: RateSampler::new(),
            in_flight: 0,
            ecn: EcnState::new(config.ecn),
            mtu,
            first_sample_at: None,
            next_seq: 0,
            limited_before: 0,
            packet_threshold: PACKET_THRESHOLD,
            time_threshold: TIME_THRESHOLD_EIGHTHS,
        }
    }

    /// The largest datagram is `mtu` bytes now.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.controller.on_mtu(u64::from(mtu));
    }

    /// Bytes that the congestion window still takes. Probes on a time-out and packets that only
    /// acknowledge are not held to it (RFC 9002 section 7.5 and 7).
    #[inline]
    pub(crate) fn window_left(&self) -> u64 {
        self.controller.window().saturating_sub(self.in_flight)
    }

    /// When the next batch may begin; `None`: now.
    pub(crate) fn next_release(&mut self, now: Instant) -> Option<Instant> {
        let rate = self.controller.pacing_rate(&self.rtt);
        let window = self.controller.window();
        self.pacer
            .next_release(now, rate, window, u64::from(self.mtu))
    }

    /// Bytes that pacing lets go in one burst now.
    pub(crate) fn pacing_budget(&mut self, now: Instant) -> u64 {
        let rate = self.controller.pacing_rate(&self.rtt);
        let window = self.controller.window();
        self.pacer.budget(now, rate, window)
    }

    /// There is more to send, and the window or the pacer holds it back: what is in flight now uses
    /// the window, which may grow for it (RFC 9002 section 7.8). A full window is noticed without.
    #[inline]
    pub(crate) fn on_window_limited(&mut self) {
        self.limited_before = self.next_seq;
    }

    /// There is nothing to send, and the window would have taken more.
    #[inline]
    pub(crate) fn on_app_limited(&mut self) {
        self.rate.set_app_limited(self.in_flight);
    }

    /// Counts a packet in flight; its place in the order of sending, and its snapshot.
    #[inline]
    pub(super) fn on_in_flight(
        &mut self,
        now: Instant,
        size: u64,
    ) -> (u64, weir_core::delivery::PacketRate) {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        let rate = self.rate.on_sent(now, self.in_flight, size);
        self.controller.on_sent(now, size, self.in_flight, seq);
        self.in_flight = self.in_flight.saturating_add(size);
        if self.window_left() < u64::from(self.mtu) {
            self.limited_before = self.next_seq;
        }
        (seq, rate)
    }

    /// Whether the packet `seq` was part of a flight that filled the window.
    #[inline]
    pub(super) fn was_window_limited(&self, seq: u64) -> bool {
        seq < self.limited_before
    }

    /// Takes a round trip measurement.
    #[inline]
    pub(super) fn on_rtt_sample(&mut self, now: Instant, sample: Duration, ack_delay: Duration) {
        self.rtt.update(sample, ack_delay);
        self.first_sample_at.get_or_insert(now);
    }

    /// How much later than a packet one must have been sent that is acknowledged, in packets.
    #[inline]
    pub(crate) fn packet_threshold(&self) -> u64 {
        self.packet_threshold
    }

    /// How long after it was sent a packet is given up, once a later one is acknowledged
    /// (RFC 9002 section 6.1.2).
    #[inline]
    pub(crate) fn loss_delay(&self) -> Duration {
        let smoothed = self.rtt.estimate();
        let longest = self
            .rtt
            .latest()
            .map_or(smoothed, |latest| latest.max(smoothed));
        (longest.saturating_mul(self.time_threshold) / 8).max(GRANULARITY)
    }

    /// A packet was thought lost and arrived: `distance` packets, or some time, too early
    /// (RFC 9002 section 6.1.1: the thresholds may grow).
    pub(super) fn on_spurious(&mut self, distance: u64, by_time: bool) {
        if by_time {
            let grown = self.time_threshold.saturating_add(1);
            self.time_threshold = grown.min(MAX_TIME_THRESHOLD_EIGHTHS);
        } else {
            let needed = distance.saturating_add(1).min(MAX_PACKET_THRESHOLD);
            self.packet_threshold = self.packet_threshold.max(needed);
        }
    }

    /// Persistent congestion: what was learned of the path may not hold any more
    /// (RFC 9002 section 5.2).
    pub(super) fn on_persistent_congestion(&mut self) {
        self.rtt.reset_min();
        self.packet_threshold = PACKET_THRESHOLD;
        self.time_threshold = TIME_THRESHOLD_EIGHTHS;
    }

    /// The time over which all must be lost to establish persistent congestion: with the peer's
    /// delay whatever the space (RFC 9002 section 7.6.1).
    pub(super) fn persistent_congestion(&self, max_ack_delay: Duration) -> Duration {
        let pto = self.rtt.pto(GRANULARITY, max_ack_delay);
        pto.saturating_mul(PERSISTENT_CONGESTION_THRESHOLD)
    }
}

fn controller(now: Instant, config: &RecoveryConfig, mtu: u16, seed: u64) -> Box<dyn Controller> {
    let mut built = congestion::Config::new(u64::from(mtu), seed);
    built.initial_window = config.initial_window;
    config.algorithm.with_config(now, &built)
}
