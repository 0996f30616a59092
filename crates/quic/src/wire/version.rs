//! Versions.

use std::fmt;

/// A QUIC version number (RFC 8999 section 5.1).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// What a Version Negotiation packet has in place of a version.
    pub const NEGOTIATION: Version = Version(0);
    /// QUIC version 1 (RFC 9000).
    pub const V1: Version = Version(0x0000_0001);
    /// QUIC version 2 (RFC 9369).
    pub const V2: Version = Version(0x6b33_43cf);
    /// What is spoken here, the preferred one first: they are compatible with each other
    /// (RFC 9369 section 4).
    pub const SUPPORTED: [Version; 2] = [Version::V1, Version::V2];

    /// True when it is spoken here.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        matches!(self, Version::V1 | Version::V2)
    }

    /// True for versions of the form 0x?a?a?a?a, which never mean anything (RFC 9000 section 15).
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 & 0x0f0f_0f0f == 0x0a0a_0a0a
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Version::V1 => f.write_str("v1"),
            Version::V2 => f.write_str("v2"),
            Version(other) => write!(f, "{other:#010x}"),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}
