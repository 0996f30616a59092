//! A stack as programs have it, and how it is made.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_core::budget::Budget;
use weir_core::trace::Tracer;
use weir_tcpip::{
    Cidr, Config, ConfigError, IdentifierSecret, InterfaceConfig, InterfaceId, IpCounters, Mac,
    Medium, RouteConfig, Stack as Engine, StackStats, TcpStats,
};

use super::backlog::Backlog;
use super::device::Device;
use super::error::{StackError, TcpError};
use super::shard::{Port, Shard};
use super::shared::{Handle, Shared, State};
use crate::drive::{Clock, randomness};
use crate::observe::{DeviceInfo, SharedObserver, StackInfo};

/// One host of its own: addresses, routes, sockets, over the devices that it was given. Clones are
/// handles to the same stack.
///
/// Sockets are made on it by [`TcpListener::bind`](super::TcpListener::bind),
/// [`TcpStream::connect`](super::TcpStream::connect) and
/// [`UdpSocket::bind`](super::UdpSocket::bind).
///
/// # How it runs
/// One task owns the devices: it reads a batch, has the engine deal with it, wakes readers and writers
/// once each, and sends what became sendable. Sockets share the engine with it by a lock that is
/// never held across a system call.
///
/// # When it ends
/// [`close`](Stack::close) ends it in good order, [`abort`](Stack::abort) at once, whoever still holds
/// handles of it. Without either: when the last handle is dropped, sockets among them, the task goes on
/// until every connection has said its last words, and resets after a minute what has not; then it drops
/// the devices. When all devices have failed, every call fails with [`TcpError::StackGone`].
#[derive(Clone)]
pub struct Stack {
    pub(super) handle: Arc<Handle>,
}

/// A connection of a [`Stack`], as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConnection {
    /// The address and port on this side.
    pub local: SocketAddr,
    /// The address and port of the peer.
    pub remote: SocketAddr,
    /// How it stands.
    pub stats: TcpStats,
}

/// A [`Stack`], as long as others have it.
#[derive(Clone)]
pub(crate) struct WeakStack(Weak<Handle>);

impl WeakStack {
    pub(crate) fn upgrade(&self) -> Option<Stack> {
        let handle = self.0.upgrade()?;
        Some(Stack { handle })
    }
}

impl fmt::Debug for WeakStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakStack")
    }
}

impl Stack {
    /// Begins a new stack.
    #[must_use]
    pub fn builder() -> StackBuilder {
        StackBuilder::default()
    }

    /// Adds an address with its network to an interface.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub fn add_address(&self, interface: InterfaceId, address: Cidr) -> Result<(), ConfigError> {
        self.call(|state, now| state.engine.add_address(now, interface, address))
    }

    /// Takes an address away. False when there was none. Connections from it reach nobody any more.
    pub fn remove_address(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.call(|state, _| state.engine.remove_address(interface, address))
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is added then.
    pub fn add_route(&self, route: RouteConfig) -> Result<(), ConfigError> {
        self.call(|state, _| state.engine.add_route(route))
    }

    /// Takes a route away, whatever its metric. False when there was none.
    pub fn remove_route(&self, to: Cidr, via: Option<IpAddr>) -> bool {
        self.call(|state, _| state.engine.remove_route(to, via))
    }

    /// The way to `remote`: the address to send from and the largest packet in bytes that fits the
    /// path as far as is known. `None` when there is no way.
    #[must_use]
    pub fn route_to(&self, remote: IpAddr) -> Option<(IpAddr, u16)> {
        self.call(|state, _| state.engine.route_to(remote))
    }

    /// Says once and for all which Ethernet address a neighbour has.
    ///
    /// # Errors
    /// [`ConfigError`] when there are too many.
    pub fn add_neighbor(
        &self,
        interface: InterfaceId,
        address: IpAddr,
        hardware: Mac,
    ) -> Result<(), ConfigError> {
        self.call(|state, now| state.engine.add_neighbor(now, interface, address, hardware))
    }

    /// Whether packets for others are passed on between interfaces. Off at first.
    pub fn set_forwarding(&self, on: bool) {
        self.call(|state, _| state.engine.set_forwarding(on));
    }

    /// Closes the stack in good order, and returns at once; [`wait_idle`](Stack::wait_idle) waits for
    /// the end of it.
    ///
    /// - Nothing new begins: calls that connect, listen or bind fail with [`TcpError::StackGone`], and so
    ///   does [`accept`](super::TcpListener::accept). Whoever has connected and was not accepted is reset;
    ///   attempts that wait for a decision are refused, those of this side given up.
    /// - Connections that stand are finished: what was written is sent, then the end. What peers still
    ///   send can be read until they end, too. Those that nobody has a handle of any more end likewise.
    /// - After `limit` whatever is not over is reset.
    /// - UDP sockets work on meanwhile, and hold nothing up: what they have queued by the end is sent.
    /// - Then the task ends and drops the devices: a TUN interface goes. Every call fails with
    ///   [`TcpError::StackGone`] from then on; what streams have received can still be read.
    ///
    /// Called again, a shorter limit counts from then on: `close(Duration::ZERO)`, which is
    /// [`abort`](Stack::abort), is the second word of whoever does not want to wait any longer.
    pub fn close(&self, limit: Duration) {
        self.handle.0.close(limit);
    }

    /// Closes the stack at once: every connection is reset, as by [`close`](Stack::close) without any
    /// time.
    pub fn abort(&self) {
        self.close(Duration::ZERO);
    }

    /// Waits until no connection has anything left to say, the last words of those that were let go of
    /// included. Once the stack was closed: until its task is over and its devices are given back.
    /// Listeners and UDP sockets do not count. Without [`close`](Stack::close) that may take for ever,
    /// and the next connection may begin right after: bound the wait.
    pub async fn wait_idle(&self) {
        poll_fn(|cx| self.handle.0.lock().poll_idle(cx)).await;
    }

    /// What the stack counted and holds, counters in Linux' names.
    #[must_use]
    pub fn stats(&self) -> StackStats {
        self.handle.0.lock().engine.stats()
    }

    /// How the connections stand that somebody has a handle of, at most `most` of them: what `ss -tin`
    /// shows of the system's.
    #[must_use]
    pub fn connections(&self, most: usize) -> Vec<TcpConnection> {
        let keys = self.handle.0.lock().engine.tcp_keys(most);
        let mut connections = Vec::with_capacity(keys.len());
        // A few at a time, so that nobody waits long for the lock.
        for keys in keys.chunks(64) {
            self.call(|state, now| {
                connections.extend(keys.iter().filter_map(|key| {
                    let (local, remote) = state.engine.tcp_addresses(*key)?;
                    let stats = state.engine.tcp_stats(now, *key)?;
                    Some(TcpConnection {
                        local,
                        remote,
                        stats,
                    })
                }));
            });
        }
        connections
    }

    /// A handle that keeps nothing alive.
    pub(crate) fn downgrade(&self) -> WeakStack {
        WeakStack(Arc::downgrade(&self.handle))
    }

    /// What the internet layer counted, in Linux' names. Packets that a device had no room for are among
    /// `out_discards`.
    #[must_use]
    pub fn ip_counters(&self) -> IpCounters {
        self.handle.0.lock().engine.ip_counters().clone()
    }

    pub(super) fn call<R>(
        &self,
        call: impl FnOnce(&mut State, weir_core::time::Instant) -> R,
    ) -> R {
        self.handle.0.call(call)
    }

    /// The same for what makes no sense on a stack that is over.
    pub(super) fn try_call<R>(
        &self,
        call: impl FnOnce(&mut State, weir_core::time::Instant) -> io::Result<R>,
    ) -> io::Result<R> {
        self.call(|state, now| match state.refusal() {
            Some(why) => Err(TcpError::StackGone(why).into()),
            None => call(state, now),
        })
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// How a stack uses a device.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    addresses: Vec<Cidr>,
    routes: Vec<(Cidr, Option<IpAddr>)>,
    any_address: bool,
    slaac: bool,
    identifier_secret: Option<IdentifierSecret>,
    no_dad: bool,
}

impl Interface {
    /// Without addresses.
    #[must_use]
    pub fn new() -> Interface {
        Interface::default()
    }

    /// An address with its network, whose hosts are on the link.
    #[must_use]
    pub fn address(mut self, address: Cidr) -> Interface {
        self.addresses.push(address);
        self
    }

    /// Destinations that are reached through this device: by a router on the link, or without one on
    /// the link itself.
    #[must_use]
    pub fn route(mut self, to: Cidr, via: Option<IpAddr>) -> Interface {
        self.routes.push((to, via));
        self
    }

    /// Takes packets for every unicast destination as if it were the stack's own, and lets sockets
    /// send from every address: for the near end of a tunnel. Sockets get such packets where they ask
    /// for any address ([`ListenConfig::any`], [`UdpConfig::any`]).
    ///
    /// [`ListenConfig::any`]: weir_tcpip::ListenConfig::any
    /// [`UdpConfig::any`]: weir_tcpip::UdpConfig::any
    #[must_use]
    pub fn any_address(mut self) -> Interface {
        self.any_address = true;
        self
    }

    /// Takes IPv6 routes, prefixes and addresses from the link's routers (RFC 4862). Ethernet only.
    #[must_use]
    pub fn slaac(mut self) -> Interface {
        self.slaac = true;
        self
    }

    /// Makes the identifiers of the link-local address and of those of [`slaac`](Interface::slaac) from 128
    /// random bits that the program keeps (RFC 7217): the same on one network for as long as the bits are,
    /// without a trace of the Ethernet address, which they are made of otherwise.
    #[must_use]
    pub fn identifier_secret(mut self, secret: [u8; 16]) -> Interface {
        self.identifier_secret = Some(IdentifierSecret::new(secret));
        self
    }

    /// Uses addresses at once, without looking whether somebody else has them (RFC 4862 section 5.4).
    #[must_use]
    pub fn without_duplicate_detection(mut self) -> Interface {
        self.no_dad = true;
        self
    }
}

/// Makes a [`Stack`].
#[derive(Default)]
pub struct StackBuilder {
    config: Config,
    budget: Option<Budget>,
    observer: Option<SharedObserver>,
    devices: Vec<(Box<dyn Device>, Interface)>,
    forwarding: bool,
    name: Option<String>,
}

impl StackBuilder {
    /// Settings other than the defaults.
    #[must_use]
    pub fn config(mut self, config: Config) -> StackBuilder {
        self.config = config;
        self
    }

    /// A device, and how it is used. Interfaces are numbered from 0 in the order of these calls.
    #[must_use]
    pub fn device(mut self, device: impl Device, interface: Interface) -> StackBuilder {
        self.devices.push((Box::new(device), interface));
        self
    }

    /// A budget that the stack's memory is taken from; [`Config::memory`] holds inside it.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> StackBuilder {
        self.budget = Some(budget);
        self
    }

    /// Where the stack reports what happens in it, and who is shown its frames.
    #[must_use]
    pub fn observer(mut self, observer: SharedObserver) -> StackBuilder {
        self.observer = Some(observer);
        self
    }

    /// What people call it, in logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> StackBuilder {
        self.name = Some(name.into());
        self
    }

    /// Passes packets for others on between interfaces.
    #[must_use]
    pub fn forwarding(mut self) -> StackBuilder {
        self.forwarding = true;
        self
    }

    /// Starts the stack's task on the runtime that this is called on.
    ///
    /// # Errors
    /// A setting is out of its range, or an interface cannot be as asked for.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<Stack, StackError> {
        if self.devices.is_empty() {
            return Err(StackError::NoDevice);
        }
        let clock = Clock::start();
        let now = clock.read();
        let budget = match self.budget {
            Some(parent) => parent,
            None => Budget::root("stack", self.config.memory),
        };
        let random = randomness().map_err(StackError::Random)?;
        let mut engine = Engine::new(self.config, &budget, random, now)?;
        engine.set_forwarding(self.forwarding);
        let name = self.name.as_deref().unwrap_or("stack");
        let observer = self.observer.as_deref();
        let sinks = observer.map(|observer| observer.stack_sinks(&StackInfo { name }));
        if let Some(sinks) = sinks.filter(|sinks| !sinks.is_empty()) {
            engine.set_tracer(Tracer::to_all(sinks));
        }
        let mut ports = Vec::with_capacity(self.devices.len());
        for (device, interface) in self.devices {
            let (interface, medium) = add(&mut engine, now, &*device, interface)?;
            let name = device.name();
            let tap =
                observer.and_then(|observer| observer.frame_tap(&DeviceInfo { name, medium }));
            ports.push(Port {
                device,
                interface,
                tap,
                is_gone: false,
                backlog: Backlog::default(),
            });
        }
        let shared = Arc::new(Shared::new(engine, clock));
        tokio::spawn(Shard::new(Arc::clone(&shared), ports).run());
        Ok(Stack {
            handle: Arc::new(Handle(shared)),
        })
    }
}

impl fmt::Debug for StackBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackBuilder")
            .field("config", &self.config)
            .field("devices", &self.devices.len())
            .finish_non_exhaustive()
    }
}

/// Gives a device to the engine.
fn add(
    engine: &mut Engine,
    now: weir_core::time::Instant,
    device: &dyn Device,
    asked: Interface,
) -> Result<(InterfaceId, Medium), StackError> {
    let capabilities = device.capabilities();
    let medium = capabilities.medium;
    let mut config = InterfaceConfig::new(device.name(), capabilities);
    if medium == Medium::Ethernet {
        config.hardware = match device.hardware_address() {
            Some(address) => Some(Mac(address)),
            None => Some(made_up()?),
        };
    }
    config.addresses = asked.addresses;
    config.any_address = asked.any_address;
    config.slaac = asked.slaac;
    config.identifier_secret = asked.identifier_secret;
    config.dad = !asked.no_dad;
    let interface = engine.add_interface(now, config)?;
    for (to, via) in asked.routes {
        engine.add_route(RouteConfig {
            to,
            via,
            interface,
            metric: 0,
        })?;
    }
    Ok((interface, medium))
}

/// An Ethernet address that no maker gave away: locally administered, of one station.
fn made_up() -> Result<Mac, StackError> {
    let mut random = randomness().map_err(StackError::Random)?;
    let mut address = [0; 6];
    weir_core::rng::fill(&mut random, &mut address);
    address[0] = address[0] & 0xfc | 0x02;
    Ok(Mac(address))
}
