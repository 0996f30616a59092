//! Unreliable datagrams (RFC 9221).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::error::{TransportError, code};
use crate::sent::SentFrame;
use crate::wire::frame::{self, encode};

/// What a queued datagram costs beside its bytes.
const DATAGRAM_COST: usize = 64;
/// Reports that wait to be polled; beyond it the oldest is forgotten.
const MAX_REPORTS: usize = 4096;

/// Bounds of the two queues. Sizes in bytes; each datagram counts 64 more than it has.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatagramConfig {
    /// Largest DATAGRAM frame that is received, announced as `max_datagram_frame_size`; 0: none is.
    pub(crate) max_frame_size: u64,
    /// Received and not taken.
    pub(crate) receive_buffer: usize,
    /// Queued and not sent.
    pub(crate) send_buffer: usize,
    /// Whether the application is told what became of each datagram it sent.
    pub(crate) report: bool,
}

impl Default for DatagramConfig {
    fn default() -> DatagramConfig {
        DatagramConfig {
            max_frame_size: 65_535,
            receive_buffer: 1 << 20,
            send_buffer: 1 << 20,
            report: false,
        }
    }
}

/// Why a datagram was not queued.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendDatagramError {
    /// The peer takes none.
    #[error("the peer takes no datagrams")]
    Unsupported,
    /// It is larger than what the peer or the path takes.
    #[error("a datagram may have {max} bytes now")]
    TooLarge {
        /// The most that it may have.
        max: usize,
    },
    /// The connection is over.
    #[error("the connection is over")]
    Closed,
}

/// News of datagrams.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatagramEvent {
    /// `recv` said `None` and has one now.
    Received,
    /// One was dropped for a newer one since the queue was last empty, and it is empty now.
    Unblocked,
    /// The peer's transport has the datagram of this number.
    Acknowledged(u64),
    /// The packet with the datagram of this number was lost.
    Lost(u64),
}

/// Counters since the start of the connection.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramStats {
    /// Put into packets.
    pub sent: u64,
    /// Acknowledged: the peer's transport has them.
    pub acknowledged: u64,
    /// Lost on the way, as far as known. Never sent again.
    pub lost: u64,
    /// Not sent because newer ones took their place or the path became too small.
    pub dropped_unsent: u64,
    /// Received.
    pub received: u64,
    /// Received and dropped because newer ones took their place.
    pub dropped_unread: u64,
}

/// The datagrams of one connection. Both queues drop their oldest when they are full: what a datagram
/// says is worth less the older it is.
#[derive(Debug)]
pub(crate) struct Datagrams {
    config: DatagramConfig,
    /// The peer's `max_datagram_frame_size`.
    peer_max: u64,
    outgoing: Queue,
    incoming: Queue,
    /// Number of the next one queued.
    next_number: u64,
    wants_recv: bool,
    dropped: bool,
    events: VecDeque<DatagramEvent>,
    stats: DatagramStats,
}

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, number: u64, datagram: Bytes) {
        self.bytes = self.bytes.saturating_add(cost(&datagram));
        self.datagrams.push_back((number, datagram));
    }

    fn pop(&mut self) -> Option<Bytes> {
        let (_, datagram) = self.datagrams.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost(&datagram));
        Some(datagram)
    }
}

const fn cost(datagram: &Bytes) -> usize {
    datagram.len().saturating_add(DATAGRAM_COST)
}

impl Datagrams {
    /// Empty queues; nothing can be sent before the peer's limit is known.
    pub(crate) fn new(config: DatagramConfig) -> Datagrams {
        Datagrams {
            config,
            peer_max: 0,
            outgoing: Queue::default(),
            incoming: Queue::default(),
            next_number: 0,
            wants_recv: true,
            dropped: false,
            events: VecDeque::new(),
            stats: DatagramStats::default(),
        }
    }

    /// The peer's `max_datagram_frame_size`: for 0-RTT as remembered, then as announced. 0: it takes
    /// none.
    pub(crate) fn set_peer_max_frame_size(&mut self, size: u64) {
        self.peer_max = size;
    }

    /// The most bytes that a datagram may have when a packet has room for `room` bytes of frames;
    /// `None` when the peer takes none (RFC 9221 section 3).
    pub(crate) fn max_size(&self, room: usize) -> Option<usize> {
        // Without a length a frame has one byte more than its data; with one, as it is written when
        // something follows, at most five. A datagram is always sendable in the smaller way.
        let frame = usize::try_from(self.peer_max)
            .unwrap_or(usize::MAX)
            .min(room);
        (self.peer_max > 0)
            .then(|| frame.saturating_sub(1))
            .filter(|_| frame > 0)
    }

    /// Queues a datagram; the oldest give way when there are too many (Q160). `room` as in
    /// [`max_size`](Datagrams::max_size). Returns the number by which its fate is reported.
    ///
    /// # Errors
    /// The peer takes none, or none that large.
    pub(crate) fn send(&mut self, datagram: Bytes, room: usize) -> Result<u64, SendDatagramError> {
        let Some(max) = self.max_size(room) else {
            return Err(SendDatagramError::Unsupported);
        };
        if datagram.len() > max {
            return Err(SendDatagramError::TooLarge { max });
        }
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        self.outgoing.push(number, datagram);
        while self.outgoing.bytes > self.config.send_buffer
            && self.outgoing.datagrams.len() > 1
            && self.outgoing.pop().is_some()
        {
            self.dropped = true;
            self.stats.dropped_unsent = self.stats.dropped_unsent.saturating_add(1);
        }
        Ok(number)
    }

    /// Whether a datagram waits to be sent.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.outgoing.datagrams.is_empty()
    }

    /// Appends the next DATAGRAM frame, if it fits into `max` bytes, and logs it. One that could not
    /// fit into `whole` bytes, the room of an empty packet, is dropped: the path became smaller. With
    /// `may_omit_length` a frame that would not fit otherwise, or that fills the room, says no length:
    /// nothing may follow it in the packet then, so the answer says whether one may.
    pub(crate) fn write_frame(
        &mut self,
        out: &mut Vec<u8>,
        max: usize,
        whole: usize,
        may_omit_length: bool,
        log: &mut Vec<SentFrame>,
    ) -> Written {
        while let Some((number, next)) = self.outgoing.datagrams.front() {
            let len = next.len();
            let with_length = encode::datagram_size(len, true);
            let without = encode::datagram_size(len, false);
            let allowed = usize::try_from(self.peer_max).unwrap_or(usize::MAX);
            if without > whole.min(allowed) {
                self.outgoing.pop();
                self.stats.dropped_unsent = self.stats.dropped_unsent.saturating_add(1);
                continue;
            }
            let says_length = with_length <= max.min(allowed);
            if !says_length && (without > max || !may_omit_length) {
                return Written::Nothing;
            }
            encode::datagram(out, next, says_length);
            log.push(SentFrame::Datagram { number: *number });
            self.outgoing.pop();
            self.stats.sent = self.stats.sent.saturating_add(1);
            if self.outgoing.datagrams.is_empty() && std::mem::take(&mut self.dropped) {
                self.events.push_back(DatagramEvent::Unblocked);
            }
            return match says_length {
                true => Written::Frame,
                false => Written::LastFrame,
            };
        }
        Written::Nothing
    }

    /// A DATAGRAM frame of `frame_size` bytes came. The oldest unread gives way when there are too
    /// many.
    ///
    /// # Errors
    /// None was announced, or none that large (Q158).
    pub(crate) fn on_received(
        &mut self,
        data: &[u8],
        frame_size: usize,
    ) -> Result<(), TransportError> {
        if frame_size as u64 > self.config.max_frame_size {
            let words = match self.config.max_frame_size {
                0 => "a datagram, and none was announced to be taken".into(),
                max => format!("a datagram frame of {frame_size} bytes, at most {max} are taken"),
            };
            return Err(
                TransportError::new(code::PROTOCOL_VIOLATION, words).in_frame(frame::DATAGRAM)
            );
        }
        self.stats.received = self.stats.received.saturating_add(1);
        self.incoming.push(0, Bytes::copy_from_slice(data));
        while self.incoming.bytes > self.config.receive_buffer && self.incoming.pop().is_some() {
            self.stats.dropped_unread = self.stats.dropped_unread.saturating_add(1);
        }
        if !self.incoming.datagrams.is_empty() && std::mem::take(&mut self.wants_recv) {
            self.events.push_back(DatagramEvent::Received);
        }
        Ok(())
    }

    /// The oldest datagram received. `None`: there is none, and [`DatagramEvent::Received`] follows
    /// once.
    pub(crate) fn recv(&mut self) -> Option<Bytes> {
        let datagram = self.incoming.pop();
        self.wants_recv |= datagram.is_none();
        datagram
    }

    /// A packet with a datagram was acknowledged.
    pub(crate) fn on_acked(&mut self, frame: &SentFrame) {
        if let SentFrame::Datagram { number } = frame {
            self.stats.acknowledged = self.stats.acknowledged.saturating_add(1);
            self.report(DatagramEvent::Acknowledged(*number));
        }
    }

    /// A packet with a datagram was lost; it is not sent again (Q159).
    pub(crate) fn on_lost(&mut self, frame: &SentFrame) {
        if let SentFrame::Datagram { number } = frame {
            self.stats.lost = self.stats.lost.saturating_add(1);
            self.report(DatagramEvent::Lost(*number));
        }
    }

    fn report(&mut self, event: DatagramEvent) {
        if self.config.report {
            if self.events.len() >= MAX_REPORTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }

    /// The next piece of news.
    pub(crate) fn poll_event(&mut self) -> Option<DatagramEvent> {
        self.events.pop_front()
    }

    /// The counters.
    pub(crate) fn stats(&self) -> DatagramStats {
        self.stats
    }

    /// The connection is over: nothing more goes out, what came can still be taken.
    pub(crate) fn close(&mut self) {
        self.outgoing = Queue::default();
        if std::mem::take(&mut self.wants_recv) {
            self.events.push_back(DatagramEvent::Received);
        }
    }
}

/// What became of [`Datagrams::write_frame`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// There is none, or none that fits.
    Nothing,
    /// One was written; more frames may follow.
    Frame,
    /// One was written that goes on to the end of the packet.
    LastFrame,
}
