//! Transfers between two stacks over paths that lose, reorder and delay: how fast they are, and what
//! was sent for nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panic"
)]

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, between, rng_from_seed};
use weir_core::time::{Duration, Instant};
use weir_sim::{EventQueue, LinkConfig, LinkModel, Packet, QueueLimit};
use weir_tcpip::{
    Capabilities, Cidr, Config, ConnectConfig, InterfaceConfig, InterfaceId, ListenConfig, Medium,
    Offload, ReadError, Stack, TcpConfig, TcpKey, TcpStats, TransmitBuf,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An IP packet.
#[derive(Clone)]
struct Frame(Vec<u8>);

impl Packet for Frame {
    fn wire_len(&self) -> usize {
        self.0.len()
    }

    fn corrupt(&mut self, rng: &mut Rng) {
        let at = between(rng, 0, self.0.len() as u64 - 1) as usize;
        self.0[at] ^= 1 << between(rng, 0, 7);
    }
}

struct Host {
    stack: Stack,
    interface: InterfaceId,
    out: TransmitBuf,
}

impl Host {
    fn new(n: u8, mtu: u16) -> Host {
        let budget = Budget::unlimited("test");
        let rng = rng_from_seed(u64::from(n));
        let mut stack = Stack::new(Config::default(), &budget, rng, Instant::ZERO).unwrap();
        let capabilities = Capabilities::plain(Medium::Ip, mtu);
        let interface = InterfaceConfig {
            addresses: vec![Cidr::new(address(n), 24).unwrap()],
            dad: false,
            ..InterfaceConfig::new("test0", capabilities)
        };
        let interface = stack.add_interface(Instant::ZERO, interface).unwrap();
        Host {
            stack,
            interface,
            out: TransmitBuf::new(),
        }
    }
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

/// Two hosts and a link each way. Host 0 sends.
struct Path {
    now: Instant,
    hosts: [Host; 2],
    links: [LinkModel; 2],
    arrivals: EventQueue<(usize, Frame)>,
    /// Nothing arrives before this.
    held_until: Instant,
}

impl Path {
    fn new(there: LinkConfig, back: LinkConfig, seed: u64) -> Path {
        let link = |config, seed| LinkModel::new(config, rng_from_seed(seed)).unwrap();
        Path {
            now: Instant::from_millis(1000),
            hosts: [Host::new(1, 1500), Host::new(2, 1500)],
            links: [link(there, seed * 2), link(back, seed * 2 + 1)],
            arrivals: EventQueue::new(),
            held_until: Instant::ZERO,
        }
    }

    /// Whatever is on its way, or sent before `until`, arrives then and not before.
    fn hold(&mut self, until: Instant) {
        self.held_until = until;
        let mut late = Vec::new();
        while let Some((at, arrival)) = self.arrivals.pop() {
            late.push((at.max(until), arrival));
        }
        for (at, arrival) in late {
            self.arrivals.push(at, arrival);
        }
    }

    /// All that happens now.
    fn turn(&mut self) {
        while let Some((_, (to, frame))) = self.arrivals.pop_due(self.now) {
            let host = &mut self.hosts[to];
            let (stack, interface) = (&mut host.stack, host.interface);
            stack.handle_input(self.now, interface, &frame.0, Offload::default());
            self.flush(to);
        }
        for n in 0..2 {
            let stack = &mut self.hosts[n].stack;
            if stack.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                stack.handle_timeout(self.now);
            }
            self.flush(n);
        }
    }

    fn flush(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        loop {
            while host.stack.poll_event().is_some() {}
            host.out.clear();
            let more = host.stack.poll_transmit(self.now, &mut host.out);
            for frame in host.out.frames() {
                let mut bytes = frame.head.to_vec();
                frame
                    .rest
                    .iter()
                    .for_each(|part| bytes.extend_from_slice(part));
                let (arrivals, held) = (&mut self.arrivals, self.held_until);
                let _ = self.links[n].offer(self.now, Frame(bytes), |at, frame| {
                    arrivals.push(at.max(held), (1 - n, frame));
                });
            }
            if !more {
                return;
            }
        }
    }

    /// The next moment at which anything happens.
    fn next(&self) -> Option<Instant> {
        let timers = self
            .hosts
            .iter()
            .filter_map(|host| host.stack.poll_timeout());
        timers
            .map(|(at, _)| at)
            .chain(self.arrivals.next_time())
            .min()
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        while let Some(next) = self.next().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
    }

    fn connect(&mut self, tcp: &TcpConfig) -> (TcpKey, TcpKey) {
        let to = SocketAddr::new(address(2), 80);
        let listen = ListenConfig {
            tcp: tcp.clone(),
            ..ListenConfig::default()
        };
        let listener = self.hosts[1].stack.tcp_listen(to, listen).unwrap();
        let connect = ConnectConfig {
            tcp: tcp.clone(),
            ..ConnectConfig::default()
        };
        let a = self.hosts[0]
            .stack
            .tcp_connect(self.now, to, connect)
            .unwrap();
        for _ in 0..1000 {
            self.run(ms(10));
            if let Some(b) = self.hosts[1].stack.tcp_accept(self.now, listener) {
                return (a, b);
            }
        }
        panic!("no connection");
    }
}

/// What a transfer came to.
#[derive(Debug)]
struct Outcome {
    /// Bits per second of payload.
    rate: f64,
    /// The longest time without a byte for the reader.
    stall: Duration,
    timeouts: u64,
    stats: TcpStats,
    /// Packets that the link lost.
    dropped: u64,
}

/// Sends `total` bytes from host 0 to host 1.
fn transfer(path: &mut Path, tcp: &TcpConfig, total: usize) -> Outcome {
    let (a, b) = path.connect(tcp);
    let begun = path.now;
    let bytes: Vec<u8> = (0..total).map(|n| (n * 7 + n / 251) as u8).collect();
    let mut left = Bytes::from(bytes.clone());
    let (mut got, mut last, mut stall) = (0, path.now, Duration::ZERO);
    while got < total {
        while !left.is_empty()
            && path.hosts[0]
                .stack
                .tcp_write(path.now, a, &mut left)
                .is_ok()
        {}
        path.run(ms(1));
        loop {
            match path.hosts[1].stack.tcp_read(path.now, b, usize::MAX) {
                Ok(Some(read)) => {
                    assert!(read[..] == bytes[got..got + read.len()], "the bytes differ");
                    got += read.len();
                    stall = stall.max(path.now.saturating_duration_since(last));
                    last = path.now;
                }
                Err(ReadError::Blocked) => break,
                other => panic!("{other:?} after {got}"),
            }
        }
        let waited = path.now.saturating_duration_since(last);
        assert!(waited < Duration::from_secs(70), "stands still at {got}");
    }
    let took = path.now.saturating_duration_since(begun);
    let counters = path.hosts[0].stack.stats().counters;
    let stats = path.links[0].stats();
    Outcome {
        rate: total as f64 * 8.0 / took.as_secs_f64(),
        stall,
        timeouts: counters.tcp_timeouts,
        stats: path.hosts[0].stack.tcp_stats(path.now, a).unwrap(),
        dropped: stats.dropped_total(),
    }
}

fn with(algorithm: Algorithm) -> TcpConfig {
    TcpConfig {
        congestion: algorithm,
        pacing: true,
        ..TcpConfig::default()
    }
}

/// A bottleneck of `mbits` with a round trip of `rtt` milliseconds and a queue of `queue` of its
/// product.
fn bottleneck(mbits: u64, rtt: u64, queue: f64) -> LinkConfig {
    let mut link = LinkConfig::bottleneck(mbits * 1_000_000, ms(rtt) / 2);
    let bytes = ((link.queue.bytes as f64) * queue) as usize;
    link.queue = QueueLimit {
        bytes: bytes.max(15_000),
        packets: usize::MAX,
    };
    link
}

/// The share of the link that payload can have at most: 1448 of 1500 bytes.
const PAYLOAD: f64 = 1448.0 / 1500.0;

// T159: a clean link is used to nine tenths, slow start included; nothing is sent in vain.
#[test]
fn a_clean_link_is_filled() {
    for algorithm in Algorithm::ALL {
        for (mbits, rtt) in [(10, 20), (100, 20), (1000, 1)] {
            let back = LinkConfig::with_delay(ms(rtt) / 2);
            let mut path = Path::new(bottleneck(mbits, rtt, 1.0), back, 1);
            let total = mbits as usize * 1_000_000 / 8 * if mbits > 100 { 1 } else { 3 };
            let outcome = transfer(&mut path, &with(algorithm), total);
            let share = outcome.rate / (mbits as f64 * 1e6 * PAYLOAD);
            assert!(
                share > 0.9,
                "{algorithm} {mbits} {rtt}: {share} {outcome:?}"
            );
            assert_eq!(outcome.timeouts, 0, "{algorithm} {mbits} {rtt}");
            assert_eq!(outcome.stats.retransmissions, outcome.dropped);
        }
    }
}

// T158, T103, T106: a hundredth lost: every loss is found without a time-out, nothing else is sent
// again, and nothing stands still for longer than a repair takes.
#[test]
fn single_losses_are_repaired_without_time_outs() {
    for algorithm in Algorithm::ALL {
        for seed in 0..4 {
            let mut there = bottleneck(100, 20, 1.0);
            there.loss = 0.01;
            let mut path = Path::new(there, LinkConfig::with_delay(ms(10)), seed);
            let outcome = transfer(&mut path, &with(algorithm), 4_000_000);
            assert_eq!(outcome.timeouts, 0, "{algorithm} {outcome:?}");
            assert_eq!(outcome.stats.retransmissions, outcome.dropped);
            assert!(outcome.stall < ms(150), "{algorithm} {outcome:?}");
        }
    }
}

// T94: a model of the path does not take a hundredth lost for congestion.
#[test]
fn bbr_keeps_its_rate_where_a_hundredth_is_lost() {
    let mut there = bottleneck(100, 20, 1.0);
    there.loss = 0.01;
    let mut path = Path::new(there, LinkConfig::with_delay(ms(10)), 1);
    let outcome = transfer(&mut path, &with(Algorithm::Bbr), 40_000_000);
    assert!(outcome.rate > 75e6, "{outcome:?}");
}

// T107: reordering by a quarter of a round trip costs hardly anything.
#[test]
fn reordering_costs_little() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let run = |reorder| {
            // Nothing is dropped: what is sent again is sent in vain.
            let mut there = bottleneck(100, 20, 20.0);
            (there.reorder, there.reorder_by) = (reorder, ms(5));
            let mut path = Path::new(there, LinkConfig::with_delay(ms(10)), 1);
            transfer(&mut path, &with(algorithm), 12_500_000)
        };
        let (clean, reordered) = (run(0.0), run(0.1));
        assert_eq!((clean.stats.retransmissions, reordered.dropped), (0, 0));
        let share = reordered.rate / clean.rate;
        assert!(share > 0.9, "{algorithm} {share} {reordered:?}");
        // Until the first reports of duplicates have widened the reordering window.
        let vain = reordered.stats.retransmissions;
        assert!(vain < 40, "{algorithm} {vain}");
    }
}

// T158: loss, reordering, duplication and corruption of a tenth each, both ways.
#[test]
fn a_bad_path_is_survived() {
    for seed in 0..6 {
        let bad = LinkConfig {
            loss: 0.1,
            reorder: 0.1,
            duplicate: 0.1,
            corrupt: 0.1,
            ..bottleneck(20, 20, 1.0)
        };
        let mut path = Path::new(bad.clone(), bad, seed);
        let algorithm = Algorithm::ALL[seed as usize % 3];
        let outcome = transfer(&mut path, &with(algorithm), 300_000);
        assert!(
            outcome.stall < Duration::from_secs(20),
            "{algorithm} {outcome:?}"
        );
    }
}

// T158: without SACK and timestamps as well.
#[test]
fn a_bad_path_is_survived_without_options() {
    for seed in 0..3 {
        let bad = LinkConfig {
            loss: 0.03,
            reorder: 0.03,
            duplicate: 0.03,
            ..bottleneck(20, 20, 1.0)
        };
        let mut path = Path::new(bad.clone(), bad, seed);
        let plain = TcpConfig {
            sack: false,
            timestamps: false,
            ..with(Algorithm::NewReno)
        };
        let outcome = transfer(&mut path, &plain, 300_000);
        assert!(outcome.stall < Duration::from_secs(20), "{outcome:?}");
    }
}

// T81: the path falls silent for longer than the time-out and then delivers everything: the window
// is not lost by it.
#[test]
fn a_pause_does_not_cost_the_window() {
    let mut path = Path::new(bottleneck(100, 20, 2.0), LinkConfig::with_delay(ms(10)), 1);
    let (a, b) = path.connect(&with(Algorithm::Cubic));
    let mut data = Bytes::from(vec![7; 8_000_000]);
    let mut before = None;
    for tick in 0..1000 {
        while path.hosts[0]
            .stack
            .tcp_write(path.now, a, &mut data)
            .is_ok_and(|_| !data.is_empty())
        {}
        if tick == 300 {
            before = path.hosts[0].stack.tcp_stats(path.now, a);
            path.hold(path.now + ms(500));
        }
        path.run(ms(1));
        while path.hosts[1]
            .stack
            .tcp_read(path.now, b, usize::MAX)
            .is_ok_and(|read| read.is_some())
        {}
    }
    let (before, after) = (
        before.unwrap(),
        path.hosts[0].stack.tcp_stats(path.now, a).unwrap(),
    );
    let counters = path.hosts[0].stack.stats().counters;
    assert!(counters.tcp_timeouts > 0);
    assert!(
        after.congestion_window * 2 > before.congestion_window,
        "{before:?} {after:?}"
    );
}

// T159: two flows over one link share it within 2 to 1.
#[test]
fn two_flows_share() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let mut path = Path::new(bottleneck(50, 20, 1.0), LinkConfig::with_delay(ms(10)), 3);
        let flows = [
            path.connect(&with(algorithm)),
            second(&mut path, &with(algorithm)),
        ];
        let mut got = [0usize; 2];
        for tick in 0..20_000 {
            for (n, (a, b)) in flows.into_iter().enumerate() {
                let mut data = Bytes::from_static(&[1; 65_536]);
                let _ = path.hosts[0].stack.tcp_write(path.now, a, &mut data);
                while let Ok(Some(read)) = path.hosts[1].stack.tcp_read(path.now, b, usize::MAX) {
                    // The first seconds are the time in which they find each other.
                    got[n] += if tick > 3000 { read.len() } else { 0 };
                }
            }
            path.run(ms(1));
        }
        let (less, more) = (got[0].min(got[1]), got[0].max(got[1]));
        assert!(more <= 2 * less, "{algorithm} {got:?}");
        assert!(
            (less + more) as f64 * 8.0 / 17.0 > 0.85 * 50e6 * PAYLOAD,
            "{algorithm} {got:?}"
        );
    }
}

/// One more connection, on another port.
fn second(path: &mut Path, tcp: &TcpConfig) -> (TcpKey, TcpKey) {
    let to = SocketAddr::new(address(2), 81);
    let listen = ListenConfig {
        tcp: tcp.clone(),
        ..ListenConfig::default()
    };
    let listener = path.hosts[1].stack.tcp_listen(to, listen).unwrap();
    let connect = ConnectConfig {
        tcp: tcp.clone(),
        ..ConnectConfig::default()
    };
    let a = path.hosts[0]
        .stack
        .tcp_connect(path.now, to, connect)
        .unwrap();
    path.run(ms(100));
    (
        a,
        path.hosts[1].stack.tcp_accept(path.now, listener).unwrap(),
    )
}

// T135: a path that drops what is larger than it takes, without a word, both after the handshake.
#[test]
fn a_black_hole_is_left_behind() {
    for mtu in [1385, 1280, 600] {
        let there = LinkConfig {
            mtu,
            ..LinkConfig::with_delay(ms(20))
        };
        let mut path = Path::new(there, LinkConfig::with_delay(ms(20)), 1);
        let outcome = transfer(&mut path, &with(Algorithm::Cubic), 400_000);
        assert!(outcome.stall < Duration::from_secs(6), "{mtu} {outcome:?}");
        assert!(usize::from(outcome.stats.path_mtu) <= mtu);
    }
}

// T157: requests and answers on a clean path: no probe, no time-out, one round trip each.
#[test]
fn requests_are_not_probed_in_vain() {
    let mut path = Path::new(bottleneck(100, 20, 1.0), LinkConfig::with_delay(ms(10)), 5);
    let (a, b) = path.connect(&with(Algorithm::Cubic));
    for _ in 0..200 {
        let begun = path.now;
        let message = Bytes::from_static(&[1; 1024]);
        path.hosts[0]
            .stack
            .tcp_write(path.now, a, &mut message.clone())
            .unwrap();
        let mut back = 0;
        while back < message.len() {
            path.run(Duration::from_micros(200));
            while let Ok(Some(_)) = path.hosts[1].stack.tcp_read(path.now, b, usize::MAX) {
                path.hosts[1]
                    .stack
                    .tcp_write(path.now, b, &mut message.clone())
                    .unwrap();
            }
            while let Ok(Some(read)) = path.hosts[0].stack.tcp_read(path.now, a, usize::MAX) {
                back += read.len();
            }
        }
        assert!(path.now.saturating_duration_since(begun) < ms(22));
    }
    for host in &path.hosts {
        let counters = host.stack.stats().counters;
        let sent_in_vain = (
            counters.tcp_timeouts,
            counters.tcp_loss_probes,
            counters.retrans_segs,
        );
        assert_eq!(sent_in_vain, (0, 0, 0));
    }
}
