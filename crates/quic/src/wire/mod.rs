//! Bytes to values and back, without state: what RFC 8999, 9000 and the extensions define.

mod connection_id;
mod stream_id;
mod version;

pub use connection_id::ConnectionId;
pub use stream_id::{Dir, Side, StreamId};
pub use version::Version;

/// The three packet number spaces (RFC 9000 section 12.3).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Initial packets.
    Initial,
    /// Handshake packets.
    Handshake,
    /// 0-RTT and 1-RTT packets.
    Data,
}

impl Space {
    /// All, in the order in which a handshake goes through them.
    pub const ALL: [Space; 3] = [Space::Initial, Space::Handshake, Space::Data];

    /// Its place in tables of three.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
