//! Every bound of the engine that is not a configuration field, each with its reason.

mod endpoint;

pub use endpoint::*;

use weir_core::time::Duration;

/// Least size of a UDP payload that every QUIC path carries (RFC 9000 section 14), in bytes.
pub const MIN_DATAGRAM: usize = 1200;
/// Largest UDP payload there is over IPv4: 65,535 less the headers, in bytes.
pub const MAX_DATAGRAM: usize = 65_507;
/// Bytes sent to an unvalidated address for each byte received from it (RFC 9000 section 8).
pub const AMPLIFICATION_FACTOR: u64 = 3;

/// Connection IDs that the peer is given at most, whatever its limit: a path in use, one that is
/// left, and a few to try; each costs an entry in the endpoint's table.
pub const MAX_ISSUED_CIDS: usize = 6;
/// Connection IDs that are kept for sending to the peer, announced as active_connection_id_limit
/// (RFC 9000 section 18.2): one for each path that [`MAX_CANDIDATE_PATHS`] and the paths in use
/// allow.
pub const ACTIVE_CONNECTION_ID_LIMIT: usize = 6;
/// RETIRE_CONNECTION_ID frames that may wait for their acknowledgement: twice the limit (RFC 9000
/// section 5.1.2).
pub const MAX_UNACKED_RETIREMENTS: usize = 2 * ACTIVE_CONNECTION_ID_LIMIT;
/// Draws until a generator gives a connection ID that its connection does not use yet. At one byte
/// and six in use, all of these fail once in 10^13 times.
pub const CID_DRAWS: usize = 8;
/// Paths that the peer has not shown to be its own, besides the one in use. A newer one takes the
/// place of the oldest.
pub const MAX_CANDIDATE_PATHS: usize = 3;
/// Validated paths that are kept besides the one in use and the one to fall back to.
pub const MAX_IDLE_PATHS: usize = 1;
/// PATH_RESPONSE frames that may wait on one path; a newer one takes the place of the oldest
/// (RFC 9000 section 21.9).
pub const MAX_PENDING_RESPONSES: usize = 4;
/// PATH_CHALLENGE frames of one path that an answer is still taken for: with intervals that double,
/// the earlier ones are a sixteenth of the wait ago.
pub const MAX_OPEN_CHALLENGES: usize = 4;
/// Most bytes of a ClientHello, which comes before anything is known of the client. Post-quantum
/// key shares and a session ticket make one of about 4 KiB. In bytes.
pub const MAX_CLIENT_HELLO: u32 = 16_384;
/// Most bytes of any other TLS message: a certificate chain is the longest. What rustls takes at
/// most, in bytes.
pub const MAX_HANDSHAKE_MESSAGE: u32 = 65_535;

// What was sent and received (recovery/).

/// Most ranges of received packet numbers kept and told in one ACK (RFC 9000 section 13.2.3):
/// losses of two round trips fit, and a frame of them still fits into one packet.
pub(crate) const MAX_ACK_RANGES: usize = 64;
/// Most packets in flight in one space. 2^17 packets of 1,452 bytes are 190 MB: a second at
/// 1.5 Gbit/s, or 100 ms at 15 Gbit/s.
pub(crate) const MAX_SENT_PACKETS: usize = 1 << 17;
/// Packets without ack-eliciting frames that are remembered at once. They only serve to learn that
/// the peer has seen an ACK; the newest of 64 unacknowledged ones is as good as a thousand.
pub(crate) const MAX_TRACKED_ACK_ONLY: usize = 64;
/// After this many packets in a row that elicit no answer one is made to (RFC 9000 section 13.2.4).
pub(crate) const ACK_ONLY_RUN: u32 = 32;
/// Packets declared lost that are remembered in each space, to know a late acknowledgement.
pub(crate) const MAX_REMEMBERED_LOST: usize = 256;
/// Skipped packet numbers that are remembered (RFC 9000 section 21.4).
pub(crate) const MAX_SKIPPED: usize = 8;
/// The first packet number is skipped within this many packets ..
pub(crate) const FIRST_SKIP_PERIOD: u64 = 128;
/// .. and the period doubles up to this many: one packet number in a hundred thousand.
pub(crate) const MAX_SKIP_PERIOD: u64 = 1 << 17;
/// The reordering threshold grows to this many packets and no further (RFC 9002 section 6.1.1).
pub(crate) const MAX_PACKET_THRESHOLD: u64 = 64;
/// The time threshold grows to this many eighths of a round trip (RFC 9002 section 6.1.2).
pub(crate) const MAX_TIME_THRESHOLD_EIGHTHS: u32 = 16;
/// A probe time-out is not doubled more often than this.
pub(crate) const MAX_PTO_SHIFT: u32 = 10;
/// Nor does doubling take it beyond this, in seconds (RFC 6298 2.5 permits a bound of 60).
pub(crate) const MAX_PTO_SECS: u64 = 60;
/// Probes in a row that have to go unanswered before the answer time-out counts (RFC 9002 section 7.6
/// takes as many for persistent congestion).
pub(crate) const SILENT_PROBES: u32 = 3;
/// Oldest packets whose frames are offered again when a probe is due, in each space.
pub(crate) const PROBE_PACKETS: usize = 2;
/// Versions kept of a peer's `version_information` (RFC 9368 section 3); the rest is checked and
/// left out. A peer that speaks more of what we speak does not exist.
pub const MAX_AVAILABLE_VERSIONS: usize = 32;
/// Unknown transport parameters that are watched for coming twice (RFC 9000 section 7.4).
pub const MAX_UNKNOWN_PARAMETERS: usize = 64;
/// Bits of one generation of the filter for used tokens: 64 KiB; there are two.
pub const TOKEN_FILTER_BITS: usize = 524_288;
/// Uses that one generation takes: 16 bits for each.
pub const TOKEN_FILTER_USES: u32 = 32_768;
/// Losses of probes of one size until it counts as too large (RFC 8899 section 5.1.2).
pub const MTU_MAX_PROBES: u8 = 3;
/// After a search has ended, the path may have changed (RFC 8899 section 5.1.1).
pub const MTU_RAISE_AFTER: Duration = Duration::from_secs(600);
/// The search ends when less than this many bytes, or a sixty-fourth, can be gained.
pub const MTU_SEARCH_GAP: u16 = 16;
/// Flights in a row that lose all of their large packets until a black hole is believed.
pub const BLACK_HOLE_ROUNDS: u8 = 3;
/// Probe time-outs in a row until large datagrams are suspected.
pub const BLACK_HOLE_PTOS: u32 = 3;
/// How long after the first black hole the search rests; twice as long after each further one.
pub const BLACK_HOLE_HOLD: Duration = Duration::from_secs(5);
/// Fewest bytes that a datagram with a challenge and the answers to some may need: a header with a
/// connection ID of 20 bytes, the frames, the tag.
pub const MIN_PROBE_DATAGRAM: u64 = 96;
/// Bytes that have to be allowed on a path before it is challenged: a header with a connection ID of
/// 20 bytes, the challenge, the tag, and what keeps other packets from being begun in vain. Three
/// times the shortest packet to a connection ID of 4 bytes is more: whoever comes from a new address
/// with as little as a PING is challenged.
pub const MIN_CHALLENGE_DATAGRAM: u64 = 73;
/// How long a validated path is kept that nothing is sent on: late packets come on it, and a peer
/// that goes back finds what was learnt of it.
pub const IDLE_PATH_LINGER: Duration = Duration::from_secs(30);
/// Session tickets of another version that a client throws away to find one of its own, before it
/// does without: rustls keeps 8 for a server by default.
pub const MAX_FOREIGN_TICKETS: usize = 8;

/// Handshake bytes ahead of what TLS has read that are kept, for each level (RFC 9000 section 7.5
/// asks for 4,096 at least; certificate chains are larger).
pub const MAX_CRYPTO_BUFFER: u64 = 64 * 1024;
/// How often a server says its handshake bytes again because of what its client asks (RFC 9002
/// section 6.2.3), before a time-out makes it.
pub(crate) const MAX_HASTENED: u8 = 4;
/// Packets kept until their keys come (RFC 9001 section 5.7) ...
pub const MAX_HELD_DATAGRAMS: usize = 16;
/// ... and their bytes together.
pub const MAX_HELD_BYTES: usize = 16 * 1024;
/// The exponent that ACK delays are told with: units of 8 microseconds (RFC 9000 section 18.2).
pub const ACK_DELAY_EXPONENT: u8 = 3;
/// The least ACK delay that a peer may ask for, in microseconds (ack-frequency draft section 3).
pub const MIN_ACK_DELAY: u64 = 1_000;
/// Largest address-validation token that is kept, in bytes.
pub const MAX_TOKEN: usize = 512;
/// How long a connection is quiet before it gives back memory that only traffic needs. Longer, and
/// thousands of connections that begin one after the other each keep theirs at once.
pub const REST_AFTER: Duration = Duration::from_millis(50);
/// Ranges of one ACK frame that a trace lists: a peer may send some seven hundred in a packet.
pub const MAX_TRACED_RANGES: usize = 256;
