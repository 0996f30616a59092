//! Runs actors in a world until they are done, and says what is wrong when they never will be.

use std::fmt;

use weir_core::time::{Duration, Instant};

use crate::actor::Actor;
use crate::engine::{OnPipe, PipePeer};
use crate::outcome::{Failure, Limits, Report, RunError};
use crate::world::{NodeId, PipeEnd, Side, Wake, World};

/// Turns in a row that one actor may take at one instant because its timer says so. A correct
/// engine needs a handful: each of its timers once.
const MAX_TURNS_AT_ONE_INSTANT: u32 = 1_000;

/// Datagrams of one instant that an actor is given before its turn: a batch, as a driver reads it
/// in one system call (GRO, recvmmsg).
const MAX_BATCH: usize = 64;

/// Actors that a state dump describes.
const MAX_DESCRIBED: usize = 20;

/// An actor in a [`Sim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorId(u32);

impl ActorId {
    /// Its place among the actors, in the order of joining.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a check sees after a turn.
pub struct Turn<'a, A> {
    /// The world.
    pub world: &'a World,
    /// All actors, by [`ActorId::index`].
    pub actors: &'a [A],
    /// Whose turn it was.
    pub actor: ActorId,
}

type Check<A> = Box<dyn FnMut(Turn<'_, A>) -> Result<(), String>>;

/// A world with actors in it.
pub struct Sim<A> {
    world: World,
    actors: Vec<A>,
    states: Vec<State>,
    nodes: Vec<Option<ActorId>>,
    pipes: Vec<[Option<ActorId>; 2]>,
    checks: Vec<Check<A>>,
    /// What became ready while a batch was gathered, and is no part of it.
    next: Option<Wake>,
    /// Actors that are not done.
    unfinished: usize,
    steps: u64,
    last_progress: Instant,
}

/// What the runner remembers of an actor.
#[derive(Default)]
struct State {
    /// The wake-up that is in the world's queue for it.
    scheduled: Option<Instant>,
    /// It wants a turn, whatever its timer says.
    poked: bool,
    done: bool,
    progress: u64,
    /// Turns by timer at one instant.
    storm: (Instant, u32),
}

impl<A: Actor> Sim<A> {
    /// A run in `world`, without actors.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self {
            last_progress: world.now(),
            world,
            actors: Vec::new(),
            states: Vec::new(),
            nodes: Vec::new(),
            pipes: Vec::new(),
            checks: Vec::new(),
            next: None,
            unfinished: 0,
            steps: 0,
        }
    }

    /// Lets an actor join. It gets its first turn when the run goes on.
    pub fn add(&mut self, actor: A) -> ActorId {
        let id = ActorId(u32::try_from(self.actors.len()).unwrap_or(u32::MAX));
        self.actors.push(actor);
        self.states.push(State {
            poked: true,
            ..State::default()
        });
        self.unfinished += 1;
        self.world.wake_at(self.world.now(), u64::from(id.0));
        id
    }

    /// Has `actor` told of what arrives at a node.
    pub fn own_node(&mut self, actor: ActorId, node: NodeId) {
        let index = node.index();
        if self.nodes.len() <= index {
            self.nodes.resize(index + 1, None);
        }
        if let Some(owner) = self.nodes.get_mut(index) {
            *owner = Some(actor);
        }
    }

    /// Has `actor` told of what happens at a pipe's end.
    pub fn own_end(&mut self, actor: ActorId, end: PipeEnd) {
        if self.pipes.len() <= end.pipe() {
            self.pipes.resize(end.pipe() + 1, [None; 2]);
        }
        if let Some([a, b]) = self.pipes.get_mut(end.pipe()) {
            match end.side() {
                Side::A => *a = Some(actor),
                Side::B => *b = Some(actor),
            }
        }
    }

    /// The world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The world, to change it between runs.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// All actors, by [`ActorId::index`].
    #[must_use]
    pub fn actors(&self) -> &[A] {
        &self.actors
    }

    /// An actor.
    ///
    /// # Panics
    /// When it is another simulation's.
    #[must_use]
    #[track_caller]
    pub fn actor(&self, actor: ActorId) -> &A {
        match self.actors.get(actor.index()) {
            Some(actor) => actor,
            None => panic!("{actor:?} is of another simulation"),
        }
    }

    /// An actor, to tell it what to do next. It gets a turn when the run goes on.
    ///
    /// # Panics
    /// When it is another simulation's.
    #[track_caller]
    pub fn actor_mut(&mut self, id: ActorId) -> &mut A {
        let (Some(actor), Some(state)) = (
            self.actors.get_mut(id.index()),
            self.states.get_mut(id.index()),
        ) else {
            panic!("{id:?} is of another simulation");
        };
        if !state.poked {
            state.poked = true;
            self.world.wake_at(self.world.now(), u64::from(id.0));
        }
        actor
    }

    /// Has `check` look at everything after each turn. Its error fails the run.
    pub fn check_each_turn(
        &mut self,
        check: impl FnMut(Turn<'_, A>) -> Result<(), String> + 'static,
    ) {
        self.checks.push(Box::new(check));
    }

    /// Runs until all actors are done.
    ///
    /// # Errors
    /// When they will not be, or not within `limits`, or a check fails.
    pub fn run(&mut self, limits: &Limits) -> Result<Report, RunError> {
        self.run_until(limits, |sim| sim.unfinished == 0)
    }

    /// Runs until nothing happens any more: all timers stopped, nothing on its way.
    ///
    /// # Errors
    /// When that is not within `limits`, or a check fails.
    pub fn run_idle(&mut self, limits: &Limits) -> Result<Report, RunError> {
        self.run_until(limits, |sim| sim.next_event().is_none())
    }

    /// Runs until `goal` says so; it is asked after each turn.
    ///
    /// # Errors
    /// When that is not within `limits`, or never will be, or a check fails.
    pub fn run_until(
        &mut self,
        limits: &Limits,
        mut goal: impl FnMut(&Self) -> bool,
    ) -> Result<Report, RunError> {
        let mut budget = limits.steps;
        self.last_progress = self.world.now();
        while !goal(self) {
            if budget == 0 {
                return Err(self.error(Failure::Steps, None));
            }
            budget -= 1;
            match self.step(limits.until) {
                // The last events reached nobody: that may have been the goal.
                Err(error) if error.failure == Failure::Deadlock && goal(self) => break,
                stepped => stepped?,
            }
            let still = self
                .world
                .now()
                .saturating_duration_since(self.last_progress);
            if limits.stall.is_some_and(|stall| still > stall) && !goal(self) {
                return Err(self.error(Failure::Stalled, None));
            }
        }
        let (at, digest) = (self.world.now(), self.world.digest());
        Ok(Report {
            at,
            steps: self.steps,
            digest,
        })
    }

    /// Runs for `duration` of virtual time, done or not.
    ///
    /// # Errors
    /// When a check fails or a timer storms.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), RunError> {
        let until = self.world.now() + duration;
        while let Some(wake) = self.next_wake(until) {
            self.dispatch(wake)?;
        }
        self.world.advance_to(until);
        Ok(())
    }

    /// World and actors in words.
    #[must_use]
    pub fn dump(&self) -> String {
        Dump(self).to_string()
    }

    fn step(&mut self, until: Instant) -> Result<(), RunError> {
        match self.next_wake(until) {
            Some(wake) => self.dispatch(wake),
            None if self.next_event().is_some() => Err(self.error(Failure::Time, None)),
            None => Err(self.error(Failure::Deadlock, None)),
        }
    }

    fn next_wake(&mut self, until: Instant) -> Option<Wake> {
        self.next.take().or_else(|| self.world.step_until(until))
    }

    fn next_event(&self) -> Option<Instant> {
        self.next
            .map(|_| self.world.now())
            .or_else(|| self.world.next_event())
    }

    /// Tells whom it concerns, and gives that actor its turn.
    fn dispatch(&mut self, wake: Wake) -> Result<(), RunError> {
        self.steps += 1;
        let Some(id) = self.owner(wake) else {
            return Ok(());
        };
        let Some(actor) = self.actors.get_mut(id.index()) else {
            return Ok(());
        };
        let world = &mut self.world;
        match wake {
            Wake::Datagram(node) => self.batch(id, node),
            Wake::Readable(end) => actor.on_readable(world, end),
            Wake::Writable(end) => actor.on_writable(world, end),
            Wake::Timer(_) => return self.timer(id),
        }
        self.turn(id)
    }

    /// Gives an actor the datagram that arrived at its node, and those that do at the same instant
    /// right after it.
    fn batch(&mut self, id: ActorId, node: NodeId) {
        let Some(actor) = self.actors.get_mut(id.index()) else {
            return;
        };
        for left in (0..MAX_BATCH).rev() {
            if let Some(datagram) = self.world.receive(node) {
                actor.on_datagram(&mut self.world, node, datagram);
            }
            self.next = self.world.step_until(self.world.now());
            if left == 0 || self.next != Some(Wake::Datagram(node)) {
                return;
            }
            self.next = None;
            self.steps += 1;
        }
    }

    fn owner(&self, wake: Wake) -> Option<ActorId> {
        match wake {
            Wake::Datagram(node) => *self.nodes.get(node.index())?,
            Wake::Readable(end) | Wake::Writable(end) => {
                let [a, b] = *self.pipes.get(end.pipe())?;
                if end.side() == Side::A { a } else { b }
            }
            Wake::Timer(token) => u32::try_from(token).ok().map(ActorId),
        }
    }

    /// A wake-up that was asked for. The actor's timer may have moved since: then it is only
    /// asked for anew, which is cheaper than taking events out of the middle of the queue.
    fn timer(&mut self, id: ActorId) -> Result<(), RunError> {
        let now = self.world.now();
        let (Some(actor), Some(state)) = (
            self.actors.get_mut(id.index()),
            self.states.get_mut(id.index()),
        ) else {
            return Ok(());
        };
        if state.scheduled.is_some_and(|at| at <= now) {
            state.scheduled = None;
        }
        let poked = std::mem::take(&mut state.poked);
        let due = actor.poll_timeout().filter(|&(at, _)| at <= now);
        if let Some((_, timer)) = due {
            let (at, turns) = state.storm;
            state.storm = if at == now {
                (now, turns + 1)
            } else {
                (now, 1)
            };
            if state.storm.1 > MAX_TURNS_AT_ONE_INSTANT {
                return Err(self.error(Failure::TimerStorm { timer }, Some(id)));
            }
            actor.on_timeout(&mut self.world);
        }
        if due.is_some() || poked {
            return self.turn(id);
        }
        self.rearm(id);
        Ok(())
    }

    fn turn(&mut self, id: ActorId) -> Result<(), RunError> {
        let (Some(actor), Some(state)) = (
            self.actors.get_mut(id.index()),
            self.states.get_mut(id.index()),
        ) else {
            return Ok(());
        };
        actor.turn(&mut self.world);
        let progress = actor.progress();
        if progress != state.progress {
            state.progress = progress;
            self.last_progress = self.world.now();
        }
        let done = actor.is_done();
        match (state.done, done) {
            (false, true) => self.unfinished -= 1,
            (true, false) => self.unfinished += 1,
            _ => {}
        }
        state.done = done;
        self.rearm(id);
        let turn = || Turn {
            world: &self.world,
            actors: &self.actors,
            actor: id,
        };
        let failed = self.checks.iter_mut().find_map(|check| check(turn()).err());
        match failed {
            Some(message) => Err(self.error(Failure::Check(message), Some(id))),
            None => Ok(()),
        }
    }

    /// Asks the world for a wake-up at the actor's next timeout, unless one comes as early.
    fn rearm(&mut self, id: ActorId) {
        let (Some(actor), Some(state)) =
            (self.actors.get(id.index()), self.states.get_mut(id.index()))
        else {
            return;
        };
        let Some((at, _)) = actor.poll_timeout() else {
            return;
        };
        let at = at.max(self.world.now());
        // A timer at the end of time is one that is not set.
        if at < Instant::MAX && state.scheduled.is_none_or(|scheduled| at < scheduled) {
            state.scheduled = Some(at);
            self.world.wake_at(at, u64::from(id.0));
        }
    }

    fn error(&self, failure: Failure, actor: Option<ActorId>) -> RunError {
        RunError {
            failure,
            at: self.world.now(),
            actor,
            dump: self.dump(),
        }
    }
}

impl<P: PipePeer> Sim<OnPipe<P>> {
    /// Two peers at the two ends of a pipe, both done when both say so.
    pub fn add_pair(&mut self, ends: (PipeEnd, PipeEnd), peers: (P, P)) -> (ActorId, ActorId) {
        (
            self.add_on_pipe(ends.0, peers.0),
            self.add_on_pipe(ends.1, peers.1),
        )
    }

    /// A peer at one end of a pipe.
    pub fn add_on_pipe(&mut self, end: PipeEnd, peer: P) -> ActorId {
        let id = self.add(OnPipe::new(end, peer));
        self.own_end(id, end);
        id
    }
}

struct Dump<'a, A>(&'a Sim<A>);

impl<A: Actor> fmt::Display for Dump<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sim) = self;
        write!(f, "{:?}", sim.world)?;
        writeln!(
            f,
            "  {} of {} actors not done",
            sim.unfinished,
            sim.actors.len()
        )?;
        let unfinished = || {
            sim.actors
                .iter()
                .enumerate()
                .filter(|(_, actor)| !actor.is_done())
        };
        // When all are done, the trouble is elsewhere, and all are of interest.
        let all = sim.unfinished == 0;
        let shown = sim
            .actors
            .iter()
            .enumerate()
            .filter(|(_, actor)| all || !actor.is_done());
        for (index, actor) in shown.take(MAX_DESCRIBED) {
            write!(f, "  actor {index}: timer {:?} ", actor.poll_timeout())?;
            actor.describe(f)?;
            writeln!(f)?;
        }
        match unfinished().count().saturating_sub(MAX_DESCRIBED) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} actors more"),
        }
    }
}
