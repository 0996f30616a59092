//! What the timers of RFC 9000 and 9002 do.

use weir_core::time::{Duration, Instant};
use weir_core::trace::{Event, TimerChange, TimerEvent};

use super::super::Connection;
use crate::recovery::LossTimer;
use crate::wire::Space;

/// What was told of them.
#[derive(Debug, Default)]
pub(super) struct Told {
    recovery: Option<(Instant, LossTimer)>,
    ack: Option<(Instant, Space)>,
    /// The idle time-out itself: that it begins anew with every packet is not told.
    idle: Option<Duration>,
    handshake: Option<Instant>,
}

impl Told {
    /// The recovery's timer was due, which was told.
    pub(super) fn forget_recovery(&mut self) {
        self.recovery = None;
    }
}

impl Connection {
    /// Which timers were set, are over or were due. One that is over at its time was due.
    pub(super) fn tell_timers(&mut self, now: Instant, told: &mut Told) {
        let is_open = self.is_open();
        let recovery = self.loss_timer().filter(|_| is_open);
        if recovery != told.recovery {
            let old = std::mem::replace(&mut told.recovery, recovery);
            self.tell_recovery_timer(now, recovery, old);
        }
        let ack = self.delayed_ack(now).filter(|_| is_open);
        if ack != told.ack {
            let old = std::mem::replace(&mut told.ack, ack);
            let space = ack.or(old).map(|(_, space)| space_name(space));
            let [ack, old] = [ack, old].map(|told| told.map(|(at, _)| at));
            self.tell_timer(now, ("ack", space), ack, old);
        }
        let idle = self.idle_timeout().filter(|_| is_open);
        if idle != told.idle {
            let old = std::mem::replace(&mut told.idle, idle);
            let from = self.clock.idle_from;
            let [idle, old] = [idle, old].map(|told| told.map(|time| from + time));
            self.tell_timer(now, ("idle_timeout", None), idle, old);
        }
        let handshake = self.handshake_deadline();
        if handshake != told.handshake {
            let old = std::mem::replace(&mut told.handshake, handshake);
            self.tell_timer(now, ("handshake_timeout", None), handshake, old);
        }
    }

    /// The recovery's timer was due.
    pub(in super::super) fn trace_timer_expired(&mut self, now: Instant, timer: Option<LossTimer>) {
        let Some(timer) = timer else { return };
        if let Some(seen) = &mut self.seen {
            seen.timers.forget_recovery();
        }
        self.tracer
            .emit_detail(now, || recovery_event(timer, TimerChange::Expired));
    }

    fn tell_recovery_timer(
        &mut self,
        now: Instant,
        new: Option<(Instant, LossTimer)>,
        old: Option<(Instant, LossTimer)>,
    ) {
        let event = match (new, old) {
            (Some((at, timer)), _) => {
                let delta = at.saturating_duration_since(now);
                recovery_event(timer, TimerChange::Set(delta))
            }
            (None, Some((_, timer))) => recovery_event(timer, TimerChange::Cancelled),
            (None, None) => return,
        };
        self.tracer.emit_detail(now, || event);
    }

    fn tell_timer(
        &mut self,
        now: Instant,
        (kind, space): (&'static str, Option<&'static str>),
        new: Option<Instant>,
        old: Option<Instant>,
    ) {
        let change = match (new, old) {
            (Some(at), _) => TimerChange::Set(at.saturating_duration_since(now)),
            (None, Some(at)) if at <= now => TimerChange::Expired,
            (None, Some(_)) => TimerChange::Cancelled,
            (None, None) => return,
        };
        let event = TimerEvent {
            kind,
            space,
            change,
        };
        self.tracer.emit_detail(now, || Event::Timer(event));
    }

    /// The first acknowledgement that is put off.
    fn delayed_ack(&self, now: Instant) -> Option<(Instant, Space)> {
        let spaces = self.received.iter().zip(Space::ALL);
        let delayed = spaces.filter(|(received, _)| !received.ack_due(now));
        let deadlines =
            delayed.filter_map(|(received, space)| Some((received.ack_deadline()?, space)));
        deadlines.min_by_key(|(at, _)| *at)
    }
}

const fn space_name(space: Space) -> &'static str {
    match space {
        Space::Initial => "initial",
        Space::Handshake => "handshake",
        Space::Data => "application_data",
    }
}

fn recovery_event(timer: LossTimer, change: TimerChange) -> Event<'static> {
    let (kind, space) = match timer {
        LossTimer::Loss(space) => ("loss_timeout", space),
        LossTimer::Pto(space) => ("pto", space),
    };
    Event::Timer(TimerEvent {
        kind,
        space: Some(space_name(space)),
        change,
    })
}
