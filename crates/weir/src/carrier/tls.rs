//! TLS 1.3 on a stream.
//!
//! What a byte costs here, beside the cipher: on the way down it is copied once, from the caller's
//! slice into the record that is sealed in place, and many records leave in one write: no
//! allocation. On the way up it is read into a chunk, decrypted there, and handed out as a slice of
//! it: no copy, no allocation.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_core::buf::ReadBuf;

use super::outgoing::Outgoing;
use super::record::{MAX_PLAINTEXT, Opened, Records};
use super::tls_error::TlsError;
use super::{Carrier, MIN_READ, poll_read_into};

/// Plaintext that is sealed before the socket is asked: what one write can carry, and all that may
/// wait sealed when the peer does not read.
const BATCH: usize = 16 * MAX_PLAINTEXT;
/// Slices that go into one record. Frames smaller than 1/128 of a record leave it partly empty, no
/// more.
const PARTS: usize = 128;

/// How a direction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Ended in order, by close_notify.
    Ended,
    /// Ended by an error.
    Broken,
}

/// A TLS connection after its handshake.
pub(crate) struct TlsCarrier<S> {
    stream: S,
    records: Records,
    /// What the handshake read beyond its end.
    early: BytesMut,
    outgoing: Outgoing,
    reading: Way,
    writing: Way,
    /// Found behind data that was handed out first.
    error: Option<TlsError>,
    /// Found after bytes were taken, and told by the next call that writes.
    write_error: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsCarrier<S> {
    pub(super) fn new(stream: S, records: Records, early: BytesMut) -> Self {
        TlsCarrier {
            stream,
            records,
            early,
            outgoing: Outgoing::default(),
            reading: Way::Open,
            writing: Way::Open,
            error: None,
            write_error: None,
        }
    }

    /// Opens all whole records in `chunk`. An error waits until the data before it has been taken.
    fn decode(&mut self, chunk: &mut BytesMut, out: &mut Vec<Bytes>) {
        loop {
            match self.records.open(chunk) {
                Ok(Opened::Data(data)) => out.push(data),
                Ok(Opened::Internal) => {}
                Ok(Opened::Incomplete) => return,
                Ok(Opened::Closed) => {
                    // RFC 8446 6.1: whatever follows is ignored.
                    chunk.clear();
                    self.reading = Way::Ended;
                    return;
                }
                Err(error) => {
                    chunk.clear();
                    self.error = Some(error);
                    return;
                }
            }
        }
    }

    /// The connection is broken: tells the peer why, if it still listens.
    fn fail(&mut self, cx: &mut Context<'_>, error: TlsError) -> io::Error {
        self.reading = Way::Broken;
        if self.writing == Way::Open {
            self.writing = Way::Broken;
            if let Some(alert) = error.alert() {
                // Without an alert the peer still sees the end.
                let _ = self.records.seal_alert(alert, self.outgoing.tail());
            }
            // What does not go now goes with poll_close.
            let _ = self.outgoing.poll_drain(&mut self.stream, cx);
        }
        error.into()
    }

    /// Answers a request for new keys, or changes them before they are worn out.
    fn update_keys(&mut self) -> Result<(), TlsError> {
        if self.records.wants_key_update() && self.writing == Way::Open {
            self.records.update_keys(self.outgoing.tail())?;
        }
        Ok(())
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.write_error.take() {
            return Poll::Ready(Err(error));
        }
        let drained = ready!(self.outgoing.poll_drain(&mut self.stream, cx));
        if drained.is_err() {
            self.writing = Way::Broken;
        }
        Poll::Ready(drained)
    }

    /// Writes what the socket takes now; an error is kept for the next call that writes.
    fn try_drain(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            self.write_error = Some(error);
        }
    }

    /// Seals up to a batch from the front of `bufs`; how many bytes that was.
    fn seal(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize, TlsError> {
        let mut taken = 0;
        let mut rest = Rest { bufs, offset: 0 };
        while taken < BATCH {
            let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
            let (count, len) = rest.gather(&mut parts);
            if len == 0 {
                break;
            }
            self.update_keys()?;
            let parts = parts.get(..count).unwrap_or_default();
            self.records.seal(parts, self.outgoing.tail())?;
            taken += len;
        }
        Ok(taken)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Carrier for TlsCarrier<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf,
        out: &mut Vec<Bytes>,
    ) -> Poll<io::Result<bool>> {
        let before = out.len();
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            buf.spare(early.len()).extend_from_slice(&early);
            self.decode(buf.filled(), out);
        }
        loop {
            if out.len() > before {
                return Poll::Ready(Ok(true));
            }
            if let Some(error) = self.error.take() {
                return Poll::Ready(Err(self.fail(cx, error)));
            }
            match self.reading {
                Way::Open => {}
                Way::Ended => return Poll::Ready(Ok(false)),
                Way::Broken => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
            let read = ready!(poll_read_into(&mut self.stream, cx, buf.spare(MIN_READ)));
            if !matches!(read, Ok(n) if n > 0) {
                self.reading = Way::Broken;
                read?;
                return Poll::Ready(Err(TlsError::Truncated.into()));
            }
            self.decode(buf.filled(), out);
            // With bytes waiting the next write or flush brings it; so a flood of requests costs
            // one answer.
            if self.records.wants_key_update() && self.outgoing.is_empty() {
                if let Err(error) = self.update_keys() {
                    self.error.get_or_insert(error);
                }
                self.try_drain(cx);
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // No more is sealed than one batch that the socket has not taken.
        ready!(self.poll_drain(cx))?;
        if self.writing != Way::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = match self.seal(bufs) {
            Ok(taken) => taken,
            Err(error) => return Poll::Ready(Err(self.fail(cx, error))),
        };
        // Taken is taken: when the socket is full, or breaks now, the next call says so.
        self.try_drain(cx);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        if self.writing == Way::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Err(error) = self.update_keys() {
            return Poll::Ready(Err(self.fail(cx, error)));
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing == Way::Open {
            self.writing = Way::Ended;
            let close = AlertDescription::CloseNotify;
            if let Err(error) = self.records.seal_alert(close, self.outgoing.tail()) {
                return Poll::Ready(Err(self.fail(cx, error)));
            }
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn rest(&mut self) {
        self.outgoing.rest();
    }
}

/// What is left of the caller's slices.
struct Rest<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// Bytes of the first slice that are taken.
    offset: usize,
}

impl<'a> Rest<'a, '_> {
    /// Takes what one record holds; how many parts and bytes that is.
    fn gather(&mut self, parts: &mut [&'a [u8]; PARTS]) -> (usize, usize) {
        let (mut count, mut len) = (0, 0);
        while let (Some((first, others)), Some(part)) =
            (self.bufs.split_first(), parts.get_mut(count))
        {
            let rest = first.get(self.offset..).unwrap_or_default();
            let room = MAX_PLAINTEXT - len;
            let Some(fits) = rest.get(..room) else {
                // All of it.
                (*part, self.bufs, self.offset) = (rest, others, 0);
                count += usize::from(!rest.is_empty());
                len += rest.len();
                continue;
            };
            *part = fits;
            self.offset += room;
            return (count + usize::from(room > 0), len + room);
        }
        (count, len)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "tls_record_tests.rs"]
mod record_tests;
