//! A connection that has fallen silent: what is kept of it, a third of what it is otherwise (T156).
//!
//! Everything that only a flow has is left out: lists, the congestion controller, what is in flight
//! and since when. What a flow goes on from is kept exactly: numbers, windows, agreements, counts.

use std::sync::Arc;

use weir_core::budget::{Budget, Share};
use weir_core::buf::Chunks;
use weir_core::time::Instant;
use weir_core::timer::{TimerKind as _, Timers};
use weir_core::trace::HeldBy;
use weir_core::window::RecvWindow;

use super::acking::Acking;
use super::challenge::Challenge;
use super::clock::Clock;
use super::config::TcpConfig;
use super::connection::{Connection, OwnTimer, Seen};
use super::ecn::EcnState;
use super::error::CloseCause;
use super::interface::{Numbers, PathInfo, Tuple};
use super::receiver::Receiver;
use super::recovery;
use super::sender::Sender;
use super::state::State;
use crate::trace::SeenMetrics;

/// A connection that sleeps. Its two ends are kept by whoever keeps it.
#[derive(Debug)]
pub(crate) struct Asleep {
    config: Arc<TcpConfig>,
    numbers: Numbers,
    path: PathInfo,
    seen: Seen,
    told: SeenMetrics,
    clock: Clock,
    challenge: Challenge,
    timers: Timers<OwnTimer, { OwnTimer::COUNT }>,
    began: Instant,
    recovery: recovery::Asleep,
    send: Sending,
    receive: Receiving,
    mss: u16,
    state: State,
    soft_error: Option<CloseCause>,
    held_by: HeldBy,
    acking: Acking,
    ecn: EcnState,
    sack: bool,
    scaling: bool,
    orphan: bool,
    is_passive: bool,
    fast_open: bool,
    keepalives: u8,
}

/// What sending goes on from.
#[derive(Debug)]
struct Sending {
    /// Behind the last byte written.
    end: u64,
    nxt: u64,
    right: u64,
    wl1: u64,
    wl2: u64,
    max_wnd: u64,
    limit: u64,
    share: Share,
    peer_mss: u16,
    shift: u8,
    finish: bool,
}

/// What receiving goes on from.
#[derive(Debug)]
struct Receiving {
    /// Behind the last byte read.
    end: u64,
    window: RecvWindow,
    share: Share,
    advertised: u64,
    acked: u64,
    fin_at: u64,
    irs: u32,
    mss: u32,
    shift: u8,
    fin_taken: bool,
    stopped: bool,
    waiting: bool,
    told_zero: bool,
}

// T156: what is held for each of very many connections.
const _: () = assert!(size_of::<Asleep>() <= 504);

impl Connection {
    /// When it may [sleep](Connection::sleep) if nothing happens before; `None` while something is
    /// under way.
    pub(crate) fn rest_at(&self) -> Option<Instant> {
        let is_open = matches!(
            self.state,
            State::Established | State::FinWait2 | State::CloseWait
        );
        let (send, receive) = (&self.send, &self.receive);
        let is_sent = send.buffer.is_empty() && send.una == send.nxt && !send.blocked;
        let is_read = receive.assembler.is_empty() && receive.reorder.is_none();
        let is_said = !self.kick && !self.acking.now && !self.acking.delayed;
        let is_quiet = is_open
            && is_sent
            && is_read
            && is_said
            && self.cause.is_none()
            && self.news.is_empty()
            && self.stray_reset.is_none()
            && self.begin.cookie.is_none()
            && !self.awaits_urgent()
            && self.persists == 0
            && !self.probe_due
            && !self.persist_due
            && !self.keepalive_due;
        let last = self.seen.last_sent.max(self.seen.last_received);
        is_quiet.then(|| last + self.recovery.rest_after())
    }

    /// What is kept of it, at the time that [`rest_at`](Connection::rest_at) says or later.
    pub(crate) fn sleep(&mut self, chunks: &mut Chunks, budget: &Budget) -> Asleep {
        let (send, receive) = (&mut self.send, &mut self.receive);
        // What buffers keep for more of the same.
        let config = &self.config.receive_window;
        receive.window.trim(config, budget, &mut receive.share);
        send.buffer.restart(send.buffer.end(), chunks);
        receive.assembler.restart(receive.assembler.end(), chunks);
        Asleep {
            config: Arc::clone(&self.config),
            numbers: self.numbers,
            path: self.path,
            seen: self.seen.clone(),
            told: core::mem::take(&mut self.told),
            clock: self.clock.clone(),
            challenge: self.challenge.clone(),
            timers: self.timers.clone(),
            began: self.begin.at,
            recovery: self.recovery.sleep(),
            send: Sending {
                end: send.buffer.end(),
                nxt: send.nxt,
                right: send.right,
                wl1: send.wl1,
                wl2: send.wl2,
                max_wnd: send.max_wnd,
                limit: send.limit,
                share: core::mem::take(&mut send.share),
                peer_mss: send.peer_mss,
                shift: send.shift,
                finish: send.finish,
            },
            receive: Receiving {
                end: receive.assembler.end(),
                window: receive.window.clone(),
                share: core::mem::take(&mut receive.share),
                advertised: receive.advertised,
                acked: receive.acked,
                fin_at: receive.fin_at,
                irs: receive.irs,
                mss: receive.mss,
                shift: receive.shift,
                fin_taken: receive.fin_taken,
                stopped: receive.stopped,
                waiting: receive.waiting,
                told_zero: receive.told_zero,
            },
            mss: self.mss,
            state: self.state,
            soft_error: self.soft_error,
            held_by: self.held_by,
            acking: self.acking.clone(),
            ecn: self.ecn.clone(),
            sack: self.sack,
            scaling: self.scaling,
            orphan: self.orphan,
            is_passive: self.begin.is_passive,
            fast_open: self.begin.fast_open,
            keepalives: self.keepalives,
        }
    }
}

impl Asleep {
    /// The connection as it was.
    pub(crate) fn wake(&mut self, tuple: Tuple) -> Connection {
        let mut connection = self.look(tuple);
        connection.told = core::mem::take(&mut self.told);
        connection.send.share = core::mem::take(&mut self.send.share);
        connection.receive.share = core::mem::take(&mut self.receive.share);
        connection
    }

    /// The state.
    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// The connection as it was, to look at: it holds nothing of the budget.
    pub(crate) fn look(&self, tuple: Tuple) -> Connection {
        let (now, seed) = (self.recovery.last_sent_at(), self.recovery.seed());
        let config = Arc::clone(&self.config);
        let numbers = self.numbers;
        let mut it = Connection::blank(now, seed, tuple, config, numbers, self.path, self.state);
        it.begin.at = self.began;
        it.begin.is_passive = self.is_passive;
        it.begin.fast_open = self.fast_open;
        it.begin.syn_due = false;
        it.begin.syns = 1;
        it.kick = false;
        it.mss = self.mss;
        it.seen = self.seen.clone();
        it.clock = self.clock.clone();
        it.challenge = self.challenge.clone();
        it.timers = self.timers.clone();
        it.soft_error = self.soft_error;
        it.held_by = self.held_by;
        it.acking = self.acking.clone();
        it.ecn = self.ecn.clone();
        it.sack = self.sack;
        it.scaling = self.scaling;
        it.orphan = self.orphan;
        it.keepalives = self.keepalives;
        self.look_at_numbers(&mut it);
        let (nxt, mss) = (self.send.nxt, u32::from(self.mss));
        let agreed = (self.sack, self.clock.is_on);
        it.recovery.wake_from(&self.recovery, nxt, mss, agreed);
        it
    }

    fn look_at_numbers(&self, it: &mut Connection) {
        let (send, from) = (&mut it.send, &self.send);
        send.buffer = Sender::buffer_at(from.end);
        (send.una, send.nxt) = (from.nxt, from.nxt);
        (send.right, send.wl1, send.wl2) = (from.right, from.wl1, from.wl2);
        (send.max_wnd, send.limit) = (from.max_wnd, from.limit);
        (send.peer_mss, send.shift, send.finish) = (from.peer_mss, from.shift, from.finish);
        let (receive, from) = (&mut it.receive, &self.receive);
        receive.assembler = Receiver::assembler_at(from.end);
        receive.assembler.keep_last(!from.stopped);
        receive.window = from.window.clone();
        (receive.advertised, receive.acked) = (from.advertised, from.acked);
        (receive.fin_at, receive.irs) = (from.fin_at, from.irs);
        (receive.mss, receive.shift) = (from.mss, from.shift);
        receive.fin_taken = from.fin_taken;
        receive.stopped = from.stopped;
        receive.waiting = from.waiting;
        receive.told_zero = from.told_zero;
    }
}
