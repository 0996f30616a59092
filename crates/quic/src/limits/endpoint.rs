//! Bounds of the endpoint: what strangers may make it hold, and how often it answers them.

use weir_core::time::Duration;

use super::MAX_ISSUED_CIDS;

/// Bytes of datagrams that are held for one attempt of a client before it is accepted: a ClientHello
/// of three datagrams and some 0-RTT.
pub const MAX_HELD_PER_ATTEMPT: usize = 6 * 1024;
/// Datagrams that are held for one attempt.
pub const MAX_ATTEMPT_DATAGRAMS: usize = 8;
/// Bytes that are held for all unvalidated attempts of one source: an IPv4 address, or the first 64
/// bits of an IPv6 address. What goes beyond is asked for a token first, or refused.
pub const MAX_HELD_PER_SOURCE: usize = 16 * 1024;
/// How long an attempt waits for a decision: clients give up after about as long.
pub const INCOMING_LIFETIME: Duration = Duration::from_secs(10);
/// 0-RTT datagrams that wait for their Initial.
pub const MAX_EARLY_DATAGRAMS: usize = 64;
/// Bytes of them.
pub const MAX_EARLY_BYTES: usize = 64 * 1024;
/// How long they wait. An Initial that was overtaken is there within a fraction of a round trip; one
/// that was lost takes its client's probe time-out, a second when nothing is known of the path.
pub const EARLY_LIFETIME: Duration = Duration::from_secs(1);
/// Stateless reset tokens that are looked out for in one connection: those of all connection IDs of
/// the peer that are in use or were until a moment ago.
pub const MAX_ROUTED_TOKENS: usize = 32;
/// Connection IDs of one connection that packets are routed by.
pub const MAX_ROUTED_CIDS: usize = 2 * MAX_ISSUED_CIDS + 1;
/// Largest stateless reset, in bytes: like a small packet of the connection that it ends.
pub const MAX_STATELESS_RESET: usize = 96;

/// Answers to strangers in a second, and as many at once.
#[derive(Copy, Clone, Debug)]
pub struct RateLimit {
    /// To one source: an IPv4 address, or the first 64 bits of an IPv6 address.
    pub per_source: u32,
    /// To all together.
    pub over_all: u32,
}

/// Buckets that sources are hashed into, 8 bytes each.
pub const RATE_BUCKETS: usize = 1024;
/// Version Negotiation: once in the life of a client, many of which may be behind one address.
pub const RATE_VERSION_NEGOTIATION: RateLimit = RateLimit {
    per_source: 100,
    over_all: 10_000,
};
/// Retry: what keeps a server reachable in a flood, at 5 us each.
pub const RATE_RETRY: RateLimit = RateLimit {
    per_source: 10_000,
    over_all: 50_000,
};
/// CONNECTION_CLOSE in an Initial packet, at 15 us each.
pub const RATE_CLOSE: RateLimit = RateLimit {
    per_source: 500,
    over_all: 5_000,
};
/// Stateless resets. A peer that gets none gives up by its idle time-out.
pub const RATE_RESET: RateLimit = RateLimit {
    per_source: 50,
    over_all: 2_000,
};
