//! A connection to one peer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::close::CloseReason;

use crate::error::{ConnectionError, DatagramError};
use crate::layer::StreamLayer;
use crate::observe::ConnectionInfo;
use crate::security::PeerId;
use crate::stats::Stats;
use crate::stream::{RecvStream, SendStream};
use crate::via::Via;

/// Streams to and from one peer. Clones are handles to the same connection.
///
/// When the last handle and the last stream are dropped, the connection closes.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Handle>,
}

/// What all clones share: dropping it is what closes the connection.
struct Handle {
    layer: Arc<dyn StreamLayer>,
    info: ConnectionInfo,
}

impl Connection {
    pub(crate) fn new(layer: Arc<dyn StreamLayer>, info: ConnectionInfo) -> Self {
        Connection {
            inner: Arc::new(Handle { layer, info }),
        }
    }

    /// This connection with another layer, which may hold the connection and pass calls on to its layer.
    #[cfg(test)]
    pub(crate) fn wrapped(self, wrap: impl FnOnce(Self) -> Arc<dyn StreamLayer>) -> Self {
        let info = self.inner.info.clone();
        Connection::new(wrap(self), info)
    }

    pub(crate) fn layer(&self) -> &Arc<dyn StreamLayer> {
        &self.inner.layer
    }

    /// Opens a stream. It costs no round trip: data may be written at once. Waits while the peer
    /// has not acknowledged enough of the streams that were opened before.
    pub async fn open_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        loop {
            if let Some(key) = self.layer().try_open()? {
                return Ok(self.halves(key));
            }
            let notified = self.layer().openable().notified();
            tokio::pin!(notified);
            // Registered before the second look, so that credit which comes in between is seen.
            notified.as_mut().enable();
            if let Some(key) = self.layer().try_open()? {
                return Ok(self.halves(key));
            }
            notified.await;
            // One piece of news may stand for several streams: the next in line looks too.
            if let Some(key) = self.layer().try_open()? {
                self.layer().openable().notify_one();
                return Ok(self.halves(key));
            }
        }
    }

    /// Takes the next stream that the peer opened. Any number of tasks may wait here.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        loop {
            if let Some(key) = self.layer().try_accept()? {
                return Ok(self.halves(key));
            }
            let notified = self.layer().acceptable().notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(key) = self.layer().try_accept()? {
                return Ok(self.halves(key));
            }
            notified.await;
            // One piece of news may stand for several streams: the next in line looks too.
            if let Some(key) = self.layer().try_accept()? {
                self.layer().acceptable().notify_one();
                return Ok(self.halves(key));
            }
        }
    }

    fn halves(&self, key: weir_core::slab::Key) -> (SendStream, RecvStream) {
        let layer = self.layer();
        (
            SendStream::new(Arc::clone(layer), key),
            RecvStream::new(Arc::clone(layer), key),
        )
    }

    /// The longest datagram in bytes that [`Connection::send_datagram`] takes now; it follows the
    /// path's MTU. `None` on ways that carry none, such as yamux.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.layer().max_datagram_size()
    }

    /// Sends a datagram (RFC 9221): at most once, in any order, unless the network or a full queue
    /// loses it. Never waits; a full queue drops its oldest.
    ///
    /// # Errors
    /// [`DatagramError`]: none are carried, this one is too long, or the connection is over.
    pub fn send_datagram(&self, data: Bytes) -> Result<(), DatagramError> {
        self.layer().send_datagram(data)
    }

    /// The next datagram from the peer. Any number of tasks may wait here, each datagram goes to one
    /// of them; datagrams that nobody takes are dropped from a bounded queue. On ways that carry
    /// none it waits for the connection's end.
    ///
    /// # Errors
    /// [`ConnectionError`] when the connection is over.
    pub async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        let Some(arrived) = self.layer().datagram_arrived() else {
            return Err(ConnectionError::Closed(self.closed().await));
        };
        loop {
            if let Some(found) = self.layer().try_recv_datagram()? {
                // One piece of news may stand for several datagrams: the next in line looks too.
                arrived.notify_one();
                return Ok(found);
            }
            let notified = arrived.notified();
            tokio::pin!(notified);
            // Registered before the second look, so that what arrives in between is seen.
            notified.as_mut().enable();
            if let Some(found) = self.layer().try_recv_datagram()? {
                arrived.notify_one();
                return Ok(found);
            }
            if let Some(reason) = self.close_reason() {
                return Err(ConnectionError::Closed(reason));
            }
            // The end is waited for beside it: a layer need not tell of it twice.
            tokio::select! {
                () = notified => {}
                _ = self.closed() => {}
            }
        }
    }

    /// Whose key answered; `None` on ways that do not authenticate.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.inner.info.peer
    }

    /// The peer's address.
    pub fn remote_addr(&self) -> SocketAddr {
        self.inner.info.remote_addr
    }

    /// This side's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.info.local_addr
    }

    /// How the streams are carried.
    pub fn via(&self) -> Via {
        self.inner.info.via
    }

    /// Takes no new streams from either side; those that run may finish. The peer is told.
    pub fn drain(&self) {
        self.layer().drain();
    }

    /// Streams that are open now.
    pub fn open_streams(&self) -> usize {
        self.layer().open_streams()
    }

    /// Ends the connection at once: every stream on both sides fails with this reason, as far as
    /// the carrier can tell it to the peer.
    pub fn close(&self, code: u64, reason: &str) {
        self.layer().close(code, reason);
    }

    /// Why the connection is over, or `None` while it runs.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.layer().close_reason()
    }

    /// Waits until the connection is over and says why.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let notified = self.layer().closed().notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(reason) = self.layer().close_reason() {
                return reason;
            }
            notified.await;
        }
    }

    /// A picture of the connection and its streams, with what holds each one back.
    pub fn stats(&self) -> Stats {
        self.layer().stats()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Streams that outlive the last handle may still finish; no new ones can come.
        self.layer.drain();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("via", &self.via())
            .field("remote", &self.remote_addr())
            .field("peer", &self.peer_id())
            .finish_non_exhaustive()
    }
}
