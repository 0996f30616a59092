//! One stream, whatever carries it: a stream of a multiplexed connection, or a whole connection of its
//! own (the base lines `tcp` and `tls`).

use bytes::Bytes;
use std::fmt;
use std::io;
use weir::{BareStream, RecvStream, SendStream, StreamError};

/// The most that one read takes: far more than a carrier brings at once.
const READ: usize = 1 << 20;

/// Both halves of a stream in one hand.
pub(crate) enum Pipe {
    /// A stream of a connection that carries many.
    Stream {
        /// The half this side writes.
        send: SendStream,
        /// The half this side reads.
        recv: RecvStream,
    },
    /// A connection that is one stream; large, and so behind a pointer: idle streams are held by the
    /// ten thousand.
    Bare(Box<BareStream>),
}

/// What ended a pipe before its time.
#[derive(Debug)]
pub(crate) enum PipeError {
    /// A stream of a multiplexed connection failed.
    Stream(StreamError),
    /// The connection itself failed.
    Io(io::Error),
    /// The stream ended in the middle of something.
    Short {
        /// Bytes still expected.
        missing: u64,
    },
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Short { missing } => write!(f, "the stream ended {missing} bytes too early"),
        }
    }
}

impl From<StreamError> for PipeError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<io::Error> for PipeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<(SendStream, RecvStream)> for Pipe {
    fn from((send, recv): (SendStream, RecvStream)) -> Self {
        Self::Stream { send, recv }
    }
}

impl From<BareStream> for Pipe {
    fn from(io: BareStream) -> Self {
        Self::Bare(Box::new(io))
    }
}

impl Pipe {
    /// Whether this pipe is a connection of its own, so that more requests may follow on it.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Bare(_))
    }

    /// Writes all of `data`, without a copy where the carrier can.
    pub(crate) async fn send(&mut self, mut data: Bytes) -> Result<(), PipeError> {
        match self {
            Self::Stream { send, .. } => send.write_chunk(&mut data).await?,
            Self::Bare(io) => io.write_chunk(&mut data).await?,
        }
        Ok(())
    }

    /// Ends the half this side writes.
    pub(crate) async fn finish(&mut self) -> Result<(), PipeError> {
        match self {
            Self::Stream { send, .. } => send.finish()?,
            Self::Bare(io) => io.finish().await?,
        }
        Ok(())
    }

    /// Ends the stream at once, both ways.
    pub(crate) fn reset(&mut self, code: u64) {
        if let Self::Stream { send, .. } = self {
            send.reset(code);
        }
    }

    /// The next bytes, at most `max`, or `None` at the end.
    pub(crate) async fn receive(&mut self, max: usize) -> Result<Option<Bytes>, PipeError> {
        match self {
            Self::Stream { recv, .. } => Ok(recv.read_chunk(max).await?),
            Self::Bare(io) => Ok(io.read_chunk(max).await?),
        }
    }

    /// Takes the next bytes only to count them; `None` at the end.
    pub(crate) async fn skip(&mut self) -> Result<Option<u64>, PipeError> {
        Ok(self.receive(READ).await?.map(|chunk| chunk.len() as u64))
    }

    /// Fills `into`; `false` when the stream ended before its first byte.
    pub(crate) async fn receive_exact(&mut self, into: &mut [u8]) -> Result<bool, PipeError> {
        let mut filled = 0;
        while let Some(space) = into.get_mut(filled..).filter(|space| !space.is_empty()) {
            let Some(chunk) = self.receive(space.len()).await? else {
                let missing = space.len() as u64;
                return if filled == 0 {
                    Ok(false)
                } else {
                    Err(PipeError::Short { missing })
                };
            };
            for (to, from) in space.iter_mut().zip(&chunk) {
                *to = *from;
            }
            filled += chunk.len();
        }
        Ok(true)
    }

    /// Fills `head`, the beginning of a request; `None` when the stream ended before its first byte.
    /// Bytes of the request that came with it are only counted: they are not read one by one where
    /// the stream carries nothing else.
    pub(crate) async fn receive_head(&mut self, head: &mut [u8]) -> Result<Option<u64>, PipeError> {
        if self.is_bare() {
            return Ok(self.receive_exact(head).await?.then_some(0));
        }
        let Some(chunk) = self.receive(READ).await? else {
            return Ok(None);
        };
        let (first, more) = chunk.split_at(chunk.len().min(head.len()));
        let (filled, missing) = head.split_at_mut(first.len());
        filled.copy_from_slice(first);
        if !missing.is_empty() && !self.receive_exact(missing).await? {
            let missing = missing.len() as u64;
            return Err(PipeError::Short { missing });
        }
        Ok(Some(more.len() as u64))
    }

    /// Counts and drops exactly `count` bytes.
    pub(crate) async fn skip_exact(&mut self, count: u64) -> Result<(), PipeError> {
        let mut missing = count;
        while missing > 0 {
            let max = usize::try_from(missing).unwrap_or(READ).min(READ);
            let Some(chunk) = self.receive(max).await? else {
                return Err(PipeError::Short { missing });
            };
            missing = missing.saturating_sub(chunk.len() as u64);
        }
        Ok(())
    }

    /// Counts and drops everything up to the end of the stream.
    pub(crate) async fn skip_to_end(&mut self) -> Result<u64, PipeError> {
        let mut count = 0;
        while let Some(read) = self.skip().await? {
            count += read;
        }
        Ok(count)
    }
}
