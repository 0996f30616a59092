//! Memory of a connection's streams: what they hold, and what is kept for the next one.

use weir_core::budget::{Budget, BudgetExceeded, Share};
use weir_core::buf::{Assembler, Chunks, SendBuffer};
use weir_core::time::{Duration, Instant, nanos};

use super::limits::{AMPLE_CHUNKS, KEPT_BUFFERS, MEMORY_STEP};

/// Bytes held, reserved in steps: most changes touch no shared counter.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: u64,
    share: Share,
}

impl Held {
    /// Bytes in use.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are reserved and not in use.
    #[inline]
    pub(super) fn spare(&self) -> u64 {
        self.share.held().saturating_sub(self.bytes)
    }

    /// Holds `bytes` more.
    ///
    /// # Errors
    /// The budget has no room; nothing changes.
    #[inline]
    pub(super) fn add(&mut self, budget: &Budget, bytes: u64) -> Result<(), BudgetExceeded> {
        let sum = self.bytes.saturating_add(bytes);
        reserve(&mut self.share, budget, sum)?;
        self.bytes = sum;
        Ok(())
    }

    /// Holds `bytes` less.
    #[inline]
    pub(super) fn sub(&mut self, budget: &Budget, bytes: u64) {
        debug_assert!(bytes <= self.bytes, "gave back more than was held");
        self.bytes = self.bytes.saturating_sub(bytes);
        relax(&mut self.share, budget, self.bytes);
    }

    /// Gives back what is not in use.
    pub(super) fn trim(&mut self, budget: &Budget) {
        self.share.shrink_to(budget, self.bytes);
    }
}

/// Makes `share` hold `needed` bytes, and a step more when there is room.
#[inline]
pub(super) fn reserve(
    share: &mut Share,
    budget: &Budget,
    needed: u64,
) -> Result<(), BudgetExceeded> {
    if needed <= share.held() {
        return Ok(());
    }
    share
        .grow_to(budget, needed.saturating_add(MEMORY_STEP))
        .or_else(|_| share.grow_to(budget, needed))
}

/// Gives back what `share` holds beyond `needed`, when that is more than two steps.
#[inline]
pub(super) fn relax(share: &mut Share, budget: &Budget, needed: u64) {
    if share.held() > needed.saturating_add(2 * MEMORY_STEP) {
        share.shrink_to(budget, needed.saturating_add(MEMORY_STEP));
    }
}

/// Buffers without a stream. A stream has one only while it has bytes, so an idle stream pays
/// nothing, and one that opens and closes takes its predecessor's.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) chunks: Chunks,
    #[expect(clippy::vec_box, reason = "they move between here and the streams")]
    senders: Vec<Box<SendBuffer>>,
    #[expect(clippy::vec_box, reason = "they move between here and the streams")]
    assemblers: Vec<Box<Assembler>>,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers {
            chunks: Chunks::new(AMPLE_CHUNKS),
            senders: Vec::new(),
            assemblers: Vec::new(),
        }
    }

    /// An empty send buffer whose first byte has the offset `start`.
    #[inline]
    pub(super) fn sender(&mut self, start: u64) -> Box<SendBuffer> {
        match self.senders.pop() {
            Some(mut buffer) => {
                buffer.restart(start, &mut self.chunks);
                buffer
            }
            None => Box::new(SendBuffer::new(start)),
        }
    }

    /// An empty assembler whose first byte has the offset `start`. How far ahead bytes may lie is
    /// for flow control to say. About `expected` bytes come at once.
    #[inline]
    pub(super) fn assembler(&mut self, start: u64, expected: usize) -> Box<Assembler> {
        let mut assembler = match self.assemblers.pop() {
            Some(mut assembler) => {
                assembler.restart(start, &mut self.chunks);
                assembler
            }
            None => Box::new(Assembler::new(start, u64::MAX)),
        };
        assembler.expect(expected);
        assembler
    }

    #[inline]
    pub(super) fn keep_sender(&mut self, mut buffer: Box<SendBuffer>) {
        buffer.restart(0, &mut self.chunks);
        if self.senders.len() < KEPT_BUFFERS {
            self.senders.push(buffer);
        }
    }

    #[inline]
    pub(super) fn keep_assembler(&mut self, mut assembler: Box<Assembler>) {
        assembler.restart(0, &mut self.chunks);
        if self.assemblers.len() < KEPT_BUFFERS {
            self.assemblers.push(assembler);
        }
    }

    /// True when nothing is kept.
    pub(super) fn is_trimmed(&self) -> bool {
        self.senders.is_empty() && self.assemblers.is_empty() && self.chunks.is_trimmed()
    }

    /// Frees what is kept.
    pub(super) fn trim(&mut self) {
        self.senders = Vec::new();
        self.assemblers = Vec::new();
        self.chunks.trim();
    }
}

/// How many unanswered streams the peer may still reset: a bucket of tokens, one a reset, filled
/// again with time.
#[derive(Debug)]
pub(super) struct ResetBucket {
    /// Billionths of tokens, so that time in nanoseconds fills it without rounding.
    level: u64,
    full: u64,
    rate: u64,
    filled_at: Instant,
}

const TOKEN: u64 = 1_000_000_000;

impl ResetBucket {
    pub(super) fn new(burst: u32, rate: u32) -> ResetBucket {
        let full = u64::from(burst).saturating_mul(TOKEN);
        ResetBucket {
            level: full,
            full,
            rate: u64::from(rate),
            filled_at: Instant::ZERO,
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let left = self.level.checked_sub(TOKEN);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    /// Takes up to `most` tokens and says how many there were.
    pub(super) fn take_up_to(&mut self, now: Instant, most: u64) -> u64 {
        self.fill(now);
        let taken = (self.level / TOKEN).min(most);
        self.level = self.level.saturating_sub(taken.saturating_mul(TOKEN));
        taken
    }

    fn fill(&mut self, now: Instant) {
        let elapsed: Duration = now.saturating_duration_since(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        let tokens = nanos(elapsed).saturating_mul(self.rate);
        self.level = self.level.saturating_add(tokens).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_and_given_back_in_steps() {
        let budget = Budget::root("connection", 100_000);
        let mut held = Held::default();
        held.add(&budget, 10_000).unwrap();
        assert_eq!((budget.used(), held.spare()), (26_384, 16_384));
        held.add(&budget, 16_000).unwrap();
        assert_eq!(budget.used(), 26_384);
        // Near the limit exactly what is needed is taken.
        held.add(&budget, 70_000).unwrap();
        assert_eq!((held.bytes(), budget.used()), (96_000, 96_000));
        assert!(held.add(&budget, 5_000).is_err());
        held.sub(&budget, 95_000);
        assert_eq!(budget.used(), 1_000 + MEMORY_STEP);
        held.trim(&budget);
        assert_eq!(budget.used(), 1_000);
    }

    // Q172
    #[test]
    fn the_bucket_empties_by_resets_and_fills_with_time() {
        let mut bucket = ResetBucket::new(3, 2);
        assert!((0..3).all(|_| bucket.take(Instant::ZERO)));
        assert!(!bucket.take(Instant::from_millis(499)));
        assert!(bucket.take(Instant::from_millis(500)));
        assert_eq!(bucket.take_up_to(Instant::from_millis(1600), 9), 2);
        assert_eq!(bucket.take_up_to(Instant::from_millis(90_000), 9), 3);
    }
}
