//! Every bound of the engine that is not a configuration field, each with its reason.

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
