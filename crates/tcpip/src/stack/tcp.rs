//! Listeners and connections, as the application calls them.

use std::net::SocketAddr;

use bytes::Bytes;
use weir_core::limits::OutOfRange;
use weir_core::time::Instant;

use super::{
    BindError, ConnectConfig, ConnectError, Gone, IncomingKey, ListenConfig, ListenerKey, Stack,
    TcpKey,
};
use crate::tcp::{ReadError, Setting, State, TcpStats, WriteError};

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
        config.validate()?;
        Err(BindError::NotLocal(local))
    }

    /// The address and port that a listener has.
    #[must_use]
    pub fn tcp_listener_address(&self, _key: ListenerKey) -> Option<SocketAddr> {
        None
    }

    /// The connection that waits longest to be accepted.
    pub fn tcp_accept(&mut self, _now: Instant, _key: ListenerKey) -> Option<TcpKey> {
        None
    }

    /// Lets go of a listener. Its half-open connections and those not accepted are reset; the
    /// accepted ones live on (T33).
    pub fn tcp_unlisten(&mut self, _now: Instant, _key: ListenerKey) {}

    /// Answers an attempt at a deferring listener: the handshake goes on, and
    /// [`Event::TcpConnected`](crate::Event::TcpConnected) follows when it is done.
    ///
    /// # Errors
    /// [`Gone`] when the client took it back, or it was too old.
    pub fn tcp_confirm(&mut self, _now: Instant, _key: IncomingKey) -> Result<TcpKey, Gone> {
        Err(Gone)
    }

    /// Answers an attempt at a deferring listener with RST, as if nobody listened.
    ///
    /// # Errors
    /// [`Gone`] when the client took it back, or it was too old.
    pub fn tcp_refuse(&mut self, _now: Instant, _key: IncomingKey) -> Result<(), Gone> {
        Err(Gone)
    }

    /// Begins a connection. [`Event::TcpConnected`](crate::Event::TcpConnected) or
    /// [`Event::TcpClosed`](crate::Event::TcpClosed) follows.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn tcp_connect(
        &mut self,
        _now: Instant,
        remote: SocketAddr,
        config: ConnectConfig,
    ) -> Result<TcpKey, ConnectError> {
        config.tcp.validate()?;
        Err(ConnectError::NoRoute(remote))
    }

    /// Both ends of a connection: local, remote.
    #[must_use]
    pub fn tcp_addresses(&self, _key: TcpKey) -> Option<(SocketAddr, SocketAddr)> {
        None
    }

    /// Its state. [`State::TimeWait`] also where the stack keeps only what TIME-WAIT needs.
    #[must_use]
    pub fn tcp_state(&self, _key: TcpKey) -> Option<State> {
        None
    }

    /// How it stands.
    #[must_use]
    pub fn tcp_stats(&self, _now: Instant, _key: TcpKey) -> Option<TcpStats> {
        None
    }

    /// Takes as much of the front of `data` as there is room for, without copying where it is large,
    /// and says how many bytes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tcp_write(
        &mut self,
        _now: Instant,
        _key: TcpKey,
        _data: &mut Bytes,
    ) -> Result<usize, WriteError> {
        Err(WriteError::Unknown)
    }

    /// Copies as much of the front of `data` as there is room for, and says how many bytes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tcp_write_slice(
        &mut self,
        _now: Instant,
        _key: TcpKey,
        _data: &[u8],
    ) -> Result<usize, WriteError> {
        Err(WriteError::Unknown)
    }

    /// The next bytes in order, at most `max`, without a copy; `None` at the end of what the peer
    /// sends.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tcp_read(
        &mut self,
        _now: Instant,
        _key: TcpKey,
        _max: usize,
    ) -> Result<Option<Bytes>, ReadError> {
        Err(ReadError::Unknown)
    }

    /// Copies the next bytes in order and says how many; 0 at the end of what the peer sends.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tcp_read_into(
        &mut self,
        _now: Instant,
        _key: TcpKey,
        _out: &mut [u8],
    ) -> Result<usize, ReadError> {
        Err(ReadError::Unknown)
    }

    /// No more will be written: FIN follows the last byte (T115). What the peer sends can be read on.
    pub fn tcp_finish(&mut self, _now: Instant, _key: TcpKey) {}

    /// No more will be read. Data that comes nevertheless resets the connection.
    pub fn tcp_stop(&mut self, _now: Instant, _key: TcpKey) {}

    /// Lets go of the connection. What was written is still sent; with unread data it is reset (T118),
    /// and [`TcpConfig::linger`](crate::TcpConfig::linger) may say otherwise (T123). The key finds
    /// nothing from here on.
    pub fn tcp_close(&mut self, _now: Instant, _key: TcpKey) {}

    /// Resets the connection (T124) and lets go of it.
    pub fn tcp_abort(&mut self, _now: Instant, _key: TcpKey) {}

    /// Changes a setting of one connection.
    ///
    /// # Errors
    /// A value that is out of its range.
    pub fn tcp_configure(
        &mut self,
        _now: Instant,
        _key: TcpKey,
        _setting: Setting,
    ) -> Result<(), OutOfRange> {
        Ok(())
    }
}
