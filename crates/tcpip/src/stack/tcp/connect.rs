//! Active opens, and what connections and listeners are let go by.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_core::slab::Key;

use super::{Owner, Tcp, hash, path};
use crate::limits::{CONNECTION_COST, MAX_LISTENERS};
use crate::stack::demux::Target;
use crate::stack::host::Host;
use crate::stack::{
    BindError, ConnectConfig, ConnectError, ListenConfig, ListenerKey, TcpKey, ports,
};
use crate::tcp::CloseCause;
use crate::tcp::connection::{Connection, Making};
use crate::tcp::interface::Tuple;
use crate::tcp::listen::Listener;
use crate::wire::tcp::FastOpen;

impl Tcp {
    pub(crate) fn listen(
        &mut self,
        host: &mut Host<'_>,
        local: SocketAddr,
        config: &ListenConfig,
    ) -> Result<ListenerKey, BindError> {
        config.validate()?;
        let local = if config.any {
            SocketAddr::new(unspecified(local.ip()), 0)
        } else {
            self.listening_place(host, local)?
        };
        if self.listeners.len() >= MAX_LISTENERS {
            return Err(BindError::TooMany(MAX_LISTENERS));
        }
        if self.listeners.at(&host.shared.spread, &local).is_some() {
            return Err(BindError::InUse(local));
        }
        let listener = Listener {
            local,
            config: Arc::new(config.tcp.clone()),
            backlog: config.backlog,
            defer: config.defer,
            ready: VecDeque::new(),
            half_open: 0,
        };
        Ok(ListenerKey(
            self.listeners.insert(&host.shared.spread, listener),
        ))
    }

    fn listening_place(
        &self,
        host: &mut Host<'_>,
        local: SocketAddr,
    ) -> Result<SocketAddr, BindError> {
        if !local.ip().is_unspecified() && !host.ip.is_local(local.ip()) {
            return Err(BindError::NotLocal(local));
        }
        if local.port() != 0 {
            return Ok(plain(local));
        }
        let shared = &mut *host.shared;
        let spread = &shared.spread;
        let is_free = |port| {
            let place = SocketAddr::new(local.ip(), port);
            self.listeners.at(spread, &place).is_none()
        };
        let port = ports::pick(&mut shared.rng, &host.config.ports, is_free);
        let port = port.ok_or(BindError::NoPort)?;
        Ok(SocketAddr::new(local.ip(), port))
    }

    pub(crate) fn unlisten(&mut self, host: &mut Host<'_>, key: ListenerKey) {
        if self.listeners.get(key.0).is_none() {
            return;
        }
        self.refuse_all(host, key.0);
        let of_it = |owner| matches!(owner, Owner::Opening(it) | Owner::Waiting(it) if it == key.0);
        let indices: Vec<u32> = self
            .connections
            .iter()
            .filter_map(|(key, entry)| of_it(entry.owner).then_some(key.index))
            .collect();
        for index in indices {
            // T33
            self.clear_half_open(index);
            self.abort(host, index, CloseCause::Aborted);
        }
        self.listeners.remove(&host.shared.spread, key.0);
    }

    pub(crate) fn accept(&mut self, host: &mut Host<'_>, key: ListenerKey) -> Option<TcpKey> {
        self.settle_all(host);
        let listener = self.listeners.get_mut(key.0)?;
        let key = listener.ready.pop_front()?;
        let entry = self.connections.get_mut(key)?;
        // Still in SYN-RECEIVED when Fast Open brought data: it counts there no longer.
        if entry.half_open {
            listener.half_open = listener.half_open.saturating_sub(1);
        }
        entry.owner = Owner::Application;
        if let Some(cause) = entry.close_cause() {
            // What happened before there was anybody to tell.
            host.tell(crate::Event::TcpClosed(TcpKey(key), cause));
        }
        Some(TcpKey(key))
    }

    pub(crate) fn connect(
        &mut self,
        host: &mut Host<'_>,
        remote: SocketAddr,
        config: &ConnectConfig,
    ) -> Result<TcpKey, ConnectError> {
        let shared = self.shared_config(&config.tcp)?;
        let ip = remote.ip();
        let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if remote.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_broadcast {
            return Err(ConnectError::InvalidRemote(remote));
        }
        let asked = config.local.filter(|local| !local.ip().is_unspecified());
        if let Some(local) = asked
            && (local.is_ipv4() != remote.is_ipv4() || !host.ip.is_local(local.ip()))
        {
            return Err(ConnectError::InvalidLocal(local));
        }
        let route = host
            .way(ip, asked.map(|local| local.ip()))
            .map_err(|_| ConnectError::NoRoute(remote))?;
        let port = config.local.map_or(0, |local| local.port());
        let local = SocketAddr::new(asked.map_or(route.source, |local| local.ip()), port);
        let remote = plain(remote);
        let (tuple, hash, least) = self.free_ends(host, local, remote)?;
        if !self.has_room(host) {
            return Err(if self.connections.len() >= host.config.max_connections {
                ConnectError::TooMany(host.config.max_connections)
            } else {
                ConnectError::NoMemory
            });
        }
        let fast_open = config.tcp.fast_open.then(|| {
            let cookie = self.fast_open_cache.get(ip);
            cookie.unwrap_or(FastOpen::REQUEST)
        });
        let numbers = self.numbers(host.now, &tuple, least);
        let making = Making {
            tuple,
            config: shared,
            numbers,
            path: path(&route),
            spare: self.spare.pop(),
        };
        let connection = Connection::connect(&mut host.context(), making, fast_open);
        let key = self.insert(connection, hash, route, Owner::Application);
        self.touch(key.index);
        Ok(TcpKey(key))
    }

    /// Two ends that no other connection has, their hash, and what the initial sequence number must not
    /// be below.
    fn free_ends(
        &mut self,
        host: &mut Host<'_>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(Tuple, u32, Option<u32>), ConnectError> {
        let port = match local.port() {
            0 => self.free_port(host, local.ip(), remote)?,
            port => port,
        };
        let local = SocketAddr::new(local.ip(), port);
        let tuple = Tuple { local, remote };
        let hash = hash(&host.shared.spread, &tuple);
        match self.find(hash, &tuple) {
            None => Ok((tuple, hash, None)),
            Some(Target::TimeWait(index)) => {
                let successor = self.waits.get(index).map(|it| it.wait.successor());
                let Some((least, true)) = successor else {
                    return Err(ConnectError::InUse { local, remote });
                };
                // RFC 6191, RFC 7323 appendix B.2: timestamps tell the old segments.
                self.end_time_wait(index);
                let counters = host.counters();
                counters.tw_recycled = counters.tw_recycled.saturating_add(1);
                Ok((tuple, hash, Some(least)))
            }
            Some(_) => Err(ConnectError::InUse { local, remote }),
        }
    }

    /// A port from which nobody is connected to `remote`; where there is none, one from which
    /// somebody was a moment ago.
    fn free_port(
        &self,
        host: &mut Host<'_>,
        local: IpAddr,
        remote: SocketAddr,
    ) -> Result<u16, ConnectError> {
        let shared = &mut *host.shared;
        let spread = &shared.spread;
        let kept = |port| {
            let local = SocketAddr::new(local, port);
            let tuple = Tuple { local, remote };
            // T31: nor one that somebody listens on.
            let is_bound = self.listeners.is_bound(spread, &local);
            (is_bound, self.find(hash(spread, &tuple), &tuple))
        };
        let is_free = |port| kept(port) == (false, None);
        let may_follow = |port| match kept(port) {
            (false, Some(Target::TimeWait(index))) => {
                let waiting = self.waits.get(index);
                waiting.is_some_and(|it| it.wait.successor().1)
            }
            _ => false,
        };
        let (rng, range) = (&mut shared.rng, &host.config.ports);
        ports::pick(rng, range, is_free)
            .or_else(|| ports::pick(rng, range, may_follow))
            .ok_or(ConnectError::NoPort)
    }

    /// The application lets go.
    pub(crate) fn close(&mut self, host: &mut Host<'_>, key: TcpKey) {
        let Some(entry) = self.connections.get_mut(key.0) else {
            return;
        };
        if entry.owner != Owner::Application {
            return;
        }
        entry.connection().close(&mut host.context());
        self.let_go(host, key.0, false);
    }

    /// Resets a connection and lets go of it.
    pub(crate) fn abort_key(&mut self, host: &mut Host<'_>, key: TcpKey) {
        if self
            .connections
            .get(key.0)
            .is_some_and(|entry| entry.owner == Owner::Application)
        {
            self.abort(host, key.0.index, CloseCause::Aborted);
        }
    }

    pub(crate) fn abort(&mut self, host: &mut Host<'_>, index: u32, cause: CloseCause) {
        let Some(key) = self.connections.key_at(index) else {
            return;
        };
        if let Some(entry) = self.connections.get_mut(key) {
            entry.connection().abort(&mut host.context(), cause);
        }
        self.let_go(host, key, true);
    }

    /// Nobody has the connection from here on.
    fn let_go(&mut self, host: &mut Host<'_>, key: Key, is_aborted: bool) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        entry.owner = Owner::Nobody;
        self.orphans = self.orphans.saturating_add(1);
        if self.orphans > host.config.max_orphans && !is_aborted {
            entry
                .connection()
                .abort(&mut host.context(), CloseCause::Aborted);
            let counters = host.counters();
            counters.tcp_abort_on_memory = counters.tcp_abort_on_memory.saturating_add(1);
        }
        self.settle(host, key.index);
    }

    /// Every connection from an address that is no longer ours ends.
    pub(crate) fn on_address_gone(&mut self, host: &mut Host<'_>, address: IpAddr) {
        let from_it = |tuple: &Tuple| tuple.local.ip() == address;
        let indices: Vec<u32> = self
            .connections
            .iter()
            .filter_map(|(key, entry)| from_it(&entry.tuple).then_some(key.index))
            .collect();
        for index in indices {
            if let Some(entry) = self.connections.get_at_mut(index) {
                let cause = CloseCause::AddressGone;
                entry.connection().abort(&mut host.context(), cause);
            }
            self.settle(host, index);
        }
    }
}

/// The address without what only names the interface or the flow.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn unspecified(address: IpAddr) -> IpAddr {
    if address.is_ipv4() {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    }
}

const _: () = assert!(CONNECTION_COST >= 1024);
