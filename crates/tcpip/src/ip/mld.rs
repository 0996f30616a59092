//! Which groups we listen to (RFC 3810), so that switches which look do not leave us out: reports of
//! the solicited-node groups, no more.

use std::net::{IpAddr, Ipv6Addr};

use weir_core::rng;
use weir_core::time::{Duration, Instant, nanos};

use crate::device::InterfaceId;
use crate::ip::interface::solicited_node;
use crate::ip::{Due, Ip, LOOPBACK, Received};
use crate::limits::MAX_ADDRESSES;
use crate::link::Mac;
use crate::wire::{ethernet, icmpv6, ipv6, protocol};

/// Where reports go (RFC 3810 section 5.2.14).
const ALL_MLDV2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const QUERY: u8 = 130;
const REPORT_V2: u8 = 143;
/// "I listen now" and "I listen to this" (RFC 3810 section 5.2.12).
const CHANGE_TO_EXCLUDE: u8 = 4;
const IS_EXCLUDE: u8 = 2;
/// RFC 3810 section 9.11: the most that passes before a change is reported once more.
const UNSOLICITED_INTERVAL: Duration = Duration::from_secs(1);
/// The most that a query can have a report wait; the field could say hours.
const MAX_RESPONSE: Duration = Duration::from_secs(10);

impl Ip {
    /// Begins to listen to a group: says so now, and once more a little later, for reports get lost.
    pub(crate) fn join(&mut self, now: Instant, id: InterfaceId, group: Ipv6Addr) {
        self.send_report(id, CHANGE_TO_EXCLUDE, &[group]);
        self.time_groups(now, id, UNSOLICITED_INTERVAL);
    }

    fn time_groups(&mut self, now: Instant, id: InterfaceId, most: Duration) {
        let wait = rng::between(&mut self.rng, 0, nanos(most));
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        // One report of all is enough for any number of queries.
        if !interface.report_due {
            interface.report_due = true;
            self.timers
                .insert(now + Duration::from_nanos(wait), Due::Groups(id));
        }
    }

    /// Reports all groups.
    pub(crate) fn groups_timeout(&mut self, id: InterfaceId) {
        let Some(interface) = self.interfaces.get_mut(id.index()) else {
            return;
        };
        interface.report_due = false;
        let mut groups: Vec<Ipv6Addr> = Vec::new();
        for address in &interface.addresses {
            if let IpAddr::V6(ip) = address.ip()
                && !groups.contains(&solicited_node(ip))
            {
                groups.push(solicited_node(ip));
            }
        }
        if !groups.is_empty() {
            self.send_report(id, IS_EXCLUDE, &groups);
        }
    }

    /// Answers a router that asks who listens (RFC 3810 section 6.2), a little later.
    pub(crate) fn handle_group_query(
        &mut self,
        now: Instant,
        received: &Received<'_>,
        kind: u8,
        body: &[u8],
    ) {
        let from_link = matches!(received.src, IpAddr::V6(src) if src.is_unicast_link_local());
        if kind != QUERY || received.interface == LOOPBACK || received.hop_limit != 1 || !from_link
        {
            return;
        }
        let Some([high, low]) = body.first_chunk::<2>() else {
            return;
        };
        let code = u16::from_be_bytes([*high, *low]);
        let wait = Duration::from_millis(u64::from(code)).min(MAX_RESPONSE);
        self.time_groups(now, received.interface, wait);
    }

    fn send_report(&mut self, id: InterfaceId, change: u8, groups: &[Ipv6Addr]) {
        let Some(interface) = self
            .interface(id)
            .filter(|interface| interface.is_ethernet())
        else {
            return;
        };
        let src_mac = interface.hardware;
        // RFC 3810 section 5.2.13: from the unspecified address while there is none.
        let src = interface.link_local().unwrap_or(Ipv6Addr::UNSPECIFIED);
        let groups = groups.get(..MAX_ADDRESSES).unwrap_or(groups);
        let mut body = vec![0, 0, 0, groups.len() as u8];
        for group in groups {
            body.extend_from_slice(&[change, 0, 0, 0]);
            body.extend_from_slice(&group.octets());
        }
        let report = icmpv6::Message::Other {
            kind: REPORT_V2,
            code: 0,
            body: &body,
        };
        // Hop-by-Hop Options with a router alert (RFC 2711), padded.
        let options = [protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0];
        let len = options.len().saturating_add(4).saturating_add(body.len());
        self.reply(id, |out| {
            let ether_type = ethernet::IPV6;
            let dst = Mac::for_v6_multicast(ALL_MLDV2_ROUTERS);
            ethernet::Header {
                dst,
                src: src_mac,
                ether_type,
            }
            .write(out);
            ipv6::Header {
                src,
                dst: ALL_MLDV2_ROUTERS,
                next_header: protocol::HOP_BY_HOP,
                hop_limit: 1,
                traffic_class: 0,
                flow_label: 0,
                payload_len: 0,
            }
            .write(len, out);
            out.extend_from_slice(&options);
            report.write(src, ALL_MLDV2_ROUTERS, out);
        });
    }
}
