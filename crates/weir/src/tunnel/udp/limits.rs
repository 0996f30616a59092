//! Every bound of what UDP may hold.

use std::time::Duration;

/// The longest payload in bytes: the length field of UDP counts its header of 8 (RFC 768). IPv4 leaves 65,507 of it.
pub(crate) const MAX_PAYLOAD: usize = 65_527;

/// Bytes of a datagram's length where it goes over a stream.
pub(crate) const LENGTH: usize = 2;

/// Bytes that one queue of a flow holds, lengths included: a few of the largest datagrams, as a kernel's socket
/// buffer does.
pub(crate) const QUEUE: usize = 256 * 1024;

/// Bytes that all queues of a client, or of one peer's connection, hold together.
pub(crate) const ALL_QUEUES: u64 = 16 * 1024 * 1024;

/// Bytes that go from a queue into the stream in one write.
pub(crate) const BATCH: usize = 64 * 1024;

/// Flows of a client at once, all forwards together; at each forward the one that was idle longest gives way. Fewer
/// than the answerer grants, because what has ended here ends there a moment later.
pub(crate) const FLOWS_ASKED: usize = 512;

/// Flows that a peer's connection may have at once; more are refused.
pub(crate) const FLOWS_ANSWERED: usize = 1024;

/// Destinations of one SOCKS association at once; the one that was idle longest gives way.
pub(crate) const FLOWS_OF_ASSOCIATION: usize = 128;

/// A flow that carries nothing for this long ends: the least that RFC 4787 REQ-5 lets a NAT wait.
pub(crate) const IDLE: Duration = Duration::from_secs(120);

/// A flow that was refused is not asked for again for this long; what its client sends meanwhile is dropped.
pub(crate) const REFUSED: Duration = Duration::from_secs(5);

/// After an error that is no news of the destination, a socket is read again after this long.
pub(crate) const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// Bytes on the TCP connection of a SOCKS association, where nothing is to be said, before it is ended.
pub(crate) const ASSOCIATION_CHATTER: usize = 64 * 1024;
