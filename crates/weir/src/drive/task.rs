//! The task that owns a connection's carrier.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;
use weir_core::buf::ReadBuf;
use weir_core::time::Instant;
use weir_yamux::{CarrierState, Input, TransmitBuf};

use super::yamux::YamuxShared;
use crate::carrier::Carrier;

/// Slices in one vectored write; the system takes at most 1,024, and 128 of the large ones are
/// more than a socket's send buffer holds.
const WRITE_SLICES: usize = 128;
/// How long a peer has to take the last words and to end its side, and how many bytes it may still
/// have had under way: enough for a round trip around the world at full windows.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Writes in a row before the readers get their turn.
const WRITES_PER_TURN: usize = 8;

/// Everything of a connection that only its task touches.
pub(super) struct Task<C> {
    shared: Arc<YamuxShared>,
    carrier: C,
    read_buf: ReadBuf,
    inputs: Vec<Bytes>,
    out: TransmitBuf,
    woken: Vec<Waker>,
    sleep: Pin<Box<Sleep>>,
    /// The engine's time in this turn.
    now: Instant,
    /// Nothing more can be read: the peer ended its direction, or the carrier failed.
    read_ended: bool,
    /// The carrier failed: nothing more can be written either.
    broken: bool,
    /// The carrier refused bytes when it was last asked.
    blocked: bool,
    /// Nothing has come since a timer last fired.
    is_idle: bool,
    /// How long the peer has to take the last words, once they are all that is left.
    last_words: Option<Pin<Box<Sleep>>>,
}

/// How far one part of a turn came.
#[derive(PartialEq, Eq)]
enum Progress {
    /// The carrier has no more for now, and will wake the task.
    Waiting,
    /// There may be more at once.
    More,
}

impl<C: Carrier> Task<C> {
    pub(super) fn new(shared: Arc<YamuxShared>, carrier: C, read_buf: ReadBuf) -> Self {
        Task {
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            shared,
            carrier,
            read_buf,
            inputs: Vec::new(),
            out: TransmitBuf::default(),
            woken: Vec::new(),
            now: Instant::ZERO,
            read_ended: false,
            broken: false,
            blocked: false,
            is_idle: false,
            last_words: None,
        }
    }

    /// Runs until the engine has said its last word and the carrier has taken it.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.turn(cx)).await;
        if !self.broken {
            // An error here concerns nobody any more.
            let _ = tokio::time::timeout(LINGER, self.linger()).await;
        }
    }

    /// One turn: read a batch, run what is due, write what is ready.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.now = self.shared.begin_turn();
        let read = self.read(cx);
        let timed = self.timers(cx);
        let written = self.write(cx);
        if self.is_over(cx) {
            return Poll::Ready(());
        }
        if read == Progress::More || timed == Progress::More || written == Progress::More {
            // The readers that were woken stand in the run queue before this task.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.shared.sleep(cx) {
            // Between streams, and when a timer found the connection idle, it needs no buffer.
            Some(streams) if streams == 0 || self.is_idle => {
                self.read_buf.rest();
                self.carrier.rest();
            }
            Some(_) => {}
            None => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }

    /// Whether everything is said: the engine is over, and its last frame was taken, cannot be, or
    /// was not within the time that a living peer needs.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.shared.reason().is_none() {
            return false;
        }
        if self.broken || self.out.is_empty() && !self.blocked {
            return true;
        }
        let sleep = self
            .last_words
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        sleep.as_mut().poll(cx).is_ready()
    }

    /// Ends the carrier so that the peer gets the last words: a socket that is closed with unread
    /// bytes in it resets the connection and takes back what is still on its way (RFC 1122 4.2.2.13).
    async fn linger(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.carrier.poll_close(cx)).await?;
        let mut left = LINGER_BYTES;
        while left > 0
            && !self.read_ended
            && poll_fn(|cx| {
                self.carrier
                    .poll_read(cx, &mut self.read_buf, &mut self.inputs)
            })
            .await?
        {
            let drained: usize = self.inputs.drain(..).map(|bytes| bytes.len()).sum();
            left = left.saturating_sub(drained);
        }
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Progress {
        if self.read_ended {
            return Progress::Waiting;
        }
        match self
            .carrier
            .poll_read(cx, &mut self.read_buf, &mut self.inputs)
        {
            Poll::Pending => return Progress::Waiting,
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => {
                self.read_ended = true;
                self.hand_up(Some(Input::End));
                return Progress::More;
            }
            Poll::Ready(Err(error)) => {
                self.fail(&error);
                return Progress::More;
            }
        }
        self.hand_up(None);
        Progress::More
    }

    /// Gives the engine what was read, and wakes the readers once it has seen all of it.
    fn hand_up(&mut self, last: Option<Input>) {
        self.is_idle = false;
        let now = self.now;
        let mut state = self.shared.lock();
        state.engine.set_pinned(self.read_buf.outstanding() as u64);
        for bytes in self.inputs.drain(..) {
            state.engine.handle_input(now, Input::Data(bytes));
        }
        if let Some(last) = last {
            state.engine.handle_input(now, last);
        }
        self.shared.settle(&mut state, &mut self.woken);
        drop(state);
        self.wake();
    }

    /// The carrier is broken, whichever direction noticed it.
    fn fail(&mut self, error: &io::Error) {
        self.read_ended = true;
        self.broken = true;
        self.out.clear();
        self.inputs.clear();
        self.hand_up(Some(Input::Lost(error.to_string())));
    }

    fn timers(&mut self, cx: &mut Context<'_>) -> Progress {
        let Some((due, _)) = self.shared.lock().engine.poll_timeout() else {
            return Progress::Waiting;
        };
        let due = self.shared.clock.tokio_time(due);
        // A later deadline is met when the earlier one fires in vain: cheaper than moving the
        // timer for every batch.
        if due < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(due);
        }
        if self.sleep.as_mut().poll(cx).is_pending() {
            return Progress::Waiting;
        }
        self.is_idle = true;
        let now = self.now;
        let mut state = self.shared.lock();
        state.engine.handle_timeout(now);
        self.shared.settle(&mut state, &mut self.woken);
        drop(state);
        self.wake();
        Progress::More
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Progress {
        for _ in 0..WRITES_PER_TURN {
            if self.out.is_empty() && !self.fill() {
                return self.flush(cx);
            }
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let count = self.out.fill_slices(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            match self.carrier.poll_write(cx, slices) {
                Poll::Ready(Ok(taken)) => self.out.advance(taken),
                Poll::Ready(Err(error)) => {
                    self.fail(&error);
                    return Progress::More;
                }
                Poll::Pending => {
                    self.set_blocked(true);
                    return Progress::Waiting;
                }
            }
            self.set_blocked(false);
        }
        Progress::More
    }

    /// Asks the engine for the next batch of frames; `false` when it has none.
    fn fill(&mut self) -> bool {
        let now = self.now;
        let mut state = self.shared.lock();
        state.engine.poll_transmit(now, &mut self.out);
        self.shared.settle(&mut state, &mut self.woken);
        drop(state);
        self.wake();
        !self.out.is_empty()
    }

    /// Carriers that seal in batches may still hold bytes of their own.
    fn flush(&mut self, cx: &mut Context<'_>) -> Progress {
        match self.carrier.poll_flush(cx) {
            Poll::Ready(Ok(())) => self.set_blocked(false),
            Poll::Ready(Err(error)) => {
                self.fail(&error);
                return Progress::More;
            }
            Poll::Pending => self.set_blocked(true),
        }
        Progress::Waiting
    }

    fn set_blocked(&mut self, blocked: bool) {
        if self.blocked == blocked {
            return;
        }
        self.blocked = blocked;
        self.shared.set_carrier(
            self.now,
            if blocked {
                CarrierState::Blocked
            } else {
                CarrierState::Ready
            },
        );
    }

    fn wake(&mut self) {
        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }
}
