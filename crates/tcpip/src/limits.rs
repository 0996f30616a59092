//! Every cap of the stack, by name.

/// The largest frame between stack and device, in bytes: an IP packet of 65,535 bytes behind an
/// Ethernet header with room to spare. Super-segments are no larger (`IFF_VNET_HDR`, Linux' GSO).
pub const MAX_FRAME: usize = 65_536 + 64;
