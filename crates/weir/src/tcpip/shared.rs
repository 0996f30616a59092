//! The engine behind its lock, and who waits for what of it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weir_core::time::Instant;
use weir_tcpip::{Event, IncomingKey, ListenerKey, Stack as Engine, TcpKey, UdpKey};

use super::waiters::Waiters;
use crate::drive::{Clock, Half, Wakers};

/// What calls on a stack that was closed say.
pub(super) const CLOSED: &str = "the stack was closed";

/// What the lock guards.
pub(super) struct State {
    pub(super) engine: Engine,
    /// Who waits for a connection, in a table beside the engine's: an idle one costs its two places.
    pub(super) tcp: Wakers,
    /// Who waits for urgent data: few ever do.
    urgent: HashMap<u32, Waker>,
    /// Who waits for the last connection to be over.
    idle: Waiters,
    /// Who waits for a connection's end: few, so they take no room in the table.
    closed: HashMap<u32, Waiters>,
    listeners: Vec<Listening>,
    udp: Vec<Talking>,
    pub(super) link: Link,
    /// Connections wait to be accepted that the task has not been told of.
    pub(super) has_newcomers: bool,
    /// The devices are gone, or the stack was closed: why.
    pub(super) over: Option<Arc<str>>,
    /// The task is over, and the devices were dropped.
    is_done: bool,
}

/// What is known of the task that owns the devices.
#[derive(Default)]
pub(super) struct Link {
    /// The task, while it sleeps.
    driver: Option<Waker>,
    /// A device takes no frames: it wakes the task, not we.
    pub(super) is_blocked: bool,
    /// The engine's time as last looked at. While the task is awake it is as old as its turn.
    now: Instant,
    /// When the task wakes by itself.
    pub(super) alarm: Instant,
    /// Nobody has a handle any more.
    pub(super) is_abandoned: bool,
    /// The stack was closed: until when its connections may take to end.
    pub(super) close_by: Option<Instant>,
}

/// A listener's place.
#[derive(Default)]
struct Listening {
    waiters: Waiters,
    /// Attempts that nobody has looked at yet; the engine bounds how many there are.
    incoming: VecDeque<Attempt>,
}

/// An attempt at a deferring listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) key: IncomingKey,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// A UDP socket's place.
#[derive(Default)]
struct Talking {
    readers: Waiters,
    writers: Waiters,
    /// A send found no room, and nobody was told of any since.
    is_full: bool,
    /// It has one peer, whose ICMP errors its calls report.
    is_connected: bool,
}

/// One stack: its engine, and the tasks that wait.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Clock,
}

/// What handles hold. When the last one goes, the task ends once everything is said.
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.link.is_abandoned = true;
        let driver = state.link.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Shared {
    pub(super) fn new(engine: Engine, clock: Clock) -> Shared {
        let state = State {
            engine,
            tcp: Wakers::default(),
            urgent: HashMap::new(),
            closed: HashMap::new(),
            idle: Waiters::default(),
            listeners: Vec::new(),
            udp: Vec::new(),
            link: Link::default(),
            has_newcomers: false,
            over: None,
            is_done: false,
        };
        Shared {
            state: Mutex::new(state),
            clock,
        }
    }

    /// The state; a task that panicked while holding it has not left it half-changed, since the
    /// engine does not panic.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one call on the engine, and wakes whoever is concerned by what it changed: the task that
    /// owns the devices if there is something to send, or something to do earlier than it knows.
    pub(super) fn call<R>(&self, call: impl FnOnce(&mut State, Instant) -> R) -> R {
        let mut woken = Vec::new();
        let mut state = self.lock();
        let now = state.link.time(&self.clock);
        let result = call(&mut state, now);
        if state.is_left_alone() {
            state.settle(&mut woken);
            state.settle_idle(&mut woken);
        }
        let driver = state.driver_to_wake();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        for waker in woken {
            waker.wake();
        }
        result
    }

    /// Closes the stack: no more connections, and those that there are end by `limit` from now, or
    /// earlier where it was closed before.
    pub(super) fn close(&self, limit: Duration) {
        let driver = {
            let mut state = self.lock();
            let now = state.link.time(&self.clock);
            let by = now + limit;
            let before = state.link.close_by;
            state.link.close_by = Some(before.map_or(by, |before| before.min(by)));
            if before.is_none() {
                state.engine.tcp_finish_all(now);
            }
            state.link.driver.take()
        };
        // It tells who is concerned, in its turn.
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// The task is over, and the devices were dropped.
    pub(super) fn done(&self) {
        let mut woken = Vec::new();
        let mut state = self.lock();
        state.is_done = true;
        state.end(CLOSED, &mut woken);
        state.idle.take(&mut woken);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The task begins a turn: nobody needs to wake it, and its time is what all calls go by.
    pub(super) fn begin_turn(&self) -> Instant {
        let now = self.clock.read();
        let mut state = self.lock();
        state.link.driver = None;
        state.link.now = now;
        now
    }
}

impl Link {
    fn time(&mut self, clock: &Clock) -> Instant {
        if self.driver.is_some() {
            // The task slept, so the time that it noted is old.
            self.now = clock.read();
        }
        self.now
    }
}

impl State {
    /// Nobody is about to see to what calls change, so they do. A task that is awake does it once for all
    /// of them, before it sleeps.
    fn is_left_alone(&self) -> bool {
        self.link.driver.is_some() || self.over.is_some()
    }

    fn driver_to_wake(&mut self) -> Option<Waker> {
        let State { engine, link, .. } = self;
        link.driver.as_ref()?;
        let is_due = !link.is_blocked && engine.wants_transmit()
            || engine.poll_timeout().is_some_and(|(at, _)| at < link.alarm);
        link.driver.take_if(|_| is_due)
    }

    /// The task wants to sleep until `alarm`: false when something came up since it looked.
    pub(super) fn sleep(&mut self, alarm: Instant, cx: &Context<'_>) -> bool {
        self.link.alarm = alarm;
        self.link.driver = Some(cx.waker().clone());
        let stays_awake = self.driver_to_wake().is_some();
        if stays_awake {
            self.link.driver = None;
        }
        !stays_awake
    }

    /// Why nothing new begins: the stack is over, or about to be.
    pub(super) fn refusal(&self) -> Option<Arc<str>> {
        let closing = self.link.close_by.map(|_| Arc::from(CLOSED));
        self.over.clone().or(closing)
    }

    /// Ready when no connection has anything left to say; once the stack was closed, when its devices
    /// were given back.
    pub(super) fn poll_idle(&mut self, cx: &Context<'_>) -> Poll<()> {
        let is_idle = match self.link.close_by {
            Some(_) => self.is_done,
            None => self.is_done || self.is_quiet(),
        };
        if is_idle {
            return Poll::Ready(());
        }
        self.idle.wait(cx);
        Poll::Pending
    }

    /// Whether the engine has nothing to say, now or later.
    pub(super) fn is_quiet(&self) -> bool {
        !self.engine.wants_transmit() && !self.engine.has_live_connections()
    }

    /// At the end of a turn: whether somebody waits for the last connection, and there is none.
    pub(super) fn settle_idle(&mut self, woken: &mut Vec<Waker>) {
        if !self.idle.is_empty() && self.link.close_by.is_none() && self.is_quiet() {
            self.idle.take(woken);
        }
    }

    /// Those who wait at listeners look again: there are no listeners any more.
    pub(super) fn end_listeners(&mut self, woken: &mut Vec<Waker>) {
        for listening in &mut self.listeners {
            listening.incoming.clear();
            listening.waiters.take(woken);
        }
    }

    /// Turns the engine's news into tasks to wake, once the lock is free.
    pub(super) fn settle(&mut self, woken: &mut Vec<Waker>) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::TcpReadable(key) => woken.extend(self.tcp.take(place(key), Half::Read)),
                Event::TcpWritable(key) => woken.extend(self.tcp.take(place(key), Half::Write)),
                Event::TcpUrgent(key) => woken.extend(self.urgent.remove(&place(key))),
                Event::TcpConnected(key) => self.take_both(key, woken),
                Event::TcpClosed(key, _) => {
                    self.take_both(key, woken);
                    if let Some(mut waiters) = self.closed.remove(&place(key)) {
                        waiters.take(woken);
                    }
                }
                Event::TcpAcceptable(key) => {
                    self.has_newcomers = true;
                    self.listening(key).waiters.take(woken);
                }
                Event::TcpIncoming {
                    listener,
                    incoming,
                    local,
                    remote,
                } => {
                    let listening = self.listening(listener);
                    listening.incoming.push_back(Attempt {
                        key: incoming,
                        local,
                        remote,
                    });
                    listening.waiters.take(woken);
                }
                Event::TcpIncomingGone(gone) => {
                    for listening in &mut self.listeners {
                        listening.incoming.retain(|attempt| attempt.key != gone);
                    }
                }
                Event::UdpReadable(key) => self.talking(key).readers.take(woken),
                Event::UdpWritable(key) => {
                    let talking = self.talking(key);
                    talking.is_full = false;
                    talking.writers.take(woken);
                }
                Event::UdpError(key) => {
                    let talking = self.talking(key);
                    talking.readers.take(woken);
                    talking.writers.take(woken);
                }
                Event::Address { .. } => {}
            }
        }
    }

    /// Those who read and write a connection, its urgent data among that.
    fn take_both(&mut self, key: TcpKey, woken: &mut Vec<Waker>) {
        woken.extend(self.urgent.remove(&place(key)));
        woken.extend(self.tcp.take(place(key), Half::Read));
        woken.extend(self.tcp.take(place(key), Half::Write));
    }

    fn listening(&mut self, key: ListenerKey) -> &mut Listening {
        at(&mut self.listeners, key.index())
    }

    fn talking(&mut self, key: UdpKey) -> &mut Talking {
        at(&mut self.udp, key.index())
    }

    pub(super) fn wait_accept(&mut self, key: ListenerKey, cx: &Context<'_>) {
        self.listening(key).waiters.wait(cx);
    }

    /// The attempt that waits longest at a deferring listener.
    pub(super) fn next_attempt(&mut self, key: ListenerKey) -> Option<Attempt> {
        self.listening(key).incoming.pop_front()
    }

    /// Nobody waits at the listener any more.
    pub(super) fn forget_listener(&mut self, key: ListenerKey) {
        *self.listening(key) = Listening::default();
    }

    pub(super) fn wait_tcp(&mut self, key: TcpKey, half: Half, cx: &Context<'_>) {
        self.tcp.wait(place(key), half, cx);
    }

    /// The task is woken when urgent data comes; another one that waited is not any more.
    pub(super) fn wait_urgent(&mut self, key: TcpKey, cx: &Context<'_>) {
        self.urgent.insert(place(key), cx.waker().clone());
    }

    /// Any number of tasks may wait for a connection's end.
    pub(super) fn wait_closed(&mut self, key: TcpKey, cx: &Context<'_>) {
        self.closed.entry(place(key)).or_default().wait(cx);
    }

    /// Nobody waits for the connection any more.
    pub(super) fn forget_tcp(&mut self, key: TcpKey) {
        self.urgent.remove(&place(key));
        self.closed.remove(&place(key));
        self.tcp.take(place(key), Half::Read);
        self.tcp.take(place(key), Half::Write);
    }

    pub(super) fn wait_udp(&mut self, key: UdpKey, half: Half, cx: &Context<'_>) {
        let talking = self.talking(key);
        match half {
            Half::Read => talking.readers.wait(cx),
            Half::Write | Half::Ended => talking.writers.wait(cx),
        }
    }

    pub(super) fn set_full(&mut self, key: UdpKey) {
        self.talking(key).is_full = true;
    }

    pub(super) fn is_full(&mut self, key: UdpKey) -> bool {
        self.talking(key).is_full
    }

    pub(super) fn set_connected(&mut self, key: UdpKey) {
        self.talking(key).is_connected = true;
    }

    pub(super) fn is_connected(&mut self, key: UdpKey) -> bool {
        self.talking(key).is_connected
    }

    pub(super) fn forget_udp(&mut self, key: UdpKey) {
        *self.talking(key) = Talking::default();
    }

    /// The stack is over: everybody who waits looks again, and finds out.
    pub(super) fn end(&mut self, why: &str, woken: &mut Vec<Waker>) {
        self.over.get_or_insert_with(|| why.into());
        self.tcp.take_all(woken);
        woken.extend(self.urgent.drain().map(|(_, waker)| waker));
        for (_, mut waiters) in self.closed.drain() {
            waiters.take(woken);
        }
        self.end_listeners(woken);
        for talking in &mut self.udp {
            talking.readers.take(woken);
            talking.writers.take(woken);
        }
    }
}

/// Keys are dense: one that does not fit into 32 bits there is none of.
fn place(key: TcpKey) -> u32 {
    u32::try_from(key.index()).unwrap_or(u32::MAX)
}

/// The place in a table beside the engine's, made when it is first needed.
#[expect(clippy::indexing_slicing, reason = "resized to hold the index")]
fn at<T: Default>(table: &mut Vec<T>, index: usize) -> &mut T {
    if table.len() <= index {
        table.resize_with(index.saturating_add(1), T::default);
    }
    &mut table[index]
}
