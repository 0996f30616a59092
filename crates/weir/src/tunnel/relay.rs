//! Bytes between a TCP connection and a stream, both ways, until both ways have ended.
//!
//! The end of one direction is passed on as the end of that direction alone (FIN becomes the end of the stream's half
//! and back), and a reset as a reset. Nothing is buffered while nothing moves: chunks are lent by a pool for the
//! time between a read and the moment its bytes have been sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;

use super::pool::ChunkPool;
use super::protocol::{Refusal, Request, read_answer};
use super::registry::Registered;
use super::units::{READ_MAX, UnitError, UnitStream};
use crate::error::StreamError;
use crate::stream::{RecvStream, SendStream};

/// Chunks that one write to TCP takes at most: with frames of 16 KiB, as competing streams get them, 256 KiB.
const BATCH: usize = 16;

/// Bytes that went each way.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// From TCP into the stream.
    pub(crate) sent: AtomicU64,
    /// From the stream to TCP.
    pub(crate) received: AtomicU64,
}

/// Why a relay ended before both directions did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// The TCP connection failed.
    #[error("the connection failed: {0}")]
    Tcp(#[from] io::Error),
    /// The stream, or the connection that carries it, failed.
    #[error("{0}")]
    Stream(#[from] StreamError),
    /// The far side did not grant the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The far side's answer was none.
    #[error("the answer of the far side: {0}")]
    Answer(UnitError),
}

/// The two ends that are to be joined.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    pub(crate) tcp: TcpStream,
    pub(crate) send: SendStream,
    pub(crate) recv: UnitStream<RecvStream>,
    /// The request whose answer comes before the payload, and how long it may take.
    pub(crate) awaits: Option<(&'a Request, Duration)>,
    pub(crate) pool: &'a ChunkPool,
    pub(crate) registered: &'a Registered,
}

impl Relay<'_> {
    /// Passes bytes until both directions have ended. After an error both ends have been reset.
    pub(crate) async fn run(self) -> Result<(), RelayError> {
        let Self {
            mut tcp,
            send,
            mut recv,
            awaits,
            pool,
            registered,
        } = self;
        let result = both(&mut tcp, send, &mut recv, awaits, pool, registered).await;
        if result.is_err() {
            // As far as TCP can tell: this was no orderly end.
            let _ = weir_os::socket::reset_on_close(&tcp);
            recv.source_mut().stop(0);
        }
        result
    }
}

async fn both(
    tcp: &mut TcpStream,
    send: SendStream,
    recv: &mut UnitStream<RecvStream>,
    awaits: Option<(&Request, Duration)>,
    pool: &ChunkPool,
    registered: &Registered,
) -> Result<(), RelayError> {
    let (reader, mut writer) = tcp.split();
    let tcp: &TcpStream = reader.as_ref();
    let mut up = pin!(copy_up(tcp, send, pool, &registered.traffic().sent));
    let mut down = pin!(copy_down(&mut writer, recv, awaits, registered));
    tokio::select! {
        result = &mut up => {
            let mut send = result?;
            let result = tokio::select! {
                result = &mut down => result,
                // While TCP does not take bytes, a reset would not be seen by reading the stream.
                error = broken(tcp, &mut send) => Err(error),
            };
            if result.is_err() {
                send.reset(0);
            }
            result
        }
        result = &mut down => {
            result?;
            up.await.map(drop)
        }
    }
}

/// TCP to stream, up to TCP's end. The stream's half is finished then, and handed back. Dropped before, it is reset.
async fn copy_up(
    tcp: &TcpStream,
    mut send: SendStream,
    pool: &ChunkPool,
    sent: &AtomicU64,
) -> Result<SendStream, RelayError> {
    loop {
        let mut chunk = pool.take();
        let read = match tcp.try_read(chunk.space()) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                drop(chunk);
                tokio::select! {
                    biased;
                    ready = tcp.readable() => ready?,
                    error = ended(&mut send) => return Err(error.into()),
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut bytes = chunk.into_bytes(read);
        sent.fetch_add(read as u64, Ordering::Relaxed);
        tokio::select! {
            biased;
            written = send.write_chunk(&mut bytes) => written?,
            // While the peer reads nothing, a reset from TCP would not be seen by reading it.
            error = tcp_error(tcp) => return Err(error.into()),
        }
        tokio::task::consume_budget().await;
    }
    send.finish()?;
    Ok(send)
}

/// Stream to TCP, up to the stream's end, which becomes TCP's.
async fn copy_down(
    tcp: &mut WriteHalf<'_>,
    recv: &mut UnitStream<RecvStream>,
    awaits: Option<(&Request, Duration)>,
    registered: &Registered,
) -> Result<(), RelayError> {
    if let Some((request, limit)) = awaits {
        let unit = recv.next_within(limit).await.map_err(RelayError::Answer)?;
        let answer = read_answer(request, &unit).map_err(|e| RelayError::Answer(e.into()))?;
        answer.map_err(RelayError::Refused)?;
    }
    registered.open();
    let received = &registered.traffic().received;
    let mut batch = VecDeque::new();
    batch.extend(recv.take_rest());
    loop {
        let mut ended = false;
        if batch.is_empty() {
            match recv.source_mut().read_chunk(READ_MAX).await? {
                Some(chunk) => batch.push_back(chunk),
                None => ended = true,
            }
        }
        ended = ended || gather(recv.source_mut(), &mut batch).await?;
        write_batch(tcp, &mut batch, received).await?;
        if ended {
            // An orderly FIN; reading goes on until the other side ends too.
            return tcp.shutdown().await.map_err(RelayError::from);
        }
        tokio::task::consume_budget().await;
    }
}

/// Takes what else is there without waiting, so that many small frames leave in one write. True at the end.
async fn gather(recv: &mut RecvStream, batch: &mut VecDeque<Bytes>) -> Result<bool, StreamError> {
    poll_fn(|cx| {
        while batch.len() < BATCH {
            match recv.poll_read_chunk(cx, READ_MAX) {
                Poll::Ready(Ok(Some(chunk))) => batch.push_back(chunk),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(true)),
                // What came before a reset is not worth delivering: the receiver would take it for the whole.
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(false))
    })
    .await
}

async fn write_batch(
    tcp: &WriteHalf<'_>,
    batch: &mut VecDeque<Bytes>,
    received: &AtomicU64,
) -> io::Result<()> {
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); BATCH];
        let count = slices
            .iter_mut()
            .zip(batch.iter())
            .map(|(slot, chunk)| *slot = IoSlice::new(chunk))
            .count();
        match tcp.try_write_vectored(slices.get(..count).unwrap_or_default()) {
            Ok(written) => {
                received.fetch_add(written as u64, Ordering::Relaxed);
                advance(batch, written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Drops the first `written` bytes.
fn advance(batch: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = batch.front_mut() {
        if written < front.len() {
            front.advance(written);
            return;
        }
        written = written.saturating_sub(front.len());
        batch.pop_front();
    }
}

/// Waits until either end can do no more, while there is nothing to send to the stream.
async fn broken(tcp: &TcpStream, send: &mut SendStream) -> RelayError {
    tokio::select! {
        error = ended(send) => error.into(),
        error = tcp_error(tcp) => error.into(),
    }
}

/// Waits until the peer wants no more of the stream. That this side has finished it is no such end.
async fn ended(send: &mut SendStream) -> StreamError {
    match send.stopped().await {
        StreamError::Finished => std::future::pending().await,
        error => error,
    }
}

/// Waits until TCP reports an error, which is a reset most of the time, without reading.
async fn tcp_error(tcp: &TcpStream) -> io::Error {
    loop {
        if let Err(error) = tcp.ready(Interest::ERROR).await {
            return error;
        }
        match tcp.take_error() {
            Ok(Some(error)) | Err(error) => return error,
            // Whoever read or wrote meanwhile has taken the error and tells of it; wait for the next.
            Ok(None) => {
                let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = tcp.try_io(Interest::ERROR, blocked);
            }
        }
    }
}
