//! The Internet checksum (RFC 1071, RFC 1624): the ones' complement sum of 16-bit words.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From how many 64-bit words on the vectorised loop is the faster one.
const VECTOR_WORDS: usize = 16;

/// A sum under way. Bytes may be added in pieces of any length; a piece that begins at an odd place
/// is summed as if all had been one piece.
///
/// The words are summed in the machine's byte order and turned once at the end, which RFC 1071 1(B)
/// shows to be the same.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Ones' complement sum of 64-bit words in memory order.
    value: u64,
    /// An odd number of bytes was added so far.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[must_use]
    pub const fn new() -> Sum {
        Sum {
            value: 0,
            odd: false,
        }
    }

    /// Adds `bytes`; an odd one at the very end counts as if a zero byte followed (T8).
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let part = u64::from(narrow(sum_words(bytes)));
        self.add_word(if self.odd {
            part.swap_bytes() >> 48
        } else {
            part
        });
        self.odd ^= bytes.len() & 1 == 1;
    }

    /// Adds a 16-bit field. The bytes added so far must be even in number.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        debug_assert!(!self.odd, "fields lie at even places");
        self.add_word(u64::from(value.to_be()));
    }

    /// Adds a 32-bit field. The bytes added so far must be even in number.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        debug_assert!(!self.odd, "fields lie at even places");
        self.add_word(u64::from(value.to_be()));
    }

    /// The sum, folded to 16 bits, not complemented: what a [partial](crate::Checksum::Partial)
    /// checksum field holds, and 0xffff (or 0) when what was summed includes a right checksum.
    #[inline]
    #[must_use]
    pub fn fold(self) -> u16 {
        u16::from_be(narrow(self.value))
    }

    /// The checksum: the complement of the sum.
    #[inline]
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// True when what was summed, its checksum field included, is whole.
    #[inline]
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    #[inline]
    fn add_word(&mut self, word: u64) {
        self.value = add(self.value, word);
    }
}

/// The sum of `bytes` alone.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> Sum {
    let mut sum = Sum::new();
    sum.add_bytes(bytes);
    sum
}

/// Whether the checksum of an IPv4 header without options is right: [`Sum::is_valid`] of its sum.
#[inline]
#[must_use]
pub fn is_valid_header(header: &[u8; 20]) -> bool {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *header;
    let first = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
    let last = u64::from(u32::from_ne_bytes([q, r, s, t]));
    narrow(add(add(first, second), last)) == 0xffff
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 3.1): `len` is that of header and data.
#[inline]
#[must_use]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u32) -> Sum {
    let mut sum = Sum::new();
    sum.add_u32(src.to_bits());
    sum.add_u32(dst.to_bits());
    sum.add_u16(u16::from(protocol));
    sum.add_u32(len);
    sum
}

/// The pseudo-header over IPv6 (RFC 8200 8.1): a 32-bit length and the final destination (T10).
#[inline]
#[must_use]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> Sum {
    let mut sum = Sum::new();
    sum.add_bytes(&src.octets());
    sum.add_bytes(&dst.octets());
    sum.add_u32(len);
    sum.add_u32(u32::from(protocol));
    sum
}

/// The pseudo-header for either family. Addresses of different families give the sum of nothing,
/// which no packet passes with.
#[inline]
#[must_use]
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: u32) -> Sum {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_v4(src, dst, protocol, len),
        (IpAddr::V6(src), IpAddr::V6(dst)) => pseudo_v6(src, dst, protocol, len),
        _ => Sum::new(),
    }
}

/// The checksum after one 16-bit word under it changed from `old` to `new`: RFC 1624 equation 3,
/// `HC' = ~(~HC + ~m + m')` (T9).
#[inline]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum)
        .wrapping_add(u32::from(!old))
        .wrapping_add(u32::from(new));
    !narrow(u64::from(sum))
}

/// Ones' complement addition: the carry comes back in at the bottom.
#[inline]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u64)
}

/// A 64-bit ones' complement sum folded to 16 bits.
#[inline]
const fn narrow(sum: u64) -> u16 {
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    (sum >> 16).wrapping_add(sum & 0xffff) as u16
}

/// The words of `bytes` in memory order, summed.
#[inline]
fn sum_words(bytes: &[u8]) -> u64 {
    let (words, mut tail) = bytes.as_chunks::<8>();
    let mut total = if words.len() < VECTOR_WORDS {
        words
            .iter()
            .fold(0, |total, word| add(total, u64::from_ne_bytes(*word)))
    } else {
        sum_many(words)
    };
    // Where a word stands among others does not matter, as long as it is at an even place.
    if let Some((half, rest)) = tail.split_first_chunk::<4>() {
        total = add(total, u64::from(u32::from_ne_bytes(*half)));
        tail = rest;
    }
    if let Some((pair, rest)) = tail.split_first_chunk::<2>() {
        total = add(total, u64::from(u16::from_ne_bytes(*pair)));
        tail = rest;
    }
    if let [last] = tail {
        total = add(total, u64::from(u16::from_ne_bytes([*last, 0])));
    }
    total
}

/// Many words, in a loop that the compiler puts into vector registers.
///
/// The words are summed twice: whole, modulo 2^64, and their upper halves, which does not overflow
/// for 2^32 words. The sum of the lower halves is what is left when the upper ones are taken away, so
/// no carry is lost, and no addition waits for that of another.
#[inline(never)]
fn sum_many(words: &[[u8; 8]]) -> u64 {
    let mut whole = 0_u64;
    let mut upper = 0_u64;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        whole = whole.wrapping_add(word);
        upper = upper.wrapping_add(word >> 32);
    }
    add(whole.wrapping_sub(upper << 32), upper)
}

/// Completes the checksum of what was written into `out` from `begun` on: `at` bytes behind `begun`
/// lies its field, which holds 0; `pseudo` is what counts besides.
pub fn patch(out: &mut [u8], begun: usize, at: usize, pseudo: Sum) {
    let Some(bytes) = out.get_mut(begun..) else {
        return;
    };
    let mut sum = pseudo;
    sum.add_bytes(bytes);
    let sum = sum.finish().to_be_bytes();
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = sum;
    }
}

/// The checksum of a TCP segment or UDP datagram whose checksum field holds 0.
#[inline]
#[must_use]
pub fn transport(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    transport_sum(src, dst, protocol, bytes).finish()
}

/// True when a TCP segment (or UDP datagram that has a checksum) came whole (T1).
#[inline]
#[must_use]
pub fn is_valid_transport(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> bool {
    transport_sum(src, dst, protocol, bytes).is_valid()
}

#[inline]
fn transport_sum(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> Sum {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut sum = pseudo(src, dst, protocol, len);
    sum.add_bytes(bytes);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 3: the example.
    const EXAMPLE: [u8; 8] = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];

    /// RFC 1071 1, word by word.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // RFC 1071 3
        assert_eq!(sum(&EXAMPLE).fold(), 0xddf2);
        assert_eq!(sum(&EXAMPLE).finish(), 0x220d);
    }

    #[test]
    fn an_odd_byte_counts_as_the_high_half_of_a_word() {
        // T8, RFC 1071 1: padded with zero for the sum only.
        assert_eq!(sum(&[0x12]).fold(), 0x1200);
        assert_eq!(
            sum(&EXAMPLE[..7]).fold(),
            slow(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0])
        );
        assert_eq!(sum(&[]).fold(), 0);
    }

    #[test]
    fn pieces_of_odd_length_join_without_a_seam() {
        // RFC 1071 2(B): the byte order of a piece at an odd place is turned.
        for first in 0..=EXAMPLE.len() {
            for second in first..=EXAMPLE.len() {
                let mut joined = Sum::new();
                joined.add_bytes(&EXAMPLE[..first]);
                joined.add_bytes(&EXAMPLE[first..second]);
                joined.add_bytes(&EXAMPLE[second..]);
                assert_eq!(joined.fold(), 0xddf2, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn no_carry_is_lost_in_many_full_words() {
        // Every word 0xffff: the sum of any number is 0xffff again, in ones' complement.
        let ones = vec![0xff; 1 << 20];
        assert_eq!(sum(&ones).fold(), 0xffff);
        assert_eq!(sum(&ones[..65_534]).fold(), 0xffff);
        assert!(sum(&ones[..2]).is_valid());
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // T9, RFC 1624 4: equation 3 gives 0x0000 where equation 2 gave 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn the_pseudo_header_of_ipv4() {
        // T1, RFC 9293 3.1: addresses, zero, protocol, length.
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 2));
        let bytes = [192, 0, 2, 1, 198, 51, 100, 2, 0, 6, 0x12, 0x34];
        assert_eq!(pseudo_v4(src, dst, 6, 0x1234).fold(), slow(&bytes));
    }

    #[test]
    fn the_pseudo_header_of_ipv6_has_a_length_of_32_bits() {
        // T10, RFC 8200 8.1
        let (src, dst): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8:ffff::2".parse().unwrap(),
        );
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&src.octets());
        bytes.extend_from_slice(&dst.octets());
        bytes.extend_from_slice(&[0x00, 0x12, 0x34, 0x56, 0, 0, 0, 17]);
        assert_eq!(pseudo_v6(src, dst, 17, 0x12_3456).fold(), slow(&bytes));
    }

    #[test]
    fn a_changed_bit_is_found() {
        // T1
        let (src, dst) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut segment = vec![7; 133];
        segment[16..18].fill(0);
        let value = transport(src, dst, 6, &segment);
        segment[16..18].copy_from_slice(&value.to_be_bytes());
        assert!(is_valid_transport(src, dst, 6, &segment));
        assert!(!is_valid_transport(
            src,
            IpAddr::from([192, 0, 2, 3]),
            6,
            &segment
        ));
        assert!(!is_valid_transport(src, dst, 17, &segment));
        for bit in 0..segment.len() * 8 {
            segment[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_valid_transport(src, dst, 6, &segment), "bit {bit}");
            segment[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn every_length_and_alignment_gives_the_plain_sum(
            bytes in proptest::collection::vec(any::<u8>(), 0..600), cuts: (usize, usize)
        ) {
            prop_assert_eq!(sum(&bytes).fold(), slow(&bytes));
            let first = cuts.0 % (bytes.len() + 1);
            let second = first + cuts.1 % (bytes.len() - first + 1);
            let mut joined = Sum::new();
            joined.add_bytes(&bytes[..first]);
            joined.add_bytes(&bytes[first..second]);
            joined.add_bytes(&bytes[second..]);
            prop_assert_eq!(joined.fold(), slow(&bytes));
        }

        #[test]
        fn a_header_is_judged_as_any_bytes_are(mut header: [u8; 20], is_right: bool) {
            if is_right {
                header[10..12].fill(0);
                let value = sum(&header).finish();
                header[10..12].copy_from_slice(&value.to_be_bytes());
            }
            prop_assert_eq!(is_valid_header(&header), sum(&header).is_valid());
            prop_assert!(!is_right || is_valid_header(&header));
        }

        #[test]
        fn an_update_gives_what_summing_again_gives(mut words: [u16; 10], at in 1_usize..10, new: u16) {
            // T9: headers whose sum is 0 in either form among them.
            let checksum = |words: &[u16]| {
                let mut sum = Sum::new();
                words.iter().for_each(|word| sum.add_u16(*word));
                sum.finish()
            };
            words[0] = 0x4500;
            let updated = update(checksum(&words), words[at], new);
            words[at] = new;
            prop_assert_eq!(updated, checksum(&words));
        }
    }
}
