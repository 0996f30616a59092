//! An endpoint with its connections, driven as a driver with one socket drives them.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::time::{Duration, Instant};
use weir_core::trace::Tracer;
use weir_sim::{Actor, Datagram, NodeId, World};

use super::app::{App, News};
use super::audit;
use super::datagrams::{Printer, amplification, check_transmit, from_sim, name, to_sim};
use super::net::Net;
use super::plan::{ABRUPT, Happening, Plan, Shared, of};
use crate::config::{ClientConfig, ServerConfig};
use crate::connection::Connection;
use crate::connection::tests::pair::NAME;
use crate::endpoint::{ConnectionHandle, Endpoint, Handled, Incoming, RetryPolicy};
use crate::transmit::{PathAddr, Transmit, TransmitBuf};
use crate::wire::Side;

/// Times that engine and application may give each other work at one instant.
const MAX_ROUNDS: usize = 1_000;

/// A connection and what is known of it from outside.
pub(super) struct Conn {
    pub(super) handle: ConnectionHandle,
    pub(super) connection: Connection,
    pub(super) app: App,
    /// Bytes received from and sent to each address.
    pub(super) bytes: HashMap<SocketAddr, [u64; 2]>,
}

/// How connections are made.
pub(super) struct Setup {
    pub(super) client: ClientConfig,
    pub(super) server: Arc<ServerConfig>,
    /// What the server's second connection is taken with, when it is not `server`.
    pub(super) second: Option<Arc<ServerConfig>>,
}

pub(super) struct Host {
    pub(super) side: Side,
    node: NodeId,
    pub(super) addr: SocketAddr,
    net: Net,
    plan: Rc<Plan>,
    truth: Shared,
    setup: Rc<Setup>,
    pub(super) endpoint: Endpoint,
    pub(super) budget: Budget,
    pub(super) conns: Vec<Conn>,
    /// What became of connections that are gone.
    pub(super) gone: Vec<(bool, News)>,
    happenings: Vec<(Instant, Happening)>,
    out: TransmitBuf,
    /// Bytes received from each address since a connection was last taken from there.
    strangers: HashMap<SocketAddr, u64>,
    /// When the client begins its main connection after the first one.
    begin_at: Option<Instant>,
    remembered: News,
    /// How often each timer was due in this turn.
    due: HashMap<&'static str, u32>,
    /// Every datagram is printed.
    verbose: bool,
}

impl Host {
    pub(super) fn new(
        side: Side,
        world: &World,
        net: &Net,
        plan: &Rc<Plan>,
        truth: &Shared,
        setup: &Rc<Setup>,
    ) -> Host {
        let budget = Budget::root("endpoint", 1 << 30);
        let label = side.as_str();
        let mut config = super::run::endpoint_config(plan.cid_len[of(side)], budget.clone());
        if side == Side::Server {
            config.server = Some(Arc::clone(&setup.server));
            config.retry = match plan.retry {
                true => RetryPolicy::Always,
                false => RetryPolicy::Never,
            };
        }
        Host {
            side,
            node: match side {
                Side::Client => net.client,
                Side::Server => net.server,
            },
            addr: match side {
                Side::Client => net.client_addrs[0],
                Side::Server => net.server_addr,
            },
            net: net.clone(),
            plan: Rc::clone(plan),
            truth: Rc::clone(truth),
            setup: Rc::clone(setup),
            endpoint: Endpoint::new(config, world.rng(label)).unwrap(),
            budget,
            conns: Vec::new(),
            gone: Vec::new(),
            happenings: Vec::new(),
            out: TransmitBuf::new(plan.segments),
            strangers: HashMap::new(),
            begin_at: (side == Side::Client).then_some(Instant::ZERO),
            remembered: News::default(),
            due: HashMap::new(),
            verbose: std::env::var_os("WEIR_SIM_TRACE").is_some(),
        }
    }

    /// Nothing is left to do: what was begun has come to its end.
    pub(super) fn is_over(&self) -> bool {
        let ended = self.side == Side::Server || self.gone.iter().any(|(is_main, _)| *is_main);
        ended && self.conns.is_empty() && self.begin_at.is_none()
    }

    /// The connection that the run is about.
    pub(super) fn main(&self) -> Option<&Conn> {
        self.conns.iter().find(|conn| conn.app.is_main)
    }

    fn path(&self) -> PathAddr {
        PathAddr {
            local: self.plan.knows_local.then_some(self.addr.ip()),
            remote: self.net.server_addr,
        }
    }

    /// Client: the next connection.
    fn connect(&mut self, world: &mut World) {
        let now = world.now();
        let needs_ticket = self.plan.early != super::plan::Early::None;
        let is_main = !needs_ticket || self.remembered.remembered.is_some();
        let mut config = self.setup.client.clone();
        if is_main {
            config.remembered = self.remembered.remembered.take();
            config.token = self.remembered.token.take();
            let links = self.plan.links.clone();
            let change = |index: usize, link: &mut _| *link = links[index].clone();
            self.net.change_links(world, change);
            self.truth.borrow_mut().began = Some(now);
            self.schedule(now);
        }
        let path = self.path();
        let begun = self.endpoint.connect(now, &config, path, NAME);
        let (handle, mut connection) = begun.unwrap();
        self.listen(&mut connection);
        let app = App::new(self.side, now, &self.plan, &self.truth, is_main);
        self.conns.push(Conn {
            handle,
            connection,
            app,
            bytes: HashMap::new(),
        });
    }

    /// Sets when what is planned happens. What the world does is the client's to see to.
    fn schedule(&mut self, now: Instant) {
        let mine = |what: Happening| match what {
            Happening::KeyUpdate(side) | Happening::Ping(side) | Happening::Close(side) => {
                side == self.side
            }
            _ => self.side == Side::Client,
        };
        let happenings = self.plan.happenings.iter();
        let mine = happenings.filter(|(_, what)| mine(*what));
        self.happenings = mine.map(|(at, what)| (now + *at, *what)).collect();
        self.happenings.sort_by_key(|(at, _)| *at);
    }

    fn listen(&self, connection: &mut Connection) {
        if self.verbose {
            connection.set_tracer(Tracer::new(Box::new(Printer(self.side))));
        }
    }

    fn accept(&mut self, now: Instant, incoming: Incoming) {
        let accepted = {
            let mut truth = self.truth.borrow_mut();
            truth.accepted += 1;
            truth.accepted
        };
        let needs_ticket = self.plan.early != super::plan::Early::None;
        let is_main = !needs_ticket || accepted > 1;
        if is_main {
            self.schedule(now);
        }
        let config = match is_main {
            true => self.setup.second.clone(),
            false => None,
        };
        let remote = incoming.remote();
        let (handle, mut connection) = self.endpoint.accept(now, incoming, config).unwrap();
        self.listen(&mut connection);
        let app = App::new(self.side, now, &self.plan, &self.truth, is_main);
        let received = self.strangers.remove(&remote).unwrap_or(0);
        self.conns.push(Conn {
            handle,
            connection,
            app,
            bytes: HashMap::from([(remote, [received, 0])]),
        });
    }

    fn reply(&self, world: &mut World, transmit: &Transmit) {
        let payload = Bytes::copy_from_slice(self.out.as_slice());
        assert_eq!(payload.len(), transmit.len);
        let datagram = Datagram::new(self.addr, transmit.path.remote, payload);
        world.send(self.node, datagram);
    }

    /// Writes all that connection `index` has to send. True when that was anything.
    fn transmit(&mut self, world: &mut World, index: usize) -> bool {
        let now = world.now();
        let mut any = false;
        loop {
            self.out.clear();
            let conn = &mut self.conns[index];
            let known = conn.connection.datagram_size();
            let Some(transmit) = conn.connection.poll_transmit(now, &mut self.out) else {
                break;
            };
            any = true;
            check_transmit(conn, &self.plan, &transmit, known, self.out.as_slice());
            if self.side == Side::Server {
                amplification(conn, &transmit);
            }
            let from = match transmit.path.local {
                Some(ip) => SocketAddr::new(ip, self.addr.port()),
                None => self.addr,
            };
            for payload in self.out.as_slice().chunks(transmit.segment_size) {
                let mut datagram =
                    Datagram::new(from, transmit.path.remote, Bytes::copy_from_slice(payload));
                datagram.ecn = to_sim(transmit.ecn);
                if self.verbose {
                    eprintln!("{now:?} {} sends {}", self.side.as_str(), name(payload));
                }
                world.send(self.node, datagram);
            }
        }
        let connection = &mut self.conns[index].connection;
        if connection.wants_transmit() {
            assert!(
                audit::is_held_back(connection),
                "it wants to send, and sends nothing: {connection:?}"
            );
        }
        any
    }

    /// What is due already, as after a long wait for the allowance to send, is done at once, as a
    /// driver does it. True when it was anything.
    fn time_out(&mut self, now: Instant, index: usize) -> bool {
        let connection = &mut self.conns[index].connection;
        let due = connection.poll_timeout().filter(|(at, _)| *at <= now);
        let Some((_, timer)) = due else {
            return false;
        };
        connection.handle_timeout(now);
        let name = timer.name();
        let times = self.due.entry(name).or_default();
        *times += 1;
        assert!(*times <= 20, "{name} is due again and again at {now:?}");
        true
    }

    /// Tells the endpoint what the connections have to say, and lets go of those that are gone.
    fn settle(&mut self) {
        for conn in &mut self.conns {
            while let Some(event) = conn.connection.poll_endpoint_event() {
                self.endpoint.handle_event(conn.handle, &event);
            }
        }
        let (drained, conns): (Vec<Conn>, Vec<Conn>) = std::mem::take(&mut self.conns)
            .into_iter()
            .partition(|conn| conn.app.news.drained);
        self.conns = conns;
        for conn in drained {
            assert!(conn.connection.is_drained());
            assert_eq!(conn.connection.poll_timeout(), None);
            self.note_end(&conn);
            self.gone.push((conn.app.is_main, conn.app.news));
        }
    }

    fn note_end(&mut self, conn: &Conn) {
        let stats = conn.connection.stats();
        let mut truth = self.truth.borrow_mut();
        truth.migrations += stats.migrations;
        truth.key_updates += stats.key_updates;
    }

    /// Client: the first connection has brought a ticket; the main one comes next.
    fn watch_first(&mut self, now: Instant) {
        for conn in &mut self.conns {
            if conn.app.is_main || conn.app.news.closed.is_some() || !conn.app.news.confirmed {
                continue;
            }
            // Long enough for the ticket.
            let at = *self.begin_at.get_or_insert(now + Duration::from_secs(1));
            if at <= now {
                conn.connection.close(now, 0, "");
                self.remembered.remembered = conn.app.news.remembered.take();
                self.remembered.token = conn.app.news.token.take();
                assert!(self.remembered.remembered.is_some());
            }
        }
    }

    fn happen(&mut self, world: &mut World) {
        let now = world.now();
        while let Some((at, what)) = self.happenings.first().copied()
            && at <= now
        {
            self.happenings.remove(0);
            self.make_happen(world, what);
        }
    }

    fn make_happen(&mut self, world: &mut World, what: Happening) {
        let now = world.now();
        let net = self.net.clone();
        let conn = self.conns.iter_mut().find(|conn| conn.app.is_main);
        let moves = matches!(what, Happening::Rebind | Happening::AddressChanged);
        if moves
            && !conn
                .as_ref()
                .is_some_and(|conn| conn.connection.is_confirmed())
        {
            // RFC 9000 9: the handshake relies on a stable address.
            return;
        }
        match (what, conn) {
            (Happening::Rebind, _) => {
                if let Some(nat) = net.nat {
                    world.nat_mut(nat).rebind();
                }
            }
            (Happening::BlackHole(mtu), _) => {
                net.change_links(world, |_, link| link.mtu = link.mtu.min(mtu));
            }
            (Happening::Blackout(time), _) => {
                net.change_links(world, |_, link| {
                    link.outages = link.outages.clone().and(now, time);
                });
            }
            (Happening::KeyUpdate(side), Some(conn)) if side == self.side => {
                conn.connection.initiate_key_update(now);
            }
            (Happening::Ping(side), Some(conn)) if side == self.side => conn.connection.ping(),
            (Happening::Close(side), Some(conn)) if side == self.side => {
                conn.connection.close(now, ABRUPT, "at any moment");
            }
            (Happening::Migrate, Some(conn)) => {
                let addr = net.client_addrs[1];
                let path = PathAddr {
                    local: Some(addr.ip()),
                    remote: net.server_addr,
                };
                let _ = conn.connection.migrate(now, path);
            }
            (Happening::AddressChanged, Some(conn)) => {
                let other = match self.addr == net.client_addrs[0] {
                    true => net.client_addrs[1],
                    false => net.client_addrs[0],
                };
                let local = self.plan.knows_local.then_some(other.ip());
                // Without a spare connection ID it cannot be, and the old network stays.
                if conn.connection.local_address_changed(now, local).is_ok() {
                    self.addr = other;
                }
            }
            _ => {}
        }
    }
}

impl Actor for Host {
    fn on_datagram(&mut self, world: &mut World, _node: NodeId, datagram: Datagram) {
        let now = world.now();
        if self.side == Side::Client && datagram.to.ip() != self.addr.ip() {
            // The address is gone, or the packet came by way of the one that the client has left.
            let probed = self.conns.iter().any(|conn| {
                let mut paths = conn.connection.paths.iter();
                paths.any(|path| path.addr.local == Some(datagram.to.ip()))
            });
            if !probed {
                return;
            }
        }
        let path = PathAddr {
            local: self.plan.knows_local.then_some(datagram.to.ip()),
            remote: datagram.from,
        };
        let ecn = from_sim(datagram.ecn);
        let len = datagram.payload.len();
        if self.verbose {
            eprintln!(
                "{now:?} {} receives {}",
                self.side.as_str(),
                name(&datagram.payload)
            );
        }
        self.settle();
        let handled =
            self.endpoint
                .handle_datagram(now, path, ecn, &datagram.payload, &mut self.out);
        match handled {
            Handled::Nothing => {
                *self.strangers.entry(datagram.from).or_default() += len as u64;
            }
            Handled::Connection(handle) => {
                let mut data = datagram.payload.to_vec();
                let conn = self.conns.iter_mut().find(|conn| conn.handle == handle);
                if let Some(conn) = conn {
                    conn.bytes.entry(datagram.from).or_default()[0] += len as u64;
                    conn.connection.handle_datagram(now, path, ecn, &mut data);
                }
            }
            Handled::StatelessReset(handle) => {
                let conn = self.conns.iter_mut().find(|conn| conn.handle == handle);
                if let Some(conn) = conn {
                    conn.connection.handle_stateless_reset(now);
                }
            }
            Handled::Incoming(incoming) => {
                *self.strangers.entry(datagram.from).or_default() += len as u64;
                self.accept(now, incoming);
            }
            Handled::Reply(transmit) => {
                assert!(transmit.len <= 3 * len, "Q58");
                self.reply(world, &transmit);
            }
        }
    }

    fn on_timeout(&mut self, world: &mut World) {
        let now = world.now();
        self.endpoint.handle_timeout(now);
        for conn in &mut self.conns {
            if conn
                .connection
                .poll_timeout()
                .is_some_and(|(at, _)| at <= now)
            {
                conn.connection.handle_timeout(now);
            }
        }
    }

    fn turn(&mut self, world: &mut World) {
        let now = world.now();
        self.due.clear();
        if self.side == Side::Client {
            self.watch_first(now);
        }
        if self.begin_at.is_some_and(|at| at <= now)
            && self.conns.iter().all(|conn| !conn.app.is_main)
        {
            self.begin_at = None;
            self.connect(world);
        }
        self.happen(world);
        for round in 0.. {
            assert!(
                round < MAX_ROUNDS,
                "engine and application keep each other busy"
            );
            let mut moved = false;
            for index in 0..self.conns.len() {
                let conn = &mut self.conns[index];
                moved |= conn.app.step(now, &mut conn.connection);
                moved |= self.transmit(world, index);
                moved |= self.time_out(now, index);
            }
            if !moved {
                break;
            }
        }
        if self.side == Side::Client {
            // What was just heard may have been what was waited for.
            self.watch_first(now);
        }
        for conn in &self.conns {
            audit::audit(&conn.connection);
        }
        self.settle();
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let conns = self.conns.iter();
        let connections = conns.filter_map(|conn| {
            let (at, timer) = conn.connection.poll_timeout()?;
            Some((at, timer.name()))
        });
        let apps = self.conns.iter().filter_map(|conn| conn.app.timeout());
        let own = [
            self.endpoint.poll_timeout().map(|at| (at, "endpoint")),
            self.happenings.first().map(|(at, _)| (*at, "happening")),
            self.begin_at.map(|at| (at, "begin")),
        ];
        connections
            .chain(apps.map(|at| (at, "application")))
            .chain(own.into_iter().flatten())
            .min_by_key(|(at, _)| *at)
    }

    fn is_done(&self) -> bool {
        self.is_over()
    }

    fn progress(&self) -> u64 {
        let conns = self.conns.iter();
        conns.map(|conn| conn.app.delivered).sum::<u64>() + self.gone.len() as u64
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {:?}", self.side.as_str(), self.endpoint.stats())?;
        for conn in &self.conns {
            let connection = &conn.connection;
            writeln!(f, "  {connection:?} {:?}", connection.poll_timeout())?;
            writeln!(f, "  {:?}", connection.stats())?;
            for path in connection.paths.iter() {
                writeln!(f, "  {path:?}")?;
            }
            writeln!(f, "  {}", conn.app.describe())?;
        }
        for (is_main, news) in &self.gone {
            writeln!(f, "  gone (main: {is_main}): {:?}", news.closed)?;
        }
        Ok(())
    }
}
