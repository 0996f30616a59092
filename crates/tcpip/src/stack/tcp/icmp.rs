//! What ICMP and the link say about segments that this side sent.

use std::net::{IpAddr, SocketAddr};

use super::{Tcp, hash};
use crate::ip::{IcmpError, IcmpKind, Undelivered};
use crate::stack::demux::Target;
use crate::stack::host::Host;
use crate::tcp::interface::Tuple;

impl Tcp {
    /// Takes an ICMP error to the connection that it is about. Whether it is believed is the
    /// connection's to say (RFC 5927 section 4).
    pub(crate) fn on_icmp(&mut self, host: &mut Host<'_>, error: &IcmpError<'_>) {
        // RFC 792: the first eight bytes are quoted at least: both ports, the sequence number.
        let Some(quoted) = error.quoted.first_chunk() else {
            return;
        };
        let Some((index, seq)) = self.quoted(host, (error.src, error.dst), quoted) else {
            return;
        };
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        // Who sleeps has nothing in flight, and is not woken for it.
        if entry.is_asleep() || !entry.connection().is_in_flight(seq) {
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
        let connection = entry.connection();
        connection.handle_icmp(&mut host.context(), kind, Some(seq));
        self.touch(index);
    }

    /// Tells a connection that a segment of its is lost, and that nobody on the link answers for its next
    /// hop. Where there is another one by now, its next segment goes there.
    pub(crate) fn on_undelivered(&mut self, host: &mut Host<'_>, lost: &Undelivered) {
        let Some((index, seq)) = self.quoted(host, (lost.src, lost.dst), &lost.quoted) else {
            return;
        };
        let way = host.ip.route(lost.dst, Some(lost.src));
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        let is_other = way.is_ok_and(|way| way.next_hop != lost.next_hop);
        if is_other || entry.is_asleep() || !entry.connection().is_in_flight(seq) {
            return;
        }
        entry.connection().handle_unreachable(&mut host.context());
        self.touch(index);
    }

    /// The connection of the segment that begins so, and its sequence number.
    fn quoted(
        &self,
        host: &Host<'_>,
        (src, dst): (IpAddr, IpAddr),
        [a, b, c, d, seq @ ..]: &[u8; 8],
    ) -> Option<(u32, u32)> {
        let tuple = Tuple {
            local: SocketAddr::new(src, u16::from_be_bytes([*a, *b])),
            remote: SocketAddr::new(dst, u16::from_be_bytes([*c, *d])),
        };
        match self.find(hash(&host.shared.spread, &tuple), &tuple)? {
            Target::Connection(index) => Some((index, u32::from_be_bytes(*seq))),
            _ => None,
        }
    }
}
