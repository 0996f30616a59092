//! One stream per connection, nothing added: what the multiplexed ways are measured against.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_core::buf::{Pool, ReadBuf as ChunkBuf};

use crate::carrier::{AnyCarrier, Carrier};
use crate::observe::ConnectionInfo;

/// The byte stream of a [`crate::Via::Tcp`] or [`crate::Via::Tls`] connection.
pub struct BareStream {
    carrier: AnyCarrier,
    info: ConnectionInfo,
    chunks: ChunkBuf,
    /// What was read, last first.
    unread: Vec<Bytes>,
}

impl BareStream {
    pub(crate) fn new(carrier: AnyCarrier, info: ConnectionInfo, pool: &Pool) -> Self {
        BareStream {
            carrier,
            info,
            chunks: pool.reader(),
            unread: Vec::new(),
        }
    }

    /// What is known of the connection.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The next bytes, at most `max`, as a slice of the buffer they arrived in; `None` at the end.
    pub async fn read_chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_read_chunk(cx, max)).await
    }

    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if let Some(chunk) = self.unread.last_mut() {
                let taken = chunk.split_to(max.min(chunk.len()));
                if chunk.is_empty() {
                    self.unread.pop();
                }
                return Poll::Ready(Ok(Some(taken)));
            }
            if !ready!(
                self.carrier
                    .poll_read(cx, &mut self.chunks, &mut self.unread)
            )? {
                return Poll::Ready(Ok(None));
            }
            self.unread.reverse();
        }
    }

    /// Writes all of `data`, cutting off what is written.
    pub async fn write_chunk(&mut self, data: &mut Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let written =
                poll_fn(|cx| self.carrier.poll_write(cx, &[IoSlice::new(data.as_ref())])).await?;
            bytes::Buf::advance(data, written);
        }
        poll_fn(|cx| self.carrier.poll_flush(cx)).await
    }

    /// Ends this side's direction; the peer's goes on.
    pub async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.carrier.poll_close(cx)).await
    }
}

impl AsyncRead for BareStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(chunk) = ready!(self.poll_read_chunk(cx, buffer.remaining()))? {
            buffer.put_slice(&chunk);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BareStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.carrier.poll_write(cx, &[IoSlice::new(data)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carrier.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carrier.poll_close(cx)
    }
}

impl fmt::Debug for BareStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareStream")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
