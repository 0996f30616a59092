//! Pings: answered, sent to measure the round trip, and to see whether the peer is there.

use super::Session;
use crate::limits::RTT_MAX_AGE_SECS;
use crate::wire::{Flags, Header};
use weir_core::rng::{Rng, next_u64};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};
use weir_core::trace::Event as Trace;

/// How many of the last samples the windows are tuned to.
const RECENT: usize = 3;

/// The one ping that may be under way, and what pings have measured.
#[derive(Debug)]
pub(super) struct Ping {
    value: u32,
    /// To be sent at the next flush.
    pub(super) due: bool,
    /// When the one not answered yet was sent.
    pub(super) sent_at: Option<Instant>,
    rtt: Rtt,
    recent: [Option<Duration>; RECENT],
    measured_at: Option<Instant>,
}

impl Ping {
    pub(super) fn new(rng: &mut Rng) -> Ping {
        Ping {
            // A peer cannot answer what it has not been asked.
            value: next_u64(rng) as u32,
            due: false,
            sent_at: None,
            rtt: Rtt::new(None),
            recent: [None; RECENT],
            measured_at: None,
        }
    }

    /// Asks for a ping at the next flush, unless one is under way.
    pub(super) fn request(&mut self) {
        self.due = self.sent_at.is_none();
    }

    /// The value of the ping that is sent now.
    pub(super) fn send(&mut self, now: Instant) -> u32 {
        self.due = false;
        self.sent_at = Some(now);
        self.value
    }

    /// An answer came: the sample, when it is the one that was waited for.
    fn answer(&mut self, now: Instant, value: u32) -> Option<Duration> {
        let sent_at = self.sent_at.filter(|_| value == self.value)?;
        self.sent_at = None;
        self.value = self.value.wrapping_add(1);
        let sample = now.saturating_duration_since(sent_at);
        self.rtt.update(sample, Duration::ZERO);
        self.recent.rotate_right(1);
        if let Some(first) = self.recent.first_mut() {
            *first = Some(sample);
        }
        self.measured_at = Some(now);
        Some(sample)
    }

    /// What windows are tuned to: the least of the last samples. Data that waits in front of a ping
    /// only makes a sample longer, and an old minimum should not outlive a change of the path.
    pub(super) fn tuning_rtt(&self) -> Option<Duration> {
        self.recent.iter().flatten().min().copied()
    }

    /// The smoothed round trip.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// A window wants tuning: a fresh sample is worth a ping (Y29).
    pub(super) fn want_sample(&mut self, now: Instant) {
        let age = self.measured_at.map(|at| now.saturating_duration_since(at));
        if age.is_none_or(|age| age >= Duration::from_secs(RTT_MAX_AGE_SECS)) {
            self.request();
        }
    }
}

impl Session {
    /// Sends a ping at the next flush to measure the round trip, unless one is under way.
    pub fn ping(&mut self, _now: Instant) {
        if self.closed.is_none() {
            self.ping.request();
        }
    }

    /// What pings have measured. Nothing is measured before a ping was asked for or windows wanted
    /// tuning.
    pub fn rtt(&self) -> &Rtt {
        &self.ping.rtt
    }

    /// Y44: a ping is answered with its value; an answer nobody waits for is ignored, and so is a
    /// ping that is neither.
    pub(super) fn handle_ping(&mut self, now: Instant, header: Header) {
        if header.flags.contains(Flags::SYN) {
            self.stats.pings_received = self.stats.pings_received.saturating_add(1);
            self.out.pong(header.length);
        } else if header.flags.contains(Flags::ACK)
            && self.ping.answer(now, header.length).is_some()
        {
            self.clock.answered(now);
            let rtt = &self.ping.rtt;
            if let (Some(latest), Some(smoothed), Some(min)) =
                (rtt.latest(), rtt.smoothed(), rtt.min())
            {
                self.tracer.emit(now, || Trace::Rtt {
                    latest,
                    smoothed,
                    min,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    #[test]
    fn only_the_answer_that_is_waited_for_counts() {
        let mut ping = Ping::new(&mut rng_from_seed(1));
        let at = Instant::from_millis;
        assert_eq!(ping.answer(at(0), ping.value), None);
        ping.request();
        let value = ping.send(at(10));
        assert_eq!(ping.answer(at(15), value.wrapping_add(1)), None);
        assert_eq!(ping.answer(at(30), value), Some(Duration::from_millis(20)));
        assert_eq!(ping.answer(at(31), value), None);
        assert_eq!(ping.tuning_rtt(), Some(Duration::from_millis(20)));
    }

    #[test]
    fn a_minimum_is_forgotten_when_the_path_changes() {
        let mut ping = Ping::new(&mut rng_from_seed(1));
        for (sent, took) in [(0, 10), (100, 50), (200, 60), (300, 55)] {
            let value = ping.send(Instant::from_millis(sent));
            ping.answer(Instant::from_millis(sent + took), value);
        }
        assert_eq!(ping.tuning_rtt(), Some(Duration::from_millis(50)));
        assert_eq!(ping.rtt.min(), Some(Duration::from_millis(10)));
    }
}
