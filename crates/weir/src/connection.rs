//! A connection to one peer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use weir_core::close::CloseReason;
use weir_core::slab::Key;
use weir_quic::Dir;

use crate::error::{ConnectionError, DatagramError};
use crate::layer::{Handshake, StreamLayer};
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

    /// This connection with the reason why it is carried so. There are no other handles yet.
    pub(crate) fn because(mut self, why: String) -> Self {
        if let Some(handle) = Arc::get_mut(&mut self.inner) {
            handle.info.why = Some(why.into());
        }
        self
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
        Ok(self.halves(self.open(Dir::Bi).await?))
    }

    /// Opens a stream that only this side writes.
    ///
    /// # Errors
    /// [`ConnectionError::NotCarried`] on ways that have none (yamux); else as
    /// [`Connection::open_bi`].
    pub async fn open_uni(&self) -> Result<SendStream, ConnectionError> {
        let key = self.open(Dir::Uni).await?;
        Ok(SendStream::new(Arc::clone(self.layer()), key))
    }

    /// Takes the next stream that the peer opened. Any number of tasks may wait here.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        Ok(self.halves(self.accept(Dir::Bi).await?))
    }

    /// Takes the next stream that only the peer writes. Any number of tasks may wait here.
    ///
    /// # Errors
    /// [`ConnectionError::NotCarried`] on ways that have none (yamux); else as
    /// [`Connection::accept_bi`].
    pub async fn accept_uni(&self) -> Result<RecvStream, ConnectionError> {
        let key = self.accept(Dir::Uni).await?;
        Ok(RecvStream::new(Arc::clone(self.layer()), key))
    }

    async fn open(&self, dir: Dir) -> Result<Key, ConnectionError> {
        let layer = self.layer();
        first(layer.openable(dir), || layer.try_open(dir)).await
    }

    async fn accept(&self, dir: Dir) -> Result<Key, ConnectionError> {
        let layer = self.layer();
        first(layer.acceptable(dir), || layer.try_accept(dir)).await
    }

    fn halves(&self, key: Key) -> (SendStream, RecvStream) {
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

    /// The peer's address; where the way can follow a peer to another network (QUIC), the one it
    /// has now.
    pub fn remote_addr(&self) -> SocketAddr {
        let moved = self.layer().remote_addr();
        moved.unwrap_or(self.inner.info.remote_addr)
    }

    /// This side's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.info.local_addr
    }

    /// How the streams are carried.
    pub fn via(&self) -> Via {
        self.inner.info.via
    }

    /// Why the streams are carried so, in words, where there was a choice ([`Via::Auto`]).
    pub fn why(&self) -> Option<&str> {
        self.inner.info.why.as_deref()
    }

    /// What the handshake agreed on; `None` on ways without a handshake of their own, and while it
    /// runs.
    pub fn handshake(&self) -> Option<Handshake> {
        self.layer().handshake()
    }

    /// Fills `output` with keying material that only the two ends can derive (RFC 8446 section
    /// 7.5). False on ways without it, before the handshake is complete, and where
    /// [`crate::QuicConfig::exporter`] is off.
    pub fn export_keying_material(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        self.layer().export_keying_material(output, label, context)
    }

    /// Replaces the packet keys of both directions (RFC 9001 section 6), which happens by itself in
    /// good time. False where that is not permitted now, and on ways without packets.
    pub fn update_keys(&self) -> bool {
        self.layer().update_keys()
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

/// What `look` finds first, looking again each time that `news` says so.
async fn first<T>(
    news: &Notify,
    mut look: impl FnMut() -> Result<Option<T>, ConnectionError>,
) -> Result<T, ConnectionError> {
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        let notified = news.notified();
        tokio::pin!(notified);
        // Registered before the second look, so that what comes in between is seen.
        notified.as_mut().enable();
        if let Some(found) = look()? {
            return Ok(found);
        }
        notified.await;
        // One piece of news may stand for several: the next in line looks too.
        if let Some(found) = look()? {
            news.notify_one();
            return Ok(found);
        }
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
