//! Whose turn it is to send.

use super::socket::Outgoing;
use super::{Quote, Sockets, UdpError};
use crate::ip::{Cut, Hints, IcmpKind, Packet, SendError};
use crate::limits::{GATHER_FROM, TURN_BYTES};
use crate::stack::host::Host;
use crate::stack::{Event, UdpKey};
use crate::transmit::TransmitBuf;
use crate::wire::checksum;
use crate::wire::protocol;
use crate::wire::udp::{CHECKSUM_OFFSET, HEADER_LEN, Header, checksum_field};

impl Sockets {
    /// Whether there may be something to send.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Fills the batch. True when there is more than fits.
    pub(crate) fn poll_transmit(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf) -> bool {
        while !out.is_full()
            && let Some(index) = self.ready.pop_front()
        {
            self.turn(host, out, index);
        }
        !self.ready.is_empty()
    }

    /// One socket's turn.
    fn turn(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf, index: u32) {
        let (Some(key), Some(socket)) = (self.slab.key_at(index), self.slab.get_at_mut(index))
        else {
            return;
        };
        socket.queued = false;
        let mut left = TURN_BYTES;
        while !out.is_full()
            && left > 0
            && let Some(outgoing) = socket.pop_outgoing()
        {
            let bytes = super::socket::cost(outgoing.data.len());
            left = left.saturating_sub(bytes);
            host.shared.budget.release(bytes as u64);
            let settings = Settings {
                hop_limit: socket.config.hop_limit,
                dscp: socket.config.dscp,
                checksum: socket.config.checksum,
                fragment: socket.config.fragment,
            };
            let remote = outgoing.to;
            if !send(host, out, outgoing, settings) {
                let error = UdpError {
                    remote,
                    kind: IcmpKind::HostUnreachable,
                    quoted: Quote::default(),
                };
                if socket.push_error(error) {
                    host.tell(Event::UdpError(UdpKey(key)));
                }
            }
        }
        if socket.has_outgoing() {
            socket.queued = true;
            self.ready.push_back(index);
        } else if socket.closing {
            self.remove(host, key);
            return;
        }
        if socket.blocked && socket.is_roomy() {
            socket.blocked = false;
            host.tell(Event::UdpWritable(UdpKey(key)));
        }
    }
}

/// A socket's settings that go into packets.
#[derive(Copy, Clone)]
struct Settings {
    hop_limit: u8,
    dscp: u8,
    checksum: bool,
    fragment: bool,
}

/// Sends what was queued in one call: as one packet where the device cuts it, else one for each
/// datagram. False where the next hop is known not to answer.
fn send(
    host: &mut Host<'_>,
    out: &mut TransmitBuf,
    mut outgoing: Outgoing,
    settings: Settings,
) -> bool {
    if !host.ip.is_current(&outgoing.route)
        && let Ok(route) = host.ip.route(outgoing.to.ip(), Some(outgoing.from.ip()))
    {
        outgoing.route = route;
    }
    let capabilities = host.ip.capabilities(outgoing.route.interface);
    let (partial, most) = capabilities.map_or((false, 0), |it| {
        let cuts = it.checksum_offload && it.segmentation.udp;
        let most = it.segmentation.max_bytes.saturating_sub(62);
        (it.checksum_offload, if cuts { most } else { 0 })
    });
    let (all, size) = (outgoing.data.len(), outgoing.size.max(1));
    let count = all.div_ceil(size).max(1) as u64;
    let counters = host.counters();
    counters.udp_out_datagrams = counters.udp_out_datagrams.saturating_add(count);
    if count == 1 || all <= most {
        let cut = (count > 1).then_some(size);
        return packet(host, out, outgoing, settings, partial, cut);
    }
    let mut rest = core::mem::take(&mut outgoing.data);
    let mut is_reachable = true;
    while !rest.is_empty() {
        let one = Outgoing {
            data: rest.split_to(size.min(rest.len())),
            ..outgoing
        };
        is_reachable &= packet(host, out, one, settings, partial, None);
    }
    is_reachable
}

fn packet(
    host: &mut Host<'_>,
    out: &mut TransmitBuf,
    outgoing: Outgoing,
    settings: Settings,
    partial: bool,
    cut: Option<usize>,
) -> bool {
    let Outgoing {
        data,
        from,
        to,
        ecn,
        route,
        ..
    } = outgoing;
    let len = HEADER_LEN.saturating_add(data.len());
    // T150: IPv6 has no datagrams without a checksum.
    let has_checksum = settings.checksum || !to.is_ipv4();
    // What is cut into fragments must have its checksum before (the device sees only pieces).
    let fits = cut.is_some() || len.saturating_add(40) <= usize::from(route.mtu);
    let partial = partial && has_checksum && fits;
    let packet = Packet {
        src: from.ip(),
        dst: to.ip(),
        protocol: protocol::UDP,
        ecn,
        dscp: settings.dscp,
        hop_limit: settings.hop_limit,
        dont_fragment: !settings.fragment,
        transport_len: len,
        hints: Hints {
            checksum_at: partial.then_some(CHECKSUM_OFFSET),
            cut: cut.map(|size| Cut {
                size: u16::try_from(size).unwrap_or(u16::MAX),
                header_len: HEADER_LEN as u16,
            }),
        },
    };
    let pseudo_len = u32::try_from(len).unwrap_or(u32::MAX);
    let mut sum = checksum::pseudo(packet.src, packet.dst, protocol::UDP, pseudo_len);
    let mut header = Header {
        src_port: from.port(),
        dst_port: to.port(),
        len: u16::try_from(len).unwrap_or(0),
        checksum: 0,
    };
    if partial {
        header.checksum = sum.fold();
    } else if has_checksum {
        for field in [header.src_port, header.dst_port, header.len] {
            sum.add_u16(field);
        }
        sum.add_bytes(&data);
        header.checksum = checksum_field(sum.finish());
    }
    // What cannot be sent is lost, as in a network.
    let sent = host.ip.send(host.now, out, &route, &packet, |out| {
        header.write(&mut out.data);
        if partial && data.len() >= GATHER_FROM {
            out.slices.push(data);
        } else {
            out.data.extend_from_slice(&data);
        }
    });
    sent != Err(SendError::HostUnreachable)
}
