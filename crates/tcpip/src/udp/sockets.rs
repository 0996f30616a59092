//! All sockets of a stack, found by where a datagram goes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use weir_core::buf::Pool;
use weir_core::slab::{Key, Slab};

use super::socket::{CachedRoute, Outgoing, Socket, cost};
use super::{Datagram, Quote, Received, UdpError};
use crate::device::Checksum;
use crate::ip::{self, IcmpError, IcmpKind, Route};
use crate::limits::{
    MAX_SUPER_SEGMENT, MAX_UDP_SOCKETS, UDP_CHUNK_BYTES, UDP_FREE_CHUNKS, UDP_SOCKET_COST,
};
use crate::stack::demux::{Demux, Target};
use crate::stack::host::Host;
use crate::stack::{BindError, Event, UdpConfig, UdpKey, UdpSendError, ports};
use crate::tcp::listen::places;
use crate::wire::{checksum, protocol, udp};

/// Sockets, and those that have something to send.
pub(crate) struct Sockets {
    pub(super) slab: Slab<Socket>,
    /// Those that are not connected.
    by_place: Demux,
    /// Those that are.
    by_ends: Demux,
    pub(super) ready: VecDeque<u32>,
    pool: Pool,
}

impl Default for Sockets {
    fn default() -> Sockets {
        Sockets {
            slab: Slab::new(),
            by_place: Demux::default(),
            by_ends: Demux::default(),
            ready: VecDeque::new(),
            pool: Pool::new(UDP_CHUNK_BYTES, UDP_FREE_CHUNKS),
        }
    }
}

impl Sockets {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn bind(
        &mut self,
        host: &mut Host<'_>,
        local: SocketAddr,
        config: UdpConfig,
    ) -> Result<UdpKey, BindError> {
        config.validate()?;
        let address = local.ip();
        if !config.any && !address.is_unspecified() && !host.ip.is_local(address) {
            return Err(BindError::NotLocal(local));
        }
        let port = match local.port() {
            _ if config.any => 0,
            0 => {
                let shared = &mut *host.shared;
                let spread = &shared.spread;
                let is_free = |port| {
                    let place = SocketAddr::new(address, port);
                    let taken = places(&place).into_iter().take(3);
                    !{ taken }.any(|place| self.at(spread, &place).is_some())
                };
                ports::pick(&mut shared.rng, &host.config.ports, is_free)
                    .ok_or(BindError::NoPort)?
            }
            port => port,
        };
        let address = match (config.any, address.is_ipv4()) {
            (false, _) => address,
            (true, true) => [0u8; 4].into(),
            (true, false) => [0u8; 16].into(),
        };
        let local = SocketAddr::new(address, port);
        if self.at(&host.shared.spread, &local).is_some() {
            return Err(BindError::InUse(local));
        }
        let is_full = self.slab.len() >= MAX_UDP_SOCKETS;
        if is_full || host.shared.budget.try_reserve(UDP_SOCKET_COST).is_err() {
            return Err(BindError::TooMany(self.slab.len()));
        }
        let key = self.slab.insert(Socket::new(local, config, &self.pool));
        let hash = host.shared.spread.place(&local);
        self.by_place.insert(hash, Target::Socket(key.index));
        Ok(UdpKey(key))
    }

    pub(crate) fn connect(
        &mut self,
        host: &mut Host<'_>,
        key: UdpKey,
        remote: SocketAddr,
    ) -> Result<(), UdpSendError> {
        let socket = self.slab.get(key.0).filter(|it| !it.closing);
        let socket = socket.ok_or(UdpSendError::Closed)?;
        if socket.config.any {
            return Err(UdpSendError::InvalidSource(socket.local));
        }
        let remote = canonical(remote);
        let asked = Some(socket.local.ip()).filter(|ip| !ip.is_unspecified());
        let route = host
            .ip
            .route(remote.ip(), asked)
            .map_err(|_| UdpSendError::NoRoute(remote))?;
        let local = SocketAddr::new(asked.unwrap_or(route.source), socket.local.port());
        self.unlink(host, key.0);
        if let Some(socket) = self.slab.get_mut(key.0) {
            (socket.local, socket.remote) = (local, Some(remote));
        }
        let hash = host.shared.spread.pair(&local, &remote);
        self.by_ends.insert(hash, Target::Socket(key.0.index));
        Ok(())
    }

    pub(crate) fn send(
        &mut self,
        host: &mut Host<'_>,
        key: UdpKey,
        data: &[u8],
        datagram: &Datagram,
    ) -> Result<(), UdpSendError> {
        let socket = self.slab.get_mut(key.0).filter(|it| !it.closing);
        let socket = socket.ok_or(UdpSendError::Closed)?;
        let to = datagram.to.or(socket.remote);
        let to = canonical(to.ok_or(UdpSendError::NoDestination)?);
        if to.port() == 0 {
            return Err(UdpSendError::NoDestination);
        }
        let from = source(host, socket, datagram, &to)?;
        let route = way(host, socket, &from, &to)?;
        let from = match from.ip().is_unspecified() {
            true => SocketAddr::new(route.source, from.port()),
            false => from,
        };
        let size = datagram.segment_size.unwrap_or(data.len()).min(data.len());
        let is_several = size < data.len();
        check_size(socket, &route, &to, data.len(), size, is_several)?;
        let bytes = cost(data.len());
        let has_room = socket.has_room(data.len());
        if !has_room || host.shared.budget.try_reserve(bytes as u64).is_err() {
            socket.blocked = true;
            let counters = host.counters();
            counters.udp_sndbuf_errors = counters.udp_sndbuf_errors.saturating_add(1);
            return Err(UdpSendError::Full);
        }
        let data = socket.copy(data);
        socket.push_outgoing(Outgoing {
            data,
            from,
            to,
            ecn: datagram.ecn,
            size,
            route,
        });
        if !core::mem::replace(&mut socket.queued, true) {
            self.ready.push_back(key.0.index);
        }
        Ok(())
    }

    pub(crate) fn recv(&mut self, host: &mut Host<'_>, key: UdpKey) -> Option<Received> {
        let received = self.slab.get_mut(key.0)?.pop_received()?;
        let bytes = cost(received.data.len());
        host.shared.budget.release(bytes as u64);
        Some(received)
    }

    pub(crate) fn error(&mut self, key: UdpKey) -> Option<UdpError> {
        self.slab.get_mut(key.0)?.pop_error()
    }

    /// Sets the codepoint of what is sent from here on. True when there is such a socket.
    pub(crate) fn set_dscp(&mut self, key: UdpKey, dscp: u8) -> bool {
        let socket = self.slab.get_mut(key.0).filter(|it| !it.closing);
        socket.map(|it| it.config.dscp = dscp).is_some()
    }

    pub(crate) fn local(&self, key: UdpKey) -> Option<SocketAddr> {
        Some(self.slab.get(key.0)?.local)
    }

    /// The application lets go. True when there was something to let go of.
    pub(crate) fn close(&mut self, host: &mut Host<'_>, key: UdpKey) -> bool {
        let is_open = self.slab.get(key.0).is_some_and(|it| !it.closing);
        if !is_open {
            return false;
        }
        self.unlink(host, key.0);
        while self.recv(host, key).is_some() {}
        if let Some(socket) = self.slab.get_mut(key.0) {
            socket.closing = true;
            if !socket.has_outgoing() {
                self.remove(host, key.0);
            }
        }
        true
    }

    pub(super) fn remove(&mut self, host: &mut Host<'_>, key: Key) {
        if let Some(socket) = self.slab.remove(key) {
            let held = (socket.held() as u64).saturating_add(UDP_SOCKET_COST);
            host.shared.budget.release(held);
        }
    }

    fn unlink(&mut self, host: &Host<'_>, key: Key) {
        let Some(socket) = self.slab.get(key) else {
            return;
        };
        let (spread, target) = (&host.shared.spread, Target::Socket(key.index));
        match &socket.remote {
            Some(remote) => self
                .by_ends
                .remove(spread.pair(&socket.local, remote), target),
            None => self.by_place.remove(spread.place(&socket.local), target),
        };
    }

    /// The socket at exactly this place.
    fn at(&self, spread: &crate::stack::secret::Spread, place: &SocketAddr) -> Option<u32> {
        let is_it = |index| {
            let socket = self.slab.get_at(index);
            socket.is_some_and(|it| it.local == *place)
        };
        let found = self.by_place.find(
            spread.place(place),
            |target| matches!(target, Target::Socket(index) if is_it(index)),
        );
        match found {
            Some(Target::Socket(index)) => Some(index),
            _ => None,
        }
    }

    /// Whose a datagram is.
    fn find(&self, host: &Host<'_>, local: &SocketAddr, remote: &SocketAddr) -> Option<u32> {
        let spread = &host.shared.spread;
        if self.by_ends.len() > 0 {
            let is_it = |index| {
                let socket = self.slab.get_at(index);
                socket.is_some_and(|it| it.local == *local && it.remote == Some(*remote))
            };
            let found = self.by_ends.find(
                spread.pair(local, remote),
                |target| matches!(target, Target::Socket(index) if is_it(index)),
            );
            if let Some(Target::Socket(index)) = found {
                return Some(index);
            }
        }
        places(local)
            .iter()
            .find_map(|place| self.at(spread, place))
    }

    /// Takes a packet with datagrams in it.
    pub(crate) fn handle(&mut self, host: &mut Host<'_>, packet: &ip::Received<'_>) {
        let Some((header, data)) = checked(host, packet) else {
            return;
        };
        let local = SocketAddr::new(packet.dst, header.dst_port);
        let remote = SocketAddr::new(packet.src, header.src_port);
        let Some(index) = self.find(host, &local, &remote) else {
            let counters = host.counters();
            counters.udp_no_ports = counters.udp_no_ports.saturating_add(1);
            let count = counters.udp_no_ports;
            let why = ("no_listener", "no socket is bound to the port");
            host.tell_dropped(("UDP", packet.payload.len()), why, count);
            if !packet.to_many && host.config.answer_strangers {
                // T151
                host.ip.port_unreachable(host.now, packet.packet);
            }
            return;
        };
        let size = packet
            .segments
            .map_or(data.len(), |it| usize::from(it.size));
        self.deliver(host, index, data, size, (remote, local, packet.ecn));
    }

    /// Queues datagrams of `size` bytes each at a socket.
    fn deliver(
        &mut self,
        host: &mut Host<'_>,
        index: u32,
        data: &[u8],
        size: usize,
        (from, to, ecn): (SocketAddr, SocketAddr, ip::Ecn),
    ) {
        let (Some(key), Some(socket)) = (self.slab.key_at(index), self.slab.get_at_mut(index))
        else {
            return;
        };
        let count = data.len().div_ceil(size.max(1)).max(1);
        let bytes = cost(0).saturating_mul(count).saturating_add(data.len());
        let shared = &mut *host.shared;
        if shared.budget.try_reserve(bytes as u64).is_err() {
            let errors = &mut shared.counters;
            errors.udp_rcvbuf_errors = errors.udp_rcvbuf_errors.saturating_add(count as u64);
            errors.udp_in_errors = errors.udp_in_errors.saturating_add(count as u64);
            return;
        }
        let had_any = socket.has_received();
        let mut rest = socket.copy(data);
        for _ in 0..count {
            let data = rest.split_to(size.min(rest.len()));
            let received = Received {
                data,
                from,
                to,
                ecn,
            };
            let dropped = socket.push_received(received);
            shared.budget.release(dropped.bytes as u64);
            let counters = &mut shared.counters;
            counters.udp_in_datagrams = counters.udp_in_datagrams.saturating_add(1);
            counters.udp_rcvbuf_errors = counters.udp_rcvbuf_errors.saturating_add(dropped.count);
            counters.udp_in_errors = counters.udp_in_errors.saturating_add(dropped.count);
        }
        if !had_any && socket.has_received() {
            host.tell(Event::UdpReadable(UdpKey(key)));
        }
    }

    /// Takes an ICMP error to the socket that it is about (T152).
    pub(crate) fn on_icmp(&mut self, host: &mut Host<'_>, error: &IcmpError<'_>) {
        let Some(([a, b, c, d, e, f, _, _], data)) = error.quoted.split_first_chunk::<8>() else {
            return;
        };
        let local = SocketAddr::new(error.src, u16::from_be_bytes([*a, *b]));
        let remote = SocketAddr::new(error.dst, u16::from_be_bytes([*c, *d]));
        let Some(index) = self.find(host, &local, &remote) else {
            return;
        };
        let (Some(key), Some(socket)) = (self.slab.key_at(index), self.slab.get_at_mut(index))
        else {
            return;
        };
        if let IcmpKind::PacketTooBig { mtu } = error.kind {
            // RFC 5927 4.1, as far as UDP can: only where something was sent to there.
            let sent_there = socket.route.is_some_and(|it| it.to == remote.ip());
            if socket.remote != Some(remote) && !sent_there {
                return;
            }
            let header = if remote.is_ipv4() { 20 } else { 40 };
            let size = u16::from_be_bytes([*e, *f]).saturating_add(header);
            if host
                .ip
                .on_packet_too_big(host.now, remote.ip(), mtu, size)
                .is_none()
            {
                return;
            }
        }
        let about = UdpError {
            remote,
            kind: error.kind,
            quoted: Quote::of(data),
        };
        if socket.push_error(about) {
            host.tell(Event::UdpError(UdpKey(key)));
        }
    }
}

/// The header and data of a packet, if it is a datagram whose checksum is right (T150).
fn checked<'a>(host: &mut Host<'_>, packet: &ip::Received<'a>) -> Option<(udp::Header, &'a [u8])> {
    let parsed = match (packet.segments, udp::parse(packet.payload)) {
        // The Length of a super-segment says nothing.
        (Some(_), Ok((header, _))) => packet
            .payload
            .get(udp::HEADER_LEN..)
            .map(|data| (header, data)),
        (None, parsed) => parsed.ok(),
        (Some(_), Err(_)) => None,
    };
    let counters = host.counters();
    let Some((header, data)) = parsed else {
        counters.udp_in_errors = counters.udp_in_errors.saturating_add(1);
        let count = counters.udp_in_errors;
        let why = ("malformed", "the header makes no sense");
        host.tell_dropped(("UDP", packet.payload.len()), why, count);
        return None;
    };
    let len = udp::HEADER_LEN.saturating_add(data.len());
    let is_right = match packet.checksum {
        _ if header.checksum == 0 => packet.src.is_ipv4(),
        Checksum::Complete => {
            let bytes = packet.payload.get(..len).unwrap_or_default();
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            let mut sum = checksum::pseudo(packet.src, packet.dst, protocol::UDP, len);
            sum.add_bytes(bytes);
            sum.is_valid()
        }
        Checksum::Partial { .. } | Checksum::Verified => true,
    };
    if !is_right {
        counters.udp_in_csum_errors = counters.udp_in_csum_errors.saturating_add(1);
        counters.udp_in_errors = counters.udp_in_errors.saturating_add(1);
        let count = counters.udp_in_csum_errors;
        let why = ("checksum", "the checksum is wrong");
        host.tell_dropped(("UDP", packet.payload.len()), why, count);
        return None;
    }
    // RFC 768: a source port of 0 says that no answer is wanted; the datagram is one all the same.
    Some((header, data))
}

/// An IPv4 address that is written as IPv6 maps it, as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address and port to send from; the address may be left open.
fn source(
    host: &Host<'_>,
    socket: &Socket,
    datagram: &Datagram,
    to: &SocketAddr,
) -> Result<SocketAddr, UdpSendError> {
    let from = canonical(datagram.from.unwrap_or(socket.local));
    let is_open = from.ip().is_unspecified();
    let is_foreign = !is_open && from.is_ipv4() != to.is_ipv4();
    // An open IPv4 socket sends no IPv6.
    let is_foreign = is_foreign || (is_open && from.is_ipv4() && !to.is_ipv4());
    let is_own = socket.config.any
        || datagram.from.is_none()
        || (from.port() == socket.local.port()
            && (is_open || socket.local.ip() == from.ip() || {
                socket.local.ip().is_unspecified() && host.ip.is_local(from.ip())
            }));
    if is_foreign || !is_own || from.port() == 0 {
        return Err(UdpSendError::InvalidSource(from));
    }
    Ok(from)
}

/// The way from `from` to `to`, remembered for the next datagram.
fn way(
    host: &mut Host<'_>,
    socket: &mut Socket,
    from: &SocketAddr,
    to: &SocketAddr,
) -> Result<Route, UdpSendError> {
    let asked = Some(from.ip()).filter(|ip| !ip.is_unspecified());
    if let Some(cached) = &socket.route
        && cached.to == to.ip()
        && cached.from == asked
        && host.ip.is_current(&cached.route)
    {
        return Ok(cached.route);
    }
    let route = host
        .ip
        .route(to.ip(), asked)
        .map_err(|_| UdpSendError::NoRoute(*to))?;
    socket.route = Some(CachedRoute {
        from: asked,
        to: to.ip(),
        route,
    });
    Ok(route)
}

/// Whether datagrams of this size can be sent there.
fn check_size(
    socket: &Socket,
    route: &Route,
    to: &SocketAddr,
    all: usize,
    size: usize,
    is_several: bool,
) -> Result<(), UdpSendError> {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    // RFC 768: Length is 16 bits; IPv4's Total Length counts its own header as well.
    let largest = if to.is_ipv4() { 65_507 } else { 65_527 };
    let fits = usize::from(route.mtu).saturating_sub(headers);
    let most = if is_several || !socket.config.fragment {
        fits.min(largest)
    } else {
        largest
    };
    if size > most || (is_several && size == 0) {
        return Err(UdpSendError::TooLong { size, most });
    }
    if all > MAX_SUPER_SEGMENT {
        return Err(UdpSendError::TooLong {
            size: all,
            most: MAX_SUPER_SEGMENT,
        });
    }
    Ok(())
}
