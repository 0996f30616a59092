//! The calls of the public handles, on the engine behind its lock.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;
use weir_core::close::CloseReason;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_yamux::{Half as StreamHalf, OpenError, ReadError, WriteError};

use super::shared::{Shared, State};
use super::wakers::Half;
use crate::error::{ConnectionError, StreamError};
use crate::layer::StreamLayer;
use crate::stats::Stats;

impl StreamLayer for Shared {
    fn try_open(&self) -> Result<Option<Key>, ConnectionError> {
        match self.call(|state, now| state.session.open(now)) {
            Ok(key) => Ok(Some(key)),
            Err(OpenError::Blocked) => Ok(None),
            Err(OpenError::GoAway) => Err(ConnectionError::GoingAway),
            Err(OpenError::Exhausted) => Err(ConnectionError::IdsExhausted),
            Err(OpenError::Closed(reason)) => Err(ConnectionError::Closed(reason)),
        }
    }

    fn try_accept(&self) -> Result<Option<Key>, ConnectionError> {
        if let Some(key) = self.call(|state, now| state.session.accept(now)) {
            return Ok(Some(key));
        }
        match self.reason() {
            Some(reason) => Err(ConnectionError::Closed(reason.clone())),
            None => Ok(None),
        }
    }

    fn openable(&self) -> &Notify {
        &self.openable
    }

    fn acceptable(&self) -> &Notify {
        &self.acceptable
    }

    fn stream_id(&self, key: Key) -> Option<u64> {
        self.lock().session.stream_id(key).map(u64::from)
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        self.call(|state, now| {
            let result = state.session.write(now, key, data);
            written(state, cx, key, result)
        })
    }

    fn poll_write_slice(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.call(|state, now| {
            let result = state.session.write_slice(now, key, data);
            written(state, cx, key, result)
        })
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.call(|state, now| match state.session.read(now, key, max) {
            Ok(chunk) => Poll::Ready(Ok(chunk)),
            Err(ReadError::Blocked) => {
                state.wakers.wait(key.index, Half::Read, cx);
                Poll::Pending
            }
            Err(ReadError::Reset(code)) => Poll::Ready(Err(StreamError::Reset(code.into()))),
            Err(ReadError::Stopped) => Poll::Ready(Err(StreamError::Finished)),
            Err(ReadError::Closed) => Poll::Ready(Err(closed(state))),
        })
    }

    fn poll_send_ended(&self, cx: &mut Context<'_>, key: Key) -> Poll<StreamError> {
        self.call(|state, _| match state.session.send_error(key) {
            Some(error) => Poll::Ready(write_error(state, error)),
            None => {
                state.wakers.wait(key.index, Half::Ended, cx);
                Poll::Pending
            }
        })
    }

    fn poll_flushed(&self, cx: &mut Context<'_>, key: Key) -> Poll<Result<(), StreamError>> {
        self.call(|state, _| match state.session.poll_flushed(key) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                state.wakers.wait(key.index, Half::Write, cx);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(write_error(state, error))),
        })
    }

    fn finish(&self, key: Key) -> Result<(), StreamError> {
        self.call(|state, now| match state.session.send_error(key) {
            Some(error) => Err(write_error(state, error)),
            None => {
                state.session.finish(now, key);
                Ok(())
            }
        })
    }

    fn reset(&self, key: Key, code: u64) {
        self.call(|state, now| state.session.reset(now, key, wire_code(code)));
    }

    fn stop(&self, key: Key, code: u64) {
        self.call(|state, now| state.session.stop(now, key, wire_code(code)));
    }

    fn set_priority(&self, key: Key, priority: Priority) {
        self.call(|state, _| state.session.set_priority(key, priority));
    }

    fn release_send(&self, key: Key) {
        self.call(|state, now| {
            state.wakers.take(key.index, Half::Write);
            state.session.release(now, key, StreamHalf::Send);
        });
    }

    fn release_receive(&self, key: Key) {
        self.call(|state, now| {
            state.wakers.take(key.index, Half::Read);
            state.session.release(now, key, StreamHalf::Recv);
        });
    }

    fn open_streams(&self) -> usize {
        self.lock().session.open_streams()
    }

    fn drain(&self) {
        self.call(|state, now| state.session.go_away(now));
    }

    fn close(&self, code: u64, reason: &str) {
        self.call(|state, now| state.session.close(now, wire_code(code), reason));
    }

    fn close_reason(&self) -> Option<CloseReason> {
        self.reason().cloned()
    }

    fn closed(&self) -> &Notify {
        &self.closed
    }

    fn stats(&self) -> Stats {
        self.picture()
    }
}

/// What the engine said to a write, for the task that wrote.
fn written(
    state: &mut State,
    cx: &mut Context<'_>,
    key: Key,
    result: Result<usize, WriteError>,
) -> Poll<Result<usize, StreamError>> {
    match result {
        Ok(count) => Poll::Ready(Ok(count)),
        Err(WriteError::Blocked) => {
            state.wakers.wait(key.index, Half::Write, cx);
            Poll::Pending
        }
        Err(error) => Poll::Ready(Err(write_error(state, error))),
    }
}

fn write_error(state: &State, error: WriteError) -> StreamError {
    match error {
        WriteError::Reset(code) => StreamError::Reset(code.into()),
        WriteError::Closed => closed(state),
        WriteError::Blocked | WriteError::Finished => StreamError::Finished,
    }
}

/// The stream failed with its connection; or the handle outlived the stream.
fn closed(state: &State) -> StreamError {
    match state.session.close_reason() {
        Some(reason) => StreamError::Closed(reason.clone()),
        None => StreamError::Finished,
    }
}

/// The carrier's field for a code has 32 bits.
fn wire_code(code: u64) -> u32 {
    u32::try_from(code).unwrap_or(u32::MAX)
}
