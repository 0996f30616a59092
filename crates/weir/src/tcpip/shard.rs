//! The task that owns a stack's devices.
//!
//! One turn: send what is ready, read what every device has, give all of it to the engine, run
//! what is due, and wake whoever is concerned, each once. Who was woken goes on first: what
//! applications answer leaves together with the acknowledgements, in the turn after. Where nobody was
//! woken, acknowledgements leave in the same turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;
use tracing::{debug, trace, warn};
use weir_core::time::Instant;
use weir_tcpip::{Frame, InterfaceId, TransmitBuf};

use super::backlog::{self, Backlog};
use super::device::{Device, ReceiveBuf};
use super::shared::Shared;
use crate::observe::FrameTap;

/// Batches that are sent in one turn before the devices are read again.
const BATCHES_PER_TURN: usize = 4;
/// Frames that are handed to a device in one call.
pub(super) const FRAMES_PER_CALL: usize = 64;
/// A device that gave so many frames in one batch is likely to have more by the time they are dealt with.
const FLOWING: usize = 2;
/// Frames that are larger than this on average, in bytes, stand for several packets.
const LARGEST_SINGLE: usize = 9216;
/// So much is read from one device in a turn while frames flow, in bytes. What it calls for, above all
/// acknowledgements, is sent once for all of it: over a TUN device each costs a system call, in which the
/// kernel's end of the connection runs. Not more than stays in the cache until the reader has it.
const BYTES_PER_TURN: usize = 128 * 1024;
/// How long connections that nobody has a handle of any more may take to say their last words.
const LINGER: Duration = Duration::from_secs(60);
/// How long the last resets may wait for a device that takes nothing.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A device, and what the shard keeps beside it.
pub(super) struct Port {
    pub(super) device: Box<dyn Device>,
    pub(super) interface: InterfaceId,
    pub(super) tap: Option<Box<dyn FrameTap>>,
    /// It failed: nothing is read from it or sent to it any more.
    pub(super) is_gone: bool,
    /// What it did not take, where the stack has other devices to go on with.
    pub(super) backlog: Backlog,
}

/// Everything of a stack that only its task touches.
pub(super) struct Shard {
    shared: Arc<Shared>,
    ports: Vec<Port>,
    batch: ReceiveBuf,
    out: TransmitBuf,
    /// Frames of `out` that the devices have taken.
    sent: usize,
    woken: Vec<Waker>,
    /// The next turn goes to those whom the woken ones have started.
    stands_back: bool,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` was set for, in the engine's time.
    alarm: Instant,
    /// Until when last words may take, once the stack was closed or nobody has a handle any more.
    end: Option<Instant>,
    /// What took longer was reset.
    is_aborted: bool,
    /// The engine's time in this turn.
    now: Instant,
}

/// How far one part of a turn came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is no more for now, and the task will be woken.
    Waiting,
    /// There may be more at once.
    More,
}

impl Shard {
    pub(super) fn new(shared: Arc<Shared>, ports: Vec<Port>) -> Shard {
        Shard {
            shared,
            ports,
            batch: ReceiveBuf::new(),
            out: TransmitBuf::new(),
            sent: 0,
            woken: Vec::new(),
            stands_back: false,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            alarm: Instant::ZERO,
            end: None,
            is_aborted: false,
            now: Instant::ZERO,
        }
    }

    /// Runs until nobody has a handle of the stack any more and its connections have said their last
    /// words, or its devices are gone.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.turn(cx)).await;
        let shared = Arc::clone(&self.shared);
        // The devices go before anybody hears that all is over.
        drop(self);
        shared.done();
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.stands_back) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.now = self.shared.begin_turn();
        // What applications have written since the last turn.
        let mut sent = self.send(cx);
        let read = self.receive(cx);
        self.run_timers();
        if self.woken.is_empty() {
            sent = self.send(cx);
        }
        if self.is_over() {
            self.wake();
            return Poll::Ready(());
        }
        let woke = self.wake();
        self.stands_back &= woke;
        let more = woke || [read, sent].contains(&Progress::More);
        if more || !self.rest(cx) {
            // Those that were woken stand in the run queue before this task.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads what every device has.
    fn receive(&mut self, cx: &mut Context<'_>) -> Progress {
        let mut progress = Progress::Waiting;
        for at in 0..self.ports.len() {
            let mut bytes: usize = 0;
            while bytes < BYTES_PER_TURN {
                let frames = self.receive_batch(at, cx);
                if frames > 0 {
                    progress = Progress::More;
                }
                let size = self.batch.bytes();
                // Super-segments have been joined already.
                if frames < FLOWING || size > frames.saturating_mul(LARGEST_SINGLE) {
                    break;
                }
                bytes = bytes.saturating_add(size);
            }
        }
        progress
    }

    /// Reads one batch from a device; how many frames it had.
    fn receive_batch(&mut self, port: usize, cx: &mut Context<'_>) -> usize {
        let now = self.now;
        let Some(port) = self.ports.get_mut(port).filter(|port| !port.is_gone) else {
            return 0;
        };
        self.batch.clear();
        match port.device.poll_recv(cx, &mut self.batch) {
            Poll::Pending => return 0,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                warn!("{} is gone: {error}", port.device.name());
                port.is_gone = true;
                return 0;
            }
        }
        if let Some(tap) = &mut port.tap {
            for (frame, offload) in self.batch.frames() {
                tap.received(frame, &offload);
            }
        }
        let mut state = self.shared.lock();
        for (frame, offload) in self.batch.frames() {
            state
                .engine
                .handle_input(now, port.interface, frame, offload);
        }
        state.settle(&mut self.woken);
        // Who accepts a connection starts a task for it, which stands behind this one in the run queue. A
        // request that came with the end of the handshake is answered by the acknowledgement that it needs
        // anyway only if that task goes first.
        self.stands_back |= std::mem::take(&mut state.has_newcomers);
        self.batch.len()
    }

    /// Has the engine do what is due.
    fn run_timers(&mut self) {
        let mut state = self.shared.lock();
        let next = state.engine.poll_timeout();
        if next.is_some_and(|(at, _)| at <= self.now) {
            state.engine.handle_timeout(self.now);
            state.settle(&mut self.woken);
        }
    }

    /// Sends what is ready, some batches of it.
    fn send(&mut self, cx: &mut Context<'_>) -> Progress {
        for port in &mut self.ports {
            if !port.backlog.is_empty() {
                backlog::flush(port, cx);
            }
        }
        for _ in 0..BATCHES_PER_TURN {
            if self.sent >= self.out.len() && !self.fill() {
                return Progress::Waiting;
            }
            let is_blocked = self.send_batch(cx).is_pending();
            self.shared.lock().link.is_blocked = is_blocked;
            if is_blocked {
                return Progress::Waiting;
            }
        }
        Progress::More
    }

    /// Asks the engine for the next batch of frames; false when it has none.
    fn fill(&mut self) -> bool {
        self.out.clear();
        self.sent = 0;
        let mut state = self.shared.lock();
        state.engine.poll_transmit(self.now, &mut self.out);
        state.settle(&mut self.woken);
        !self.out.is_empty()
    }

    /// Hands the frames of the batch to their devices, runs for one device in one call.
    fn send_batch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut frames = self.out.frames().skip(self.sent).peekable();
        while let Some(first) = frames.peek().copied() {
            let mut run = [first; FRAMES_PER_CALL];
            let mut count = 0;
            for slot in &mut run {
                match frames.next_if(|frame| frame.interface == first.interface) {
                    Some(frame) => *slot = frame,
                    None => break,
                }
                count += 1;
            }
            let run = run.get(..count).unwrap_or_default();
            let port = self
                .ports
                .iter_mut()
                .find(|port| port.interface == first.interface && !port.is_gone);
            let taken = match port {
                Some(port) if port.backlog.is_empty() => send_run(port, run, cx),
                // What came before is still waiting.
                Some(_) => 0,
                None => count,
            };
            self.sent = self.sent.saturating_add(taken);
            let left = run.get(taken..).unwrap_or_default();
            if !left.is_empty() {
                // The only device there is holds back its senders, who lose nothing by it.
                if !step_aside(&mut self.ports, &self.shared, left) {
                    return Poll::Pending;
                }
                self.sent = self.sent.saturating_add(left.len());
            }
        }
        Poll::Ready(())
    }

    /// Wakes waiting tasks; whether there were any.
    fn wake(&mut self) -> bool {
        let any = !self.woken.is_empty();
        for waker in self.woken.drain(..) {
            waker.wake();
        }
        any
    }

    /// Goes to sleep until the engine's next time; false when there is something to do at once.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.settle(&mut self.woken);
        let next = state.engine.poll_timeout().map(|(at, _)| at);
        drop(state);
        let next = [next, self.end].into_iter().flatten().min();
        if self.arm(next, cx).is_ready() {
            return false;
        }
        let mut state = self.shared.lock();
        // Calls that were made while this task was awake left their news to it.
        state.settle(&mut self.woken);
        state.settle_idle(&mut self.woken);
        let ends_earlier = match state.link.close_by {
            _ if self.is_aborted => false,
            Some(by) => self.end.is_none_or(|end| by < end),
            None => self.end.is_none() && state.link.is_abandoned,
        };
        if ends_earlier || !self.woken.is_empty() {
            return false;
        }
        state.sleep(self.alarm, cx)
    }

    /// Sets the task's own sleep; ready when it is over already.
    fn arm(&mut self, next: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(next) = next else {
            self.alarm = Instant::MAX;
            return Poll::Pending;
        };
        // A later time is met when the earlier one fires in vain: cheaper than moving the timer for
        // every batch.
        let deadline = self.shared.clock.tokio_time(next);
        if deadline < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(deadline);
        }
        self.alarm = next;
        self.sleep.as_mut().poll(cx)
    }

    /// Whether there is nothing left to do.
    fn is_over(&mut self) -> bool {
        let mut state = self.shared.lock();
        if self.ports.iter().all(|port| port.is_gone) {
            state.end("the stack's devices are gone", &mut self.woken);
            return true;
        }
        let end = match (state.link.close_by, state.link.is_abandoned, self.end) {
            (None, false, None) => {
                state.settle_idle(&mut self.woken);
                return false;
            }
            (_, _, Some(end)) if self.is_aborted => end,
            (Some(by), ..) => {
                if self.end.is_none() {
                    // Nobody will come to listeners any more.
                    state.end_listeners(&mut self.woken);
                }
                by
            }
            (None, _, Some(end)) => end,
            (None, _, None) => self.now + LINGER,
        };
        self.end = Some(end);
        let is_quiet = self.sent >= self.out.len()
            && self.ports.iter().all(|port| port.backlog.is_empty())
            && state.is_quiet();
        if is_quiet {
            return true;
        }
        if self.now < end || self.is_aborted {
            return self.now >= end;
        }
        state.engine.tcp_abort_all(self.now);
        state.settle(&mut self.woken);
        self.is_aborted = true;
        self.end = Some(self.now + LAST_WORDS);
        false
    }
}

/// A device takes no more: what it left of a run waits beside it, so that others go on. False when
/// there are no others.
#[cold]
fn step_aside(ports: &mut [Port], shared: &Shared, left: &[Frame<'_>]) -> bool {
    let running = ports.iter().filter(|port| !port.is_gone).count();
    let to = left.first().map(|frame| frame.interface);
    let port = ports.iter_mut().find(|port| Some(port.interface) == to);
    let Some(port) = port.filter(|_| running > 1) else {
        return false;
    };
    let lost = port.backlog.keep(left);
    if lost > 0 {
        trace!("{} takes nothing: {lost} frames lost", port.device.name());
        let lost = u64::try_from(lost).unwrap_or(u64::MAX);
        shared.lock().engine.count_discards(lost);
    }
    true
}

/// Gives a device a run of frames; how many it took. What it cannot send counts as lost.
pub(super) fn send_run(port: &mut Port, run: &[Frame<'_>], cx: &mut Context<'_>) -> usize {
    let mut taken: usize = 0;
    while let Some(rest) = run.get(taken..).filter(|rest| !rest.is_empty()) {
        match port.device.poll_send(cx, rest) {
            Poll::Pending => break,
            Poll::Ready(Ok(count)) => {
                if let Some(tap) = &mut port.tap {
                    for frame in rest.iter().take(count) {
                        tap.sent(frame);
                    }
                }
                taken = taken.saturating_add(count);
            }
            Poll::Ready(Err(error)) => {
                debug!("{} did not take a frame: {error}", port.device.name());
                taken = taken.saturating_add(1);
            }
        }
    }
    taken
}
