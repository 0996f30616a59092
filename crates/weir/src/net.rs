//! Where sockets come from: the system, or a stack of one's own.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net;

use crate::quic::Socket;
use crate::tcpip::{self, Stack};

/// What an endpoint's sockets are made on.
#[derive(Clone, Debug, Default)]
pub(crate) enum Net {
    /// The operating system.
    #[default]
    System,
    /// A stack of one's own.
    Own(Stack),
}

/// A TCP connection of either.
///
/// An enum in place of a type parameter: one branch a call, before calls that cost a hundred times
/// that, keeps the carriers and all above them one type.
#[derive(Debug)]
pub(crate) enum TcpStream {
    System(net::TcpStream),
    Own(tcpip::TcpStream),
}

/// A listener of either.
#[derive(Debug)]
pub(crate) enum TcpListener {
    System(net::TcpListener),
    Own(tcpip::TcpListener),
}

impl Net {
    /// A TCP connection that sends small segments at once: frames are batched already, and waiting
    /// for more would only add to the delay.
    pub(crate) async fn connect(&self, remote: SocketAddr) -> io::Result<TcpStream> {
        let stream = match self {
            Net::System => TcpStream::System(net::TcpStream::connect(remote).await?),
            Net::Own(stack) => TcpStream::Own(tcpip::TcpStream::connect(stack, remote).await?),
        };
        stream.set_nodelay()?;
        Ok(stream)
    }

    /// Listens at the first address that `address` leads to and that can be had.
    pub(crate) async fn listen(&self, address: &str) -> io::Result<TcpListener> {
        let Net::Own(stack) = self else {
            return Ok(TcpListener::System(net::TcpListener::bind(address).await?));
        };
        let mut last = no_address();
        for address in net::lookup_host(address).await? {
            match tcpip::TcpListener::bind(stack, address) {
                Ok(listener) => return Ok(TcpListener::Own(listener)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A UDP socket for QUIC.
    pub(crate) fn udp(&self, address: SocketAddr) -> io::Result<Socket> {
        match self {
            Net::System => Socket::bind(address),
            Net::Own(stack) => Socket::bind_over(stack, address),
        }
    }

    /// The stack, where it is not the system's.
    pub(crate) fn own(&self) -> Option<&Stack> {
        match self {
            Net::System => None,
            Net::Own(stack) => Some(stack),
        }
    }
}

/// A name that leads nowhere.
pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

impl TcpListener {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpListener::System(listener) => listener.local_addr(),
            TcpListener::Own(listener) => listener.local_addr(),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Ok(match self {
            TcpListener::System(listener) => {
                let (stream, remote) = listener.accept().await?;
                (TcpStream::System(stream), remote)
            }
            TcpListener::Own(listener) => {
                let (stream, remote) = listener.accept().await?;
                (TcpStream::Own(stream), remote)
            }
        })
    }
}

impl TcpStream {
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            TcpStream::System(stream) => stream.set_nodelay(true),
            TcpStream::Own(stream) => stream.set_nodelay(true),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpStream::System(stream) => stream.local_addr(),
            TcpStream::Own(stream) => stream.local_addr(),
        }
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpStream::System(stream) => stream.peer_addr(),
            TcpStream::Own(stream) => stream.peer_addr(),
        }
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            TcpStream::System(stream) => Pin::new(stream).poll_read(cx, buffer),
            TcpStream::Own(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            TcpStream::System(stream) => Pin::new(stream).poll_write(cx, data),
            TcpStream::Own(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            TcpStream::System(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            TcpStream::Own(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            TcpStream::System(stream) => Pin::new(stream).poll_flush(cx),
            TcpStream::Own(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            TcpStream::System(stream) => Pin::new(stream).poll_shutdown(cx),
            TcpStream::Own(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
