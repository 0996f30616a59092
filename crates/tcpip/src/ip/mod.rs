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

mod cidr;
mod config;
mod types;

use std::net::IpAddr;

use weir_core::rng::Rng;
use weir_core::time::Instant;

pub use self::cidr::{Cidr, CidrError};
pub use self::config::{ConfigError, InterfaceConfig, RouteConfig};
#[allow(unused_imports, reason = "the rooms are being furnished")]
pub(crate) use self::types::{
    Arrived, Cut, Hints, IcmpError, IpEvent, LOOPBACK, Packet, Received, Route, Unreachable,
};
pub use self::types::{Ecn, IcmpKind, IpTimer, NeighborState, NoRoute, SendError};
use crate::device::{Capabilities, InterfaceId, Offload};
use crate::link::Mac;
use crate::transmit::TransmitBuf;

/// The internet layer of one stack.
#[derive(Debug)]
pub(crate) struct Ip {
    generation: u32,
    rng: Rng,
}

impl Ip {
    /// An internet layer with the loopback interface (127.0.0.1 and ::1) and nothing else.
    pub(crate) fn new(_now: Instant, rng: Rng) -> Ip {
        Ip { generation: 0, rng }
    }

    /// Adds an interface; its addresses are ready at once, or after a while where duplicates are
    /// looked for ([`IpEvent::AddressReady`]).
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub(crate) fn add_interface(
        &mut self,
        _now: Instant,
        _config: InterfaceConfig,
    ) -> Result<InterfaceId, ConfigError> {
        Ok(InterfaceId(0))
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub(crate) fn add_address(
        &mut self,
        _now: Instant,
        _interface: InterfaceId,
        _address: Cidr,
    ) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Takes an address away. False when there was none.
    pub(crate) fn remove_address(&mut self, _interface: InterfaceId, _address: IpAddr) -> bool {
        false
    }

    /// Says once and for all which Ethernet address a neighbour has.
    ///
    /// # Errors
    /// [`ConfigError`] when there are too many.
    pub(crate) fn add_neighbor(
        &mut self,
        _now: Instant,
        _interface: InterfaceId,
        _address: IpAddr,
        _hardware: Mac,
    ) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub(crate) fn add_route(&mut self, _route: RouteConfig) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Takes a route away, whatever its metric. False when there was none.
    pub(crate) fn remove_route(&mut self, _to: Cidr, _via: Option<IpAddr>) -> bool {
        false
    }

    /// Whether packets for others are passed on (off at first).
    pub(crate) fn set_forwarding(&mut self, _on: bool) {}

    /// What the interface's device can do; `None` when there is no such interface.
    #[inline]
    pub(crate) fn capabilities(&self, _interface: InterfaceId) -> Option<&Capabilities> {
        None
    }

    /// True when a socket may be bound to the address: it is one of ours and ready, or there is an
    /// interface in any-address mode.
    pub(crate) fn is_local(&self, _address: IpAddr) -> bool {
        false
    }

    /// Takes a frame and returns what in it is for the transports. `scratch` is where a packet is put
    /// together that came in fragments; its contents are of no other use.
    pub(crate) fn handle_frame<'a>(
        &mut self,
        _now: Instant,
        _interface: InterfaceId,
        _frame: &'a [u8],
        _offload: Offload,
        _scratch: &'a mut Vec<u8>,
    ) -> Option<Arrived<'a>> {
        None
    }

    /// The next frame that the stack sent to itself, put into `frame` in place of what was there. It
    /// goes into [`handle_frame`](Ip::handle_frame) with [`LOOPBACK`].
    pub(crate) fn next_loopback(&mut self, _frame: &mut Vec<u8>) -> Option<Offload> {
        None
    }

    /// The way to `remote`, from `local` where that is said.
    ///
    /// # Errors
    /// [`NoRoute`].
    pub(crate) fn route(
        &mut self,
        remote: IpAddr,
        _local: Option<IpAddr>,
    ) -> Result<Route, NoRoute> {
        Err(NoRoute::Unreachable(remote))
    }

    /// False when the route may have changed and is to be asked for again.
    #[inline]
    pub(crate) const fn is_current(&self, route: &Route) -> bool {
        route.generation == self.generation
    }

    /// Sends a packet: link and IP header are written to `out`, then `fill` appends
    /// [`Packet::transport_len`] bytes, to its `data` first and then, if it likes, to its `slices`. What waits for its
    /// neighbour's address is kept, a few packets a neighbour. A packet larger than the path takes is
    /// cut into fragments, unless it is a super-segment ([`Hints::cut`]).
    ///
    /// # Errors
    /// [`SendError`]; `fill` may have been called or not, nothing is sent.
    pub(crate) fn send(
        &mut self,
        _now: Instant,
        _out: &mut TransmitBuf,
        _route: &Route,
        _packet: &Packet,
        _fill: impl FnOnce(&mut TransmitBuf),
    ) -> Result<(), SendError> {
        Ok(())
    }

    /// Sends an ICMP error about a packet that arrived, where one is due (T148) and the rate allows it
    /// (T149). `packet` is [`Received::packet`].
    pub(crate) fn unreachable(&mut self, _now: Instant, _packet: &[u8], _what: Unreachable) {}

    /// The transport saw that the next hop of a route is there: its data was acknowledged
    /// (RFC 4861 section 7.3.1). Spares a probe.
    pub(crate) fn confirm(&mut self, _now: Instant, _route: &Route) {}

    /// The largest packet in bytes that is known to fit the path to `dst`; `None` when there is no
    /// route.
    pub(crate) fn path_mtu(&mut self, _dst: IpAddr) -> Option<u16> {
        None
    }

    /// Takes [`IcmpKind::PacketTooBig`] for the path to `dst`, once the transport has found that it is
    /// about something it sent. `size` is the length in bytes of the packet that was too big, as
    /// quoted. Returns the new path MTU, or `None` when it is ignored (T134).
    pub(crate) fn on_packet_too_big(
        &mut self,
        _now: Instant,
        _dst: IpAddr,
        _mtu: u32,
        _size: u16,
    ) -> Option<u16> {
        None
    }

    /// Moves what the internet layer has to send by itself into the batch. True when there is more
    /// than fits.
    pub(crate) fn poll_transmit(&mut self, _now: Instant, _out: &mut TransmitBuf) -> bool {
        false
    }

    /// Does what is due by `now`. A call too many does nothing.
    pub(crate) fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`handle_timeout`](Ip::handle_timeout) is to be called next, and why.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, IpTimer)> {
        None
    }

    /// The next piece of news.
    pub(crate) fn poll_event(&mut self) -> Option<IpEvent> {
        None
    }
}
