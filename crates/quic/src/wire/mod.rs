//! Bytes to values and back, without state: what RFC 8999, 9000 and the extensions define.

mod connection_id;
pub mod frame;
pub mod header;
pub mod packet_number;
mod stream_id;
#[cfg(test)]
mod tests_support;
pub mod transport_parameters;
pub mod varint;
mod version;

pub use connection_id::ConnectionId;
pub use frame::Frame;
pub use header::{Packet, PacketType};
pub use stream_id::{Dir, Side, StreamId};
pub use transport_parameters::TransportParameters;
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
