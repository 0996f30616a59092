//! What can be asked about streams.

use weir_core::slab::Key;
use weir_core::trace::HeldBy;

use super::Streams;
use super::entry::{Stream, bit};
use super::state::{RecvState, SendState};
use crate::wire::StreamId;

/// Counters of a connection's streams since its start, and where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsStats {
    /// Streams that this side opened.
    pub streams_opened: u64,
    /// Streams of the peer that a frame came for or that were accepted.
    pub streams_accepted: u64,
    /// Streams of the peer that were refused.
    pub streams_refused: u64,
    /// Streams that were let go because memory ran out.
    pub streams_shed: u64,
    /// Streams that the peer was not given at once because it resets too many.
    pub streams_withheld: u64,
    /// Streams that this side reset.
    pub resets_sent: u64,
    /// Streams that the peer reset.
    pub resets_received: u64,
    /// Bytes of stream data sent, those sent again included.
    pub bytes_sent: u64,
    /// Bytes of stream data received for readers, those that came again included.
    pub bytes_received: u64,
    /// Bytes received that nobody will read.
    pub bytes_discarded: u64,
    /// Streams that have a slot now.
    pub streams_open: u64,
    /// Bytes received and not read now, gaps included.
    pub unread: u64,
    /// Bytes written and not acknowledged now, with the cost of slots.
    pub held: u64,
}

/// What holds each direction of a stream back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holds {
    /// What this side sends. Congestion and pacing are the connection's to say.
    pub send: HeldBy,
    /// What this side receives.
    pub recv: HeldBy,
}

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStats {
    /// Its id on the wire.
    pub id: StreamId,
    /// The state of the sending half.
    pub send_state: SendState,
    /// The state of the receiving half.
    pub recv_state: RecvState,
    /// Whether the peer opened it.
    pub inbound: bool,
    /// Bytes sent, each counted once.
    pub sent: u64,
    /// Offset behind the highest byte received.
    pub received: u64,
    /// Bytes that the peer's limit on the stream lets this side send now.
    pub send_window: u64,
    /// Bytes that this side's limit on the stream lets the peer send now.
    pub recv_window: u64,
    /// The size that this side's window is tuned to, in bytes.
    pub recv_window_size: u64,
    /// Bytes received and not read yet, gaps included.
    pub buffered: u64,
    /// Bytes written and not sent yet.
    pub queued: u64,
    /// Bytes written and not acknowledged yet.
    pub unacknowledged: u64,
    /// What holds it back now.
    pub held_by: Holds,
}

/// Where the connection's credit stands, for tests that look at both ends.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct Credit {
    /// Stream bytes sent, each counted once.
    pub(crate) sent: u64,
    /// How many may be sent.
    pub(crate) send_limit: u64,
    /// Stream bytes received, gaps included.
    pub(crate) received: u64,
    /// How many the peer may send.
    pub(crate) recv_limit: u64,
    /// Received and not read, gaps included.
    pub(crate) unread: u64,
}

#[cfg(test)]
impl Streams {
    pub(crate) fn credit(&self) -> Credit {
        Credit {
            sent: self.send.sent(),
            send_limit: self.send.limit(),
            received: self.recv.received(),
            recv_limit: self.recv.received().saturating_add(self.recv.remaining()),
            unread: self.recv.buffered(),
        }
    }
}

impl Streams {
    /// The counters, and where the streams stand now.
    pub(crate) fn stats(&self) -> StreamsStats {
        StreamsStats {
            streams_open: self.slots.len() as u64,
            unread: self.recv.buffered(),
            held: self.held.bytes(),
            ..self.stats.clone()
        }
    }

    /// Where a stream stands; `None` when the key names nothing any more.
    pub(crate) fn stream_stats(&self, key: Key) -> Option<StreamStats> {
        let stream = self.slots.get(key)?;
        Some(StreamStats {
            id: stream.id,
            send_state: stream.send_state,
            recv_state: stream.recv_state,
            inbound: stream.id.initiator() != self.side,
            sent: stream.send.sent(),
            received: stream.recv.received(),
            send_window: stream.send.available(),
            recv_window: stream.recv.remaining(),
            recv_window_size: stream.recv.size(),
            buffered: stream.buffered(),
            queued: stream.unsent(),
            unacknowledged: stream.unacked(),
            held_by: Holds {
                send: self.sending_held_by(stream),
                recv: self.reading_held_by(stream),
            },
        })
    }

    /// The keys of all streams that have a slot.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.keys()
    }

    /// The id of a stream on the wire; `None` when the key names nothing any more.
    #[inline]
    pub(crate) fn stream_id(&self, key: Key) -> Option<StreamId> {
        self.slots.get(key).map(|stream| stream.id)
    }

    fn sending_held_by(&self, stream: &Stream) -> HeldBy {
        let over = matches!(
            stream.send_state,
            SendState::DataRecvd | SendState::ResetSent | SendState::ResetRecvd
        );
        if self.closed || over {
            HeldBy::Nothing
        } else if stream.unsent() > 0 {
            if stream.send.available() == 0 {
                HeldBy::PeerWindow
            } else if self.send.available() == 0 {
                HeldBy::ConnectionWindow
            } else {
                HeldBy::Nothing
            }
        } else if stream.bits.any(bit::WANTS_MEMORY) {
            HeldBy::SessionBudget
        } else if stream.bits.any(bit::FINISHED) {
            HeldBy::Nothing
        } else {
            HeldBy::Application
        }
    }

    fn reading_held_by(&self, stream: &Stream) -> HeldBy {
        let readable = stream.incoming.as_ref().map_or(0, |held| held.readable());
        if readable > 0 {
            // It has come and is not taken.
            HeldBy::Application
        } else if self.closed || !stream.recv_state.is_receiving() {
            HeldBy::Nothing
        } else if self.recv.remaining() == 0 {
            // Other streams' readers hold the window of all.
            HeldBy::ConnectionWindow
        } else if self.memory.is_short() {
            HeldBy::SessionBudget
        } else {
            HeldBy::Nothing
        }
    }
}
