//! The two halves of a stream.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_core::sched::Priority;
use weir_core::slab::Key;

use crate::error::StreamError;
use crate::layer::StreamLayer;

/// The half of a stream that this side writes.
///
/// # What the calls promise
/// A write is done when its bytes stand in the stream's send queue, within the peer's window and
/// the connection's memory; [`SendStream::finish`] marks the end behind them. Neither says that the
/// peer has read anything: where that matters, let the peer answer. [`SendStream::flush_all`] waits
/// until the carrier has taken everything.
///
/// # Cancelling
/// Every future here may be dropped at any await: what it reported was done, nothing else was.
///
/// # Dropping
/// A half that is dropped unfinished resets the stream: the peer must never take a cut-off stream
/// for a whole one.
pub struct SendStream {
    layer: Arc<dyn StreamLayer>,
    key: Key,
    ended: bool,
}

impl SendStream {
    pub(crate) fn new(layer: Arc<dyn StreamLayer>, key: Key) -> Self {
        SendStream {
            layer,
            key,
            ended: false,
        }
    }

    /// The stream's number on the wire; both sides see the same one.
    pub fn id(&self) -> u64 {
        self.layer.stream_id(self.key).unwrap_or(0)
    }

    /// Writes some of `data` and says how much; waits while the peer's window is closed.
    pub async fn write(&mut self, data: &[u8]) -> Result<usize, StreamError> {
        poll_fn(|cx| self.layer.poll_write_slice(cx, self.key, data)).await
    }

    /// Writes all of `data`.
    ///
    /// Not safe to cancel half-way in one respect: how much was written is then unknown. Use
    /// [`SendStream::write_chunk`], whose argument shows it.
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), StreamError> {
        while !data.is_empty() {
            let written = self.write(data).await?;
            data = data.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes all of `data` without copying it: the bytes are sent from where they are.
    ///
    /// What is taken is cut from the front of `data`, so after a cancelled call `data` holds
    /// exactly what was not written.
    pub async fn write_chunk(&mut self, data: &mut Bytes) -> Result<(), StreamError> {
        while !data.is_empty() {
            poll_fn(|cx| self.poll_write_chunk(cx, data)).await?;
        }
        Ok(())
    }

    /// One step of [`SendStream::write_chunk`] for those who poll: cuts what was taken from the
    /// front of `data` and says how much it was.
    pub fn poll_write_chunk(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        self.layer.poll_write(cx, self.key, data)
    }

    /// Ends this half: the peer reads what was written and then the end. The end leaves in
    /// one write with the last data, so write and finish without waiting in between.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.layer.finish(self.key)?;
        self.ended = true;
        Ok(())
    }

    /// Waits until the carrier has taken all that was written (and the end, once finished): it is on its
    /// way, and may still get lost. Where the peer's window or the network holds bytes back, that takes
    /// its time.
    pub async fn flush_all(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| self.layer.poll_flushed(cx, self.key)).await
    }

    /// Ends the stream at once, both ways; what is queued is dropped. `code` reaches the peer only
    /// where the carrier has a field for it.
    pub fn reset(&mut self, code: u64) {
        self.layer.reset(self.key, code);
        self.ended = true;
    }

    /// Whose turn it is among the connection's streams; see [`Priority`].
    pub fn set_priority(&self, priority: Priority) {
        self.layer.set_priority(self.key, priority);
    }

    /// Waits until nothing more can be sent: the peer reset the stream or stopped reading it, or
    /// the connection ended.
    pub async fn stopped(&mut self) -> StreamError {
        poll_fn(|cx| self.layer.poll_send_ended(cx, self.key)).await
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.layer
            .poll_write_slice(cx, self.key, data)
            .map_err(io::Error::from)
    }

    /// Waits until the carrier has taken what was written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.layer
            .poll_flushed(cx, self.key)
            .map_err(io::Error::from)
    }

    /// Finishes this half.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.finish().map_err(io::Error::from))
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.ended {
            self.layer.reset(self.key, 0);
        }
        self.layer.release_send(self.key);
    }
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendStream")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The half of a stream that this side reads.
///
/// Every future here may be dropped at any await without losing bytes. A half that is dropped
/// before the peer's end of stream tells the peer to stop, as far as the carrier has words for it.
pub struct RecvStream {
    layer: Arc<dyn StreamLayer>,
    key: Key,
    /// What [`AsyncRead`] did not fit into its caller's buffer.
    rest: Bytes,
    /// The carrier's last bytes were taken.
    is_at_end: bool,
}

impl RecvStream {
    pub(crate) fn new(layer: Arc<dyn StreamLayer>, key: Key) -> Self {
        RecvStream {
            layer,
            key,
            rest: Bytes::new(),
            is_at_end: false,
        }
    }

    /// The stream's number on the wire; both sides see the same one.
    pub fn id(&self) -> u64 {
        self.layer.stream_id(self.key).unwrap_or(0)
    }

    /// The next bytes in order, at most `max`, as a slice of the buffer they arrived in; `None` at
    /// the end of the stream. Reading is what gives the peer new window.
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_read_chunk(cx, max)).await
    }

    /// [`RecvStream::read_chunk`] for those who poll.
    pub fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        if !self.rest.is_empty() {
            let chunk = self.rest.split_to(max.min(self.rest.len()));
            return Poll::Ready(Ok(Some(chunk)));
        }
        if self.is_at_end {
            return Poll::Ready(Ok(None));
        }
        let piece = ready!(self.layer.poll_read(cx, self.key, max))?;
        Poll::Ready(Ok(piece.map(|piece| {
            self.is_at_end = piece.is_last;
            piece.data
        })))
    }

    /// Reads into `buffer` and says how much; 0 is the end of the stream.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let Some(chunk) = self.read_chunk(buffer.len()).await? else {
            return Ok(0);
        };
        let taken = chunk.len().min(buffer.len());
        if let Some(space) = buffer.get_mut(..taken) {
            space.copy_from_slice(chunk.get(..taken).unwrap_or_default());
        }
        Ok(taken)
    }

    /// Reads to the end of the stream, at most `limit` bytes; one more is an error of the kind
    /// [`StreamError::Stopped`], and the stream is stopped.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, StreamError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.read_chunk(limit.max(1)).await? {
            if all.len().saturating_add(chunk.len()) > limit {
                self.stop(0);
                return Err(StreamError::Stopped(0));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// Wants no more of this stream. `code` reaches the peer only where the carrier has a field for
    /// it; a carrier without any word for it drains the rest unseen.
    pub fn stop(&mut self, code: u64) {
        self.rest = Bytes::new();
        self.layer.stop(self.key, code);
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let max = buffer.remaining();
        if max == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(mut chunk) = ready!(self.poll_read_chunk(cx, max))? {
            let now = chunk.split_to(max.min(chunk.len()));
            buffer.put_slice(&now);
            if !chunk.is_empty() {
                self.rest = chunk;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.layer.release_receive(self.key);
    }
}

impl fmt::Debug for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Both halves in one, for code that wants an ordinary byte stream.
#[derive(Debug)]
pub struct Stream {
    /// What this side writes.
    pub send: SendStream,
    /// What this side reads.
    pub recv: RecvStream,
}

impl Stream {
    /// Joins two halves; they are usually those of one stream.
    pub fn new(send: SendStream, recv: RecvStream) -> Self {
        Stream { send, recv }
    }

    /// The two halves again.
    pub fn into_split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl From<(SendStream, RecvStream)> for Stream {
    fn from((send, recv): (SendStream, RecvStream)) -> Self {
        Stream { send, recv }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
