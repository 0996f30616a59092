//! Streams that the peer opens.

use weir_core::slab::Key;
use weir_core::time::Instant;

use super::Streams;
use super::entry::bit;
use super::ids::Opened;
use super::limits::STREAM_COST;
use crate::error::{TransportError, code};
use crate::wire::{Dir, StreamId};

/// Which half of a stream a frame from the peer is about, as this side sees it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// What the peer sends: STREAM, RESET_STREAM, STREAM_DATA_BLOCKED.
    Receiving,
    /// What this side sends: STOP_SENDING, MAX_STREAM_DATA.
    Sending,
}

impl Streams {
    /// The next stream of this kind that the peer opened, in the order of their numbers. `None`: there
    /// is none, and [`Acceptable`](super::StreamEvent::Acceptable) follows once.
    pub(crate) fn accept(&mut self, _now: Instant, dir: Dir) -> Option<Key> {
        // Every number is passed once in the connection's life.
        while !self.closed
            && let Some((number, untouched)) = self.theirs.get_mut(dir).accept()
        {
            let id = StreamId::new(self.side.peer(), dir, number);
            if untouched {
                return Some(self.admit(id, 0));
            }
            if let Some(key) = self.by_id.get(id.0).copied()
                && let Some(stream) = self.slots.get_mut(key)
                && stream.bits.take(bit::UNACCEPTED)
            {
                return Some(key);
            }
            // It was over before anybody asked for it.
        }
        *self.news.wants_accept.get_mut(dir) = true;
        None
    }

    /// Takes no streams that the peer opens from now on: they are reset and stopped with `code`.
    /// Those that were opened before can still be accepted.
    pub(crate) fn refuse_new(&mut self, code: u64) {
        if self.refuse_code.is_some() {
            return;
        }
        self.refuse_code = Some(code);
        for dir in Dir::ALL {
            let theirs = self.theirs.get_mut(dir);
            theirs.accept_until = theirs.next;
        }
    }

    /// The stream that a frame of type `frame` is about, opened if it is the peer's and new. `None`
    /// when it is over.
    ///
    /// # Errors
    /// The stream has no such half (Q79), was not opened by this side (Q80), or is over the limit
    /// (Q82).
    #[inline]
    pub(super) fn find(
        &mut self,
        now: Instant,
        id: StreamId,
        about: About,
        frame: u64,
    ) -> Result<Option<Key>, TransportError> {
        let own = id.initiator() == self.side;
        if id.dir() == Dir::Uni && own == (about == About::Receiving) {
            return Err(wrong_half(id, frame));
        }
        if let Some((last, key)) = self.last
            && last == id
        {
            return Ok(Some(key));
        }
        if let Some(key) = self.by_id.get(id.0).copied() {
            self.last = Some((id, key));
            return Ok(Some(key));
        }
        self.find_unknown(now, id, own, frame)
    }

    fn find_unknown(
        &mut self,
        now: Instant,
        id: StreamId,
        own: bool,
        frame: u64,
    ) -> Result<Option<Key>, TransportError> {
        if own {
            if id.number() < self.own.get(id.dir()).next {
                return Ok(None);
            }
            let words = format!("stream {id} was not opened by this side");
            return Err(TransportError::new(code::STREAM_STATE_ERROR, words).in_frame(frame));
        }
        let theirs = self.theirs.get_mut(id.dir());
        match theirs.touch(id.number()) {
            Opened::Before => Ok(None),
            Opened::New => Ok(Some(self.receive_new(now, id))),
            Opened::OverLimit => {
                let limit = theirs.limit();
                let words = format!("stream {id} is number {}, the limit {limit}", id.number());
                Err(TransportError::new(code::STREAM_LIMIT_ERROR, words).in_frame(frame))
            }
        }
    }

    /// The first frame of a stream of the peer came.
    fn receive_new(&mut self, now: Instant, id: StreamId) -> Key {
        let key = self.admit(id, bit::UNACCEPTED);
        if id.number() < self.theirs.get(id.dir()).accept_until {
            self.news.acceptable(id.dir());
        } else if let Some(code) = self.refuse_code {
            self.refuse(now, key, code);
        }
        key
    }

    fn admit(&mut self, id: StreamId, mut bits: u32) -> Key {
        self.stats.streams_accepted = self.stats.streams_accepted.saturating_add(1);
        // The peer was permitted to open it, so it gets its slot; how many there are is bounded by
        // the permission.
        if self.held.add(&self.memory, STREAM_COST).is_err() {
            bits |= bit::UNPAID;
        }
        self.insert(id, bits)
    }

    #[cold]
    fn refuse(&mut self, now: Instant, key: Key, code: u64) {
        self.stats.streams_refused = self.stats.streams_refused.saturating_add(1);
        let count = self.stats.streams_refused;
        self.seen
            .rate_limited("streams are opened while none are taken", count);
        if let Some(stream) = self.slots.get_mut(key) {
            stream.bits.clear(bit::UNACCEPTED);
            stream.bits.set(bit::RELEASED);
        }
        self.reset(now, key, code);
        self.stop(now, key, code);
    }
}

#[cold]
fn wrong_half(id: StreamId, frame: u64) -> TransportError {
    let words = format!("stream {id} does not go that way");
    TransportError::new(code::STREAM_STATE_ERROR, words).in_frame(frame)
}
