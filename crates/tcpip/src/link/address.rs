//! An address's way into use: duplicate address detection (RFC 4862 section 5.4), probes, announcements
//! and defence (RFC 5227 section 2).

use std::net::IpAddr;

use weir_core::rng;
use weir_core::time::{Duration, Instant, nanos};

use crate::device::InterfaceId;
use crate::ip::interface::{Address, AddressState};
use crate::ip::{Due, Ip, IpEvent};
use crate::link::IDGEN_RETRIES;
use crate::wire::arp::Packet;

/// RFC 4862 section 5.1: solicitations sent before an IPv6 address is used.
const DUP_ADDR_DETECT_TRANSMITS: u8 = 1;
/// RFC 4861 section 10: the most that a first message after start-up waits.
const MAX_FIRST_DELAY: Duration = Duration::from_secs(1);
/// RFC 5227 section 1.1: probes, ...
const PROBE_NUM: u8 = 3;
/// ... the time between them, ...
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(2);
/// ... the time after the last, ...
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// ... announcements, ...
const ANNOUNCE_NUM: u8 = 2;
/// ... the time between them, ...
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// ... and the least time between two defences.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Ip {
    /// Begins with an address that was just added: looks for duplicates where that is wanted, else
    /// takes it into use.
    pub(crate) fn start_address(&mut self, now: Instant, id: InterfaceId, ip: IpAddr) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        let ethernet = interface.is_ethernet();
        let probes = match ip {
            IpAddr::V4(_) if interface.probe_ipv4 => PROBE_NUM,
            IpAddr::V6(_) if interface.dad => DUP_ADDR_DETECT_TRANSMITS,
            _ => 0,
        };
        if let Some(address) = interface.address_mut(ip)
            && probes > 0
        {
            address.state = AddressState::Tentative;
            address.left = probes;
            let cidr = address.cidr;
            self.note_address(id, cidr, AddressState::Tentative.as_str());
        }
        if ethernet && let IpAddr::V6(ip) = ip {
            self.join(now, id, crate::ip::interface::solicited_node(ip));
        }
        if probes == 0 {
            return self.address_ready(now, id, ip);
        }
        let wait = rng::between(&mut self.rng, 0, nanos(MAX_FIRST_DELAY));
        self.time_address(id, ip, now + Duration::from_nanos(wait));
    }

    /// What is due at an address: the next probe, its readiness, the next announcement.
    pub(crate) fn address_timeout(&mut self, now: Instant, id: InterfaceId, ip: IpAddr) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        let retrans = interface.link.retrans_timer;
        let Some(address) = interface
            .address_mut(ip)
            .filter(|address| address.due <= now)
        else {
            return;
        };
        address.due = Instant::MAX;
        let probing = address.state == AddressState::Tentative;
        if address.left == 0 {
            if probing {
                self.address_ready(now, id, ip);
            }
            return;
        }
        address.left = address.left.saturating_sub(1);
        let last = address.left == 0;
        match ip {
            IpAddr::V6(ip) => self.send_duplicate_probe(id, ip),
            IpAddr::V4(ip) => self.send_arp_probe(id, ip, !probing),
        }
        let next = match (ip, probing, last) {
            (IpAddr::V6(_), ..) => retrans,
            (_, true, true) => ANNOUNCE_WAIT,
            (_, true, false) => {
                let (least, most) = (nanos(PROBE_MIN), nanos(PROBE_MAX));
                Duration::from_nanos(rng::between(&mut self.rng, least, most))
            }
            (_, false, true) => return,
            (_, false, false) => ANNOUNCE_INTERVAL,
        };
        self.time_address(id, ip, now + next);
    }

    /// Nobody else has the address, or nobody was asked: it is ours from now on.
    fn address_ready(&mut self, now: Instant, id: InterfaceId, ip: IpAddr) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        let ethernet = interface.is_ethernet();
        let Some(address) = interface.address_mut(ip) else {
            return;
        };
        address.state = if address.preferred_until > now {
            AddressState::Preferred
        } else {
            AddressState::Deprecated
        };
        address.left = 0;
        let (cidr, state) = (address.cidr, address.state);
        self.note_address(id, cidr, state.as_str());
        self.changed();
        self.tell(IpEvent::AddressReady {
            interface: id,
            address: ip,
        });
        match ip {
            IpAddr::V4(ip4) if ethernet => {
                self.send_arp_probe(id, ip4, true);
                let interface = self.interfaces.get_mut(id.index());
                if let Some(address) = interface.and_then(|interface| interface.address_mut(ip)) {
                    address.left = ANNOUNCE_NUM.saturating_sub(1);
                }
                self.time_address(id, ip, now + ANNOUNCE_INTERVAL);
            }
            IpAddr::V6(ip6) if ethernet => {
                self.announce(id, ip6);
                if ip6.is_unicast_link_local() {
                    self.start_solicitations(now, id);
                }
            }
            _ => {}
        }
    }

    fn time_address(&mut self, id: InterfaceId, ip: IpAddr, at: Instant) {
        let interface = self.interfaces.get_mut(id.index());
        if let Some(address) = interface.and_then(|interface| interface.address_mut(ip)) {
            address.due = at;
            self.timers.insert(at, Due::Address(id, ip));
        }
    }

    /// Somebody else uses `ip`, or means to. True when it is an address of ours on that link.
    pub(crate) fn conflict(&mut self, now: Instant, id: InterfaceId, ip: IpAddr) -> bool {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return false;
        };
        let Some(address) = interface.address_mut(ip) else {
            return false;
        };
        let (was, tentative) = (*address, address.state == AddressState::Tentative);
        let defend = !tentative && may_defend(address, now);
        if tentative {
            // T145: it is not used.
            interface.addresses.retain(|address| address.ip() != ip);
            self.note_address(id, was.cidr, "duplicate");
            self.forget_network(id, ip);
            self.changed();
        }
        if defend && let IpAddr::V4(ip) = ip {
            self.send_arp_probe(id, ip, true);
        }
        if tentative || defend {
            self.tell(IpEvent::AddressConflict {
                interface: id,
                address: ip,
                lost: tentative,
            });
        }
        if tentative {
            self.try_another(now, id, &was);
        }
        true
    }

    /// RFC 7217 section 6: where an address was made of a secret and is somebody else's, another is made.
    fn try_another(&mut self, now: Instant, id: InterfaceId, was: &Address) {
        let (Some(taken), IpAddr::V6(ip)) = (was.taken, was.ip()) else {
            return;
        };
        let taken = taken.saturating_add(1);
        let own = self.interface(id).filter(|_| taken <= IDGEN_RETRIES);
        let Some(next) = own.and_then(|own| own.own_address(ip, taken)) else {
            return;
        };
        let next = Address {
            preferred_until: was.preferred_until,
            valid_until: was.valid_until,
            autonomous: was.autonomous,
            ..next
        };
        self.put_address(now, id, next);
        self.changed();
    }

    /// RFC 5227 sections 2.1.1 and 2.4: true when an ARP packet is about an address of ours that somebody
    /// else uses or means to use.
    pub(crate) fn address_in_use(
        &mut self,
        now: Instant,
        id: InterfaceId,
        packet: &Packet,
    ) -> bool {
        let Some(interface) = self.interface(id) else {
            return false;
        };
        let (src, dst) = (IpAddr::V4(packet.sender_ip), IpAddr::V4(packet.target_ip));
        let probes_ours = packet.sender_ip.is_unspecified()
            && interface
                .address(dst)
                .is_some_and(|address| !address.is_ready());
        let used = if probes_ours { dst } else { src };
        if !probes_ours && interface.address(src).is_none() {
            return false;
        }
        self.conflict(now, id, used)
    }
}

/// RFC 5227 section 2.4: a defence every ten seconds at most, so that two that both defend do not flood
/// the link. The address is kept all the same: connections may depend on it.
fn may_defend(address: &mut Address, now: Instant) -> bool {
    let may = address
        .defended
        .is_none_or(|at| now.saturating_duration_since(at) >= DEFEND_INTERVAL);
    if may {
        address.defended = Some(now);
    }
    may
}
