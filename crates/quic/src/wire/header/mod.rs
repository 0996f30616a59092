//! Packet headers (RFC 8999 section 5, RFC 9000 section 17, RFC 9369 section 3.2).

#![deny(clippy::arithmetic_side_effects)]

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::fmt;

pub use decode::{FixedBit, HeaderError, LongInvariant, Packet, peek_dcid, versions};
pub use encode::{
    LengthField, LongHeader, ShortHeader, Written, finish_length, write_retry,
    write_version_negotiation,
};

use super::{Space, Version};

/// The bit that says "long header".
pub const FORM_LONG: u8 = 0x80;
/// The bit that is 1 in every packet of versions 1 and 2, unless RFC 9287 was agreed on.
pub const FIXED_BIT: u8 = 0x40;
/// The bits of a long header's first byte that have to be 0 below header protection.
pub const LONG_RESERVED: u8 = 0x0c;
/// The bits of a short header's first byte that have to be 0 below header protection.
pub const SHORT_RESERVED: u8 = 0x18;
/// The latency spin bit of a short header (RFC 9000 section 17.4).
pub const SPIN_BIT: u8 = 0x20;
/// The key phase bit of a short header.
pub const KEY_PHASE: u8 = 0x04;
/// Bytes of the integrity tag that ends a Retry packet (RFC 9001 section 5.8).
pub const RETRY_TAG_LEN: usize = 16;

/// What a packet is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// Version Negotiation (RFC 9000 section 17.2.1).
    VersionNegotiation,
    /// Initial (section 17.2.2).
    Initial,
    /// 0-RTT (section 17.2.3).
    ZeroRtt,
    /// Handshake (section 17.2.4).
    Handshake,
    /// Retry (section 17.2.5).
    Retry,
    /// 1-RTT, the only one with a short header (section 17.3.1).
    OneRtt,
}

impl PacketType {
    /// The type that the two bits of a long header's first byte mean in `version` (RFC 9000 table
    /// 5, RFC 9369 section 3.2).
    const fn from_bits(bits: u8, version: Version) -> PacketType {
        let bits = match version {
            // Version 2 turns them by one.
            Version::V2 => bits.wrapping_sub(1) & 0b11,
            _ => bits & 0b11,
        };
        match bits {
            0 => PacketType::Initial,
            1 => PacketType::ZeroRtt,
            2 => PacketType::Handshake,
            _ => PacketType::Retry,
        }
    }

    /// The two bits for this type in `version`, in place in the first byte. 0 for what has none.
    const fn bits(self, version: Version) -> u8 {
        let bits: u8 = match self {
            PacketType::Initial => 0,
            PacketType::ZeroRtt => 1,
            PacketType::Handshake => 2,
            PacketType::Retry => 3,
            PacketType::VersionNegotiation | PacketType::OneRtt => return 0,
        };
        let turned = match version {
            Version::V2 => bits.wrapping_add(1) & 0b11,
            _ => bits,
        };
        turned << 4
    }

    /// The packet number space it belongs to; `None` for the types without a number.
    #[must_use]
    pub const fn space(self) -> Option<Space> {
        match self {
            PacketType::Initial => Some(Space::Initial),
            PacketType::Handshake => Some(Space::Handshake),
            PacketType::ZeroRtt | PacketType::OneRtt => Some(Space::Data),
            PacketType::VersionNegotiation | PacketType::Retry => None,
        }
    }

    /// Its name in RFC 9000.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PacketType::VersionNegotiation => "Version Negotiation",
            PacketType::Initial => "Initial",
            PacketType::ZeroRtt => "0-RTT",
            PacketType::Handshake => "Handshake",
            PacketType::Retry => "Retry",
            PacketType::OneRtt => "1-RTT",
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
