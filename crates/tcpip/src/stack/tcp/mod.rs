//! All TCP of one stack: which connection a segment is for, who listens, what goes out next.
//!
//! | file | what it is |
//! |---|---|
//! | `mod` | connections and where they are found |
//! | `entry` | a connection and what the stack knows of it |
//! | `segments` | what becomes of a segment |
//! | `listen` | SYNs and the ACKs of SYN cookies |
//! | `incoming` | attempts that wait for the application's decision |
//! | `settle` | what a connection has become: news, its next wake-up, its end |
//! | `transmit` | whose turn it is to send |
//! | `icmp` | ICMP errors about segments |
//! | `time_waits` | what is kept of connections in TIME-WAIT |
//! | `api` | what the application calls |
//! | `shutdown` | all connections at once |

mod api;
mod connect;
mod entry;
mod icmp;
mod incoming;
mod listen;
mod segments;
mod settle;
mod shutdown;
mod time_waits;
mod transmit;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::limits::OutOfRange;
use weir_core::rng::{self, Rng};
use weir_core::slab::{Key, Slab};
use weir_core::time::Instant;
use weir_core::timer::Wheel;

use self::entry::{Entry, Owner};
use self::incoming::Incoming;
use self::time_waits::TimeWaits;
use self::transmit::Reply;
use super::TcpKey;
use super::demux::{Demux, Recent, Target};
use super::host::Host;
use super::rate::Rate;
use super::secret::{Secret, Spread};
use crate::ip::Route;
use crate::limits::{CONNECTION_COST, TIMER_TICK};
use crate::tcp::connection::Connection;
use crate::tcp::interface::{Context, Numbers, PathInfo, Tuple};
use crate::tcp::listen::Listeners;
use crate::tcp::listen::cookie::Cookies;
use crate::tcp::listen::fast_open::{FastOpenCache, FastOpenKeys};
use crate::tcp::{State, TcpConfig};

/// Connections that are over whose memory is kept for the next: as many as come and go in one batch.
const SPARE_CONNECTIONS: usize = 8;

/// All TCP of one stack.
pub(crate) struct Tcp {
    pub(crate) connections: Slab<Entry>,
    /// Memory for the next connections.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: Vec<Box<Connection>>,
    ends: Demux,
    /// Of the last segment.
    recent: Recent,
    waits: TimeWaits,
    pub(crate) listeners: Listeners,
    incoming: Slab<Incoming>,
    wheel: Wheel<Target>,
    /// Connections that something happened to in this batch.
    touched: Vec<u32>,
    /// Connections that want to send, in the order of their turns.
    ready: VecDeque<u32>,
    /// Segments to be sent for which there is no connection.
    replies: VecDeque<Reply>,
    rate: Rate,
    numbers: Secret,
    cookies: Cookies,
    fast_open: FastOpenKeys,
    fast_open_cache: FastOpenCache,
    half_open: usize,
    fast_open_pending: usize,
    orphans: usize,
    /// Segments to ports where nobody listens.
    strangers: u64,
    /// What was asked for last: connections that want the same share it.
    config: Arc<TcpConfig>,
}

impl Tcp {
    pub(crate) fn new(rng: &mut Rng, now: Instant) -> Tcp {
        let mut rng = rng::fork(rng);
        Tcp {
            connections: Slab::new(),
            spare: Vec::new(),
            ends: Demux::default(),
            recent: Recent::default(),
            waits: TimeWaits::default(),
            listeners: Listeners::default(),
            incoming: Slab::new(),
            wheel: Wheel::new(TIMER_TICK, now),
            touched: Vec::new(),
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            rate: Rate::default(),
            numbers: Secret::new(&mut rng),
            cookies: Cookies::new(Secret::new(&mut rng)),
            fast_open: FastOpenKeys::new(&mut rng, now),
            fast_open_cache: FastOpenCache::default(),
            half_open: 0,
            fast_open_pending: 0,
            orphans: 0,
            strangers: 0,
            config: Arc::new(TcpConfig::default()),
        }
    }

    pub(crate) const fn half_open(&self) -> usize {
        self.half_open
    }

    pub(crate) const fn orphans(&self) -> usize {
        self.orphans
    }

    pub(crate) fn time_waits(&self) -> usize {
        self.waits.len()
    }

    #[inline]
    pub(crate) fn attempts(&self) -> usize {
        self.incoming.len()
    }

    /// The next wake-up.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// What is kept of these two ends.
    #[inline]
    fn find(&self, hash: u32, tuple: &Tuple) -> Option<Target> {
        self.ends.find(hash, |target| match target {
            Target::Connection(index) => {
                let entry = self.connections.get_at(index);
                entry.is_some_and(|entry| entry.tuple == *tuple)
            }
            Target::TimeWait(index) => self.waits.is(index, tuple),
            Target::Incoming(index) => {
                let incoming = self.incoming.get_at(index);
                incoming.is_some_and(|incoming| incoming.tuple == *tuple)
            }
            Target::Listener(_) | Target::Socket(_) => false,
        })
    }

    /// The state of what is between two ends.
    pub(crate) fn state_between(
        &self,
        spread: &Spread,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<State> {
        let tuple = Tuple { local, remote };
        match self.find(hash(spread, &tuple), &tuple)? {
            Target::Connection(index) => Some(self.connections.get_at(index)?.state()),
            Target::TimeWait(_) => Some(State::TimeWait),
            _ => None,
        }
    }

    /// The same configuration as an `Arc` that many connections share.
    ///
    /// # Errors
    /// A setting that is out of its range.
    fn shared_config(&mut self, config: &TcpConfig) -> Result<Arc<TcpConfig>, OutOfRange> {
        if *self.config != *config {
            config.validate()?;
            self.config = Arc::new(config.clone());
        }
        Ok(Arc::clone(&self.config))
    }

    /// Initial sequence number (RFC 6528 section 3: a clock of 4 us and a keyed hash of both ends) and
    /// timestamp offset (RFC 7323 section 7.1) of a new connection. `least`: what the sequence number
    /// must not be below, for the sake of a connection in TIME-WAIT that it takes the place of.
    fn numbers(&self, now: Instant, tuple: &Tuple, least: Option<u32>) -> Numbers {
        let hash = self.numbers.pair(&tuple.local, &tuple.remote, 0);
        let clock = (now.as_nanos() / 4000) as u32;
        let iss = (hash as u32).wrapping_add(clock);
        let iss = match least {
            Some(least) if iss.wrapping_sub(least) >= 1 << 31 => least,
            _ => iss,
        };
        Numbers {
            iss,
            timestamp_offset: (hash >> 32) as u32,
        }
    }

    /// Pays for one more connection. False when there is no room for it.
    fn has_room(&self, host: &Host<'_>) -> bool {
        self.connections.len() < host.config.max_connections
            && host.shared.budget.try_reserve(CONNECTION_COST).is_ok()
    }

    /// Keeps a connection whose room [`has_room`](Tcp::has_room) paid for, and where it is found. It is
    /// to be touched or settled next: it has something to send.
    #[inline]
    fn insert(
        &mut self,
        connection: Box<Connection>,
        hash: u32,
        route: Route,
        owner: Owner,
    ) -> Key {
        let entry = Entry::new(connection, hash, route, owner);
        let key = self.connections.insert(entry);
        self.ends.insert(hash, Target::Connection(key.index));
        key
    }

    /// Does something with a connection of the application's.
    #[inline]
    pub(crate) fn on<T>(
        &mut self,
        host: &mut Host<'_>,
        key: TcpKey,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let entry = self.connections.get_mut(key.0)?;
        if entry.owner != Owner::Application {
            return None;
        }
        let done = act(entry.connection(), &mut host.context());
        if !core::mem::replace(&mut entry.touched, true) {
            self.touched.push(key.0.index);
        }
        Some(done)
    }

    /// Notes that something happened to a connection.
    #[inline]
    fn touch(&mut self, index: u32) {
        if let Some(entry) = self.connections.get_at_mut(index)
            && !entry.touched
        {
            entry.touched = true;
            self.touched.push(index);
        }
    }

    /// Takes a connection out of the table of ends, and stops its timer.
    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        if core::mem::take(&mut entry.linked) {
            self.ends.remove(entry.hash, Target::Connection(index));
        }
        entry.timer_at = Instant::MAX;
        if let Some(timer) = entry.timer.take() {
            self.wheel.cancel(timer);
        }
    }

    /// Forgets a connection.
    fn remove(&mut self, host: &mut Host<'_>, index: u32) {
        self.unlink(index);
        self.clear_half_open(index);
        let Some(key) = self.connections.key_at(index) else {
            return;
        };
        let Some(mut entry) = self.connections.remove(key) else {
            return;
        };
        entry.connection().release(&mut host.context());
        host.shared.budget.release(CONNECTION_COST);
        if entry.owner == Owner::Nobody {
            self.orphans = self.orphans.saturating_sub(1);
        }
        if let Some(connection) = entry.into_awake()
            && self.spare.len() < SPARE_CONNECTIONS
        {
            self.spare.push(connection);
        }
        if self.connections.is_empty() {
            self.trim(host);
        }
    }

    /// Nobody is there to use them: what a burst left behind goes back. What one connection at a time
    /// needs is kept for the next.
    fn trim(&mut self, host: &mut Host<'_>) {
        if self.connections.chunks() > 1 {
            self.connections.clear();
            self.spare = Vec::new();
            (self.ready, self.touched) = (VecDeque::new(), Vec::new());
        }
        host.shared.chunks.trim();
    }

    /// It is not half-open any more: counts it off where it was.
    fn clear_half_open(&mut self, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        if core::mem::take(&mut entry.fast_open) {
            self.fast_open_pending = self.fast_open_pending.saturating_sub(1);
        }
        if core::mem::take(&mut entry.half_open) {
            self.half_open = self.half_open.saturating_sub(1);
            if let Owner::Opening(key) | Owner::Waiting(key) = entry.owner
                && let Some(listener) = self.listeners.get_mut(key)
            {
                listener.half_open = listener.half_open.saturating_sub(1);
            }
        }
    }
}

impl Host<'_> {
    /// The way between two ends, where there is one.
    fn route(&mut self, local: &SocketAddr, remote: &SocketAddr) -> Option<Route> {
        self.way(remote.ip(), Some(local.ip())).ok()
    }
}

/// What a connection is told of its way.
const fn path(route: &Route) -> PathInfo {
    PathInfo {
        mtu: route.mtu,
        link_mtu: route.link_mtu,
    }
}

/// The hash of two ends.
#[inline]
fn hash(spread: &Spread, tuple: &Tuple) -> u32 {
    spread.pair(&tuple.local, &tuple.remote)
}
