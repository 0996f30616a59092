//! The calls of the public handles, on the engine behind its lock.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;
use weir_core::close::CloseReason;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_quic::Dir;

use super::engine::{Engine, Link, Refused};
use super::shared::{Shared, State};
use super::wakers::Half;
use crate::error::{ConnectionError, DatagramError, StreamError};
use crate::layer::{Handshake, Piece, StreamLayer};
use crate::stats::Stats;

impl<E: Engine, L: Link> StreamLayer for Shared<E, L> {
    fn try_open(&self, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        self.call(|state, now| state.engine.open(now, dir))
    }

    fn try_accept(&self, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        if let Some(key) = self.call(|state, now| state.engine.accept(now, dir))? {
            return Ok(Some(key));
        }
        match self.reason() {
            Some(reason) => Err(ConnectionError::Closed(reason.clone())),
            None => Ok(None),
        }
    }

    fn openable(&self, dir: Dir) -> &Notify {
        self.openable.get(dir)
    }

    fn acceptable(&self, dir: Dir) -> &Notify {
        self.acceptable.get(dir)
    }

    fn stream_id(&self, key: Key) -> Option<u64> {
        self.lock().engine.stream_id(key)
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        self.call(|state, now| {
            let result = state.engine.write(now, key, data);
            wait_for(state, cx, key, Half::Write, result)
        })
    }

    fn poll_write_slice(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.call(|state, now| {
            let result = state.engine.write_slice(now, key, data);
            wait_for(state, cx, key, Half::Write, result)
        })
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        max: usize,
    ) -> Poll<Result<Option<Piece>, StreamError>> {
        self.call(|state, now| {
            let result = state.engine.read(now, key, max);
            wait_for(state, cx, key, Half::Read, result)
        })
    }

    fn poll_send_ended(&self, cx: &mut Context<'_>, key: Key) -> Poll<StreamError> {
        self.call(|state, _| match state.engine.send_error(key) {
            Some(error) => Poll::Ready(error),
            None => {
                state.wakers.wait(key.index, Half::Ended, cx);
                Poll::Pending
            }
        })
    }

    fn poll_flushed(&self, cx: &mut Context<'_>, key: Key) -> Poll<Result<(), StreamError>> {
        self.call(|state, _| match state.engine.poll_flushed(key) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                state.wakers.wait(key.index, Half::Write, cx);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        })
    }

    fn finish(&self, key: Key) -> Result<(), StreamError> {
        self.call(|state, now| match state.engine.send_error(key) {
            Some(error) => Err(error),
            None => {
                state.engine.finish(now, key);
                Ok(())
            }
        })
    }

    fn reset(&self, key: Key, code: u64) {
        self.call(|state, now| state.engine.reset(now, key, code));
    }

    fn stop(&self, key: Key, code: u64) {
        self.call(|state, now| state.engine.stop(now, key, code));
    }

    fn set_priority(&self, key: Key, priority: Priority) {
        self.call(|state, _| state.engine.set_priority(key, priority));
    }

    fn release_send(&self, key: Key) {
        self.call(|state, now| {
            state.wakers.take(key.index, Half::Write);
            state.engine.release_send(now, key);
        });
    }

    fn release_receive(&self, key: Key) {
        self.call(|state, now| {
            state.wakers.take(key.index, Half::Read);
            state.engine.release_receive(now, key);
        });
    }

    fn max_datagram_size(&self) -> Option<usize> {
        if !E::DATAGRAMS {
            return None;
        }
        self.lock().engine.max_datagram_size()
    }

    fn send_datagram(&self, data: Bytes) -> Result<(), DatagramError> {
        self.call(|state, _| state.engine.send_datagram(data))
    }

    fn try_recv_datagram(&self) -> Result<Option<Bytes>, ConnectionError> {
        if let Some(found) = self.lock().engine.recv_datagram() {
            return Ok(Some(found));
        }
        match self.reason() {
            Some(reason) => Err(ConnectionError::Closed(reason.clone())),
            None => Ok(None),
        }
    }

    fn datagram_arrived(&self) -> Option<&Notify> {
        E::DATAGRAMS.then_some(&self.datagram)
    }

    fn handshake(&self) -> Option<Handshake> {
        self.lock().engine.handshake()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.lock().engine.remote_addr()
    }

    fn export_keying_material(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        self.lock()
            .engine
            .export_keying_material(output, label, context)
    }

    fn update_keys(&self) -> bool {
        self.call(|state, now| state.engine.update_keys(now))
    }

    fn open_streams(&self) -> usize {
        self.lock().engine.open_streams()
    }

    fn drain(&self) {
        self.call(|state, now| state.engine.drain(now));
    }

    fn close(&self, code: u64, reason: &str) {
        self.call(|state, now| state.engine.close(now, code, reason));
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

/// What the engine said to a call, for the task that made it.
fn wait_for<T, E: Engine, L: Link>(
    state: &mut State<E, L>,
    cx: &mut Context<'_>,
    key: Key,
    half: Half,
    result: Result<T, Refused>,
) -> Poll<Result<T, StreamError>> {
    match result {
        Ok(done) => Poll::Ready(Ok(done)),
        Err(Refused::Blocked) => {
            state.wakers.wait(key.index, half, cx);
            Poll::Pending
        }
        Err(Refused::Failed(error)) => Poll::Ready(Err(error)),
    }
}
