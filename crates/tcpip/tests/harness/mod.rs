//! A stack and an application that does what a script's lines say.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends by panic"
)]

mod config;
mod show;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::Instant;
use weir_sim::script::{Connection, Host, Setup, host_byte, peer_byte};
use weir_tcpip::{
    Capabilities, Cidr, CloseCause, ConnectConfig, Datagram, Event, InterfaceConfig, InterfaceId,
    ListenConfig, ListenerKey, Mac, Medium, Offload, ReadError, Stack, TcpConfig, TcpKey,
    TransmitBuf, UdpKey,
};

/// The application's end of a connection.
#[derive(Debug, Default)]
struct Socket {
    key: Option<TcpKey>,
    /// Local and remote.
    ends: Option<(SocketAddr, SocketAddr)>,
    written: u64,
    read: u64,
    closed: Option<CloseCause>,
}

/// A stack with its application.
pub struct Harness {
    pub stack: Stack,
    pub budget: Budget,
    interface: InterfaceId,
    setup: Setup,
    tcp: TcpConfig,
    batch: TransmitBuf,
    listeners: BTreeMap<u16, ListenerKey>,
    sockets: BTreeMap<String, Socket>,
    /// Accepted by the stack, not yet asked for by a line.
    accepted: Vec<(SocketAddr, TcpKey)>,
    udp: BTreeMap<u16, UdpKey>,
    datagrams: Vec<usize>,
    /// What happened, newest last, for `event`.
    events: Vec<String>,
}

/// What a call comes to.
type Answer = Result<String, String>;

impl Harness {
    pub fn new(setup: &Setup) -> Harness {
        let budget = Budget::root("script", 1 << 30);
        let now = Instant::ZERO;
        let seed = setup.config("seed").map_or(1, |seed| seed.parse().unwrap());
        let stack_config = config::stack(setup);
        let mut stack = Stack::new(stack_config, &budget, rng_from_seed(seed), now).unwrap();
        let interface = Harness::add_interface(&mut stack, setup);
        Harness {
            stack,
            budget,
            interface,
            setup: setup.clone(),
            tcp: config::tcp(setup),
            batch: TransmitBuf::new(),
            listeners: BTreeMap::new(),
            sockets: BTreeMap::new(),
            accepted: Vec::new(),
            udp: BTreeMap::new(),
            datagrams: Vec::new(),
            events: Vec::new(),
        }
    }

    fn add_interface(stack: &mut Stack, setup: &Setup) -> InterfaceId {
        let medium = match setup.ethernet {
            true => Medium::Ethernet,
            false => Medium::Ip,
        };
        let is_on = |key| setup.config(key) == Some("on");
        let mut interface = InterfaceConfig::new("sim0", Capabilities::plain(medium, setup.mtu));
        interface.hardware = setup.ethernet.then_some(Mac(setup.host_mac));
        if setup.config("address") != Some("none") {
            interface.addresses = vec![Cidr::new(setup.host, setup.prefix()).unwrap()];
        }
        interface.dad = is_on("dad");
        interface.slaac = is_on("slaac");
        interface.any_address = is_on("any-address");
        let id = stack.add_interface(Instant::ZERO, interface).unwrap();
        if setup.ethernet && setup.config("neighbors") != Some("none") {
            let mac = Mac(setup.peer_mac);
            stack
                .add_neighbor(Instant::ZERO, id, setup.peer, mac)
                .unwrap();
        }
        if let Some(via) = setup.config("router") {
            let to = if setup.host.is_ipv4() {
                Cidr::ANY_V4
            } else {
                Cidr::ANY_V6
            };
            let via = if via == "peer" {
                setup.peer
            } else {
                via.parse().unwrap()
            };
            let route = weir_tcpip::RouteConfig {
                to,
                via: Some(via),
                interface: id,
                metric: 0,
            };
            stack.add_route(route).unwrap();
        }
        if is_on("forwarding") {
            stack.set_forwarding(true);
        }
        id
    }

    /// Takes the stack's news.
    fn drain(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            if let Event::TcpClosed(key, cause) = event {
                let socket = self.sockets.values_mut().find(|s| s.key == Some(key));
                if let Some(socket) = socket {
                    socket.closed = Some(cause);
                }
            }
            self.events.push(show::event(&event));
        }
    }

    fn socket(&mut self, connection: &Connection<'_>) -> &mut Socket {
        self.sockets.entry(connection.name.to_owned()).or_default()
    }

    fn key(&mut self, connection: &Connection<'_>) -> Result<TcpKey, String> {
        let name = connection.name;
        let key = self.socket(connection).key;
        key.ok_or_else(|| format!("flow {name} was neither connected nor accepted"))
    }

    fn listen(&mut self, port: u16) -> Answer {
        let mut config = ListenConfig {
            tcp: self.tcp.clone(),
            ..ListenConfig::default()
        };
        if let Some(backlog) = self.setup.config("backlog") {
            config.backlog = backlog.parse().map_err(|_| "a backlog is a number")?;
        }
        let address = SocketAddr::new(self.setup.host, port);
        match self.stack.tcp_listen(address, config) {
            Ok(key) => {
                self.listeners.insert(port, key);
                Ok("ok".to_owned())
            }
            Err(error) => Ok(format!("error {error:?}")),
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        connection: &Connection<'_>,
        local: Option<&str>,
    ) -> Answer {
        let mut config = ConnectConfig {
            tcp: self.tcp.clone(),
            ..ConnectConfig::default()
        };
        if let Some(port) = local {
            let port = port.parse().map_err(|_| "a port is a number")?;
            config.local = Some(SocketAddr::new(self.setup.host, port));
        }
        match self.stack.tcp_connect(now, connection.peer, config) {
            Ok(key) => {
                *self.socket(connection) = Socket {
                    key: Some(key),
                    ends: self.stack.tcp_addresses(key),
                    ..Socket::default()
                };
                Ok("ok".to_owned())
            }
            Err(error) => Ok(format!("error {error:?}")),
        }
    }

    fn accept(&mut self, now: Instant, connection: &Connection<'_>) -> Answer {
        for &listener in self.listeners.values() {
            while let Some(key) = self.stack.tcp_accept(now, listener) {
                let (_, remote) = self.stack.tcp_addresses(key).ok_or("no addresses")?;
                self.accepted.push((remote, key));
            }
        }
        let found = self
            .accepted
            .iter()
            .position(|(remote, _)| *remote == connection.peer);
        let Some(found) = found else {
            return Ok("none".to_owned());
        };
        let (_, key) = self.accepted.remove(found);
        *self.socket(connection) = Socket {
            key: Some(key),
            ends: self.stack.tcp_addresses(key),
            ..Socket::default()
        };
        Ok("ok".to_owned())
    }

    fn write(&mut self, now: Instant, connection: &Connection<'_>, len: u64) -> Answer {
        let key = self.key(connection)?;
        let from = self.socket(connection).written;
        let bytes: Vec<u8> = (from..from + len).map(host_byte).collect();
        let mut bytes = Bytes::from(bytes);
        match self.stack.tcp_write(now, key, &mut bytes) {
            Ok(written) => {
                self.socket(connection).written += written as u64;
                Ok(written.to_string())
            }
            Err(error) => Ok(format!("error {error:?}")),
        }
    }

    fn write_urgent(&mut self, now: Instant, connection: &Connection<'_>, len: u64) -> Answer {
        let key = self.key(connection)?;
        let from = self.socket(connection).written;
        let bytes: Vec<u8> = (from..from + len).map(host_byte).collect();
        match self.stack.tcp_write_urgent(now, key, &bytes) {
            Ok(written) => {
                self.socket(connection).written += written as u64;
                Ok(written.to_string())
            }
            Err(error) => Ok(format!("error {error:?}")),
        }
    }

    /// Reads up to `most` bytes and checks each.
    fn read(&mut self, now: Instant, connection: &Connection<'_>, most: usize) -> Answer {
        let key = self.key(connection)?;
        let mut total = 0;
        while total < most {
            match self.stack.tcp_read(now, key, most - total) {
                Ok(Some(bytes)) => {
                    let socket = self.socket(connection);
                    for &byte in &bytes[..] {
                        if byte != peer_byte(socket.read) {
                            return Err(format!("byte {} of the stream is wrong", socket.read));
                        }
                        socket.read += 1;
                    }
                    total += bytes.len();
                }
                _ if total > 0 => break,
                Ok(None) => return Ok("eof".to_owned()),
                Err(ReadError::Blocked) => return Ok("0".to_owned()),
                Err(error) => return Ok(format!("error {error:?}")),
            }
        }
        Ok(total.to_string())
    }

    fn finish(&mut self, now: Instant, connection: &Connection<'_>, how: &str) -> Answer {
        let key = self.key(connection)?;
        match how {
            "finish" => self.stack.tcp_finish(now, key),
            "stop" => self.stack.tcp_stop(now, key),
            "close" => self.stack.tcp_close(now, key),
            _ => self.stack.tcp_abort(now, key),
        }
        Ok("ok".to_owned())
    }

    fn udp_bind(&mut self, now: Instant, port: u16) -> Answer {
        let address = SocketAddr::new(self.setup.host, port);
        let config = config::udp(&self.setup);
        match self.stack.udp_bind(now, address, config) {
            Ok(key) => {
                self.udp.insert(port, key);
                Ok("ok".to_owned())
            }
            Err(error) => Ok(format!("error {error:?}")),
        }
    }

    fn udp_key(&self, port: &str) -> Result<UdpKey, String> {
        let port: u16 = port.parse().map_err(|_| "a port is a number")?;
        self.udp
            .get(&port)
            .copied()
            .ok_or_else(|| format!("no socket at port {port}"))
    }

    /// `udp-send FROM TO LEN`.
    fn udp_send(&mut self, now: Instant, words: &[&str]) -> Answer {
        let [from, to, len] = *words else {
            return Err("udp-send FROM TO LEN".to_owned());
        };
        let key = self.udp_key(from)?;
        let to = match to.parse::<SocketAddr>() {
            Ok(to) => Some(to),
            Err(_) if to == "connected" => None,
            Err(_) => Some(SocketAddr::new(
                self.setup.peer,
                to.parse().map_err(|_| "a port")?,
            )),
        };
        let len: u64 = len.parse().map_err(|_| "a length is a number")?;
        let bytes: Vec<u8> = (0..len).map(host_byte).collect();
        let datagram = Datagram {
            to,
            ..Datagram::default()
        };
        match self.stack.udp_send(now, key, &bytes, datagram) {
            Ok(()) => Ok("ok".to_owned()),
            Err(error) => Ok(format!("error {error:?}")),
        }
    }

    fn udp_recv(&mut self, port: &str) -> Answer {
        let key = self.udp_key(port)?;
        let Some(received) = self.stack.udp_recv(key) else {
            return Ok("none".to_owned());
        };
        let mut bytes = received.data.iter().zip(0..);
        match bytes.find(|&(&byte, at)| byte != peer_byte(at)) {
            Some((_, at)) => Err(format!("byte {at} of the datagram is wrong")),
            None => Ok(received.data.len().to_string()),
        }
    }

    fn udp_call(&mut self, now: Instant, words: &[&str]) -> Option<Answer> {
        Some(match *words {
            ["udp-bind", port] => self.udp_bind(now, port.parse().ok()?),
            ["udp-send", ..] => self.udp_send(now, words.get(1..)?),
            ["udp-recv", port] => self.udp_recv(port),
            ["udp-dscp", port, dscp] => self.udp_key(port).and_then(|key| {
                let dscp = dscp.parse().map_err(|_| "a codepoint is a number")?;
                match self.stack.udp_set_dscp(key, dscp) {
                    Ok(()) => Ok("ok".to_owned()),
                    Err(error) => Ok(format!("error {error}")),
                }
            }),
            ["udp-connect", port, to] => {
                let remote = SocketAddr::new(self.setup.peer, to.parse().ok()?);
                self.udp_key(port)
                    .map(|key| match self.stack.udp_connect(key, remote) {
                        Ok(()) => "ok".to_owned(),
                        Err(error) => format!("error {error:?}"),
                    })
            }
            ["udp-error", port] => self.udp_key(port).map(|key| {
                let error = self.stack.udp_error(key);
                error.map_or("none".to_owned(), |error| {
                    format!("{:?}", error.kind).replace(' ', "")
                })
            }),
            _ => return None,
        })
    }

    fn counter(&self, name: &str) -> Answer {
        let stats = self.stack.stats();
        let mut counters = stats.counters.iter();
        let found = counters.find(|(group, known, _)| match name.split_once('.') {
            Some((in_group, name)) => *group == in_group && *known == name,
            None => *known == name,
        });
        found
            .map(|(.., value)| value.to_string())
            .ok_or_else(|| format!("no counter {name}"))
    }

    /// Whether something happened since it was last asked for; it and all before it is forgotten.
    fn event(&mut self, name: &str) -> String {
        let Some(found) = self.events.iter().position(|event| event.starts_with(name)) else {
            return format!("none (there were {:?})", self.events);
        };
        self.events.drain(..=found).next_back().unwrap_or_default()
    }

    fn ask(&mut self, now: Instant, connection: &Connection<'_>, words: &[&str]) -> Answer {
        match *words {
            ["counter", name] => self.counter(name),
            ["event", ..] => Ok(self.event(&words[1..].join(" "))),
            ["used"] => Ok(self.budget.used().to_string()),
            ["stack", field] => show::stack(&self.stack.stats(), field),
            ["closed"] => {
                let closed = self.socket(connection).closed;
                Ok(closed.map_or("none".to_owned(), |cause| format!("{cause:?}")))
            }
            ["state"] => {
                let key = self.key(connection)?;
                // After `close` nobody holds it, and the stack may go on with it.
                let ends = self.socket(connection).ends;
                let between = |(local, remote)| self.stack.tcp_state_between(local, remote);
                let state = self.stack.tcp_state(key).or_else(|| ends.and_then(between));
                Ok(state.map_or("none".to_owned(), |state| state.to_string()))
            }
            [field] => {
                let key = self.key(connection)?;
                match self.stack.tcp_stats(now, key) {
                    Some(stats) => show::tcp(&stats, field),
                    None => Ok("none".to_owned()),
                }
            }
            _ => Err(format!("what is {:?}?", words.join(" "))),
        }
    }
}

impl Host for Harness {
    fn handle_input(&mut self, now: Instant, frame: &[u8]) {
        let offload = Offload::default();
        self.stack.handle_input(now, self.interface, frame, offload);
        self.drain();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.stack.handle_timeout(now);
        self.drain();
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        for _ in 0..10_000 {
            let more = self.stack.poll_transmit(now, &mut self.batch);
            let none = self.batch.is_empty();
            for frame in self.batch.frames() {
                let mut bytes = frame.head.to_vec();
                frame
                    .rest
                    .iter()
                    .for_each(|slice| bytes.extend_from_slice(slice));
                out.push(bytes);
            }
            self.batch.clear();
            self.drain();
            if none || !more {
                return;
            }
        }
        panic!("poll_transmit never comes to an end");
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, timer) = self.stack.poll_timeout()?;
        Some((at, show::timer(timer)))
    }

    fn call(&mut self, now: Instant, connection: &Connection<'_>, words: &[&str]) -> Answer {
        let answer = match *words {
            ["listen"] => self.listen(80),
            ["listen", port] => self.listen(port.parse().map_err(|_| "a port is a number")?),
            ["unlisten"] => {
                for listener in std::mem::take(&mut self.listeners).into_values() {
                    self.stack.tcp_unlisten(now, listener);
                }
                Ok("ok".to_owned())
            }
            ["connect"] => self.connect(now, connection, None),
            // What is written before the SYN goes out goes with it, where Fast Open allows.
            ["connect", "write", len] => {
                let answer = self.connect(now, connection, None)?;
                let len = len.parse().map_err(|_| "how many bytes?")?;
                match answer.as_str() {
                    "ok" => self.write(now, connection, len),
                    _ => Ok(answer),
                }
            }
            ["connect", "from", port] => self.connect(now, connection, Some(port)),
            ["accept"] => self.accept(now, connection),
            ["write", len] => {
                let len = len.parse().map_err(|_| "how many bytes?")?;
                self.write(now, connection, len)
            }
            ["write-urgent", len] => {
                let len = len.parse().map_err(|_| "how many bytes?")?;
                self.write_urgent(now, connection, len)
            }
            ["urgent"] => {
                let key = self.key(connection)?;
                let left = self.stack.tcp_urgent(key);
                Ok(left.map_or("none".to_owned(), |left| left.to_string()))
            }
            ["read"] => self.read(now, connection, usize::MAX),
            ["read", len] => {
                let len = len.parse().map_err(|_| "how many bytes?")?;
                self.read(now, connection, len)
            }
            ["finish" | "stop" | "close" | "abort"] => self.finish(now, connection, words[0]),
            ["set", name, ..] => {
                let key = self.key(connection)?;
                let setting = config::setting(name, &words[2..])?;
                match self.stack.tcp_configure(now, key, setting) {
                    Ok(()) => Ok("ok".to_owned()),
                    Err(error) => Ok(format!("error {error:?}")),
                }
            }
            _ => match self.udp_call(now, words) {
                Some(answer) => answer,
                None => self.ask(now, connection, words),
            },
        };
        self.drain();
        answer
    }
}
