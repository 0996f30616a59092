//! The engine behind its lock.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::Notify;
use weir_core::close::CloseReason;
use weir_core::time::Instant;
use weir_yamux::{CarrierState, Event, Session};

use super::wakers::{Half, Wakers};
use crate::observe::ConnectionInfo;

/// What the lock guards.
pub(super) struct State {
    pub(super) session: Session,
    pub(super) wakers: Wakers,
    /// The task that drives the carrier, while it sleeps.
    driver: Option<Waker>,
    /// The carrier took no more when it was last asked: it wakes the driver, not we.
    blocked: bool,
    /// The engine's time as last looked at. While the driver is awake it is as old as its turn: a
    /// batch of calls does not read the clock for each.
    now: Instant,
}

/// One connection's engine, its waiting tasks, and what is announced to many.
pub(super) struct Shared {
    state: Mutex<State>,
    epoch: tokio::time::Instant,
    pub(super) info: ConnectionInfo,
    pub(super) openable: Notify,
    pub(super) acceptable: Notify,
    pub(super) closed: Notify,
    reason: OnceLock<CloseReason>,
}

impl Shared {
    pub(super) fn new(session: Session, epoch: tokio::time::Instant, info: ConnectionInfo) -> Self {
        let wakers = Wakers::default();
        Shared {
            state: Mutex::new(State {
                session,
                wakers,
                driver: None,
                blocked: false,
                now: Instant::ZERO,
            }),
            epoch,
            info,
            openable: Notify::new(),
            acceptable: Notify::new(),
            closed: Notify::new(),
            reason: OnceLock::new(),
        }
    }

    /// Looks at the clock: the time since this connection's task began.
    fn read_clock(&self) -> Instant {
        let nanos = self.epoch.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long the connection's task has been running.
    pub(super) fn age(&self) -> std::time::Duration {
        self.epoch.elapsed()
    }

    /// What the engine's time is on tokio's clock.
    pub(super) fn tokio_time(&self, at: Instant) -> tokio::time::Instant {
        let since = std::time::Duration::from_nanos(at.as_nanos());
        self.epoch
            .checked_add(since)
            .unwrap_or_else(|| self.epoch + FAR)
    }

    /// The state; a task that panicked while holding it has not left it half-changed, since the
    /// engine does not panic.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection is over, once it is.
    pub(super) fn reason(&self) -> Option<&CloseReason> {
        self.reason.get()
    }

    /// Runs one call on the engine and tells whoever is concerned by what it changed.
    pub(super) fn call<R>(&self, call: impl FnOnce(&mut State, Instant) -> R) -> R {
        let mut woken = Vec::new();
        let mut state = self.lock();
        if state.driver.is_some() {
            // It slept, so the time that it noted is old.
            state.now = self.read_clock();
        }
        let now = state.now;
        let result = call(&mut state, now);
        self.settle(&mut state, &mut woken);
        let over = self.reason.get().is_some();
        let driver = match (state.session.wants_transmit() && !state.blocked) || over {
            true => state.driver.take(),
            false => None,
        };
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        for waker in woken {
            waker.wake();
        }
        result
    }

    /// Turns the engine's news into tasks to wake. The caller wakes them once the lock is free.
    pub(super) fn settle(&self, state: &mut State, woken: &mut Vec<Waker>) {
        while let Some(event) = state.session.poll_event() {
            match event {
                Event::Readable(key) => woken.extend(state.wakers.take(key.index, Half::Read)),
                Event::Writable(key) => woken.extend(state.wakers.take(key.index, Half::Write)),
                Event::StreamReset(key) => {
                    for half in [Half::Read, Half::Write, Half::Ended] {
                        woken.extend(state.wakers.take(key.index, half));
                    }
                }
                Event::Acceptable => self.acceptable.notify_one(),
                Event::OpenReady => self.openable.notify_one(),
                Event::GoAway(_) => self.openable.notify_waiters(),
                Event::Closed(reason) => self.over(state, reason, woken),
                Event::Opened(_) => {}
            }
        }
    }

    fn over(&self, state: &mut State, reason: CloseReason, woken: &mut Vec<Waker>) {
        if self.reason.set(reason).is_err() {
            return;
        }
        state.wakers.take_all(woken);
        self.openable.notify_waiters();
        self.acceptable.notify_waiters();
        self.closed.notify_waiters();
    }

    /// The driver begins a turn: nobody needs to wake it, and its time is what all calls go by.
    pub(super) fn begin_turn(&self) -> Instant {
        let now = self.read_clock();
        let mut state = self.lock();
        state.driver = None;
        state.now = now;
        now
    }

    /// The driver wants to sleep: how many streams are open, or `None` when there is something to
    /// send that the carrier might take, which came up since it looked.
    pub(super) fn sleep(&self, cx: &Context<'_>) -> Option<usize> {
        let mut state = self.lock();
        if state.session.wants_transmit() && !state.blocked {
            return None;
        }
        state.driver = Some(cx.waker().clone());
        Some(state.session.open_streams())
    }

    /// What the carrier said to the last write.
    pub(super) fn set_carrier(&self, now: Instant, carrier: CarrierState) {
        let mut state = self.lock();
        state.blocked = carrier == CarrierState::Blocked;
        state.session.handle_carrier(now, carrier);
    }
}

/// Farther than any time-out: what a time that tokio's clock cannot express is taken for.
const FAR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
