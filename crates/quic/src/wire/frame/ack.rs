//! ACK frames (RFC 9000 section 19.3): checked once, then walked in place.

use core::ops::RangeInclusive;

use crate::wire::varint::{Reader, Truncated};

/// ECN counts of an ACK frame (RFC 9000 section 19.3.2), in packets.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct EcnCounts {
    /// Packets received with ECT(0).
    pub ect0: u64,
    /// Packets received with ECT(1).
    pub ect1: u64,
    /// Packets received with ECN-CE.
    pub ce: u64,
}

/// An ACK frame whose ranges all lie at or above 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The largest packet number acknowledged.
    pub largest: u64,
    /// The ACK Delay field as it is on the wire: to be scaled by the sender's exponent.
    pub delay: u64,
    /// The ECN counts, if the frame has them.
    pub ecn: Option<EcnCounts>,
    /// How many numbers below the largest are acknowledged in its range.
    first_range: u64,
    /// The pairs of Gap and ACK Range Length, all of them valid.
    pairs: &'a [u8],
}

/// Why an ACK frame cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum AckError {
    Truncated,
    BelowZero,
}

impl From<Truncated> for AckError {
    fn from(_: Truncated) -> AckError {
        AckError::Truncated
    }
}

impl<'a> Ack<'a> {
    /// Reads what follows the type. Takes as many steps as the frame has ranges, each of which has
    /// at least two bytes.
    pub(super) fn decode(reader: &mut Reader<'a>, with_ecn: bool) -> Result<Ack<'a>, AckError> {
        let largest = reader.varint()?;
        let delay = reader.varint()?;
        let count = reader.varint()?;
        let first_range = reader.varint()?;
        let mut smallest = largest
            .checked_sub(first_range)
            .ok_or(AckError::BelowZero)?;
        let start = reader.rest();
        for _ in 0..count {
            let gap = reader.varint()?;
            let len = reader.varint()?;
            smallest = next_largest(smallest, gap)
                .and_then(|largest| largest.checked_sub(len))
                .ok_or(AckError::BelowZero)?;
        }
        let used = start.len().saturating_sub(reader.remaining());
        let ecn = if with_ecn {
            Some(EcnCounts {
                ect0: reader.varint()?,
                ect1: reader.varint()?,
                ce: reader.varint()?,
            })
        } else {
            None
        };
        Ok(Ack {
            largest,
            delay,
            ecn,
            first_range,
            pairs: start.get(..used).unwrap_or_default(),
        })
    }

    /// The ranges acknowledged, from the highest downwards. They never overlap or touch.
    #[inline]
    #[must_use]
    pub fn ranges(&self) -> Ranges<'a> {
        Ranges {
            next: Some((self.largest, self.first_range)),
            pairs: Reader::new(self.pairs),
        }
    }
}

/// The largest number of the range behind a gap (RFC 9000 section 19.3.1).
#[inline]
fn next_largest(smallest: u64, gap: u64) -> Option<u64> {
    smallest.checked_sub(gap)?.checked_sub(2)
}

/// Iterator over the ranges of an [`Ack`].
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    /// Largest number and length of the range that is next.
    next: Option<(u64, u64)>,
    pairs: Reader<'a>,
}

impl Iterator for Ranges<'_> {
    type Item = RangeInclusive<u64>;

    #[inline]
    fn next(&mut self) -> Option<RangeInclusive<u64>> {
        let (largest, len) = self.next?;
        let smallest = largest.saturating_sub(len);
        self.next = self.following(smallest);
        Some(smallest..=largest)
    }
}

impl Ranges<'_> {
    /// The pairs were checked when the frame was read, so `None` is only their end.
    #[inline]
    fn following(&mut self, smallest: u64) -> Option<(u64, u64)> {
        let gap = self.pairs.varint().ok()?;
        let len = self.pairs.varint().ok()?;
        Some((next_largest(smallest, gap)?, len))
    }
}
