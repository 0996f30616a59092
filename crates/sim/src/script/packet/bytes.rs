//! Reading and writing bytes.

use std::net::Ipv6Addr;

/// Takes values off the front of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let (high, low) = (self.u8()?, self.u8()?);
        Some(u16::from_be_bytes([high, low]))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (high, low) = (self.u16()?, self.u16()?);
        Some(u32::from(high) << 16 | u32::from(low))
    }

    pub(crate) fn ipv6(&mut self) -> Option<Ipv6Addr> {
        let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The internet checksum over all of `parts` in a row, each of even length but the last
/// (RFC 1071): what goes into the field, if the field was zero; zero, if it was right.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let word = pair
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte));
            sum += if pair.len() == 1 { word << 8 } else { word };
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Writes a 16-bit value over what stands at `at`.
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The low 32 bits: sequence numbers are counted modulo 2^32.
pub(crate) fn low32(value: i64) -> u32 {
    u32::try_from(value.rem_euclid(1 << 32)).unwrap_or(0)
}

/// The low 16 bits.
pub(crate) fn low16(value: i64) -> u16 {
    u16::try_from(value.rem_euclid(1 << 16)).unwrap_or(0)
}

/// The low 8 bits.
pub(crate) fn low8(value: i64) -> u8 {
    u8::try_from(value.rem_euclid(1 << 8)).unwrap_or(0)
}

/// A length as a number of lines.
pub(crate) fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 1071 section 3: the example's sum is ddf2.
    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&bytes]), !0xddf2);
        let (a, b) = bytes.split_at(4);
        assert_eq!(checksum(&[a, b]), !0xddf2);
        assert_eq!(checksum(&[&[0xff, 0xff, 0x01]]), !0x0100);
    }
}
