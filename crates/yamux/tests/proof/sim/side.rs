//! One endpoint of a run: a session, its application, and the checker that looks on.

use super::app::App;
use super::plan::{Ending, Plan};
use super::truth::{Shared, Truth};
use crate::proof::checker::{Checker, Promise};
use crate::proof::frames::FIRST_WINDOW;
use crate::proof::peer::copy_all;
use crate::proof::recorder::Recorder;
use bytes::Bytes;
use std::fmt;
use weir_core::budget::Budget;
use weir_core::time::{Duration, Instant};
use weir_sim::{Limits, OnPipe, PipeClose, PipeInput, PipePeer, Sim, World, split};
use weir_yamux::{
    CarrierState, Config, Event, Input, Role, Session, SessionStats, Timer, TransmitBuf,
};

pub struct Side {
    client: bool,
    pub session: Session,
    pub app: App,
    pub checker: Option<Checker>,
    pub heard: Recorder,
    pub process: Budget,
    limit: u64,
    truth: Shared,
    ending: Ending,
    batch: TransmitBuf,
    /// What waits in the batch.
    encoded: Bytes,
    /// Most bytes that go to the carrier at once.
    piece: usize,
    closed: bool,
    going: bool,
    /// The engine's last word left.
    flushed: bool,
    now: Instant,
    pub most_used: u64,
}

impl Side {
    fn new(plan: &Plan, client: bool, truth: &Shared) -> Side {
        let (role, config, habits, pipe) = if client {
            (
                Role::Client,
                &plan.client,
                plan.client_habits,
                &plan.forward,
            )
        } else {
            (
                Role::Server,
                &plan.server,
                plan.server_habits,
                &plan.backward,
            )
        };
        let name = role.name();
        let process = Budget::root("process", 1 << 40);
        let rng = split(plan.seed, &format!("session {name}"));
        let now = Instant::ZERO;
        let mut session = Session::new(role, config.clone(), &process, rng, now).unwrap();
        let heard = Recorder::default();
        session.set_tracer(now, heard.tracer());
        let app_rng = split(plan.seed, &format!("app {name}"));
        Side {
            client,
            session,
            app: App::new(client, app_rng, habits, truth.clone()),
            checker: plan.checked.then(|| Checker::new(promise(client, config))),
            heard,
            process,
            limit: config.session_budget,
            truth: truth.clone(),
            ending: plan.ending,
            batch: TransmitBuf::new(),
            encoded: Bytes::new(),
            piece: pipe.buffer.min(16 * 1024),
            closed: false,
            going: false,
            flushed: false,
            now,
            most_used: 0,
        }
    }

    fn drain_events(&mut self) {
        let stats = self.session.stats();
        let by_itself = stats.streams_refused + stats.streams_shed + stats.streams_timed_out;
        self.truth.borrow_mut().excuses[usize::from(self.client)] = by_itself;
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "{event:?} after Closed");
            self.closed = matches!(event, Event::Closed(_));
            self.app.on_event(&event);
        }
    }

    /// Ends the session as the plan says.
    fn end(&mut self, now: Instant) {
        let idle = self.app.is_idle();
        let own = usize::from(self.client);
        self.truth.borrow_mut().idle[own] = idle;
        let both_idle = self.truth.borrow().idle == [true; 2];
        match self.ending {
            Ending::WhenDone { client } if client == self.client && both_idle => self.close(now),
            Ending::Close { client, at } if client == self.client && now >= at => self.close(now),
            Ending::Drain { client, at } if client == self.client && now >= at => {
                self.truth.borrow_mut().ending = true;
                if !self.going {
                    self.going = true;
                    self.session.go_away(now);
                }
                if both_idle && self.session.is_drained() {
                    self.close(now);
                }
            }
            Ending::Cut if both_idle => self.close(now),
            _ => {}
        }
    }

    fn close(&mut self, now: Instant) {
        self.truth.borrow_mut().ending = true;
        if self.session.close_reason().is_none() {
            self.session.close(now, 0, "done");
        }
    }

    /// When it has to look again whether the session is to be ended.
    fn next_end(&self) -> Option<Instant> {
        let soon =
            (!self.closed && self.app.is_idle()).then(|| self.now + Duration::from_millis(20));
        match self.ending {
            Ending::WhenDone { client } | Ending::Drain { client, .. } if client == self.client => {
                soon
            }
            Ending::Cut => soon,
            _ => None,
        }
        .into_iter()
        .chain(self.set_end())
        .min()
    }

    fn set_end(&self) -> Option<Instant> {
        match self.ending {
            Ending::Drain { client, at } | Ending::Close { client, at }
                if client == self.client && !self.going && !self.closed =>
            {
                Some(at)
            }
            _ => None,
        }
    }

    /// When all is said: whoever has read all that came has announced at least half a window (Y28),
    /// so that no stream is left to starve.
    fn check_credit(&self) {
        let Some(checker) = self.checker.as_ref().filter(|_| !self.closed) else {
            return;
        };
        if !self.encoded.is_empty() {
            return;
        }
        for (id, read) in self.app.reading() {
            let Some(seen) = checker.streams.get(&id) else {
                continue;
            };
            let open = FIRST_WINDOW + seen.credit_sent - seen.data_received;
            let goes_on = !seen.is_over() && !seen.fin_received;
            assert!(
                !goes_on || read < seen.data_received || open * 2 >= FIRST_WINDOW,
                "stream {id} is read up to {read} and has {open} bytes of window left"
            );
        }
    }

    /// What must hold at every moment.
    fn check(&mut self) {
        let used = self.process.used();
        self.most_used = self.most_used.max(used);
        assert!(used <= self.limit, "{used} bytes used of {}", self.limit);
    }
}

/// A failed run shows what both sessions did last.
impl Drop for Side {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let side = if self.client { "client" } else { "server" };
            eprintln!("{side}: {:?}\n{}", self.session.stats(), self.heard.tail());
        }
    }
}

fn promise(client: bool, config: &Config) -> Promise {
    Promise {
        client,
        max_frame: config.max_frame,
        max_window: u64::from(config.max_receive_window),
        ack_backlog: config.ack_backlog,
    }
}

impl PipePeer for Side {
    fn handle_input(&mut self, now: Instant, input: PipeInput) {
        let input = match input {
            PipeInput::Data(bytes) => {
                if let Some(checker) = self.checker.as_mut().filter(|_| !self.closed) {
                    checker.received(&bytes);
                }
                Input::Data(bytes)
            }
            PipeInput::End => Input::End,
            PipeInput::Reset => Input::Lost("the pipe was reset".into()),
        };
        if !matches!(input, Input::Data(_)) && self.ending == Ending::Cut {
            self.truth.borrow_mut().ending = true;
        }
        self.session.handle_input(now, input);
        self.drain_events();
        self.check();
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.session.handle_timeout(now);
            let next = self.session.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > now),
                "{next:?} is due at {now:?} still"
            );
        }
        self.drain_events();
        self.check();
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<Bytes>) {
        if self.encoded.is_empty() {
            self.session.poll_transmit(now, &mut self.batch);
            self.encoded = Bytes::from(copy_all(&self.batch));
            self.flushed = self.closed && self.encoded.is_empty();
            if let Some(checker) = &mut self.checker {
                checker.sent(&self.encoded);
            }
            self.drain_events();
            self.check();
            self.check_credit();
        }
        // In pieces, so that the session hears of every bit of progress that the carrier makes.
        let piece = self.encoded.split_to(self.piece.min(self.encoded.len()));
        self.batch.advance(piece.len());
        if !piece.is_empty() {
            out.push(piece);
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let session = self
            .session
            .poll_timeout()
            .map(|(at, timer)| (at, timer_name(timer)));
        let app = self.app.next_turn().map(|at| (at, "application"));
        let end = self.next_end().map(|at| (at, "end"));
        session
            .into_iter()
            .chain(app)
            .chain(end)
            .min_by_key(|(at, _)| *at)
    }

    fn handle_blocked(&mut self, now: Instant, blocked: bool) {
        let state = if blocked {
            CarrierState::Blocked
        } else {
            CarrierState::Ready
        };
        self.session.handle_carrier(now, state);
        self.drain_events();
    }

    fn wants_close(&self) -> Option<PipeClose> {
        self.flushed.then_some(PipeClose::Finish)
    }

    fn step(&mut self, now: Instant) {
        self.now = now;
        self.drain_events();
        self.app.turn(&mut self.session, now);
        self.drain_events();
        self.end(now);
        self.drain_events();
        self.check();
    }

    fn is_done(&self) -> bool {
        self.flushed && self.app.is_idle()
    }

    fn progress(&self) -> u64 {
        let truth = self.truth.borrow();
        truth.bytes_read + truth.streams_ended_by_fin + truth.streams_reset
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.client { "client" } else { "server" };
        writeln!(f, "{side}: {:?}", self.session.stats())?;
        writeln!(f, "{}", self.app.describe())?;
        f.write_str(&self.heard.tail())
    }
}

fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::KeepAlive => "keepalive",
        Timer::PingAnswer => "ping answer",
        Timer::Open => "open",
        Timer::Close => "close",
        Timer::Write => "write",
        Timer::Memory => "memory",
        Timer::Windows => "windows",
    }
}

/// The sides of a plan, in a world of their own.
pub fn add(plan: &Plan, sim: &mut Sim<OnPipe<Side>>) -> Shared {
    let truth = Shared::default();
    if plan.ending == Ending::Cut {
        // Which bytes are lost is not known to anybody.
        truth.borrow_mut().ending = true;
    }
    let (a, b) = sim
        .world_mut()
        .pipe_of(plan.forward.clone(), plan.backward.clone());
    let client = sim.add(OnPipe::new(a, Side::new(plan, true, &truth)));
    let server = sim.add(OnPipe::new(b, Side::new(plan, false, &truth)));
    sim.own_end(client, a);
    sim.own_end(server, b);
    truth
}

/// Runs a plan to its end, checks what must hold then, and gives what happened and what each side
/// used.
pub fn drive(plan: &Plan) -> (Truth, Vec<SessionStats>) {
    let mut sim = Sim::new(World::new(plan.seed));
    let truth = add(plan, &mut sim);
    let until = Instant::ZERO + Duration::from_secs(3_000);
    let limits = Limits {
        until,
        steps: 3_000_000,
        stall: Some(Duration::from_secs(400)),
    };
    sim.run(&limits).unwrap();
    let sides: Vec<&Side> = sim.actors().iter().map(|actor| &actor.peer).collect();
    let truth = finish(plan, &truth, &sides);
    (
        truth,
        sides.iter().map(|side| side.session.stats()).collect(),
    )
}

/// What must hold when both sides of a plan are done.
pub fn finish(plan: &Plan, truth: &Shared, sides: &[&Side]) -> Truth {
    for side in sides {
        let stats = side.session.stats();
        assert_eq!(stats.slots, 0, "no slot is left of {stats:?}");
        assert_eq!(stats.memory_used, 0, "no memory is left of {stats:?}");
        assert!(side.session.poll_timeout().is_none(), "no timer is left");
        if let Some(checker) = side.checker.as_ref().filter(|_| plan.ending != Ending::Cut) {
            assert_eq!(checker.unfinished(), 0, "the last frame is whole");
        }
    }
    let truth = truth.take();
    if matches!(plan.ending, Ending::WhenDone { .. }) && truth.excuses == [0, 0] {
        assert_eq!(
            truth.unread(),
            Vec::<String>::new(),
            "streams ended without their end"
        );
    }
    truth
}
