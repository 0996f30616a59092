//! TCP, or any other stream, as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_core::buf::ReadBuf;

use super::{Carrier, MIN_READ, poll_read_into};

/// A stream without encryption. Reads hand out slices of the buffer they went to; writes go out as
/// they come.
pub(crate) struct TcpCarrier<S> {
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TcpCarrier<S> {
    /// The caller has set `TCP_NODELAY`.
    pub(crate) fn new(stream: S) -> Self {
        TcpCarrier { stream }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Carrier for TcpCarrier<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf,
        out: &mut Vec<Bytes>,
    ) -> Poll<io::Result<bool>> {
        let read = ready!(poll_read_into(&mut self.stream, cx, buf.spare(MIN_READ)))?;
        if read > 0 {
            out.push(buf.take());
        }
        Poll::Ready(Ok(read > 0))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        if written == 0 && bufs.iter().any(|b| !b.is_empty()) {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
