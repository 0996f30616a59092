//! Streams of a [`Conn`], awaited.

use bytes::Bytes;
use weir_quic::{Dir, Half, Key, OpenError, ReadError, WriteError};

use crate::Conn;

/// As much as one read takes.
const CHUNK: usize = 256 * 1024;

impl Conn {
    /// Opens a stream as soon as the peer permits it.
    ///
    /// # Panics
    /// When it is never permitted.
    pub async fn open(&self, dir: Dir) -> Result<Key, OpenError> {
        self.until("a stream to open", |c, now, _| match c.open(now, dir) {
            Err(OpenError::Blocked) => None,
            result => Some(result),
        })
        .await
    }

    /// The next stream of the peer; `None` when the connection ended instead.
    pub async fn accept(&self, dir: Dir) -> Option<Key> {
        loop {
            let next = self.poll_accept(dir);
            if let Ok(next) = next.await {
                return next;
            }
        }
    }

    /// As [`Conn::accept`], but a wait that was in vain is no failure.
    async fn poll_accept(&self, dir: Dir) -> Result<Option<Key>, ()> {
        let found = self.until_or_late(|c, now, _| match c.accept(now, dir) {
            Some(key) => Some(Some(key)),
            None if c.close_reason().is_some() => Some(None),
            None => None,
        });
        found.await.ok_or(())
    }

    /// Writes all of `data`.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn write_all(&self, key: Key, data: impl Into<Bytes>) -> Result<(), WriteError> {
        let mut data = data.into();
        self.until("room to write", |c, now, _| {
            while !data.is_empty() {
                match c.write(now, key, &mut data) {
                    Ok(_) => {}
                    Err(WriteError::Blocked) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(Ok(()))
        })
        .await
    }

    /// No more is written on the stream.
    pub fn finish(&self, key: Key) {
        self.with(|c, now| c.finish(now, key));
    }

    /// Some bytes; `None` at the end of the stream.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn read(&self, key: Key) -> Result<Option<Bytes>, ReadError> {
        self.until("bytes to read", |c, now, _| match c.read(now, key, CHUNK) {
            Err(ReadError::Blocked) => None,
            result => Some(result),
        })
        .await
    }

    /// All bytes of the stream.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn read_all(&self, key: Key) -> Result<Vec<u8>, ReadError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.read(key).await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// This side is done with the stream.
    pub fn release(&self, key: Key, half: Half) {
        self.with(|c, now| c.release(now, key, half));
    }
}
