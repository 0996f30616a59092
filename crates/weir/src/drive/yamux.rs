//! The yamux session as an engine of handles, and what its task keeps beside it.

use std::task::{Context, Waker};

use bytes::Bytes;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_quic::Dir;
use weir_yamux::{CarrierState, Event, Half, OpenError, ReadError, Session, WriteError};

use super::engine::{Engine, Link, News, Refused};
use super::shared::Shared;
use crate::error::{ConnectionError, StreamError};
use crate::layer::Piece;
use crate::stats::{Stats, StreamStats};

/// A yamux connection: session and task.
pub(super) type YamuxShared = Shared<Session, TaskLink>;

impl Engine for Session {
    fn open(&mut self, now: Instant, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        bidirectional(dir)?;
        match Session::open(self, now) {
            Ok(key) => Ok(Some(key)),
            Err(OpenError::Blocked) => Ok(None),
            Err(OpenError::GoAway) => Err(ConnectionError::GoingAway),
            Err(OpenError::Exhausted) => Err(ConnectionError::IdsExhausted),
            Err(OpenError::Closed(reason)) => Err(ConnectionError::Closed(reason)),
        }
    }

    fn accept(&mut self, now: Instant, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        bidirectional(dir)?;
        Ok(Session::accept(self, now))
    }

    fn stream_id(&self, key: Key) -> Option<u64> {
        Session::stream_id(self, key).map(u64::from)
    }

    fn write(&mut self, now: Instant, key: Key, data: &mut Bytes) -> Result<usize, Refused> {
        Session::write(self, now, key, data).map_err(|error| refused(self, error))
    }

    fn write_slice(&mut self, now: Instant, key: Key, data: &[u8]) -> Result<usize, Refused> {
        Session::write_slice(self, now, key, data).map_err(|error| refused(self, error))
    }

    fn read(&mut self, now: Instant, key: Key, max: usize) -> Result<Option<Piece>, Refused> {
        match Session::read(self, now, key, max) {
            Ok(data) => Ok(data.map(|data| Piece {
                data,
                is_last: false,
            })),
            Err(ReadError::Blocked) => Err(Refused::Blocked),
            Err(ReadError::Reset(code)) => Err(Refused::Failed(StreamError::Reset(code.into()))),
            Err(ReadError::Stopped) => Err(Refused::Failed(StreamError::Finished)),
            Err(ReadError::Closed) => Err(Refused::Failed(closed(self))),
        }
    }

    fn send_error(&self, key: Key) -> Option<StreamError> {
        let error = Session::send_error(self, key)?;
        Some(write_error(self, error))
    }

    fn poll_flushed(&mut self, key: Key) -> Result<bool, StreamError> {
        Session::poll_flushed(self, key).map_err(|error| write_error(self, error))
    }

    fn finish(&mut self, now: Instant, key: Key) {
        Session::finish(self, now, key);
    }

    fn reset(&mut self, now: Instant, key: Key, code: u64) {
        Session::reset(self, now, key, wire_code(code));
    }

    fn stop(&mut self, now: Instant, key: Key, code: u64) {
        Session::stop(self, now, key, wire_code(code));
    }

    fn set_priority(&mut self, key: Key, priority: Priority) {
        Session::set_priority(self, key, priority);
    }

    fn release_send(&mut self, now: Instant, key: Key) {
        self.release(now, key, Half::Send);
    }

    fn release_receive(&mut self, now: Instant, key: Key) {
        self.release(now, key, Half::Recv);
    }

    fn open_streams(&self) -> usize {
        Session::open_streams(self)
    }

    fn drain(&mut self, now: Instant) {
        self.go_away(now);
    }

    fn close(&mut self, now: Instant, code: u64, reason: &str) {
        Session::close(self, now, wire_code(code), reason);
    }

    fn poll_news(&mut self) -> Option<News> {
        loop {
            return Some(match self.poll_event()? {
                Event::Readable(key) => News::Readable(key),
                Event::Writable(key) => News::Writable(key),
                Event::StreamReset(key) => News::Ended(key),
                Event::Acceptable => News::Acceptable(Dir::Bi),
                Event::OpenReady => News::Openable(Dir::Bi),
                Event::GoAway(_) => News::GoingAway,
                Event::Closed(reason) => News::Closed(reason),
                Event::Opened(_) => continue,
            });
        }
    }

    fn wants_transmit(&self) -> bool {
        Session::wants_transmit(self)
    }

    fn describe(&self, stats: &mut Stats) {
        let session = self.stats();
        stats.rtt = session.rtt;
        stats.sent = session.bytes_sent;
        stats.received = session.bytes_received;
        stats.memory_used = session.memory_used;
        stats.memory_limit = session.memory_limit;
        stats.discarded = session.bytes_discarded;
        let streams = self.streams().filter_map(|key| self.stream_stats(key));
        stats.streams.extend(streams.map(|stream| StreamStats {
            id: u64::from(stream.id),
            state: stream.state.name(),
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

fn bidirectional(dir: Dir) -> Result<(), ConnectionError> {
    match dir {
        Dir::Bi => Ok(()),
        Dir::Uni => Err(ConnectionError::NotCarried),
    }
}

fn refused(session: &Session, error: WriteError) -> Refused {
    match error {
        WriteError::Blocked => Refused::Blocked,
        error => Refused::Failed(write_error(session, error)),
    }
}

fn write_error(session: &Session, error: WriteError) -> StreamError {
    match error {
        WriteError::Reset(code) => StreamError::Reset(code.into()),
        WriteError::Closed => closed(session),
        WriteError::Blocked | WriteError::Finished => StreamError::Finished,
    }
}

/// The stream failed with its connection; or the handle outlived the stream.
fn closed(session: &Session) -> StreamError {
    match session.close_reason() {
        Some(reason) => StreamError::Closed(reason.clone()),
        None => StreamError::Finished,
    }
}

/// The carrier's field for a code has 32 bits.
fn wire_code(code: u64) -> u32 {
    u32::try_from(code).unwrap_or(u32::MAX)
}

/// What is known of the task that drives a session.
#[derive(Default)]
pub(super) struct TaskLink {
    /// The task, while it sleeps.
    driver: Option<Waker>,
    /// The carrier took no more when it was last asked: it wakes the task, not we.
    blocked: bool,
    /// The engine's time as last looked at. While the task is awake it is as old as its turn: a
    /// batch of calls does not read the clock for each.
    now: Instant,
}

impl Link for TaskLink {
    fn time(&mut self, read_clock: impl FnOnce() -> Instant) -> Instant {
        if self.driver.is_some() {
            // It slept, so the time that it noted is old.
            self.now = read_clock();
        }
        self.now
    }

    fn called(&mut self, wants_transmit: impl FnOnce() -> bool, is_over: bool) -> Option<Waker> {
        // While the task is awake there is nobody to wake.
        self.driver
            .take_if(|_| is_over || !self.blocked && wants_transmit())
    }
}

impl YamuxShared {
    /// The task begins a turn: nobody needs to wake it, and its time is what all calls go by.
    pub(super) fn begin_turn(&self) -> Instant {
        let now = self.clock.read();
        let mut state = self.lock();
        state.link.driver = None;
        state.link.now = now;
        now
    }

    /// The task wants to sleep: how many streams are open, or `None` when there is something to
    /// send that the carrier might take, which came up since it looked.
    pub(super) fn sleep(&self, cx: &Context<'_>) -> Option<usize> {
        let mut state = self.lock();
        if state.engine.wants_transmit() && !state.link.blocked {
            return None;
        }
        state.link.driver = Some(cx.waker().clone());
        Some(state.engine.open_streams())
    }

    /// What the carrier said to the last write.
    pub(super) fn set_carrier(&self, now: Instant, carrier: CarrierState) {
        let mut state = self.lock();
        state.link.blocked = carrier == CarrierState::Blocked;
        state.engine.handle_carrier(now, carrier);
    }
}
