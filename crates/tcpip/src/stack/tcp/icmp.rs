//! ICMP errors about segments that this side sent.

use std::net::SocketAddr;

use super::{Tcp, hash};
use crate::ip::{IcmpError, IcmpKind};
use crate::stack::demux::Target;
use crate::stack::host::Host;
use crate::tcp::interface::Tuple;

impl Tcp {
    /// Takes an ICMP error to the connection that it is about. Whether it is believed is the
    /// connection's to say (RFC 5927 section 4).
    pub(crate) fn on_icmp(&mut self, host: &mut Host<'_>, error: &IcmpError<'_>) {
        // RFC 792: the first eight bytes are quoted at least: both ports, the sequence number.
        let Some([a, b, c, d, rest @ ..]) = error.quoted.first_chunk::<8>() else {
            return;
        };
        let tuple = Tuple {
            local: SocketAddr::new(error.src, u16::from_be_bytes([*a, *b])),
            remote: SocketAddr::new(error.dst, u16::from_be_bytes([*c, *d])),
        };
        let seq = u32::from_be_bytes(*rest);
        let found = self.find(hash(&host.shared.spread, &tuple), &tuple);
        let Some(Target::Connection(index)) = found else {
            return;
        };
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        let connection = &mut entry.connection;
        if !connection.is_in_flight(seq) {
            return;
        }
        let mut kind = error.kind;
        if let IcmpKind::PacketTooBig { mtu } = kind {
            // T133, T134
            let Some(mtu) = host
                .ip
                .on_packet_too_big(host.now, error.dst, mtu, error.size)
            else {
                return;
            };
            entry.route.mtu = mtu;
            kind = IcmpKind::PacketTooBig {
                mtu: u32::from(mtu),
            };
        }
        connection.handle_icmp(&mut host.context(), kind, Some(seq));
        self.touch(index);
    }
}
