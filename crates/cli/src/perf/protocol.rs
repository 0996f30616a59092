//! What the perf client asks of the perf server.
//!
//! A stream (a connection, for the ways that carry one stream each) begins with a request of 16 bytes,
//! integers in network order:
//!
//! ```text
//!  0        1        2                 4                                 8               16
//! +--------+--------+-----------------+---------------------------------+----------------+
//! | 1      | work   | 0               | length                          | argument       |
//! +--------+--------+-----------------+---------------------------------+----------------+
//! ```
//!
//! | work | name | what follows |
//! |---|---|---|
//! | 1 | down | the server sends `argument` bytes, then its end of stream |
//! | 2 | up | the client sends any number of bytes and its end of stream; the server answers their count (8 bytes) and ends |
//! | 3 | exchange | the request is padded to `length` bytes in all; the server answers `argument` bytes and ends. On a connection of its own nobody ends: the next request follows |
//! | 4 | park | the server answers a status, then holds the next `argument` streams of this connection (the next connections, where each is a stream): it sends back the first byte of each and leaves it alone; when it has them all it answers a second status. They are let go when the client ends this stream |
//! | 5 | status | the server answers a status and ends |
//!
//! A status is 24 bytes: resident memory in KiB, CPU time spent in nanoseconds, streams parked. A stream
//! that ends without a request is answered by an end. Anything else is answered by a reset.

use crate::pipe::{Pipe, PipeError};
use crate::usage;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::LazyLock;

/// Bytes of a request's header.
pub(crate) const HEADER: usize = 16;
/// Bytes of a status.
pub(crate) const STATUS: usize = 24;
/// The longest request or answer of an exchange: it is a round trip that is measured, not a bulk.
pub(crate) const EXCHANGE_MAX: u64 = 1 << 20;
/// The most streams that may be parked.
pub(crate) const PARK_MAX: u64 = 1 << 20;

const VERSION: u8 = 1;
const BLOCK: usize = 1 << 20;

/// What a stream asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Send so many bytes.
    Down(u64),
    /// Take bytes to the end and say how many they were.
    Up,
    /// Take a request of `length` bytes in all, answer so many.
    Exchange {
        /// Length of the request, its header included.
        length: u32,
        /// Length of the answer.
        answer: u64,
    },
    /// Hold the next so many streams idle.
    Park(u64),
    /// Say what the server uses.
    Status,
}

impl Request {
    /// The 16 bytes of this request.
    pub(crate) fn header(self) -> [u8; HEADER] {
        let (work, length, argument) = match self {
            Self::Down(bytes) => (1, HEADER as u32, bytes),
            Self::Up => (2, HEADER as u32, 0),
            Self::Exchange { length, answer } => (3, length, answer),
            Self::Park(streams) => (4, HEADER as u32, streams),
            Self::Status => (5, HEADER as u32, 0),
        };
        let mut bytes = [0; HEADER];
        let mut out = bytes.as_mut_slice();
        out.put_u8(VERSION);
        out.put_u8(work);
        out.put_u16(0);
        out.put_u32(length);
        out.put_u64(argument);
        bytes
    }

    /// The whole request as it is sent, an exchange with its padding.
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::from(self.header().as_slice());
        if let Self::Exchange { length, .. } = self {
            bytes.resize((length as usize).max(HEADER), 0x77);
        }
        bytes.freeze()
    }

    /// Reads a header; `None` when it asks for nothing known or for more than the limits.
    pub(crate) fn decode(header: &[u8; HEADER]) -> Option<Self> {
        let [VERSION, work, 0, 0, l0, l1, l2, l3, argument @ ..] = header else {
            return None;
        };
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]);
        let argument = u64::from_be_bytes(*argument);
        match work {
            1 => Some(Self::Down(argument)),
            2 => Some(Self::Up),
            3 if (HEADER as u64..=EXCHANGE_MAX).contains(&u64::from(length))
                && argument <= EXCHANGE_MAX =>
            {
                Some(Self::Exchange {
                    length,
                    answer: argument,
                })
            }
            4 if argument <= PARK_MAX => Some(Self::Park(argument)),
            5 => Some(Self::Status),
            _ => None,
        }
    }
}

/// What a server says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Resident memory, KiB.
    pub(crate) rss_kib: u64,
    /// CPU time since it started, nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Streams it holds parked.
    pub(crate) parked: u64,
}

impl Status {
    /// What this process uses now.
    pub(crate) fn now(parked: u64) -> Self {
        let cpu_ns = u64::try_from(usage::cpu().as_nanos()).unwrap_or(u64::MAX);
        Self {
            rss_kib: usage::rss_kib(),
            cpu_ns,
            parked,
        }
    }

    /// As it is sent.
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(STATUS);
        bytes.put_u64(self.rss_kib);
        bytes.put_u64(self.cpu_ns);
        bytes.put_u64(self.parked);
        bytes.freeze()
    }

    /// Reads one from the stream.
    pub(crate) async fn receive(pipe: &mut Pipe) -> Result<Self, PipeError> {
        let mut bytes = [0; STATUS];
        if !pipe.receive_exact(&mut bytes).await? {
            return Err(PipeError::Short {
                missing: STATUS as u64,
            });
        }
        let mut fields = bytes.as_slice();
        let [rss_kib, cpu_ns, parked] = [0; 3].map(|_: u8| fields.get_u64());
        Ok(Self {
            rss_kib,
            cpu_ns,
            parked,
        })
    }
}

/// The bytes that bulk transfers send, over and over: 1 MiB that no link can compress.
pub(crate) fn block() -> Bytes {
    static DATA: LazyLock<Bytes> = LazyLock::new(|| {
        // xorshift64 with Marsaglia's shifts: uniform enough, and no dependency.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut data = BytesMut::with_capacity(BLOCK);
        while data.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            data.put_u64(state);
        }
        data.freeze()
    });
    DATA.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip() {
        for request in [
            Request::Down(u64::MAX),
            Request::Up,
            Request::Exchange {
                length: 1024,
                answer: 1024,
            },
            Request::Park(10_000),
            Request::Status,
        ] {
            assert_eq!(Request::decode(&request.header()), Some(request));
        }
        assert_eq!(
            Request::Exchange {
                length: 1024,
                answer: 1
            }
            .encode()
            .len(),
            1024
        );
        assert_eq!(Request::Up.encode().len(), HEADER);
    }

    #[test]
    fn what_is_unknown_or_beyond_the_limits_is_refused() {
        let mut version = Request::Up.header();
        version[0] = 2;
        assert_eq!(Request::decode(&version), None);
        let mut reserved = Request::Up.header();
        reserved[3] = 1;
        assert_eq!(Request::decode(&reserved), None);
        let mut work = Request::Up.header();
        work[1] = 9;
        assert_eq!(Request::decode(&work), None);
        for refused in [
            Request::Exchange {
                length: 15,
                answer: 1,
            },
            Request::Exchange {
                length: 1 << 21,
                answer: 1,
            },
            Request::Exchange {
                length: 1024,
                answer: EXCHANGE_MAX + 1,
            },
            Request::Park(PARK_MAX + 1),
        ] {
            assert_eq!(Request::decode(&refused.header()), None);
        }
    }

    #[test]
    fn the_block_does_not_repeat_itself_soon() {
        let block = block();
        assert_eq!(block.len(), BLOCK);
        let words: std::collections::HashSet<&[u8]> = block.chunks(8).collect();
        assert_eq!(words.len(), BLOCK / 8);
    }
}
