//! The application's calls (RFC 9293 3.9.1): reading, writing, settings.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::time::Duration;

use super::config::Setting;
use super::connection::{Connection, OwnTimer};
use super::error::{ReadError, WriteError};
use super::interface::Context;
use super::state::State;
use crate::limits::{
    LEAST_BUFFER, LEAST_SEND, MAX_DSCP, MOST_WINDOW, RECEIVE_SLACK, WINDOW_PERIOD,
};

impl Connection {
    /// Appends what fits of `data` to the send buffer and takes it off `data`. Returns how many
    /// bytes. Before the connection is open it is kept.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is taken then.
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Result<usize, WriteError> {
        let fits = self.room_for(cx, data.len())?;
        let part = data.split_to(fits);
        self.send.buffer.append(part, cx.chunks);
        self.on_written(fits);
        Ok(fits)
    }

    /// As `write`, by copy.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is taken then.
    pub(crate) fn write_slice(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        let fits = self.room_for(cx, data.len())?;
        let part = data.get(..fits).unwrap_or_default();
        self.send.buffer.append_slice(part, cx.chunks);
        self.on_written(fits);
        Ok(fits)
    }

    fn on_written(&mut self, bytes: usize) {
        // Whatever is in flight wakes it up otherwise: the congestion window, the peer's window.
        self.kick |= bytes > 0;
    }

    /// How many of `wanted` bytes may be written now.
    fn room_for(&mut self, cx: &mut Context<'_>, wanted: usize) -> Result<usize, WriteError> {
        if let Some(cause) = self.cause {
            return Err(WriteError::Closed(cause));
        }
        if self.send.finish {
            return Err(WriteError::Finished);
        }
        let wanted = wanted as u64;
        let used = self.send.buffer.len_unacked();
        if used.saturating_add(wanted) > self.send.limit {
            self.tune_send_buffer();
        }
        let mut fits = self.send.limit.saturating_sub(used).min(wanted);
        let share = &mut self.send.share;
        if used.saturating_add(fits) > LEAST_SEND
            && share.grow_to(cx.budget, used.saturating_add(fits)).is_err()
        {
            let paid = share.held().max(LEAST_SEND);
            fits = fits.min(paid.saturating_sub(used));
        }
        if fits == 0 && wanted > 0 {
            self.send.blocked = true;
            return Err(WriteError::Blocked);
        }
        Ok(usize::try_from(fits).unwrap_or(0))
    }

    /// The send buffer follows the congestion window: twice as much, so that what is acknowledged
    /// has something to be followed by (T70).
    fn tune_send_buffer(&mut self) {
        let config = &self.config.send_buffer;
        if self.send.limit < config.max {
            let window = self.recovery.congestion_window();
            let limit = window.saturating_mul(2).min(config.max);
            self.send.limit = self.send.limit.max(limit);
        }
    }

    /// Tells a writer that was refused, once a third of the buffer is free.
    pub(super) fn wake_writer(&mut self) {
        let used = self.send.buffer.len_unacked();
        if !self.is_roomy(used) {
            self.tune_send_buffer();
        }
        if self.is_roomy(used) {
            self.send.blocked = false;
            self.news.writable = true;
        }
    }

    /// A third of the send buffer is free.
    fn is_roomy(&self, used: u64) -> bool {
        self.send.limit.saturating_sub(used) >= self.send.limit / 3
    }

    /// The next bytes in order, at most `max`, without a copy. `None`: the peer finished and all was
    /// read.
    ///
    /// # Errors
    /// [`ReadError`]. What arrived before the connection ended is given first (T125).
    pub(crate) fn read(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Result<Option<Bytes>, ReadError> {
        if let Some(bytes) = self.receive.assembler.read(max, cx.chunks) {
            self.on_consumed(cx, bytes.len());
            return Ok(Some(bytes));
        }
        if max == 0 {
            return Ok(Some(Bytes::new()));
        }
        self.nothing_to_read().map(|()| None)
    }

    /// As `read`, by copy. `Ok(0)` is the end, unless `out` is empty.
    ///
    /// # Errors
    /// [`ReadError`], as `read`.
    pub(crate) fn read_into(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Result<usize, ReadError> {
        let count = self.receive.assembler.read_into(out, cx.chunks);
        if count > 0 {
            self.on_consumed(cx, count);
            return Ok(count);
        }
        if out.is_empty() {
            return Ok(0);
        }
        self.nothing_to_read().map(|()| 0)
    }

    /// Whether a read would bring something now: bytes, or the end. Takes nothing.
    ///
    /// # Errors
    /// [`ReadError`], as `read`; `Readable` follows [`ReadError::Blocked`].
    pub(crate) fn check_readable(&mut self) -> Result<(), ReadError> {
        if self.receive.assembler.readable() > 0 {
            return Ok(());
        }
        self.nothing_to_read()
    }

    /// The end, or why there is nothing.
    fn nothing_to_read(&mut self) -> Result<(), ReadError> {
        if self.receive.stopped {
            return Err(ReadError::Stopped);
        }
        if self.receive.fin_taken {
            return Ok(());
        }
        if let Some(cause) = self.cause {
            return Err(ReadError::Closed(cause));
        }
        self.receive.waiting = true;
        Err(ReadError::Blocked)
    }

    /// The reader took `bytes`: the window may open, and grow (T59, T69).
    #[inline]
    fn on_consumed(&mut self, cx: &mut Context<'_>, bytes: usize) {
        self.receive.window.on_consumed(bytes as u64);
        self.tune_window(cx);
        if self.state.is_receiving() && self.receive.update_due(self.mss) {
            self.acknowledge_now();
        }
    }

    /// The window grows with what is read, and shrinks when that is little. A grown one is looked at
    /// again when nothing arrives, so that an idle connection gives its memory back.
    #[inline]
    pub(super) fn tune_window(&mut self, cx: &mut Context<'_>) {
        let receive = &mut self.receive;
        let config = &self.config.receive_window;
        // The window doubles when a whole one is read in two round trips. A sixteenth of it is never
        // told, and ACKs come late: without a margin a reader held by the window alone would just
        // miss that.
        let rtt = self.seen.rtt;
        let rtt = || rtt.map(|rtt| Duration::from_nanos(rtt.saturating_mul(3) / 2));
        // What it announces is told in the next segment, as `Receiver::advertise` sees fit.
        let share = (&mut receive.share, RECEIVE_SLACK);
        let _told = receive
            .window
            .poll_update_with(cx.now, rtt, config, cx.budget, share);
        if receive.window.is_grown(config) && self.timers.get(OwnTimer::Window).is_none() {
            self.timers.set(OwnTimer::Window, cx.now + WINDOW_PERIOD);
            // Its wake-up is seen to after its turn to send.
            self.kick = true;
        }
    }

    /// Throws away what can be read.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) {
        while let Some(bytes) = self.receive.assembler.read(usize::MAX, cx.chunks) {
            self.on_consumed(cx, bytes.len());
        }
    }

    /// No more is written: FIN follows what was (half-close, T115).
    pub(crate) fn finish(&mut self, cx: &mut Context<'_>) {
        if self.send.finish || self.cause.is_some() {
            return;
        }
        self.send.finish = true;
        self.kick = true;
        if self.state.is_synchronized() {
            self.leave_open_state(cx);
        }
    }

    /// No more is read: what has arrived and what arrives is thrown away.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        self.receive.stopped = true;
        self.receive.assembler.keep_last(false);
        self.discard(cx);
    }

    /// ESTABLISHED and CLOSE-WAIT end when the application finishes (RFC 9293 3.10.4).
    pub(super) fn leave_open_state(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::Established => self.set_state(cx, State::FinWait1, "finished"),
            State::CloseWait => self.set_state(cx, State::LastAck, "finished"),
            _ => {}
        }
    }

    /// Changes a setting of this connection. Values out of range become the nearest in it.
    pub(crate) fn configure(&mut self, cx: &mut Context<'_>, setting: Setting) {
        let mut config = (*self.config).clone();
        match setting {
            Setting::NoDelay(on) => config.nodelay = on,
            Setting::KeepAlive(keepalive) => {
                config.keepalive = keepalive.filter(|keepalive| keepalive.validate().is_ok());
            }
            Setting::UserTimeout(timeout) => config.user_timeout = timeout,
            Setting::Linger(linger) => config.linger = linger,
            Setting::DelayedAck(delay) => {
                config.delayed_ack = delay.min(crate::limits::MOST_DELAYED_ACK);
            }
            Setting::SendBuffer(bytes) => {
                let bytes = bytes.clamp(LEAST_BUFFER, MOST_WINDOW);
                config.send_buffer.max = bytes;
                config.send_buffer.initial = config.send_buffer.initial.min(bytes);
                self.send.limit = self.send.limit.min(bytes).max(config.send_buffer.initial);
            }
            Setting::ReceiveWindow(bytes) => {
                let least = config.receive_window.initial;
                config.receive_window.max = bytes.clamp(least, MOST_WINDOW);
            }
            Setting::HopLimit(limit) => config.hop_limit = limit.max(1),
            Setting::Dscp(dscp) => config.dscp = dscp.min(MAX_DSCP),
        }
        self.config = Arc::new(config);
        match setting {
            Setting::KeepAlive(_) => self.arm_keepalive(cx.now),
            Setting::NoDelay(_) => self.kick = true,
            _ => {}
        }
    }
}
