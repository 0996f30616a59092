//! One socket's datagrams to their connections, and the answers that need no connection.
//!
//! | file | what of it |
//! |---|---|
//! | `router.rs` | what becomes of a datagram: whose it is, or what a client's first packet leads to |
//! | `tables.rs`, `hash.rs` | connection IDs, addresses and reset tokens to connections |
//! | `connections.rs` | where connections are made, of attempts and to servers |
//! | `lifecycle.rs` | connections from their beginning to their end, as the router knows them |
//! | `pending.rs`, `early.rs` | what is kept of clients that nobody has decided on, and for how long |
//! | `answers.rs` | Version Negotiation, Retry, refusal, stateless reset |
//! | `source.rs`, `rate.rs` | what one source may have, and how often it is answered |
//! | `resets.rs` | stateless resets from peers, found without telling anything by time |

mod answers;
mod config;
mod connections;
mod early;
mod hash;
mod lifecycle;
mod pending;
mod rate;
mod resets;
mod router;
mod source;
mod tables;
#[cfg(test)]
mod tests;

use weir_core::rng::Rng;
use weir_core::slab::Key;
use weir_core::time::Instant;

pub use config::{EndpointConfig, RetryPolicy};
pub use connections::{AcceptError, ConnectError};
pub use pending::Incoming;

use crate::config::ConfigError;
use crate::transmit::{Ecn, PathAddr, Transmit, TransmitBuf};
use router::{Datagram, First, Router};

/// One connection of an [`Endpoint`], until it is drained.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionHandle(pub(crate) Key);

impl ConnectionHandle {
    /// Its place: dense, so that a table of connections can be a plain list. The place of a drained
    /// connection is used again.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// What became of a datagram.
#[derive(Debug)]
#[must_use]
pub enum Handled {
    /// Nothing is left to do: it was dropped, or is kept with an attempt that waits.
    Nothing,
    /// It is for this connection's
    /// [`handle_datagram`](crate::Connection::handle_datagram).
    Connection(ConnectionHandle),
    /// It is the end of this connection: its
    /// [`handle_stateless_reset`](crate::Connection::handle_stateless_reset) is to be called.
    StatelessReset(ConnectionHandle),
    /// A client asks for a connection.
    Incoming(Incoming),
    /// The answer is in the buffer, alone.
    Reply(Transmit),
}

/// What an endpoint has seen and has, in numbers.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Datagrams.
    pub datagrams: u64,
    /// Those that were dropped: not QUIC, too short, not authentic, or for nobody.
    pub dropped: u64,
    /// Attempts that were put before the application.
    pub incoming: u64,
    /// Attempts that nobody decided on in time.
    pub expired: u64,
    /// Attempts that were refused, for a limit, a token, or by the application.
    pub refused: u64,
    /// Version Negotiation packets sent.
    pub version_negotiations: u64,
    /// Retry packets sent.
    pub retries: u64,
    /// CONNECTION_CLOSE packets sent without a connection.
    pub closes: u64,
    /// Stateless resets sent.
    pub resets_sent: u64,
    /// Stateless resets received.
    pub resets_received: u64,
    /// Answers that were not given because there had been too many.
    pub rate_limited: u64,
    /// 0-RTT datagrams that were kept for an Initial behind them.
    pub early_kept: u64,
    /// Connections that clients began, and attempts that wait. Now.
    pub connections: usize,
    /// Those among them whose client's address is not validated. Now.
    pub half_open: usize,
}

/// All connections of one socket, as a state machine without socket, clock or tasks.
///
/// # How it is driven
/// - [`handle_datagram`](Endpoint::handle_datagram) for every datagram, whose answer says what to do
///   next.
/// - [`handle_event`](Endpoint::handle_event) for everything that a connection's
///   [`poll_endpoint_event`](crate::Connection::poll_endpoint_event) gives, before the next datagram.
/// - [`handle_timeout`](Endpoint::handle_timeout) when the time of
///   [`poll_timeout`](Endpoint::poll_timeout) has come; a call too many does nothing.
///
/// # What strangers can make it do
/// Before a client has shown that it is at its address, it holds at most
/// [`MAX_HELD_PER_SOURCE`](crate::limits::MAX_HELD_PER_SOURCE) bytes here, all clients together the
/// backlog of the configuration, and packets that are not authentic hold nothing. It never sends more
/// than three times what it received, and answers are counted by source and over all.
pub struct Endpoint {
    router: Router,
}

impl Endpoint {
    /// An endpoint without connections.
    ///
    /// # Errors
    /// A field of the configuration that is out of its range.
    pub fn new(config: EndpointConfig, rng: Rng) -> Result<Endpoint, ConfigError> {
        config.validate()?;
        Ok(Endpoint {
            router: Router::new(config, rng),
        })
    }

    /// One datagram. An answer is written to `out`, which is cleared first.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        path: PathAddr,
        ecn: Option<Ecn>,
        data: &[u8],
        out: &mut TransmitBuf,
    ) -> Handled {
        let datagram = Datagram {
            now,
            path,
            ecn,
            data,
        };
        self.router.handle(&datagram, out)
    }

    /// Says no: the client is sent CONNECTION_REFUSED, unless there have been too many such answers.
    pub fn refuse(
        &mut self,
        now: Instant,
        incoming: Incoming,
        out: &mut TransmitBuf,
    ) -> Option<Transmit> {
        let first = self.give_up(&incoming)?;
        self.router.stats.refused += 1;
        let error = router::refused();
        self.router
            .close_at_once(now, incoming.path, &first, &error, out)
    }

    /// Has the client show by a Retry that it is at its address; it will ask again.
    ///
    /// # Errors
    /// The attempt itself, when a Retry has been answered already: clients take only one.
    #[allow(clippy::result_large_err, reason = "it is what was passed in")]
    pub fn retry(
        &mut self,
        now: Instant,
        incoming: Incoming,
        out: &mut TransmitBuf,
    ) -> Result<Option<Transmit>, Incoming> {
        if !incoming.may_retry() {
            return Err(incoming);
        }
        let Some(first) = self.give_up(&incoming) else {
            return Ok(None);
        };
        match self.router.ask_for_token(now, incoming.path, &first, out) {
            Handled::Reply(transmit) => Ok(Some(transmit)),
            _ => Ok(None),
        }
    }

    /// Lets the client wait in vain.
    pub fn ignore(&mut self, incoming: Incoming) {
        self.give_up(&incoming);
    }

    /// Forgets an attempt; `None` when it was forgotten before.
    fn give_up(&mut self, incoming: &Incoming) -> Option<First> {
        let attempt = self.router.end_attempt(incoming.key)?;
        Some(First {
            version: incoming.version,
            dcid: incoming.dcid,
            scid: incoming.scid,
            received: attempt.bytes,
        })
    }

    /// When [`handle_timeout`](Endpoint::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.router.timeout()
    }

    /// Forgets what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.router.on_timeout(now);
    }

    /// What it has seen and has.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        self.router.stats
    }

    /// Bytes of datagrams that are held for clients that nobody has decided on.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.router.held_bytes()
    }
}

#[cfg(test)]
impl Endpoint {
    /// Entries of all tables together.
    pub(crate) fn routes(&self) -> usize {
        self.router.tables.routes()
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("config", &self.router.config)
            .field("stats", &self.router.stats)
            .finish_non_exhaustive()
    }
}
