//! A stack and a smoltcp interface on one wire, in memory and on a clock of the test's.
#![allow(unreachable_pub, reason = "a module of one test binary")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod peer;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use bytes::Bytes;
pub use peer::BUFFER;
use peer::Smol;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use weir_core::rng::{Rng, between, chance, rng_from_seed};
use weir_core::time::{Duration, Instant};
use weir_tcpip::{
    Config, ConnectConfig, ListenConfig, ListenerKey, Medium, Offload, ReadError, State,
    SynCookies, TcpKey, TransmitBuf,
};

use crate::pair::{End, MILLI, Wire, address};

/// When a wire that loses much has let everything through at last: both peers wait up to a minute
/// before they send again.
const LONG: Duration = Duration::from_secs(900);

/// One of the two hosts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The stack under test, host 1.
    Weir,
    /// smoltcp, host 2.
    Smol,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Weir, Side::Smol];

    pub fn other(self) -> Side {
        match self {
            Side::Weir => Side::Smol,
            Side::Smol => Side::Weir,
        }
    }
}

/// What the wire does to packets, each in thousandths of them.
#[derive(Copy, Clone, Default)]
pub struct Faults {
    pub loss: u64,
    pub late: u64,
    pub twice: u64,
    /// One bit behind the first 40 bytes is flipped, where TCP's checksum is the one that covers it.
    pub damage: u64,
}

/// What the two hosts and the wire are like.
#[derive(Copy, Clone)]
pub struct Setup {
    pub v6: bool,
    /// Over Ethernet, with ARP and NDP, or bare IP.
    pub ethernet: bool,
    /// The stack's listener answers every SYN with a cookie.
    pub cookies: bool,
    /// The stack, when it connects, asks for ECN and for a fast-open cookie.
    pub asks: bool,
    pub weir_mtu: u16,
    pub smol_mtu: u16,
    /// smoltcp offers timestamps.
    pub timestamps: bool,
    pub faults: Faults,
    pub seed: u64,
}

impl Setup {
    pub fn new(v6: bool) -> Setup {
        Setup {
            v6,
            ethernet: false,
            cookies: false,
            asks: false,
            weir_mtu: 1500,
            smol_mtu: 1500,
            timestamps: false,
            faults: Faults::default(),
            seed: 1,
        }
    }
}

/// Packets on their way to one host.
#[derive(Default)]
struct Line {
    packets: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    /// Packets put in, those lost among them.
    sent: u64,
    /// The largest of them, in bytes.
    largest: usize,
    first: Vec<u8>,
}

impl Line {
    fn put(&mut self, now: Instant, packet: Vec<u8>, faults: &Faults, rng: &mut Rng) {
        self.largest = self.largest.max(packet.len());
        if self.sent == 0 {
            self.first.clone_from(&packet);
        }
        if chance(rng, faults.loss, 1000) {
            self.sent += 1;
            return;
        }
        let copies = 1 + u64::from(chance(rng, faults.twice, 1000));
        for _ in 0..copies {
            self.sent += 1;
            let late = chance(rng, faults.late, 1000);
            let more = if late { between(rng, 1, 5) } else { 0 };
            let at = now + MILLI * u32::try_from(1 + more).unwrap();
            let mut packet = packet.clone();
            if chance(rng, faults.damage, 1000) {
                let last = packet.len() - 1;
                let byte = between(rng, 40, u64::try_from(last).unwrap().max(40));
                let byte = usize::try_from(byte).unwrap().min(last);
                packet[byte] ^= 1 << between(rng, 0, 7);
            }
            self.packets.push(Reverse((at, self.sent, packet)));
        }
    }

    fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.next().is_some_and(|at| at <= now);
        due.then(|| self.packets.pop().unwrap().0.2)
    }

    fn next(&self) -> Option<Instant> {
        self.packets.peek().map(|first| first.0.0)
    }
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Broken,
}

/// Both ends of a connection.
#[derive(Copy, Clone)]
pub struct Conn {
    pub key: TcpKey,
    pub handle: SocketHandle,
}

pub struct World {
    pub weir: End,
    pub smol: Smol,
    pub now: Instant,
    pub v6: bool,
    asks: bool,
    listener: ListenerKey,
    faults: Faults,
    rng: Rng,
    to_weir: Line,
    to_smol: Line,
    out: TransmitBuf,
}

impl World {
    pub fn new(setup: &Setup) -> World {
        let wire = Wire {
            mtu: setup.weir_mtu,
            v6: setup.v6,
            config: Config {
                syn_cookies: if setup.cookies {
                    SynCookies::Always
                } else {
                    SynCookies::default()
                },
                ..Config::default()
            },
            medium: if setup.ethernet {
                Medium::Ethernet
            } else {
                Medium::Ip
            },
            ..Wire::default()
        };
        let mut weir = End::new(&wire, 1);
        let here = SocketAddr::new(address(setup.v6, 1), 80);
        let listener = weir.stack.tcp_listen(here, ListenConfig::default());
        let there = address(setup.v6, 2);
        World {
            weir,
            smol: Smol::new(there, setup),
            now: Instant::from_millis(1000),
            v6: setup.v6,
            asks: setup.asks,
            listener: listener.unwrap(),
            faults: setup.faults,
            rng: rng_from_seed(setup.seed),
            to_weir: Line::default(),
            to_smol: Line::default(),
            out: TransmitBuf::new(),
        }
    }

    pub fn at(&self, side: Side, port: u16) -> SocketAddr {
        let n = if side == Side::Weir { 1 } else { 2 };
        SocketAddr::new(address(self.v6, n), port)
    }

    /// How many packets `to` was sent, and the size of the largest.
    pub fn sent(&self, to: Side) -> (u64, usize) {
        let line = match to {
            Side::Weir => &self.to_weir,
            Side::Smol => &self.to_smol,
        };
        (line.sent, line.largest)
    }

    /// The TCP header of the first packet that smoltcp was sent, on bare IP.
    pub fn first_header(&self) -> &[u8] {
        &self.to_smol.first[if self.v6 { 40 } else { 20 }..]
    }

    fn turn_weir(&mut self) {
        while let Some(packet) = self.to_weir.take(self.now) {
            let offload = Offload::default();
            let interface = self.weir.interface;
            let stack = &mut self.weir.stack;
            stack.handle_input(self.now, interface, &packet, offload);
        }
        let stack = &mut self.weir.stack;
        if stack.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            stack.handle_timeout(self.now);
        }
        loop {
            self.out.clear();
            let more = stack.poll_transmit(self.now, &mut self.out);
            for frame in self.out.frames() {
                assert!(frame.rest.is_empty(), "no device without offload gathers");
                let packet = frame.head.to_vec();
                self.to_smol
                    .put(self.now, packet, &self.faults, &mut self.rng);
            }
            if !more {
                break;
            }
        }
        while let Some(event) = stack.poll_event() {
            self.weir.events.push(event);
        }
    }

    fn turn_smol(&mut self) {
        while let Some(packet) = self.to_smol.take(self.now) {
            self.smol.device.inward.push_back(packet);
        }
        self.smol.poll(self.now);
        for packet in self.smol.device.outward.borrow_mut().drain(..) {
            self.to_weir
                .put(self.now, packet, &self.faults, &mut self.rng);
        }
    }

    /// Whatever happens in the next `time`. No packet arrives in the moment in which it was sent, so
    /// that one turn of each is all there is to a moment.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.turn_weir();
            self.turn_smol();
            let timer = self.weir.stack.poll_timeout().map(|(at, _)| at);
            let lines = self.to_weir.next().into_iter().chain(self.to_smol.next());
            let peer = self.smol.next(self.now);
            let next = lines.chain(timer).chain(peer).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            // What asks to be called at once is called a little later: this always ends.
            self.now = next.max(self.now + Duration::from_micros(1));
        }
        self.now = end;
    }

    /// Runs until `done`, and fails when that takes longer than `limit`.
    #[track_caller]
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut World) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now < end, "it does not happen within {limit:?}");
            self.run(MILLI);
        }
    }

    /// A connection that `opener` began, established at both ends.
    #[track_caller]
    pub fn connect(&mut self, opener: Side) -> Conn {
        let (mut key, handle) = match opener {
            Side::Weir => {
                let to = self.at(Side::Smol, 80);
                let handle = self.smol.tcp_socket();
                self.smol.tcp(handle).listen(to).unwrap();
                let mut config = ConnectConfig::default();
                config.tcp.ecn |= self.asks;
                config.tcp.fast_open |= self.asks;
                let key = self.weir.stack.tcp_connect(self.now, to, config);
                (Some(key.unwrap()), handle)
            }
            Side::Smol => (None, self.smol.connect(self.at(Side::Weir, 80))),
        };
        self.until(LONG, |world| {
            let (now, stack) = (world.now, &mut world.weir.stack);
            key = key.or_else(|| stack.tcp_accept(now, world.listener));
            let state = key.and_then(|key| stack.tcp_state(key));
            let peer = world.smol.state(handle);
            state == Some(State::Established) && peer == tcp::State::Established
        });
        let key = key.unwrap();
        Conn { key, handle }
    }

    /// How many bytes of `bytes` there was room for.
    pub fn write(&mut self, side: Side, conn: Conn, bytes: &[u8]) -> usize {
        match side {
            Side::Weir => {
                let stack = &mut self.weir.stack;
                stack
                    .tcp_write_slice(self.now, conn.key, bytes)
                    .unwrap_or(0)
            }
            Side::Smol => self.smol.tcp(conn.handle).send_slice(bytes).unwrap_or(0),
        }
    }

    pub fn read(&mut self, side: Side, conn: Conn) -> Read {
        match side {
            Side::Weir => {
                let read = self.weir.stack.tcp_read(self.now, conn.key, usize::MAX);
                match read {
                    Ok(Some(bytes)) => Read::Bytes(bytes.to_vec()),
                    Ok(None) => Read::End,
                    Err(ReadError::Blocked) => Read::Nothing,
                    Err(_) => Read::Broken,
                }
            }
            Side::Smol => {
                let socket = self.smol.tcp(conn.handle);
                match socket.recv(|data| (data.len(), data.to_vec())) {
                    Ok(bytes) if bytes.is_empty() => Read::Nothing,
                    Ok(bytes) => Read::Bytes(bytes),
                    Err(tcp::RecvError::Finished) => Read::End,
                    Err(tcp::RecvError::InvalidState) => Read::Broken,
                }
            }
        }
    }

    /// `side` sends no more.
    pub fn finish(&mut self, side: Side, conn: Conn) {
        match side {
            Side::Weir => self.weir.stack.tcp_finish(self.now, conn.key),
            Side::Smol => self.smol.tcp(conn.handle).close(),
        }
    }

    /// `side` gives the connection up.
    pub fn abort(&mut self, side: Side, conn: Conn) {
        match side {
            Side::Weir => self.weir.stack.tcp_abort(self.now, conn.key),
            Side::Smol => self.smol.tcp(conn.handle).abort(),
        }
    }

    /// Runs until `side` has read the end of what the other sent, and nothing before it.
    #[track_caller]
    pub fn read_end(&mut self, side: Side, conn: Conn) {
        self.until(LONG, |world| match world.read(side, conn) {
            Read::End => true,
            Read::Nothing => false,
            other => panic!("{side:?} reads {other:?}"),
        });
    }

    /// Ends a connection whose bytes are all read, `first` first, and has both ends forget it.
    #[track_caller]
    pub fn close(&mut self, first: Side, conn: Conn) {
        for side in [first, first.other()] {
            self.finish(side, conn);
            self.read_end(side.other(), conn);
        }
        self.forget(conn);
    }

    /// Waits until both ends are through the closing, and has both forget the connection.
    #[track_caller]
    pub fn forget(&mut self, conn: Conn) {
        self.until(LONG, |world| {
            let state = world.weir.stack.tcp_state(conn.key);
            let peer = world.smol.state(conn.handle);
            matches!(state, Some(State::TimeWait | State::Closed))
                && matches!(peer, tcp::State::TimeWait | tcp::State::Closed)
        });
        self.weir.stack.tcp_close(self.now, conn.key);
        self.until(LONG, |world| {
            world.smol.state(conn.handle) == tcp::State::Closed
        });
        self.smol.sockets.remove(conn.handle);
    }
}

/// Bytes on their way from one end of a connection to the other.
pub struct Transfer {
    from: Side,
    bytes: Bytes,
    written: usize,
    got: usize,
}

impl Transfer {
    pub fn new(from: Side, len: usize) -> Transfer {
        let bytes = crate::pair::pattern(len + 1).slice(usize::from(from == Side::Smol)..);
        let bytes = bytes.slice(..len);
        Transfer {
            from,
            bytes,
            written: 0,
            got: 0,
        }
    }

    /// Writes what there is room for. True when everything is written.
    pub fn write(&mut self, world: &mut World, conn: Conn) -> bool {
        let rest = &self.bytes[self.written..];
        self.written += world.write(self.from, conn, rest);
        self.written == self.bytes.len()
    }

    /// Reads and compares what there is. True when everything arrived.
    pub fn read(&mut self, world: &mut World, conn: Conn) -> bool {
        while self.got < self.bytes.len() {
            match world.read(self.from.other(), conn) {
                Read::Bytes(bytes) => {
                    let end = self.got + bytes.len();
                    let expected = self.bytes.get(self.got..end);
                    let begin = self.got;
                    assert!(expected == Some(&bytes[..]), "bytes differ after {begin}");
                    self.got = end;
                }
                Read::Nothing => break,
                other => panic!("{other:?} after {} bytes", self.got),
            }
        }
        self.got == self.bytes.len()
    }

    /// How many bytes were written.
    pub fn written(&self) -> usize {
        self.written
    }
}

/// Moves `len` bytes each way given, all at once.
#[track_caller]
pub fn move_all(world: &mut World, conn: Conn, ways: &[(Side, usize)]) {
    let transfers = ways.iter().map(|&(from, len)| Transfer::new(from, len));
    let mut transfers: Vec<Transfer> = transfers.collect();
    world.until(LONG, |world| {
        let mut all = true;
        for transfer in &mut transfers {
            transfer.write(world, conn);
            all &= transfer.read(world, conn);
        }
        all
    });
}
