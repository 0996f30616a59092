//! Fragments that arrive, and datagrams that are given up.

use weir_core::slab::Key;
use weir_core::time::Instant;

use crate::device::Checksum;
use crate::ip::counters::count;
use crate::ip::input::Incoming;
use crate::ip::reassembly::{DatagramId, Fragment, Outcome, TIMEOUT_V4, TIMEOUT_V6, Whole};
use crate::ip::{Arrived, Cause, Complaint, Due, Ecn, Ip, Received};
use crate::wire::ipv6::Extension;
use crate::wire::{checksum, ipv4, ipv6, protocol};

impl Ip {
    /// Takes a fragment of IPv4; the datagram when it is whole.
    pub(crate) fn take_fragment_v4<'a>(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        packet: &[u8],
        parsed: &ipv4::Parsed<'_>,
        to_many: bool,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        let header = &parsed.header;
        let end = usize::from(header.fragment_offset).saturating_add(parsed.payload.len());
        let uneven = header.more_fragments && parsed.payload.len() & 7 != 0;
        if uneven || end > usize::from(u16::MAX) || parsed.payload.is_empty() {
            self.discard(packet, Cause::FRAGMENT);
            return None;
        }
        let fragment = Fragment {
            of: DatagramId {
                interface: incoming.interface,
                src: header.src.into(),
                dst: header.dst.into(),
                protocol: header.protocol,
                id: u32::from(header.id),
            },
            offset: header.fragment_offset,
            more: header.more_fragments,
            ecn: Ecn::from_bits(header.dscp_ecn),
            packet,
            header_len: packet.len().saturating_sub(parsed.payload.len()),
            next_header: header.protocol,
            payload: parsed.payload,
        };
        let whole = self.take_fragment(now, &fragment, scratch)?;
        join_v4(scratch, whole.header_len)?;
        let packet: &'a [u8] = scratch;
        self.deliver(
            now,
            Received {
                interface: incoming.interface,
                src: header.src.into(),
                dst: header.dst.into(),
                protocol: header.protocol,
                ecn: whole.ecn,
                hop_limit: header.ttl,
                to_many,
                payload: packet.get(whole.header_len..)?,
                packet,
                checksum: Checksum::Complete,
                segments: None,
            },
        )
    }

    /// The same of IPv6. `received` is what the packet would be if it were whole.
    pub(crate) fn take_fragment_v6<'a>(
        &mut self,
        now: Instant,
        received: &Received<'_>,
        packet: &[u8],
        part: &ipv6::Fragment<'_>,
        scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        // T140
        if let Err(rejected) = part.check() {
            self.discard(packet, Cause::FRAGMENT);
            self.reject(now, packet, rejected);
            return None;
        }
        if part.fragment_offset == 0 && !has_all_headers(part) {
            self.discard(packet, Cause::FRAGMENT);
            return None;
        }
        let fragment = Fragment {
            of: DatagramId {
                interface: received.interface,
                src: received.src,
                dst: received.dst,
                protocol: 0,
                id: part.id,
            },
            offset: part.fragment_offset,
            more: part.more_fragments,
            ecn: received.ecn,
            packet,
            header_len: part.offset,
            next_header: part.next_header,
            payload: part.payload,
        };
        let whole = self.take_fragment(now, &fragment, scratch)?;
        join_v6(scratch, &whole)?;
        let packet: &'a [u8] = scratch;
        let (header, payload) = ipv6::parse(packet).ok()?;
        // What is in fragments is not in fragments again.
        let Extension::Upper(upper) =
            self.walk(now, packet, ipv6::upper(header.next_header, payload))?
        else {
            self.discard(packet, Cause::FRAGMENT);
            return None;
        };
        let mut received = Received {
            packet,
            payload: upper.payload,
            ecn: whole.ecn,
            checksum: Checksum::Complete,
            segments: None,
            ..*received
        };
        self.deliver_upper(now, &mut received, &upper, true)
    }

    fn take_fragment(
        &mut self,
        now: Instant,
        fragment: &Fragment<'_>,
        whole: &mut Vec<u8>,
    ) -> Option<Whole> {
        count(&mut self.counters.reassembly_requests);
        let before = self.reassembly.len();
        let outcome = self.reassembly.take(fragment, whole);
        match outcome {
            Outcome::Waits(begun) => {
                if let Some(key) = begun {
                    let timeout = if fragment.of.src.is_ipv4() {
                        TIMEOUT_V4
                    } else {
                        TIMEOUT_V6
                    };
                    self.timers.insert(now + timeout, Due::Fragments(key));
                }
                let kept = before.saturating_add(usize::from(begun.is_some()));
                let evicted = kept.saturating_sub(self.reassembly.len()) as u64;
                let fails = &mut self.counters.reassembly_fails;
                *fails = fails.saturating_add(evicted);
                None
            }
            Outcome::Duplicate => None,
            Outcome::Refused => {
                self.discard(fragment.packet, Cause::FRAGMENT_REFUSED);
                None
            }
            Outcome::Whole(whole) => {
                count(&mut self.counters.reassembly_oks);
                Some(whole)
            }
        }
    }

    /// T138: fragments waited long enough. Their sender is told, if the first one is among them.
    pub(crate) fn fragments_timeout(&mut self, now: Instant, key: Key) {
        let Some(given_up) = self.reassembly.expire(key) else {
            return;
        };
        self.discard(&given_up.first, Cause::FRAGMENT_OLD);
        count(&mut self.counters.reassembly_timeouts);
        if !given_up.first.is_empty() {
            self.complain(now, &given_up.first, Complaint::Reassembly);
        }
    }

    /// How many datagrams wait for fragments, and in how many bytes of memory.
    #[cfg(test)]
    pub(crate) fn reassemblies(&self) -> (usize, usize) {
        (self.reassembly.len(), self.reassembly.held())
    }
}

/// RFC 7112 section 5, RFC 8200 section 4.5: the first fragment has every header up to the upper
/// layer's, for whoever filters sees no more.
fn has_all_headers(part: &ipv6::Fragment<'_>) -> bool {
    matches!(
        ipv6::extensions_of(part).last(),
        Some(Ok(Extension::Upper(upper))) if !upper.payload.is_empty()
    )
}

/// Makes an ordinary packet of a fragment's header and the whole payload: its length that of the whole,
/// no fragment any more, its checksum made.
fn join_v4(packet: &mut [u8], header_len: usize) -> Option<()> {
    let total = u16::try_from(packet.len()).ok()?.to_be_bytes();
    let header = packet.get_mut(..header_len)?;
    let fixed: &mut [u8; ipv4::HEADER_LEN] = header.first_chunk_mut()?;
    [fixed[2], fixed[3]] = total;
    [fixed[6], fixed[7]] = [0; 2];
    [fixed[10], fixed[11]] = [0; 2];
    let sum = checksum::sum(header).finish().to_be_bytes();
    *header.get_mut(10..)?.first_chunk_mut()? = sum;
    Some(())
}

/// The same of IPv6: the header that named the Fragment header names what followed it.
fn join_v6(packet: &mut [u8], whole: &Whole) -> Option<()> {
    let payload_len = packet.len().checked_sub(ipv6::HEADER_LEN)?;
    let payload_len = u16::try_from(payload_len).ok()?.to_be_bytes();
    *packet.get_mut(4..)?.first_chunk_mut()? = payload_len;
    let (mut named_at, mut at) = (6usize, ipv6::HEADER_LEN);
    while at < whole.header_len && *packet.get(named_at)? != protocol::FRAGMENT {
        let len = usize::from(*packet.get(at.saturating_add(1))?).saturating_add(1) << 3;
        named_at = at;
        at = at.saturating_add(len);
    }
    *packet.get_mut(named_at)? = whole.next_header;
    Some(())
}
