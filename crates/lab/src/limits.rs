//! Every cap of the proxy by name.

/// Client flows (UDP) and connections (TCP) at a time. A datagram that would start one more is
/// dropped, a connection one more is refused.
pub(crate) const FLOWS: usize = 4096;

/// Bytes on their way in both directions together. What would exceed it is dropped: without a rate
/// nothing else bounds what a long delay holds.
pub(crate) const IN_FLIGHT: usize = 256 << 20;

/// Datagrams taken from a socket before others have their turn.
pub(crate) const BATCHES: usize = 8;

/// Buffers that one read fills.
pub(crate) const BUFFERS: usize = 8;

/// Greatest datagram, and greatest run of datagrams that the kernel hands over as one (GRO).
pub(crate) const DATAGRAM: usize = 65_535;

/// Bytes of a TCP connection between its ends, each direction, at most.
pub(crate) const STREAM: usize = 32 << 20;

/// Most bytes that one read takes from a TCP socket.
pub(crate) const READ: usize = 64 << 10;

/// Tries to find a port that is free for UDP and for TCP.
pub(crate) const PORTS: usize = 16;
