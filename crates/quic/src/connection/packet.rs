//! One packet on its way out: header, room for frames, padding, seal.

use weir_core::time::Instant;

use super::Connection;
use crate::crypto::{Level, TAG_LEN as TAG};
use crate::error::TransportError;
use crate::path::PathId;
use crate::recovery::SentPacket;
use crate::transmit::TransmitBuf;
use crate::wire::header::{self, LengthField, LongHeader, PacketType, ShortHeader, Written};
use crate::wire::{Space, packet_number};

/// Bytes of packet number and payload that header protection needs before the tag
/// (RFC 9001 section 5.4.2).
const LEAST_FOR_SAMPLE: usize = 4;

/// A packet that is being written at the end of the batch buffer.
pub(super) struct Building {
    pub(super) space: Space,
    pub(super) level: Level,
    pub(super) path: PathId,
    /// Where it begins in the buffer.
    pub(super) start: usize,
    /// Where its payload begins.
    pub(super) payload: usize,
    pub(super) pn: u64,
    pub(super) pn_offset: usize,
    pub(super) pn_len: usize,
    /// What a long header left to be filled in.
    long: Option<Written>,
    pub(super) ack_eliciting: bool,
    pub(super) has_padding: bool,
    /// The size that it is a probe for (RFC 8899).
    pub(super) mtu_probe: bool,
    /// Its last frame goes on to the end of the packet.
    pub(super) has_open_end: bool,
}

impl Connection {
    /// Writes a header; `None` when the datagram has no room for it and a payload worth having.
    pub(super) fn begin_packet(
        &mut self,
        space: Space,
        level: Level,
        path: PathId,
        room: usize,
        out: &mut TransmitBuf,
    ) -> Option<Building> {
        const LEAST_PAYLOAD: usize = 32;
        let dcid = self.paths.remote_cid(path)?;
        let pn = self.recovery.next_packet_number(space, &mut self.rng)?;
        let pn_len = packet_number::len(pn, self.recovery.largest_acked(space));
        let start = out.data.len();
        let (pn_offset, long) = if level == Level::OneRtt {
            let short = ShortHeader {
                dcid: &dcid,
                spin: self.spin.enabled && self.spin.value,
                key_phase: self.protection.send_phase(),
                fixed_bit: self.fixed_bit(),
                pn,
                pn_len,
            };
            (short.write(&mut out.data), None)
        } else {
            let kind = match level {
                Level::Initial => PacketType::Initial,
                Level::Handshake => PacketType::Handshake,
                Level::ZeroRtt | Level::OneRtt => PacketType::ZeroRtt,
            };
            let long = LongHeader {
                kind,
                version: self.version,
                dcid: &dcid,
                scid: &self.handshake.local_cid,
                token: &self.handshake.token,
                pn,
                pn_len,
                fixed_bit: true,
                length: LengthField::for_datagram(room),
            };
            let written = long.write(&mut out.data);
            (written.pn_offset, Some(written))
        };
        let payload = out.data.len();
        let used = payload.saturating_sub(start);
        if used.saturating_add(TAG + LEAST_PAYLOAD) > room {
            out.data.truncate(start);
            return None;
        }
        Some(Building {
            space,
            level,
            path,
            start,
            payload,
            pn,
            pn_offset,
            pn_len,
            long,
            ack_eliciting: false,
            has_padding: false,
            mtu_probe: false,
            has_open_end: false,
        })
    }

    /// The fixed bit of short headers: random where the peer takes that (RFC 9287 section 3.1).
    fn fixed_bit(&mut self) -> bool {
        if !self.peer.grease_quic_bit || !self.config.grease {
            return true;
        }
        weir_core::rng::chance(&mut self.rng, 1, 2)
    }

    /// Pads, seals and notes the packet. `pad_to` is where the datagram has to end at least, as an
    /// index into the buffer.
    pub(super) fn finish_packet(
        &mut self,
        now: Instant,
        mut packet: Building,
        pad_to: Option<usize>,
        out: &mut TransmitBuf,
    ) -> Result<(), TransportError> {
        let least = packet.pn_offset.saturating_add(LEAST_FOR_SAMPLE);
        let mut end = out.data.len().max(least);
        if let Some(pad_to) = pad_to {
            end = end.max(pad_to.saturating_sub(TAG));
        }
        packet.has_padding |= end > out.data.len();
        out.data.resize(end.saturating_add(TAG), 0);
        let size = out.data.len().saturating_sub(packet.start);
        let pn_offset = packet.pn_offset.saturating_sub(packet.start);
        if let Some(written) = &packet.long {
            header::finish_length(&mut out.data, written, 0);
        }
        self.trace_packet_sent(now, &packet, out);
        let whole = out.data.get_mut(packet.start..).unwrap_or_default();
        self.protection
            .seal(packet.level, whole, pn_offset, packet.pn_len, packet.pn)?;
        self.note_sent(now, &packet, size);
        Ok(())
    }

    /// What the recovery and the clocks must know of a packet that goes out.
    fn note_sent(&mut self, now: Instant, packet: &Building, size: usize) {
        self.stir(now);
        if packet.ack_eliciting && !self.clock.eliciting_sent {
            // RFC 9000 10.1: the first one after something was received restarts the idle time-out.
            self.clock.eliciting_sent = true;
            self.clock.idle_from = now;
        }
        self.stats.packets_sent = self.stats.packets_sent.saturating_add(1);
        let ecn = self.batch_marks(packet.path);
        let sent = SentPacket {
            pn: packet.pn,
            size: u16::try_from(size).unwrap_or(u16::MAX),
            path: packet.path,
            ack_eliciting: packet.ack_eliciting,
            in_flight: packet.ack_eliciting || packet.has_padding,
            ecn,
            is_mtu_probe: packet.mtu_probe,
        };
        self.recovery
            .on_packet_sent(now, packet.space, sent, &mut self.log, &mut self.paths);
        if packet.level == Level::Handshake && self.side.is_client() {
            // RFC 9001 4.9.1
            self.discard_space(now, Space::Initial);
        }
    }

    /// Takes back a packet that turned out to have nothing to say.
    pub(super) fn abandon_packet(&mut self, packet: &Building, out: &mut TransmitBuf) {
        out.data.truncate(packet.start);
        self.log.clear();
    }
}
