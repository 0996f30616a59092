//! The two directions of a connection, apart.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::end::End;
use super::error::TcpError;
use super::stream::{TcpStream, describe};

/// What is read, of a borrowed [`TcpStream`].
pub struct ReadHalf<'a>(pub(super) &'a End);

/// What is written, of a borrowed [`TcpStream`]. Dropping it ends nothing.
pub struct WriteHalf<'a>(pub(super) &'a End);

/// What is read, of a [`TcpStream`] that was taken apart. Dropping it alone ends nothing: data that
/// comes waits, as far as the window goes.
pub struct OwnedReadHalf {
    end: Arc<End>,
}

/// What is written, of a [`TcpStream`] that was taken apart. Dropping it ends this direction, as
/// [`AsyncWriteExt::shutdown`](tokio::io::AsyncWriteExt::shutdown) does.
pub struct OwnedWriteHalf {
    /// `None` once it was joined again.
    end: Option<Arc<End>>,
}

/// Halves that are not of one stream.
#[derive(Debug, thiserror::Error)]
#[error("these are halves of different streams")]
pub struct NotOneStream(pub OwnedReadHalf, pub OwnedWriteHalf);

pub(super) fn split(end: End) -> (OwnedReadHalf, OwnedWriteHalf) {
    let end = Arc::new(end);
    let read = OwnedReadHalf {
        end: Arc::clone(&end),
    };
    (read, OwnedWriteHalf { end: Some(end) })
}

impl OwnedReadHalf {
    /// Both halves in one again.
    ///
    /// # Errors
    /// They are not of one stream; here they are back.
    pub fn reunite(self, mut other: OwnedWriteHalf) -> Result<TcpStream, NotOneStream> {
        let Some(end) = other.end.take_if(|end| Arc::ptr_eq(end, &self.end)) else {
            return Err(NotOneStream(self, other));
        };
        drop(end);
        match Arc::try_unwrap(self.end) {
            Ok(end) => Ok(TcpStream::from_end(end)),
            // Only two handles are ever made, and the other one is gone.
            Err(end) => Err(NotOneStream(OwnedReadHalf { end }, other)),
        }
    }

    /// See [`TcpStream::read_chunk`].
    ///
    /// # Errors
    /// As there.
    pub async fn read_chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.end.poll_read_chunk(cx, max)).await
    }

    /// See [`TcpStream::poll_read_chunk`].
    ///
    /// # Errors
    /// As there.
    pub fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        self.end.poll_read_chunk(cx, max)
    }

    /// See [`TcpStream::closed`].
    pub async fn closed(&self) -> TcpError {
        poll_fn(|cx| self.end.poll_closed(cx)).await
    }

    /// The address and port on this side.
    ///
    /// # Errors
    /// The stack is over.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.end.addresses()?.0)
    }

    /// The address and port of the peer.
    ///
    /// # Errors
    /// The stack is over.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.end.addresses()?.1)
    }
}

impl OwnedWriteHalf {
    fn end(&self) -> io::Result<&End> {
        // It is there until the half is consumed.
        self.end
            .as_deref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// See [`TcpStream::write_chunk`].
    ///
    /// # Errors
    /// As there.
    pub async fn write_chunk(&mut self, data: &mut Bytes) -> io::Result<()> {
        let end = self.end()?;
        while !data.is_empty() {
            poll_fn(|cx| end.poll_write_chunk(cx, data)).await?;
        }
        Ok(())
    }

    /// See [`TcpStream::poll_write_chunk`].
    ///
    /// # Errors
    /// As there.
    pub fn poll_write_chunk(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<io::Result<usize>> {
        self.end()?.poll_write_chunk(cx, data)
    }

    /// See [`TcpStream::closed`].
    pub async fn closed(&self) -> TcpError {
        match &self.end {
            Some(end) => poll_fn(|cx| end.poll_closed(cx)).await,
            None => TcpError::Unknown,
        }
    }

    /// Drops the half without ending this direction: the stream ends it when it is dropped.
    pub fn forget(mut self) {
        self.end = None;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            end.finish();
        }
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.end.poll_read(cx, buffer)
    }
}

impl AsyncRead for ReadHalf<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.end()?.poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.end()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end()?.finish();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WriteHalf<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.finish();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for OwnedReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.end, f.debug_struct("OwnedReadHalf"))
    }
}

impl fmt::Debug for OwnedWriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(end) => describe(end, f.debug_struct("OwnedWriteHalf")),
            None => f.write_str("OwnedWriteHalf"),
        }
    }
}

impl fmt::Debug for ReadHalf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.0, f.debug_struct("ReadHalf"))
    }
}

impl fmt::Debug for WriteHalf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.0, f.debug_struct("WriteHalf"))
    }
}
