//! What the two sides announce and agree on.

use weir_core::close::Initiator;
use weir_core::time::{Duration, Instant};
use weir_core::trace::{Event, Field, Value};

use super::super::Connection;
use super::u64_field;
use crate::wire::transport_parameters::TransportParameters;
use crate::wire::{ConnectionId, Side, Version};

/// What was told of them.
#[derive(Debug, Default)]
pub(super) struct Told {
    version: Option<Version>,
    own: bool,
    peer: bool,
    alpn: bool,
}

impl Connection {
    pub(super) fn tell_settings(&mut self, now: Instant, told: &mut Told) {
        if told.version != Some(self.version) {
            told.version = Some(self.version);
            self.tell_version(now);
        }
        // A server's own depend on the client's first packet.
        if !told.own && (self.side == Side::Client || self.handshake.has_peer_params) {
            told.own = true;
            let mut own = self.local_parameters(now, None);
            if self.side == Side::Server {
                own.original_destination_connection_id = Some(self.handshake.original_dcid);
                own.retry_source_connection_id = self.handshake.retry_scid;
            }
            self.tell_parameters(now, Initiator::Local, &own);
        }
        if !told.peer && self.handshake.has_peer_params {
            told.peer = true;
            let peer = self.peer.clone();
            self.tell_parameters(now, Initiator::Peer, &peer);
        }
        if !told.alpn && self.handshake.info.is_some() {
            told.alpn = true;
            self.tell_alpn(now);
        }
    }

    fn tell_version(&mut self, now: Instant) {
        let versions = self.handshake.versions.iter();
        let known: Vec<[u8; 4]> = versions.map(|version| version.0.to_be_bytes()).collect();
        let known: Vec<Value<'_>> = known.iter().map(|bytes| Value::Bytes(bytes)).collect();
        let chosen = self.version.0.to_be_bytes();
        let name = match self.side {
            Side::Client => "client_versions",
            Side::Server => "server_versions",
        };
        let fields = [
            Field::new(name, Value::List(&known)),
            Field::new("chosen_version", Value::Bytes(&chosen)),
        ];
        self.tracer.emit(now, || Event::Settings {
            name: "version_information",
            by: None,
            fields: &fields,
        });
    }

    /// The server's list in a Version Negotiation packet.
    pub(in super::super) fn trace_versions(&mut self, now: Instant, versions: &[Version]) {
        let listed: Vec<[u8; 4]> = versions
            .iter()
            .map(|version| version.0.to_be_bytes())
            .collect();
        let listed: Vec<Value<'_>> = listed.iter().map(|bytes| Value::Bytes(bytes)).collect();
        let fields = [Field::new("server_versions", Value::List(&listed))];
        self.tracer.emit(now, || Event::Settings {
            name: "version_information",
            by: None,
            fields: &fields,
        });
    }

    fn tell_alpn(&mut self, now: Instant) {
        let info = self.handshake.info.as_deref();
        let Some(alpn) = info.and_then(|info| info.alpn.as_deref()) else {
            return;
        };
        let bytes = Field::new("byte_value", Value::Bytes(alpn));
        let words = std::str::from_utf8(alpn).ok();
        let words = words.map(|words| Field::new("string_value", Value::Str(words)));
        let chosen: Vec<Field<'_>> = [Some(bytes), words].into_iter().flatten().collect();
        let fields = [Field::new("chosen_alpn", Value::Object(&chosen))];
        self.tracer.emit(now, || Event::Settings {
            name: "alpn_information",
            by: None,
            fields: &fields,
        });
    }

    /// Reset tokens are left out: whoever reads the trace could end the connection with them.
    fn tell_parameters(&mut self, now: Instant, by: Initiator, params: &TransportParameters) {
        let mut fields = vec![
            Field::new(
                "disable_active_migration",
                Value::Bool(params.disable_active_migration),
            ),
            u64_field("max_udp_payload_size", params.max_udp_payload_size),
            u64_field("ack_delay_exponent", params.ack_delay_exponent.into()),
            u64_field("max_ack_delay", millis(params.max_ack_delay)),
            u64_field(
                "active_connection_id_limit",
                params.active_connection_id_limit,
            ),
            u64_field("initial_max_data", params.initial_max_data),
            u64_field(
                "initial_max_stream_data_bidi_local",
                params.initial_max_stream_data_bidi_local,
            ),
            u64_field(
                "initial_max_stream_data_bidi_remote",
                params.initial_max_stream_data_bidi_remote,
            ),
            u64_field(
                "initial_max_stream_data_uni",
                params.initial_max_stream_data_uni,
            ),
            u64_field("initial_max_streams_bidi", params.initial_max_streams_bidi),
            u64_field("initial_max_streams_uni", params.initial_max_streams_uni),
            u64_field("max_datagram_frame_size", params.max_datagram_frame_size),
            Field::new("grease_quic_bit", Value::Bool(params.grease_quic_bit)),
        ];
        if let Some(time) = params.max_idle_timeout {
            fields.push(u64_field("max_idle_timeout", millis(time)));
        }
        if let Some(time) = params.min_ack_delay {
            fields.push(Field::new("min_ack_delay", Value::Time(time)));
        }
        let ids = [
            (
                "original_destination_connection_id",
                &params.original_destination_connection_id,
            ),
            (
                "initial_source_connection_id",
                &params.initial_source_connection_id,
            ),
            (
                "retry_source_connection_id",
                &params.retry_source_connection_id,
            ),
        ];
        for (name, cid) in ids {
            fields.extend(cid.as_ref().map(|cid| id_field(name, cid)));
        }
        self.tracer.emit(now, || Event::Settings {
            name: "parameters_set",
            by: Some(by),
            fields: &fields,
        });
    }
}

fn id_field<'a>(name: &'static str, cid: &'a ConnectionId) -> Field<'a> {
    Field::new(name, Value::Bytes(cid))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
