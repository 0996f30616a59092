//! The engine behind its lock.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;
use weir_core::close::CloseReason;
use weir_core::time::Instant;
use weir_quic::Dir;

use super::clock::Clock;
use super::engine::{Engine, Link, News};
use super::wakers::{Half, Wakers};
use crate::observe::ConnectionInfo;
use crate::security::PeerId;
use crate::stats::Stats;

/// What the lock guards.
pub(crate) struct State<E, L> {
    pub(crate) engine: E,
    pub(crate) wakers: Wakers,
    pub(crate) link: L,
}

/// One connection's engine, its waiting tasks, and what is announced to many.
pub(crate) struct Shared<E, L> {
    state: Mutex<State<E, L>>,
    pub(crate) clock: Clock,
    /// When it began, on that clock.
    began: Instant,
    pub(crate) info: ConnectionInfo,
    /// Whose key answered, where that came out after `info` was made.
    peer: OnceLock<PeerId>,
    pub(super) openable: PerDir,
    pub(super) acceptable: PerDir,
    pub(super) datagram: Notify,
    pub(crate) established: Notify,
    pub(super) closed: Notify,
    reason: OnceLock<CloseReason>,
}

/// One for each kind of stream.
#[derive(Default)]
pub(super) struct PerDir {
    bi: Notify,
    uni: Notify,
}

impl PerDir {
    pub(super) fn get(&self, dir: Dir) -> &Notify {
        match dir {
            Dir::Bi => &self.bi,
            Dir::Uni => &self.uni,
        }
    }

    fn notify_waiters(&self) {
        self.bi.notify_waiters();
        self.uni.notify_waiters();
    }
}

impl<E: Engine, L: Link> Shared<E, L> {
    pub(crate) fn new(engine: E, link: L, clock: Clock, info: ConnectionInfo) -> Self {
        let wakers = Wakers::default();
        Shared {
            state: Mutex::new(State {
                engine,
                wakers,
                link,
            }),
            began: clock.read(),
            clock,
            info,
            peer: OnceLock::new(),
            openable: PerDir::default(),
            acceptable: PerDir::default(),
            datagram: Notify::new(),
            established: Notify::new(),
            closed: Notify::new(),
            reason: OnceLock::new(),
        }
    }

    /// The state; a task that panicked while holding it has not left it half-changed, since the
    /// engine does not panic.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<E, L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whose key answered.
    pub(crate) fn set_peer(&self, peer: Option<PeerId>) {
        if let Some(peer) = peer {
            // It is who it is: a second look finds the same.
            let _ = self.peer.set(peer);
        }
    }

    /// Why the connection is over, once it is.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.reason.get()
    }

    /// Runs one call on the engine and tells whoever is concerned by what it changed.
    pub(crate) fn call<R>(&self, call: impl FnOnce(&mut State<E, L>, Instant) -> R) -> R {
        let mut woken = Vec::new();
        let mut state = self.lock();
        let now = state.link.time(|| self.clock.read());
        let result = call(&mut state, now);
        self.settle(&mut state, &mut woken);
        let State { engine, link, .. } = &mut *state;
        let driver = link.called(|| engine.wants_transmit(), self.reason.get().is_some());
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
    /// Whether there was something among them that the application may answer.
    pub(crate) fn settle(&self, state: &mut State<E, L>, woken: &mut Vec<Waker>) -> bool {
        let mut asks = false;
        while let Some(news) = state.engine.poll_news() {
            asks |= matches!(news, News::Readable(_) | News::Acceptable(_));
            match news {
                News::Readable(key) => woken.extend(state.wakers.take(key.index, Half::Read)),
                News::Writable(key) => woken.extend(state.wakers.take(key.index, Half::Write)),
                News::Ended(key) => {
                    for half in [Half::Read, Half::Write, Half::Ended] {
                        woken.extend(state.wakers.take(key.index, half));
                    }
                }
                News::Acceptable(dir) => self.acceptable.get(dir).notify_one(),
                News::Openable(dir) => self.openable.get(dir).notify_one(),
                News::GoingAway => self.openable.notify_waiters(),
                News::Datagram => self.datagram.notify_one(),
                News::Established => self.established.notify_waiters(),
                News::Closed(reason) => self.over(state, reason, woken),
            }
        }
        asks
    }

    fn over(&self, state: &mut State<E, L>, reason: CloseReason, woken: &mut Vec<Waker>) {
        if self.reason.set(reason).is_err() {
            return;
        }
        state.wakers.take_all(woken);
        self.openable.notify_waiters();
        self.acceptable.notify_waiters();
        self.datagram.notify_waiters();
        self.established.notify_waiters();
        self.closed.notify_waiters();
    }

    /// A picture of the connection and of every stream that is open.
    pub(super) fn picture(&self) -> Stats {
        let age = self.clock.read().saturating_duration_since(self.began);
        let mut stats = Stats::new(&self.info, age);
        stats.peer = stats.peer.or(self.peer.get().copied());
        self.lock().engine.describe(&mut stats);
        stats.streams.sort_unstable_by_key(|stream| stream.id);
        stats
    }
}
