//! The ordered byte pipe under a multiplexer: TCP as it is, or TLS 1.3 on it.

mod handshake;
mod outgoing;
mod record;
mod sealer;
mod tap;
mod tcp;
mod tls;
mod tls_error;

#[cfg(test)]
mod testing;

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use weir_core::buf::ReadBuf;

use crate::net::TcpStream;

pub use tap::Tap;
pub(crate) use tap::Tapped;
pub(crate) use tcp::TcpCarrier;
pub(crate) use tls::TlsCarrier;

/// Room for one read from the socket, in bytes. Reads of this size are where the cost of a system
/// call stops mattering; the buffer offers its whole chunk when it can.
const MIN_READ: usize = 128 * 1024;

/// Bytes in order to a peer and back. One task owns a carrier and calls all of it.
///
/// # How it is driven
/// Whenever a call says [`Poll::Pending`] the task is woken when another try is worth it. A carrier
/// may hold bytes that it took: [`poll_flush`](Carrier::poll_flush) is to be called until it is
/// ready before the task waits for anything else. Both directions end on their own: after
/// `poll_close` reading goes on, and after the peer's end writing does.
pub(crate) trait Carrier: Send + 'static {
    /// Reads once, and pushes what came: at least one slice and `true`, or `false` at the peer's
    /// orderly end. Always with the same `buf`, in which a part of what came may wait for its rest.
    ///
    /// # Errors
    /// What came before the error has been handed out before. [`io::ErrorKind::UnexpectedEof`]: the
    /// connection was cut, bytes may be missing.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf,
        out: &mut Vec<Bytes>,
    ) -> Poll<io::Result<bool>>;

    /// Takes bytes from the front of `bufs`; how many, at least one unless there are none.
    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>])
    -> Poll<io::Result<usize>>;

    /// Ready once everything taken has been given to the system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends this side's direction, after everything that was taken.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Nothing is under way: memory that only a busy connection needs may go.
    fn rest(&mut self) {}
}

/// Either carrier of a TCP connection, chosen when it is made.
pub(crate) enum AnyCarrier {
    /// Bytes as they are.
    Tcp(TcpCarrier<Tapped<TcpStream>>),
    /// TLS 1.3.
    Tls(Box<TlsCarrier<Tapped<TcpStream>>>),
}

impl Carrier for AnyCarrier {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf,
        out: &mut Vec<Bytes>,
    ) -> Poll<io::Result<bool>> {
        match self {
            AnyCarrier::Tcp(tcp) => tcp.poll_read(cx, buf, out),
            AnyCarrier::Tls(tls) => tls.poll_read(cx, buf, out),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            AnyCarrier::Tcp(tcp) => tcp.poll_write(cx, bufs),
            AnyCarrier::Tls(tls) => tls.poll_write(cx, bufs),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            AnyCarrier::Tcp(tcp) => tcp.poll_flush(cx),
            AnyCarrier::Tls(tls) => tls.poll_flush(cx),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            AnyCarrier::Tcp(tcp) => tcp.poll_close(cx),
            AnyCarrier::Tls(tls) => tls.poll_close(cx),
        }
    }

    fn rest(&mut self) {
        if let AnyCarrier::Tls(tls) = self {
            tls.rest();
        }
    }
}

/// One read behind what is in `chunk`, which must have room. 0 is the end of the stream.
fn poll_read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    chunk: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    // The future keeps nothing between polls, so a new one each time loses nothing; and it is tokio
    // that reads into memory which nobody has zeroed.
    let read = std::pin::pin!(stream.read_buf(chunk));
    read.poll(cx)
}
