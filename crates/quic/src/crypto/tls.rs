//! The TLS handshake over CRYPTO bytes (RFC 9001 section 4), by rustls.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::quic::{ClientConnection, Connection, DirectionalKeys, Keys, ServerConnection};

use super::Level;
use super::alert::{from_tls, violation};
use super::exporter::Exporter;
use super::initial::tls_version;
use super::messages::Messages;
use super::phases::NextKeys;
use super::secrets::{Stage, Tap};
use crate::error::TransportError;
use crate::limits::MAX_FOREIGN_TICKETS;
use crate::wire::{Side, TransportParameters, Version};

/// Why no handshake can be begun: the configuration does not fit QUIC.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum TlsError {
    /// The version is not spoken here.
    #[error("there is no TLS for QUIC version {0}")]
    Version(Version),
    /// Neither a DNS name nor an IP address.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// RFC 9001 section 8.1 asks for ALPN on both sides.
    #[error("the TLS configuration names no application protocol (ALPN)")]
    NoAlpn,
    /// RFC 9001 section 4.6.1.
    #[error("max_early_data_size is {0}; it is 0 (no 0-RTT) or 0xffffffff")]
    EarlyDataSize(u32),
    /// What rustls says of it: no TLS 1.3, or no cipher suite for QUIC.
    #[error("{0}")]
    Config(rustls::Error),
}

/// Keys that TLS came up with.
pub(crate) enum KeyChange {
    /// For Handshake packets.
    Handshake {
        /// Both directions.
        keys: Keys,
    },
    /// For 1-RTT packets.
    OneRtt {
        /// Both directions.
        keys: Keys,
        /// For key updates.
        next: NextKeys,
    },
}

/// Something to send.
struct Flight {
    level: Level,
    bytes: Vec<u8>,
    change: Option<KeyChange>,
}

/// rustls, or what is left of it.
enum State {
    Live(Box<Connection>),
    Settled(Box<Settled>),
}

/// What a server's application may still ask for when rustls is gone.
struct Settled {
    alpn: Option<Vec<u8>>,
    server_name: Option<String>,
    peer_certificates: Option<Vec<CertificateDer<'static>>>,
    cipher_suite: Option<rustls::CipherSuite>,
    group: Option<rustls::NamedGroup>,
    resumed: Option<bool>,
    early_data: Option<bool>,
    exporter: Exporter,
}

/// The TLS side of one connection.
///
/// Feed what CRYPTO frames carry, in order and level by level, to [`on_crypto`](Self::on_crypto);
/// after it (and once at the start of a client) call [`poll_send`](Self::poll_send) until it
/// returns nothing.
pub(crate) struct Tls {
    state: State,
    side: Side,
    messages: Messages,
    /// The level that bytes of TLS go out at.
    send_level: Level,
    /// Handshake keys are out: nothing more comes at Initial.
    left_initial: bool,
    /// A client's: the server's EncryptedExtensions are in.
    extensions: bool,
    flights: VecDeque<Flight>,
    /// Where a version other than the one that rustls was started with takes its secrets from, and
    /// a server its exporter secret.
    tap: Option<Arc<Tap>>,
    /// That other version.
    switched: Option<Version>,
}

impl Tls {
    /// A client's, whose ClientHello is ready to be sent. `params` are its transport parameters,
    /// encoded.
    ///
    /// A session that was begun in another version is not resumed (RFC 9369 section 5). It is the
    /// server's version_information that tells, among the transport parameters kept with the
    /// session.
    pub(crate) fn client(
        config: Arc<rustls::ClientConfig>,
        version: Version,
        server_name: &str,
        params: Vec<u8>,
    ) -> Result<Tls, TlsError> {
        check_client_config(&config)?;
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
        let tls_version = tls_version(version).ok_or(TlsError::Version(version))?;
        let begin = |config| {
            let (name, params) = (name.clone(), params.clone());
            ClientConnection::new(config, tls_version, name, params).map_err(TlsError::Config)
        };
        let is_of_version = |connection: &ClientConnection| {
            let remembered = connection.quic_transport_parameters();
            remembered.is_none_or(|params| are_of(params, version))
        };
        let mut connection = begin(config.clone())?;
        for _ in 0..MAX_FOREIGN_TICKETS {
            // Each attempt takes a ticket out of the store: what is left are those that fit.
            if is_of_version(&connection) {
                break;
            }
            connection = begin(config.clone())?;
        }
        if !is_of_version(&connection) {
            let mut config = (*config).clone();
            config.resumption = Resumption::disabled();
            connection = begin(Arc::new(config))?;
        }
        let mut tls = Tls::new(connection.into(), Side::Client);
        tls.collect();
        Ok(tls)
    }

    /// A client's that can go on in another version, when the server answers in one (RFC 9368
    /// section 2.3): see [`switch_version`](Self::switch_version).
    pub(crate) fn client_switchable(
        config: &rustls::ClientConfig,
        version: Version,
        server_name: &str,
        params: Vec<u8>,
    ) -> Result<Tls, TlsError> {
        let mut config = config.clone();
        let tap = Arc::new(Tap::new(config.key_log.clone(), true, false));
        config.key_log = tap.clone();
        let mut tls = Tls::client(Arc::new(config), version, server_name, params)?;
        tls.tap = Some(tap);
        Ok(tls)
    }

    /// The server answers in another version: keys are made for it from now on. Before anything of
    /// the server is fed. False when this is not possible.
    #[must_use]
    pub(crate) fn switch_version(&mut self, version: Version) -> bool {
        let possible = self.tap.is_some() && !self.left_initial && tls_version(version).is_some();
        if possible {
            self.switched = Some(version);
        }
        possible
    }

    /// A server's. `version` is what was agreed on, `params` its transport parameters, encoded.
    #[cfg(test)]
    pub(crate) fn server(
        config: impl std::borrow::Borrow<rustls::ServerConfig>,
        version: Version,
        params: Vec<u8>,
    ) -> Result<Tls, TlsError> {
        Tls::server_switched(config.borrow(), version, version, params)
    }

    /// A server's for a client that began with `original`, which was switched to `negotiated`.
    /// Its 0-RTT packets are still in the original version (RFC 9369 section 4.1).
    pub(super) fn server_switched(
        config: &rustls::ServerConfig,
        original: Version,
        negotiated: Version,
        params: Vec<u8>,
    ) -> Result<Tls, TlsError> {
        check_server_config(config)?;
        let version = tls_version(negotiated).ok_or(TlsError::Version(negotiated))?;
        let is_switched = original != negotiated;
        let mut config = config.clone();
        let tap = Arc::new(Tap::new(config.key_log, is_switched, true));
        config.key_log = tap.clone();
        let connection =
            ServerConnection::new(Arc::new(config), version, params).map_err(TlsError::Config)?;
        let mut tls = Tls::new(connection.into(), Side::Server);
        tls.tap = Some(tap);
        tls.switched = is_switched.then_some(original);
        Ok(tls)
    }

    fn new(connection: Connection, side: Side) -> Tls {
        Tls {
            state: State::Live(Box::new(connection)),
            side,
            messages: Messages::new(side),
            send_level: Level::Initial,
            left_initial: false,
            extensions: false,
            flights: VecDeque::new(),
            tap: None,
            switched: None,
        }
    }

    /// The level that TLS reads at.
    pub(crate) fn receive_level(&self) -> Level {
        if !self.is_handshaking() {
            Level::OneRtt
        } else if self.left_initial {
            Level::Handshake
        } else {
            Level::Initial
        }
    }

    /// The next bytes of the CRYPTO stream of `level`.
    ///
    /// # Errors
    ///
    /// What the connection ends with: a TLS alert as 0x100 + alert (RFC 9001 section 4.8),
    /// PROTOCOL_VIOLATION for bytes at a level where there is nothing (more) to say,
    /// CRYPTO_BUFFER_EXCEEDED for a message that is too long.
    pub(crate) fn on_crypto(&mut self, level: Level, data: &[u8]) -> Result<(), TransportError> {
        let mut data = data;
        while !data.is_empty() {
            if level == Level::ZeroRtt {
                // RFC 9001 section 8.3.
                return Err(violation("CRYPTO in a 0-RTT packet"));
            }
            if level != self.receive_level() {
                // RFC 9001 section 4.1.3.
                return Err(violation(
                    "CRYPTO bytes at a level that TLS does not read at",
                ));
            }
            // One message at a time: with its last byte the level may change, and what then is
            // left of `data` came at the wrong one.
            let piece = self.messages.next(level, data)?;
            let (bytes, rest) = data.split_at_checked(piece.bytes).unwrap_or((data, &[]));
            if let State::Live(connection) = &mut self.state
                && let Err(error) = connection.read_hs(bytes)
            {
                return Err(from_tls(&error, connection.alert()));
            }
            self.extensions |= piece.ends_encrypted_extensions;
            self.collect();
            data = rest;
        }
        Ok(())
    }

    /// Takes from rustls what there is to send, and the keys.
    fn collect(&mut self) {
        while let State::Live(connection) = &mut self.state {
            let mut bytes = Vec::new();
            let change = connection.write_hs(&mut bytes);
            if bytes.is_empty() && change.is_none() {
                return;
            }
            let level = self.send_level;
            let change = change.map(|change| self.in_version(change));
            match change {
                Some(KeyChange::Handshake { .. }) => {
                    self.left_initial = true;
                    self.send_level = Level::Handshake;
                }
                Some(KeyChange::OneRtt { .. }) => self.send_level = Level::OneRtt,
                None => {}
            }
            self.flights.push_back(Flight {
                level,
                bytes,
                change,
            });
        }
    }

    /// The keys of `change` in the version that was agreed on.
    fn in_version(&self, change: rustls::quic::KeyChange) -> KeyChange {
        let own = |stage| {
            // On a server it is only 0-RTT that is in another version than rustls.
            let version = self.switched.filter(|_| self.side.is_client())?;
            let suite = self.cipher_suite()?;
            self.tap.as_ref()?.take(stage, self.side, version, suite)
        };
        match change {
            rustls::quic::KeyChange::Handshake { keys } => KeyChange::Handshake {
                keys: own(Stage::Handshake)
                    .and_then(|secrets| secrets.keys())
                    .unwrap_or(keys),
            },
            rustls::quic::KeyChange::OneRtt { keys, next } => {
                let own =
                    own(Stage::OneRtt).and_then(|secrets| Some((secrets.keys()?, secrets.next()?)));
                match own {
                    Some((keys, next)) => KeyChange::OneRtt {
                        keys,
                        next: NextKeys::Own(next),
                    },
                    None => KeyChange::OneRtt {
                        keys,
                        next: NextKeys::Tls(next),
                    },
                }
            }
        }
    }

    /// What is to be sent in CRYPTO frames, appended to `out`, with its level, and the keys to
    /// install after it. Call until `None`.
    pub(crate) fn poll_send(&mut self, out: &mut Vec<u8>) -> Option<(Level, Option<KeyChange>)> {
        let flight = self.flights.pop_front()?;
        out.extend_from_slice(&flight.bytes);
        Some((flight.level, flight.change))
    }

    /// rustls, unless it is gone.
    fn live(&self) -> Option<&Connection> {
        match &self.state {
            State::Live(connection) => Some(connection),
            State::Settled(_) => None,
        }
    }

    /// The handshake is confirmed, and what it brought was looked at: lets go of rustls on a
    /// server, where it has nothing to do any more, and keeps only what the application may ask
    /// for. Does nothing while there is something to be sent. A client goes on to receive tickets.
    pub(crate) fn settle(&mut self) {
        let idle = self.flights.is_empty() && !self.is_handshaking();
        let (State::Live(connection), Side::Server, true) = (&self.state, self.side, idle) else {
            return;
        };
        let exporter = self
            .tap
            .as_ref()
            .and_then(|tap| tap.take_exporter())
            .and_then(|secret| Exporter::new(self.cipher_suite()?, secret));
        let Some(exporter) = exporter else {
            return;
        };
        let settled = Settled {
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name: self.server_name().map(str::to_owned),
            peer_certificates: connection.peer_certificates().map(<[_]>::to_vec),
            cipher_suite: self.cipher_suite(),
            group: self.key_exchange_group(),
            resumed: self.is_resumed(),
            early_data: self.early_data_accepted(),
            exporter,
        };
        self.state = State::Settled(Box::new(settled));
        self.flights = VecDeque::new();
        self.tap = None;
    }

    /// The peer's transport parameters, encoded: from the exchange that counts, never from one
    /// that a HelloRetryRequest undid. They are authenticated when the handshake is complete, and
    /// gone when it is [settled](Self::settle).
    pub(crate) fn peer_params(&self) -> Option<&[u8]> {
        if self.side.is_client() && !self.extensions {
            return None;
        }
        self.live()?.quic_transport_parameters()
    }

    /// A client's, before the server answers: the transport parameters that the server had in the
    /// connection being resumed, for 0-RTT (RFC 9000 section 7.4.1).
    #[cfg(test)]
    pub(crate) fn remembered_params(&self) -> Option<&[u8]> {
        if self.side.is_server() || self.extensions {
            return None;
        }
        self.live()?.quic_transport_parameters()
    }

    /// True until the handshake is complete (RFC 9001 section 4.1.1).
    pub(crate) fn is_handshaking(&self) -> bool {
        self.live()
            .is_some_and(|connection| connection.is_handshaking())
    }

    /// Keys of 0-RTT packets: on a client that resumes and may send them, and on a server that
    /// accepts them, until it is [settled](Self::settle).
    pub(crate) fn zero_rtt_keys(&self) -> Option<DirectionalKeys> {
        let keys = self.live()?.zero_rtt_keys()?;
        match (&self.tap, self.switched) {
            (Some(tap), Some(original)) if self.side.is_server() => {
                tap.early()?.keys(self.cipher_suite()?, original)
            }
            _ => Some(keys),
        }
    }

    /// Whether the server accepted 0-RTT. `None` as long as that is not known; `Some(false)` also
    /// when none was asked for.
    pub(crate) fn early_data_accepted(&self) -> Option<bool> {
        match &self.state {
            State::Settled(settled) => settled.early_data,
            State::Live(connection) => match &**connection {
                Connection::Client(client) => {
                    self.extensions.then(|| client.is_early_data_accepted())
                }
                Connection::Server(server) => {
                    self.left_initial.then(|| server.zero_rtt_keys().is_some())
                }
            },
        }
    }

    /// A server's: 0-RTT is refused whatever the client offers. Before the ClientHello is fed.
    #[cfg(test)]
    pub(crate) fn reject_early_data(&mut self) {
        if let State::Live(connection) = &mut self.state
            && let Connection::Server(server) = &mut **connection
            && server.is_handshaking()
        {
            server.reject_early_data();
        }
    }

    /// True when this connection resumes an earlier one. `None` as long as that is not known.
    pub(crate) fn is_resumed(&self) -> Option<bool> {
        match &self.state {
            State::Settled(settled) => settled.resumed,
            State::Live(connection) => connection
                .handshake_kind()
                .map(|kind| kind == rustls::HandshakeKind::Resumed),
        }
    }

    /// The application protocol that was agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.state {
            State::Settled(settled) => settled.alpn.as_deref(),
            State::Live(connection) => connection.alpn_protocol(),
        }
    }

    /// The peer's certificates, its own first.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.state {
            State::Settled(settled) => settled.peer_certificates.as_deref(),
            State::Live(connection) => connection.peer_certificates(),
        }
    }

    /// The name that the client asked for, on a server.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match &self.state {
            State::Settled(settled) => settled.server_name.as_deref(),
            State::Live(connection) => match &**connection {
                Connection::Client(_) => None,
                Connection::Server(server) => server.server_name(),
            },
        }
    }

    /// The cipher suite that was agreed on.
    pub(crate) fn cipher_suite(&self) -> Option<rustls::CipherSuite> {
        match &self.state {
            State::Settled(settled) => settled.cipher_suite,
            State::Live(connection) => Some(connection.negotiated_cipher_suite()?.suite()),
        }
    }

    /// The key exchange group that was agreed on.
    pub(crate) fn key_exchange_group(&self) -> Option<rustls::NamedGroup> {
        match &self.state {
            State::Settled(settled) => settled.group,
            State::Live(connection) => Some(connection.negotiated_key_exchange_group()?.name()),
        }
    }

    /// Session tickets that a client received in this connection.
    #[cfg(test)]
    pub(crate) fn tickets_received(&self) -> u32 {
        match self.live() {
            Some(Connection::Client(client)) => client.tls13_tickets_received(),
            _ => 0,
        }
    }

    /// Key material for the application (RFC 8446 section 7.5).
    ///
    /// # Errors
    ///
    /// While the handshake is not complete, and for an `output` longer than 255 hashes.
    pub(crate) fn export_keying_material<T: AsMut<[u8]>>(
        &self,
        mut output: T,
        label: &[u8],
        context: Option<&[u8]>,
    ) -> Result<T, rustls::Error> {
        match &self.state {
            State::Live(connection) => connection.export_keying_material(output, label, context),
            State::Settled(settled) => {
                let context = context.unwrap_or_default();
                settled
                    .exporter
                    .export(output.as_mut(), label, context)
                    .ok_or_else(|| rustls::Error::General("too much is asked for".into()))?;
                Ok(output)
            }
        }
    }
}

/// Whether a server's transport parameters are those of a connection in `version` (RFC 9368 section
/// 3): one that speaks more than version 1 says so.
fn are_of(params: &[u8], version: Version) -> bool {
    TransportParameters::decode(Side::Server, params).is_ok_and(|params| {
        let chosen = params.version_information.map(|versions| versions.chosen);
        chosen.unwrap_or(Version::V1) == version
    })
}

/// Whether a client's configuration fits QUIC.
pub(crate) fn check_client_config(config: &rustls::ClientConfig) -> Result<(), TlsError> {
    if config.alpn_protocols.is_empty() {
        return Err(TlsError::NoAlpn);
    }
    Ok(())
}

/// Whether a server's configuration fits QUIC.
pub(crate) fn check_server_config(config: &rustls::ServerConfig) -> Result<(), TlsError> {
    if config.alpn_protocols.is_empty() {
        return Err(TlsError::NoAlpn);
    }
    match config.max_early_data_size {
        0 | u32::MAX => Ok(()),
        other => Err(TlsError::EarlyDataSize(other)),
    }
}
