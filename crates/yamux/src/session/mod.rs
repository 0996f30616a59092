//! The session: one state machine over one ordered pipe of bytes.

mod accept;
mod close;
mod emit;
mod half;
mod input;
mod open;
mod ping;
mod progress;
mod read;
mod receive;
mod stats;
mod timers;
mod transmit;
mod write;

pub use half::Half;
pub use input::Input;
pub use stats::{Holds, SessionStats, StreamStats};
pub use transmit::CarrierState;

use crate::config::{Config, ConfigError, Role};
use crate::deadlines::Deadlines;
use crate::event::{Event, News};
use crate::ids::{OwnIds, PeerIds};
use crate::limits::{MEMORY_BLOCK, MIN_SESSION_MEMORY, STREAM_COST};
use crate::outbox::Outbox;
use crate::queue::Chunks;
use crate::state::Trigger;
use crate::stream::{Stream, bit};
use std::collections::VecDeque;
use weir_core::budget::{Budget, fair_cap};
use weir_core::close::CloseReason;
use weir_core::idmap::IdMap;
use weir_core::rng::Rng;
use weir_core::slab::{Key, Slab};
use weir_core::time::Instant;
use weir_core::trace::{Event as Trace, Tracer};
use weir_core::window::WindowConfig;

/// The protocol's name in traces.
const FAMILY: &str = "yamux";

/// A yamux session.
///
/// # How it is driven
///
/// The session does no I/O and reads no clock. Its driver owns the carrier (an ordered, reliable
/// pipe of bytes) and calls, with `now` never going backwards:
///
/// 1. [`handle_input`](Session::handle_input) with what the carrier brought, in any cut; its end and
///    its loss are inputs too. A peer's fault is never an error of this call: it becomes state.
/// 2. [`handle_timeout`](Session::handle_timeout) when the time of
///    [`poll_timeout`](Session::poll_timeout) has come. A spurious call does nothing.
/// 3. [`poll_event`](Session::poll_event) until `None`, and the application's calls that follow from
///    it, in any order and number.
/// 4. [`poll_transmit`](Session::poll_transmit) into a [`TransmitBuf`](crate::TransmitBuf), written
///    to the carrier as far as it takes it, until nothing more comes. When the carrier refuses bytes
///    or takes them again, [`handle_carrier`](Session::handle_carrier) says so.
/// 5. [`poll_timeout`](Session::poll_timeout) for the next wake-up.
///
/// Handling a whole read, then the events, then one flush is what makes it fast: frames of many
/// streams leave together and answers ride along. After [`Event::Closed`] the driver writes what
/// `poll_transmit` still gives (a GoAway), then ends the carrier: it shuts its writing side, and
/// reads on for a moment so that the peer gets all that was written.
///
/// No call panics, whatever the peer sends.
///
/// # Streams
///
/// A stream is named by a [`Key`]. Its slot lives until the application has let go of both halves
/// ([`release`](Session::release)) and the stream is over; a key kept longer names nothing. `index`
/// is dense, for a table of the driver's in parallel.
///
/// `read`, `write`, `open` and `accept` say Blocked (or `None`) when they cannot go on, and an event
/// follows once when they can. Nothing is held for a caller that gives up waiting, so each of them
/// can be abandoned at any time (Y52).
#[derive(Debug)]
pub struct Session {
    role: Role,
    config: Config,
    windows: WindowConfig,
    tracer: Tracer,
    /// The session's node of the memory budget, and the one above it.
    memory: Budget,
    parent: Budget,

    streams: Slab<Stream>,
    /// Streams whose id can still mean something.
    by_id: IdMap<u32, Key>,
    chunks: Chunks,
    own_ids: OwnIds,
    peer_ids: PeerIds,
    /// Slots of streams that the peer opened.
    inbound: u32,
    /// Own streams that wait for their ACK.
    unacked: u32,
    /// Inbound streams that wait for the application; some entries may be of streams gone.
    accept_queue: VecDeque<Key>,
    unaccepted: u32,
    /// Writers that wait for memory.
    starved: VecDeque<Key>,
    /// Streams whose receive window is larger than it need be; some entries may be of streams gone.
    grown: VecDeque<Key>,

    parser: input::Parser,
    out: Outbox,
    batch: transmit::Batch,
    news: News,
    open_deadlines: Deadlines,
    close_deadlines: Deadlines,
    clock: timers::Clock,
    ping: ping::Ping,
    resets: accept::ResetBucket,
    shed_search_at: u64,
    pinned: u64,
    stats: SessionStats,

    /// The code of the GoAway that the peer sent, that this side sent.
    peer_gone: Option<u32>,
    going: Option<u32>,
    closed: Option<CloseReason>,
}

impl Session {
    /// A session on a fresh carrier. Its memory is a child of `parent` with the limit
    /// `config.session_budget`, or less when `parent` is short: then one session leaves as much as it
    /// holds free for the others. `rng` keys its tables and its pings.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(
        role: Role,
        config: Config,
        parent: &Budget,
        mut rng: Rng,
        now: Instant,
    ) -> Result<Session, ConfigError> {
        config.validate()?;
        Ok(Session {
            role,
            windows: config.windows(),
            tracer: Tracer::off(),
            parent: parent.clone(),
            memory: parent.child_in_blocks("session", config.session_budget, MEMORY_BLOCK),
            streams: Slab::new(),
            by_id: IdMap::new(&mut rng),
            chunks: Chunks::new(),
            own_ids: OwnIds::new(role),
            peer_ids: PeerIds::new(role),
            inbound: 0,
            unacked: 0,
            accept_queue: VecDeque::new(),
            unaccepted: 0,
            starved: VecDeque::new(),
            grown: VecDeque::new(),
            parser: input::Parser::default(),
            out: Outbox::new(),
            batch: transmit::Batch::new(now),
            news: News::new(),
            open_deadlines: Deadlines::default(),
            close_deadlines: Deadlines::default(),
            clock: timers::Clock::new(now, &config),
            ping: ping::Ping::new(&mut rng),
            resets: accept::ResetBucket::new(&config, now),
            shed_search_at: 0,
            pinned: 0,
            stats: SessionStats::default(),
            peer_gone: None,
            going: None,
            closed: None,
            config,
        })
    }

    /// Reports what happens to `tracer` from now on.
    pub fn set_tracer(&mut self, now: Instant, tracer: Tracer) {
        self.tracer = tracer;
        let role = self.role.name();
        let state = self.state_name();
        self.tracer.emit(now, || Trace::Session { role, state });
    }

    /// Which side of the carrier this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The next piece of news.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.news.pop()
    }

    /// How many bytes of read buffers are kept alive by slices that readers have not taken yet, as
    /// the driver's pool knows it. Past a limit, what arrives is copied out of the read buffers, so
    /// that slow readers of many streams do not keep many of them.
    pub fn set_pinned(&mut self, bytes: u64) {
        self.pinned = bytes;
    }

    /// Sets the session's limit by what is free above: whoever holds most is the first to let
    /// something go, not whoever comes last.
    fn share_memory(&self) {
        let fair = fair_cap(self.parent.available(), self.memory.used());
        let limit = fair.clamp(MIN_SESSION_MEMORY, self.config.session_budget);
        self.memory.set_limit(limit);
    }

    fn state_name(&self) -> &'static str {
        match (&self.closed, self.going, self.peer_gone) {
            (Some(_), ..) => "closed",
            (None, Some(_), _) => "going away",
            (None, None, Some(_)) => "peer going away",
            (None, None, None) => "open",
        }
    }

    fn trace_state(&mut self, now: Instant) {
        let role = self.role.name();
        let state = self.state_name();
        self.tracer.emit(now, || Trace::Session { role, state });
    }

    /// Moves a stream along the table and reports it.
    fn transition(&mut self, now: Instant, key: Key, trigger: Trigger) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let old = stream.state;
        let Some(new) = old.next(trigger) else { return };
        stream.state = new;
        let id = u64::from(stream.id);
        self.tracer.emit(now, || Trace::StreamState {
            family: FAMILY,
            stream: id,
            old: old.name(),
            new: new.name(),
            trigger: trigger.name(),
        });
        if new.is_terminal() {
            self.retire(key);
        }
    }

    /// The stream is over: its id means nothing any more, and nobody waits for its ACK.
    fn retire(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        self.by_id.remove(stream.id);
        if stream.bits.take(bit::CLOSE_TIMER) {
            self.close_deadlines.disarm();
        }
        if stream.bits.take(bit::UNACCEPTED) {
            self.unaccepted = self.unaccepted.saturating_sub(1);
            // Nobody will take it, so nobody will let go of it.
            stream.bits.set(bit::RELEASED);
        }
        self.memory
            .release(self.chunks.clear(&mut stream.outgoing) as u64);
        self.settle_ack(key);
    }

    /// One stream less waits for its ACK.
    fn settle_ack(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if stream.bits.take(bit::OPEN_TIMER) {
            self.open_deadlines.disarm();
        }
        if stream.bits.take(bit::UNACKED) {
            self.unacked = self.unacked.saturating_sub(1);
            self.news.open_ready();
        }
    }

    /// Frees the slot when the stream is over, nothing of it waits to be sent, and the application
    /// let go of both halves.
    #[inline]
    fn try_free(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.bits.all(bit::RELEASED) {
            return;
        }
        if self.closed.is_none() && (!stream.state.is_terminal() || stream.bits.any(bit::QUEUED)) {
            return;
        }
        let unsent = self.chunks.clear(&mut stream.outgoing) as u64;
        self.chunks.clear(&mut stream.incoming);
        if stream.is_inbound() {
            self.inbound = self.inbound.saturating_sub(1);
        }
        let held = stream.share.held().saturating_add(unsent);
        self.memory.release(held.saturating_add(STREAM_COST));
        self.streams.remove(key);
    }

    /// Puts a stream into the queue of those with something other than data to send.
    #[inline]
    fn queue_control(&mut self, key: Key) {
        if self.closed.is_none()
            && let Some(stream) = self.streams.get_mut(key)
            && stream.bits.put(bit::IN_CONTROL)
        {
            self.out.control.push_back(key);
        }
    }

    /// Puts a stream with data and credit into the scheduler, unless another queue has it, which
    /// looks after its data too.
    #[inline]
    fn queue_data(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let waits = bit::IN_OPENS | bit::IN_CONTROL | bit::IN_SCHEDULER;
        if stream.has_sendable() && !stream.bits.any(waits) {
            stream.bits.set(bit::IN_SCHEDULER);
            self.out.scheduler.push(key, stream.priority);
        }
    }
}
