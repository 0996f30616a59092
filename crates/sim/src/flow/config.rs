//! What a pipe is like.

use weir_core::rng::{Rng, between};
use weir_core::time::{Duration, Instant};

use crate::error::ConfigError;
use crate::random::one_in;
use crate::schedule::Schedule;

/// One direction of a byte pipe: a TCP connection, as those who use it see it. The default
/// is a pipe without delay that holds 256 KiB.
#[derive(Clone, Debug, PartialEq)]
pub struct PipeConfig {
    /// Bits per second; `None` takes no time.
    pub rate: Option<u64>,
    /// One-way delay. The room that reading makes is known to the writer after the same time, as
    /// a TCP window update is; so a pipe carries `buffer` bytes a round trip at most.
    pub delay: Duration,
    /// Extra delay of each segment, uniform in `0..=jitter`; order is kept.
    pub jitter: Duration,
    /// Probability that a segment is lost on its way, each time it is sent. It is sent again after
    /// `recovery`, and what is behind it waits: a reader notices nothing but time.
    pub loss: f64,
    /// How much later a segment arrives for each time that it was lost.
    pub recovery: Duration,
    /// Bytes between writer and reader: written, and not known to be read. A writer that reaches
    /// it is refused until the reader has read. This is the back-pressure.
    pub buffer: usize,
    /// Greatest run of bytes that arrives at one time.
    pub segment: usize,
    /// How bytes are cut into reads.
    pub chunking: Chunking,
    /// When nothing moves: bytes that would arrive then arrive at the end of the stall. A reader
    /// notices nothing but time, as with an outage that TCP bridges.
    pub stalls: Schedule,
    /// An end by force.
    pub cut: Option<Cut>,
}

impl Default for PipeConfig {
    fn default() -> Self {
        Self {
            rate: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            recovery: Duration::from_millis(200),
            buffer: 256 * 1024,
            segment: 16 * 1024,
            chunking: Chunking::Coalesced,
            stalls: Schedule::never(),
            cut: None,
        }
    }
}

impl PipeConfig {
    /// A connection such as there are, some of them bad, and cut in any way that reads can be: for
    /// campaigns over many seeds. It is never cut off, stalls are shorter than three seconds, and it
    /// carries 17 kB a second at the very least (4 KiB a round trip of 240 ms).
    #[must_use]
    pub fn rough(rng: &mut Rng) -> Self {
        let high = 1 << between(rng, 0, 16);
        let chunking = match between(rng, 0, 3) {
            0 => Chunking::AsWritten,
            1 => Chunking::Fixed(high),
            2 => Chunking::Random { low: 1, high },
            _ => Chunking::Coalesced,
        };
        Self {
            // 1 Mbit/s to 1 Gbit/s, as many slow ones as fast ones.
            rate: one_in(rng, 2, |rng| Some(1_000_000 << between(rng, 0, 10))),
            delay: Duration::from_micros(between(rng, 0, 100_000)),
            jitter: one_in(rng, 3, |rng| Duration::from_micros(between(rng, 0, 20_000))),
            loss: 0.0,
            recovery: Duration::ZERO,
            buffer: 1 << between(rng, 12, 20),
            segment: 1 << between(rng, 6, 16),
            chunking,
            stalls: one_in(rng, 4, |rng| {
                let from = Instant::from_millis(between(rng, 0, 5_000));
                Schedule::once(from, Duration::from_millis(between(rng, 1, 3_000)))
            }),
            cut: None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range, with its value and the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(rate) = self.rate {
            ConfigError::positive("rate", rate)?;
        }
        ConfigError::probability("loss", self.loss)?;
        ConfigError::positive("buffer", self.buffer as u64)?;
        ConfigError::positive("segment", self.segment as u64)?;
        match self.chunking {
            Chunking::Fixed(size) => ConfigError::positive("chunking", size as u64)?,
            Chunking::Random { low, high } => {
                ConfigError::positive("chunking.low", low as u64)?;
                if high < low {
                    let (value, allowed) = (high.to_string(), "at least chunking.low");
                    return Err(ConfigError {
                        field: "chunking.high",
                        value,
                        allowed,
                    });
                }
            }
            Chunking::Coalesced | Chunking::AsWritten => {}
        }
        self.stalls.validate("stalls")
    }
}

/// How the bytes that have arrived are cut into reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// A read takes all that has arrived, as from a kernel's socket.
    Coalesced,
    /// A read takes one piece as it was written, without a copy (pieces above
    /// [`PipeConfig::segment`] come in several).
    AsWritten,
    /// A read takes this many bytes, or what there is: 1 shows every seam of a parser.
    Fixed(usize),
    /// A read takes a random number of bytes in `low..=high`, or what there is.
    Random {
        /// Fewest bytes.
        low: usize,
        /// Most bytes.
        high: usize,
    },
}

/// An end by force, of a whole pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When.
    pub when: CutAt,
    /// How it looks at both ends.
    pub how: Ending,
}

/// When a pipe is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// At a time.
    Time(Instant),
    /// When this many bytes have arrived in this direction; the rest never does.
    Bytes(u64),
}

/// How a direction of a pipe ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Orderly: after the bytes that arrived, the reader sees the end.
    Eof,
    /// By a reset: bytes that were not read yet are gone.
    Reset,
}
