//! The Internet checksum (RFC 1071, RFC 1624): the ones' complement sum of 16-bit words.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes taken in one turn of the vectorised loop.
const BLOCK: usize = 64;

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
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut total = if blocks.is_empty() {
        0
    } else {
        sum_blocks(blocks)
    };
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        total = add(total, u64::from_ne_bytes(*word));
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        total = add(total, u64::from_ne_bytes(last));
    }
    total
}

/// Whole blocks: the halves of eight 64-bit lanes are summed apart, so that no carry is lost for
/// 2^32 blocks and the compiler can keep the lanes in vector registers.
fn sum_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    let mut low = [0_u64; 8];
    let mut high = [0_u64; 8];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for ((word, low), high) in words.iter().zip(&mut low).zip(&mut high) {
            let word = u64::from_ne_bytes(*word);
            *low = low.wrapping_add(word & 0xffff_ffff);
            *high = high.wrapping_add(word >> 32);
        }
    }
    let mut total = 0;
    for (low, high) in low.into_iter().zip(high) {
        total = add(total, add(low, high));
    }
    total
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
