//! One connection: its variables, and how it begins.

use std::sync::Arc;

use weir_core::rng::next_u64;
use weir_core::time::{Instant, nanos};
use weir_core::timer::{TimerKind, Timers};
use weir_core::trace::HeldBy;

use super::acking::Acking;
use super::challenge::Challenge;
use super::clock::Clock;
use super::config::TcpConfig;
use super::ecn::EcnState;
use super::error::CloseCause;
use super::interface::{Agreed, Context, FastOpenReply, News, Numbers, PathInfo, Received, Tuple};
use super::receiver::Receiver;
use super::recovery::{Recovery, RecoveryConfig};
use super::sender::Sender;
use super::state::State;
use super::urgent::Urgent;
use crate::limits::{DEFAULT_MSS_V4, DEFAULT_MSS_V6, FLOOR_MSS, INITIAL_RTO, MAX_RTO};
use crate::trace::{self, SeenMetrics};
use crate::wire::tcp::{FastOpen, Flags, Options};

/// One end of a connection (RFC 9293 section 3.3.1).
///
/// # How it is driven
/// [`connect`](Connection::connect), [`accept`](Connection::accept) or
/// [`from_cookie`](Connection::from_cookie) make it. Then, as things happen: `handle_segment` for each
/// segment of a batch, `handle_timeout` when `poll_timeout` says so, the application's calls; and
/// after each batch `take_news`, then `poll_transmit` while `wants_transmit` (an ACK is sent once for
/// all segments of the batch), then `poll_timeout` again, because anything may have moved it.
///
/// # How it ends
/// When `take_time_wait` gives a value, the stack keeps that in this connection's place in its
/// table of ends, and passes it no more segments; what was received can still be read. When
/// `is_finished` the stack has nothing more to do for it. It is dropped then, once the application
/// let go (`close`, `abort`) and `release` gave its memory back.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) tuple: Tuple,
    pub(super) config: Arc<TcpConfig>,
    pub(super) numbers: Numbers,
    pub(super) path: PathInfo,
    pub(super) state: State,
    pub(super) cause: Option<CloseCause>,
    /// What would be the cause if nothing came of it (RFC 9293 3.9.2.2).
    pub(super) soft_error: Option<CloseCause>,
    pub(super) held_by: HeldBy,
    pub(super) news: News,
    pub(super) send: Sender,
    pub(super) receive: Receiver,
    pub(super) recovery: Recovery,
    pub(super) acking: Acking,
    pub(super) clock: Clock,
    pub(super) ecn: EcnState,
    pub(super) challenge: Challenge,
    pub(super) timers: Timers<OwnTimer, { OwnTimer::COUNT }>,
    pub(super) begin: Begin,
    /// How far urgent data reaches, if there ever was any.
    pub(super) urgent: Option<Box<Urgent>>,
    pub(super) seen: Seen,
    pub(super) told: SeenMetrics,
    /// The sequence number of a RST that answers a segment of another connection (T18, T20).
    pub(super) stray_reset: Option<u32>,
    /// Payload of a full segment, its usual options taken off.
    pub(super) mss: u16,
    /// Something may be ready to be sent.
    pub(super) kick: bool,
    /// Our RST is to be sent.
    pub(super) reset_due: bool,
    /// One segment goes past the congestion window (TLP).
    pub(super) probe_due: bool,
    /// The persist timer expired.
    pub(super) persist_due: bool,
    /// A keep-alive probe is to be sent.
    pub(super) keepalive_due: bool,
    /// Both SYNs had SACK-permitted.
    pub(super) sack: bool,
    /// Both SYNs had Window Scale.
    pub(super) scaling: bool,
    /// The application let go.
    pub(super) orphan: bool,
    /// TIME-WAIT went to the stack.
    pub(super) handed_over: bool,
    /// Persist time-outs in a row.
    pub(super) persists: u8,
    /// When the first of them was sent that nothing was received behind; then, when the window opened.
    pub(super) persist_asked: Instant,
    /// Keep-alive probes without an answer.
    pub(super) keepalives: u8,
}

/// What a connection is made of.
pub(crate) struct Making {
    /// Its two ends.
    pub(crate) tuple: Tuple,
    /// How it is to behave.
    pub(crate) config: Arc<TcpConfig>,
    /// What it begins counting from.
    pub(crate) numbers: Numbers,
    /// The way.
    pub(crate) path: PathInfo,
    /// The memory of one that is over and was [released](Connection::release).
    pub(crate) spare: Option<Box<Connection>>,
}

/// The handshake's own variables.
#[derive(Debug)]
pub(super) struct Begin {
    /// When it began.
    pub(super) at: Instant,
    /// It came from a listener.
    pub(super) is_passive: bool,
    /// The SYN or SYN,ACK is to be sent, for the first time or because the peer repeats its own.
    pub(super) syn_due: bool,
    /// How often it was sent.
    pub(super) syns: u8,
    /// ICMP errors that say "unreachable".
    pub(super) soft_errors: u8,
    /// Data in the SYN is taken, or was (RFC 7413).
    pub(super) fast_open: bool,
    /// What our SYN says of Fast Open, then what the peer's said.
    pub(super) cookie: Option<Box<FastOpen>>,
}

/// What is counted, for [`TcpStats`](super::TcpStats) and timers.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) segments_in: u64,
    pub(super) segments_out: u64,
    pub(super) data_segments_in: u64,
    pub(super) data_segments_out: u64,
    pub(super) retransmissions: u64,
    pub(super) last_received: Instant,
    pub(super) last_data: Instant,
    pub(super) last_sent: Instant,
    /// The smoothed round trip time in nanoseconds.
    pub(super) rtt: Option<u64>,
}

impl Seen {
    /// Nothing so far.
    fn from(now: Instant) -> Seen {
        Seen {
            last_received: now,
            last_data: now,
            last_sent: now,
            ..Seen::default()
        }
    }
}

/// Timers that are not recovery's.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnTimer {
    /// An ACK waited long enough.
    DelayedAck,
    /// A closed window is to be probed.
    Persist,
    /// The peer was silent for long.
    KeepAlive,
    /// Lingering, or waiting for the peer's FIN, is over.
    Close,
    /// A receive window that was grown may be too large by now.
    Window,
}

impl TimerKind for OwnTimer {
    const COUNT: usize = 5;

    #[inline]
    fn index(self) -> usize {
        self as usize
    }

    #[inline]
    fn from_index(index: usize) -> Option<OwnTimer> {
        use OwnTimer::{Close, DelayedAck, KeepAlive, Persist, Window};
        let all = [DelayedAck, Persist, KeepAlive, Close, Window];
        all.get(index).copied()
    }
}

impl Connection {
    /// Active open: a SYN is ready to be sent. `fast_open`: a cookie from an earlier connection, or
    /// [`FastOpen::REQUEST`], if [`TcpConfig::fast_open`] is on; what is written before the first
    /// `poll_transmit` goes with a SYN that has a cookie.
    pub(crate) fn connect(
        cx: &mut Context<'_>,
        making: Making,
        fast_open: Option<FastOpen>,
    ) -> Box<Connection> {
        let mut connection = Connection::new(cx, making, State::SynSent);
        connection.begin.cookie = fast_open.map(Box::new);
        connection.ecn.asked = connection.config.ecn;
        cx.counters.active_opens = cx.counters.active_opens.saturating_add(1);
        connection
    }

    /// Passive open: answers `syn`, which a listener got and found acceptable.
    pub(crate) fn accept(
        cx: &mut Context<'_>,
        making: Making,
        syn: &Received<'_>,
        fast_open: FastOpenReply,
    ) -> Box<Connection> {
        let mut connection = Connection::new(cx, making, State::SynReceived);
        connection.begin.is_passive = true;
        connection.begin.cookie = fast_open.cookie.map(Box::new);
        connection.on_received(cx, syn.segments);
        connection.take_syn(cx, syn);
        if fast_open.take_data {
            connection.begin.fast_open = true;
            connection.take_syn_data(cx, syn);
            connection.news.connected = true;
        }
        cx.counters.passive_opens = cx.counters.passive_opens.saturating_add(1);
        connection
    }

    /// Passive open by the ACK to a SYN cookie: ESTABLISHED at once. `ack` is not yet processed;
    /// pass it to `handle_segment` next. `peer_initial` is the peer's initial sequence number.
    pub(crate) fn from_cookie(
        cx: &mut Context<'_>,
        making: Making,
        peer_initial: u32,
        agreed: &Agreed,
        ack: &Received<'_>,
    ) -> Box<Connection> {
        let mut connection = Connection::new(cx, making, State::SynReceived);
        connection.begin.is_passive = true;
        connection.begin.syn_due = false;
        connection.begin.syns = 1;
        // The SYN,ACK went out some time ago: the timestamp that comes back is from then.
        connection.begin.at = cx.now - connection.config.syn_timeout;
        let timestamps = ack.segment.options.timestamps.filter(|_| agreed.timestamps);
        let options = Options {
            mss: Some(agreed.mss),
            window_scale: agreed.window_scale,
            sack_permitted: agreed.sack,
            timestamps,
            ..Options::default()
        };
        connection.receive.irs = peer_initial;
        connection.ecn.is_on = agreed.ecn && connection.config.ecn;
        connection.agree(cx.now, &options);
        connection.receive.advertise_in_syn();
        // The SYN,ACK was the cookie's; what the ACK acknowledges is its SYN.
        connection.send.nxt = 1;
        let echo = timestamps.and_then(|stamps| connection.echoed(cx, stamps.echo));
        if let Some(sample) = echo {
            connection.recovery.on_handshake_rtt(cx.now, sample);
            connection.seen.rtt = Some(nanos(sample));
        }
        cx.counters.passive_opens = cx.counters.passive_opens.saturating_add(1);
        connection
    }

    /// One of which nothing was sent or received. It is written to its place once: a connection is a
    /// kilobyte, and every copy of it would be felt where many come and go.
    fn new(cx: &mut Context<'_>, making: Making, state: State) -> Box<Connection> {
        let Making {
            tuple,
            config,
            numbers,
            path,
            spare,
        } = making;
        let seed = next_u64(cx.rng);
        let mut connection = Connection::blank(cx.now, seed, tuple, config, numbers, path, state);
        match spare {
            Some(mut spare) => {
                connection.reuse(&mut spare);
                *spare = connection;
                spare
            }
            None => Box::new(connection),
        }
    }

    /// The same as a value. `seed`: of its congestion controller.
    #[inline(always)]
    pub(super) fn blank(
        now: Instant,
        seed: u64,
        tuple: Tuple,
        config: Arc<TcpConfig>,
        numbers: Numbers,
        path: PathInfo,
        state: State,
    ) -> Connection {
        let recovery = RecoveryConfig {
            algorithm: config.congestion,
            smss: u32::from(default_mss(&tuple)),
            min_rto: config.min_rto,
            max_rto: MAX_RTO.max(config.min_rto),
            initial_rto: INITIAL_RTO,
            pacing: config.pacing,
            seed,
            sack: false,
            timestamps: false,
        };
        Connection {
            send: Sender::new(config.send_buffer.initial, default_mss(&tuple)),
            receive: Receiver::new(config.receive_window.initial),
            recovery: Recovery::new(now, &recovery),
            mss: default_mss(&tuple),
            tuple,
            config,
            numbers,
            path,
            state,
            cause: None,
            soft_error: None,
            held_by: HeldBy::Nothing,
            news: News::default(),
            acking: Acking::default(),
            clock: Clock::default(),
            ecn: EcnState::default(),
            challenge: Challenge::default(),
            timers: Timers::new(),
            begin: Begin {
                at: now,
                is_passive: false,
                syn_due: true,
                syns: 0,
                soft_errors: 0,
                fast_open: false,
                cookie: None,
            },
            seen: Seen::from(now),
            told: SeenMetrics::default(),
            urgent: None,
            stray_reset: None,
            kick: true,
            reset_due: false,
            probe_due: false,
            persist_due: false,
            keepalive_due: false,
            sack: false,
            scaling: false,
            orphan: false,
            handed_over: false,
            persists: 0,
            persist_asked: Instant::ZERO,
            keepalives: 0,
        }
    }

    /// The state.
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The two ends.
    #[inline]
    pub(crate) fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// How it behaves.
    #[inline]
    pub(crate) fn config(&self) -> &TcpConfig {
        &self.config
    }

    /// True when [`take_news`](Connection::take_news) has something to tell.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What became of it since the last call.
    #[inline]
    pub(crate) fn take_news(&mut self) -> News {
        core::mem::take(&mut self.news)
    }

    /// Why it is over, once it is.
    pub(crate) fn close_cause(&self) -> Option<CloseCause> {
        self.cause
    }

    /// The Fast Open cookie that the peer sent, to be kept for the next connection.
    pub(crate) fn take_fast_open_cookie(&mut self) -> Option<FastOpen> {
        let settled = self.state.is_synchronized() && !self.begin.is_passive;
        if !settled {
            return None;
        }
        self.begin.cookie.take().map(|cookie| *cookie)
    }

    /// Changes the state, and what is counted by state; `why` in words, for traces.
    pub(super) fn set_state(&mut self, cx: &mut Context<'_>, state: State, why: &'static str) {
        if state == self.state {
            return;
        }
        trace::state(cx.tracer, cx.now, &self.tuple, (self.state, state), why);
        let counted = |state| matches!(state, State::Established | State::CloseWait);
        let open = &mut cx.counters.curr_estab;
        match (counted(self.state), counted(state)) {
            (false, true) => *open = open.saturating_add(1),
            (true, false) => *open = open.saturating_sub(1),
            _ => {}
        }
        self.state = state;
    }

    /// The payload of a full segment is computed anew, from the peer's MSS, the path and the usual
    /// options (T28). True when it is another.
    pub(super) fn update_mss(&mut self) -> bool {
        let path = self.path.mtu.saturating_sub(self.tuple.header_bytes());
        let own = self.config.mss.unwrap_or(u16::MAX);
        let options = if self.clock.is_on { 12 } else { 0 };
        let mss = self.send.peer_mss.min(path).min(own);
        let mss = mss.saturating_sub(options).max(8);
        core::mem::replace(&mut self.mss, mss) != mss
    }

    /// What both SYNs said is in force.
    pub(super) fn agree(&mut self, now: Instant, options: &Options) {
        // T26, T29.
        let mss = options.mss.unwrap_or(default_mss(&self.tuple));
        self.send.peer_mss = mss.max(FLOOR_MSS);
        self.sack = self.config.sack && options.sack_permitted;
        if let Some(shift) = options.window_scale.filter(|_| self.config.window_scale) {
            self.scaling = true;
            self.send.shift = shift;
            self.receive.shift = Receiver::shift_for(self.config.receive_window.max);
        }
        if let Some(timestamps) = options.timestamps.filter(|_| self.config.timestamps) {
            self.clock.is_on = true;
            self.clock.recent = timestamps.value;
            self.clock.recent_at = now;
        }
        self.update_mss();
        let (sack, timestamps) = (self.sack, self.clock.is_on);
        self.recovery
            .on_agreed(now, sack, timestamps, u32::from(self.mss));
    }

    /// So many segments were received, whatever they are.
    #[inline]
    pub(super) fn on_received(&mut self, cx: &Context<'_>, segments: u16) {
        self.seen.segments_in = self.seen.segments_in.saturating_add(segments.into());
        self.seen.last_received = cx.now;
        self.keepalives = 0;
    }

    /// An acknowledgement is owed now.
    #[inline]
    pub(super) fn acknowledge_now(&mut self) {
        self.acking.now = true;
        self.kick = true;
    }

    /// A challenge ACK is owed, unless there were too many (RFC 5961 section 7, T44).
    pub(super) fn challenge(&mut self, cx: &mut Context<'_>) {
        if self.challenge.allow(cx.now) {
            let sent = &mut cx.counters.tcp_challenge_ack;
            *sent = sent.saturating_add(1);
            self.acknowledge_now();
        } else {
            let skipped = &mut cx.counters.tcp_ack_skipped_challenge;
            *skipped = skipped.saturating_add(1);
        }
    }

    /// Whether the segment asks for ECN (RFC 3168 6.1.1).
    pub(super) fn asks_for_ecn(flags: Flags) -> bool {
        flags.contains(Flags::ECE | Flags::CWR)
    }
}

/// The MSS of a peer that names none (T26).
fn default_mss(tuple: &Tuple) -> u16 {
    if tuple.remote.is_ipv4() {
        DEFAULT_MSS_V4
    } else {
        DEFAULT_MSS_V6
    }
}
