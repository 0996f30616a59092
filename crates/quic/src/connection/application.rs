//! What the application calls: streams, datagrams, signs of life.

use bytes::Bytes;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::Instant;

use super::handshake::{TlsState, ZeroRtt};
use super::{Connection, Event};
use crate::crypto::TAG_LEN;
use crate::error::code;
use crate::stream::datagrams::DatagramEvent;
use crate::stream::{
    Half, OpenError, ReadError, SendDatagramError, StreamEvent, StreamStats, WriteError,
};
use crate::wire::{ConnectionId, Dir, StreamId};

impl Connection {
    /// A new stream of this side.
    ///
    /// # Errors
    /// [`OpenError::Blocked`] while the peer's limit is reached: [`Event::OpenReady`] follows.
    pub fn open(&mut self, now: Instant, dir: Dir) -> Result<Key, OpenError> {
        if self.is_going_away {
            return Err(OpenError::GoAway);
        }
        self.streams.open(now, dir)
    }

    /// The next stream that the peer opened, in the order of their numbers.
    pub fn accept(&mut self, now: Instant, dir: Dir) -> Option<Key> {
        self.streams.accept(now, dir)
    }

    /// Takes from the front of `data` what fits and returns how many bytes that were. Large pieces
    /// are kept as they are until they are acknowledged, small ones are copied together.
    ///
    /// # Errors
    /// [`WriteError::Blocked`] when nothing fits: [`Event::Writable`] follows once.
    pub fn write(&mut self, now: Instant, key: Key, data: &mut Bytes) -> Result<usize, WriteError> {
        self.streams.write(now, key, data)
    }

    /// The same from a slice, which is copied.
    ///
    /// # Errors
    /// As [`Connection::write`].
    pub fn write_slice(
        &mut self,
        now: Instant,
        key: Key,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        self.streams.write_slice(now, key, data)
    }

    /// The next bytes in order, at most `max`; `None` at the stream's end.
    ///
    /// # Errors
    /// [`ReadError::Blocked`] when there are none: [`Event::Readable`] follows once.
    pub fn read(&mut self, now: Instant, key: Key, max: usize) -> Result<Option<Bytes>, ReadError> {
        self.streams.read(now, key, max)
    }

    /// Whether what was read last were the stream's last bytes: then its end counts as read, too, and
    /// needs no [`read`](Connection::read) of its own.
    pub fn take_end(&mut self, key: Key) -> bool {
        self.streams.take_end(key)
    }

    /// No more will be written: the end follows what was written.
    pub fn finish(&mut self, now: Instant, key: Key) {
        self.streams.finish(now, key);
    }

    /// Ends sending at once (RESET_STREAM, RFC 9000 3.1).
    pub fn reset(&mut self, now: Instant, key: Key, code: u64) {
        self.streams.reset(now, key, code);
    }

    /// No more will be read (STOP_SENDING, RFC 9000 3.5).
    pub fn stop(&mut self, now: Instant, key: Key, code: u64) {
        self.streams.stop(now, key, code);
    }

    /// Whose turn it is among the streams that have something to send.
    pub fn set_priority(&mut self, key: Key, priority: Priority) {
        self.streams.set_priority(key, priority);
    }

    /// The application will not use this half of the stream any more: what it did not finish is
    /// reset, what it did not read is thrown away.
    pub fn release(&mut self, now: Instant, key: Key, half: Half) {
        self.streams.release(now, key, half);
    }

    /// Why no more can be written, or `None` while something can.
    #[must_use]
    pub fn send_error(&self, key: Key) -> Option<WriteError> {
        self.streams.send_error(key)
    }

    /// Whether all that was written, and the end if there was one, was put into packets once. While
    /// not, [`Event::Writable`] follows once.
    ///
    /// # Errors
    /// When the stream or connection ended before that.
    pub fn poll_sent(&mut self, key: Key) -> Result<bool, WriteError> {
        self.streams.poll_sent(key)
    }

    /// Whether the peer has acknowledged all that was written, and the end if there was one. While
    /// not, [`Event::Writable`] follows once.
    ///
    /// # Errors
    /// When the stream or connection ended before that.
    pub fn poll_flushed(&mut self, key: Key) -> Result<bool, WriteError> {
        self.streams.poll_flushed(key)
    }

    /// The stream's number on the wire.
    #[must_use]
    pub fn stream_id(&self, key: Key) -> Option<StreamId> {
        self.streams.stream_id(key)
    }

    /// Where a stream stands, and what holds it back.
    #[must_use]
    pub fn stream_stats(&self, key: Key) -> Option<StreamStats> {
        let mut stats = self.streams.stream_stats(key)?;
        self.add_path_holds(&mut stats);
        Some(stats)
    }

    /// The streams that are open now.
    pub fn stream_keys(&self) -> impl Iterator<Item = Key> {
        self.streams.keys()
    }

    /// How many streams are open now, in either direction.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.open_streams()
    }

    /// Takes no more streams from the peer and opens none: what runs may finish.
    pub fn drain_streams(&mut self, now: Instant) {
        let _ = now;
        self.is_going_away = true;
        self.streams.refuse_new(code::NO_ERROR);
    }

    /// Sends a datagram when its turn comes (RFC 9221). It never waits: when the queue is full, the
    /// oldest datagram in it is dropped.
    ///
    /// # Errors
    /// When the peer takes none, or it is larger than one packet carries now.
    pub fn send_datagram(&mut self, data: Bytes) -> Result<(), SendDatagramError> {
        if !self.is_open() {
            return Err(SendDatagramError::Closed);
        }
        let room = self.frame_room();
        self.datagrams.send(data, room).map(drop)
    }

    /// The next datagram that arrived.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        self.datagrams.recv()
    }

    /// Most bytes that a datagram can have now; `None` when the peer takes none. It changes with the
    /// path.
    #[must_use]
    pub fn max_datagram_size(&self) -> Option<usize> {
        let room = self.frame_room();
        self.datagrams.max_size(room)
    }

    /// Bytes of frames that a 1-RTT packet has room for now, whatever its number.
    pub(super) fn frame_room(&self) -> usize {
        let header = 1 + 4 + ConnectionId::MAX_LEN + TAG_LEN;
        self.datagram_size().saturating_sub(header)
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self) {
        self.outbox.ping = true;
    }

    /// Client: whether the server took the early data; `None` while that is open, or when there was
    /// none.
    #[must_use]
    pub fn zero_rtt_accepted(&self) -> Option<bool> {
        match self.handshake.zero_rtt {
            ZeroRtt::Accepted => Some(true),
            ZeroRtt::Rejected => Some(false),
            _ => None,
        }
    }

    /// Whether streams can be used although the handshake runs: what is sent may be replayed by an
    /// attacker (RFC 9001 9.2).
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.is_handshaking()
            && matches!(self.handshake.zero_rtt, ZeroRtt::Sent(_) | ZeroRtt::Taken)
    }

    pub(super) fn early_data_accepted(&self) -> bool {
        match &self.handshake.tls {
            TlsState::Running(tls) => tls.early_data_accepted() == Some(true),
            _ => false,
        }
    }

    /// What the streams have to tell, and that datagrams came.
    pub(super) fn poll_stream_event(&mut self) -> Option<Event> {
        match self.datagrams.poll_event() {
            Some(DatagramEvent::Received) => return Some(Event::DatagramReceived),
            Some(DatagramEvent::Unblocked) => return Some(Event::DatagramsUnblocked),
            Some(_) | None => {}
        }
        Some(match self.streams.poll_event()? {
            StreamEvent::Readable(key) => Event::Readable(key),
            StreamEvent::Writable(key) => Event::Writable(key),
            StreamEvent::StreamReset(key) => Event::StreamReset(key),
            StreamEvent::Stopped(key) => Event::Stopped(key),
            StreamEvent::Acceptable(dir) => Event::Acceptable(dir),
            StreamEvent::OpenReady(dir) => Event::OpenReady(dir),
        })
    }
}
