//! A connection as a byte stream.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_tcpip::{ConnectConfig, KeepAlive, Setting, TcpKey, TcpStats};

use super::end::End;
use super::error::{TcpError, from_connect};
use super::halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::shared::Handle;
use super::stack::Stack;

/// A TCP connection of a [`Stack`].
///
/// # What the calls promise
/// A write is done when its bytes stand in the send buffer; that the peer has them is known only from
/// its answer. [`AsyncWriteExt::shutdown`](tokio::io::AsyncWriteExt::shutdown) ends this direction
/// behind what was written, and the peer's goes on (half-close).
///
/// # Cancelling
/// Every future here may be dropped at any await: what it reported was done, nothing else was. A
/// connect that is dropped takes the attempt back.
///
/// # Dropping
/// As with the kernel's sockets: what was written is still sent in the background, then the end,
/// unless [`set_linger`](TcpStream::set_linger) says otherwise. With unread data the peer is told at
/// once, by a reset, that nobody reads any more (RFC 9293 section 3.6.1, RFC 2525 section 2.17).
pub struct TcpStream {
    end: End,
}

impl TcpStream {
    pub(super) fn new(handle: Arc<Handle>, key: TcpKey) -> TcpStream {
        TcpStream {
            end: End::new(handle, key),
        }
    }

    /// Connects to `remote`.
    ///
    /// # Errors
    /// Nobody answers, somebody refuses, or there is no way there; the words say which.
    pub async fn connect(stack: &Stack, remote: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect_with(stack, remote, ConnectConfig::default()).await
    }

    /// [`TcpStream::connect`] from an address of one's choice, or with other settings.
    ///
    /// # Errors
    /// As [`TcpStream::connect`], and where a setting is out of its range.
    pub async fn connect_with(
        stack: &Stack,
        remote: SocketAddr,
        config: ConnectConfig,
    ) -> io::Result<TcpStream> {
        let stream = TcpStream::begin(stack, remote, config, &mut Bytes::new())?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Begins to connect, and does not wait: what is written waits for the handshake. Where TCP Fast
    /// Open is on ([`TcpConfig::fast_open`]) and the server is known, the front of `data` goes out with
    /// the SYN (RFC 7413); what was taken is cut off in any case. Such data may be delivered twice.
    ///
    /// # Errors
    /// There is no way there, or a setting is out of its range. What comes later shows in the first read
    /// or write, or in [`TcpStream::connected`].
    ///
    /// [`TcpConfig::fast_open`]: weir_tcpip::TcpConfig::fast_open
    pub fn begin(
        stack: &Stack,
        remote: SocketAddr,
        config: ConnectConfig,
        data: &mut Bytes,
    ) -> io::Result<TcpStream> {
        let key = stack.try_call(|state, now| {
            let key = state
                .engine
                .tcp_connect(now, remote, config)
                .map_err(from_connect)?;
            if !data.is_empty() {
                // What it does not take now it takes once the connection stands.
                let _ = state.engine.tcp_write(now, key, data);
            }
            Ok(key)
        })?;
        Ok(TcpStream::new(Arc::clone(&stack.handle), key))
    }

    /// Waits until the handshake is done.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub async fn connected(&self) -> io::Result<()> {
        poll_fn(|cx| self.end.poll_connected(cx)).await
    }

    /// The next bytes in order, at most `max`, as a slice of the buffer they arrived in; `None` at the
    /// peer's end. Reading is what opens the window again.
    ///
    /// # Errors
    /// The connection failed; what came before was read before.
    pub async fn read_chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.end.poll_read_chunk(cx, max)).await
    }

    /// [`TcpStream::read_chunk`] for those who poll.
    ///
    /// # Errors
    /// As [`TcpStream::read_chunk`].
    pub fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        self.end.poll_read_chunk(cx, max)
    }

    /// Waits until there is something to read: data, the peer's end, or an error.
    ///
    /// # Errors
    /// None at present.
    pub async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.end.poll_readable(cx)).await
    }

    /// Writes all of `data` without copying it: it is sent from where it is. What is taken is cut from
    /// the front, so after a cancelled call `data` holds exactly what was not written.
    ///
    /// # Errors
    /// The connection failed, or this direction was ended before.
    pub async fn write_chunk(&mut self, data: &mut Bytes) -> io::Result<()> {
        while !data.is_empty() {
            poll_fn(|cx| self.end.poll_write_chunk(cx, data)).await?;
        }
        Ok(())
    }

    /// One step of [`TcpStream::write_chunk`] for those who poll: how many bytes were taken.
    ///
    /// # Errors
    /// As [`TcpStream::write_chunk`].
    pub fn poll_write_chunk(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<io::Result<usize>> {
        self.end.poll_write_chunk(cx, data)
    }

    /// Ends this direction behind what was written; the peer's goes on.
    pub fn finish(&mut self) {
        self.end.finish();
    }

    /// Reads no more: data that still comes resets the connection.
    pub fn stop(&mut self) {
        self.end.stop();
    }

    /// Resets the connection: the peer learns at once that what was under way is lost.
    pub fn abort(self) {
        self.end.abort();
    }

    /// Waits until the connection is over, and says why: reset, timed out, or
    /// [`CloseCause::Finished`](weir_tcpip::CloseCause::Finished) when both sides have ended their
    /// directions. What arrived before can still be read. For those who neither read nor write and want
    /// to know whether it is still worth it; any number of tasks may wait.
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

    /// How the connection stands, as `ss -ti` shows it; `None` when it is forgotten already.
    #[must_use]
    pub fn stats(&self) -> Option<TcpStats> {
        self.end.stats()
    }

    /// Waits until urgent data has come, or is about to, that was not read yet, and says how many bytes of
    /// the stream remain up to its end: who reads exactly so many stops at the mark. Urgent data is
    /// delivered in line with the rest (RFC 6093). One task at a time waits.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn urgent(&self) -> io::Result<u64> {
        poll_fn(|cx| self.end.poll_urgent(cx)).await
    }

    /// Writes some bytes as urgent data: the peer is told, at once, how far they reach (RFC 9293 section
    /// 3.8.5). As with all urgent data, protocols do better without (RFC 6093).
    ///
    /// # Errors
    /// As for other writes.
    pub async fn write_urgent(&self, data: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.end.poll_write_urgent(cx, data)).await
    }

    /// True: small segments go out at once, though others are not acknowledged (Nagle off).
    ///
    /// # Errors
    /// None at present.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.end.set(Setting::NoDelay(nodelay))
    }

    /// Whether, when and how often a silent peer is asked whether it is there.
    ///
    /// # Errors
    /// A time is out of its range.
    pub fn set_keepalive(&self, keepalive: Option<KeepAlive>) -> io::Result<()> {
        self.end.set_keepalive(keepalive)
    }

    /// What dropping the stream does with data that is not acknowledged: `None` sends it in the
    /// background, zero resets at once, another time resets when it has passed.
    ///
    /// # Errors
    /// None at present.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.end.set_linger(linger)
    }

    /// How long sent data may stay unacknowledged before the connection is given up (RFC 5482).
    ///
    /// # Errors
    /// The time is out of its range.
    pub fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.end.set(Setting::UserTimeout(timeout))
    }

    /// The Differentiated Services codepoint of what is sent, 0 to 63: what the kernel's sockets take as
    /// the high six bits of `IP_TOS` and `IPV6_TCLASS`. The low two are ECN's, which TCP sees to itself.
    ///
    /// # Errors
    /// The codepoint is above 63.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        self.end.set(Setting::Dscp(dscp))
    }

    /// The most that the send buffer grows to, in bytes.
    ///
    /// # Errors
    /// The size is out of its range.
    pub fn set_send_buffer_size(&self, bytes: u64) -> io::Result<()> {
        self.end.set(Setting::SendBuffer(bytes))
    }

    /// The most that the receive window grows to, in bytes.
    ///
    /// # Errors
    /// The size is out of its range.
    pub fn set_receive_buffer_size(&self, bytes: u64) -> io::Result<()> {
        self.end.set(Setting::ReceiveWindow(bytes))
    }

    /// Any other setting.
    ///
    /// # Errors
    /// A value is out of its range.
    pub fn set(&self, setting: Setting) -> io::Result<()> {
        self.end.set(setting)
    }

    /// Two halves that borrow the stream.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(&self.end), WriteHalf(&self.end))
    }

    /// Two halves that go their own ways. Dropping the writing half ends this direction; the
    /// connection is let go of when both are dropped.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        super::halves::split(self.end)
    }

    pub(super) fn from_end(end: End) -> TcpStream {
        TcpStream { end }
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.end.poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.end.poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.end.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// There is nothing to flush: what was written is sent by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.finish();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.end, f.debug_struct("TcpStream"))
    }
}

pub(super) fn describe(end: &End, mut out: fmt::DebugStruct<'_, '_>) -> fmt::Result {
    if let Ok((local, remote)) = end.addresses() {
        out.field("local", &local).field("remote", &remote);
    }
    out.finish_non_exhaustive()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Ten thousand idle connections are ten thousand of these, beside what the engine keeps.
    #[test]
    fn a_stream_is_two_words() {
        assert_eq!(size_of::<TcpStream>(), 16);
    }
}
