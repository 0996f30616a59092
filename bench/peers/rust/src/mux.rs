//! The two Rust multiplexers, each with the driver its documentation describes and its default configuration.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::works::Opener;

/// Opens streams of the `yamux` crate, whose connection one task owns and polls.
#[derive(Clone)]
pub struct YamuxOpener(mpsc::UnboundedSender<oneshot::Sender<yamux::Stream>>);

impl Opener for YamuxOpener {
    type Stream = Compat<yamux::Stream>;

    async fn open(&self) -> io::Result<Self::Stream> {
        let (answer, opened) = oneshot::channel();
        self.0.send(answer).map_err(|_| gone())?;
        Ok(opened.await.map_err(|_| gone())?.compat())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the session ended")
}

struct YamuxTask<F> {
    connection: yamux::Connection<Compat<TcpStream>>,
    wanted: mpsc::UnboundedReceiver<oneshot::Sender<yamux::Stream>>,
    waiting: VecDeque<oneshot::Sender<yamux::Stream>>,
    on_inbound: F,
}

impl<F: FnMut(Compat<yamux::Stream>) + Send + 'static> YamuxTask<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => {
                    (self.on_inbound)(stream.compat());
                    continue;
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            while let Poll::Ready(Some(want)) = self.wanted.poll_recv(cx) {
                self.waiting.push_back(want);
            }
            if self.waiting.is_empty() {
                return Poll::Pending;
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    if let Some(want) = self.waiting.pop_front() {
                        let _ = want.send(stream);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Starts a session of the `yamux` crate; `on_inbound` gets the streams that the other side opens.
pub fn yamux_session<F>(tcp: TcpStream, server: bool, on_inbound: F) -> YamuxOpener
where
    F: FnMut(Compat<yamux::Stream>) + Send + 'static,
{
    let mut config = yamux::Config::default();
    // Ten thousand idle streams are more than the default 512; nothing else differs from the default.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(20_000);
    let mode = if server {
        yamux::Mode::Server
    } else {
        yamux::Mode::Client
    };
    let (opener, wanted) = mpsc::unbounded_channel();
    let mut task = YamuxTask {
        connection: yamux::Connection::new(tcp.compat(), config, mode),
        wanted,
        waiting: VecDeque::new(),
        on_inbound,
    };
    tokio::spawn(async move { poll_fn(|cx| task.poll(cx)).await });
    YamuxOpener(opener)
}

/// Opens streams of the `tokio-yamux` crate.
#[derive(Clone)]
pub struct TokioYamuxOpener(tokio_yamux::Control);

impl Opener for TokioYamuxOpener {
    type Stream = TokioYamuxStream;

    async fn open(&self) -> io::Result<Self::Stream> {
        let opened = self.0.clone().open_stream().await;
        opened
            .map(TokioYamuxStream)
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

/// A stream of the `tokio-yamux` crate. Its `poll_write` waits for a window update that only reading takes in, so a writer that
/// does not read would stand still for ever; `poll_peek` takes it in and leaves the data alone.
pub struct TokioYamuxStream(tokio_yamux::StreamHandle);

impl AsyncRead for TokioYamuxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TokioYamuxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.0).poll_write(cx, bytes) {
            return Poll::Ready(written);
        }
        let mut byte = [0u8];
        let _ = self.0.poll_peek(cx, &mut ReadBuf::new(&mut byte))?;
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Starts a session of the `tokio-yamux` crate; `on_inbound` gets the streams that the other side opens.
pub fn tokio_yamux_session<F>(tcp: TcpStream, server: bool, mut on_inbound: F) -> TokioYamuxOpener
where
    F: FnMut(TokioYamuxStream) + Send + 'static,
{
    let config = tokio_yamux::Config::default();
    let mut session = if server {
        tokio_yamux::Session::new_server(tcp, config)
    } else {
        tokio_yamux::Session::new_client(tcp, config)
    };
    let control = session.control();
    tokio::spawn(async move {
        while let Some(Ok(stream)) = session.next().await {
            on_inbound(TokioYamuxStream(stream));
        }
    });
    TokioYamuxOpener(control)
}
