//! One stream of an application: what is written is a pattern, what is read is compared with it.

use bytes::Bytes;
use weir_core::slab::Key;
use weir_core::time::Instant;

use super::plan::{RESET, STOP, StreamPlan, of};
use crate::connection::Connection;
use crate::stream::{Half, ReadError, WriteError};
use crate::wire::Side;

/// Where one half stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Bytes are written or read.
    Running,
    /// All is written; the peer has not acknowledged all of it.
    Flushing,
    Over,
}

/// A stream in use.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) plan: StreamPlan,
    pub(super) key: Key,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) send: Stage,
    pub(super) recv: Stage,
    /// An event said that it is worth a try.
    pub(super) may_write: bool,
    pub(super) may_read: bool,
    released: bool,
}

impl Running {
    pub(super) fn new(plan: StreamPlan, key: Key, side: Side) -> Running {
        let stage = |has: bool| if has { Stage::Running } else { Stage::Over };
        Running {
            key,
            written: 0,
            read: 0,
            send: stage(plan.sends(side)),
            recv: stage(plan.sends(side.peer())),
            may_write: true,
            may_read: true,
            released: false,
            plan,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.released
    }

    /// Writes and reads what it can; `allowance` bounds the reading. True when anything moved.
    pub(super) fn step(
        &mut self,
        now: Instant,
        connection: &mut Connection,
        allowance: &mut usize,
    ) -> bool {
        let side = connection.side();
        let before = (self.written, self.read, self.send, self.recv);
        while self.may_write && self.send == Stage::Running {
            self.write(now, side, connection);
        }
        if self.may_write && self.send == Stage::Flushing {
            self.flush(connection);
        }
        while self.may_read && self.recv == Stage::Running && *allowance > 0 {
            self.read(now, side, connection, allowance);
        }
        if self.send == Stage::Over && self.recv == Stage::Over && !self.released {
            self.released = true;
            connection.release(now, self.key, Half::Send);
            connection.release(now, self.key, Half::Recv);
        }
        before != (self.written, self.read, self.send, self.recv)
    }

    fn write(&mut self, now: Instant, side: Side, connection: &mut Connection) {
        if let Some(after) = self.plan.reset[of(side)]
            && self.written >= after
        {
            connection.reset(now, self.key, RESET);
            self.send = Stage::Over;
            return;
        }
        let left = self.plan.size[of(side)] - self.written;
        if left == 0 {
            connection.finish(now, self.key);
            self.send = Stage::Flushing;
            return;
        }
        let len = left.min(self.plan.piece as u64);
        let bytes: Vec<u8> = (0..len)
            .map(|n| self.plan.byte(side, self.written + n))
            .collect();
        let result = if self.plan.piece.is_multiple_of(2) {
            connection.write(now, self.key, &mut Bytes::from(bytes))
        } else {
            connection.write_slice(now, self.key, &bytes)
        };
        match result {
            Ok(n) => {
                assert!(n > 0 && n as u64 <= len, "{n} of {len} bytes were written");
                self.written += n as u64;
            }
            Err(error) => self.on_write_error(error, side),
        }
    }

    fn on_write_error(&mut self, error: WriteError, side: Side) {
        match error {
            WriteError::Blocked => self.may_write = false,
            WriteError::Stopped(code) => {
                let planned = self.plan.stop[of(side.peer())].is_some();
                assert!(planned && code == STOP, "stopped: {code} {:?}", self.plan);
                self.send = Stage::Over;
            }
            WriteError::Closed => self.send = Stage::Over,
            error => panic!("{error}: {:?}", self.plan),
        }
    }

    fn flush(&mut self, connection: &mut Connection) {
        match connection.poll_flushed(self.key) {
            Ok(true) => self.send = Stage::Over,
            Ok(false) => self.may_write = false,
            Err(error) => self.on_write_error(error, connection.side()),
        }
    }

    fn read(
        &mut self,
        now: Instant,
        side: Side,
        connection: &mut Connection,
        allowance: &mut usize,
    ) {
        let peer = side.peer();
        if let Some(after) = self.plan.stop[of(side)]
            && self.read >= after
        {
            connection.stop(now, self.key, STOP);
            self.recv = Stage::Over;
            return;
        }
        match connection.read(now, self.key, *allowance) {
            Ok(Some(bytes)) => {
                assert!(!bytes.is_empty() && bytes.len() <= *allowance);
                for (n, byte) in bytes.iter().enumerate() {
                    let offset = self.read + n as u64;
                    let expected = self.plan.byte(peer, offset);
                    assert!(*byte == expected, "byte {offset} of {:?}", self.plan);
                }
                self.read += bytes.len() as u64;
                *allowance -= bytes.len();
            }
            Ok(None) => {
                assert_eq!(self.read, self.plan.size[of(peer)], "{:?}", self.plan);
                self.recv = Stage::Over;
            }
            Err(ReadError::Blocked) => self.may_read = false,
            Err(ReadError::Reset(code)) => {
                let reset = self.plan.reset[of(peer)].is_some() && code == RESET;
                let stopped = self.plan.stop[of(side)].is_some() && code == STOP;
                assert!(reset || stopped, "reset: {code} {:?}", self.plan);
                self.recv = Stage::Over;
            }
            Err(ReadError::Closed) => self.recv = Stage::Over,
            Err(error) => panic!("{error}: {:?}", self.plan),
        }
    }
}
