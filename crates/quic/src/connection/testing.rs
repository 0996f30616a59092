//! What tests and fuzzers may do to a connection, and see of it.

use weir_core::time::Instant;

use super::Connection;
use crate::crypto::Level;
use crate::recovery::PathLookup;
use crate::transmit::TransmitBuf;
#[cfg(test)]
use crate::wire::{Space, Version};

impl Connection {
    /// A packet with these bytes as its frames, whatever they are, and these bits of its first byte
    /// turned over; `None` without keys or a connection ID to send it to.
    pub(crate) fn forge_bits(
        &mut self,
        now: Instant,
        level: Level,
        bits: u8,
        frames: &[u8],
    ) -> Option<Vec<u8>> {
        let path = self.paths.active();
        let mut out = TransmitBuf::default();
        let room = frames.len().saturating_add(200);
        if !self.protection.has_send(level) {
            return None;
        }
        let mut packet = self.begin_packet(level.space(), level, path, room, &mut out)?;
        // Four bytes of packet number, so that nothing has to be padded.
        out.data.truncate(packet.pn_offset);
        out.data
            .extend_from_slice(&(packet.pn as u32).to_be_bytes());
        packet.payload = out.data.len();
        packet.pn_len = 4;
        let first = out.data.get_mut(packet.start)?;
        *first = (*first ^ bits) | 3;
        out.data.extend_from_slice(frames);
        self.finish_packet(now, packet, None, &mut out).ok()?;
        Some(out.data)
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]
impl Connection {
    /// The same without bits, by an end that can.
    pub(crate) fn forge(&mut self, now: Instant, level: Level, frames: &[u8]) -> Vec<u8> {
        self.forge_bits(now, level, 0, frames).unwrap()
    }

    /// How many handshake bytes went out in 1-RTT packets.
    pub(crate) fn crypto_sent(&mut self) -> u64 {
        self.crypto_sent_in(Level::OneRtt)
    }

    /// How many handshake bytes there were to send in packets of a level.
    pub(crate) fn crypto_sent_in(&mut self, level: Level) -> u64 {
        let send = self.handshake.send(level.space());
        send.map_or(0, |send| send.end())
    }

    /// What its Initial packets carry as a token.
    pub(crate) fn set_token(&mut self, token: &'static [u8]) {
        self.handshake.token = bytes::Bytes::from_static(token);
    }

    /// The number of the next 1-RTT packet.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.recovery.end(Space::Data)
    }

    /// Whether packets of a level can be opened and sealed.
    pub(crate) fn has_keys(&self, level: Level) -> bool {
        self.protection.has_send(level) && self.protection.has_receive(level)
    }

    /// Packets that wait for their keys.
    pub(crate) fn held_packets(&self) -> usize {
        self.handshake.held.len()
    }

    /// A Version Negotiation packet with this list arrived.
    pub(crate) fn hear_versions(&mut self, now: Instant, versions: &[Version]) {
        let _taken = self.on_version_negotiation(now, versions, 0);
    }

    /// Whether packets of a level can be sealed.
    pub(crate) fn can_seal(&self, level: Level) -> bool {
        self.protection.has_send(level)
    }

    /// Bytes that handshake bytes take.
    pub(crate) fn crypto_memory(&self) -> usize {
        self.handshake.crypto_memory()
    }

    /// Bytes that grow with what a peer sends: streams, paths, connection IDs, news.
    pub(crate) fn memory(&self) -> usize {
        self.memory.used() as usize
            + self.paths.memory()
            + self.local_cids.memory()
            + self.events.capacity() * size_of::<super::Event>()
            + self.endpoint_events.capacity() * size_of::<super::EndpointEvent>()
    }

    /// The frame type that CONNECTION_CLOSE names.
    pub(crate) fn frame_at_fault(&self) -> Option<u64> {
        match &self.state {
            super::State::Closing(closing) => Some(closing.frame()),
            _ => None,
        }
    }

    /// What the spin bit of the next packet would be.
    pub(crate) fn spin_value(&self) -> bool {
        self.spin.value
    }
}
