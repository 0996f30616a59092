//! What the internet layer counts, in the names that Linux has for it.

/// Counters of IP, both versions together, and of ICMP. [`IpCounters::iter`] gives them as
/// `/proc/net/snmp` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpCounters {
    /// Packets received, with errors too.
    pub in_receives: u64,
    /// Packets dropped for a malformed header.
    pub in_hdr_errors: u64,
    /// Packets dropped for an address that is not ours, or that none may have.
    pub in_addr_errors: u64,
    /// Packets dropped for an upper layer that nobody knows.
    pub in_unknown_protos: u64,
    /// Packets dropped for want of room.
    pub in_discards: u64,
    /// Packets given to transports and ICMP.
    pub in_delivers: u64,
    /// Packets passed on.
    pub forwarded: u64,
    /// Packets sent by transports.
    pub out_requests: u64,
    /// Packets dropped for want of room, or with their neighbour.
    pub out_discards: u64,
    /// Packets without a route.
    pub out_no_routes: u64,
    /// Fragments received.
    pub reassembly_requests: u64,
    /// Datagrams put together.
    pub reassembly_oks: u64,
    /// Datagrams given up: too old, no room, overlaps.
    pub reassembly_fails: u64,
    /// Datagrams given up for their age.
    pub reassembly_timeouts: u64,
    /// Datagrams cut into fragments.
    pub fragmentation_oks: u64,
    /// Datagrams that were to be cut but must not be.
    pub fragmentation_fails: u64,
    /// Fragments made.
    pub fragmentation_creates: u64,
    /// ICMP messages received.
    pub in_icmp_messages: u64,
    /// ICMP messages that were malformed.
    pub in_icmp_errors: u64,
    /// ICMP echo requests answered.
    pub out_echo_replies: u64,
    /// ICMP errors sent.
    pub out_icmp_errors: u64,
    /// ICMP errors not sent because there had been too many.
    pub out_rate_limited: u64,
}

impl IpCounters {
    /// Every counter as group, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        [
            ("Ip", "InReceives", self.in_receives),
            ("Ip", "InHdrErrors", self.in_hdr_errors),
            ("Ip", "InAddrErrors", self.in_addr_errors),
            ("Ip", "InUnknownProtos", self.in_unknown_protos),
            ("Ip", "InDiscards", self.in_discards),
            ("Ip", "InDelivers", self.in_delivers),
            ("Ip", "ForwDatagrams", self.forwarded),
            ("Ip", "OutRequests", self.out_requests),
            ("Ip", "OutDiscards", self.out_discards),
            ("Ip", "OutNoRoutes", self.out_no_routes),
            ("Ip", "ReasmReqds", self.reassembly_requests),
            ("Ip", "ReasmOKs", self.reassembly_oks),
            ("Ip", "ReasmFails", self.reassembly_fails),
            ("Ip", "ReasmTimeout", self.reassembly_timeouts),
            ("Ip", "FragOKs", self.fragmentation_oks),
            ("Ip", "FragFails", self.fragmentation_fails),
            ("Ip", "FragCreates", self.fragmentation_creates),
            ("Icmp", "InMsgs", self.in_icmp_messages),
            ("Icmp", "InErrors", self.in_icmp_errors),
            ("Icmp", "OutEchoReps", self.out_echo_replies),
            ("Icmp", "OutErrors", self.out_icmp_errors),
            ("Icmp", "OutRateLimitHost", self.out_rate_limited),
        ]
        .into_iter()
    }
}

/// One more.
#[inline]
pub(crate) const fn count(counter: &mut u64) {
    // 2^64 are not reached by ones.
    *counter = counter.wrapping_add(1);
}
