//! Bytes between a connection of our own stack and a stream, both ways, without a copy: what either brings is handed to
//! the other as it is.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use crate::error::StreamError;
use crate::stream::{RecvStream, SendStream};
use crate::tcpip::{OwnedReadHalf, OwnedWriteHalf, TcpStream};
use crate::tunnel::registry::Registered;
use crate::tunnel::relay::RelayError;
use crate::tunnel::units::{READ_MAX, UnitStream};

/// Passes bytes until both directions have ended. After an error both ends have been reset.
pub(super) async fn run(
    tcp: TcpStream,
    send: SendStream,
    mut recv: UnitStream<RecvStream>,
    registered: &Registered,
) -> Result<(), RelayError> {
    let (mut read, mut write) = tcp.into_split();
    let result = both(&mut read, &mut write, send, &mut recv, registered).await;
    if result.is_err() {
        recv.source_mut().stop(0);
        if let Ok(tcp) = read.reunite(write) {
            tcp.abort();
        }
    }
    result
}

async fn both(
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    mut send: SendStream,
    recv: &mut UnitStream<RecvStream>,
    registered: &Registered,
) -> Result<(), RelayError> {
    let up = copy_up(read, &mut send, registered);
    let down = copy_down(write, recv, registered);
    let result = tokio::try_join!(up, down);
    if result.is_err() {
        // An orderly end of what was cut off would be taken for the whole.
        send.reset(0);
    }
    result.map(drop)
}

/// The connection to the stream, up to the connection's end, which becomes the stream's.
async fn copy_up(
    read: &mut OwnedReadHalf,
    send: &mut SendStream,
    registered: &Registered,
) -> Result<(), RelayError> {
    let sent = &registered.traffic().sent;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = read.read_chunk(READ_MAX) => chunk?,
            error = ended(send) => return Err(error.into()),
        };
        let Some(mut chunk) = chunk else {
            break;
        };
        sent.fetch_add(len(&chunk), Ordering::Relaxed);
        send.write_chunk(&mut chunk).await?;
        tokio::task::consume_budget().await;
    }
    send.finish()?;
    Ok(())
}

/// The stream to the connection, up to the stream's end, which becomes the connection's.
async fn copy_down(
    write: &mut OwnedWriteHalf,
    recv: &mut UnitStream<RecvStream>,
    registered: &Registered,
) -> Result<(), RelayError> {
    let received = &registered.traffic().received;
    let mut next = recv.take_rest();
    loop {
        let mut chunk = match next.take() {
            Some(chunk) => chunk,
            None => match recv.source_mut().read_chunk(READ_MAX).await? {
                Some(chunk) => chunk,
                None => break,
            },
        };
        let bytes = len(&chunk);
        write.write_chunk(&mut chunk).await?;
        received.fetch_add(bytes, Ordering::Relaxed);
        tokio::task::consume_budget().await;
    }
    write.shutdown().await.map_err(RelayError::from)
}

fn len(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

/// Waits until the peer wants no more of the stream. That this side has finished it is no such end.
async fn ended(send: &mut SendStream) -> StreamError {
    match send.stopped().await {
        StreamError::Finished => std::future::pending().await,
        error => error,
    }
}
