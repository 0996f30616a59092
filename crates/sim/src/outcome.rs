//! How a run may end.

use std::fmt;

use weir_core::time::{Duration, Instant};

use crate::sim::ActorId;

/// What a run may use up before it counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Things that become ready, each of which gives one actor a turn.
    pub steps: u64,
    /// Virtual time at which everything must be done.
    pub until: Instant,
    /// Longest virtual time without any actor's progress ([`crate::Actor::progress`]): tells a livelock
    /// (timers that go on, bytes that do not) from a long transfer. `None` does not watch.
    pub stall: Option<Duration>,
}

impl Default for Limits {
    /// Ten million steps, an hour.
    fn default() -> Self {
        let until = Instant::ZERO + Duration::from_secs(3600);
        Self {
            steps: 10_000_000,
            until,
            stall: None,
        }
    }
}

/// What a successful run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The time at its end.
    pub at: Instant,
    /// Turns given.
    pub steps: u64,
    /// [`crate::World::digest`] at its end.
    pub digest: u64,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is on its way, no timer is set, and the goal is not reached.
    Deadlock,
    /// [`Limits::steps`] are used up.
    Steps,
    /// [`Limits::until`] has come.
    Time,
    /// No progress for [`Limits::stall`].
    Stalled,
    /// An actor's timer is due again and again without the time moving.
    TimerStorm {
        /// The timer's name.
        timer: &'static str,
    },
    /// A check found something wrong.
    Check(String),
}

/// A failed run: why, when, and the state of everything. Its `Debug` form is the same text as its
/// `Display`, so that `unwrap` shows it readably.
#[derive(Clone, PartialEq, Eq)]
pub struct RunError {
    /// Why.
    pub failure: Failure,
    /// When.
    pub at: Instant,
    /// The actor whose turn it was, if one's was.
    pub actor: Option<ActorId>,
    /// World and actors in words.
    pub dump: String,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Deadlock => f.write_str(
                "deadlock: nothing is on its way, no timer is set, and the goal is not reached",
            )?,
            Failure::Steps => f.write_str("the step budget is used up")?,
            Failure::Time => f.write_str("the virtual time is up")?,
            Failure::Stalled => f.write_str("no progress")?,
            Failure::TimerStorm { timer } => {
                write!(f, "timer {timer:?} is due again and again at one instant")?;
            }
            Failure::Check(message) => f.write_str(message)?,
        }
        write!(f, " (at {:?}", self.at)?;
        if let Some(actor) = self.actor {
            write!(f, ", actor {}'s turn", actor.index())?;
        }
        write!(f, ")\n{}", self.dump)
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for RunError {}
