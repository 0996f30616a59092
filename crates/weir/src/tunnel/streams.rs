//! What both sides do at the beginning of a stream: ask, answer, refuse.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::protocol::{Answer, Granted, Refusal, Request, Status, write_answer};
use super::units::{READ_MAX, UnitError, UnitStream};
use crate::error::StreamError;
use crate::stream::{RecvStream, SendStream};

/// How long the asker of a refused request has to read the refusal and end the stream.
const LINGER: Duration = Duration::from_secs(5);

/// Payload of a refused request that is dropped before the stream is reset instead: one window that was sent on
/// trust, and some more.
const LINGER_BYTES: usize = 1024 * 1024;

/// First data that travels in the same write as the request. More goes the long way without a copy.
const FIRST_DATA: usize = 16 * 1024;

/// Reads the request of a new stream.
pub(crate) async fn read_request(
    recv: &mut UnitStream<RecvStream>,
    limit: Duration,
) -> Result<Request, UnitError> {
    let unit = recv.next_within(limit).await?;
    Request::read(&unit).map_err(UnitError::from)
}

/// Sends a request, and right behind it what the TCP connection has brought already.
pub(crate) async fn ask(
    send: &mut SendStream,
    request: &Request,
    first: &[u8],
) -> Result<(), StreamError> {
    let mut wire = Vec::with_capacity(first.len().saturating_add(64));
    request.write(&mut wire);
    wire.extend_from_slice(first);
    send.write_chunk(&mut Bytes::from(wire)).await
}

/// What a new TCP connection has sent already, if anything.
pub(crate) async fn first_data(tcp: &TcpStream) -> Vec<u8> {
    // The event that tells of readable bytes is seen when the runtime looks at its sockets next.
    tokio::task::yield_now().await;
    let mut data = vec![0; FIRST_DATA];
    let read = tcp.try_read(&mut data).unwrap_or(0);
    data.truncate(read);
    data
}

/// Answers a request.
pub(crate) async fn answer(send: &mut SendStream, answer: &Answer) -> Result<(), StreamError> {
    let mut wire = Vec::new();
    write_answer(answer, &mut wire);
    send.write_chunk(&mut Bytes::from(wire)).await
}

/// Grants a request that needs no more than that.
pub(crate) async fn grant(send: &mut SendStream) -> Result<(), StreamError> {
    answer(send, &Ok(Granted::Open)).await
}

/// Refuses a request, and gives its asker time to read why: ended at once, the stream's reset could overtake the
/// refusal.
pub(crate) async fn refuse(
    mut send: SendStream,
    mut recv: UnitStream<RecvStream>,
    refusal: Refusal,
) {
    let work = async {
        answer(&mut send, &Err(refusal)).await?;
        send.finish()?;
        let mut dropped = 0usize;
        while let Some(chunk) = recv.source_mut().read_chunk(READ_MAX).await? {
            dropped = dropped.saturating_add(chunk.len());
            if dropped > LINGER_BYTES {
                break;
            }
        }
        Ok::<_, StreamError>(())
    };
    let _ = timeout(LINGER, work).await;
}

/// What to do about a request that could not be read: `Some` is told to its asker; for the rest there is nobody to
/// tell, or, for one who trickles bytes, no reason to stay any longer.
pub(crate) fn fault(error: &UnitError) -> Option<Refusal> {
    match error {
        UnitError::Protocol(fault) => Some(Refusal::from(*fault)),
        UnitError::Ended | UnitError::TimedOut(_) | UnitError::Stream(_) => None,
    }
}

/// The refusal of a kind that may not be asked by this side.
pub(crate) fn not_for_you() -> Refusal {
    Refusal::new(Status::NotAllowed, "this side does not take such requests")
}
