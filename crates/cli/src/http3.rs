//! HTTP/3 over weir's streams: what the `h3` crate asks of a QUIC connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use weir::{
    CloseReason, Connection, ConnectionError, Initiator, Layer, RecvStream, SendStream, StreamError,
};

/// Bytes that are taken from a stream at once.
const CHUNK: usize = 64 * 1024;

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + Sync>>;

/// Polls what is under way, begun anew where nothing is.
fn poll_kept<T>(
    kept: &mut Option<Waiting<T>>,
    cx: &mut Context<'_>,
    begin: impl FnOnce() -> Waiting<T>,
) -> Poll<Result<T, ConnectionError>> {
    let result = ready!(kept.get_or_insert_with(begin).as_mut().poll(cx));
    *kept = None;
    Poll::Ready(result)
}
type Halves = (SendStream, RecvStream);

/// A connection as `h3` drives it.
pub(crate) struct H3Connection {
    opener: H3Opener,
    bi: Option<Waiting<Halves>>,
    uni: Option<Waiting<RecvStream>>,
}

impl H3Connection {
    pub(crate) fn new(connection: Connection) -> Self {
        H3Connection {
            opener: H3Opener::new(connection),
            bi: None,
            uni: None,
        }
    }
}

impl quic::Connection<Bytes> for H3Connection {
    type RecvStream = H3Recv;
    type OpenStreams = H3Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H3Recv, ConnectionErrorIncoming>> {
        let taken = ready!(poll_kept(&mut self.uni, cx, || {
            let connection = self.opener.connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        }));
        Poll::Ready(taken.map(H3Recv).map_err(connection_error))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H3Stream, ConnectionErrorIncoming>> {
        let taken = ready!(poll_kept(&mut self.bi, cx, || {
            let connection = self.opener.connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        }));
        Poll::Ready(taken.map(H3Stream::from).map_err(connection_error))
    }

    fn opener(&self) -> H3Opener {
        self.opener.clone()
    }
}

impl quic::OpenStreams<Bytes> for H3Connection {
    type BidiStream = H3Stream;
    type SendStream = H3Send;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H3Stream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H3Send, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens streams on a connection.
pub(crate) struct H3Opener {
    connection: Connection,
    bi: Option<Waiting<Halves>>,
    uni: Option<Waiting<SendStream>>,
}

impl H3Opener {
    fn new(connection: Connection) -> Self {
        H3Opener {
            connection,
            bi: None,
            uni: None,
        }
    }
}

impl Clone for H3Opener {
    fn clone(&self) -> Self {
        H3Opener::new(self.connection.clone())
    }
}

impl quic::OpenStreams<Bytes> for H3Opener {
    type BidiStream = H3Stream;
    type SendStream = H3Send;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H3Stream, StreamErrorIncoming>> {
        let opened = ready!(poll_kept(&mut self.bi, cx, || {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_bi().await })
        }));
        Poll::Ready(opened.map(H3Stream::from).map_err(no_stream))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H3Send, StreamErrorIncoming>> {
        let opened = ready!(poll_kept(&mut self.uni, cx, || {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_uni().await })
        }));
        Poll::Ready(opened.map(H3Send::from).map_err(no_stream))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        let reason = String::from_utf8_lossy(reason);
        self.connection.close(code.value(), &reason);
    }
}

/// The half of a stream that `h3` writes, with what it gave that did not fit yet.
pub(crate) struct H3Send {
    stream: SendStream,
    queue: VecDeque<Bytes>,
}

impl From<SendStream> for H3Send {
    fn from(stream: SendStream) -> Self {
        H3Send {
            stream,
            queue: VecDeque::new(),
        }
    }
}

impl quic::SendStream<Bytes> for H3Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(front) = self.queue.front_mut() {
            if !front.is_empty() {
                ready!(self.stream.poll_write_chunk(cx, front)).map_err(stream_error)?;
            }
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        let mut data = data.into();
        while data.has_remaining() {
            let length = data.chunk().len();
            self.queue.push_back(data.copy_to_bytes(length));
        }
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        Poll::Ready(self.stream.finish().map_err(stream_error))
    }

    fn reset(&mut self, code: u64) {
        self.queue.clear();
        self.stream.reset(code);
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// The half of a stream that `h3` reads.
pub(crate) struct H3Recv(RecvStream);

impl quic::RecvStream for H3Recv {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.0.poll_read_chunk(cx, CHUNK).map_err(stream_error)
    }

    fn stop_sending(&mut self, code: u64) {
        self.0.stop(code);
    }

    fn recv_id(&self) -> StreamId {
        id(self.0.id())
    }
}

/// Both halves of a stream.
pub(crate) struct H3Stream {
    send: H3Send,
    recv: H3Recv,
}

impl From<Halves> for H3Stream {
    fn from((send, recv): Halves) -> Self {
        H3Stream {
            send: H3Send::from(send),
            recv: H3Recv(recv),
        }
    }
}

impl quic::SendStream<Bytes> for H3Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl quic::RecvStream for H3Stream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl quic::BidiStream<Bytes> for H3Stream {
    type SendStream = H3Send;
    type RecvStream = H3Recv;

    fn split(self) -> (H3Send, H3Recv) {
        (self.send, self.recv)
    }
}

/// A stream's number as `h3` has it. Streams of a QUIC connection have nothing but valid ones.
fn id(number: u64) -> StreamId {
    StreamId::try_from(number).unwrap_or_else(|_| id(0))
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::Closed(reason) => over(reason),
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn over(reason: CloseReason) -> ConnectionErrorIncoming {
    match (reason.by, reason.layer) {
        (Initiator::Timer, _) => ConnectionErrorIncoming::Timeout,
        (_, Layer::Application) => ConnectionErrorIncoming::ApplicationClose {
            error_code: reason.code,
        },
        _ => ConnectionErrorIncoming::Undefined(Arc::new(ConnectionError::Closed(reason))),
    }
}

fn no_stream(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}

fn stream_error(error: StreamError) -> StreamErrorIncoming {
    match error {
        StreamError::Reset(error_code) | StreamError::Stopped(error_code) => {
            StreamErrorIncoming::StreamTerminated { error_code }
        }
        StreamError::Closed(reason) => StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: over(reason),
        },
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
