//! Bytes to values and back: no state.
//!
//! Everything here is made of total functions: parsing never panics, loops or allocates, whatever the
//! bytes are, and says in [`Malformed`] which field was wrong. Writing appends to a buffer that the
//! caller keeps.

pub mod arp;
pub mod checksum;
pub mod ethernet;
mod icmp;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod seq;
pub mod tcp;
pub mod udp;
pub mod vnet;

/// IP protocol numbers (next header values) that the stack knows.
pub mod protocol {
    /// IPv6 Hop-by-Hop Options (RFC 8200 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4 (RFC 792).
    pub const ICMPV4: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 Routing header (RFC 8200 4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 Fragment header (RFC 8200 4.5).
    pub const FRAGMENT: u8 = 44;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// Nothing follows (RFC 8200 4.7).
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 Destination Options (RFC 8200 4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Why bytes are not what they should be. Names the header and its field in the RFC's words.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the header needs, or than it says there are.
    #[error("{0}: cut short")]
    Truncated(&'static str),
    /// A field has a value that it must not have.
    #[error("{header}: bad {field}")]
    Field {
        /// The header.
        header: &'static str,
        /// Its field.
        field: &'static str,
    },
    /// The checksum is wrong.
    #[error("{0}: wrong checksum")]
    Checksum(&'static str),
}

impl Malformed {
    pub(crate) const fn field(header: &'static str, field: &'static str) -> Malformed {
        Malformed::Field { header, field }
    }
}
