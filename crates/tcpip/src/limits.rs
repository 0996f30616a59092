//! Every cap of the stack, by name.

/// The largest frame between stack and device, in bytes: an IP packet of 65,535 bytes behind an
/// Ethernet header with room to spare. Super-segments are no larger (`IFF_VNET_HDR`, Linux' GSO).
pub const MAX_FRAME: usize = 65_536 + 64;

// wire

/// Extension headers of one IPv6 packet that are walked before it is dropped (RFC 8504 5.3).
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// Options of one Hop-by-Hop or Destination Options header, padding not counted, before the packet
/// is dropped (RFC 8504 5.3).
pub const MAX_EXTENSION_OPTIONS: usize = 8;
