//! Variable-length integers (RFC 9000 section 16), and the reader that all decoders share.

#![deny(clippy::arithmetic_side_effects)]

use thiserror::Error;

/// Largest value of a variable-length integer: 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// The bytes end before the value does.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("the bytes end before the value does")]
pub struct Truncated;

/// How many bytes the shortest encoding of `value` has: 1, 2, 4 or 8.
#[inline]
#[must_use]
pub const fn size(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends the shortest encoding of `value`, which is at most [`MAX`]; what is larger is a mistake
/// of the caller and is written as [`MAX`].
#[inline]
pub fn encode(value: u64, out: &mut Vec<u8>) {
    debug_assert!(value <= MAX, "{value} has no encoding");
    match size(value) {
        1 => out.push(value as u8),
        2 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        4 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value.min(MAX) | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// `value`, at most 16,383, in two bytes whatever it is: for a length that is known only later.
#[inline]
#[must_use]
pub const fn two_bytes(value: u16) -> [u8; 2] {
    (value & 0x3fff | 0x4000).to_be_bytes()
}

/// `value`, at most 2^30 - 1, in four bytes whatever it is.
#[inline]
#[must_use]
pub const fn four_bytes(value: u32) -> [u8; 4] {
    (value & 0x3fff_ffff | 0x8000_0000).to_be_bytes()
}

/// Takes values from the front of a slice. Nothing is copied, and nothing here can panic.
#[derive(Copy, Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What was not read yet.
    #[inline]
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes were not read yet.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True when all was read.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    #[inline]
    pub fn take_rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        let (first, rest) = self.rest.split_first().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next two bytes, big-endian.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next variable-length integer, in whichever of its encodings.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Truncated> {
        match self.rest.first().map(|first| first >> 6) {
            Some(0) => self.u8().map(u64::from),
            Some(1) => self.u16().map(|value| u64::from(value & 0x3fff)),
            Some(2) => self.u32().map(|value| u64::from(value & 0x3fff_ffff)),
            Some(_) => self.array().map(|bytes| u64::from_be_bytes(bytes) & MAX),
            None => Err(Truncated),
        }
    }

    /// The next variable-length integer, and whether it was in its shortest encoding.
    #[inline]
    pub fn varint_minimal(&mut self) -> Result<(u64, bool), Truncated> {
        let before = self.rest.len();
        let value = self.varint()?;
        let used = before.saturating_sub(self.rest.len());
        Ok((value, used == size(value)))
    }

    /// A variable-length integer and as many bytes as it says.
    #[inline]
    pub fn with_length(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.varint()?;
        self.bytes(usize::try_from(len).map_err(|_| Truncated)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )]

    use super::*;
    use crate::wire::tests_support::hex;
    use proptest::prelude::*;

    // Q10: RFC 9000 A.1, among them 37 in two bytes.
    #[test]
    fn the_examples_of_the_rfc_decode() {
        for (bytes, value) in [
            ("c2197c5eff14e88c", 151_288_809_941_952_652),
            ("9d7f3e7d", 494_878_333),
            ("7bbd", 15_293),
            ("25", 37),
            ("4025", 37),
        ] {
            let bytes = hex(bytes);
            let mut reader = Reader::new(&bytes);
            let (read, minimal) = reader.varint_minimal().unwrap();
            assert_eq!(read, value);
            assert!(reader.is_empty());
            let mut out = Vec::new();
            encode(read, &mut out);
            assert_eq!(out == bytes, minimal);
        }
    }

    #[test]
    fn lengths_change_at_their_borders() {
        for (value, len) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            ((1 << 30) - 1, 4),
            (1 << 30, 8),
            (MAX, 8),
        ] {
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!((out.len(), size(value)), (len, len));
            assert_eq!(Reader::new(&out).varint(), Ok(value));
        }
    }

    #[test]
    fn a_fixed_length_decodes_as_any() {
        assert_eq!(Reader::new(&two_bytes(5)).varint_minimal(), Ok((5, false)));
        assert_eq!(Reader::new(&four_bytes(5)).varint_minimal(), Ok((5, false)));
        assert_eq!(Reader::new(&two_bytes(16_383)).varint(), Ok(16_383));
        assert_eq!(Reader::new(&four_bytes(65_535)).varint(), Ok(65_535));
    }

    #[test]
    fn a_length_beyond_the_end_is_truncated_and_takes_nothing_of_it() {
        let mut out = Vec::new();
        encode(MAX, &mut out);
        out.extend_from_slice(b"abc");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.with_length(), Err(Truncated));
        assert_eq!(reader.rest(), b"abc");
    }

    proptest! {
        // Q10: every length of every value is read.
        #[test]
        fn every_value_comes_back(value in 0..=MAX, shift in 0..62u32) {
            let value = value >> shift;
            let mut out = Vec::new();
            encode(value, &mut out);
            prop_assert_eq!(Reader::new(&out).varint_minimal(), Ok((value, true)));
            for cut in 0..out.len() {
                prop_assert_eq!(Reader::new(&out[..cut]).varint(), Err(Truncated));
            }
            let longest = (value | 0xc000_0000_0000_0000).to_be_bytes();
            prop_assert_eq!(Reader::new(&longest).varint(), Ok(value));
        }
    }
}
