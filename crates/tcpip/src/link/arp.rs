//! ARP (RFC 826, RFC 1122 section 2.3.2), probes and announcements (RFC 5227).

use std::net::{IpAddr, Ipv4Addr};

use weir_core::time::Instant;

use crate::device::InterfaceId;
use crate::ip::interface::is_host;
use crate::ip::{Cause, Ip, NeighborState};
use crate::link::Mac;
use crate::wire::arp::{self, Operation, Packet};
use crate::wire::ethernet;

impl Ip {
    /// Takes an ARP packet that came in a frame from `from`.
    pub(crate) fn handle_arp(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        from: Mac,
        bytes: &[u8],
    ) {
        let Ok(packet) = arp::parse(bytes) else {
            self.discard_other("ARP", bytes.len(), Cause::ARP);
            return;
        };
        let Some(own) = self.interface(interface) else {
            return;
        };
        // What we sent ourselves and a bridge gave back says nothing. A frame from one station about
        // another comes from no honest one.
        let sender = packet.sender_mac;
        if from == own.hardware || sender != from || !sender.is_unicast() {
            return;
        }
        let (src, dst) = (IpAddr::V4(packet.sender_ip), IpAddr::V4(packet.target_ip));
        if self.address_in_use(now, interface, &packet) {
            return;
        }
        let Some(own) = self.interface(interface) else {
            return;
        };
        let for_us = own.has(dst);
        // A neighbour has an address of the link (RFC 1122 section 2.3.2.1 is about entries that are
        // wrong; whoever is not on the link has no entry at all).
        if is_host(src) && own.is_on_link(src) && !own.is_broadcast(packet.sender_ip) {
            self.learn(now, interface, &packet, for_us);
        } else if !packet.sender_ip.is_unspecified() {
            return;
        }
        if for_us && packet.operation == Operation::Request {
            self.send_arp(
                interface,
                sender,
                &Packet {
                    operation: Operation::Reply,
                    sender_mac: Mac::ZERO,
                    sender_ip: packet.target_ip,
                    target_mac: sender,
                    target_ip: packet.sender_ip,
                },
            );
        }
    }

    /// RFC 826: what is known of the sender is brought up to date; who asks for us is remembered, for he
    /// will be answered. Unasked, nobody is remembered who was not known.
    fn learn(&mut self, now: Instant, interface: InterfaceId, packet: &Packet, for_us: bool) {
        let src = IpAddr::V4(packet.sender_ip);
        let known = self.neighbors.find(interface, src);
        let asked = known
            .and_then(|key| self.neighbors.get(key))
            .is_some_and(|entry| {
                matches!(
                    entry.state,
                    NeighborState::Incomplete | NeighborState::Probe
                )
            });
        match known {
            Some(key) if asked && for_us && packet.operation == Operation::Reply => {
                self.answered(now, key, packet.sender_mac);
            }
            None if !for_us || packet.operation == Operation::Reply => {}
            _ => {
                self.claim(now, interface, src, packet.sender_mac);
            }
        }
    }

    /// Asks who has `target`; `to` where that is thought to be known.
    pub(crate) fn send_arp_request(
        &mut self,
        _now: Instant,
        interface: InterfaceId,
        target: Ipv4Addr,
        to: Option<Mac>,
    ) {
        let own = usize::from(interface.0);
        let source = crate::ip::source::select(&self.interfaces, own, target.into(), target.into());
        let Some(IpAddr::V4(sender_ip)) = source else {
            return;
        };
        self.send_arp(
            interface,
            to.unwrap_or(Mac::BROADCAST),
            &Packet {
                operation: Operation::Request,
                sender_mac: Mac::ZERO,
                sender_ip,
                target_mac: Mac::ZERO,
                target_ip: target,
            },
        );
    }

    /// Asks whether somebody has the address that we would like to have (RFC 5227 section 1.1), or says
    /// that it is ours.
    pub(crate) fn send_arp_probe(
        &mut self,
        interface: InterfaceId,
        address: Ipv4Addr,
        announce: bool,
    ) {
        let sender_ip = if announce {
            address
        } else {
            Ipv4Addr::UNSPECIFIED
        };
        self.send_arp(
            interface,
            Mac::BROADCAST,
            &Packet {
                operation: Operation::Request,
                sender_mac: Mac::ZERO,
                sender_ip,
                target_mac: Mac::ZERO,
                target_ip: address,
            },
        );
    }

    /// Sends an ARP packet from our own Ethernet address.
    fn send_arp(&mut self, interface: InterfaceId, dst: Mac, packet: &Packet) {
        let Some(own) = self.interface(interface) else {
            return;
        };
        let src = own.hardware;
        let packet = Packet {
            sender_mac: src,
            ..*packet
        };
        self.reply(interface, |out| {
            let ether_type = ethernet::ARP;
            ethernet::Header {
                dst,
                src,
                ether_type,
            }
            .write(out);
            packet.write(out);
        });
    }
}
