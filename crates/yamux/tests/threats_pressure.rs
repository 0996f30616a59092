//! Both sides write all they can through a pipe that holds one packet (threat C11), readers that do
//! not read, and resets in a storm: everything else has to go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;

use bytes::Bytes;
use proof::frames::{DATA, FIRST_WINDOW, Frame, PING, RST, SYN, UPDATE};
use proof::{Peer, pattern, quiet};
use std::collections::BTreeMap;
use weir_core::budget::Budget;
use weir_core::time::{Duration, Instant};
use weir_sim::{
    Chunking, Limits, OnPipe, PipeConfig, PipeInput, PipePeer, Sim, World, check_named, split,
};
use weir_yamux::{
    CarrierState, Config, Event, Input, Key, ReadError, Role, Session, TransmitBuf, WriteError,
};

/// What an application that never rests does with one stream.
struct Flow {
    id: u32,
    written: u64,
    read: u64,
    finished: bool,
    ended: bool,
    /// Nobody reads it here.
    ignored: bool,
}

/// A session whose application keeps every stream full and reads whatever comes.
struct Busy {
    client: bool,
    session: Session,
    batch: TransmitBuf,
    /// What waits in the batch.
    encoded: Bytes,
    flows: BTreeMap<Key, Flow>,
    to_open: u32,
    each: u64,
    /// The first stream that comes in is not read.
    ignores_first: bool,
    bytes_read: u64,
    memory: Budget,
}

impl Busy {
    fn new(role: Role, config: Config, seed: u64, streams: u32, each: u64) -> Busy {
        let memory = Budget::root("process", config.session_budget);
        let rng = split(seed, role.name());
        let session = Session::new(role, config, &memory, rng, Instant::ZERO).unwrap();
        Busy {
            client: role == Role::Client,
            session,
            batch: TransmitBuf::new(),
            encoded: Bytes::new(),
            flows: BTreeMap::new(),
            to_open: streams,
            each,
            ignores_first: false,
            bytes_read: 0,
            memory,
        }
    }

    fn take(&mut self, key: Key, ignored: bool) {
        let id = self.session.stream_id(key).unwrap();
        let flow = Flow {
            id,
            written: 0,
            read: 0,
            finished: false,
            ended: false,
            ignored,
        };
        self.flows.insert(key, flow);
    }

    fn write(&mut self, now: Instant, key: Key) {
        let flow = self.flows.get_mut(&key).unwrap();
        let name = u64::from(flow.id) * 2 + u64::from(self.client);
        while flow.written < self.each {
            let count = (self.each - flow.written).min(50_000);
            let count = usize::try_from(count).unwrap();
            let mut data = Bytes::from(pattern::bytes(name, flow.written, count));
            match self.session.write(now, key, &mut data) {
                Ok(taken) => flow.written += taken as u64,
                Err(WriteError::Blocked) => return,
                Err(error) => panic!("stream {}: {error}", flow.id),
            }
        }
        if !std::mem::replace(&mut flow.finished, true) {
            self.session.finish(now, key);
        }
    }

    fn read(&mut self, now: Instant, key: Key) {
        let flow = self.flows.get_mut(&key).unwrap();
        let name = u64::from(flow.id) * 2 + u64::from(!self.client);
        while !flow.ignored && !flow.ended {
            match self.session.read(now, key, usize::MAX) {
                Ok(Some(bytes)) => {
                    assert_eq!(pattern::first_difference(name, flow.read, &bytes), None);
                    flow.read += bytes.len() as u64;
                    self.bytes_read += bytes.len() as u64;
                }
                Ok(None) => {
                    assert_eq!(flow.read, self.each);
                    flow.ended = true;
                }
                Err(ReadError::Blocked) => return,
                Err(error) => panic!("stream {}: {error}", flow.id),
            }
        }
    }
}

impl PipePeer for Busy {
    fn handle_input(&mut self, now: Instant, input: PipeInput) {
        let PipeInput::Data(bytes) = input else {
            panic!("the pipe stays")
        };
        self.session.handle_input(now, Input::Data(bytes));
        assert!(self.memory.used() <= self.memory.limit());
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<Bytes>) {
        if self.encoded.is_empty() {
            self.session.poll_transmit(now, &mut self.batch);
            self.encoded = Bytes::from(proof::peer::copy_all(&self.batch));
        }
        // A packet at a time: the session hears of each that the pipe took.
        let piece = self.encoded.split_to(self.encoded.len().min(1_400));
        self.batch.advance(piece.len());
        if !piece.is_empty() {
            out.push(piece);
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.session.poll_timeout().map(|(at, _)| (at, "session"))
    }

    fn handle_blocked(&mut self, now: Instant, blocked: bool) {
        let state = if blocked {
            CarrierState::Blocked
        } else {
            CarrierState::Ready
        };
        self.session.handle_carrier(now, state);
    }

    fn step(&mut self, now: Instant) {
        while self.to_open > 0 {
            let Ok(key) = self.session.open(now) else {
                break;
            };
            self.to_open -= 1;
            self.take(key, false);
            self.write(now, key);
            self.read(now, key);
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Readable(key) => self.read(now, key),
                Event::Writable(key) => self.write(now, key),
                Event::Acceptable => {
                    while let Some(key) = self.session.accept(now) {
                        let ignored = std::mem::take(&mut self.ignores_first);
                        self.take(key, ignored);
                        self.write(now, key);
                        self.read(now, key);
                    }
                }
                Event::OpenReady | Event::Opened(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn is_done(&self) -> bool {
        let over = |flow: &Flow| flow.finished && (flow.ended || flow.ignored);
        self.to_open == 0 && !self.flows.is_empty() && self.flows.values().all(over)
    }

    fn progress(&self) -> u64 {
        self.bytes_read
    }
}

/// Runs two busy sessions; fails when no byte arrives for `stall`.
fn run(seed: u64, pipe: PipeConfig, sides: (Busy, Busy), stall: Duration) -> Sim<OnPipe<Busy>> {
    let mut world = World::new(seed);
    let (a, b) = world.pipe(pipe);
    let mut sim = Sim::new(world);
    let client = sim.add(OnPipe::new(a, sides.0));
    let server = sim.add(OnPipe::new(b, sides.1));
    sim.own_end(client, a);
    sim.own_end(server, b);
    let until = Instant::ZERO + Duration::from_secs(3_000);
    sim.run(&Limits {
        until,
        steps: 20_000_000,
        stall: Some(stall),
    })
    .unwrap();
    sim
}

/// A pipe that holds one packet, with a round trip of 20 ms.
fn one_packet() -> PipeConfig {
    PipeConfig {
        rate: Some(100_000_000),
        delay: Duration::from_millis(10),
        buffer: 1_400,
        segment: 1_400,
        chunking: Chunking::Random {
            low: 1,
            high: 1_400,
        },
        ..PipeConfig::default()
    }
}

#[test]
fn c11_both_sides_saturated_over_a_pipe_of_one_packet() {
    // Y31, Y32, Y33: some stream's bytes arrive within a few round trips at any time.
    check_named(
        "c11_both_sides_saturated_over_a_pipe_of_one_packet",
        6,
        |seed| {
            let config = Config {
                session_budget: 8 << 20,
                ..quiet()
            };
            let side = |role| Busy::new(role, config.clone(), seed, 1 + (seed % 6) as u32, 150_000);
            let stall = Duration::from_millis(20 * 12);
            run(
                seed,
                one_packet(),
                (side(Role::Client), side(Role::Server)),
                stall,
            );
        },
    );
}

#[test]
fn c11_windows_and_budgets_at_their_least_under_saturation() {
    // Y33: windows that close, memory that runs out for writers, and still an end.
    check_named(
        "c11_windows_and_budgets_at_their_least_under_saturation",
        6,
        |seed| {
            let config = Config {
                max_receive_window: 256 * 1024,
                session_budget: 4 << 20,
                send_buffer: 65_536,
                ..quiet()
            };
            let side = |role| Busy::new(role, config.clone(), seed, 3, 700_000);
            let pipe = PipeConfig {
                rate: Some(50_000_000),
                buffer: 20_000,
                ..one_packet()
            };
            let stall = Duration::from_millis(20 * 20);
            run(seed, pipe, (side(Role::Client), side(Role::Server)), stall);
        },
    );
}

#[test]
fn c11_a_stream_that_nobody_reads_stalls_itself_alone() {
    // Y30: the others move within a few round trips all the time.
    check_named(
        "c11_a_stream_that_nobody_reads_stalls_itself_alone",
        4,
        |seed| {
            let config = Config {
                session_budget: 8 << 20,
                ..quiet()
            };
            let client = Busy::new(Role::Client, config.clone(), seed, 4, 200_000);
            let mut server = Busy::new(Role::Server, config.clone(), seed, 1, 200_000);
            server.ignores_first = true;
            let pipe = PipeConfig {
                buffer: 30_000,
                ..one_packet()
            };
            let sim = run(seed, pipe, (client, server), Duration::from_millis(20 * 12));
            let ignored = sim.actors()[1]
                .peer
                .flows
                .values()
                .filter(|flow| flow.ignored)
                .count();
            assert_eq!(ignored, 1);
        },
    );
}

#[test]
fn c11_input_is_taken_while_output_is_blocked() {
    // Y33: reading never waits for writing. The carrier takes nothing for 20 s.
    let mut peer = Peer::of_server();
    peer.send(&[Frame::data(SYN, 1, b"x")]);
    let key = peer.accept().unwrap();
    peer.write(key, &vec![1; 400_000]).unwrap();
    peer.session.handle_carrier(peer.now, CarrierState::Blocked);
    let mut received = 1;
    while received < usize::try_from(FIRST_WINDOW).unwrap() {
        let count = 10_000.min(usize::try_from(FIRST_WINDOW).unwrap() - received);
        peer.send(&[Frame::data(0, 1, &vec![2; count]), Frame::ping(SYN, 5)]);
        received += count;
        peer.pass(Duration::from_millis(500));
    }
    let (bytes, _) = peer.read_all(key);
    assert_eq!(bytes.len(), received);
    peer.session.handle_carrier(peer.now, CarrierState::Ready);
    let out = peer.recv();
    // Y32: what the peer waits for stands before the bulk.
    let at = |kind: u8| out.iter().position(|frame| frame.kind == kind).unwrap();
    assert!(at(PING) < at(DATA) && at(UPDATE) < at(DATA), "{out:?}");
}

#[test]
fn c9_resets_in_a_storm_are_limited_and_hurt_nobody_else() {
    // Rapid reset, in the disguises that a reset loop can take; a stream that was there before
    // goes on until the session is ended.
    type Burst = fn(u32) -> Vec<Frame>;
    let disguises: [(&str, Burst); 4] = [
        ("SYN, RST", |id| {
            vec![Frame::update(SYN, id, 0), Frame::update(RST, id, 0)]
        }),
        ("SYN with data, RST", |id| {
            vec![Frame::data(SYN, id, b"GET"), Frame::data(RST, id, b"")]
        }),
        ("SYN and RST in one", |id| {
            vec![Frame::update(SYN | RST, id, 0)]
        }),
        ("RST with data", |id| {
            vec![Frame::update(SYN, id, 0), Frame::data(RST, id, b"more")]
        }),
    ];
    for (name, burst) in disguises {
        let config = Config {
            reset_burst: 50,
            reset_rate: 10,
            ..quiet()
        };
        let mut peer = Peer::of(Role::Server, config);
        peer.send(&[Frame::update(SYN, 1, 0)]);
        let old = peer.accept().unwrap();
        let mut reached = 0;
        for n in 1..10_000 {
            if peer.closed().is_some() {
                break;
            }
            peer.send(&burst(1 + 2 * n));
            while let Some(key) = peer.accept() {
                reached += 1;
                peer.session.release(peer.now, key, weir_yamux::Half::Send);
                peer.session.release(peer.now, key, weir_yamux::Half::Recv);
            }
            if peer.closed().is_none() {
                assert!(peer.write(old, b"x").is_ok(), "{name}");
            }
            peer.recv();
        }
        assert!(peer.session.stats().streams_accepted <= 52, "{name}");
        assert!(
            reached <= 52,
            "{name}: {reached} streams reached the application"
        );
        let reason = peer
            .closed()
            .unwrap_or_else(|| panic!("{name}: goes on for ever"));
        assert!(reason.to_string().contains("reset"), "{reason}");
    }
}

#[test]
fn c4_slow_readers_hold_what_their_windows_are_and_no_more() {
    // Y28, Y30: a hundred streams, each read a byte at a time, and one that is read at once.
    let mut peer = Peer::of(
        Role::Server,
        Config {
            session_budget: 64 << 20,
            ..quiet()
        },
    );
    let window = usize::try_from(FIRST_WINDOW).unwrap();
    for n in 0..100 {
        peer.send(&[Frame::data(SYN, 1 + 2 * n, &vec![1; window])]);
    }
    let slow: Vec<Key> = std::iter::from_fn(|| peer.accept()).collect();
    peer.recv();
    peer.send(&[Frame::data(SYN, 1_001, b"")]);
    let fast = peer.accept().unwrap();
    peer.recv();
    let full = 100 * FIRST_WINDOW;
    for _ in 0..50 {
        for key in &slow {
            assert_eq!(
                peer.session.read(peer.now, *key, 1).unwrap().unwrap().len(),
                1
            );
        }
        let used = peer.session.stats().memory_used;
        assert!(used <= full + 101 * 1_000, "{used} bytes");
        peer.send(&[Frame::data(0, 1_001, &[3; 20_000])]);
        assert_eq!(peer.read_all(fast).0.len(), 20_000);
        // No update is sent for a byte; those of the fast one come.
        let said = peer.recv();
        assert!(
            said.iter()
                .all(|frame| frame.kind == PING || frame.id == 1_001),
            "{said:?}"
        );
    }
    assert!(peer.session.stats().streams_shed == 0);
}
