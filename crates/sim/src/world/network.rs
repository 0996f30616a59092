//! Nodes, links between them, and the way a datagram takes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use weir_core::time::Instant;

use super::{Event, Wake, World};
use crate::datagram::{Datagram, Packet};
use crate::link::{DropReason, LinkConfig, LinkModel, LinkStats};
use crate::nat::{Nat, NatConfig};

/// Lines about nodes and links in a state dump.
const MAX_DESCRIBED: usize = 40;

/// A node: a machine with addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Its place among the nodes, in the order of creation.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u32);

/// An address translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NatId(u32);

/// Counters of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Datagrams it sent.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Datagrams that arrived at it.
    pub received: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
}

/// What happened to datagrams outside of any link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Datagrams delivered to a node.
    pub delivered: u64,
    /// Datagrams for an address that nobody has, or to which no links lead.
    pub unreachable: u64,
    /// Datagrams that came to a translator for a mapping it has forgotten.
    pub untranslated: u64,
}

/// A test's own look at what enters a link: it may change the datagram, and takes it by answering
/// `false`.
pub type Filter = Box<dyn FnMut(Instant, &mut Datagram) -> bool>;

#[derive(Default)]
pub(super) struct Network {
    nodes: Vec<Node>,
    links: Vec<Link>,
    nats: Vec<Nat>,
    owners: HashMap<IpAddr, Owner>,
    /// Ways by the addresses of sender and receiver; they go before those by node.
    by_address: HashMap<(IpAddr, IpAddr), RouteId>,
    by_node: HashMap<(NodeId, NodeId), RouteId>,
    routes: Vec<Vec<LinkId>>,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    stats: NetworkStats,
}

struct Node {
    name: String,
    nat: Option<NatId>,
    inbox: VecDeque<Datagram>,
    stats: NodeStats,
}

struct Link {
    name: String,
    model: LinkModel,
    filter: Option<Filter>,
}

#[derive(Clone, Copy)]
enum Owner {
    Node(NodeId),
    Nat(NatId),
}

#[derive(Clone, Copy)]
struct RouteId(u32);

/// A datagram on its way.
struct Flight {
    datagram: Datagram,
    sender: NodeId,
    route: RouteId,
    /// Links behind it.
    hop: u32,
}

impl World {
    /// A node that has these addresses.
    ///
    /// # Panics
    /// When an address is taken.
    #[track_caller]
    pub fn node(&mut self, name: &str, addresses: &[IpAddr]) -> NodeId {
        let id = NodeId(number(self.network.nodes.len()));
        let node = Node {
            name: name.to_owned(),
            nat: None,
            inbox: VecDeque::new(),
            stats: NodeStats::default(),
        };
        self.network.nodes.push(node);
        for &address in addresses {
            self.give_address(id, address);
        }
        id
    }

    /// Gives a node one more address: a network it joins.
    ///
    /// # Panics
    /// When the address is taken.
    #[track_caller]
    pub fn give_address(&mut self, node: NodeId, address: IpAddr) {
        let taken = self.network.owners.insert(address, Owner::Node(node));
        assert!(taken.is_none(), "{address} is taken");
    }

    /// One direction of a link that leads nowhere yet: [`World::route`] says who uses it.
    ///
    /// # Panics
    /// When the configuration does not validate.
    #[track_caller]
    pub fn link(&mut self, name: &str, config: LinkConfig) -> LinkId {
        let id = LinkId(number(self.network.links.len()));
        let name = self.unique_name(name.to_owned());
        let rng = crate::random::split(self.seed, &format!("link {name}"));
        match LinkModel::new(config, rng) {
            Ok(model) => self.network.links.push(Link {
                name,
                model,
                filter: None,
            }),
            Err(error) => panic!("link {name}: {error}"),
        }
        id
    }

    /// Joins two nodes by a link of their own, the same in both directions: there and back.
    ///
    /// # Panics
    /// When the configuration does not validate.
    #[track_caller]
    pub fn connect(&mut self, a: NodeId, b: NodeId, config: LinkConfig) -> (LinkId, LinkId) {
        let names = [a, b].map(|node| self.node_ref(node).name.clone());
        let there = self.link(&names.join(">"), config.clone());
        let [a_name, b_name] = names;
        let back = self.link(&format!("{b_name}>{a_name}"), config);
        self.route_nodes(a, b, &[there]);
        self.route_nodes(b, a, &[back]);
        (there, back)
    }

    /// Datagrams from one node to another pass these links, in this order. Links can be shared:
    /// that is a bottleneck.
    pub fn route_nodes(&mut self, from: NodeId, to: NodeId, links: &[LinkId]) {
        let route = self.network.add_route(links);
        self.network.by_node.insert((from, to), route);
    }

    /// Datagrams from one address to another pass these links, whatever is said for their nodes:
    /// the ways of a machine with two networks. The addresses are those that the sender uses.
    pub fn route(&mut self, from: IpAddr, to: IpAddr, links: &[LinkId]) {
        let route = self.network.add_route(links);
        self.network.by_address.insert((from, to), route);
    }

    /// An address translator; [`World::behind`] puts nodes behind it.
    ///
    /// # Panics
    /// When one of its addresses is taken.
    #[track_caller]
    pub fn nat(&mut self, config: NatConfig) -> NatId {
        let id = NatId(number(self.network.nats.len()));
        for &address in &config.addresses {
            let taken = self.network.owners.insert(address, Owner::Nat(id));
            assert!(taken.is_none(), "{address} is taken");
        }
        self.network.nats.push(Nat::new(config));
        id
    }

    /// Puts a node behind a translator: all that it sends leaves under the translator's address.
    pub fn behind(&mut self, node: NodeId, nat: NatId) {
        self.node_mut(node).nat = Some(nat);
    }

    /// The translator, to look at it or to have it forget at once.
    ///
    /// # Panics
    /// When it is another world's.
    #[track_caller]
    pub fn nat_mut(&mut self, nat: NatId) -> &mut Nat {
        match self.network.nats.get_mut(nat.0 as usize) {
            Some(nat) => nat,
            None => panic!("{nat:?} is of another world"),
        }
    }

    /// The model behind a link, to reconfigure it or to take it down.
    ///
    /// # Panics
    /// When it is another world's.
    #[track_caller]
    pub fn link_mut(&mut self, link: LinkId) -> &mut LinkModel {
        match self.network.links.get_mut(link.0 as usize) {
            Some(link) => &mut link.model,
            None => panic!("{link:?} is of another world"),
        }
    }

    /// What a link did.
    ///
    /// # Panics
    /// When it is another world's.
    #[must_use]
    #[track_caller]
    pub fn link_stats(&self, link: LinkId) -> &LinkStats {
        match self.network.links.get(link.0 as usize) {
            Some(link) => link.model.stats(),
            None => panic!("{link:?} is of another world"),
        }
    }

    /// Has `filter` look at all that enters a link: to drop just that one packet, to change it, to
    /// keep a copy and send it again later.
    pub fn set_filter(
        &mut self,
        link: LinkId,
        filter: impl FnMut(Instant, &mut Datagram) -> bool + 'static,
    ) {
        if let Some(link) = self.network.links.get_mut(link.0 as usize) {
            link.filter = Some(Box::new(filter));
        }
    }

    /// Counters of a node.
    #[must_use]
    pub fn node_stats(&self, node: NodeId) -> &NodeStats {
        &self.node_ref(node).stats
    }

    /// What happened to datagrams outside of any link.
    #[must_use]
    pub fn network_stats(&self) -> &NetworkStats {
        &self.network.stats
    }

    /// Sends a datagram from a node. Nobody checks that its source address is the node's: an
    /// attacker may write any.
    pub fn send(&mut self, node: NodeId, datagram: Datagram) {
        if let Some(flight) = self.depart(node, datagram) {
            self.release(flight);
        }
    }

    /// Sends a datagram from a node at `at`: paced sending.
    pub fn send_at(&mut self, at: Instant, node: NodeId, datagram: Datagram) {
        if at <= self.now {
            self.send(node, datagram);
        } else if let Some(flight) = self.depart(node, datagram) {
            self.events.push(at, Event::Release(flight));
        }
    }

    /// The oldest datagram that waits at a node.
    pub fn receive(&mut self, node: NodeId) -> Option<Datagram> {
        self.node_mut(node).inbox.pop_front()
    }

    /// Finds the way of a datagram.
    fn depart(&mut self, sender: NodeId, datagram: Datagram) -> Option<u32> {
        let Some(route) = self.network.find_route(sender, &datagram) else {
            self.network.stats.unreachable += 1;
            self.digest_datagram(b'U', &datagram);
            return None;
        };
        Some(self.network.take_off(Flight {
            datagram,
            sender,
            route,
            hop: 0,
        }))
    }

    /// A datagram leaves its node, through the translator if there is one.
    pub(super) fn release(&mut self, flight: u32) {
        let now = self.now;
        let network = &mut self.network;
        let Some(Some(entry)) = network.flights.get_mut(flight as usize) else {
            return;
        };
        let Some(node) = network.nodes.get_mut(entry.sender.0 as usize) else {
            return;
        };
        node.stats.sent += 1;
        node.stats.sent_bytes += entry.datagram.payload.len() as u64;
        if let Some(nat) = node
            .nat
            .and_then(|nat| network.nats.get_mut(nat.0 as usize))
        {
            entry.datagram.from = nat.outbound(now, entry.datagram.from);
        }
        self.next_hop(flight);
    }

    /// A datagram comes to the next link on its way, or to the end of it.
    pub(super) fn next_hop(&mut self, flight: u32) {
        let Some(flight) = self.network.land(flight) else {
            return;
        };
        let link = self.network.link_of(&flight);
        let Some(link) = link.and_then(|link| self.network.links.get_mut(link.0 as usize)) else {
            return self.arrive(flight.datagram);
        };
        let Flight {
            mut datagram,
            sender,
            route,
            hop,
        } = flight;
        if let Some(filter) = &mut link.filter
            && !filter(self.now, &mut datagram)
        {
            link.model.count_filtered(datagram.wire_len());
            return self.dropped(&datagram, DropReason::Filter);
        }
        // The two deliveries of a duplicated datagram, at most.
        let mut arrivals = [None, None];
        let mut slots = arrivals.iter_mut();
        let fate = link
            .model
            .offer(self.now, datagram.clone(), |at, datagram| {
                if let Some(slot) = slots.next() {
                    *slot = Some((at, datagram));
                }
            });
        if let Err(reason) = fate {
            return self.dropped(&datagram, reason);
        }
        for (at, datagram) in arrivals.into_iter().flatten() {
            let flight = self.network.take_off(Flight {
                datagram,
                sender,
                route,
                hop: hop + 1,
            });
            self.events.push(at, Event::Hop(flight));
        }
    }

    fn arrive(&mut self, mut datagram: Datagram) {
        if let Some(capture) = &mut self.capture {
            capture.datagram(self.now, &datagram);
        }
        let node = match self.network.owners.get(&datagram.to.ip()).copied() {
            Some(Owner::Node(node)) => Some(node),
            Some(Owner::Nat(nat)) => {
                let inside = self
                    .network
                    .nats
                    .get_mut(nat.0 as usize)
                    .and_then(|nat| nat.inbound(self.now, datagram.to));
                inside.and_then(|inside| {
                    datagram.to = inside;
                    self.network.node_with(inside.ip())
                })
            }
            None => None,
        };
        let Some(node) = node else {
            self.network.stats.untranslated += 1;
            return self.digest_datagram(b'U', &datagram);
        };
        self.digest_datagram(b'D', &datagram);
        self.network.stats.delivered += 1;
        let receiver = self.node_mut(node);
        receiver.stats.received += 1;
        receiver.stats.received_bytes += datagram.payload.len() as u64;
        receiver.inbox.push_back(datagram);
        self.wakes.push_back(Wake::Datagram(node));
    }

    fn dropped(&mut self, datagram: &Datagram, reason: DropReason) {
        self.digest_datagram(b'a' + reason as u8, datagram);
    }

    fn digest_datagram(&mut self, kind: u8, datagram: &Datagram) {
        let Datagram {
            from,
            to,
            ecn,
            payload,
        } = datagram;
        let ports = (u64::from(from.port()) << 24) | (u64::from(to.port()) << 8) | *ecn as u64;
        let addresses = address_bits(from.ip()) ^ address_bits(to.ip()).rotate_left(32);
        self.digest.event(kind, self.now, addresses, ports, payload);
    }

    #[track_caller]
    fn node_ref(&self, node: NodeId) -> &Node {
        match self.network.nodes.get(node.0 as usize) {
            Some(node) => node,
            None => panic!("{node:?} is of another world"),
        }
    }

    #[track_caller]
    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        match self.network.nodes.get_mut(node.0 as usize) {
            Some(node) => node,
            None => panic!("{node:?} is of another world"),
        }
    }

    pub(super) fn describe_network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in self.network.nodes.iter().take(MAX_DESCRIBED) {
            let NodeStats {
                sent,
                sent_bytes,
                received,
                received_bytes,
            } = node.stats;
            writeln!(
                f,
                "  node {}: sent {sent} ({sent_bytes} B), received {received} \
                 ({received_bytes} B), {} waiting",
                node.name,
                node.inbox.len(),
            )?;
        }
        for link in self.network.links.iter().take(MAX_DESCRIBED) {
            let state = if link.model.is_up(self.now) {
                ""
            } else {
                " (down)"
            };
            writeln!(f, "  link {}{state}: {}", link.name, link.model.stats())?;
        }
        let NetworkStats {
            unreachable,
            untranslated,
            ..
        } = self.network.stats;
        if unreachable + untranslated > 0 {
            writeln!(
                f,
                "  unreachable {unreachable}, untranslated {untranslated}"
            )?;
        }
        match self.network.links.len().saturating_sub(MAX_DESCRIBED) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} links more"),
        }
    }
}

impl Network {
    fn add_route(&mut self, links: &[LinkId]) -> RouteId {
        let id = RouteId(number(self.routes.len()));
        self.routes.push(links.to_vec());
        id
    }

    fn find_route(&mut self, sender: NodeId, datagram: &Datagram) -> Option<RouteId> {
        let (from, to) = (datagram.from.ip(), datagram.to.ip());
        if let Some(&route) = self.by_address.get(&(from, to)) {
            return Some(route);
        }
        let receiver = self.receiver(datagram.to)?;
        if receiver == sender {
            // A node reaches itself without any link.
            return Some(self.add_loopback(sender));
        }
        self.by_node.get(&(sender, receiver)).copied()
    }

    fn add_loopback(&mut self, node: NodeId) -> RouteId {
        if let Some(&route) = self.by_node.get(&(node, node)) {
            return route;
        }
        let route = self.add_route(&[]);
        self.by_node.insert((node, node), route);
        route
    }

    /// The node that a datagram to `to` will come to, translated or not.
    fn receiver(&self, to: SocketAddr) -> Option<NodeId> {
        match *self.owners.get(&to.ip())? {
            Owner::Node(node) => Some(node),
            Owner::Nat(nat) => {
                let inside = self.nats.get(nat.0 as usize)?.last_behind(to)?;
                self.node_with(inside.ip())
            }
        }
    }

    fn node_with(&self, address: IpAddr) -> Option<NodeId> {
        match *self.owners.get(&address)? {
            Owner::Node(node) => Some(node),
            Owner::Nat(_) => None,
        }
    }

    fn link_of(&self, flight: &Flight) -> Option<LinkId> {
        self.routes
            .get(flight.route.0 as usize)?
            .get(flight.hop as usize)
            .copied()
    }

    fn take_off(&mut self, flight: Flight) -> u32 {
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.flights.get_mut(slot as usize)
        {
            *entry = Some(flight);
            return slot;
        }
        self.flights.push(Some(flight));
        number(self.flights.len() - 1)
    }

    fn land(&mut self, slot: u32) -> Option<Flight> {
        let flight = self.flights.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(flight)
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn address_bits(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits as u64) ^ ((bits >> 64) as u64)
        }
    }
}
