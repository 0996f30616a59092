//! The seam between the public handles and the engine that stands behind a connection.
//!
//! A connection is chosen at run time, so one virtual call stands here and nowhere else. All calls
//! are made from any task; none waits, none holds a lock across a system call.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;
use weir_core::close::CloseReason;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_quic::Dir;

use crate::error::{ConnectionError, DatagramError, StreamError};
use crate::stats::Stats;

/// What a handshake agreed on, where the way has one of its own (QUIC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// The application protocol (RFC 7301).
    pub alpn: Option<Bytes>,
    /// On the side that was dialled: the name that was asked for (RFC 6066 section 3).
    pub server_name: Option<String>,
    /// The version of QUIC, as it stands on the wire (RFC 9000 section 15).
    pub version: u32,
    /// Whether the TLS session was resumed from an earlier connection's ticket.
    pub resumed: bool,
    /// Whether data that was sent before the handshake was done has been taken; `None` where there
    /// was none.
    pub early_data: Option<bool>,
}

/// Bytes of a stream in order.
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    /// Known to be the last ones: the next call would find the stream's end, and need not be made.
    pub(crate) is_last: bool,
}

/// One connection's streams, whatever carries them.
pub(crate) trait StreamLayer: Send + Sync + 'static {
    /// A new stream, or `None` while the peer's credit for new streams is used up.
    fn try_open(&self, dir: Dir) -> Result<Option<Key>, ConnectionError>;
    /// The next stream that the peer opened, or `None` while there is none.
    fn try_accept(&self, dir: Dir) -> Result<Option<Key>, ConnectionError>;
    /// Told when [`StreamLayer::try_open`] is worth another try.
    fn openable(&self, dir: Dir) -> &Notify;
    /// Told when [`StreamLayer::try_accept`] is worth another try.
    fn acceptable(&self, dir: Dir) -> &Notify;

    /// The stream's number on the wire.
    fn stream_id(&self, key: Key) -> Option<u64>;
    /// Takes from the front of `data` what fits; waits while nothing does.
    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>>;
    /// The same from a slice, which is copied once.
    fn poll_write_slice(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &[u8],
    ) -> Poll<Result<usize, StreamError>>;
    /// The next bytes in order, at most `max`; `None` at the peer's end of stream.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        max: usize,
    ) -> Poll<Result<Option<Piece>, StreamError>>;
    /// Ready once the stream's sending side can do no more: the peer reset it or stopped reading,
    /// or the connection is gone.
    fn poll_send_ended(&self, cx: &mut Context<'_>, key: Key) -> Poll<StreamError>;
    /// Ready once all that was written, and the end, has been handed to the carrier.
    fn poll_flushed(&self, cx: &mut Context<'_>, key: Key) -> Poll<Result<(), StreamError>>;
    /// No more will be written.
    fn finish(&self, key: Key) -> Result<(), StreamError>;
    /// Ends the stream at once.
    fn reset(&self, key: Key, code: u64);
    /// No more will be read.
    fn stop(&self, key: Key, code: u64);
    /// Whose turn it is among the streams that have something to send.
    fn set_priority(&self, key: Key, priority: Priority);
    /// The handle of the sending half is gone.
    fn release_send(&self, key: Key);
    /// The handle of the receiving half is gone.
    fn release_receive(&self, key: Key);

    /// The longest datagram in bytes that would be taken now, or `None` where the way carries none.
    fn max_datagram_size(&self) -> Option<usize> {
        None
    }
    /// Queues a datagram (RFC 9221). Never waits: a full queue drops its oldest.
    fn send_datagram(&self, data: Bytes) -> Result<(), DatagramError> {
        let _ = data;
        Err(DatagramError::NotCarried)
    }
    /// The oldest datagram that has arrived and was not taken, or `None` while there is none.
    fn try_recv_datagram(&self) -> Result<Option<Bytes>, ConnectionError> {
        Ok(None)
    }
    /// Told when [`StreamLayer::try_recv_datagram`] is worth another try: something arrived, or the
    /// connection is over. `None` where nothing ever arrives.
    fn datagram_arrived(&self) -> Option<&Notify> {
        None
    }

    /// What the handshake agreed on, where the way has one of its own.
    fn handshake(&self) -> Option<Handshake> {
        None
    }
    /// Fills `output` with keying material that both sides can derive; false where there is none.
    fn export_keying_material(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        let _ = (output, label, context);
        false
    }
    /// Begins the use of new packet keys; false where that cannot be, or not now.
    fn update_keys(&self) -> bool {
        false
    }
    /// The peer's address where it can change.
    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Streams that are open now.
    fn open_streams(&self) -> usize;
    /// Takes no new streams from now on; those that run may finish.
    fn drain(&self);
    /// Ends the connection at once.
    fn close(&self, code: u64, reason: &str);
    /// Why the connection is over, or `None` while it runs.
    fn close_reason(&self) -> Option<CloseReason>;
    /// Told when the connection is over.
    fn closed(&self) -> &Notify;
    /// A picture of the connection and its streams.
    fn stats(&self) -> Stats;
}
