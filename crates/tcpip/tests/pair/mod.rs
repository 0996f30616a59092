//! Two stacks on one wire, in memory and on a clock of the test's.
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
    reason = "a test fails by panic"
)]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_tcpip::{
    Capabilities, Cidr, Config, ConnectConfig, Event, InterfaceConfig, InterfaceId, ListenConfig,
    ListenerKey, Mac, Medium, Offload, ReadError, Segmentation, Stack, TcpKey, TransmitBuf,
};

pub const MILLI: Duration = Duration::from_millis(1);

/// A wire's way to lose frames: false for those that do not arrive.
pub type Filter = Box<dyn FnMut(&[u8]) -> bool>;

/// One host.
pub struct End {
    pub stack: Stack,
    pub budget: Budget,
    pub interface: InterfaceId,
    pub events: Vec<Event>,
    /// Frames that arrive here, and when.
    arriving: VecDeque<(Instant, Vec<u8>, Offload)>,
    out: TransmitBuf,
    /// Frames sent.
    pub sent: u64,
    /// What the wire passes on of what this end sends.
    pub passes: Option<Filter>,
}

/// What an end is made of.
#[derive(Clone)]
pub struct Wire {
    pub medium: Medium,
    pub mtu: u16,
    /// Checksums and segmentation are left to the device, both ways.
    pub offload: bool,
    pub v6: bool,
    pub any_address: bool,
    pub config: Config,
}

impl Default for Wire {
    fn default() -> Wire {
        Wire {
            medium: Medium::Ip,
            mtu: 1500,
            offload: false,
            v6: false,
            any_address: false,
            config: Config::default(),
        }
    }
}

impl Wire {
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::plain(self.medium, self.mtu);
        if self.offload {
            capabilities.checksum_offload = true;
            capabilities.segmentation = Segmentation {
                tcp4: true,
                tcp6: true,
                udp: true,
                max_bytes: 65_535,
            };
        }
        capabilities
    }
}

/// The address of end `n` (1 or 2).
pub fn address(v6: bool, n: u8) -> IpAddr {
    if v6 {
        format!("fd00::{n}").parse().unwrap()
    } else {
        IpAddr::from([10, 0, 0, n])
    }
}

impl End {
    pub fn new(wire: &Wire, n: u8) -> End {
        let budget = Budget::unlimited("test");
        let rng = rng_from_seed(u64::from(n));
        let mut stack = Stack::new(wire.config.clone(), &budget, rng, Instant::ZERO).unwrap();
        let prefix = if wire.v6 { 64 } else { 24 };
        let cidr = Cidr::new(address(wire.v6, n), prefix).unwrap();
        let interface = InterfaceConfig {
            hardware: (wire.medium == Medium::Ethernet).then_some(Mac([2, 0, 0, 0, 0, n])),
            addresses: vec![cidr],
            any_address: wire.any_address,
            dad: false,
            ..InterfaceConfig::new("test0", wire.capabilities())
        };
        let interface = stack.add_interface(Instant::ZERO, interface).unwrap();
        End {
            stack,
            budget,
            interface,
            events: Vec::new(),
            arriving: VecDeque::new(),
            out: TransmitBuf::new(),
            sent: 0,
            passes: None,
        }
    }

    /// Takes what arrived by `now`. True when there was any.
    fn take(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.arriving.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, frame, offload) = self.arriving.pop_front().unwrap();
            self.stack
                .handle_input(now, self.interface, &frame, offload);
            any = true;
        }
        any
    }

    /// Does what is due, and puts what is to be sent onto the wire to `other`. True when anything
    /// happened.
    fn turn(&mut self, now: Instant, delay: Duration, other: &mut End) -> bool {
        let mut any = self.take(now);
        if self.stack.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.stack.handle_timeout(now);
        }
        loop {
            while let Some(event) = self.stack.poll_event() {
                self.events.push(event);
            }
            self.out.clear();
            let more = self.stack.poll_transmit(now, &mut self.out);
            any |= !self.out.is_empty();
            for frame in self.out.frames() {
                self.sent += 1;
                let mut bytes = frame.head.to_vec();
                frame
                    .rest
                    .iter()
                    .for_each(|part| bytes.extend_from_slice(part));
                let passes = self.passes.as_mut().is_none_or(|passes| passes(&bytes));
                if passes {
                    other
                        .arriving
                        .push_back((now + delay, bytes, frame.offload));
                }
            }
            if !more {
                break;
            }
        }
        while let Some(event) = self.stack.poll_event() {
            self.events.push(event);
        }
        any
    }

    fn next(&self) -> Option<Instant> {
        let timer = self.stack.poll_timeout().map(|(at, _)| at);
        let frame = self.arriving.front().map(|(at, ..)| *at);
        timer.into_iter().chain(frame).min()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Reads everything that there is.
    pub fn read_all(&mut self, now: Instant, key: TcpKey) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        loop {
            match self.stack.tcp_read(now, key, usize::MAX) {
                Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                Ok(None) => return (all, true),
                Err(ReadError::Blocked) => return (all, false),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Two hosts.
pub struct Pair {
    pub a: End,
    pub b: End,
    pub now: Instant,
    pub delay: Duration,
    pub v6: bool,
}

impl Pair {
    pub fn new(wire: &Wire) -> Pair {
        Pair::of(wire, wire)
    }

    pub fn of(a: &Wire, b: &Wire) -> Pair {
        Pair {
            a: End::new(a, 1),
            b: End::new(b, 2),
            now: Instant::from_millis(1000),
            delay: MILLI,
            v6: a.v6,
        }
    }

    /// Whatever happens at this moment.
    pub fn turn(&mut self) {
        for _ in 0..100_000 {
            let a = self.a.turn(self.now, self.delay, &mut self.b);
            let b = self.b.turn(self.now, self.delay, &mut self.a);
            if !a && !b {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Whatever happens in the next `time`.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        while let Some(next) = self.a.next().into_iter().chain(self.b.next()).min()
            && next <= end
        {
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
    }

    pub fn at(&self, n: u8, port: u16) -> SocketAddr {
        SocketAddr::new(address(self.v6, n), port)
    }

    /// B listens on port 80.
    pub fn listen(&mut self, config: ListenConfig) -> ListenerKey {
        self.b.stack.tcp_listen(self.at(2, 80), config).unwrap()
    }

    /// A begins a connection to B's port 80.
    pub fn dial(&mut self, config: ConnectConfig) -> TcpKey {
        let to = self.at(2, 80);
        self.a.stack.tcp_connect(self.now, to, config).unwrap()
    }

    /// A connection from A to B, by defaults, established.
    pub fn connected(&mut self) -> (TcpKey, TcpKey) {
        let listener = self.listen(ListenConfig::default());
        let a = self.dial(ConnectConfig::default());
        self.run(10 * MILLI);
        let b = self.b.stack.tcp_accept(self.now, listener).unwrap();
        self.a.take_events();
        self.b.take_events();
        (a, b)
    }

    /// Sends `bytes` from A to B, which reads as it comes, and returns how long it took.
    pub fn bulk(&mut self, a: TcpKey, b: TcpKey, mut bytes: Bytes) -> Duration {
        let begun = self.now;
        let expected = bytes.clone();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            while !bytes.is_empty() && self.a.stack.tcp_write(self.now, a, &mut bytes).is_ok() {}
            self.run(MILLI);
            got.extend_from_slice(&self.b.read_all(self.now, b).0);
            assert!(
                self.now.saturating_duration_since(begun) < Duration::from_secs(300),
                "stands still at {} bytes",
                got.len()
            );
        }
        assert!(got == expected, "the bytes differ");
        self.now.saturating_duration_since(begun)
    }
}

/// Bytes that are nowhere the same.
pub fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|n| (n * 7 + n / 251) as u8)
        .collect::<Vec<u8>>()
        .into()
}
