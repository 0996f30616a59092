//! What the handles need of an engine, whichever protocol it speaks.

use std::net::SocketAddr;

use bytes::Bytes;
use weir_core::close::CloseReason;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_quic::Dir;

use crate::error::{ConnectionError, DatagramError, StreamError};
use crate::layer::{Handshake, Piece};
use crate::stats::Stats;

/// Why a call on a stream got nothing.
pub(crate) enum Refused {
    /// Not now: news of the stream follow.
    Blocked,
    /// Not any more.
    Failed(StreamError),
}

/// What an engine has to tell those who wait.
pub(crate) enum News {
    /// A read that was blocked can go on.
    Readable(Key),
    /// A write, or a wait for what was written, can go on.
    Writable(Key),
    /// The stream ended before its time: whoever waits for it looks again.
    Ended(Key),
    /// The peer opened a stream.
    Acceptable(Dir),
    /// A stream can be opened again.
    Openable(Dir),
    /// The peer takes no new streams.
    GoingAway,
    /// A datagram arrived.
    Datagram,
    /// The handshake is complete.
    Established,
    /// The connection is over.
    Closed(CloseReason),
}

/// An engine behind a connection's handles. Every method is the engine's own of that name; only the
/// errors are in the words that handles speak.
pub(crate) trait Engine: Send + 'static {
    fn open(&mut self, now: Instant, dir: Dir) -> Result<Option<Key>, ConnectionError>;
    fn accept(&mut self, now: Instant, dir: Dir) -> Result<Option<Key>, ConnectionError>;
    fn stream_id(&self, key: Key) -> Option<u64>;
    fn write(&mut self, now: Instant, key: Key, data: &mut Bytes) -> Result<usize, Refused>;
    fn write_slice(&mut self, now: Instant, key: Key, data: &[u8]) -> Result<usize, Refused>;
    fn read(&mut self, now: Instant, key: Key, max: usize) -> Result<Option<Piece>, Refused>;
    fn send_error(&self, key: Key) -> Option<StreamError>;
    fn poll_flushed(&mut self, key: Key) -> Result<bool, StreamError>;
    fn finish(&mut self, now: Instant, key: Key);
    fn reset(&mut self, now: Instant, key: Key, code: u64);
    fn stop(&mut self, now: Instant, key: Key, code: u64);
    fn set_priority(&mut self, key: Key, priority: Priority);
    fn release_send(&mut self, now: Instant, key: Key);
    fn release_receive(&mut self, now: Instant, key: Key);
    fn open_streams(&self) -> usize;
    fn drain(&mut self, now: Instant);
    fn close(&mut self, now: Instant, code: u64, reason: &str);
    fn poll_news(&mut self) -> Option<News>;
    fn wants_transmit(&self) -> bool;
    /// Writes what the engine knows into a picture of the connection.
    fn describe(&self, stats: &mut Stats);

    /// Whether datagrams can arrive.
    const DATAGRAMS: bool = false;

    fn max_datagram_size(&self) -> Option<usize> {
        None
    }
    fn send_datagram(&mut self, data: Bytes) -> Result<(), DatagramError> {
        let _ = data;
        Err(DatagramError::NotCarried)
    }
    fn recv_datagram(&mut self) -> Option<Bytes> {
        None
    }
    /// What the handshake agreed on, where the engine makes it itself.
    fn handshake(&self) -> Option<Handshake> {
        None
    }
    /// The peer's address where it can change.
    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }
    /// See [`crate::Connection::export_keying_material`].
    fn export_keying_material(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        let _ = (output, label, context);
        false
    }
    /// See [`crate::Connection::update_keys`].
    fn update_keys(&mut self, now: Instant) -> bool {
        let _ = now;
        false
    }
}

/// The other end of an engine: the task that moves its bytes.
pub(crate) trait Link: Send + 'static {
    /// The task is about to be asked: the engine's time for the call that comes. `read_clock` looks
    /// at the clock, which a driver that is awake has done already.
    fn time(&mut self, read_clock: impl FnOnce() -> Instant) -> Instant;
    /// A call was made. Whom to wake for it, once the lock is free. `wants_transmit` is asked only
    /// when the answer matters.
    fn called(
        &mut self,
        wants_transmit: impl FnOnce() -> bool,
        is_over: bool,
    ) -> Option<std::task::Waker>;
}
