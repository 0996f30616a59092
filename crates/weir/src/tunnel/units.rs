//! Units of the tunnel protocol read from a stream.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::protocol::{ProtocolError, Unit, UnitReader};
use crate::error::StreamError;
use crate::stream::RecvStream;

/// Where chunks come from: a stream, or a script in a test.
pub(crate) trait ChunkSource: Send {
    /// The next bytes in order; `None` at the end. Safe to cancel.
    fn next_chunk(
        &mut self,
        max: usize,
    ) -> impl Future<Output = Result<Option<Bytes>, StreamError>> + Send;
}

impl ChunkSource for RecvStream {
    fn next_chunk(
        &mut self,
        max: usize,
    ) -> impl Future<Output = Result<Option<Bytes>, StreamError>> + Send {
        self.read_chunk(max)
    }
}

/// The most bytes that one read asks a stream for.
pub(crate) const READ_MAX: usize = 256 * 1024;

/// Why no unit came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// The stream ended before the unit was whole.
    #[error("the peer ended the stream before it said what it wants")]
    Ended,
    /// The unit was not whole in time.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("{0}")]
    Stream(#[from] StreamError),
}

/// A stream that begins with units. What follows them stays untouched.
#[derive(Debug)]
pub(crate) struct UnitStream<R> {
    source: R,
    reader: UnitReader,
    rest: Bytes,
}

impl<R: ChunkSource> UnitStream<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            reader: UnitReader::default(),
            rest: Bytes::new(),
        }
    }

    /// The next unit. Safe to cancel: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Unit, UnitError> {
        loop {
            if let Some(unit) = self.reader.push(&mut self.rest)? {
                return Ok(unit);
            }
            match self.source.next_chunk(READ_MAX).await? {
                Some(chunk) => self.rest = chunk,
                None => return Err(UnitError::Ended),
            }
        }
    }

    /// The next unit, whole within `limit` however slowly its bytes trickle in.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Result<Unit, UnitError> {
        match tokio::time::timeout(limit, self.next()).await {
            Ok(result) => result,
            Err(_) => Err(UnitError::TimedOut(limit)),
        }
    }

    /// Payload that was read with the units, once.
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then_some(rest)
    }

    pub(crate) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use tokio::time::Instant;

    use super::*;
    use crate::tunnel::protocol::{MAX_BODY, Request};

    /// Gives chunks with a pause before each, then ends or hangs.
    pub(crate) struct Script {
        pub(crate) chunks: VecDeque<Bytes>,
        pub(crate) pause: Duration,
        pub(crate) hang: bool,
    }

    impl ChunkSource for Script {
        async fn next_chunk(&mut self, max: usize) -> Result<Option<Bytes>, StreamError> {
            tokio::time::sleep(self.pause).await;
            match self.chunks.front_mut() {
                Some(chunk) => {
                    let piece = chunk.split_to(max.min(chunk.len()));
                    if chunk.is_empty() {
                        self.chunks.pop_front();
                    }
                    Ok(Some(piece))
                }
                None if self.hang => std::future::pending().await,
                None => Ok(None),
            }
        }
    }

    fn script(chunks: &[&'static [u8]], pause: u64, hang: bool) -> UnitStream<Script> {
        UnitStream::new(Script {
            chunks: chunks
                .iter()
                .map(|chunk| Bytes::from_static(chunk))
                .collect(),
            pause: Duration::from_millis(pause),
            hang,
        })
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn payload_behind_a_request_is_kept() {
        let mut stream = script(
            &[&[1, 2, 0, 7, 1, 127, 0], b"\x00\x01\x00\x50GET", b" /"],
            1,
            false,
        );
        let unit = stream.next_within(LIMIT).await.unwrap();
        let to = "127.0.0.1:80".parse().unwrap();
        assert_eq!(Request::read(&unit), Ok(Request::Connect(to)));
        assert_eq!(stream.take_rest().unwrap(), "GET");
        assert_eq!(stream.take_rest(), None);
        assert_eq!(
            stream.source_mut().next_chunk(9).await.unwrap().unwrap(),
            " /"
        );
    }

    /// Slowloris: one byte every nine seconds is never whole, and costs its sender the stream after ten.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_trickles_in_is_given_up() {
        let mut chunks: Vec<&'static [u8]> = vec![&[1]];
        chunks.extend(std::iter::repeat_n(&[0u8][..], 1000));
        let mut stream = script(&chunks, 9000, false);
        let began = Instant::now();
        assert_eq!(
            stream.next_within(LIMIT).await,
            Err(UnitError::TimedOut(LIMIT))
        );
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_given_up() {
        let began = Instant::now();
        let mut stream = script(&[], 0, true);
        assert_eq!(
            stream.next_within(LIMIT).await,
            Err(UnitError::TimedOut(LIMIT))
        );
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_and_endless_headers_are_refused_at_once() {
        let began = Instant::now();
        let http = script(&[b"GET / HTTP/1.1\r\n"], 0, true)
            .next_within(LIMIT)
            .await;
        assert_eq!(http, Err(ProtocolError::Version(b'G').into()));
        let endless = script(&[&[1, 2, 0xff, 0xff], &[0; 70_000]], 0, true)
            .next_within(LIMIT)
            .await;
        assert_eq!(endless, Err(ProtocolError::TooLong(u16::MAX).into()));
        let mut limit = script(&[&[1, 2, 2, 0], &[0; MAX_BODY - 1]], 0, false);
        assert_eq!(limit.next_within(LIMIT).await, Err(UnitError::Ended));
        assert_eq!(began.elapsed().as_secs(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_loses_nothing() {
        let mut stream = script(&[&[1, 99], &[0, 0]], 100, false);
        assert!(
            tokio::time::timeout(Duration::from_millis(150), stream.next())
                .await
                .is_err()
        );
        let unit = stream.next().await.unwrap();
        assert_eq!((unit.kind, unit.body.len()), (99, 0));
    }
}
