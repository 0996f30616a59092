//! Where the calls of many tasks meet the task of a socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::oneshot;
use weir_core::time::Instant;
use weir_quic::{ConnectionHandle, Endpoint as Router};

use super::routes::Routes;
use super::socket::Socket;
use super::table::Entry;
use crate::drive::Clock;

/// One socket's meeting place.
///
/// Locks are taken in this order: router, a connection's, queue. None is held across a system call.
pub(crate) struct Hub {
    /// The time that all engines of the socket go by.
    pub(super) clock: Clock,
    /// The ways out of this machine.
    pub(super) routes: Arc<Routes>,
    router: Mutex<Router>,
    queue: Mutex<Queue>,
    /// The engines' time in the turn of the task that is awake; [`ASLEEP`] while it sleeps.
    turn: AtomicU64,
}

const ASLEEP: u64 = u64::MAX;

/// What the task is to look at.
#[derive(Default)]
pub(super) struct Queue {
    /// Connections that were begun from here.
    pub(super) newcomers: Vec<Entry>,
    /// Connections on which calls were made.
    pub(super) touched: Vec<ConnectionHandle>,
    /// A socket to move to, and who wants to know when that is done.
    pub(super) rebind: Option<(Socket, oneshot::Sender<()>)>,
    /// Connections are neither begun nor taken any more.
    pub(super) is_closed: bool,
    /// Something was told since the task looked.
    is_fresh: bool,
    /// The task, while it sleeps.
    sleeper: Option<Waker>,
}

/// What concerns all connections.
pub(super) struct Told {
    pub(super) rebind: Option<(Socket, oneshot::Sender<()>)>,
    pub(super) is_closed: bool,
}

impl Hub {
    pub(super) fn new(clock: Clock, router: Router, routes: Arc<Routes>) -> Hub {
        Hub {
            clock,
            routes,
            router: Mutex::new(router),
            queue: Mutex::default(),
            turn: AtomicU64::new(ASLEEP),
        }
    }

    pub(super) fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the turn that runs, if one does.
    pub(super) fn turn(&self) -> Option<Instant> {
        let nanos = self.turn.load(Ordering::Relaxed);
        (nanos != ASLEEP).then(|| Instant::from_nanos(nanos))
    }

    /// Has the task look at a connection. Whom to wake for it.
    pub(super) fn touch(&self, handle: ConnectionHandle) -> Option<Waker> {
        let mut queue = self.queue();
        queue.touched.push(handle);
        queue.sleeper.take()
    }

    /// Changes the queue, and wakes the task.
    pub(super) fn tell<R>(&self, change: impl FnOnce(&mut Queue) -> R) -> R {
        let mut queue = self.queue();
        let result = change(&mut queue);
        queue.is_fresh = true;
        let sleeper = queue.sleeper.take();
        drop(queue);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        result
    }

    /// The task begins a turn: nobody needs to wake it, and its time is what all calls go by.
    pub(super) fn begin_turn(&self) -> Instant {
        self.queue().sleeper = None;
        let now = self.clock.read();
        self.turn.store(now.as_nanos(), Ordering::Relaxed);
        now
    }

    /// Takes what came up; `touched` comes in empty and keeps its memory in use.
    pub(super) fn take(
        &self,
        touched: &mut Vec<ConnectionHandle>,
        newcomers: &mut Vec<Entry>,
    ) -> Told {
        let mut queue = self.queue();
        std::mem::swap(&mut queue.touched, touched);
        newcomers.append(&mut queue.newcomers);
        queue.is_fresh = false;
        Told {
            rebind: queue.rebind.take(),
            is_closed: queue.is_closed,
        }
    }

    /// The task wants to sleep; false when something came up since it looked.
    pub(super) fn sleep(&self, cx: &Context<'_>) -> bool {
        let mut queue = self.queue();
        if !queue.touched.is_empty() || queue.is_fresh {
            return false;
        }
        queue.sleeper = Some(cx.waker().clone());
        self.turn.store(ASLEEP, Ordering::Relaxed);
        true
    }
}
