//! Streams and their flow control (RFC 9000 sections 2 to 4), and datagrams (RFC 9221).
//!
//! Nothing here knows of packets: frames come in as values, frames go out into a buffer with a room,
//! and what carried them is told later as acknowledged or lost. So the same streams can run over
//! anything that carries QUIC frames.

#![deny(clippy::arithmetic_side_effects)]

mod accept;
mod config;
mod credit;
pub(crate) mod datagrams;
mod delivery;
mod entry;
mod error;
mod event;
mod half;
mod ids;
pub(crate) mod limits;
#[cfg(any(test, feature = "measure"))]
pub(crate) mod measure;
mod memory;
mod open;
mod read;
mod receive;
mod seen;
mod state;
mod stats;
mod timers;
mod transmit;
mod write;

pub(crate) use config::{StreamConfig, StreamLimits};
pub use datagrams::{DatagramStats, SendDatagramError};
pub use error::{OpenError, ReadError, WriteError};
pub(crate) use event::StreamEvent;
pub use half::Half;
pub use state::{RecvState, SendState};
pub use stats::{Holds, StreamStats, StreamsStats};

use std::collections::VecDeque;

use weir_core::budget::{Budget, Share};
use weir_core::deliver::Deliver;
use weir_core::idmap::IdMap;
use weir_core::limits::OutOfRange;
use weir_core::rng::Rng;
use weir_core::sched::Scheduler;
use weir_core::slab::{Key, Slab};
use weir_core::window::{RecvWindow, SendWindow, WindowConfig};

use crate::wire::{Dir, Side, StreamId};
use entry::{Stream, bit};
use event::News;
use ids::{EndedSizes, OwnIds, PeerIds, PerDir};
use memory::{Buffers, Held, ResetBucket};
use seen::Seen;
use transmit::Run;

/// The streams of one connection.
///
/// # How they are driven
///
/// 1. Frames that came: `on_stream`, `on_reset_stream` and the others, one call a frame. An error is
///    the peer's fault and ends the connection.
/// 2. [`poll_event`](Streams::poll_event) until `None`, and the application's calls.
/// 3. [`write_frames`](Streams::write_frames) for each packet while
///    [`wants_transmit`](Streams::wants_transmit). Every frame that matters again is logged; the log's
///    entries come back by [`on_acked`](Streams::on_acked) or [`on_lost`](Streams::on_lost), each
///    once or, when a loss was a mistake, as lost and then acknowledged.
/// 4. [`handle_timeout`](Streams::handle_timeout) at [`poll_timeout`](Streams::poll_timeout).
///
/// # Streams
///
/// A stream is named by a [`Key`]. Its slot lives until the application has let go of both halves
/// ([`release`](Streams::release)) and both have come to their ends; a key kept longer names nothing.
/// `index` is dense, for a table of the driver's in parallel.
///
/// `read`, `write`, `open` and `accept` say Blocked (or `None`) when they cannot go on, and an event
/// follows once when they can. Nothing is held for a caller that gives up waiting.
///
/// # Memory
///
/// Unread data never exceeds the connection's receive window, whatever the streams' windows are, and
/// what that window has beyond its initial size is reserved from the budget before it is announced.
/// What is written and not acknowledged is reserved when it is written. When data that the initial
/// window permitted finds no memory, the stream that holds most is let go.
#[derive(Debug)]
pub(crate) struct Streams {
    side: Side,
    config: StreamConfig,
    windows: WindowConfig,
    connection_windows: WindowConfig,
    /// What the peer permits each new stream.
    peer: StreamLimits,
    memory: Budget,
    /// Counts enlarged windows of streams, which cost no memory; it never refuses.
    window_credit: Budget,

    slots: Slab<Stream>,
    by_id: IdMap<u64, Key>,
    /// The stream that the last STREAM frame was for.
    last: Option<(StreamId, Key)>,
    own: PerDir<OwnIds>,
    theirs: PerDir<PeerIds>,
    ended: EndedSizes,

    /// Credit for all that is sent.
    send: SendWindow,
    /// Credit for all that is received.
    recv: RecvWindow,
    unread: Share,
    /// What is written and not acknowledged, and the slots.
    held: Held,
    buffers: Buffers,

    out: Outbox,
    news: News,
    /// Writers that wait for memory.
    starved: VecDeque<Key>,
    resets: ResetBucket,
    seen: Seen,
    clock: timers::Clock,
    shed_search_at: u64,
    /// How much had been received and sent when it was last looked whether anything happens.
    swept: (u64, u64),
    stats: StreamsStats,
    /// New streams of the peer are refused with this code.
    refuse_code: Option<u64>,
    closed: bool,
}

/// What waits to be sent.
#[derive(Debug)]
struct Outbox {
    /// Streams with a frame other than STREAM to send.
    control: VecDeque<Key>,
    /// Streams with data and credit of their own for it.
    scheduler: Scheduler<Key>,
    /// The stream whose turn it is.
    run: Option<Run>,
    /// Streams that wait for credit of the connection.
    waiting: Vec<Key>,
    /// MAX_DATA.
    max_data: Deliver<u64>,
    /// The window that MAX_DATA tells of is to be looked at.
    credit_due: bool,
    /// DATA_BLOCKED.
    data_blocked: Deliver<u64>,
}

impl Streams {
    /// Streams of a new connection, with no permission to send yet. `memory` is the connection's
    /// part of the budget; `rng` keys the table of ids.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub(crate) fn new(
        side: Side,
        config: StreamConfig,
        memory: &Budget,
        rng: &mut Rng,
    ) -> Result<Streams, OutOfRange> {
        config.validate()?;
        Ok(Streams {
            side,
            windows: config.stream_windows(),
            connection_windows: config.connection_windows(),
            peer: StreamLimits::default(),
            memory: memory.clone(),
            window_credit: Budget::unlimited("stream windows"),
            slots: Slab::new(),
            by_id: IdMap::new(rng),
            last: None,
            own: PerDir::new(OwnIds::default(), OwnIds::default()),
            theirs: PerDir::new(PeerIds::new(config.max_bidi), PeerIds::new(config.max_uni)),
            ended: EndedSizes::default(),
            send: SendWindow::new(0),
            recv: RecvWindow::new(config.connection_window),
            unread: Share::default(),
            held: Held::default(),
            buffers: Buffers::new(),
            out: Outbox::new(config.connection_window),
            news: News::new(),
            starved: VecDeque::new(),
            resets: ResetBucket::new(config.reset_burst, config.reset_rate),
            seen: Seen::default(),
            clock: timers::Clock::default(),
            shed_search_at: 0,
            swept: (0, 0),
            stats: StreamsStats::default(),
            refuse_code: None,
            closed: false,
            config,
        })
    }

    /// The limits for our transport parameters.
    #[cfg(any(test, feature = "measure"))]
    pub(crate) fn local_limits(&self) -> StreamLimits {
        StreamLimits {
            max_data: self.config.connection_window,
            bidi_local: self.config.stream_window,
            bidi_remote: self.config.stream_window,
            uni: self.config.stream_window,
            streams_bidi: self.config.max_bidi,
            streams_uni: self.config.max_uni,
        }
    }

    /// The next piece of news.
    #[inline]
    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.news.pop()
    }

    /// From now on what happens is noted for [`poll_seen`](Streams::poll_seen).
    pub(crate) fn set_traced(&mut self, traced: bool) {
        self.seen = Seen::new(traced);
    }

    /// The next thing that happened, for the connection's tracer.
    #[inline]
    pub(crate) fn poll_seen(&mut self) -> Option<weir_core::trace::Event<'static>> {
        self.seen.pop()
    }

    /// Streams that have a slot.
    pub(crate) fn open_streams(&self) -> usize {
        self.slots.len()
    }

    /// Whether the peer has yet to send or end something. Looks at every stream: for rare occasions.
    pub(crate) fn waits_for_data(&self) -> bool {
        self.slots
            .iter()
            .any(|(_, stream)| stream.recv_state.is_receiving())
    }

    /// The connection is over: everybody who waits learns it at once, queues are dropped, and memory
    /// goes back but for what readers may still take.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.out = Outbox::new(0);
        self.starved.clear();
        self.clock = timers::Clock::default();
        let keys: Vec<Key> = self.slots.keys().collect();
        for key in keys {
            self.drop_unsent(key);
            if let Some(stream) = self.slots.get_mut(key) {
                stream
                    .bits
                    .clear(bit::QUEUED | bit::IN_WAITING | bit::WANTS_MEMORY);
                if stream.bits.take(bit::UNACCEPTED) {
                    stream.bits.set(bit::RELEASED);
                }
            }
            self.wake(key, bit::WANTS_READ | bit::WRITERS);
            self.try_free(key);
        }
        for dir in Dir::ALL {
            self.news.open_ready(dir);
            self.news.acceptable(dir);
        }
        self.buffers.trim();
        self.held.trim(&self.memory);
        self.settle_unread();
    }

    /// Makes a slot for a stream; its memory was reserved or not, by `bits`.
    fn insert(&mut self, id: StreamId, bits: u32) -> Key {
        let own = id.initiator() == self.side;
        let limit = match (id.dir(), own) {
            (Dir::Bi, true) => self.peer.bidi_remote,
            (Dir::Bi, false) => self.peer.bidi_local,
            (Dir::Uni, true) => self.peer.uni,
            (Dir::Uni, false) => 0,
        };
        let mut stream = Stream::new(id, limit, self.config.stream_window);
        if id.dir() == Dir::Uni {
            stream = match own {
                true => stream.without_recv(),
                false => stream.without_send(),
            };
        }
        stream.bits.set(bits);
        let key = self.slots.insert(stream);
        self.by_id.insert(id.0, key);
        key
    }

    /// Frees the slot when both halves are over, nothing of it waits to be sent, and the application
    /// let go of both.
    #[inline]
    fn try_free(&mut self, key: Key) {
        let Some(stream) = self.slots.get(key) else {
            return;
        };
        if !stream.bits.all(bit::RELEASED) || stream.bits.any(bit::QUEUED) {
            return;
        }
        let over = stream.send_state.is_terminal() && !stream.recv_state.is_receiving();
        if !self.closed && !over {
            return;
        }
        self.free(key);
    }

    fn free(&mut self, key: Key) {
        self.drop_unsent(key);
        self.drop_unread(key);
        let Some(mut stream) = self.slots.remove(key) else {
            return;
        };
        stream.credit.shrink_to(&self.window_credit, 0);
        if !stream.bits.any(bit::UNPAID) {
            self.held.sub(&self.memory, limits::STREAM_COST);
        }
        if self.closed {
            self.held.trim(&self.memory);
        }
        self.by_id.remove(stream.id.0);
        if self.last.is_some_and(|(id, _)| id == stream.id) {
            self.last = None;
        }
        let theirs = stream.id.initiator() != self.side;
        if theirs || stream.id.dir() == Dir::Bi {
            self.ended.push(stream.id, stream.final_size);
        }
        if theirs && !self.closed {
            let withhold = stream.bits.any(bit::WITHHOLD);
            self.theirs.get_mut(stream.id.dir()).on_ended(withhold);
        }
    }

    /// Puts a stream into the queue of those with something other than STREAM to send.
    #[inline]
    fn queue_control(&mut self, key: Key, due: u32) {
        if self.closed {
            return;
        }
        if let Some(stream) = self.slots.get_mut(key) {
            stream.bits.set(due);
            // One that the peer does not permit any more is kept quiet until it does.
            if !stream.bits.any(bit::OVER_LIMIT) && stream.bits.put(bit::IN_CONTROL) {
                self.out.control.push_back(key);
            }
        }
    }

    /// Puts a stream with something to send and credit of its own into the scheduler.
    #[inline]
    fn queue_data(&mut self, key: Key) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if self.closed || stream.bits.any(bit::IN_SCHEDULER) || !stream.has_sendable() {
            return;
        }
        if self.send.available() == 0 && stream.unsent() > 0 {
            // Only new data waits for credit of the connection: what was lost, or an end without
            // data, does not.
            let lost = stream.outgoing.as_ref().is_some_and(|out| out.has_lost());
            if !lost {
                self.wait_for_connection(key);
                return;
            }
        }
        stream.bits.set(bit::IN_SCHEDULER);
        self.out.scheduler.push(key, stream.priority);
    }

    /// Gives the events that are owed for the calls in `bits`.
    #[inline]
    fn wake(&mut self, key: Key, bits: u32) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        if !stream.bits.any(bits) {
            return;
        }
        let reader = stream.bits.take(bits & bit::WANTS_READ);
        let writer = stream.bits.any(bits & bit::WRITERS);
        stream.bits.clear(bits & bit::WRITERS);
        if reader {
            self.news.push(StreamEvent::Readable(key));
        }
        if writer {
            self.news.push(StreamEvent::Writable(key));
        }
    }
}

impl Outbox {
    fn new(max_data: u64) -> Outbox {
        Outbox {
            control: VecDeque::new(),
            scheduler: Scheduler::new(),
            run: None,
            waiting: Vec::new(),
            max_data: Deliver::known(max_data),
            credit_due: false,
            data_blocked: Deliver::new(),
        }
    }
}

#[cfg(test)]
mod tests;
