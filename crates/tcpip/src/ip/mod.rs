//! The internet layer: interfaces and their addresses, routes, neighbours, fragments, path MTUs,
//! ICMP. Between frames below and TCP and UDP above.
//!
//! # Driving it
//! [`Ip::handle_frame`] takes a frame and gives back what is for the transports; everything else
//! (ARP, NDP, echo, fragments, packets to pass on) it deals with itself. [`Ip::send`] writes a packet
//! into a batch. [`Ip::poll_transmit`] is called before anything else fills a batch,
//! [`Ip::handle_timeout`] when [`Ip::poll_timeout`] says so, [`Ip::poll_event`] until it is empty, and
//! [`Ip::next_loopback`] until it is empty, each frame going into `handle_frame` with
//! [`LOOPBACK`]. Time never goes back.
//!
//! | file | what it is |
//! |---|---|
//! | `usual.rs` | what arrives, when it is as most packets are |
//! | `input.rs`, `fragments.rs`, `reassembly.rs` | what arrives, to whom it is, out of its fragments |
//! | `output.rs`, `ids.rs` | what is sent, in fragments where it must be |
//! | `route.rs`, `table.rs`, `source.rs`, `pmtu.rs` | which way, from which address, how large |
//! | `icmp.rs`, `complain.rs`, `bucket.rs` | errors about our packets, and about those of others |
//! | `forward.rs` | packets of others to others |
//! | `setup.rs`, `config.rs`, `interface.rs` | what the host is made of |
//! | `mld.rs` | groups that we belong to |
//! | `notes.rs` | what is told of all this to whoever traces |
//! | `../link/` | below: Ethernet, ARP, NDP, the neighbour cache |

mod bitmap;
mod bucket;
mod cidr;
mod complain;
mod config;
mod counters;
mod forward;
mod fragments;
pub(crate) mod hash;
mod icmp;
mod ids;
mod input;
pub(crate) mod interface;
mod mld;
mod notes;
mod output;
pub(crate) mod pmtu;
mod reassembly;
mod route;
mod setup;
pub(crate) mod source;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod types;
mod usual;

use std::collections::VecDeque;
use std::net::IpAddr;

use weir_core::rng::Rng;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};
use weir_core::timer::Wheel;

pub use self::cidr::{Cidr, CidrError};
pub(crate) use self::complain::Complaint;
pub use self::config::{ConfigError, InterfaceConfig, RouteConfig};
pub use self::counters::IpCounters;
pub(crate) use self::notes::Cause;
pub(crate) use self::types::{
    Arrived, Cut, Hints, IcmpError, IpEvent, LOOPBACK, Packet, Plain, Received, Route, Undelivered,
};
pub use self::types::{Ecn, IcmpKind, IpTimer, NeighborState, NoRoute, SendError};
use crate::device::InterfaceId;
use crate::limits::MAX_IP_EVENTS;
use crate::link::Neighbors;
use crate::transmit::TransmitBuf;

/// TTL and hop limit of what we send on our own, and of sockets that say nothing else (T142).
pub(crate) const DEFAULT_HOP_LIMIT: u8 = 64;

/// How exact timers are: nothing here is shorter than a tenth of a second.
const TICK: Duration = Duration::from_millis(1);

/// The internet layer of one stack.
#[derive(Debug)]
pub(crate) struct Ip {
    pub(crate) interfaces: Vec<interface::Interface>,
    pub(crate) table: table::Table,
    pub(crate) neighbors: Neighbors,
    pub(crate) timers: Wheel<Due>,
    pub(crate) rng: Rng,
    pub(crate) counters: IpCounters,
    pub(crate) forwarding: bool,
    /// The timer of the first lifetime that ends.
    pub(crate) lifetimes: Option<Key>,
    /// Frames that we send on our own, until the next batch.
    pub(crate) replies: TransmitBuf,
    /// How many of them are in a batch already.
    replies_sent: usize,
    /// Packets to ourselves.
    loopback: TransmitBuf,
    loopback_taken: usize,
    reassembly: reassembly::Reassembly,
    paths: pmtu::PathMtus,
    rate: bucket::ErrorRate,
    ids: ids::Ids,
    events: VecDeque<IpEvent>,
    /// What is to be told to the stack's tracer.
    pub(crate) notes: notes::Notes,
    /// An interface is in any-address mode.
    any_address: bool,
    /// Of what state of all tables routes are the answers.
    generation: u32,
    /// Where our own frames are written before they join `replies`.
    spare: TransmitBuf,
    /// Where packets are put together that are to be fragmented.
    workspace: Vec<u8>,
}

/// What a timer is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A neighbour's state.
    Neighbor(Key),
    /// The next step of an address.
    Address(InterfaceId, IpAddr),
    /// The next solicitation for routers.
    Solicit(InterfaceId),
    /// The next report of our groups.
    Groups(InterfaceId),
    /// The end of the first lifetime of routes and addresses.
    Lifetimes,
    /// Fragments that waited long enough.
    Fragments(Key),
    /// A path MTU that is too old.
    PathMtu(IpAddr),
}

impl Ip {
    /// An internet layer with the loopback addresses and nothing else.
    pub(crate) fn new(now: Instant, mut rng: Rng) -> Ip {
        Ip {
            interfaces: Vec::new(),
            table: table::Table::default(),
            neighbors: Neighbors::new(&mut rng),
            timers: Wheel::new(TICK, now),
            counters: IpCounters::default(),
            forwarding: false,
            lifetimes: None,
            replies: TransmitBuf::new(),
            replies_sent: 0,
            loopback: TransmitBuf::new(),
            loopback_taken: 0,
            reassembly: reassembly::Reassembly::new(&mut rng),
            paths: pmtu::PathMtus::new(&mut rng),
            rate: bucket::ErrorRate::new(now, &mut rng),
            ids: ids::Ids::new(&mut rng),
            events: VecDeque::new(),
            notes: notes::Notes::default(),
            any_address: false,
            generation: 1,
            spare: TransmitBuf::new(),
            workspace: Vec::new(),
            rng,
        }
    }

    /// Moves what the internet layer has to send by itself into the batch. True when there is more
    /// than fits.
    #[inline]
    pub(crate) fn poll_transmit(&mut self, _now: Instant, out: &mut TransmitBuf) -> bool {
        self.wants_transmit() && self.transmit_replies(out)
    }

    #[cold]
    fn transmit_replies(&mut self, out: &mut TransmitBuf) -> bool {
        for frame in self.replies.frames().skip(self.replies_sent) {
            if out.is_full() {
                return true;
            }
            let begun = out.begin();
            out.data.extend_from_slice(frame.head);
            out.slices.extend_from_slice(frame.rest);
            out.finish(begun, frame.interface, frame.offload);
            self.replies_sent = self.replies_sent.saturating_add(1);
        }
        self.replies.clear();
        self.replies_sent = 0;
        false
    }

    /// True when [`poll_transmit`](Ip::poll_transmit) has something.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Does what is due by `now`. A call too many does nothing.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, due)) = self.timers.pop_expired(now) {
            match due {
                Due::Neighbor(key) => self.neighbor_timeout(now, key),
                Due::Address(interface, ip) => self.address_timeout(now, interface, ip),
                Due::Solicit(interface) => self.solicit_timeout(now, interface),
                Due::Groups(interface) => self.groups_timeout(interface),
                Due::Lifetimes => {
                    self.lifetimes = None;
                    self.lifetimes_timeout(now);
                }
                Due::Fragments(key) => self.fragments_timeout(now, key),
                Due::PathMtu(dst) => self.path_mtu_timeout(now, dst),
            }
        }
    }

    /// When [`handle_timeout`](Ip::handle_timeout) is to be called next, and why.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, IpTimer)> {
        if !self.loopback.is_empty() {
            return Some((Instant::ZERO, IpTimer::Loopback));
        }
        self.timers.next().map(|at| (at, IpTimer::Maintenance))
    }

    /// True when something that the stack sent to itself waits to be taken.
    #[inline]
    pub(crate) fn has_looped(&self) -> bool {
        !self.loopback.is_empty()
    }

    /// True when [`poll_event`](Ip::poll_event) has something.
    #[inline]
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next piece of news.
    #[inline]
    pub(crate) fn poll_event(&mut self) -> Option<IpEvent> {
        self.events.pop_front()
    }

    /// Keeps a piece of news for whoever asks. Nothing is lost that matters when nobody does: the
    /// oldest goes.
    pub(crate) fn tell(&mut self, event: IpEvent) {
        if self.events.len() >= MAX_IP_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Tells the transports that a packet of ours is lost, its next hop being silent. Half of the room
    /// for news is for the rest: what is not told now, the transport's next packet finds out.
    pub(crate) fn tell_undelivered(&mut self, next_hop: IpAddr, packet: &[u8]) {
        let has_room = self.events.len() < MAX_IP_EVENTS / 2;
        let Some(about) = icmp::open(IcmpKind::HostUnreachable, packet).filter(|_| has_room) else {
            return;
        };
        let Some(quoted) = about.quoted.first_chunk().copied() else {
            return;
        };
        self.tell(IpEvent::Undelivered(Undelivered {
            next_hop,
            src: about.src,
            dst: about.dst,
            protocol: about.protocol,
            quoted,
        }));
    }

    /// Routes that were given away are to be asked for again.
    pub(crate) fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// What changes whenever tables do.
    #[inline]
    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn interface(&self, id: InterfaceId) -> Option<&interface::Interface> {
        self.interfaces.get(id.index())
    }

    /// True for an address of any interface that is ready.
    #[inline]
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| interface.has(ip))
    }
}
