//! Settings of an endpoint.

use std::fmt;
use std::sync::Arc;

use weir_core::budget::Budget;

use crate::cid::ConnectionIdGenerator;
use crate::config::{ConfigError, ServerConfig, check};
use crate::crypto::{ResetKey, TokenKeys};
use crate::limits::MAX_HELD_PER_ATTEMPT;
use crate::wire::Version;

/// When a client has to show by a Retry that it is at its address before a connection is begun for
/// it (RFC 9000 section 8.1.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// Never: what is too much is refused. It spares the round trip, and lets a flood with forged
    /// addresses shut honest clients out.
    Never,
    /// Always.
    Always,
    /// When there are at least so many half-open connections, or when one source has as many as it
    /// may.
    Above(usize),
}

/// Settings of an [`Endpoint`](super::Endpoint).
#[derive(Clone)]
pub struct EndpointConfig {
    /// Makes the connection IDs of all connections. Its [`len`](ConnectionIdGenerator::len) is how
    /// packets with short headers are read, so all are of one length.
    pub cid_generator: Arc<dyn ConnectionIdGenerator>,
    /// How connections are taken; `None`: none is.
    pub server: Option<Arc<ServerConfig>>,
    /// Keys of address validation tokens. Shared by servers that take each other's.
    pub token_keys: Arc<TokenKeys>,
    /// Key of stateless reset tokens. Kept over a restart, so that clients learn of it at once.
    pub reset_key: Arc<ResetKey>,
    /// When a Retry is asked for.
    pub retry: RetryPolicy,
    /// Whether clients are given a token for their next connection (RFC 9000 section 8.1.3).
    pub new_tokens: bool,
    /// Connections of clients whose address is not validated, those that wait for a decision
    /// included.
    pub max_half_open: usize,
    /// The same of one source: an IPv4 address, or the first 64 bits of an IPv6 address.
    pub max_half_open_per_source: usize,
    /// Connections that clients began.
    pub max_connections: usize,
    /// The same of one source.
    pub max_connections_per_source: usize,
    /// Attempts that wait for a decision.
    pub accept_backlog: usize,
    /// Bytes held for them, at least those of one attempt.
    pub accept_backlog_bytes: usize,
    /// Reserved versions are listed, and packets whose fixed bit is 0 are taken (RFC 9287).
    pub grease: bool,
    /// What the memory of connections is taken from.
    pub budget: Budget,
    /// Seconds from the Unix epoch to [`Instant::ZERO`](weir_core::time::Instant::ZERO): tokens
    /// outlive a restart.
    pub epoch: u64,
}

impl EndpointConfig {
    /// For a client; [`server`](EndpointConfig::server) makes it a server too. `epoch` is the wall
    /// clock at the driver's instant zero, in seconds since the Unix epoch.
    #[must_use]
    pub fn new(
        cid_generator: Arc<dyn ConnectionIdGenerator>,
        token_keys: Arc<TokenKeys>,
        reset_key: Arc<ResetKey>,
        epoch: u64,
    ) -> EndpointConfig {
        EndpointConfig {
            cid_generator,
            server: None,
            token_keys,
            reset_key,
            retry: RetryPolicy::Above(1_000),
            new_tokens: true,
            max_half_open: 10_000,
            max_half_open_per_source: 1_000,
            max_connections: 1_000_000,
            max_connections_per_source: 100_000,
            accept_backlog: 1_024,
            accept_backlog_bytes: 1024 * 1024,
            grease: true,
            budget: Budget::unlimited("endpoint"),
            epoch,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const MOST: u64 = 1 << 31;
        for (field, value) in [
            ("max_half_open", self.max_half_open),
            ("max_half_open_per_source", self.max_half_open_per_source),
            ("max_connections", self.max_connections),
            (
                "max_connections_per_source",
                self.max_connections_per_source,
            ),
            ("accept_backlog", self.accept_backlog),
        ] {
            check(field, value as u64, 1, MOST, "connections")?;
        }
        let bytes = self.accept_backlog_bytes as u64;
        let least = MAX_HELD_PER_ATTEMPT as u64;
        check("accept_backlog_bytes", bytes, least, 1 << 40, "bytes")?;
        let len = self.cid_generator.len() as u64;
        check("cid_generator", len, 0, 20, "bytes")?;
        if let Some(server) = &self.server {
            server.transport.validate()?;
            let known = server
                .versions
                .iter()
                .filter(|version| version.is_supported());
            let known = known.count() as u64;
            check("versions", known, 1, 2, "versions")?;
        }
        Ok(())
    }

    /// Versions in which connections are taken; none without a server.
    pub(super) fn versions(&self) -> &[Version] {
        self.server.as_ref().map_or(&[], |server| &server.versions)
    }
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("server", &self.server.is_some())
            .field("retry", &self.retry)
            .field("max_half_open", &self.max_half_open)
            .field("max_connections", &self.max_connections)
            .field("accept_backlog", &self.accept_backlog)
            .finish_non_exhaustive()
    }
}
