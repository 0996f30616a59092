//! When a connection wakes up, and what it does then.

use weir_core::close::CloseReason;
use weir_core::time::{Duration, Instant};

use super::trace::Cause;
use super::{Connection, State, Timer};
use crate::crypto::Level;
use crate::limits::{MIN_PROBE_DATAGRAM, REST_AFTER, SILENT_PROBES};
use crate::recovery::{LossTimer, Outcome, PathLookup};
use crate::wire::Space;

/// Probe time-outs without a packet after which a server that was sending counts as silent.
const SILENT_PTOS: u32 = 3;

/// Bytes of the smallest room that a packet of any kind is begun in.
const LEAST_PACKET: u64 = 128;

impl Connection {
    /// The next time at which [`Connection::handle_timeout`] has something to do, with its reason;
    /// `None` when only a datagram or a call can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.state {
            State::Drained { .. } => None,
            State::Closing(closing) => Some((closing.until(), Timer::Close)),
            State::Draining { until, .. } => Some((*until, Timer::Close)),
            State::Handshaking | State::Established { .. } => self.next_deadline(),
        }
    }

    fn next_deadline(&self) -> Option<(Instant, Timer)> {
        let loss = self.loss_timer().map(|(at, kind)| match kind {
            LossTimer::Loss(_) => (at, Timer::Loss),
            LossTimer::Pto(_) => (at, Timer::Pto),
        });
        let named = |at: Option<Instant>, timer| at.map(|at| (at, timer));
        let deadlines = [
            loss,
            named(
                self.ack_deadline().filter(|_| !self.is_blocked()),
                Timer::AckDelay,
            ),
            named(self.clock.pacing, Timer::Pacing),
            named(self.idle_deadline(), Timer::Idle),
            named(self.answer_deadline(), Timer::Idle),
            named(self.keep_alive_deadline(), Timer::KeepAlive),
            named(self.silence_deadline(), Timer::KeepAlive),
            named(self.handshake_deadline(), Timer::Handshake),
            named(self.paths.timeout(), Timer::Path),
            named(self.protection.timeout(), Timer::Keys),
            named(self.clock.early_keys, Timer::Keys),
            named(self.streams.poll_timeout(), Timer::Streams),
            named(self.local_cids.timeout(), Timer::ConnectionIds),
            named(self.clock.rest, Timer::Rest),
        ];
        deadlines.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Does what is due at `now`; a call too early or too often does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.do_what_is_due(now);
        self.trace_changes(now, Cause::Local);
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if !self.is_open() {
            return self.on_close_timeout(now);
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.idle_deadline()) {
            let reason = "nothing was heard from the peer for the idle time-out";
            return self.end_silently(now, CloseReason::timed_out(reason));
        }
        if is_due(self.answer_deadline()) {
            let reason = "the peer answered nothing any more: the path to it may be cut";
            return self.end_silently(now, CloseReason::timed_out(reason));
        }
        if is_due(self.handshake_deadline()) {
            let reason = "the handshake was not finished in time";
            return self.end_silently(now, CloseReason::timed_out(reason));
        }
        if is_due(self.loss_timer().map(|(at, _)| at)) {
            self.on_loss_timeout(now);
        }
        if is_due(self.keep_alive_deadline()) {
            self.outbox.ping = true;
            self.clock.alive_from = now;
        }
        if is_due(self.silence_deadline()) {
            self.clock.expects = false;
            self.outbox.ping |=
                self.recovery.in_flight_total() == 0 && self.streams.waits_for_data();
        }
        if is_due(self.clock.pacing) {
            self.clock.pacing = None;
        }
        if is_due(self.protection.timeout()) {
            self.protection.on_timeout(now);
        }
        if is_due(self.clock.early_keys) {
            self.clock.early_keys = None;
            self.protection.discard(Level::ZeroRtt);
        }
        if is_due(self.paths.timeout()) {
            self.on_path_timeout(now);
        }
        if is_due(self.streams.poll_timeout()) {
            let rtt = self.rtt();
            self.streams.handle_timeout(now, rtt);
        }
        if is_due(self.local_cids.timeout()) {
            self.local_cids.on_timeout(now);
        }
        if is_due(self.clock.rest) {
            self.rest(now);
        }
    }

    /// Nothing came or went for a while: memory that only traffic needs is given back.
    fn rest(&mut self, now: Instant) {
        if self.recovery.in_flight_total() > 0 {
            self.clock.rest = Some(now + REST_AFTER);
            return;
        }
        self.clock.rest = None;
        self.streams.rest();
        self.recovery.release_memory();
        self.paths.release_memory();
        self.log = Vec::new();
        self.outcome = Outcome::default();
        self.events.shrink_to_fit();
        self.endpoint_events.shrink_to_fit();
    }

    /// Something came or went.
    pub(super) fn stir(&mut self, now: Instant) {
        self.clock.rest = Some(now + REST_AFTER);
    }

    pub(super) fn loss_timer(&self) -> Option<(Instant, LossTimer)> {
        self.recovery.timer(&self.paths, self.is_blocked())
    }

    /// A server that has used up what it may send to an address not yet validated (RFC 9002
    /// 6.2.2.1): what is left has no room for a packet. Or the peer has given no connection ID for
    /// the path in use (RFC 9000 9.5).
    fn is_blocked(&self) -> bool {
        let path = self.paths.active();
        let is_limited = self.side.is_server() && self.paths.send_allowance(path) < LEAST_PACKET;
        is_limited || !self.paths.can_address(path)
    }

    fn on_loss_timeout(&mut self, now: Instant) {
        let blocked = self.is_blocked();
        let timer = self
            .recovery
            .on_timeout(now, &mut self.paths, blocked, &mut self.outcome);
        self.trace_timer_expired(now, timer);
        match timer {
            Some(LossTimer::Loss(space)) => self.settle(now, space),
            Some(LossTimer::Pto(_)) => {
                self.outbox.probes = self.outcome.probes;
                if self.recovery.pto_count() == 1 {
                    self.clock.silent_from = now;
                }
                self.paths.on_pto(now, self.recovery.pto_count());
                self.resend_oldest(now);
                self.handshake.hasten.on_timeout(now);
                self.take_path_events(now);
            }
            None => {}
        }
    }

    /// RFC 9002 6.2.4: a probe says something new, or what is longest unacknowledged.
    fn resend_oldest(&mut self, now: Instant) {
        let resend = std::mem::take(&mut self.outcome.resend);
        for (space, frame) in &resend {
            let has_new = match space {
                Space::Data => self.streams.wants_transmit(),
                _ => false,
            };
            if !has_new {
                self.on_frame_lost(now, *space, frame);
            }
        }
        self.outcome.resend = resend;
    }

    /// The smallest acknowledgement deadline of the three spaces; none while no packet can be sent,
    /// because the address is not validated (RFC 9000 8.1) or the peer gave no connection ID.
    fn ack_deadline(&self) -> Option<Instant> {
        let path = self.paths.active();
        if self.paths.send_allowance(path) < MIN_PROBE_DATAGRAM || !self.paths.can_address(path) {
            return None;
        }
        self.received
            .iter()
            .filter_map(|received| received.ack_deadline())
            .min()
    }

    /// RFC 9000 10.1: the smaller of what both announced, at least three PTO.
    fn idle_deadline(&self) -> Option<Instant> {
        Some(self.clock.idle_from + self.idle_timeout()?)
    }

    /// That time-out.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        let ours = Some(self.config.idle_timeout).filter(|time| !time.is_zero());
        let theirs = self.peer.max_idle_timeout;
        let least = match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.min(theirs),
            (ours, theirs) => ours.or(theirs)?,
        };
        Some(least.max(self.pto().saturating_mul(3)))
    }

    /// Until when something that was sent is to be acknowledged, once several probes in a row were not.
    /// What comes from the peer meanwhile does not count: a path may be cut in one direction.
    fn answer_deadline(&self) -> Option<Instant> {
        let limit = self.config.answer_timeout;
        let is_silent = self.recovery.pto_count() >= SILENT_PROBES && !limit.is_zero();
        (is_silent && !self.is_handshaking()).then(|| self.clock.silent_from + limit)
    }

    fn keep_alive_deadline(&self) -> Option<Instant> {
        if self.outbox.ping || self.is_handshaking() {
            return None;
        }
        // Soon enough before the other side gives up.
        let every = match self.idle_timeout() {
            Some(idle) => self.config.keep_alive?.min(idle.checked_div(2)?),
            None => self.config.keep_alive?,
        };
        Some(self.clock.alive_from + every)
    }

    /// When a client asks a server that fell silent in the middle of a stream for a sign of life,
    /// once (RFC 9000 10.1.2). A NAT that forgot the path lets nothing of the server's through until
    /// the client speaks, and one that has acknowledged everything would not.
    fn silence_deadline(&self) -> Option<Instant> {
        let waits = self.clock.expects && !self.is_handshaking();
        waits.then(|| self.clock.received + self.pto().saturating_mul(SILENT_PTOS))
    }

    /// When the handshake has to be through.
    pub(super) fn handshake_deadline(&self) -> Option<Instant> {
        matches!(self.state, State::Handshaking)
            .then(|| self.clock.started + self.config.handshake_timeout)
    }

    /// The probe time-out of the active path, without backoff (RFC 9002 6.2.1).
    pub(super) fn pto(&self) -> Duration {
        self.recovery.pto_base(Space::Data, self.paths.active_rtt())
    }
}
