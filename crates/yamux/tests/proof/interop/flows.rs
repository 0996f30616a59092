//! What is done on our streams.

use super::ours::{Flow, read};
use crate::proof::pattern;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use weir_core::time::Instant;
use weir_yamux::{Key, ReadError, Session, WriteError};

/// Writes what was read back, and the end after it.
#[derive(Default)]
pub struct Echo {
    waiting: Bytes,
    ended: bool,
}

impl Flow for Echo {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool {
        loop {
            while !self.waiting.is_empty() {
                match session.write(now, key, &mut self.waiting) {
                    Ok(_) => {}
                    Err(WriteError::Blocked) => return false,
                    Err(error) => panic!("write: {error}"),
                }
            }
            if self.ended {
                session.finish(now, key);
                return true;
            }
            match read(session, now, key) {
                Some(Some(bytes)) => self.waiting = bytes,
                Some(None) => self.ended = true,
                None => return false,
            }
        }
    }
}

/// Sends so many bytes of a pattern and the end, and wants so many of another back.
pub struct Exchange {
    name: u64,
    to_send: u64,
    sent: u64,
    finished: bool,
    to_read: u64,
    read: u64,
    /// Nothing is read before all is sent.
    in_turns: bool,
}

impl Exchange {
    /// Both at the same time; what comes back is what was sent.
    pub fn echo(name: u64, bytes: u64) -> Exchange {
        Exchange {
            name,
            to_send: bytes,
            sent: 0,
            finished: false,
            to_read: bytes,
            read: 0,
            in_turns: false,
        }
    }

    /// First one way to its end, then the other.
    pub fn half_close(name: u64, there: u64, back: u64) -> Exchange {
        Exchange {
            to_read: back,
            in_turns: true,
            ..Exchange::echo(name, there)
        }
    }

    fn send(&mut self, session: &mut Session, now: Instant, key: Key) {
        while self.sent < self.to_send {
            let count = usize::try_from((self.to_send - self.sent).min(128 * 1024)).unwrap();
            let mut bytes = Bytes::from(pattern::bytes(self.name, self.sent, count));
            match session.write(now, key, &mut bytes) {
                Ok(taken) => self.sent += taken as u64,
                Err(WriteError::Blocked) => return,
                Err(error) => panic!("write: {error}"),
            }
        }
        if !std::mem::replace(&mut self.finished, true) {
            session.finish(now, key);
        }
    }
}

impl Flow for Exchange {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool {
        self.send(session, now, key);
        if self.in_turns && !self.finished {
            return false;
        }
        loop {
            match read(session, now, key) {
                Some(Some(bytes)) => {
                    let wrong = pattern::first_difference(self.name, self.read, &bytes);
                    assert_eq!(wrong, None, "from offset {}", self.read);
                    self.read += bytes.len() as u64;
                }
                Some(None) => {
                    assert_eq!(self.read, self.to_read);
                    return self.finished;
                }
                None => return false,
            }
        }
    }
}

/// Reads to the end, checks, then answers with so many bytes.
pub struct Answer {
    name: u64,
    read: u64,
    back: Exchange,
    ended: bool,
}

impl Answer {
    pub fn new(name: u64, back: u64) -> Answer {
        let back = Exchange {
            to_read: 0,
            ..Exchange::echo(name, back)
        };
        Answer {
            name,
            read: 0,
            back,
            ended: false,
        }
    }
}

impl Flow for Answer {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool {
        while !self.ended {
            match read(session, now, key) {
                Some(Some(bytes)) => {
                    assert_eq!(
                        pattern::first_difference(self.name, self.read, &bytes),
                        None
                    );
                    self.read += bytes.len() as u64;
                }
                Some(None) => self.ended = true,
                None => return false,
            }
        }
        self.back.send(session, now, key);
        self.back.finished
    }
}

/// Writes a little, waits for the first byte, then resets the stream.
#[derive(Default)]
pub struct ResetAfterFirst {
    wrote: bool,
}

impl Flow for ResetAfterFirst {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool {
        if !std::mem::replace(&mut self.wrote, true) {
            session
                .write(now, key, &mut Bytes::from_static(b"hello"))
                .unwrap();
        }
        match read(session, now, key) {
            Some(Some(_)) => {
                session.reset(now, key, 7);
                true
            }
            Some(None) => panic!("the stream ended"),
            None => false,
        }
    }
}

/// Writes a little, and counts when the peer resets the stream.
pub struct ExpectReset {
    pub seen: Arc<AtomicU64>,
    pub wrote: bool,
}

impl Flow for ExpectReset {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool {
        if !std::mem::replace(&mut self.wrote, true) {
            session
                .write(now, key, &mut Bytes::from_static(b"hello"))
                .unwrap();
        }
        loop {
            match session.read(now, key, usize::MAX) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended well"),
                Err(ReadError::Blocked) => return false,
                Err(ReadError::Reset(_)) => {
                    self.seen.fetch_add(1, Relaxed);
                    return true;
                }
                Err(error) => panic!("read: {error}"),
            }
        }
    }
}

/// Writes a little and then waits for the end of everything, however it comes.
#[derive(Default)]
pub struct Linger {
    wrote: bool,
}

impl Flow for Linger {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool {
        if !std::mem::replace(&mut self.wrote, true) {
            session
                .write(now, key, &mut Bytes::from_static(b"hello"))
                .unwrap();
        }
        loop {
            match session.read(now, key, usize::MAX) {
                Ok(Some(_)) => {}
                Err(ReadError::Blocked) => return false,
                Ok(None) | Err(_) => return true,
            }
        }
    }
}
