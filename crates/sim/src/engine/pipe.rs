//! An engine over a byte pipe.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use weir_core::time::Instant;

use super::MAX_ROUNDS;
use crate::actor::Actor;
use crate::flow::Read;
use crate::world::{PipeEnd, World};

/// Most bytes of one read, as a driver's read buffer has it.
const READ_SIZE: usize = 256 * 1024;

/// What comes to an engine out of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeInput {
    /// Bytes, in any cut.
    Data(Bytes),
    /// The other end finished writing, or the pipe was closed: no more bytes.
    End,
    /// The pipe was reset.
    Reset,
}

/// How a peer ends a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeClose {
    /// Finishes writing, after all that was handed out; reading goes on.
    Finish,
    /// Resets the pipe, whatever waits to go out.
    Abort,
}

/// An engine that speaks over one ordered byte pipe, with the application that uses it.
///
/// The order of calls is a driver's: after input or a timeout, [`PipePeer::step`] lets the
/// application act, then [`PipePeer::poll_transmit`] is called until it gives nothing or the pipe is
/// full; both again as long as anything moves.
pub trait PipePeer {
    /// Bytes, or the end of them.
    fn handle_input(&mut self, now: Instant, input: PipeInput);

    /// The time of [`PipePeer::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Instant);

    /// Pushes what is to be sent, in order; nothing when there is nothing. It is called only when
    /// all that it gave before has gone into the pipe.
    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<Bytes>);

    /// The next wake-up, with its name.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;

    /// The pipe refuses bytes (`true`), or has taken some again (`false`; `true` follows at once when
    /// it did not take all).
    fn handle_blocked(&mut self, _now: Instant, _blocked: bool) {}

    /// Bytes it would take now; 0 leaves them in the pipe, whose writer will feel it.
    fn appetite(&self) -> usize {
        usize::MAX
    }

    /// How it wants to end the pipe, if it does; it goes on saying so. Asked in every round.
    fn wants_close(&self) -> Option<PipeClose> {
        None
    }

    /// The application's turn.
    fn step(&mut self, _now: Instant) {}

    /// Whether it has reached what the test wants of it.
    fn is_done(&self) -> bool;

    /// Grows with the application's progress: [`Actor::progress`].
    fn progress(&self) -> u64 {
        0
    }

    /// Its state, for the state dump of a failed run.
    fn describe(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// The actor around a [`PipePeer`]: it stands where a driver with a socket stands.
#[derive(Debug)]
pub struct OnPipe<P> {
    /// The peer.
    pub peer: P,
    end: PipeEnd,
    pending: VecDeque<Bytes>,
    staged: Vec<Bytes>,
    blocked: bool,
    /// The pipe gave its end.
    input_over: bool,
    /// The pipe takes no more.
    output_over: bool,
    closed: Option<PipeClose>,
}

impl<P: PipePeer> OnPipe<P> {
    /// `peer` at `end`.
    #[must_use]
    pub fn new(end: PipeEnd, peer: P) -> Self {
        Self {
            peer,
            end,
            pending: VecDeque::new(),
            staged: Vec::new(),
            blocked: false,
            input_over: false,
            output_over: false,
            closed: None,
        }
    }

    /// Its end of the pipe.
    #[must_use]
    pub fn end(&self) -> PipeEnd {
        self.end
    }

    /// Reads what the peer will take; whether there was anything.
    fn pull(&mut self, world: &mut World) -> bool {
        let now = world.now();
        let mut moved = false;
        while !self.input_over {
            let appetite = self.peer.appetite();
            if appetite == 0 {
                break;
            }
            let input = match world.read(self.end, appetite.min(READ_SIZE)) {
                Read::Blocked => break,
                Read::Data(data) => PipeInput::Data(data),
                Read::End => PipeInput::End,
                Read::Reset => PipeInput::Reset,
            };
            self.input_over = !matches!(input, PipeInput::Data(_));
            self.peer.handle_input(now, input);
            moved = true;
        }
        moved
    }

    /// Writes what the peer has to send and the pipe has room for; whether there was anything.
    fn push(&mut self, world: &mut World) -> bool {
        let mut moved = false;
        while self.write_pending(world) {
            self.peer.poll_transmit(world.now(), &mut self.staged);
            if self.staged.is_empty() {
                break;
            }
            moved = true;
            self.pending
                .extend(self.staged.drain(..).filter(|bytes| !bytes.is_empty()));
        }
        self.close(world) || moved
    }

    /// Whether all that was pending is gone.
    fn write_pending(&mut self, world: &mut World) -> bool {
        while let Some(front) = self.pending.front_mut() {
            if self.output_over {
                self.pending.clear();
                break;
            }
            match world.write(self.end, front) {
                Ok(0) => {
                    self.set_blocked(world.now(), true);
                    return false;
                }
                Ok(_) => {
                    if front.is_empty() {
                        self.pending.pop_front();
                    }
                    self.set_blocked(world.now(), false);
                }
                // The read side tells the peer why.
                Err(_) => self.output_over = true,
            }
        }
        true
    }

    fn set_blocked(&mut self, now: Instant, blocked: bool) {
        if self.blocked != blocked {
            self.blocked = blocked;
            self.peer.handle_blocked(now, blocked);
        }
    }

    /// Ends the pipe if the peer wants it ended. A finish waits for what is still to go out, an
    /// abort does not.
    fn close(&mut self, world: &mut World) -> bool {
        let how = match (self.closed, self.peer.wants_close()) {
            (None, Some(PipeClose::Finish)) if self.pending.is_empty() => PipeClose::Finish,
            (None | Some(PipeClose::Finish), Some(PipeClose::Abort)) => PipeClose::Abort,
            _ => return false,
        };
        match how {
            PipeClose::Finish => world.finish(self.end),
            PipeClose::Abort => world.abort(self.end),
        }
        self.closed = Some(how);
        self.output_over = true;
        true
    }
}

impl<P: PipePeer> Actor for OnPipe<P> {
    fn on_timeout(&mut self, world: &mut World) {
        self.peer.handle_timeout(world.now());
    }

    fn turn(&mut self, world: &mut World) {
        self.pull(world);
        for _ in 0..MAX_ROUNDS {
            self.peer.step(world.now());
            // The step may have made room for input that has waited in the pipe.
            let sent = self.push(world);
            let read = self.pull(world);
            if !sent && !read {
                return;
            }
        }
        panic!(
            "engine and application keep each other busy at {:?}",
            world.now()
        );
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.peer.poll_timeout()
    }

    fn is_done(&self) -> bool {
        self.peer.is_done()
    }

    fn progress(&self) -> u64 {
        self.peer.progress()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.blocked {
            f.write_str("blocked by the pipe; ")?;
        }
        self.peer.describe(f)
    }
}
