//! One end of a connection: the calls that streams and their halves are made of.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;
use weir_core::time::Instant;
use weir_tcpip::{
    CloseCause, KeepAlive, ReadError, Setting, State as TcpState, TcpKey, TcpStats, WriteError,
};

use super::error::TcpError;
use super::shared::{Handle, State};
use crate::drive::Half;

/// A connection that somebody holds. Dropping it lets the engine finish it.
pub(super) struct End {
    handle: Arc<Handle>,
    key: TcpKey,
}

impl End {
    pub(super) fn new(handle: Arc<Handle>, key: TcpKey) -> End {
        End { handle, key }
    }

    fn call<R>(&self, call: impl FnOnce(&mut State, Instant) -> R) -> R {
        self.handle.0.call(call)
    }

    /// Ready once the connection stands, or with the reason why it does not.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call(|state, _| {
            match state.engine.tcp_state(self.key) {
                Some(TcpState::SynSent | TcpState::SynReceived) if state.over.is_none() => {
                    state.wait_tcp(self.key, Half::Write, cx);
                    return Poll::Pending;
                }
                Some(TcpState::SynSent | TcpState::SynReceived | TcpState::Closed) | None => {}
                Some(_) => return Poll::Ready(Ok(())),
            }
            let error = match state.engine.tcp_close_cause(self.key) {
                // It stood, and both sides have ended it since.
                Some(CloseCause::Finished) => return Poll::Ready(Ok(())),
                Some(cause) => TcpError::Closed(cause),
                None => unknown(state),
            };
            Poll::Ready(Err(error.into()))
        })
    }

    /// Ready once the connection is over, with the reason.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<TcpError> {
        self.call(|state, _| {
            if let Some(why) = self.why_over(state) {
                return Poll::Ready(why);
            }
            state.wait_closed(self.key, cx);
            Poll::Pending
        })
    }

    /// Why the connection is over; `None` while it is not.
    fn why_over(&self, state: &State) -> Option<TcpError> {
        if let Some(cause) = state.engine.tcp_close_cause(self.key) {
            return Some(TcpError::Closed(cause));
        }
        let is_gone = state.over.is_some() || state.engine.tcp_state(self.key).is_none();
        is_gone.then(|| unknown(state))
    }

    pub(super) fn poll_read_chunk(
        &self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        self.call(|state, now| {
            let read = state.engine.tcp_read(now, self.key, max);
            self.read(state, cx, read)
        })
    }

    /// Reads what there is, as far as it fits: nothing of it is the end.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.call(|state, now| {
            let before = out.filled().len();
            // By chunks, not by `tcp_read_into`: that would need the caller's memory initialised.
            while out.remaining() > 0 {
                let read = state.engine.tcp_read(now, self.key, out.remaining());
                match read {
                    Ok(Some(chunk)) => out.put_slice(&chunk),
                    _ if out.filled().len() > before => break,
                    Ok(None) => break,
                    Err(error) => return self.read(state, cx, Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Ready when a read would bring something, the end or an error among it.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call(
            |state, now| match state.engine.tcp_readable(now, self.key) {
                Err(ReadError::Blocked) => self.read(state, cx, Err(ReadError::Blocked)),
                _ => Poll::Ready(Ok(())),
            },
        )
    }

    /// Ready with the bytes up to the end of urgent data once there are some.
    pub(super) fn poll_urgent(&self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.call(|state, _| {
            let remaining = state.engine.tcp_urgent(self.key).unwrap_or(0);
            if remaining > 0 {
                return Poll::Ready(Ok(remaining));
            }
            if let Some(why) = self.why_over(state) {
                return Poll::Ready(Err(why.into()));
            }
            state.wait_urgent(self.key, cx);
            Poll::Pending
        })
    }

    pub(super) fn poll_write_urgent(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.call(|state, now| {
            let written = state.engine.tcp_write_urgent(now, self.key, data);
            self.write(state, cx, written)
        })
    }

    pub(super) fn poll_write_chunk(
        &self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.call(|state, now| {
            let written = state.engine.tcp_write(now, self.key, data);
            self.write(state, cx, written)
        })
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.call(|state, now| {
            let written = state.engine.tcp_write_slice(now, self.key, data);
            self.write(state, cx, written)
        })
    }

    /// Writes from the front of `slices`, all under one lock.
    pub(super) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.call(|state, now| {
            let mut total: usize = 0;
            for slice in slices.iter().filter(|slice| !slice.is_empty()) {
                match state.engine.tcp_write_slice(now, self.key, slice) {
                    Ok(written) => {
                        total = total.saturating_add(written);
                        if written < slice.len() {
                            break;
                        }
                    }
                    Err(_) if total > 0 => break,
                    Err(error) => return self.write(state, cx, Err(error)),
                }
            }
            Poll::Ready(Ok(total))
        })
    }

    pub(super) fn finish(&self) {
        self.call(|state, now| state.engine.tcp_finish(now, self.key));
    }

    pub(super) fn stop(&self) {
        self.call(|state, now| state.engine.tcp_stop(now, self.key));
    }

    pub(super) fn abort(&self) {
        self.call(|state, now| {
            state.forget_tcp(self.key);
            state.engine.tcp_abort(now, self.key);
        });
    }

    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let state = self.handle.0.lock();
        let addresses = state.engine.tcp_addresses(self.key);
        addresses.ok_or_else(|| unknown(&state).into())
    }

    pub(super) fn stats(&self) -> Option<TcpStats> {
        self.call(|state, now| state.engine.tcp_stats(now, self.key))
    }

    pub(super) fn set(&self, setting: Setting) -> io::Result<()> {
        let set = self.call(|state, now| state.engine.tcp_configure(now, self.key, setting));
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    pub(super) fn set_keepalive(&self, keepalive: Option<KeepAlive>) -> io::Result<()> {
        self.set(Setting::KeepAlive(keepalive))
    }

    pub(super) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.set(Setting::Linger(linger))
    }

    /// What the engine said to a read, for the task that made it.
    fn read<T>(
        &self,
        state: &mut State,
        cx: &Context<'_>,
        read: Result<T, ReadError>,
    ) -> Poll<io::Result<T>> {
        let error = match read {
            Ok(found) => return Poll::Ready(Ok(found)),
            Err(ReadError::Blocked) => match &state.over {
                Some(why) => TcpError::StackGone(Arc::clone(why)),
                None => {
                    state.wait_tcp(self.key, Half::Read, cx);
                    return Poll::Pending;
                }
            },
            Err(ReadError::Stopped) => TcpError::Stopped,
            Err(ReadError::Closed(cause)) => TcpError::Closed(cause),
            Err(_) => unknown(state),
        };
        Poll::Ready(Err(error.into()))
    }

    /// What the engine said to a write, for the task that made it.
    fn write(
        &self,
        state: &mut State,
        cx: &Context<'_>,
        written: Result<usize, WriteError>,
    ) -> Poll<io::Result<usize>> {
        let error = match (written, &state.over) {
            (_, Some(why)) => TcpError::StackGone(Arc::clone(why)),
            (Ok(written), None) => return Poll::Ready(Ok(written)),
            (Err(WriteError::Blocked), None) => {
                state.wait_tcp(self.key, Half::Write, cx);
                return Poll::Pending;
            }
            (Err(WriteError::Finished | WriteError::Closed(CloseCause::Finished)), None) => {
                TcpError::Finished
            }
            (Err(WriteError::Closed(cause)), None) => TcpError::Closed(cause),
            (Err(_), None) => unknown(state),
        };
        Poll::Ready(Err(error.into()))
    }
}

fn unknown(state: &State) -> TcpError {
    match &state.over {
        Some(why) => TcpError::StackGone(Arc::clone(why)),
        None => TcpError::Unknown,
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.call(|state, now| {
            state.forget_tcp(self.key);
            state.engine.tcp_close(now, self.key);
        });
    }
}
