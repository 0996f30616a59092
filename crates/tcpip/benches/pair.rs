//! Both ends of a connection in memory on one core: what the stack itself costs.
//!
//! `bulk` writes and reads 256 KiB a turn, with the device's checksums and with its own; `rr` is 1 KiB
//! there and back; `open_close` is a whole connection's life; `rr_idle` has 10,000 others idle.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark fails by panic"
)]

use std::net::{Ipv4Addr, SocketAddr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::time::{Duration, Instant};
use weir_tcpip::{
    Capabilities, Checksum, Cidr, Config, ConnectConfig, Event, InterfaceConfig, InterfaceId,
    ListenConfig, ListenerKey, Medium, Segmentation, Stack, TcpConfig, TcpKey, TransmitBuf,
};

const MESSAGE: usize = 1024;

struct Side {
    stack: Stack,
    interface: InterfaceId,
    batch: TransmitBuf,
}

struct Pair {
    sides: [Side; 2],
    listener: ListenerKey,
    begun: std::time::Instant,
    is_offloaded: bool,
    gathered: Vec<u8>,
}

fn address(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, if side == 0 { 1 } else { 2 })
}

fn tcp() -> TcpConfig {
    TcpConfig {
        nodelay: true,
        time_wait: Duration::ZERO,
        ..TcpConfig::default()
    }
}

impl Pair {
    fn new(mtu: u16, is_offloaded: bool, cuts: bool) -> Pair {
        let mut capabilities = Capabilities::plain(Medium::Ip, mtu);
        capabilities.checksum_offload = is_offloaded;
        if cuts {
            capabilities.segmentation = Segmentation {
                tcp4: true,
                tcp6: true,
                udp: true,
                max_bytes: 65_535,
            };
        }
        let memory = Budget::root("bench", 1 << 32);
        let side = |at: usize| {
            let config = Config {
                memory: 1 << 31,
                ..Config::default()
            };
            let rng = rng_from_seed(if at == 0 { 0 } else { 1 });
            let mut stack = Stack::new(config, &memory, rng, Instant::ZERO).unwrap();
            let interface = InterfaceConfig {
                addresses: vec![Cidr::new(address(at).into(), 24).unwrap()],
                ..InterfaceConfig::new("memory", capabilities)
            };
            let interface = stack.add_interface(Instant::ZERO, interface).unwrap();
            Side {
                stack,
                interface,
                batch: TransmitBuf::new(),
            }
        };
        let mut sides = [side(0), side(1)];
        let listen = ListenConfig {
            tcp: tcp(),
            ..ListenConfig::default()
        };
        let [_, server] = &mut sides;
        let to = SocketAddr::from((address(1), 80));
        let listener = server.stack.tcp_listen(to, listen).unwrap();
        Pair {
            sides,
            listener,
            begun: std::time::Instant::now(),
            is_offloaded,
            gathered: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap();
        Instant::from_nanos(nanos + 1)
    }

    /// What one side sends goes to the other. False when it was nothing.
    fn hand_over(&mut self, now: Instant, side: usize) -> bool {
        let [a, b] = &mut self.sides;
        let (from, to) = if side == 0 { (a, b) } else { (b, a) };
        from.batch.clear();
        from.stack.poll_transmit(now, &mut from.batch);
        for frame in from.batch.frames() {
            let mut offload = frame.offload;
            if self.is_offloaded {
                offload.checksum = Checksum::Verified;
            }
            if frame.rest.is_empty() {
                to.stack
                    .handle_input(now, to.interface, frame.head, offload);
                continue;
            }
            // As a device gathers it.
            self.gathered.clear();
            self.gathered.extend_from_slice(frame.head);
            for part in frame.rest {
                self.gathered.extend_from_slice(part);
            }
            to.stack
                .handle_input(now, to.interface, &self.gathered, offload);
        }
        !from.batch.is_empty()
    }

    fn turn(&mut self, side: usize) {
        let now = self.now();
        for side in &mut self.sides {
            if side.stack.poll_timeout().is_some_and(|(at, _)| at <= now) {
                side.stack.handle_timeout(now);
            }
        }
        while self.hand_over(now, side) {}
        self.drain();
    }

    fn settle(&mut self) {
        let now = self.now();
        while self.hand_over(now, 0) | self.hand_over(now, 1) {}
        self.drain();
    }

    fn drain(&mut self) {
        for side in &mut self.sides {
            while let Some(event) = side.stack.poll_event() {
                std::hint::black_box::<Event>(event);
            }
        }
    }

    fn open(&mut self) -> (TcpKey, TcpKey) {
        let now = self.now();
        let config = ConnectConfig {
            tcp: tcp(),
            ..ConnectConfig::default()
        };
        let to = SocketAddr::from((address(1), 80));
        let [client, _] = &mut self.sides;
        let a = client.stack.tcp_connect(now, to, config).unwrap();
        self.settle();
        let [_, server] = &mut self.sides;
        let b = server.stack.tcp_accept(now, self.listener).unwrap();
        (a, b)
    }

    fn close(&mut self, (a, b): (TcpKey, TcpKey)) {
        let now = self.now();
        self.sides[0].stack.tcp_close(now, a);
        self.settle();
        self.sides[1].stack.tcp_close(now, b);
        self.settle();
    }

    fn write(&mut self, side: usize, key: TcpKey, bytes: &[u8]) -> usize {
        let now = self.now();
        let stack = &mut self.sides[side].stack;
        stack.tcp_write_slice(now, key, bytes).unwrap_or(0)
    }

    fn read(&mut self, side: usize, key: TcpKey, max: usize) -> usize {
        let now = self.now();
        let read = self.sides[side].stack.tcp_read(now, key, max);
        read.ok().flatten().map_or(0, |bytes| bytes.len())
    }

    /// 1 KiB from one side to the other.
    fn pass(&mut self, from: usize, at: TcpKey, to: TcpKey, message: &[u8; MESSAGE]) {
        self.write(from, at, message);
        self.turn(from);
        let mut got = self.read(1 - from, to, MESSAGE);
        while got < MESSAGE {
            self.settle();
            got += self.read(1 - from, to, MESSAGE - got);
        }
    }
}

fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("bulk");
    let chunk = vec![7; 256 * 1024];
    let kinds = [
        ("1500", 1500, false, false),
        ("1500_checksums_offloaded", 1500, true, false),
        ("65535", 65_535, false, false),
        ("65535_checksums_offloaded", 65_535, true, false),
        ("1500_segmentation_offloaded", 1500, true, true),
    ];
    for (name, mtu, offloaded, cuts) in kinds {
        let mut pair = Pair::new(mtu, offloaded, cuts);
        let (a, b) = pair.open();
        let mut moved = |wanted: usize| {
            let mut bytes = 0;
            while bytes < wanted {
                while pair.write(0, a, &chunk) > 0 {}
                pair.turn(0);
                loop {
                    match pair.read(1, b, chunk.len()) {
                        0 => break,
                        count => bytes += count,
                    }
                }
                pair.turn(1);
            }
        };
        // Slow start is over then.
        moved(64 << 20);
        group.throughput(Throughput::Bytes(16 << 20));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| moved(16 << 20));
        });
    }
    group.finish();
}

fn request_and_answer(c: &mut Criterion) {
    let message = [7; MESSAGE];
    for (name, idle) in [("rr", 0), ("rr_idle_10000", 10_000)] {
        let mut pair = Pair::new(1500, true, false);
        let exchange = |pair: &mut Pair, (a, b)| {
            pair.pass(0, a, b, &message);
            pair.pass(1, b, a, &message);
        };
        for _ in 0..idle {
            let ends = pair.open();
            exchange(&mut pair, ends);
        }
        let ends = pair.open();
        c.bench_function(name, |bencher| {
            bencher.iter(|| exchange(&mut pair, ends));
        });
    }
}

fn open_close(c: &mut Criterion) {
    let mut pair = Pair::new(1500, true, false);
    c.bench_function("open_close", |bencher| {
        bencher.iter(|| {
            let ends = pair.open();
            pair.close(ends);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = bulk, request_and_answer, open_close
}
criterion_main!(benches);
