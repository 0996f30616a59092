//! What the internet layer reports of itself: packets that it throws away, neighbours, addresses, path
//! MTUs. Kept here until the stack passes it on to its tracer, at the end of the call that it came of.
//!
//! Where nobody listens, a packet that is thrown away costs its counter and the test of a flag, so that
//! a storm of them is no slower than it was.

use std::collections::VecDeque;
use std::net::IpAddr;

use weir_core::slab::Key;
use weir_core::trace::{AddressEvent, DroppedEvent, Event, Level, NeighborEvent, Tracer};

use crate::device::InterfaceId;
use crate::ip::counters::count;
use crate::ip::interface::{AddressState, is_host};
use crate::ip::{Cidr, Ip, IpCounters, NeighborState};
use crate::limits::MAX_IP_NOTES;
use crate::link::Neighbor;
use crate::wire::{Malformed, protocol};

/// What waits to be told.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Somebody listens to what happens now and then.
    events: bool,
    /// Somebody listens to what happens with every packet.
    packets: bool,
    list: VecDeque<Event<'static>>,
}

impl Notes {
    /// Keeps from here on what `tracer` wants to hear.
    pub(crate) fn listen(&mut self, tracer: &Tracer) {
        self.events = tracer.enabled(Level::Event);
        self.packets = tracer.enabled(Level::Frame);
    }

    /// True when nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<Event<'static>> {
        self.list.pop_front()
    }

    /// One call makes few; of the rare one that makes more than is kept, the rest is not told.
    fn push(&mut self, event: Event<'static>) {
        if self.list.len() < MAX_IP_NOTES {
            self.list.push_back(event);
        }
    }
}

/// Why a packet is thrown away: what counts it, the class in one word, and the reason in words.
#[derive(Copy, Clone)]
pub(crate) struct Cause {
    counter: fn(&mut IpCounters) -> &mut u64,
    trigger: &'static str,
    why: &'static str,
}

macro_rules! causes {
    ($($name:ident: $counter:ident $trigger:literal $why:literal;)*) => {
        impl Cause {
            $(
                pub(crate) const $name: Cause = Cause {
                    counter: |counters| &mut counters.$counter,
                    trigger: $trigger,
                    why: $why,
                };
            )*
        }
    };
}

causes! {
    VERSION: in_hdr_errors "malformed" "neither IPv4 nor IPv6";
    EXTENSION: in_hdr_errors "malformed" "an extension header that makes no sense";
    ARP: in_hdr_errors "malformed" "the ARP packet makes no sense";
    ICMP: in_icmp_errors "malformed" "the ICMP message makes no sense";
    ICMP_STRANGE: in_icmp_errors "not_for_us" "an ICMP error about what we cannot have sent";
    NOT_FOR_US: in_addr_errors "not_for_us" "the destination is not ours";
    SOURCE: in_addr_errors "source" "no host sends from that source";
    SOURCE_ROUTE: in_addr_errors "source" "a source route";
    FRAGMENT: in_hdr_errors "fragment" "a fragment that makes no sense";
    FRAGMENT_REFUSED: reassembly_fails "fragment" "it does not go with those before, or there is no room";
    FRAGMENT_OLD: reassembly_fails "fragment" "the rest did not come in time";
    PROTOCOL: in_unknown_protos "no_listener" "no such upper layer";
    LINK_LOCAL: in_addr_errors "not_for_us" "addresses of a link are not passed on";
    NEIGHBOR: out_discards "no_neighbor" "the next hop does not answer";
    NEIGHBOR_QUEUE: out_discards "limit" "too much waits for neighbours";
}

impl Cause {
    /// A header that is not as it should be.
    pub(crate) const fn malformed(error: Malformed) -> Cause {
        let (trigger, why) = match error {
            Malformed::Truncated(_) => ("malformed", "cut short"),
            Malformed::Field { field, .. } => ("malformed", field),
            Malformed::Checksum(_) => ("checksum", "wrong checksum"),
        };
        Cause {
            trigger,
            why,
            ..Cause::VERSION
        }
    }

    /// Why a packet between two ends was not for us.
    pub(crate) fn unwanted(src: IpAddr) -> Cause {
        if is_host(src) {
            Cause::NOT_FOR_US
        } else {
            Cause::SOURCE
        }
    }
}

impl Ip {
    /// Counts a packet, from its IP header on, that is thrown away, and tells of it.
    pub(crate) fn discard(&mut self, packet: &[u8], cause: Cause) {
        count((cause.counter)(&mut self.counters));
        if self.notes.packets {
            self.note_dropped(kind(packet), packet.len(), cause);
        }
    }

    /// The same of a packet of another kind.
    pub(crate) fn discard_other(&mut self, kind: &'static str, length: usize, cause: Cause) {
        count((cause.counter)(&mut self.counters));
        if self.notes.packets {
            self.note_dropped(Some(kind), length, cause);
        }
    }

    /// Tells of a packet that was counted already.
    #[cold]
    pub(crate) fn note_dropped(&mut self, kind: Option<&'static str>, length: usize, cause: Cause) {
        let count = *(cause.counter)(&mut self.counters);
        self.notes.push(Event::PacketDropped(DroppedEvent {
            kind,
            length: Some(length).filter(|length| *length > 0),
            trigger: cause.trigger,
            why: cause.why,
            count,
        }));
    }

    /// Changes what is known of a neighbour.
    pub(crate) fn set_neighbor(&mut self, key: Key, state: NeighborState) {
        if self.notes.events
            && let Some(entry) = self.neighbors.get(key)
            && entry.state != state
        {
            let old = Some(entry.state.as_str());
            let event = neighbor(entry, state, old, state.as_str());
            self.notes.push(event);
        }
        self.neighbors.set_state(key, state);
    }

    /// Tells of a neighbour that was not known before.
    pub(crate) fn note_new_neighbor(&mut self, key: Key) {
        if self.notes.events
            && let Some(entry) = self.neighbors.get(key)
        {
            let event = neighbor(entry, entry.state, None, entry.state.as_str());
            self.notes.push(event);
        }
    }

    /// Tells of a neighbour that is forgotten.
    pub(crate) fn note_gone_neighbor(&mut self, entry: &Neighbor) {
        if self.notes.events {
            let old = Some(entry.state.as_str());
            self.notes.push(neighbor(entry, entry.state, old, "gone"));
        }
    }

    /// Tells what became of an address of our own.
    pub(crate) fn note_address(&mut self, id: InterfaceId, cidr: Cidr, state: &'static str) {
        if self.notes.events {
            self.notes.push(Event::Address(AddressEvent {
                interface: id.index(),
                address: cidr.address(),
                prefix_len: cidr.prefix(),
                state,
            }));
        }
    }

    /// Tells that packets of another size reach a host.
    pub(crate) fn note_path_mtu(&mut self, to: IpAddr, old: u16, new: u16) {
        if self.notes.events && old != new {
            self.notes.push(Event::PathMtu {
                to,
                old: u32::from(old),
                new: u32::from(new),
            });
        }
    }
}

fn neighbor(
    entry: &Neighbor,
    state: NeighborState,
    old: Option<&'static str>,
    new: &'static str,
) -> Event<'static> {
    let is_unknown = matches!(state, NeighborState::Incomplete | NeighborState::Failed);
    Event::Neighbor(NeighborEvent {
        interface: entry.interface.index(),
        address: entry.address,
        hardware: (!is_unknown).then_some(entry.hardware.0),
        old,
        new,
    })
}

/// What a packet is, as far as its first header says.
fn kind(packet: &[u8]) -> Option<&'static str> {
    let first = packet.first()?;
    let (named_at, otherwise) = match first >> 4 {
        4 => (9, "IPv4"),
        6 => (6, "IPv6"),
        _ => return None,
    };
    Some(match packet.get(named_at).copied() {
        Some(protocol::TCP) => "TCP",
        Some(protocol::UDP) => "UDP",
        Some(protocol::ICMPV4 | protocol::ICMPV6) => "ICMP",
        _ => otherwise,
    })
}

impl NeighborState {
    /// As traces name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            NeighborState::Incomplete => "incomplete",
            NeighborState::Reachable => "reachable",
            NeighborState::Stale => "stale",
            NeighborState::Delay => "delay",
            NeighborState::Probe => "probe",
            NeighborState::Failed => "failed",
            NeighborState::Permanent => "permanent",
        }
    }
}

impl AddressState {
    /// As traces name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            AddressState::Tentative => "tentative",
            AddressState::Preferred => "preferred",
            AddressState::Deprecated => "deprecated",
        }
    }
}
