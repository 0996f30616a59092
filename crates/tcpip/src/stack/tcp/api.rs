//! Listeners and connections, as the application calls them.

use std::net::SocketAddr;

use bytes::Bytes;
use weir_core::limits::OutOfRange;
use weir_core::time::Instant;

use super::Tcp;
use super::entry::{Entry, Owner};
use crate::stack::host::Host;
use crate::stack::{
    BindError, ConnectConfig, ConnectError, Gone, IncomingKey, ListenConfig, ListenerKey, Refusal,
    Stack, TcpKey,
};
use crate::tcp::connection::Connection;
use crate::tcp::interface::Context;
use crate::tcp::{CloseCause, ReadError, Setting, State, TcpStats, WriteError};

impl Stack {
    /// Takes connections to `local`. An unspecified address stands for all of the stack's (of IPv6:
    /// of both versions); port 0 for one chosen at random.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn tcp_listen(
        &mut self,
        local: SocketAddr,
        config: ListenConfig,
    ) -> Result<ListenerKey, BindError> {
        let (tcp, mut host) = self.split(self.now);
        tcp.listen(&mut host, local, &config)
    }

    /// The address and port that a listener has.
    #[must_use]
    pub fn tcp_listener_address(&self, key: ListenerKey) -> Option<SocketAddr> {
        Some(self.tcp.listeners.get(key.0)?.local)
    }

    /// The connection that waits longest to be accepted.
    pub fn tcp_accept(&mut self, now: Instant, key: ListenerKey) -> Option<TcpKey> {
        let (tcp, mut host) = self.split(now);
        tcp.accept(&mut host, key)
    }

    /// Lets go of a listener. Its half-open connections and those not accepted are reset; the
    /// accepted ones live on (T33).
    pub fn tcp_unlisten(&mut self, now: Instant, key: ListenerKey) {
        let (tcp, mut host) = self.split(now);
        tcp.unlisten(&mut host, key);
    }

    /// Answers an attempt at a deferring listener: the handshake goes on, and
    /// [`Event::TcpConnected`](crate::Event::TcpConnected) follows when it is done.
    ///
    /// # Errors
    /// [`Gone`] when the client took it back, or it was too old.
    pub fn tcp_confirm(&mut self, now: Instant, key: IncomingKey) -> Result<TcpKey, Gone> {
        let (tcp, mut host) = self.split(now);
        tcp.confirm(&mut host, key)
    }

    /// Answers an attempt at a deferring listener with RST, as if nobody listened.
    ///
    /// # Errors
    /// [`Gone`] when the client took it back, or it was too old.
    pub fn tcp_refuse(&mut self, now: Instant, key: IncomingKey) -> Result<(), Gone> {
        let (tcp, mut host) = self.split(now);
        tcp.refuse(&mut host, key, Refusal::Reset)
    }

    /// [`tcp_refuse`](Stack::tcp_refuse) with the reason, where it is another than that nobody listens.
    ///
    /// # Errors
    /// [`Gone`] when the client took it back, or it was too old.
    pub fn tcp_refuse_with(
        &mut self,
        now: Instant,
        key: IncomingKey,
        why: Refusal,
    ) -> Result<(), Gone> {
        let (tcp, mut host) = self.split(now);
        tcp.refuse(&mut host, key, why)
    }

    /// Begins a connection. [`Event::TcpConnected`](crate::Event::TcpConnected) or
    /// [`Event::TcpClosed`](crate::Event::TcpClosed) follows.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        config: ConnectConfig,
    ) -> Result<TcpKey, ConnectError> {
        let (tcp, mut host) = self.split(now);
        tcp.connect(&mut host, remote, &config)
    }

    /// Both ends of a connection: local, remote.
    #[must_use]
    pub fn tcp_addresses(&self, key: TcpKey) -> Option<(SocketAddr, SocketAddr)> {
        let tuple = &self.held(key)?.tuple;
        Some((tuple.local, tuple.remote))
    }

    /// Its state. [`State::TimeWait`] also where the stack keeps only what TIME-WAIT needs. `None` for a
    /// connection that was let go of, though it may go on in the background:
    /// [`tcp_state_between`](Stack::tcp_state_between).
    #[must_use]
    pub fn tcp_state(&self, key: TcpKey) -> Option<State> {
        Some(self.held(key)?.state())
    }

    /// The state of whatever connection there is between two ends, whoever has it: those that nobody
    /// holds any more, those that wait to be accepted, those in TIME-WAIT. For people who look, as with
    /// `ss`. A closed connection that the application still holds is found by its key only.
    #[must_use]
    pub fn tcp_state_between(&self, local: SocketAddr, remote: SocketAddr) -> Option<State> {
        self.tcp.state_between(&self.shared.spread, local, remote)
    }

    /// A connection of the application's.
    fn held(&self, key: TcpKey) -> Option<&Entry> {
        let entry = self.tcp.connections.get(key.0)?;
        (entry.owner == Owner::Application).then_some(entry)
    }

    /// How it stands.
    #[must_use]
    pub fn tcp_stats(&self, now: Instant, key: TcpKey) -> Option<TcpStats> {
        Some(self.held(key)?.stats(now))
    }

    /// Takes as much of the front of `data` as there is room for, without copying where it is large,
    /// and says how many bytes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tcp_write(
        &mut self,
        now: Instant,
        key: TcpKey,
        data: &mut Bytes,
    ) -> Result<usize, WriteError> {
        let written = self.on_connection(now, key, |it, cx| it.write(cx, data));
        written.unwrap_or(Err(WriteError::Unknown))
    }

    /// Copies as much of the front of `data` as there is room for, and says how many bytes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tcp_write_slice(
        &mut self,
        now: Instant,
        key: TcpKey,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        let written = self.on_connection(now, key, |it, cx| it.write_slice(cx, data));
        written.unwrap_or(Err(WriteError::Unknown))
    }

    /// Copies as much of the front of `data` as there is room for, and says how many bytes. They are
    /// urgent: segments bear the flag and a pointer behind them until they are acknowledged (RFC 9293
    /// section 3.8.5). RFC 6093 advises against it where the protocol does not ask for it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tcp_write_urgent(
        &mut self,
        now: Instant,
        key: TcpKey,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        let written = self.on_connection(now, key, |it, cx| it.write_urgent(cx, data));
        written.unwrap_or(Err(WriteError::Unknown))
    }

    /// How many bytes remain to be read up to and with the last urgent one; 0 when there is no urgent
    /// data, or all was read. It is delivered in line: who reads no more than this stops at the mark,
    /// as with `SIOCATMARK`. `None` for an unknown key.
    pub fn tcp_urgent(&mut self, key: TcpKey) -> Option<u64> {
        self.on_connection(self.now, key, |it, _| it.urgent_remaining())
    }

    /// The next bytes in order, at most `max`, without a copy; `None` at the end of what the peer
    /// sends.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tcp_read(
        &mut self,
        now: Instant,
        key: TcpKey,
        max: usize,
    ) -> Result<Option<Bytes>, ReadError> {
        self.on_reading(now, key, |it, cx| it.read(cx, max))
    }

    /// Copies the next bytes in order and says how many; 0 at the end of what the peer sends.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tcp_read_into(
        &mut self,
        now: Instant,
        key: TcpKey,
        out: &mut [u8],
    ) -> Result<usize, ReadError> {
        self.on_reading(now, key, |it, cx| it.read_into(cx, out))
    }

    /// Whether a read would bring something now: bytes, or the end. Takes nothing.
    ///
    /// # Errors
    /// [`ReadError`], as [`tcp_read`](Stack::tcp_read).
    pub fn tcp_readable(&mut self, now: Instant, key: TcpKey) -> Result<(), ReadError> {
        self.on_reading(now, key, |it, _| it.check_readable())
    }

    /// Why the connection is over; `None` while it is not.
    #[must_use]
    pub fn tcp_close_cause(&self, key: TcpKey) -> Option<CloseCause> {
        self.held(key)?.close_cause()
    }

    /// No more will be written: FIN follows the last byte (T115). What the peer sends can be read on.
    pub fn tcp_finish(&mut self, now: Instant, key: TcpKey) {
        let _known = self.on_connection(now, key, |it, cx| it.finish(cx));
    }

    /// No more will be read. Data that comes nevertheless resets the connection.
    pub fn tcp_stop(&mut self, now: Instant, key: TcpKey) {
        let _known = self.on_connection(now, key, |it, cx| it.stop(cx));
    }

    /// Lets go of the connection. What was written is still sent; with unread data it is reset (T118),
    /// and [`TcpConfig::linger`](crate::TcpConfig::linger) may say otherwise (T123). The key finds
    /// nothing from here on.
    pub fn tcp_close(&mut self, now: Instant, key: TcpKey) {
        let (tcp, mut host) = self.split(now);
        tcp.close(&mut host, key);
    }

    /// Resets the connection (T124) and lets go of it.
    pub fn tcp_abort(&mut self, now: Instant, key: TcpKey) {
        let (tcp, mut host) = self.split(now);
        tcp.abort_key(&mut host, key);
    }

    /// Changes a setting of one connection.
    ///
    /// # Errors
    /// A value that is out of its range.
    pub fn tcp_configure(
        &mut self,
        now: Instant,
        key: TcpKey,
        setting: Setting,
    ) -> Result<(), OutOfRange> {
        setting.validate()?;
        let _known = self.on_connection(now, key, |it, cx| it.configure(cx, setting));
        Ok(())
    }

    /// TCP, and the stack around it.
    #[inline]
    pub(super) fn split(&mut self, now: Instant) -> (&mut Tcp, Host<'_>) {
        self.now = self.now.max(now);
        let (tcp, _, host) = self.parts();
        (tcp, host)
    }

    /// Does something with a connection of the application's.
    #[inline]
    fn on_connection<T>(
        &mut self,
        now: Instant,
        key: TcpKey,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let (tcp, mut host) = self.split(now);
        tcp.on(&mut host, key, act)
    }

    /// Takes what a connection of the application's received. Nothing happens to the connection by
    /// that, unless the peer is to hear of its window. What `act` returns is not wrapped in anything:
    /// moving it about costs more than small reads themselves.
    #[inline]
    fn on_reading<T>(
        &mut self,
        now: Instant,
        key: TcpKey,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let (tcp, mut host) = self.split(now);
        let Some(entry) = tcp.connections.get_mut(key.0) else {
            return Err(ReadError::Unknown);
        };
        if entry.owner != Owner::Application {
            return Err(ReadError::Unknown);
        }
        let connection = entry.connection();
        let done = act(connection, &mut host.context());
        // Without a wake-up it would never fall asleep: what was unread may have been all there was.
        if (connection.wants_transmit() || entry.timer.is_none()) && !entry.touched {
            entry.touched = true;
            tcp.touched.push(key.0.index);
        }
        done
    }
}
