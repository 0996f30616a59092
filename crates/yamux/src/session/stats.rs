//! What can be asked about a session and its streams.

use super::Session;
use crate::state::State;
use crate::stream::{Stream, bit};
use weir_core::slab::Key;
use weir_core::time::Duration;
use weir_core::trace::HeldBy;

/// Counters of a session since its start, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionStats {
    /// Frames handed out for sending.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes handed out for sending, headers included.
    pub bytes_sent: u64,
    /// Bytes received, headers included.
    pub bytes_received: u64,
    /// Bytes of payload received that nobody will read.
    pub bytes_discarded: u64,
    /// Streams that this side opened.
    pub streams_opened: u64,
    /// Streams of the peer that were taken in.
    pub streams_accepted: u64,
    /// Streams of the peer that were refused with RST.
    pub streams_refused: u64,
    /// Streams that were reset because they were not acknowledged or not ended in time.
    pub streams_timed_out: u64,
    /// Streams that were reset because memory ran out.
    pub streams_shed: u64,
    /// Streams that this side reset.
    pub resets_sent: u64,
    /// Streams that the peer reset.
    pub resets_received: u64,
    /// Pings of the peer.
    pub pings_received: u64,
    /// Streams open now, in either direction.
    pub streams_open: u64,
    /// Slots in use now: open streams, and ended ones that the application still holds.
    pub slots: u64,
    /// Own streams that wait for the peer's ACK now.
    pub unacknowledged: u64,
    /// Streams of the peer that wait for `accept` now.
    pub unaccepted: u64,
    /// Memory in use now, in bytes.
    pub memory_used: u64,
    /// Memory that may be used, in bytes.
    pub memory_limit: u64,
    /// The smoothed round trip, once measured.
    pub rtt: Option<Duration>,
}

/// What holds each direction of a stream back.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Holds {
    /// What this side sends.
    pub send: HeldBy,
    /// What this side receives.
    pub recv: HeldBy,
}

/// Where a stream stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamStats {
    /// Its id on the wire.
    pub id: u32,
    /// Its state.
    pub state: State,
    /// Whether the peer opened it.
    pub inbound: bool,
    /// Bytes of payload sent, to the batch at least.
    pub sent: u64,
    /// Bytes of payload received.
    pub received: u64,
    /// Bytes that the peer's window lets this side send now.
    pub send_window: u64,
    /// Bytes that this side's window lets the peer send now.
    pub recv_window: u64,
    /// The size that this side's window is tuned to, in bytes.
    pub recv_window_size: u64,
    /// Bytes received and not read yet.
    pub buffered: u64,
    /// Bytes written and not sent yet.
    pub queued: u64,
    /// What holds it back now.
    pub held_by: Holds,
}

impl Session {
    /// The session's counters, and where it stands now.
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            streams_open: self.by_id.len() as u64,
            slots: self.streams.len() as u64,
            unacknowledged: self.unacked.into(),
            unaccepted: self.unaccepted.into(),
            memory_used: self.memory.used(),
            memory_limit: self.memory.limit(),
            rtt: self.ping.smoothed(),
            ..self.stats.clone()
        }
    }

    /// Where a stream stands; `None` when the key names nothing any more.
    pub fn stream_stats(&self, key: Key) -> Option<StreamStats> {
        let stream = self.streams.get(key)?;
        Some(StreamStats {
            id: stream.id,
            state: stream.state,
            inbound: stream.is_inbound(),
            sent: stream.send.sent(),
            received: stream.recv.received(),
            send_window: stream.send.available(),
            recv_window: stream.recv.remaining(),
            recv_window_size: stream.recv.size(),
            buffered: stream.incoming.len() as u64,
            queued: stream.outgoing.len() as u64,
            held_by: Holds {
                send: self.sending_held_by(stream),
                recv: self.reading_held_by(stream),
            },
        })
    }

    /// The keys of all streams that have a slot.
    pub fn streams(&self) -> impl Iterator<Item = Key> {
        self.streams.keys()
    }

    /// The id of a stream on the wire; `None` when the key names nothing any more.
    pub fn stream_id(&self, key: Key) -> Option<u32> {
        self.streams.get(key).map(|stream| stream.id)
    }

    fn sending_held_by(&self, stream: &Stream) -> HeldBy {
        let over = self.closed.is_some() || stream.state.is_terminal();
        if over || stream.bits.any(bit::FIN_SENT) {
            HeldBy::Nothing
        } else if !stream.outgoing.is_empty() {
            if stream.send.available() == 0 {
                HeldBy::PeerWindow
            } else if self.clock.blocked_since.is_some() {
                HeldBy::Carrier
            } else {
                HeldBy::Nothing
            }
        } else if stream.bits.any(bit::WANTS_MEMORY) {
            HeldBy::SessionBudget
        } else if stream.bits.any(bit::FIN_DUE) {
            HeldBy::Nothing
        } else {
            HeldBy::Application
        }
    }

    fn reading_held_by(&self, stream: &Stream) -> HeldBy {
        if !stream.incoming.is_empty() {
            // It has come and is not taken.
            HeldBy::Application
        } else if stream.is_receiving() && self.closed.is_none() && self.memory.is_short() {
            // Windows are kept small, or made smaller, until memory comes free.
            HeldBy::SessionBudget
        } else {
            HeldBy::Nothing
        }
    }
}
