//! Neighbour discovery (RFC 4861 sections 6 and 7).

use std::net::{IpAddr, Ipv6Addr};

use weir_core::time::Instant;

use crate::device::InterfaceId;
use crate::ip::interface::{ALL_NODES, ALL_ROUTERS, is_host, solicited_node};
use crate::ip::{Ip, NeighborState};
use crate::link::Mac;
use crate::wire::ndp::Message;
use crate::wire::{ethernet, icmpv6, ipv6, protocol};

/// What no router has passed on (RFC 4861 section 6.1.1 and others).
pub(crate) const NDP_HOP_LIMIT: u8 = 255;

/// Where a message came from.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) interface: InterfaceId,
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) hop_limit: u8,
}

impl Ip {
    /// Takes a message. Its checksum, code, lengths and options were checked when it was read.
    pub(crate) fn handle_ndp(&mut self, now: Instant, heard: &Heard, message: &Message<'_>) {
        if heard.hop_limit != NDP_HOP_LIMIT {
            self.counters.in_icmp_errors = self.counters.in_icmp_errors.saturating_add(1);
            return;
        }
        match *message {
            Message::NeighborSolicitation { target, source_mac } => {
                self.handle_solicitation(now, heard, target, source_mac);
            }
            Message::NeighborAdvertisement { .. } => self.handle_advertisement(now, heard, message),
            Message::RouterAdvertisement(advertisement) => {
                self.handle_router(now, heard, &advertisement);
            }
            // We are no router that advertises itself. Redirects are ignored: what they say can be true
            // only if the router is honest, who then takes the packets as well.
            Message::RouterSolicitation { .. } | Message::Redirect { .. } => {}
        }
    }

    /// RFC 4861 section 7.2.3, RFC 4862 section 5.4.3.
    fn handle_solicitation(
        &mut self,
        now: Instant,
        heard: &Heard,
        target: Ipv6Addr,
        source_mac: Option<Mac>,
    ) {
        let Some(interface) = self.interface(heard.interface) else {
            return;
        };
        let detection = heard.src.is_unspecified();
        // RFC 4861 section 7.1.1.
        if detection && (source_mac.is_some() || heard.dst != solicited_node(target)) {
            return;
        }
        let own_mac = interface.hardware;
        if source_mac == Some(own_mac) {
            return;
        }
        let Some(address) = interface.address(target.into()) else {
            return;
        };
        if !address.is_ready() {
            if detection {
                self.conflict(now, heard.interface, target.into());
            }
            return;
        }
        let src = IpAddr::V6(heard.src);
        if let Some(mac) = source_mac.filter(|mac| mac.is_unicast() && is_host(src)) {
            self.claim(now, heard.interface, src, mac);
        }
        let answer = Message::NeighborAdvertisement {
            target,
            router: self.forwarding,
            solicited: !detection,
            replaces: true,
            target_mac: Some(own_mac),
        };
        if detection {
            let group = Mac::for_v6_multicast(ALL_NODES);
            return self.send_ndp(heard.interface, group, target, ALL_NODES, &answer);
        }
        match source_mac.filter(|mac| mac.is_unicast()) {
            Some(mac) => self.send_ndp(heard.interface, mac, target, heard.src, &answer),
            None => self.send_ndp_slowly(now, heard.interface, target, heard.src, &answer),
        }
    }

    /// RFC 4861 section 7.2.5.
    fn handle_advertisement(&mut self, now: Instant, heard: &Heard, message: &Message<'_>) {
        let Message::NeighborAdvertisement {
            target,
            router,
            solicited,
            replaces,
            target_mac,
        } = *message
        else {
            return;
        };
        // RFC 4861 section 7.1.2.
        if heard.dst.is_multicast() && solicited {
            return;
        }
        let (id, ip) = (heard.interface, IpAddr::V6(target));
        let own_mac = self.interface(id).map(|interface| interface.hardware);
        if target_mac.is_some() && target_mac == own_mac {
            return;
        }
        if self.conflict(now, id, ip) {
            return;
        }
        let Some(key) = self.neighbors.find(id, ip) else {
            return;
        };
        let Some(entry) = self.neighbors.get_mut(key) else {
            return;
        };
        let was_router = entry.is_router;
        entry.is_router = router;
        let (state, known) = (entry.state, entry.hardware);
        match target_mac.filter(|mac| mac.is_unicast()) {
            None if state == NeighborState::Incomplete => {}
            Some(mac) if state == NeighborState::Incomplete && !solicited => {
                self.claim(now, id, ip, mac);
            }
            Some(mac) if state == NeighborState::Incomplete => self.answered(now, key, mac),
            Some(mac) if mac != known && replaces => {
                self.claim(now, id, ip, mac);
            }
            Some(mac) if mac != known && state == NeighborState::Reachable => {
                self.neighbor_stale(now, key);
            }
            Some(mac) if mac != known => {}
            _ if solicited => self.neighbor_reachable(now, key),
            _ => {}
        }
        if was_router && !router {
            self.no_router(id, target);
        }
    }

    /// Asks who has `target`; `to` where that is thought to be known.
    pub(crate) fn send_solicitation(
        &mut self,
        _now: Instant,
        interface: InterfaceId,
        target: Ipv6Addr,
        to: Option<Mac>,
    ) {
        let source = crate::ip::source::select(
            &self.interfaces,
            interface.index(),
            target.into(),
            target.into(),
        );
        let (Some(IpAddr::V6(src)), Some(own)) = (source, self.interface(interface)) else {
            return;
        };
        let message = Message::NeighborSolicitation {
            target,
            source_mac: Some(own.hardware),
        };
        let group = solicited_node(target);
        let dst = if to.is_some() { target } else { group };
        let mac = to.unwrap_or(Mac::for_v6_multicast(group));
        self.send_ndp(interface, mac, src, dst, &message);
    }

    /// Asks whether somebody has the address that we would like to have (RFC 4862 section 5.4.2).
    pub(crate) fn send_duplicate_probe(&mut self, interface: InterfaceId, target: Ipv6Addr) {
        let message = Message::NeighborSolicitation {
            target,
            source_mac: None,
        };
        let group = solicited_node(target);
        let mac = Mac::for_v6_multicast(group);
        self.send_ndp(interface, mac, Ipv6Addr::UNSPECIFIED, group, &message);
    }

    /// Tells neighbours that an address is ours from now on, so that those who knew it elsewhere look
    /// into it (RFC 4861 section 7.2.6).
    pub(crate) fn announce(&mut self, interface: InterfaceId, target: Ipv6Addr) {
        let Some(own) = self.interface(interface) else {
            return;
        };
        let message = Message::NeighborAdvertisement {
            target,
            router: self.forwarding,
            solicited: false,
            replaces: true,
            target_mac: Some(own.hardware),
        };
        let group = Mac::for_v6_multicast(ALL_NODES);
        self.send_ndp(interface, group, target, ALL_NODES, &message);
    }

    /// Asks for routers (RFC 4861 section 6.3.7).
    pub(crate) fn send_router_solicitation(&mut self, interface: InterfaceId) {
        let Some(own) = self.interface(interface) else {
            return;
        };
        let (src, source_mac) = match own.link_local() {
            Some(src) => (src, Some(own.hardware)),
            None => (Ipv6Addr::UNSPECIFIED, None),
        };
        let message = Message::RouterSolicitation { source_mac };
        let mac = Mac::for_v6_multicast(ALL_ROUTERS);
        self.send_ndp(interface, mac, src, ALL_ROUTERS, &message);
    }

    /// Sends a message to a known Ethernet address.
    fn send_ndp(
        &mut self,
        interface: InterfaceId,
        dst_mac: Mac,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: &Message<'_>,
    ) {
        let Some(own) = self.interface(interface) else {
            return;
        };
        let src_mac = own.hardware;
        self.reply(interface, |out| {
            let ether_type = ethernet::IPV6;
            ethernet::Header {
                dst: dst_mac,
                src: src_mac,
                ether_type,
            }
            .write(out);
            write_ndp(src, dst, message, out);
        });
    }

    /// Sends a message to a neighbour whose Ethernet address may not be known.
    fn send_ndp_slowly(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: &Message<'_>,
    ) {
        let next_hop = IpAddr::V6(dst);
        self.reply_through(now, interface, next_hop, |out| {
            write_ndp(src, dst, message, out)
        });
    }
}

/// Appends a message with its IPv6 header.
fn write_ndp(src: Ipv6Addr, dst: Ipv6Addr, message: &Message<'_>, out: &mut Vec<u8>) {
    let begun = out.len();
    let mut header = ipv6::Header {
        src,
        dst,
        next_header: protocol::ICMPV6,
        hop_limit: NDP_HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: 0,
    };
    header.write(0, out);
    let body = out.len();
    icmpv6::Message::Ndp(*message).write(src, dst, out);
    header.payload_len = u16::try_from(out.len().saturating_sub(body)).unwrap_or(u16::MAX);
    let at = begun.saturating_add(4);
    if let Some(field) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = header.payload_len.to_be_bytes();
    }
}
