//! The task that owns a socket, its router and its connections.
//!
//! One turn: read a batch, give every datagram to its connection, run what is due, then for each
//! connection that something happened on write what it has to say, and wake who waits for it. What
//! applications do between two turns only puts the connection on the list of the next one. So does
//! news that an application may answer: its tasks run first, and acknowledgements leave together
//! with the answers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;
use tracing::debug;
use weir_core::time::Instant;
use weir_core::timer::Wheel;
use weir_quic::{
    ConnectionHandle, Ecn, EndpointEvent, Handled, Incoming, PathAddr, Transmit, TransmitBuf,
};

use super::hub::Hub;
use super::listener::Listener;
use super::socket::{Batch, Sent, Socket};
use super::table::{Entry, Stage, Table};
use crate::drive::Engine;

/// How exact timers are: pacing is the finest use of them.
const TICK: Duration = Duration::from_micros(250);
/// Batches that one connection sends before the others have their turn.
const BATCHES_EACH: usize = 4;
/// Batches in a turn before the socket is read again.
const BATCHES_PER_TURN: usize = 16;
/// Waiting tasks that go on before what they write is sent. A peer that gets all answers at once has
/// nothing to do meanwhile, nor this side while the peer works on them.
const WAKES_PER_TURN: usize = 32;

/// Everything of a socket that only its task touches.
pub(super) struct Shard {
    hub: Arc<Hub>,
    socket: Socket,
    batch: Batch,
    out: TransmitBuf,
    /// Answers that need no connection.
    reply: TransmitBuf,
    /// The batch in `out` that the socket had no room for.
    unsent: Option<Transmit>,
    table: Table,
    /// Connections that something happened on, each once.
    due: VecDeque<usize>,
    /// Connections whose applications are being told of what came: due in the next turn.
    held: Vec<usize>,
    timers: Wheel<usize>,
    sleep: Pin<Box<Sleep>>,
    listener: Option<Listener>,
    is_closed: bool,
    /// The engines' time in this turn.
    now: Instant,
    /// How long the task does not sleep after something happened, and until when that is.
    busy_poll: Duration,
    busy_until: Instant,
    scratch: Scratch,
}

/// Lists that are empty between uses, kept for their memory.
#[derive(Default)]
struct Scratch {
    touched: Vec<ConnectionHandle>,
    newcomers: Vec<Entry>,
    incoming: Vec<Incoming>,
    replies: Vec<(Transmit, Box<[u8]>)>,
    events: Vec<EndpointEvent>,
    woken: Vec<Waker>,
}

/// How far one part of a turn came.
#[derive(PartialEq, Eq)]
enum Progress {
    /// There is no more for now, and the task will be woken.
    Waiting,
    /// There may be more at once.
    More,
}

/// How far a connection came with what it has to send.
enum Served {
    All,
    More,
    Blocked,
}

impl Shard {
    pub(super) fn new(
        hub: Arc<Hub>,
        socket: Socket,
        listener: Option<Listener>,
        busy_poll: Duration,
    ) -> Self {
        Shard {
            batch: Batch::default(),
            out: TransmitBuf::new(socket.max_segments()),
            reply: TransmitBuf::new(1),
            unsent: None,
            table: Table::default(),
            due: VecDeque::new(),
            held: Vec::new(),
            timers: Wheel::new(TICK, hub.clock.read()),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            listener,
            is_closed: false,
            now: hub.clock.read(),
            busy_poll,
            busy_until: Instant::ZERO,
            scratch: Scratch::default(),
            hub,
            socket,
        }
    }

    /// Runs until nobody begins connections any more and the last one is over.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.turn(cx)).await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.now = self.hub.begin_turn();
        self.due.extend(self.held.drain(..));
        let read = self.read(cx);
        self.take_calls();
        self.run_timers();
        let sent = self.send(cx);
        // Last, because sending is what sets most timers.
        let timed = self.arm(cx);
        let is_over = self.is_closed && self.table.is_empty();
        let woken = &mut self.scratch.woken;
        let now = match is_over {
            true => woken.len(),
            false => woken.len().min(WAKES_PER_TURN),
        };
        for waker in woken.drain(..now) {
            waker.wake();
        }
        if is_over {
            return Poll::Ready(());
        }
        let more = [read, timed, sent].contains(&Progress::More)
            || !self.held.is_empty()
            || !self.scratch.woken.is_empty();
        if more || self.is_busy() || !self.hub.sleep(cx) {
            // The readers that were woken stand in the run queue before this task.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether it is too early to sleep.
    fn is_busy(&self) -> bool {
        self.now < self.busy_until
    }

    /// Something happened.
    fn stir(&mut self) {
        if !self.busy_poll.is_zero() {
            self.busy_until = self.now + self.busy_poll;
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Progress {
        match self.socket.poll_readable(cx) {
            Poll::Pending if self.is_busy() => {
                if self.socket.receive_unasked(&mut self.batch).is_ok() {
                    self.route();
                    return Progress::More;
                }
                return Progress::Waiting;
            }
            Poll::Pending => return Progress::Waiting,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                debug!("the socket cannot be waited for: {error}");
                return Progress::Waiting;
            }
        }
        match self.socket.receive(&mut self.batch) {
            Ok(()) => self.route(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Errors of earlier sends are told here; what they were about counts as lost.
            Err(error) => debug!("the socket reports {error}"),
        }
        // Once more, so that the next arrival wakes the task.
        Progress::More
    }

    /// Gives every datagram of the batch to its connection, which is locked once for a run of them.
    fn route(&mut self) {
        self.stir();
        let now = self.now;
        let (table, due, held) = (&mut self.table, &mut self.due, &mut self.held);
        let woken = &mut self.scratch.woken;
        let (incoming, replies) = (&mut self.scratch.incoming, &mut self.scratch.replies);
        let reply = &mut self.reply;
        let mut router = self.hub.router();
        let mut datagrams = self.batch.datagrams().map(|(path, ecn, data)| {
            let handled = router.handle_datagram(now, path, ecn, data, reply);
            if let Handled::Reply(transmit) = &handled {
                replies.push((*transmit, reply.as_slice().into()));
            }
            Routed {
                handled,
                path,
                ecn,
                data,
            }
        });
        let mut next = datagrams.next();
        while let Some(datagram) = next.take() {
            match datagram.handled {
                Handled::Connection(handle) => {
                    if let Some(entry) = table.get_mut(handle) {
                        let asks;
                        (asks, next) = hand_in(entry, now, datagram, &mut datagrams, woken);
                        match asks {
                            true => entry.hold(held),
                            false => entry.mark(due),
                        }
                        continue;
                    }
                }
                Handled::StatelessReset(handle) => {
                    if let Some(entry) = table.get_mut(handle) {
                        entry.mark(due);
                        let mut state = entry.shared.lock();
                        let now = state.link.begin(now);
                        state.engine.connection.handle_stateless_reset(now);
                    }
                }
                Handled::Incoming(asking) => incoming.push(asking),
                Handled::Nothing | Handled::Reply(_) => {}
            }
            next = datagrams.next();
        }
        drop(datagrams);
        drop(router);
        self.admit();
        for (transmit, bytes) in self.scratch.replies.drain(..) {
            // An answer without state that does not go is a lost one.
            let _ = self.socket.send(&transmit, &bytes);
        }
    }

    /// Decides on the clients that ask for a connection.
    fn admit(&mut self) {
        for incoming in self.scratch.incoming.drain(..) {
            let path = PathAddr {
                local: incoming.local_ip(),
                remote: incoming.remote(),
            };
            let welcome = match &self.listener {
                Some(listener) => listener.welcome(self.socket.local(), path),
                None => None,
            };
            let mut router = self.hub.router();
            let Some(welcome) = welcome else {
                let refusal = router.refuse(self.now, incoming, &mut self.reply);
                drop(router);
                if let Some(transmit) = refusal {
                    let _ = self.socket.send(&transmit, self.reply.as_slice());
                }
                continue;
            };
            let accepted = router.accept(self.now, incoming, None);
            drop(router);
            match accepted {
                Ok((handle, connection)) => {
                    let entry = welcome.entry(&self.hub, handle, connection);
                    self.table.insert(entry, &mut self.due);
                }
                Err(error) => debug!("{} did not come in: {error}", path.remote),
            }
        }
    }

    /// What applications did since the last turn.
    fn take_calls(&mut self) {
        let scratch = &mut self.scratch;
        let news = self.hub.take(&mut scratch.touched, &mut scratch.newcomers);
        for newcomer in scratch.newcomers.drain(..) {
            self.socket.expect(self.now, newcomer.handle);
            self.table.insert(newcomer, &mut self.due);
        }
        for handle in scratch.touched.drain(..) {
            if let Some(entry) = self.table.get_mut(handle) {
                entry.mark(&mut self.due);
            }
        }
        if news.is_closed {
            self.is_closed = true;
            self.listener = None;
        }
        if let Some((socket, done)) = news.rebind {
            self.move_to(socket);
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    /// Goes on with another socket: the network has changed. Connections that this side dialled
    /// move with it (RFC 9000 section 9); those of clients cannot.
    fn move_to(&mut self, mut socket: Socket) {
        socket.succeed(&mut self.socket);
        self.socket = socket;
        self.unsent = None;
        self.out = TransmitBuf::new(self.socket.max_segments());
        for entry in self.table.iter_mut() {
            let mut state = entry.shared.lock();
            let now = state.link.begin(self.now);
            let connection = &mut state.engine.connection;
            if connection.side().is_client()
                && let Err(error) = connection.local_address_changed(now, None)
            {
                debug!("a connection stays where it was: {error}");
            }
            let bound = connection
                .path()
                .and_then(|path| self.hub.routes.bound(path.remote));
            if let Some(bound) = bound {
                connection.set_mtu_bound(now, bound);
            }
            drop(state);
            entry.mark(&mut self.due);
        }
    }

    fn run_timers(&mut self) {
        self.socket.look(self.now, &mut self.table, &mut self.due);
        while let Some((_, index)) = self.timers.pop_expired(self.now) {
            let Some(entry) = self.table.at_mut(index) else {
                continue;
            };
            entry.timer = None;
            let mut state = entry.shared.lock();
            let now = state.link.begin(self.now);
            state.engine.connection.handle_timeout(now);
            drop(state);
            entry.mark(&mut self.due);
        }
        let mut router = self.hub.router();
        if router.poll_timeout().is_some_and(|at| at <= self.now) {
            router.handle_timeout(self.now);
        }
    }

    /// Sets the task's own sleep to what is next.
    fn arm(&mut self, cx: &mut Context<'_>) -> Progress {
        let next = [
            self.timers.next(),
            self.hub.router().poll_timeout(),
            self.socket.next_look(),
        ];
        let Some(next) = next.into_iter().flatten().min() else {
            return Progress::Waiting;
        };
        let next = self.hub.clock.tokio_time(next);
        // A later time is met when the earlier one fires in vain: cheaper than moving the timer for
        // every turn.
        if next < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(next);
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Progress::More,
            Poll::Pending => Progress::Waiting,
        }
    }

    /// Sends what the connections have to say, in turns.
    fn send(&mut self, cx: &mut Context<'_>) -> Progress {
        if let Some(transmit) = self.unsent.take()
            && self.send_batch(transmit) == Sent::Blocked
        {
            return self.wait_for_room(cx);
        }
        let mut left = BATCHES_PER_TURN;
        while let Some(index) = self.due.pop_front() {
            match self.serve(index, &mut left) {
                Served::All => {}
                Served::More => self.due.push_back(index),
                Served::Blocked => {
                    self.due.push_front(index);
                    return self.wait_for_room(cx);
                }
            }
            if left == 0 {
                return Progress::More;
            }
        }
        Progress::Waiting
    }

    fn wait_for_room(&mut self, cx: &mut Context<'_>) -> Progress {
        match self.socket.poll_writable(cx) {
            Poll::Ready(_) => Progress::More,
            Poll::Pending => Progress::Waiting,
        }
    }

    fn send_batch(&mut self, transmit: Transmit) -> Sent {
        let sent = self.socket.send(&transmit, self.out.as_slice());
        match sent {
            Sent::Done => {
                self.stir();
                self.out.clear();
                if self.out.max_segments() > self.socket.max_segments() {
                    // The interface turned out not to take batches.
                    self.out = TransmitBuf::new(self.socket.max_segments());
                }
            }
            Sent::Blocked => self.unsent = Some(transmit),
        }
        sent
    }

    /// Sends some of what one connection has to say, and tells its news when that was all.
    fn serve(&mut self, index: usize, left: &mut usize) -> Served {
        for _ in 0..BATCHES_EACH {
            let Some(entry) = self.table.at_mut(index) else {
                return Served::All;
            };
            let mut state = entry.shared.lock();
            let now = state.link.begin(self.now);
            state.engine.end_if_idle(now);
            let Some(transmit) = state.engine.connection.poll_transmit(now, &mut self.out) else {
                drop(state);
                self.settle(index);
                return Served::All;
            };
            drop(state);
            *left = left.saturating_sub(1);
            if self.send_batch(transmit) == Sent::Blocked {
                return Served::Blocked;
            }
        }
        Served::More
    }

    /// All is said: who is concerned by what happened is told, and the next time is noted.
    fn settle(&mut self, index: usize) {
        let Some(entry) = self.table.at_mut(index) else {
            return;
        };
        entry.is_due = false;
        let shared = Arc::clone(&entry.shared);
        let mut state = shared.lock();
        state.link.take_dirty();
        state.link.is_held = state.engine.wants_transmit();
        shared.settle(&mut state, &mut self.scratch.woken);
        let connection = &mut state.engine.connection;
        while let Some(event) = connection.poll_endpoint_event() {
            self.scratch.events.push(event);
        }
        let deadline = connection.poll_timeout().map(|(at, _)| at);
        let is_drained = connection.is_drained();
        let stage = Stage::of(connection);
        drop(state);
        entry.announce(stage);
        let handle = entry.handle;
        if !self.scratch.events.is_empty() {
            let mut router = self.hub.router();
            for event in self.scratch.events.drain(..) {
                router.handle_event(handle, &event);
            }
        }
        match deadline {
            _ if is_drained => self.remove(index),
            Some(at) => self.set_timer(index, at),
            None => {}
        }
    }

    fn set_timer(&mut self, index: usize, at: Instant) {
        let Some(entry) = self.table.at_mut(index) else {
            return;
        };
        match entry.timer {
            // As with the task's own sleep: it fires in vain, and is set anew then.
            Some((_, set)) if set <= at => {}
            Some((key, _)) => {
                self.timers.reset(key, at);
                entry.timer = Some((key, at));
            }
            None => entry.timer = Some((self.timers.insert(at, index), at)),
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(entry) = self.table.remove(index)
            && let Some((key, _)) = entry.timer
        {
            self.timers.cancel(key);
        }
    }
}

/// A datagram, and what is to become of it.
struct Routed<'a> {
    handled: Handled,
    path: PathAddr,
    ecn: Option<Ecn>,
    data: &'a mut [u8],
}

/// Hands a run of datagrams to one connection. Whether the application may answer them at once, and
/// the first that is not for the connection.
fn hand_in<'a>(
    entry: &Entry,
    now: Instant,
    first: Routed<'a>,
    rest: &mut impl Iterator<Item = Routed<'a>>,
    woken: &mut Vec<Waker>,
) -> (bool, Option<Routed<'a>>) {
    let mut state = entry.shared.lock();
    let now = state.link.begin(now);
    let mut one = Some(first);
    let next = loop {
        match one {
            Some(datagram) if is_for(entry, &datagram) => {
                let connection = &mut state.engine.connection;
                connection.handle_datagram(now, datagram.path, datagram.ecn, datagram.data);
            }
            next => break next,
        }
        one = rest.next();
    };
    (entry.shared.settle(&mut state, woken), next)
}

fn is_for(entry: &Entry, datagram: &Routed<'_>) -> bool {
    matches!(datagram.handled, Handled::Connection(handle) if handle == entry.handle)
}
