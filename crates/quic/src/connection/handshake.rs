//! TLS inside the connection: CRYPTO streams, keys as they come, what the peer announced.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::buf::{Assembler, Chunks, SendBuffer};
use weir_core::time::Instant;

use super::begin::stream_limits;
use super::hasten::Hasten;
use super::{Connection, Event, State};
use crate::cid::ResetToken;
use crate::config::ServerConfig;
use crate::crypto::client_hello::{self, Peek};
use crate::crypto::{KeyChange, Level, Tls};
use crate::error::{TransportError, code};
use crate::limits::{MAX_CRYPTO_BUFFER, MAX_HELD_BYTES, MAX_HELD_DATAGRAMS};
use crate::recovery::received::Received;
use crate::transmit::{Ecn, PathAddr};
use crate::wire::transport_parameters::{Remembered, TransportParameters};
use crate::wire::{ConnectionId, Side, Space, Version};

/// What only the handshake needs. What is large is freed when it is confirmed.
pub(super) struct Handshake {
    pub(super) tls: TlsState,
    crypto: [Option<Box<CryptoStream>>; 3],
    /// What the CRYPTO streams are made of.
    chunks: Chunks,
    /// This side's first connection ID, the source of its long headers.
    pub(super) local_cid: ConnectionId,
    /// The stateless reset token of that ID, which a server announces.
    pub(super) reset_token: Option<ResetToken>,
    /// Packets whose keys are not there yet.
    pub(super) held: Held,
    /// The Destination Connection ID of the client's first Initial.
    pub(super) original_dcid: ConnectionId,
    /// The Source Connection ID of the Retry that the handshake went through.
    pub(super) retry_scid: Option<ConnectionId>,
    /// The Source Connection ID of the peer's first Initial.
    pub(super) peer_scid: Option<ConnectionId>,
    /// What the client's Initials carry.
    pub(super) token: Bytes,
    /// Client: a packet of the server was processed, so that Retry and Version Negotiation come too late.
    pub(super) heard: bool,
    /// Client: the server has answered the ClientHello, or has changed the version.
    pub(super) is_version_settled: bool,
    /// What was said again before its time.
    pub(super) hasten: Hasten,
    /// The versions that this side speaks, the preferred one first.
    pub(super) versions: Vec<Version>,
    /// The version of the first Initial.
    pub(super) first_version: Version,
    pub(super) zero_rtt: ZeroRtt,
    pub(super) has_peer_params: bool,
    pub(super) info: Option<Box<HandshakeInfo>>,
}

/// What became of early data.
#[derive(Debug, Default)]
pub(super) enum ZeroRtt {
    /// There was none.
    #[default]
    None,
    /// Client: it is being sent; what the server allowed when the ticket was given.
    Sent(Box<Remembered>),
    /// Server: it is being taken.
    Taken,
    /// The server took it.
    Accepted,
    /// The server did not.
    Rejected,
}

/// Where TLS stands.
pub(super) enum TlsState {
    /// Server: the ClientHello is not whole yet, which decides about the version.
    Waiting {
        config: Arc<ServerConfig>,
        hello: Vec<u8>,
    },
    /// It runs, or has run and is kept for tickets and exporters.
    Running(Box<Tls>),
    /// It is over and was freed.
    Done,
}

/// What the handshake agreed on and proved.
#[derive(Clone, Debug, Default)]
pub struct HandshakeInfo {
    /// The application protocol.
    pub alpn: Option<Bytes>,
    /// The peer's certificates, its own first.
    pub peer_certificates: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// Server: the name that the client asked for.
    pub server_name: Option<String>,
    /// Whether early data was taken; `None` when there was none.
    pub zero_rtt: Option<bool>,
    /// Whether the TLS session was resumed from a ticket.
    pub resumed: bool,
}

/// One space's handshake bytes, both ways.
struct CryptoStream {
    send: SendBuffer,
    recv: Assembler,
}

/// Chunks kept for reuse while the handshake runs, in bytes.
const CRYPTO_CHUNKS: usize = 8 * 1024;

impl CryptoStream {
    fn new() -> Box<CryptoStream> {
        Box::new(CryptoStream {
            send: SendBuffer::new(0),
            recv: Assembler::new(0, MAX_CRYPTO_BUFFER),
        })
    }
}

/// Packets that came before their keys, bounded (RFC 9000 5.2.1, RFC 9001 5.7).
#[derive(Debug, Default)]
pub(super) struct Held {
    packets: VecDeque<HeldPacket>,
    bytes: usize,
    /// Which packets could be read when they were last looked at.
    pub(super) tried_with: u8,
}

/// One of them.
#[derive(Debug)]
pub(super) struct HeldPacket {
    pub(super) came_at: Instant,
    pub(super) path: PathAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) data: Vec<u8>,
}

impl Held {
    /// Keeps a packet, unless the bound is reached.
    pub(super) fn push(&mut self, packet: HeldPacket) -> bool {
        let bytes = self.bytes.saturating_add(packet.data.len());
        if self.packets.len() >= MAX_HELD_DATAGRAMS || bytes > MAX_HELD_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.packets.push_back(packet);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn take(&mut self) -> VecDeque<HeldPacket> {
        self.bytes = 0;
        std::mem::take(&mut self.packets)
    }
}

impl Handshake {
    pub(super) fn new(
        tls: TlsState,
        local_cid: ConnectionId,
        original_dcid: ConnectionId,
        versions: Vec<Version>,
        first_version: Version,
    ) -> Handshake {
        Handshake {
            tls,
            crypto: [Some(CryptoStream::new()), Some(CryptoStream::new()), None],
            chunks: Chunks::new(CRYPTO_CHUNKS),
            local_cid,
            reset_token: None,
            held: Held::default(),
            original_dcid,
            retry_scid: None,
            peer_scid: None,
            token: Bytes::new(),
            heard: false,
            is_version_settled: false,
            hasten: Hasten::default(),
            versions,
            first_version,
            zero_rtt: ZeroRtt::None,
            has_peer_params: false,
            info: None,
        }
    }

    fn stream(&mut self, space: Space) -> Option<&mut CryptoStream> {
        self.crypto.get_mut(space.index())?.as_deref_mut()
    }

    pub(super) fn crypto_pending(&self, space: Space) -> bool {
        let stream = self.crypto.get(space.index()).and_then(Option::as_deref);
        stream.is_some_and(|stream| !stream.send.next_range(u64::MAX).is_empty())
    }

    pub(super) fn send(&mut self, space: Space) -> Option<&mut SendBuffer> {
        self.stream(space).map(|stream| &mut stream.send)
    }

    /// The peer has these handshake bytes.
    pub(super) fn on_acked(&mut self, space: Space, range: std::ops::Range<u64>) {
        let slot = self.crypto.get_mut(space.index());
        if let Some(stream) = slot.and_then(Option::as_deref_mut) {
            stream.send.on_acked(range, &mut self.chunks);
        }
    }

    #[cfg(test)]
    pub(super) fn crypto_memory(&self) -> usize {
        self.chunks.in_use()
    }

    /// Gives back memory that only handshake bytes under way need.
    pub(super) fn rest(&mut self) {
        self.chunks.trim();
    }

    pub(super) fn discard(&mut self, space: Space) {
        if let Some(stream) = self.crypto.get_mut(space.index()) {
            *stream = None;
        }
    }
}

impl Connection {
    /// Handshake bytes arrived.
    pub(super) fn on_crypto(
        &mut self,
        now: Instant,
        space: Space,
        offset: u64,
        data: &[u8],
    ) -> Result<(), TransportError> {
        if data.is_empty() {
            return Ok(());
        }
        if space == Space::Data && matches!(self.handshake.tls, TlsState::Done) {
            // RFC 9000 7.5: what lies beyond every buffer is no message yet.
            return Err(match offset < MAX_CRYPTO_BUFFER {
                true => unexpected_message(),
                false => buffer_exceeded(),
            });
        }
        let slot = self.handshake.crypto.get_mut(space.index());
        let Some(slot) = slot else { return Ok(()) };
        if slot.is_none() && space != Space::Data {
            return Ok(());
        }
        self.handshake.is_version_settled = true;
        let stream = slot.get_or_insert_with(CryptoStream::new);
        let chunks = &mut self.handshake.chunks;
        let inserted = stream.recv.insert(offset, data, chunks);
        inserted.map_err(|_| buffer_exceeded())?;
        while let Some(bytes) = self.next_crypto(space) {
            self.feed_tls(now, space, &bytes)?;
        }
        self.check_former_levels()?;
        self.pump_tls(now)
    }

    /// RFC 9001 4.1.3: once TLS reads at a level, nothing is left at the former ones, and nothing new
    /// comes there, behind a gap or not.
    fn check_former_levels(&self) -> Result<(), TransportError> {
        let TlsState::Running(tls) = &self.handshake.tls else {
            return Ok(());
        };
        let present = tls.receive_level().space().index();
        let former = self.handshake.crypto.iter().take(present).flatten();
        match former.into_iter().all(|stream| stream.recv.is_empty()) {
            true => Ok(()),
            false => Err(Connection::violation(
                "handshake bytes at a level that TLS has left",
            )),
        }
    }

    fn next_crypto(&mut self, space: Space) -> Option<Bytes> {
        let handshake = &mut self.handshake;
        let stream = handshake.crypto.get_mut(space.index())?.as_deref_mut()?;
        stream.recv.read(usize::MAX, &mut handshake.chunks)
    }

    /// Gives TLS bytes in order; on the server the ClientHello first decides about the version.
    fn feed_tls(&mut self, now: Instant, space: Space, bytes: &[u8]) -> Result<(), TransportError> {
        let level = match space {
            Space::Initial => Level::Initial,
            Space::Handshake => Level::Handshake,
            Space::Data => Level::OneRtt,
        };
        match &mut self.handshake.tls {
            TlsState::Running(tls) => return tls.on_crypto(level, bytes),
            TlsState::Done => return Err(unexpected_message()),
            TlsState::Waiting { hello, .. } => hello.extend_from_slice(bytes),
        }
        let TlsState::Waiting { config, hello } = &mut self.handshake.tls else {
            return Ok(());
        };
        let params = match client_hello::peek(hello) {
            Peek::Incomplete => return Ok(()),
            Peek::Params(params) => Some(params.to_vec()),
            Peek::Absent => None,
        };
        let (config, hello) = (Arc::clone(config), std::mem::take(hello));
        self.choose_version(params.as_deref(), config.follows_client_versions);
        let own = self.local_parameters(now, Some(&config));
        let mut encoded = Vec::new();
        let grease = self.config.grease.then_some(&mut self.rng);
        own.encode(Side::Server, &mut encoded, grease);
        let mut tls = config
            .tls(&own)
            .and_then(|tls| tls.accept(self.handshake.first_version, self.version, encoded))
            .map_err(|error| TransportError::new(code::INTERNAL_ERROR, error.to_string()))?;
        let fed = tls.on_crypto(level, &hello);
        self.handshake.tls = TlsState::Running(Box::new(tls));
        fed
    }

    /// Takes what TLS has to say, and the keys it has made.
    pub(super) fn pump_tls(&mut self, now: Instant) -> Result<(), TransportError> {
        let mut bytes = Vec::new();
        loop {
            let TlsState::Running(tls) = &mut self.handshake.tls else {
                return Ok(());
            };
            bytes.clear();
            let Some((level, change)) = tls.poll_send(&mut bytes) else {
                break;
            };
            self.queue_crypto(level, &bytes);
            if level == Level::Initial {
                self.on_handshake_said(now);
            }
            self.take_peer_parameters(now)?;
            if let Some(change) = change {
                if matches!(change, KeyChange::Handshake { .. }) {
                    self.recovery.on_handshake_keys();
                }
                self.protection.install(change);
            }
        }
        self.take_peer_parameters(now)?;
        self.take_zero_rtt_keys();
        self.check_complete(now)
    }

    fn queue_crypto(&mut self, level: Level, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(slot) = self.handshake.crypto.get_mut(level.space().index()) {
            let stream = slot.get_or_insert_with(CryptoStream::new);
            stream.send.append_slice(bytes, &mut self.handshake.chunks);
        }
    }

    /// Server: the keys of early data exist once the ClientHello was read (RFC 9001 4.6).
    fn take_zero_rtt_keys(&mut self) {
        if self.side == Side::Client || !matches!(self.handshake.zero_rtt, ZeroRtt::None) {
            return;
        }
        let TlsState::Running(tls) = &mut self.handshake.tls else {
            return;
        };
        if tls.is_handshaking()
            && let Some(keys) = tls.zero_rtt_keys()
        {
            self.protection.install_zero_rtt(keys);
            self.handshake.zero_rtt = ZeroRtt::Taken;
        }
    }

    /// What the peer announced is known as soon as TLS has read it.
    fn take_peer_parameters(&mut self, now: Instant) -> Result<(), TransportError> {
        if self.handshake.has_peer_params {
            return Ok(());
        }
        let TlsState::Running(tls) = &self.handshake.tls else {
            return Ok(());
        };
        let Some(bytes) = tls.peer_params() else {
            return Ok(());
        };
        let params = TransportParameters::decode(self.side.peer(), bytes)?;
        self.check_connection_ids(&params)?;
        self.check_versions(&params)?;
        self.handshake.has_peer_params = true;
        self.apply_peer_parameters(now, params)
    }

    /// RFC 9000 7.3: the connection IDs that the handshake went by are the ones the peer saw.
    fn check_connection_ids(&self, params: &TransportParameters) -> Result<(), TransportError> {
        let wrong =
            |what: &'static str| Err(TransportError::new(code::TRANSPORT_PARAMETER_ERROR, what));
        if params.initial_source_connection_id != self.handshake.peer_scid {
            return wrong("initial_source_connection_id is not the one of the packets");
        }
        if self.side == Side::Server {
            return Ok(());
        }
        if params.original_destination_connection_id != Some(self.handshake.original_dcid) {
            return wrong("original_destination_connection_id is not the one of the first packet");
        }
        if params.retry_source_connection_id != self.handshake.retry_scid {
            return wrong("retry_source_connection_id is not the one of the Retry");
        }
        Ok(())
    }

    /// TLS has finished on this side.
    fn check_complete(&mut self, now: Instant) -> Result<(), TransportError> {
        let TlsState::Running(tls) = &mut self.handshake.tls else {
            return Ok(());
        };
        if tls.is_handshaking() || !matches!(self.state, State::Handshaking) {
            return Ok(());
        }
        let accepted = tls.early_data_accepted() == Some(true);
        let info = HandshakeInfo {
            alpn: tls.alpn().map(Bytes::copy_from_slice),
            peer_certificates: tls.peer_certificates().unwrap_or_default().to_vec(),
            server_name: tls.server_name().map(str::to_owned),
            zero_rtt: None,
            resumed: tls.is_resumed() == Some(true),
        };
        self.handshake.info = Some(Box::new(info));
        self.settle_zero_rtt(now, accepted);
        self.state = State::Established { confirmed: false };
        self.protection.on_handshake_complete();
        self.trace_state(now, "established");
        self.events.push_back(Event::Connected);
        if self.side == Side::Server {
            // RFC 9001 4.1.2: for the server, complete is confirmed.
            self.outbox.handshake_done.set(1);
            if !self.outbox.token.is_empty() {
                self.outbox.new_token.set(1);
            }
            self.confirm(now);
        }
        Ok(())
    }

    /// Client: early data was taken, or everything in it is sent again (RFC 9001 4.6.2). Server: no
    /// more comes soon.
    fn settle_zero_rtt(&mut self, now: Instant, accepted: bool) {
        let was = std::mem::take(&mut self.handshake.zero_rtt);
        self.handshake.zero_rtt = match was {
            ZeroRtt::Sent(_) if accepted => ZeroRtt::Accepted,
            ZeroRtt::Sent(_) => {
                self.protection.discard(Level::ZeroRtt);
                self.recovery
                    .on_zero_rtt_rejected(now, &mut self.paths, &mut self.outcome);
                self.outcome.clear();
                self.streams.on_zero_rtt_rejected();
                self.streams.set_peer_limits(stream_limits(&self.peer));
                self.events.push_back(Event::ZeroRttRejected);
                ZeroRtt::Rejected
            }
            ZeroRtt::Taken => ZeroRtt::Accepted,
            other => other,
        };
        if let Some(info) = &mut self.handshake.info {
            info.zero_rtt = match self.handshake.zero_rtt {
                ZeroRtt::Accepted => Some(true),
                ZeroRtt::Rejected => Some(false),
                _ => None,
            };
        }
        if self.side == Side::Client {
            self.protection.discard(Level::ZeroRtt);
        } else {
            self.clock.early_keys = Some(now + self.pto().saturating_mul(3));
        }
    }

    /// The handshake is confirmed (RFC 9001 4.1.2): what only it needed is let go.
    pub(super) fn confirm(&mut self, now: Instant) {
        if !matches!(self.state, State::Established { confirmed: false }) {
            return;
        }
        self.state = State::Established { confirmed: true };
        self.protection.on_handshake_confirmed();
        self.recovery.on_handshake_confirmed();
        self.discard_space(now, Space::Initial);
        self.discard_space(now, Space::Handshake);
        self.events.push_back(Event::Confirmed);
        self.handshake.token = Bytes::new();
        self.handshake.rest();
        self.paths.on_handshake_confirmed(now);
        self.take_path_events(now);
        if self.side == Side::Server {
            match &mut self.handshake.tls {
                TlsState::Running(tls) if self.config.exporter => tls.settle(),
                tls => *tls = TlsState::Done,
            }
        }
    }

    /// RFC 9001 4.9, RFC 9002 6.4: the keys of a space are gone, and with them all that was sent.
    pub(super) fn discard_space(&mut self, now: Instant, space: Space) {
        let level = match space {
            Space::Initial => Level::Initial,
            Space::Handshake => Level::Handshake,
            Space::Data => return,
        };
        if !self.protection.has_send(level) && !self.protection.has_receive(level) {
            return;
        }
        self.protection.discard(level);
        self.handshake.discard(space);
        self.recovery.discard_space(now, space, &mut self.paths);
        *self.received(space) = Received::new(space, self.config.own_ack_delay());
        if let Some(probes) = self.outbox.probes.get_mut(space.index()) {
            *probes = 0;
        }
    }

    /// What the handshake agreed on, once it is complete.
    #[must_use]
    pub fn handshake_info(&self) -> Option<&HandshakeInfo> {
        self.handshake.info.as_deref()
    }

    /// Keying material that both ends can derive (RFC 8446 7.5); `false` when TLS has not finished,
    /// or was freed because `TransportConfig::exporter` is off.
    pub fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: Option<&[u8]>,
    ) -> bool {
        match &self.handshake.tls {
            TlsState::Running(tls) => tls.export_keying_material(output, label, context).is_ok(),
            _ => false,
        }
    }
}

/// RFC 9000 section 7.5.
fn buffer_exceeded() -> TransportError {
    let reason = "more handshake bytes ahead of a gap than are kept";
    TransportError::new(code::CRYPTO_BUFFER_EXCEEDED, reason)
}

/// RFC 9001 section 6 and 8.3: a TLS message that has no place in QUIC.
fn unexpected_message() -> TransportError {
    const ALERT: u64 = 10;
    let reason = "a TLS message that is not expected here";
    TransportError::new(code::CRYPTO_ERROR.saturating_add(ALERT), reason)
}
