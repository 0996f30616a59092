//! The one timer of loss recovery: losses by time, and probes (RFC 9002 section 6.2, appendix A.8).

use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

use super::{GRANULARITY, Outcome, PathLookup, Recovery};
use crate::limits::{MAX_PTO_SECS, MAX_PTO_SHIFT, PROBE_PACKETS};
use crate::sent::SentFrame;
use crate::wire::Space;

/// What the timer waits for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum LossTimer {
    /// A packet of this space will be lost by the time threshold.
    Loss(Space),
    /// Nothing was heard for a probe time-out: packets of this space ask for an answer.
    Pto(Space),
}

/// Ack-eliciting packets that a probe time-out sends in its space (RFC 9002 section 6.2.4: one or
/// two; two survive one loss).
const PROBES: u8 = 2;

impl Recovery {
    /// When the timer expires, and what for; `None` when nothing is waited for. `blocked` is true
    /// for a server that may send nothing to an address not yet validated (RFC 9002
    /// section 6.2.2.1): it does not probe. Ask again after every call that changes something.
    pub(crate) fn timer<P: PathLookup + ?Sized>(
        &self,
        paths: &P,
        blocked: bool,
    ) -> Option<(Instant, LossTimer)> {
        let losses = Space::ALL.into_iter().filter_map(|space| {
            let at = self.spaces.get(space).loss_time?;
            Some((at, LossTimer::Loss(space)))
        });
        // The first of equal ones: the earlier space.
        if let Some(loss) = losses.min_by_key(|(at, _)| *at) {
            return Some(loss);
        }
        if blocked {
            return None;
        }
        self.probe_timer(paths.active_rtt())
    }

    /// The present probe time-out of `space`, backoff included: other timers are measured by it.
    pub(crate) fn pto(&self, space: Space, rtt: &Rtt) -> Duration {
        self.back_off(self.pto_base(space, rtt))
    }

    /// The probe time-out without backoff (RFC 9002 section 6.2.1).
    pub(crate) fn pto_base(&self, space: Space, rtt: &Rtt) -> Duration {
        // Peers do not delay Initial and Handshake acknowledgements.
        let max_ack_delay = match space {
            Space::Initial | Space::Handshake => Duration::ZERO,
            Space::Data => self.frequency.max_ack_delay_for_pto(),
        };
        rtt.pto(GRANULARITY, max_ack_delay)
    }

    /// How often in a row the probe time-out has expired.
    pub(crate) fn pto_count(&self) -> u32 {
        self.pto_count
    }

    fn back_off(&self, pto: Duration) -> Duration {
        let factor = 1u32 << self.pto_count.min(MAX_PTO_SHIFT);
        let most = Duration::from_secs(MAX_PTO_SECS).max(pto);
        pto.saturating_mul(factor).min(most)
    }

    fn probe_timer(&self, rtt: &Rtt) -> Option<(Instant, LossTimer)> {
        let mut first: Option<(Instant, LossTimer)> = None;
        for space in Space::ALL {
            // Before the handshake is confirmed the peer may not be able to read or to acknowledge
            // packets of the data space (RFC 9002 section 6.2.1).
            let state = self.spaces.get(space);
            let too_early = space == Space::Data && !self.confirmed;
            if state.eliciting_in_flight == 0 || too_early {
                continue;
            }
            let at = self.after_expiry(state.eliciting_sent_at, self.pto(space, rtt));
            if first.is_none_or(|(earliest, _)| at < earliest) {
                first = Some((at, LossTimer::Pto(space)));
            }
        }
        if first.is_some() || self.peer_validated_address() {
            return first;
        }
        // RFC 9002 section 6.2.2.1, Q61: the server may have sent all that it is allowed to; only
        // another packet from here lets it go on.
        let space = self.deadlock_space();
        let at = self.after_expiry(self.progress_at, self.pto(space, rtt));
        Some((at, LossTimer::Pto(space)))
    }

    /// When `pto` after `since` is over; not at once again when it expired and nothing could be sent:
    /// at its bound it is not doubled any more.
    fn after_expiry(&self, since: Instant, pto: Duration) -> Instant {
        let at = since + pto;
        match self.expired_at {
            Some(expired) => at.max(expired + pto / 2),
            None => at,
        }
    }

    /// Where a client sends a packet that frees the server.
    fn deadlock_space(&self) -> Space {
        if self.has_handshake_keys {
            Space::Handshake
        } else {
            Space::Initial
        }
    }

    /// The timer expired: packets are lost, or probes are due (`out.probes`). Returns what it was; a
    /// call too early does nothing.
    pub(crate) fn on_timeout<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        paths: &mut P,
        blocked: bool,
        out: &mut Outcome,
    ) -> Option<LossTimer> {
        out.clear();
        let (at, timer) = self.timer(paths, blocked)?;
        if at > now {
            return None;
        }
        match timer {
            LossTimer::Loss(space) => {
                self.round.begin();
                self.detect_lost(now, space, paths, out);
                self.round.finish(now, paths, out);
            }
            LossTimer::Pto(space) => {
                self.pto_count = self.pto_count.saturating_add(1);
                self.progress_at = now;
                self.expired_at = Some(now);
                let active = paths.active();
                if let Some(path) = paths.recovery(active) {
                    path.ecn.on_pto(self.pto_count);
                }
                self.plan_probes(space, out);
            }
        }
        Some(timer)
    }

    /// RFC 9002 section 6.2.4: probes in the space whose timer expired, and in the others that have
    /// something in flight, as the peer may have the keys of only one.
    fn plan_probes(&mut self, expired: Space, out: &mut Outcome) {
        let mut copied = Vec::new();
        let [initial, handshake, data] = &mut out.probes;
        for (space, probes) in Space::ALL.into_iter().zip([initial, handshake, data]) {
            let state = self.spaces.get(space);
            let waits = state.eliciting_in_flight > 0;
            *probes = match space == expired {
                // With nothing in flight one packet is enough to free the server.
                true if !waits => 1,
                true => PROBES,
                // They share datagrams with the Initial packets, which are expanded anyhow.
                false if waits && expired == Space::Initial && space == Space::Handshake => PROBES,
                false if waits && expired != Space::Data => 1,
                false => 0,
            };
            if *probes == 0 {
                continue;
            }
            let waiting = (0..state.sent.len()).filter(|&at| {
                let packet = state.sent.get(at);
                packet.is_some_and(|packet| packet.is_ack_eliciting() && !packet.is_done())
            });
            for at in waiting.take(PROBE_PACKETS) {
                state.sent.copy_frames(at, &mut copied);
            }
            let again = copied.drain(..).filter(is_sent_again);
            out.resend.extend(again.map(|frame| (space, frame)));
        }
    }
}

/// Whether a frame is sent a second time at all (RFC 9000 section 13.3).
fn is_sent_again(frame: &SentFrame) -> bool {
    !matches!(
        frame,
        SentFrame::Ack { .. }
            | SentFrame::Datagram { .. }
            | SentFrame::PathChallenge { .. }
            | SentFrame::MtuProbe { .. }
    )
}
