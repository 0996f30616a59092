//! Transport parameters to bytes.

use weir_core::rng::{self, Rng};
use weir_core::time::Duration;

use super::{PreferredAddress, TransportParameters, VersionInformation, id};
use crate::wire::{ConnectionId, Side, varint};

/// Most bytes in the value of a reserved parameter.
const MAX_GREASE: u64 = 16;

impl TransportParameters {
    /// Appends what differs from the defaults; from a client, nothing that only servers send.
    /// With `grease`, in random order and with a reserved parameter among them, so that no peer
    /// comes to rely on either (RFC 9000 sections 7.4.2 and 18.1).
    pub fn encode(&self, side: Side, out: &mut Vec<u8>, grease: Option<&mut Rng>) {
        let mut order = id::KNOWN;
        let Some(rng) = grease else {
            for id in order {
                self.one(side, id, out);
            }
            return;
        };
        shuffle(&mut order, rng);
        let reserved_at = rng::below(rng, order.len() as u64);
        for (id, n) in order.into_iter().zip(0..) {
            if n == reserved_at {
                reserved(rng, out);
            }
            self.one(side, id, out);
        }
    }

    fn one(&self, side: Side, id: u64, out: &mut Vec<u8>) {
        let defaults = TransportParameters::default();
        match id {
            id::ORIGINAL_DESTINATION_CONNECTION_ID if side.is_server() => {
                connection_id(id, self.original_destination_connection_id, out);
            }
            id::RETRY_SOURCE_CONNECTION_ID if side.is_server() => {
                connection_id(id, self.retry_source_connection_id, out);
            }
            id::INITIAL_SOURCE_CONNECTION_ID => {
                connection_id(id, self.initial_source_connection_id, out);
            }
            id::STATELESS_RESET_TOKEN if side.is_server() => {
                if let Some(token) = self.stateless_reset_token {
                    bytes(id, &token, out);
                }
            }
            id::PREFERRED_ADDRESS if side.is_server() => {
                if let Some(preferred) = &self.preferred_address {
                    preferred_address(preferred, out);
                }
            }
            id::DISABLE_ACTIVE_MIGRATION if self.disable_active_migration => bytes(id, &[], out),
            id::GREASE_QUIC_BIT if self.grease_quic_bit => bytes(id, &[], out),
            id::VERSION_INFORMATION => {
                if let Some(versions) = &self.version_information {
                    version_information(versions, out);
                }
            }
            _ => {
                if let Some(value) = self.integer(id)
                    && defaults.integer(id) != Some(value)
                {
                    integer(id, value, out);
                }
            }
        }
    }

    /// The value of those that are integers on the wire.
    fn integer(&self, id: u64) -> Option<u64> {
        Some(match id {
            id::MAX_IDLE_TIMEOUT => self.max_idle_timeout.map_or(0, millis),
            id::MAX_UDP_PAYLOAD_SIZE => self.max_udp_payload_size,
            id::INITIAL_MAX_DATA => self.initial_max_data,
            id::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL => self.initial_max_stream_data_bidi_local,
            id::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => self.initial_max_stream_data_bidi_remote,
            id::INITIAL_MAX_STREAM_DATA_UNI => self.initial_max_stream_data_uni,
            id::INITIAL_MAX_STREAMS_BIDI => self.initial_max_streams_bidi,
            id::INITIAL_MAX_STREAMS_UNI => self.initial_max_streams_uni,
            id::ACK_DELAY_EXPONENT => u64::from(self.ack_delay_exponent),
            id::MAX_ACK_DELAY => millis(self.max_ack_delay),
            id::ACTIVE_CONNECTION_ID_LIMIT => self.active_connection_id_limit,
            id::MAX_DATAGRAM_FRAME_SIZE => self.max_datagram_frame_size,
            id::MIN_ACK_DELAY => return self.min_ack_delay.map(micros),
            _ => return None,
        })
    }
}

/// Every order as likely as any other.
fn shuffle(order: &mut [u64], rng: &mut Rng) {
    for n in (1..order.len()).rev() {
        let other = rng::between(rng, 0, n as u64) as usize;
        order.swap(n, other);
    }
}

/// A parameter 31 * N + 27 with random bytes in it.
fn reserved(rng: &mut Rng, out: &mut Vec<u8>) {
    let n = rng::below(rng, varint::MAX / 31);
    let id = n.saturating_mul(31).saturating_add(27).min(varint::MAX);
    let mut value = [0; MAX_GREASE as usize];
    rng::fill(rng, &mut value);
    let len = rng::between(rng, 0, MAX_GREASE) as usize;
    bytes(id, value.get(..len).unwrap_or_default(), out);
}

fn bytes(id: u64, value: &[u8], out: &mut Vec<u8>) {
    varint::encode(id, out);
    varint::encode(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn integer(id: u64, value: u64, out: &mut Vec<u8>) {
    varint::encode(id, out);
    varint::encode(varint::size(value) as u64, out);
    varint::encode(value, out);
}

fn connection_id(id: u64, value: Option<ConnectionId>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        bytes(id, &value, out);
    }
}

fn preferred_address(preferred: &PreferredAddress, out: &mut Vec<u8>) {
    let (v4, port4) = preferred.ipv4.map_or(([0; 4], 0), |address| {
        (address.ip().octets(), address.port())
    });
    let (v6, port6) = preferred.ipv6.map_or(([0; 16], 0), |address| {
        (address.ip().octets(), address.port())
    });
    varint::encode(id::PREFERRED_ADDRESS, out);
    // Two addresses with ports, the ID's length, the ID, the token.
    varint::encode(
        (6_u64 + 18 + 1 + 16).saturating_add(preferred.id.len() as u64),
        out,
    );
    out.extend_from_slice(&v4);
    out.extend_from_slice(&port4.to_be_bytes());
    out.extend_from_slice(&v6);
    out.extend_from_slice(&port6.to_be_bytes());
    out.push(preferred.id.len() as u8);
    out.extend_from_slice(&preferred.id);
    out.extend_from_slice(&preferred.reset_token);
}

fn version_information(versions: &VersionInformation, out: &mut Vec<u8>) {
    let count = versions.available.len().saturating_add(1) as u64;
    varint::encode(id::VERSION_INFORMATION, out);
    varint::encode(count.saturating_mul(4), out);
    for version in [versions.chosen].iter().chain(&versions.available) {
        out.extend_from_slice(&version.0.to_be_bytes());
    }
}

/// Whole milliseconds; what is less than one is not none.
fn millis(duration: Duration) -> u64 {
    let millis = duration.as_micros().div_ceil(1000);
    u64::try_from(millis).map_or(varint::MAX, |millis| millis.min(varint::MAX))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).map_or(varint::MAX, |micros| micros.min(varint::MAX))
}
