//! Packet numbers, cut to what the receiver needs (RFC 9000 section 17.1, appendices A.2 and A.3).

#![deny(clippy::arithmetic_side_effects)]

use super::varint::{Reader, Truncated};

/// Largest packet number: 2^62 - 1 (RFC 9000 section 12.3).
pub const MAX: u64 = super::varint::MAX;

/// How many bytes, 1 to 4, `pn` takes in a packet when the peer has acknowledged up to
/// `largest_acked`: enough for more than twice the numbers between them (RFC 9000 A.2).
#[inline]
#[must_use]
pub const fn len(pn: u64, largest_acked: Option<u64>) -> usize {
    let unacknowledged = match largest_acked {
        Some(largest) => pn.saturating_sub(largest),
        None => pn.saturating_add(1),
    };
    match unacknowledged {
        0..=0x80 => 1,
        0x81..=0x8000 => 2,
        0x8001..=0x80_0000 => 3,
        _ => 4,
    }
}

/// Appends the low `len` bytes of `pn`, 1 to 4 of them.
#[inline]
pub fn encode(pn: u64, len: usize, out: &mut Vec<u8>) {
    debug_assert!((1..=4).contains(&len));
    let bytes = (pn as u32).to_be_bytes();
    let from = bytes.len().saturating_sub(len.clamp(1, 4));
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// Reads the `len` bytes, 1 to 4, of a truncated number.
#[inline]
pub fn read(reader: &mut Reader<'_>, len: usize) -> Result<u32, Truncated> {
    let bytes = reader.bytes(len.clamp(1, 4))?;
    Ok(bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}

/// The number nearest to `expected` (the largest number received plus one) whose low `len` bytes,
/// 1 to 4, are `truncated` (RFC 9000 A.3).
#[inline]
#[must_use]
pub const fn decode(truncated: u32, len: usize, expected: u64) -> u64 {
    let bits = match len {
        0 | 1 => 8,
        2 => 16,
        3 => 24,
        _ => 32,
    };
    let window = 1u64 << bits;
    let half = window >> 1;
    let candidate = expected & !window.saturating_sub(1) | truncated as u64;
    let above = candidate.saturating_add(window);
    if candidate.saturating_add(half) <= expected && above <= MAX {
        return above;
    }
    if candidate > expected.saturating_add(half) && candidate >= window {
        return candidate.saturating_sub(window);
    }
    candidate
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

    fn truncated(bytes: &[u8]) -> u32 {
        read(&mut Reader::new(bytes), bytes.len()).unwrap()
    }

    // Q5: RFC 9000 A.2.
    #[test]
    fn the_examples_of_the_rfc_encode() {
        for (pn, acked, encoded) in [
            (0xac_5c02, 0xab_e8b3, "5c02"),
            (0xac_e8fe, 0xab_e8b3, "ace8fe"),
        ] {
            let mut out = Vec::new();
            encode(pn, len(pn, Some(acked)), &mut out);
            assert_eq!(out, hex(encoded));
        }
    }

    // Q5: RFC 9000 A.3.
    #[test]
    fn the_example_of_the_rfc_decodes() {
        let bytes = hex("9b32");
        let expected = 0xa82f_30ea + 1;
        let pn = decode(truncated(&bytes), bytes.len(), expected);
        assert_eq!(pn, 0xa82f_9b32);
    }

    // Q5
    #[test]
    fn the_length_grows_where_half_a_window_is_full() {
        for (unacknowledged, bytes) in [
            (1, 1),
            (128, 1),
            (129, 2),
            (32_768, 2),
            (32_769, 3),
            (1 << 23, 3),
            ((1 << 23) + 1, 4),
            (1 << 40, 4),
        ] {
            assert_eq!(len(1000 + unacknowledged, Some(1000)), bytes);
            assert_eq!(len(unacknowledged - 1, None), bytes);
        }
    }

    // Q5, Q6: nothing wraps at the ends of the number space.
    #[test]
    fn decoding_stays_within_the_number_space() {
        assert_eq!(decode(0xff, 1, 0), 0xff);
        assert_eq!(decode(0, 1, MAX), MAX - 0xff);
        assert_eq!(decode(0xffff_ffff, 4, MAX), MAX);
        assert_eq!(decode(0, 4, u64::MAX), !0xffff_ffff);
        assert_eq!(decode(0, 0, 5), 0);
    }

    proptest! {
        // Q5: whoever received anything from the largest acknowledged number on reads it right.
        #[test]
        fn a_number_comes_back(acked in 0..MAX, ahead in 1..=(1u64 << 31), seen in 0.0..1.0f64) {
            let pn = acked.saturating_add(ahead).min(MAX);
            let largest_seen = acked + ((pn - acked) as f64 * seen) as u64;
            let n = len(pn, Some(acked));
            let mut out = Vec::new();
            encode(pn, n, &mut out);
            prop_assert_eq!(out.len(), n);
            prop_assert_eq!(decode(truncated(&out), n, largest_seen + 1), pn);
        }
    }
}
