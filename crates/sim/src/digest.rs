//! A running hash of all that happened, to tell whether two runs were the same.

use weir_core::time::Instant;

/// Folds events into 64 bits. Not for security: it compares runs of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }

    /// An event of some `kind` at a time, with two numbers and bytes of its own.
    pub(crate) fn event(&mut self, kind: u8, at: Instant, a: u64, b: u64, bytes: &[u8]) {
        self.word(u64::from(kind) ^ at.as_nanos().rotate_left(8));
        self.word(a);
        self.word(b);
        self.bytes(bytes);
    }

    /// Eight bytes a step: a simulation moves gigabytes, and this stands on their way.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn word(&mut self, word: u64) {
        // A folded multiply: both halves of the product, so that high bits reach low ones.
        let product = u128::from(self.0 ^ word) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ self.0.rotate_left(23);
    }
}
