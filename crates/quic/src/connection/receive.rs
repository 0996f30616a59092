//! Datagrams to packets: what is dropped, what is kept for later, what is opened.

use weir_core::time::Instant;

use super::drops::Drop;
use super::handshake::{HeldPacket, TlsState};
use super::trace::Cause;
use super::{Connection, EndpointEvent, State};
use crate::cid::ResetToken;
use crate::crypto::{Level, OpenError};
use crate::error::{TransportError, code};
use crate::limits::MIN_DATAGRAM;
use crate::path::{self as paths, PathId};
use crate::recovery::PathLookup;
use crate::transmit::{Ecn, PathAddr};
use crate::wire::header::{self, FIXED_BIT, FixedBit, Packet, PacketType, SPIN_BIT};
use crate::wire::{ConnectionId, Side, Space, Version};

/// The circumstances of the packet that is being processed.
#[derive(Copy, Clone, Debug)]
pub(super) struct Arrival {
    pub(super) now: Instant,
    /// When it came: before `now` if it had to wait for its keys.
    pub(super) came_at: Instant,
    pub(super) path: PathId,
    pub(super) addr: PathAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) kind: PacketType,
    pub(super) space: Space,
    /// The sequence number of this side's connection ID that it was addressed to.
    pub(super) local_cid: Option<u64>,
    /// The key phase that it came in.
    pub(super) phase: u64,
}

/// What a packet contained, as far as the rest of the connection asks.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) ack_eliciting: bool,
    /// A frame other than PATH_CHALLENGE, PATH_RESPONSE, NEW_CONNECTION_ID, PADDING (RFC 9000 9.1).
    pub(super) non_probing: bool,
}

impl Connection {
    /// One datagram that was routed here, decrypted in place. Whatever it holds, the call cannot
    /// fail: what is wrong is dropped or ends the connection, as RFC 9000 and 9001 say.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        addr: PathAddr,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        if matches!(self.state, State::Draining { .. } | State::Drained { .. }) {
            return;
        }
        self.stats.datagrams_received = self.stats.datagrams_received.saturating_add(1);
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(data.len() as u64);
        let path = match self.paths.on_datagram(addr, data.len()) {
            paths::Arrival::Known(path) => Some(path),
            paths::Arrival::Unknown => None,
            paths::Arrival::Refused => {
                return self.drop_packet(now, Drop::Address, None, data.len());
            }
        };
        self.receive(now, now, path, addr, ecn, data);
        self.retry_held(now);
        self.protection.prepare();
        self.trace_changes(now, Cause::Peer);
    }

    /// The packets of one datagram, or one packet that was kept since `came_at` (RFC 9000 12.2).
    fn receive(
        &mut self,
        now: Instant,
        came_at: Instant,
        path: Option<PathId>,
        addr: PathAddr,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        let datagram = data.len();
        let cid_len = self.handshake.local_cid.len();
        let fixed_bit = match self.config.grease {
            true => FixedBit::Any,
            false => FixedBit::Required,
        };
        let mut first_dcid: Option<ConnectionId> = None;
        let mut rest = data;
        while !rest.is_empty() {
            let Ok(parsed) = Packet::parse(rest, cid_len, fixed_bit) else {
                self.drop_packet(now, Drop::Header, None, rest.len());
                return;
            };
            // RFC 9000 12.2: what is not addressed like the first packet was not for us.
            if *first_dcid.get_or_insert(parsed.dcid) != parsed.dcid {
                let why = Drop::OtherDestination;
                self.drop_packet(now, why, Some(parsed.kind), rest.len());
                return;
            }
            let end = parsed.packet_len.min(rest.len());
            let (packet, tail) = rest.split_at_mut(end);
            let Some(space) = parsed.kind.space() else {
                self.receive_unprotected(now, &parsed, packet);
                return;
            };
            let mut arrival = Arrival {
                now,
                came_at,
                path: path.unwrap_or(self.paths.active()),
                addr,
                ecn,
                kind: parsed.kind,
                space,
                local_cid: self.local_cids.sequence_of(&parsed.dcid),
                phase: 0,
            };
            let was_open = self.is_open();
            if let Some(why) = self.is_misplaced(&parsed, datagram) {
                self.drop_packet(now, why, Some(parsed.kind), packet.len());
            } else {
                let new = path.is_none().then_some(datagram);
                self.receive_packet(&mut arrival, new, &parsed, packet);
            }
            if !self.is_open() {
                if !was_open {
                    self.answer_when_closing();
                }
                return;
            }
            rest = tail;
        }
    }

    /// Why a packet with a long header is dropped for what stands in its header, if it is.
    fn is_misplaced(&self, parsed: &Packet, datagram: usize) -> Option<Drop> {
        if parsed.kind == PacketType::OneRtt {
            return None;
        }
        // RFC 9000 7.2: the peer's first packet says where it is; later ones cannot change it.
        let known = match self.side {
            Side::Server => self.handshake.peer_scid,
            Side::Client => self.handshake.peer_scid.filter(|_| self.handshake.heard),
        };
        if known.is_some_and(|known| known != parsed.scid) {
            return Some(Drop::OtherSource);
        }
        if parsed.kind != PacketType::Initial {
            return None;
        }
        let has_token = !parsed.token.is_empty();
        match self.side {
            // RFC 9000 17.2.2
            Side::Client if has_token => Some(Drop::ServerToken),
            Side::Client => None,
            // RFC 9000 14.1: so that nobody can have a server do work for less.
            Side::Server if datagram < MIN_DATAGRAM => Some(Drop::SmallInitial),
            // RFC 9287 3.1: a client knows that this side takes it only from an earlier connection,
            // which gave it the token.
            Side::Server if !has_token && parsed.first & FIXED_BIT == 0 => Some(Drop::FixedBit),
            Side::Server => None,
        }
    }

    /// Version Negotiation and Retry have no packet number and no protection.
    fn receive_unprotected(&mut self, now: Instant, parsed: &Packet, packet: &[u8]) {
        let (kind, size) = (parsed.kind, packet.len());
        // RFC 9000 6.2, 17.2.5.1: both echo the connection ID that this side chose.
        if !self.local_cids.contains(&parsed.dcid) {
            return self.drop_packet(now, Drop::NotOurs, Some(kind), size);
        }
        let taken = match kind {
            PacketType::Retry => {
                let token = packet.get(parsed.token.clone()).unwrap_or_default();
                self.on_retry(now, parsed.version, parsed.scid, token, packet)
            }
            _ if parsed.scid == self.handshake.original_dcid => {
                let list = packet.get(parsed.pn_offset..).unwrap_or_default();
                let versions: Option<Vec<Version>> = header::versions(list).map(Iterator::collect);
                versions.is_some_and(|versions| self.on_version_negotiation(now, &versions, size))
            }
            _ => false,
        };
        if !taken {
            self.drop_packet(now, Drop::Answer, Some(kind), size);
        }
    }

    /// `new` is the size of the datagram when it came from an address that is not a path yet.
    fn receive_packet(
        &mut self,
        arrival: &mut Arrival,
        new: Option<usize>,
        parsed: &Packet,
        packet: &mut [u8],
    ) {
        let level = level_of(arrival.kind);
        let now = arrival.now;
        let former = self.version;
        if arrival.kind != PacketType::OneRtt && !self.reads_version(arrival.kind, parsed.version) {
            let why = Drop::OtherVersion;
            return self.drop_packet(now, why, Some(arrival.kind), packet.len());
        }
        if self.must_wait(level) {
            return self.hold(arrival, packet);
        }
        let expected = self.expected(arrival.space);
        let opened = self
            .protection
            .open(level, packet, parsed.pn_offset, expected);
        match opened {
            Ok(opened) => {
                if former != self.version && !self.settle_version() {
                    let reason = "the server changed to another version too late";
                    let code = code::VERSION_NEGOTIATION_ERROR;
                    return self.fail(now, TransportError::new(code, reason));
                }
                if opened.phase_changed {
                    self.stats.key_updates = self.stats.key_updates.saturating_add(1);
                    self.hold_old_keys(now);
                }
                if self.received(arrival.space).is_duplicate(opened.pn) {
                    let why = Drop::Duplicate;
                    return self.drop_packet(now, why, Some(arrival.kind), packet.len());
                }
                arrival.phase = opened.phase;
                if let Some(datagram) = new
                    && self.is_open()
                    && !self.admit(arrival, datagram)
                {
                    return self.drop_packet(now, Drop::Move, Some(arrival.kind), packet.len());
                }
                self.on_authentic(arrival, parsed);
                let payload = packet.get(opened.payload).unwrap_or_default();
                self.trace_packet_received(arrival, opened.pn, parsed.packet_len, payload);
                self.process(arrival, parsed.first, opened.pn, payload);
            }
            Err(error) => {
                // RFC 9001 5.5: what cannot be authenticated changes nothing.
                if former != self.version {
                    self.switch_version(former);
                }
                self.on_unopened(arrival, error, packet);
            }
        }
    }

    /// A packet that could not be opened: kept, a stateless reset, or nothing.
    fn on_unopened(&mut self, arrival: &Arrival, error: OpenError, packet: &[u8]) {
        let (now, level) = (arrival.now, level_of(arrival.kind));
        let why = match error {
            OpenError::NoKeys if self.may_come(level) => return self.hold(arrival, packet),
            OpenError::NoKeys => Drop::NoKeys,
            OpenError::TooShort => Drop::TooShort,
            OpenError::Authentication { tail } if self.is_reset(arrival, &tail) => {
                return self.handle_stateless_reset(now);
            }
            OpenError::Authentication { .. } => Drop::Forged,
            OpenError::Fatal(error) => return self.fail(now, error),
        };
        self.drop_packet(now, why, Some(arrival.kind), packet.len());
    }

    /// An authentic packet came from an address that is not known: it becomes a path.
    fn admit(&mut self, arrival: &mut Arrival, datagram: usize) -> bool {
        if arrival.kind != PacketType::OneRtt {
            return false;
        }
        let local_cid = arrival.local_cid.unwrap_or(0);
        match self
            .paths
            .admit(arrival.now, arrival.addr, datagram, local_cid)
        {
            Some(path) => arrival.path = path,
            None => return false,
        }
        self.take_path_events(arrival.now);
        true
    }

    /// Whether a packet that is not authentic is a stateless reset (RFC 9000 10.3.1): it ends in `tail`.
    fn is_reset(&self, arrival: &Arrival, tail: &[u8; 16]) -> bool {
        let token = ResetToken::new(*tail);
        let mut tokens = self.paths.remote_cids.tokens_in_use();
        arrival.kind == PacketType::OneRtt && tokens.any(|known| *known == token)
    }

    /// One more than the largest number received in a space.
    fn expected(&mut self, space: Space) -> u64 {
        let largest = self.received(space).largest();
        largest.map_or(0, |largest| largest.saturating_add(1))
    }

    /// Packets are of the version that was agreed on; while it is being agreed on, Initials may be of
    /// the first one (RFC 9369 section 4.1), and of one that the server changes to.
    fn reads_version(&mut self, kind: PacketType, version: Version) -> bool {
        if version == self.version {
            return true;
        }
        let is_initial = kind == PacketType::Initial;
        match self.side {
            Side::Server => {
                let early = is_initial || kind == PacketType::ZeroRtt;
                early && version == self.handshake.first_version
            }
            Side::Client => is_initial && self.follow_version(version),
        }
    }

    /// RFC 9001 5.7: 1-RTT packets wait until the handshake is complete.
    fn must_wait(&self, level: Level) -> bool {
        level == Level::OneRtt && matches!(self.state, State::Handshaking)
    }

    /// Whether keys of the level will come yet.
    fn may_come(&self, level: Level) -> bool {
        match level {
            Level::Initial => false,
            Level::Handshake | Level::OneRtt => matches!(self.state, State::Handshaking),
            Level::ZeroRtt => {
                self.side == Side::Server && matches!(self.handshake.tls, TlsState::Waiting { .. })
            }
        }
    }

    fn hold(&mut self, arrival: &Arrival, packet: &[u8]) {
        let held = HeldPacket {
            came_at: arrival.came_at,
            path: arrival.addr,
            ecn: arrival.ecn,
            data: packet.to_vec(),
        };
        if self.handshake.held.push(held) {
            self.stats.packets_held = self.stats.packets_held.saturating_add(1);
        } else {
            self.drop_packet(arrival.now, Drop::NoRoom, Some(arrival.kind), packet.len());
        }
    }

    /// Which packets can be opened and processed, a bit for each: it changes when keys come.
    fn readable(&self) -> u8 {
        let levels = [
            Level::Initial,
            Level::Handshake,
            Level::ZeroRtt,
            Level::OneRtt,
        ];
        levels.into_iter().fold(0, |bits, level| {
            let is_readable = self.protection.has_receive(level) && !self.must_wait(level);
            bits << 1 | u8::from(is_readable)
        })
    }

    /// Packets that were kept are looked at again when keys have come.
    fn retry_held(&mut self, now: Instant) {
        let keys = self.readable();
        if self.handshake.held.is_empty() || keys == self.handshake.held.tried_with {
            return;
        }
        let packets = self.handshake.held.take();
        self.handshake.held.tried_with = keys;
        for mut packet in packets {
            let path = self.paths.iter().find(|path| path.addr == packet.path);
            let path = path.map(|path| path.id);
            let (came_at, addr) = (packet.came_at, packet.path);
            self.receive(now, came_at, path, addr, packet.ecn, &mut packet.data);
        }
    }

    /// A packet is the peer's: what follows from that alone.
    fn on_authentic(&mut self, arrival: &Arrival, parsed: &Packet) {
        let now = arrival.now;
        self.clock.received = now;
        self.stir(now);
        self.clock.idle_from = now;
        self.clock.alive_from = now;
        self.clock.eliciting_sent = false;
        if self.side == Side::Client && !self.handshake.heard {
            self.handshake.heard = true;
            self.handshake.peer_scid = Some(parsed.scid);
            self.paths.remote_cids.replace_initial(parsed.scid);
        }
        if self.side == Side::Server && arrival.kind == PacketType::Handshake {
            // RFC 9000 8.1: only the client can have made it. RFC 9001 4.9.1.
            let path = self.paths.get(arrival.path);
            if path.is_some_and(|path| !path.is_validated()) {
                self.paths.validate(arrival.path);
                self.endpoint_events.push_back(EndpointEvent::Validated);
            }
            self.discard_space(now, Space::Initial);
        }
    }

    fn process(&mut self, arrival: &Arrival, first: u8, pn: u64, payload: &[u8]) {
        let now = arrival.now;
        self.stats.packets_received = self.stats.packets_received.saturating_add(1);
        if !self.is_open() {
            return self.look_for_close(now, arrival.kind, payload);
        }
        let largest = self.received(arrival.space).largest();
        let content = match self.handle_frames(arrival, payload) {
            Ok(content) => content,
            Err(error) => return self.fail(now, error),
        };
        if !self.is_open() {
            return;
        }
        // What it contained may have ended its space (RFC 9001 4.9).
        if self.protection.has_receive(level_of(arrival.kind)) {
            // RFC 9000 13.2.5: the wait for keys is told as part of the ACK Delay.
            let (came_at, ecn) = (arrival.came_at, arrival.ecn);
            self.received(arrival.space)
                .on_packet(came_at, pn, content.ack_eliciting, ecn);
        }
        self.hasten(now, arrival.kind, content.ack_eliciting);
        if arrival.kind == PacketType::OneRtt {
            self.clock.expects |= content.ack_eliciting && self.side.is_client();
            // RFC 9000 17.4: reordered packets do not turn it back.
            if largest.is_none_or(|largest| largest < pn) {
                self.spin.value = (first & SPIN_BIT != 0) != self.side.is_client();
            }
            let local_cid = arrival.local_cid.unwrap_or(0);
            let probing = !content.non_probing;
            self.paths
                .on_packet(now, arrival.path, pn, probing, local_cid);
            self.take_path_events(now);
        }
    }

    /// A stateless reset arrived: the peer has forgotten the connection (RFC 9000 10.3.1).
    pub fn handle_stateless_reset(&mut self, now: Instant) {
        if matches!(self.state, State::Draining { .. } | State::Drained { .. }) {
            return;
        }
        let reason = weir_core::close::CloseReason::transport(
            weir_core::close::Initiator::Peer,
            code::NO_ERROR,
            "the peer has lost the connection's state (stateless reset)",
        );
        self.drain_with(now, reason);
    }

    /// A frame or packet broke a rule.
    pub(super) fn violation(what: &'static str) -> TransportError {
        TransportError::new(code::PROTOCOL_VIOLATION, what)
    }
}

/// The level that packets of a type are protected at.
fn level_of(kind: PacketType) -> Level {
    match kind {
        PacketType::Handshake => Level::Handshake,
        PacketType::ZeroRtt => Level::ZeroRtt,
        PacketType::OneRtt => Level::OneRtt,
        _ => Level::Initial,
    }
}
