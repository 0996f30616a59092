//! Every bound of the engine that is not a configuration field, each with its reason.

/// Least size of a UDP payload that every QUIC path carries (RFC 9000 section 14), in bytes.
pub const MIN_DATAGRAM: usize = 1200;
/// Largest UDP payload there is over IPv4: 65,535 less the headers, in bytes.
pub const MAX_DATAGRAM: usize = 65_507;
/// Bytes sent to an unvalidated address for each byte received from it (RFC 9000 section 8).
pub const AMPLIFICATION_FACTOR: u64 = 3;
