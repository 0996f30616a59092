//! A QUIC connection as an engine of handles, and what its socket's task keeps beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_quic::{
    Connection, ConnectionHandle, Dir, Event, Half, OpenError, ReadError, SendDatagramError,
    WriteError,
};

use super::hub::Hub;
use super::memory::Memory;
use crate::drive::{Engine, Link, News, Refused, Shared};
use crate::error::{ConnectionError, DatagramError, StreamError};
use crate::layer::{Handshake, Piece};
use crate::stats::{PathStats, Stats, StreamStats};

/// A QUIC connection: engine, and its place at the socket's task.
pub(super) type QuicShared = Shared<QuicEngine, HubLink>;

/// What the reason of a connection says whose streams had all ended.
const ALL_ENDED: &str = "all streams had ended";

/// The engine, and what concerns the side that has it.
pub(crate) struct QuicEngine {
    pub(super) connection: Connection,
    /// Where a client keeps what servers give it for the next time.
    pub(super) memory: Option<(Arc<Memory>, String)>,
    /// No streams are wanted any more: the connection ends with the last one.
    draining: bool,
}

impl QuicEngine {
    pub(super) fn new(connection: Connection, memory: Option<(Arc<Memory>, String)>) -> Self {
        QuicEngine {
            connection,
            memory,
            draining: false,
        }
    }

    /// Ends a connection that nobody wants streams of and that has none.
    pub(super) fn end_if_idle(&mut self, now: Instant) {
        if self.draining
            && self.connection.open_streams() == 0
            && self.connection.is_open()
            && !self.connection.is_handshaking()
        {
            self.connection.close(now, 0, ALL_ENDED);
        }
    }

    /// Whether streams can be used: the handshake is complete, or early data goes ahead of it.
    pub(super) fn is_usable(&self) -> bool {
        !self.connection.is_handshaking() || self.connection.is_early()
    }

    fn remember(&self, event: Event) {
        let Some((memory, server)) = &self.memory else {
            return;
        };
        match event {
            Event::NewToken(token) => memory.keep_token(server, token),
            Event::Remember(limits) => memory.keep_limits(server, *limits),
            _ => {}
        }
    }

    fn closed(&self) -> StreamError {
        match self.connection.close_reason() {
            Some(reason) => StreamError::Closed(reason.clone()),
            None => StreamError::Finished,
        }
    }

    fn write_error(&self, error: WriteError) -> StreamError {
        match error {
            WriteError::Stopped(code) => StreamError::Stopped(code),
            WriteError::Closed => self.closed(),
            WriteError::Blocked | WriteError::Finished | WriteError::Reset(_) => {
                StreamError::Finished
            }
        }
    }

    fn refused(&self, error: WriteError) -> Refused {
        match error {
            WriteError::Blocked => Refused::Blocked,
            error => Refused::Failed(self.write_error(error)),
        }
    }
}

impl Engine for QuicEngine {
    const DATAGRAMS: bool = true;

    fn open(&mut self, now: Instant, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        match self.connection.open(now, dir) {
            Ok(key) => Ok(Some(key)),
            Err(OpenError::Blocked) => Ok(None),
            Err(OpenError::GoAway) => Err(ConnectionError::GoingAway),
            Err(OpenError::Exhausted) => Err(ConnectionError::IdsExhausted),
            Err(OpenError::Closed) => match self.connection.close_reason() {
                Some(reason) => Err(ConnectionError::Closed(reason.clone())),
                None => Err(ConnectionError::GoingAway),
            },
        }
    }

    fn accept(&mut self, now: Instant, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        Ok(self.connection.accept(now, dir))
    }

    fn stream_id(&self, key: Key) -> Option<u64> {
        Some(self.connection.stream_id(key)?.0)
    }

    fn write(&mut self, now: Instant, key: Key, data: &mut Bytes) -> Result<usize, Refused> {
        let written = self.connection.write(now, key, data);
        written.map_err(|error| self.refused(error))
    }

    fn write_slice(&mut self, now: Instant, key: Key, data: &[u8]) -> Result<usize, Refused> {
        let written = self.connection.write_slice(now, key, data);
        written.map_err(|error| self.refused(error))
    }

    fn read(&mut self, now: Instant, key: Key, max: usize) -> Result<Option<Piece>, Refused> {
        match self.connection.read(now, key, max) {
            Ok(Some(data)) => Ok(Some(Piece {
                data,
                is_last: self.connection.take_end(key),
            })),
            Ok(None) => Ok(None),
            Err(ReadError::Blocked) => Err(Refused::Blocked),
            Err(ReadError::Reset(code)) => Err(Refused::Failed(StreamError::Reset(code))),
            Err(ReadError::Stopped) => Err(Refused::Failed(StreamError::Finished)),
            Err(ReadError::Closed) => Err(Refused::Failed(self.closed())),
        }
    }

    fn send_error(&self, key: Key) -> Option<StreamError> {
        let error = self.connection.send_error(key)?;
        Some(self.write_error(error))
    }

    fn poll_flushed(&mut self, key: Key) -> Result<bool, StreamError> {
        let flushed = self.connection.poll_sent(key);
        flushed.map_err(|error| self.write_error(error))
    }

    fn finish(&mut self, now: Instant, key: Key) {
        self.connection.finish(now, key);
    }

    fn reset(&mut self, now: Instant, key: Key, code: u64) {
        self.connection.reset(now, key, code);
    }

    fn stop(&mut self, now: Instant, key: Key, code: u64) {
        self.connection.stop(now, key, code);
    }

    fn set_priority(&mut self, key: Key, priority: Priority) {
        self.connection.set_priority(key, priority);
    }

    fn release_send(&mut self, now: Instant, key: Key) {
        self.connection.release(now, key, Half::Send);
        self.end_if_idle(now);
    }

    fn release_receive(&mut self, now: Instant, key: Key) {
        self.connection.release(now, key, Half::Recv);
        self.end_if_idle(now);
    }

    fn open_streams(&self) -> usize {
        self.connection.open_streams()
    }

    fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.connection.drain_streams(now);
        self.end_if_idle(now);
    }

    fn close(&mut self, now: Instant, code: u64, reason: &str) {
        self.connection.close(now, code, reason);
    }

    fn poll_news(&mut self) -> Option<News> {
        loop {
            return Some(match self.connection.poll_event()? {
                Event::Readable(key) => News::Readable(key),
                Event::Writable(key) => News::Writable(key),
                Event::StreamReset(key) | Event::Stopped(key) => News::Ended(key),
                Event::Acceptable(dir) => News::Acceptable(dir),
                Event::OpenReady(dir) => News::Openable(dir),
                Event::DatagramReceived => News::Datagram,
                Event::Connected => News::Established,
                Event::Closed(reason) => News::Closed(reason),
                event @ (Event::NewToken(_) | Event::Remember(_)) => {
                    self.remember(event);
                    continue;
                }
                Event::Confirmed
                | Event::DatagramsUnblocked
                | Event::PathChanged { .. }
                | Event::ZeroRttRejected
                | Event::Drained => continue,
            });
        }
    }

    fn wants_transmit(&self) -> bool {
        self.connection.wants_transmit()
    }

    fn max_datagram_size(&self) -> Option<usize> {
        self.connection.max_datagram_size()
    }

    fn send_datagram(&mut self, data: Bytes) -> Result<(), DatagramError> {
        self.connection
            .send_datagram(data)
            .map_err(|error| match error {
                SendDatagramError::Unsupported => DatagramError::NotCarried,
                SendDatagramError::TooLarge { max } => DatagramError::TooLarge { max },
                SendDatagramError::Closed => match self.connection.close_reason() {
                    Some(reason) => DatagramError::Closed(reason.clone()),
                    None => DatagramError::NotCarried,
                },
            })
    }

    fn recv_datagram(&mut self) -> Option<Bytes> {
        self.connection.recv_datagram()
    }

    fn handshake(&self) -> Option<Handshake> {
        let info = self.connection.handshake_info()?;
        Some(Handshake {
            alpn: info.alpn.clone(),
            server_name: info.server_name.clone(),
            version: self.connection.version().0,
            resumed: info.resumed,
            early_data: info.zero_rtt,
        })
    }

    fn export_keying_material(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        self.connection
            .export_keying_material(output, label, Some(context))
    }

    fn update_keys(&mut self, now: Instant) -> bool {
        self.connection.initiate_key_update(now)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.connection.path().map(|path| path.remote)
    }

    fn describe(&self, stats: &mut Stats) {
        let quic = self.connection.stats();
        stats.rtt = quic.rtt;
        stats.sent = quic.bytes_sent;
        stats.received = quic.bytes_received;
        stats.memory_used = quic.memory_used;
        stats.memory_limit = quic.memory_limit;
        stats.path = Some(PathStats {
            min_rtt: quic.min_rtt,
            congestion_window: quic.congestion_window,
            in_flight: quic.in_flight,
            congestion: quic.congestion,
            datagram_size: quic.datagram_size,
            ecn: quic.ecn,
            datagrams_sent: quic.datagrams_sent,
            datagrams_received: quic.datagrams_received,
            packets_lost: quic.packets_lost,
            migrations: quic.migrations,
            key_updates: quic.key_updates,
        });
        if let Some(remote) = self.remote_addr() {
            stats.remote_addr = remote;
        }
        let keys = self.connection.stream_keys();
        let streams = keys.filter_map(|key| self.connection.stream_stats(key));
        stats.streams.extend(streams.map(|stream| StreamStats {
            id: stream.id.0,
            state: state_name(&stream),
            sent: stream.sent,
            received: stream.received,
            queued: stream.queued,
            unread: stream.buffered,
            send_window: stream.send_window,
            receive_window: stream.recv_window,
            send_held_by: stream.held_by.send,
            receive_held_by: stream.held_by.recv,
        }));
    }
}

/// The state of the half that is further from its end.
fn state_name(stream: &weir_quic::StreamStats) -> &'static str {
    match stream.send_state.is_terminal() {
        true => stream.recv_state.name(),
        false => stream.send_state.name(),
    }
}

/// How a connection reaches its socket's task.
pub(crate) struct HubLink {
    hub: Arc<Hub>,
    handle: ConnectionHandle,
    /// The task has been told to look at the connection, and has not yet.
    is_dirty: bool,
    /// Congestion control, the pacer or the handshake hold back what there is to send: the task
    /// looks again by itself when that changes.
    pub(super) is_held: bool,
    /// The end was told.
    is_over: bool,
    /// The latest time that the engine was given: it never goes back.
    now: Instant,
}

impl HubLink {
    pub(super) fn new(hub: Arc<Hub>, handle: ConnectionHandle) -> Self {
        HubLink {
            hub,
            handle,
            is_dirty: false,
            is_held: false,
            is_over: false,
            now: Instant::ZERO,
        }
    }

    /// The task looks at the connection: what held it back may have changed.
    pub(super) fn begin(&mut self, now: Instant) -> Instant {
        self.is_held = false;
        self.now = self.now.max(now);
        self.now
    }

    /// The task has heard of what was done; later calls tell it anew.
    pub(super) fn take_dirty(&mut self) {
        self.is_dirty = false;
    }

    /// Has the task look at the connection, whatever is held. Whom to wake for it.
    pub(super) fn touch(&mut self) -> Option<Waker> {
        if std::mem::replace(&mut self.is_dirty, true) {
            return None;
        }
        self.hub.touch(self.handle)
    }
}

impl Link for HubLink {
    fn time(&mut self, read_clock: impl FnOnce() -> Instant) -> Instant {
        let now = self.hub.turn().unwrap_or_else(read_clock);
        self.now = self.now.max(now);
        self.now
    }

    fn called(&mut self, wants_transmit: impl FnOnce() -> bool, is_over: bool) -> Option<Waker> {
        let ended = is_over && !std::mem::replace(&mut self.is_over, is_over);
        match !self.is_dirty && (ended || !self.is_held && wants_transmit()) {
            true => self.touch(),
            false => None,
        }
    }
}
