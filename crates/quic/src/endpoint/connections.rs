//! Where connections are made.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use weir_core::rng;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_core::trace::Tracer;

use super::pending::Validation;
use super::{ConnectionHandle, Endpoint, Incoming};
use crate::cid::ResetTokens;
use crate::config::{ClientConfig, ConfigError, ServerConfig};
use crate::connection::{Connection, EndpointEvent, Origin, Seed};
use crate::error::TransportError;
use crate::transmit::PathAddr;
use crate::wire::{ConnectionId, Version};

/// Why there is no connection to a server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// None of the versions is spoken here, or the first one is not.
    #[error("{0} is not spoken")]
    Version(Version),
    /// There is a connection to this address already, and without connection IDs a second could not
    /// be told from it.
    #[error("without connection IDs, there is one connection to an address")]
    AddressTaken,
    /// TLS does not begin: a name that is none, a configuration without TLS 1.3 or without an
    /// application protocol.
    #[error("the handshake does not begin: {0}")]
    Tls(TransportError),
}

/// Why a client's attempt did not become a connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcceptError {
    /// It waited too long and is forgotten.
    #[error("the attempt waited too long")]
    Gone,
    /// The endpoint takes no connections, and no settings came along.
    #[error("there are no settings to take a connection with")]
    NoServer,
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The first packet's keys cannot be made.
    #[error("the connection does not begin: {0}")]
    Begin(TransportError),
}

impl Endpoint {
    /// Begins a connection to a server, whose certificate has to be for `server_name`.
    ///
    /// # Errors
    /// See [`ConnectError`]. Nothing is left behind.
    pub fn connect(
        &mut self,
        now: Instant,
        config: &ClientConfig,
        path: PathAddr,
        server_name: &str,
    ) -> Result<(ConnectionHandle, Connection), ConnectError> {
        config.transport.validate()?;
        let version = config.begin_with().unwrap_or(Version::NEGOTIATION);
        if !version.is_supported() || !config.versions.contains(&version) {
            return Err(ConnectError::Version(version));
        }
        let begun = self.router.begin(path).ok_or(ConnectError::AddressTaken)?;
        let seed = self.seed(now, path, begun.local_cid, begun.initial_dcid);
        match Connection::client(seed, config, server_name) {
            Ok(connection) => Ok((ConnectionHandle(begun.key), connection)),
            Err(error) => {
                self.router.on_drained(begun.key);
                Err(ConnectError::Tls(error))
            }
        }
    }

    /// Takes a client's connection, with other settings than the endpoint's if some are given. What
    /// came so far has been handed to the connection, which may have something to send.
    ///
    /// # Errors
    /// See [`AcceptError`]. Nothing is left behind, and the client is not told.
    pub fn accept(
        &mut self,
        now: Instant,
        incoming: Incoming,
        config: Option<Arc<ServerConfig>>,
    ) -> Result<(ConnectionHandle, Connection), AcceptError> {
        self.accept_traced(now, incoming, config, Tracer::off())
    }

    /// The same for a connection that reports to `tracer` from its first packet on.
    ///
    /// # Errors
    /// As [`Endpoint::accept`].
    pub fn accept_traced(
        &mut self,
        now: Instant,
        incoming: Incoming,
        config: Option<Arc<ServerConfig>>,
        tracer: Tracer,
    ) -> Result<(ConnectionHandle, Connection), AcceptError> {
        match self.settings(config) {
            Ok(config) => self.accept_with(now, &incoming, &config, tracer),
            Err(error) => {
                self.ignore(incoming);
                Err(error)
            }
        }
    }

    fn settings(&self, own: Option<Arc<ServerConfig>>) -> Result<Arc<ServerConfig>, AcceptError> {
        match own {
            Some(own) => {
                own.transport.validate()?;
                Ok(own)
            }
            None => {
                let server = self.router.config.server.clone();
                server.ok_or(AcceptError::NoServer)
            }
        }
    }

    fn accept_with(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        config: &Arc<ServerConfig>,
        tracer: Tracer,
    ) -> Result<(ConnectionHandle, Connection), AcceptError> {
        let admitted = self.router.admit(incoming).ok_or(AcceptError::Gone)?;
        let seed = self.seed(now, incoming.path, admitted.local_cid, incoming.dcid);
        let origin = Origin {
            version: incoming.version,
            client_cid: incoming.scid,
            original_dcid: incoming.original_dcid(),
            retry_scid: match incoming.validation {
                Validation::Retry { .. } => Some(incoming.dcid),
                Validation::None | Validation::NewToken => None,
            },
            is_validated: incoming.is_validated(),
            new_token: self.new_token(now, incoming),
        };
        let mut connection = match Connection::server(seed, config, origin) {
            Ok(connection) => connection,
            Err(error) => {
                self.router.on_drained(admitted.key);
                return Err(AcceptError::Begin(error));
            }
        };
        connection.set_tracer(tracer);
        for mut held in admitted.held {
            connection.handle_datagram(now, held.path, held.ecn, &mut held.data);
        }
        Ok((ConnectionHandle(admitted.key), connection))
    }

    fn seed(
        &mut self,
        now: Instant,
        path: PathAddr,
        local_cid: ConnectionId,
        initial_dcid: ConnectionId,
    ) -> Seed {
        let router = &mut self.router;
        let reset_key: Arc<dyn ResetTokens> = Arc::clone(&router.config.reset_key) as _;
        Seed {
            now,
            path,
            rng: rng::fork(&mut router.rng),
            budget: router.config.budget.clone(),
            generator: Arc::clone(&router.config.cid_generator),
            reset_key,
            local_cid,
            initial_dcid,
        }
    }

    /// For the client's next connection (RFC 9000 section 8.1.3), in the version that it begins with.
    fn new_token(&mut self, now: Instant, incoming: &Incoming) -> Bytes {
        let router = &mut self.router;
        if !router.config.new_tokens {
            return Bytes::new();
        }
        let holder = router.holder(now, incoming.path, incoming.version);
        let keys = &router.config.token_keys;
        keys.seal_new_token(&mut router.rng, &holder).into()
    }

    /// What a connection has to say. To be called for each event before the next datagram.
    pub fn handle_event(&mut self, handle: ConnectionHandle, event: &EndpointEvent) {
        let ConnectionHandle(key): ConnectionHandle = handle;
        self.on_event(key, event);
    }

    fn on_event(&mut self, key: Key, event: &EndpointEvent) {
        let router = &mut self.router;
        match event {
            EndpointEvent::NewCid(cid) => router.on_new_cid(key, *cid),
            EndpointEvent::RetiredCid(cid) => router.on_retired_cid(key, cid),
            EndpointEvent::ResetTokenAdded { remote, token } => {
                router.on_reset_token(key, *remote, token);
            }
            EndpointEvent::ResetTokenRemoved { remote, token } => {
                router.on_reset_token_gone(key, *remote, token);
            }
            EndpointEvent::Validated => router.on_validated(key),
            EndpointEvent::Drained => router.on_drained(key),
        }
    }
}
