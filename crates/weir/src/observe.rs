//! Where those who want to look inside hang their instruments.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::trace::Sink;
use weir_tcpip::{Frame, Medium, Offload};

pub use crate::carrier::Tap;
use crate::security::PeerId;
use crate::via::Via;

/// What is known of a connection when its instruments are made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// A number of this process for this connection, from 1.
    pub number: u64,
    /// Whether this side dialled.
    pub dialled: bool,
    /// How the streams are carried.
    pub via: Via,
    /// Whose key answered, where the way is authenticated (known after the handshake).
    pub peer: Option<PeerId>,
    /// This side's address.
    pub local_addr: SocketAddr,
    /// The peer's address.
    pub remote_addr: SocketAddr,
    /// Why it is carried so, in words, where there was a choice ([`Via::Auto`]).
    pub why: Option<Arc<str>>,
}

/// Makes the instruments of each connection. What it returns is called on the way of every event,
/// so a sink must neither block nor wait.
pub trait Observer: Send + Sync + 'static {
    /// The sinks that one connection reports its events to.
    fn sinks(&self, connection: &ConnectionInfo) -> Vec<Box<dyn Sink>>;

    /// A tap for the bytes of one connection as they stand on the wire, both ways.
    fn tap(&self, connection: &ConnectionInfo) -> Option<Box<dyn Tap>> {
        let _ = connection;
        None
    }

    /// A tap for the datagrams of one UDP socket, whatever connections they belong to.
    fn datagram_tap(&self, local_addr: SocketAddr) -> Option<Box<dyn DatagramTap>> {
        let _ = local_addr;
        None
    }

    /// The sinks that a TCP/IP stack reports the events of all its connections to.
    fn stack_sinks(&self, stack: &StackInfo<'_>) -> Vec<Box<dyn Sink>> {
        let _ = stack;
        Vec::new()
    }

    /// A tap for the frames of one device of a TCP/IP stack.
    fn frame_tap(&self, device: &DeviceInfo<'_>) -> Option<Box<dyn FrameTap>> {
        let _ = device;
        None
    }

    /// Whether [`Observer::secret`] is to be called: a capture that carries its keys decrypts
    /// everything.
    fn wants_secrets(&self) -> bool {
        false
    }

    /// A line of the TLS key log, without its line break.
    fn secret(&self, line: &str) {
        let _ = line;
    }
}

/// An observer that is shared by an endpoint's connections.
pub type SharedObserver = Arc<dyn Observer>;

/// What is known of a TCP/IP stack when its instruments are made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StackInfo<'a> {
    /// What people call it.
    pub name: &'a str,
}

/// What is known of a device when its tap is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeviceInfo<'a> {
    /// What people call it: `tun0`.
    pub name: &'a str,
    /// What its frames begin with.
    pub medium: Medium,
}

/// Is shown the frames of one device of a TCP/IP stack. It stands on the way of every batch: it must
/// neither block nor wait.
pub trait FrameTap: Send {
    /// The device took the frame.
    fn sent(&mut self, frame: &Frame<'_>);

    /// The frame arrived, with what the device says of it.
    fn received(&mut self, frame: &[u8], offload: &Offload);
}

/// Is shown the datagrams of one UDP socket. It stands on the way of every batch: it must neither
/// block nor wait.
pub trait DatagramTap: Send {
    /// The system took them.
    fn sent(&mut self, batch: &DatagramBatch<'_>);

    /// They arrived.
    fn received(&mut self, batch: &DatagramBatch<'_>);
}

/// Datagrams between the same two addresses that went through one system call.
#[derive(Clone, Copy, Debug)]
pub struct DatagramBatch<'a> {
    /// The address here: that of the socket, with the packets' own IP address where that is known.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The ECN bits of their IP headers, 0 to 3 (RFC 3168 section 5).
    pub ecn: u8,
    /// Size of each datagram but the last, which may be shorter, in bytes; 0: there is only one.
    pub segment: usize,
    /// Their payloads, one behind the other.
    pub data: &'a [u8],
}

impl<'a> DatagramBatch<'a> {
    /// The payloads, one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> {
        let size = match self.segment {
            0 => self.data.len(),
            size => size,
        };
        self.data.chunks(size.max(1))
    }
}
