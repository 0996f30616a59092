//! A stream whose bytes somebody may watch, as they stand on the wire.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sees the carrier's bytes, as sent and as received: under TLS, the ciphertext.
pub trait Tap: Send + 'static {
    /// `bytes` were given to the system.
    fn sent(&mut self, bytes: &[u8]);
    /// `bytes` came from the system.
    fn received(&mut self, bytes: &[u8]);
    /// One direction has ended; `sent` tells which.
    fn ended(&mut self, sent: bool) {
        let _ = sent;
    }
}

/// A stream and whoever watches it.
pub(crate) struct Tapped<S> {
    stream: S,
    tap: Option<Box<dyn Tap>>,
}

impl<S> Tapped<S> {
    pub(crate) fn new(stream: S, tap: Option<Box<dyn Tap>>) -> Self {
        Tapped { stream, tap }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(tap) = &mut self.tap {
            match buf.filled().get(before..) {
                None | Some([]) => tap.ended(false),
                Some(bytes) => tap.received(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if let (Some(tap), Some(sent)) = (&mut self.tap, bytes.get(..written)) {
            tap.sent(sent);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        if let Some(tap) = &mut self.tap {
            let mut left = written;
            for buf in bufs {
                let sent = buf.get(..left.min(buf.len())).unwrap_or_default();
                if !sent.is_empty() {
                    tap.sent(sent);
                }
                left -= sent.len();
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if let Some(tap) = &mut self.tap {
            tap.ended(true);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[derive(Default)]
    struct Seen {
        sent: Vec<u8>,
        received: Vec<u8>,
        ended: Vec<bool>,
    }

    struct Recorder(Arc<Mutex<Seen>>);

    impl Tap for Recorder {
        fn sent(&mut self, bytes: &[u8]) {
            self.0.lock().unwrap().sent.extend_from_slice(bytes);
        }

        fn received(&mut self, bytes: &[u8]) {
            self.0.lock().unwrap().received.extend_from_slice(bytes);
        }

        fn ended(&mut self, sent: bool) {
            self.0.lock().unwrap().ended.push(sent);
        }
    }

    #[tokio::test]
    async fn every_byte_is_seen_once_and_none_that_did_not_go() {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ours, mut theirs) = duplex(10);
        let mut ours = Tapped::new(ours, Some(Box::new(Recorder(seen.clone()))));
        // The pipe takes 10 of the 12 bytes.
        let slices = [&b"abcdef"[..], b"ghijkl"].map(IoSlice::new);
        assert_eq!(ours.write_vectored(&slices).await.unwrap(), 10);
        let mut got = [0; 10];
        theirs.read_exact(&mut got).await.unwrap();
        ours.write_all(b"kl").await.unwrap();
        theirs.write_all(b"answer").await.unwrap();
        let mut got = [0; 4];
        ours.read_exact(&mut got).await.unwrap();
        ours.shutdown().await.unwrap();
        drop(theirs);
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert_eq!([&got[..], &rest].concat(), b"answer");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.sent, b"abcdefghijkl");
        assert_eq!(seen.received, b"answer");
        assert_eq!(seen.ended, [true, false]);
    }
}
