//! How a connection starts.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::{self, Rng};
use weir_core::time::{Duration, Instant};
use weir_core::trace::Tracer;

use super::handshake::{Handshake, TlsState, ZeroRtt};
use super::{Clock, Connection, EndpointEvent, Outbox, Spin, State, stats};
use crate::cid::local::LocalCids;
use crate::cid::{ConnectionIdGenerator, ResetTokens};
use crate::config::{ClientConfig, ServerConfig, TransportConfig};
use crate::crypto::{AeadLimits, Protection, Tls};
use crate::error::{TransportError, code};
use crate::limits::{
    ACK_DELAY_EXPONENT, ACTIVE_CONNECTION_ID_LIMIT, MAX_DATAGRAM, MIN_ACK_DELAY, MIN_DATAGRAM,
};
use crate::path::{PathConfig, PathSet};
use crate::recovery::received::Received;
use crate::recovery::{Outcome, Recovery, RecoveryConfig};
use crate::stream::datagrams::{DatagramConfig, Datagrams};
use crate::stream::{StreamConfig, StreamLimits, Streams};
use crate::transmit::PathAddr;
use crate::wire::transport_parameters::{
    PreferredAddress, TransportParameters, VersionInformation,
};
use crate::wire::{ConnectionId, Side, Space, Version};

/// What the endpoint gives a connection to start with.
pub(crate) struct Seed {
    /// Now.
    pub(crate) now: Instant,
    /// The path of the first packet.
    pub(crate) path: PathAddr,
    /// Randomness of its own.
    pub(crate) rng: Rng,
    /// What its memory is taken from.
    pub(crate) budget: Budget,
    /// Makes its connection IDs.
    pub(crate) generator: Arc<dyn ConnectionIdGenerator>,
    /// Makes the stateless reset tokens of its connection IDs.
    pub(crate) reset_key: Arc<dyn ResetTokens>,
    /// This side's first connection ID.
    pub(crate) local_cid: ConnectionId,
    /// The Destination Connection ID that the Initial keys come from: the client's choice, or the
    /// Retry's.
    pub(crate) initial_dcid: ConnectionId,
}

/// What the server knows from the packet that asked for the connection.
pub(crate) struct Origin {
    /// The version of the packet.
    pub(crate) version: Version,
    /// The client's first connection ID.
    pub(crate) client_cid: ConnectionId,
    /// The Destination Connection ID of the client's very first packet.
    pub(crate) original_dcid: ConnectionId,
    /// The connection ID of the Retry, when there was one.
    pub(crate) retry_scid: Option<ConnectionId>,
    /// A token has shown that the client is at its address (RFC 9000 8.1).
    pub(crate) is_validated: bool,
    /// The token for the client's next connection; empty: none is given.
    pub(crate) new_token: Bytes,
}

impl Connection {
    /// A connection to a server, whose name is checked against its certificate.
    pub(crate) fn client(
        seed: Seed,
        config: &ClientConfig,
        server_name: &str,
    ) -> Result<Connection, TransportError> {
        let now = seed.now;
        let version = config.begin_with().unwrap_or(Version::V1);
        let handshake = Handshake::new(
            TlsState::Done,
            seed.local_cid,
            seed.initial_dcid,
            config.versions.clone(),
            version,
        );
        let transport = Arc::clone(&config.transport);
        let mut connection =
            Connection::new(Side::Client, seed, transport, version, false, handshake)?;
        let mut params = Vec::new();
        let own = connection.local_parameters(now, None);
        let grease = connection.config.grease.then_some(&mut connection.rng);
        own.encode(Side::Client, &mut params, grease);
        let crypto = Arc::clone(&config.crypto);
        let tls = match config.versions.len() {
            0 | 1 => Tls::client(crypto, version, server_name, params),
            _ => Tls::client_switchable(&crypto, version, server_name, params),
        };
        let tls =
            tls.map_err(|error| TransportError::new(code::INTERNAL_ERROR, error.to_string()))?;
        connection.handshake.tls = TlsState::Running(Box::new(tls));
        connection.handshake.token = config.token.clone().unwrap_or_default();
        connection.begin_zero_rtt(config);
        connection.pump_tls(now)?;
        Ok(connection)
    }

    /// The server's side of a connection that a client asked for; its first datagrams are handed
    /// in next.
    pub(crate) fn server(
        seed: Seed,
        config: &Arc<ServerConfig>,
        origin: Origin,
    ) -> Result<Connection, TransportError> {
        let tls = TlsState::Waiting {
            config: Arc::clone(config),
            hello: Vec::new(),
        };
        let versions = config.versions.clone();
        let mut handshake = Handshake::new(
            tls,
            seed.local_cid,
            origin.original_dcid,
            versions,
            origin.version,
        );
        handshake.retry_scid = origin.retry_scid;
        handshake.peer_scid = Some(origin.client_cid);
        handshake.reset_token = Some(seed.reset_key.token(&seed.local_cid));
        let transport = Arc::clone(&config.transport);
        let mut connection = Connection::new(
            Side::Server,
            seed,
            transport,
            origin.version,
            origin.is_validated,
            handshake,
        )?;
        connection
            .paths
            .remote_cids
            .replace_initial(origin.client_cid);
        connection.outbox.token = origin.new_token;
        Ok(connection)
    }

    fn new(
        side: Side,
        seed: Seed,
        config: Arc<TransportConfig>,
        version: Version,
        is_validated: bool,
        handshake: Handshake,
    ) -> Result<Connection, TransportError> {
        let mut rng = seed.rng;
        let now = seed.now;
        let budget = seed.budget.child("connection", config.connection_memory);
        let recovery_config = RecoveryConfig {
            algorithm: config.congestion,
            initial_rtt: Some(config.initial_rtt),
            initial_window: None,
            ecn: config.ecn,
            skip_packet_numbers: true,
        };
        let seed_of_paths = rng::next_u64(&mut rng);
        let path_config = path_config(side, &config, recovery_config, seed_of_paths);
        let limits = AeadLimits {
            update_after: config.key_update_after,
            ..AeadLimits::default()
        };
        let protection = Protection::new(side, version, &seed.initial_dcid, limits)
            .ok_or_else(|| TransportError::new(code::INTERNAL_ERROR, "a version without keys"))?;
        let recovery = Recovery::new(side, now, &recovery_config, &mut rng);
        let streams = Streams::new(side, stream_config(&config), &budget, &mut rng)
            .map_err(|error| TransportError::new(code::INTERNAL_ERROR, error.to_string()))?;
        let received = Space::ALL.map(|space| Received::new(space, config.own_ack_delay()));
        Ok(Connection {
            side,
            version,
            state: State::Handshaking,
            protection,
            recovery,
            received,
            memory: budget,
            streams,
            datagrams: Datagrams::new(DatagramConfig {
                max_frame_size: config.max_datagram_frame,
                receive_buffer: config.datagram_receive_buffer,
                send_buffer: config.datagram_send_buffer,
                report: false,
            }),
            is_going_away: false,
            paths: PathSet::new(now, seed.path, is_validated, seed.initial_dcid, path_config),
            local_cids: LocalCids::new(now, seed.local_cid, seed.generator, seed.reset_key),
            peer: Box::default(),
            outbox: Outbox::default(),
            clock: Clock::new(now),
            log: Vec::new(),
            outcome: Outcome::default(),
            events: VecDeque::new(),
            endpoint_events: VecDeque::new(),
            told_tokens: Vec::new(),
            // Off on one path in sixteen, so that those who switched it off do not stand out.
            spin: Spin {
                enabled: config.spin && !rng::chance(&mut rng, 1, 16),
                value: false,
            },
            tracer: Tracer::off(),
            seen: None,
            stats: stats::Counters::default(),
            config,
            rng,
            handshake,
        })
    }

    /// What this side announces (RFC 9000 section 18.2).
    pub(super) fn local_parameters(
        &mut self,
        now: Instant,
        server: Option<&ServerConfig>,
    ) -> TransportParameters {
        let config = &self.config;
        let mut params = TransportParameters {
            max_idle_timeout: Some(config.idle_timeout).filter(|time| !time.is_zero()),
            max_udp_payload_size: MAX_DATAGRAM as u64,
            initial_max_data: config.connection_window,
            initial_max_stream_data_bidi_local: config.stream_window,
            initial_max_stream_data_bidi_remote: config.stream_window,
            initial_max_stream_data_uni: config.stream_window,
            initial_max_streams_bidi: config.max_bidi_streams,
            initial_max_streams_uni: config.max_uni_streams,
            ack_delay_exponent: ACK_DELAY_EXPONENT,
            max_ack_delay: config.max_ack_delay,
            disable_active_migration: !config.migration,
            active_connection_id_limit: ACTIVE_CONNECTION_ID_LIMIT as u64,
            max_datagram_frame_size: config.max_datagram_frame,
            grease_quic_bit: config.grease,
            initial_source_connection_id: Some(self.handshake.local_cid),
            version_information: Some(VersionInformation {
                chosen: self.version,
                available: self.handshake.versions.clone(),
            }),
            ..TransportParameters::default()
        };
        if config.ack_frequency {
            params.min_ack_delay = Some(Duration::from_micros(MIN_ACK_DELAY));
        }
        if let Some(server) = server {
            params.original_destination_connection_id = Some(self.handshake.original_dcid);
            params.retry_source_connection_id = self.handshake.retry_scid;
            params.stateless_reset_token =
                self.handshake.reset_token.map(|token| *token.as_bytes());
            params.preferred_address = self.preferred_address(now, server);
        }
        params
    }

    /// RFC 9000 9.6: the address comes with the connection ID of sequence number 1.
    fn preferred_address(
        &mut self,
        now: Instant,
        server: &ServerConfig,
    ) -> Option<PreferredAddress> {
        let wanted = server.preferred;
        if wanted.v4.is_none() && wanted.v6.is_none() {
            return None;
        }
        let issued = self.local_cids.issue_preferred(now, &mut self.rng)?;
        self.endpoint_events
            .push_back(EndpointEvent::NewCid(issued.cid));
        Some(PreferredAddress {
            ipv4: wanted.v4,
            ipv6: wanted.v6,
            id: issued.cid,
            reset_token: *issued.token.as_bytes(),
        })
    }

    /// Client: with a ticket that permits it, streams can be used at once.
    fn begin_zero_rtt(&mut self, config: &ClientConfig) {
        let Some(remembered) = &config.remembered else {
            return;
        };
        let TlsState::Running(tls) = &mut self.handshake.tls else {
            return;
        };
        if let Some(keys) = tls.zero_rtt_keys() {
            self.protection.install_zero_rtt(keys);
            self.streams
                .set_peer_limits(stream_limits(&remembered.to_parameters()));
            self.datagrams
                .set_peer_max_frame_size(remembered.max_datagram_frame_size);
            self.handshake.zero_rtt = ZeroRtt::Sent(Box::new(*remembered));
        }
    }
}

/// What the paths are built with.
fn path_config(
    side: Side,
    config: &TransportConfig,
    recovery: RecoveryConfig,
    seed: u64,
) -> PathConfig {
    PathConfig {
        side,
        mtu_bound: match config.discover_mtu {
            true => u16::try_from(config.max_datagram).unwrap_or(u16::MAX),
            false => MIN_DATAGRAM as u16,
        },
        migration: config.migration,
        recovery,
        seed,
    }
}

impl Clock {
    /// That of a connection that begins now.
    fn new(now: Instant) -> Clock {
        Clock {
            started: now,
            received: now,
            idle_from: now,
            silent_from: now,
            alive_from: now,
            eliciting_sent: false,
            pacing: None,
            rest: None,
            early_keys: None,
            expects: false,
        }
    }
}

fn stream_config(config: &TransportConfig) -> StreamConfig {
    StreamConfig {
        stream_window: config.stream_window,
        max_stream_window: config.max_stream_window,
        connection_window: config.connection_window,
        max_connection_window: config.max_connection_window,
        max_bidi: config.max_bidi_streams,
        max_uni: config.max_uni_streams,
        send_buffer: config.send_buffer,
        reset_burst: config.reset_burst,
        reset_rate: config.reset_rate,
        ..StreamConfig::default()
    }
}

/// What the peer's parameters permit the streams.
pub(super) fn stream_limits(params: &TransportParameters) -> StreamLimits {
    StreamLimits {
        max_data: params.initial_max_data,
        bidi_local: params.initial_max_stream_data_bidi_local,
        bidi_remote: params.initial_max_stream_data_bidi_remote,
        uni: params.initial_max_stream_data_uni,
        streams_bidi: params.initial_max_streams_bidi,
        streams_uni: params.initial_max_streams_uni,
    }
}
