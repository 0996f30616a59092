//! What can be seen of a stack at any moment.

use super::Counters;

/// A stack as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackStats {
    /// What it counted since it was made.
    pub counters: Counters,
    /// TCP connections, but those in TIME-WAIT.
    pub connections: usize,
    /// Those among them in SYN-RECEIVED.
    pub half_open: usize,
    /// Those among them that the application let go of.
    pub orphans: usize,
    /// Connections in TIME-WAIT.
    pub time_waits: usize,
    /// Listeners.
    pub listeners: usize,
    /// Attempts that wait for the application's decision.
    pub incoming: usize,
    /// UDP sockets.
    pub udp_sockets: usize,
    /// Bytes that buffers hold, of [`Config::memory`](crate::Config::memory).
    pub memory: u64,
}
