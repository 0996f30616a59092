//! Sealed records that wait for the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Records in one write: a batch has 16, and a few short ones may stand between.
const SLICES: usize = 32;

/// A queue of records, written many at a time.
#[derive(Default)]
pub(super) struct Outgoing {
    records: VecDeque<Vec<u8>>,
    /// Bytes of the first record that are written already.
    written: usize,
}

impl Outgoing {
    pub(super) fn push(&mut self, record: Vec<u8>) {
        self.records.push_back(record);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Writes until nothing is left. Pending: the socket takes no more now, and wakes the task when it does.
    pub(super) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.records.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut skip = self.written;
            for (slice, record) in slices.iter_mut().zip(&self.records) {
                *slice = IoSlice::new(record.get(skip..).unwrap_or_default());
                skip = 0;
            }
            let count = self.records.len().min(SLICES);
            let slices = slices.get(..count).unwrap_or_default();
            match ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        while let Some(first) = self.records.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.records.pop_front();
        }
    }
}
