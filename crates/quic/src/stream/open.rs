//! Streams that this side opens, and the limits that the peer sets.

use weir_core::slab::Key;
use weir_core::time::Instant;

use super::entry::bit;
use super::error::OpenError;
use super::limits::STREAM_COST;
use super::{StreamLimits, Streams};
use crate::error::{TransportError, code};
use crate::wire::frame::{self, MAX_STREAM_COUNT};
use crate::wire::{Dir, StreamId};

impl Streams {
    /// Opens a stream. It can be written to at once; the peer learns of it with its first frame.
    ///
    /// # Errors
    /// [`OpenError::Blocked`] while the peer permits no more (it is told so, RFC 9000 section 4.6),
    /// or memory is short; others when there will be no stream any more.
    pub(crate) fn open(&mut self, now: Instant, dir: Dir) -> Result<Key, OpenError> {
        if self.closed {
            return Err(OpenError::Closed);
        }
        let own = self.own.get_mut(dir);
        if own.next >= MAX_STREAM_COUNT {
            return Err(OpenError::Exhausted);
        }
        if own.next >= own.limit {
            // Q93: once for each limit.
            own.blocked.set(own.limit);
            *self.news.wants_open.get_mut(dir) = true;
            return Err(OpenError::Blocked);
        }
        if self.held.add(&self.memory, STREAM_COST).is_err() {
            *self.news.wants_open.get_mut(dir) = true;
            self.clock.retry_memory(now);
            return Err(OpenError::Blocked);
        }
        let id = StreamId::new(self.side, dir, own.next);
        own.next = own.next.saturating_add(1);
        self.stats.streams_opened = self.stats.streams_opened.saturating_add(1);
        Ok(self.insert(id, 0))
    }

    /// What the peer permits: remembered from an earlier connection for 0-RTT, or its transport
    /// parameters. Limits only grow, except after [`on_zero_rtt_rejected`].
    ///
    /// [`on_zero_rtt_rejected`]: Streams::on_zero_rtt_rejected
    pub(crate) fn set_peer_limits(&mut self, limits: StreamLimits) {
        self.peer = StreamLimits {
            max_data: self.peer.max_data.max(limits.max_data),
            bidi_local: self.peer.bidi_local.max(limits.bidi_local),
            bidi_remote: self.peer.bidi_remote.max(limits.bidi_remote),
            uni: self.peer.uni.max(limits.uni),
            streams_bidi: self.peer.streams_bidi.max(limits.streams_bidi),
            streams_uni: self.peer.streams_uni.max(limits.streams_uni),
        };
        let peer = self.peer;
        self.raise_stream_limit(Dir::Bi, peer.streams_bidi);
        self.raise_stream_limit(Dir::Uni, peer.streams_uni);
        // Streams opened before had the limits that were known then.
        let keys: Vec<Key> = self.slots.keys().collect();
        for key in keys {
            let Some(stream) = self.slots.get(key) else {
                continue;
            };
            let own = stream.id.initiator() == self.side;
            let limit = match (stream.id.dir(), own) {
                (Dir::Bi, true) => peer.bidi_remote,
                (Dir::Bi, false) => peer.bidi_local,
                (Dir::Uni, true) => peer.uni,
                (Dir::Uni, false) => continue,
            };
            self.raise_stream_credit(key, limit);
        }
        self.on_max_data(peer.max_data);
    }

    /// MAX_STREAMS (RFC 9000 section 19.11).
    ///
    /// # Errors
    /// A limit that no stream ID can reach (Q83).
    pub(crate) fn on_max_streams(&mut self, dir: Dir, limit: u64) -> Result<(), TransportError> {
        if limit > MAX_STREAM_COUNT {
            let kind = match dir {
                Dir::Bi => frame::MAX_STREAMS_BIDI,
                Dir::Uni => frame::MAX_STREAMS_UNI,
            };
            return Err(too_many(kind));
        }
        self.raise_stream_limit(dir, limit);
        Ok(())
    }

    fn raise_stream_limit(&mut self, dir: Dir, limit: u64) {
        let own = self.own.get_mut(dir);
        if limit <= own.limit {
            return;
        }
        let before = std::mem::replace(&mut own.limit, limit);
        own.blocked.cancel();
        let next = own.next;
        self.news.open_ready(dir);
        if before < next {
            self.revive(dir, limit);
        }
    }

    /// Streams that a rejected 0-RTT had left without permission may go on.
    #[cold]
    fn revive(&mut self, dir: Dir, limit: u64) {
        let keys: Vec<Key> = self.slots.keys().collect();
        for key in keys {
            let Some(stream) = self.slots.get_mut(key) else {
                continue;
            };
            let permitted = stream.id.dir() == dir && stream.id.number() < limit;
            if permitted && stream.bits.take(bit::OVER_LIMIT) {
                let due = stream.bits.any(bit::CONTROL_DUE);
                if due {
                    self.queue_control(key, 0);
                }
                self.queue_data(key);
            }
        }
    }

    /// STREAMS_BLOCKED (RFC 9000 section 19.14): the peer gets at once what it would soon get.
    ///
    /// # Errors
    /// A limit that no stream ID can reach (Q83).
    pub(crate) fn on_streams_blocked(
        &mut self,
        dir: Dir,
        limit: u64,
    ) -> Result<(), TransportError> {
        if limit > MAX_STREAM_COUNT {
            let kind = match dir {
                Dir::Bi => frame::STREAMS_BLOCKED_BIDI,
                Dir::Uni => frame::STREAMS_BLOCKED_UNI,
            };
            return Err(too_many(kind));
        }
        self.theirs.get_mut(dir).announce();
        Ok(())
    }
}

fn too_many(kind: u64) -> TransportError {
    TransportError::new(code::FRAME_ENCODING_ERROR, "a limit on streams above 2^60").in_frame(kind)
}
