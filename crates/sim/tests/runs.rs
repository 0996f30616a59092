//! The runner: goals, deadlocks, budgets, checks, replay, size.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking"
)]

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use weir_core::rng::{Rng, below};
use weir_core::time::{Duration, Instant};
use weir_sim::{
    Actor, Chunking, Datagram, DatagramPeer, Failure, Limits, LinkConfig, NodeId, OnDatagrams,
    PipeClose, PipeConfig, PipeInput, PipePeer, RunError, Sim, Transmit, World, check,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

/// Sends `to_send` bytes in messages of random size, a message every `pace`, and finishes; wants
/// `to_receive` bytes and the end.
struct Talker {
    rng: Rng,
    to_send: usize,
    to_receive: usize,
    pace: Duration,
    next: Option<Instant>,
    ready: bool,
    received: usize,
    ended: bool,
    refused: u64,
}

impl Talker {
    fn new(rng: Rng, to_send: usize, to_receive: usize, pace: Duration) -> Self {
        Self {
            rng,
            to_send,
            to_receive,
            pace,
            next: (to_send > 0).then_some(Instant::ZERO),
            ready: false,
            received: 0,
            ended: false,
            refused: 0,
        }
    }
}

impl PipePeer for Talker {
    fn handle_input(&mut self, _now: Instant, input: PipeInput) {
        match input {
            PipeInput::Data(data) => self.received += data.len(),
            PipeInput::End | PipeInput::Reset => self.ended = true,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.ready = true;
        self.next = Some(now + self.pace);
    }

    fn poll_transmit(&mut self, _now: Instant, out: &mut Vec<Bytes>) {
        if std::mem::take(&mut self.ready) && self.to_send > 0 {
            let size = (1 + below(&mut self.rng, 1_000) as usize).min(self.to_send);
            self.to_send -= size;
            out.push(Bytes::from(vec![0; size]));
            if self.to_send == 0 {
                self.next = None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.next.map(|at| (at, "message"))
    }

    fn handle_blocked(&mut self, _now: Instant, blocked: bool) {
        self.refused += u64::from(blocked);
    }

    fn wants_close(&self) -> Option<PipeClose> {
        (self.to_send == 0).then_some(PipeClose::Finish)
    }

    fn is_done(&self) -> bool {
        self.to_send == 0 && self.received == self.to_receive && self.ended
    }

    fn progress(&self) -> u64 {
        self.received as u64
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {} of {}", self.received, self.to_receive)
    }
}

fn talk(
    seed: u64,
    config: PipeConfig,
    bytes: usize,
    expected: usize,
) -> Sim<weir_sim::OnPipe<Talker>> {
    let mut world = World::new(seed);
    let ends = world.pipe(config);
    let client = Talker::new(world.rng("client"), bytes, bytes, ms(10));
    let server = Talker::new(world.rng("server"), bytes, expected, ms(7));
    let mut sim = Sim::new(world);
    sim.add_pair(ends, (client, server));
    sim
}

#[test]
fn a_run_ends_when_all_are_done() {
    let mut sim = talk(
        1,
        PipeConfig {
            delay: ms(20),
            ..PipeConfig::default()
        },
        10_000,
        10_000,
    );
    let report = sim.run(&Limits::default()).unwrap();
    assert!(report.at > at(100) && report.at < at(2_000), "{report:?}");
    assert!(
        sim.actors()
            .iter()
            .all(|actor| actor.peer.received == 10_000)
    );
    assert_eq!(report.digest, sim.world().digest());
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let config = PipeConfig {
        rate: Some(1_000_000),
        delay: ms(20),
        jitter: ms(5),
        chunking: Chunking::Random { low: 1, high: 700 },
        buffer: 3_000,
        ..PipeConfig::default()
    };
    let run = |seed| {
        talk(seed, config.clone(), 50_000, 50_000)
            .run(&Limits::default())
            .unwrap()
    };
    let reports: Vec<_> = (0..10).map(run).collect();
    for (seed, report) in reports.iter().enumerate() {
        assert_eq!(run(seed as u64), *report);
        assert!(
            reports
                .iter()
                .filter(|other| other.digest == report.digest)
                .count()
                == 1
        );
    }
}

fn failure(error: RunError) -> (Failure, Instant) {
    (error.failure, error.at)
}

#[test]
fn a_deadlock_is_found_and_described() {
    // The server waits for a byte more than the client sends.
    let mut sim = talk(1, PipeConfig::default(), 1_000, 1_001);
    let error = sim.run(&Limits::default()).unwrap_err();
    assert_eq!(error.failure, Failure::Deadlock);
    let text = format!("{error:?}");
    assert!(
        text.starts_with("deadlock: nothing is on its way, no timer is set"),
        "{text}"
    );
    assert!(
        text.contains("pipe 0 a>b: written 1000, arrived 1000, read 1000"),
        "{text}"
    );
    assert!(text.contains("1 of 2 actors not done"), "{text}");
    assert!(
        text.contains("actor 1: timer None received 1000 of 1001"),
        "{text}"
    );
}

#[test]
fn budgets_of_steps_and_time_hold() {
    let run = |limits: &Limits| {
        talk(1, PipeConfig::default(), 100_000, 100_000)
            .run(limits)
            .unwrap_err()
    };
    let steps = run(&Limits {
        steps: 10,
        ..Limits::default()
    });
    assert_eq!(steps.failure, Failure::Steps);
    let time = run(&Limits {
        until: at(55),
        ..Limits::default()
    });
    assert_eq!(failure(time), (Failure::Time, at(50)));
}

/// An actor that wants nothing but its timer, of which there are some bad kinds.
struct Ticker {
    next: Option<Instant>,
    period: Duration,
    ticks: u64,
    progresses: bool,
}

impl Actor for Ticker {
    fn on_timeout(&mut self, world: &mut World) {
        self.ticks += 1;
        self.next = Some(world.now() + self.period);
    }

    fn turn(&mut self, _world: &mut World) {}

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.next.map(|at| (at, "tick"))
    }

    fn is_done(&self) -> bool {
        false
    }

    fn progress(&self) -> u64 {
        if self.progresses { self.ticks } else { 0 }
    }
}

fn ticker(period: Duration, progresses: bool) -> Sim<Ticker> {
    let mut sim = Sim::new(World::new(1));
    sim.add(Ticker {
        next: Some(at(5)),
        period,
        ticks: 0,
        progresses,
    });
    sim
}

#[test]
fn a_timer_that_never_moves_on_is_found() {
    let error = ticker(Duration::ZERO, true)
        .run(&Limits::default())
        .unwrap_err();
    assert_eq!(
        failure(error),
        (Failure::TimerStorm { timer: "tick" }, at(5))
    );
}

#[test]
fn a_run_without_progress_is_found() {
    let limits = Limits {
        stall: Some(ms(100)),
        until: at(1_000),
        ..Limits::default()
    };
    assert_eq!(
        failure(ticker(ms(10), false).run(&limits).unwrap_err()),
        (Failure::Stalled, at(105))
    );
    assert_eq!(
        failure(ticker(ms(10), true).run(&limits).unwrap_err()),
        (Failure::Time, at(995))
    );
}

#[test]
fn time_passes_by_request() {
    let mut sim = ticker(ms(10), true);
    sim.run_for(ms(100)).unwrap();
    assert_eq!((sim.world().now(), sim.actors()[0].ticks), (at(100), 10));
    sim.run_until(&Limits::default(), |sim| sim.actors()[0].ticks == 20)
        .unwrap();
    assert_eq!(sim.world().now(), at(195));
}

#[test]
fn a_check_sees_every_turn_and_fails_the_run() {
    let mut sim = talk(
        1,
        PipeConfig {
            delay: ms(20),
            ..PipeConfig::default()
        },
        10_000,
        10_000,
    );
    let turns = Rc::new(RefCell::new(0));
    let count = Rc::clone(&turns);
    sim.check_each_turn(move |turn| {
        *count.borrow_mut() += 1;
        let [client, server] = turn.actors else {
            return Err("two actors".to_owned());
        };
        let sent = 10_000 - client.peer.to_send;
        // A rule that holds: nobody receives more than was sent.
        if server.peer.received > sent {
            return Err(format!("{} of {sent} bytes received", server.peer.received));
        }
        // And one that does not.
        if server.peer.received > 5_000 {
            return Err("more than half".to_owned());
        }
        Ok(())
    });
    let error = sim.run(&Limits::default()).unwrap_err();
    assert_eq!(error.failure, Failure::Check("more than half".to_owned()));
    assert_eq!(error.actor.map(|actor| actor.index()), Some(1));
    assert!(
        error.to_string().starts_with("more than half (at "),
        "{error}"
    );
    assert!(*turns.borrow() > 10);
}

#[test]
fn back_pressure_reaches_the_engine() {
    let config = PipeConfig {
        rate: Some(80_000),
        buffer: 1_000,
        ..PipeConfig::default()
    };
    let mut sim = talk(3, config, 20_000, 20_000);
    let report = sim.run(&Limits::default()).unwrap();
    // 20,000 bytes at 10,000 bytes a second.
    assert!(report.at >= at(2_000), "{report:?}");
    assert!(sim.actors().iter().all(|actor| actor.peer.refused > 0));
}

#[test]
fn an_engine_sees_that_a_full_pipe_still_moves() {
    // Messages are many times what the pipe holds. Each time it takes a part, the engine learns of
    // it: a write timeout measures from the last byte taken, not from the first one refused.
    let config = PipeConfig {
        buffer: 10,
        delay: ms(1),
        ..PipeConfig::default()
    };
    let mut sim = talk(3, config, 2_000, 2_000);
    sim.run(&Limits::default()).unwrap();
    for actor in sim.actors() {
        let refused = actor.peer.refused;
        assert!((190..=200).contains(&refused), "{refused}");
    }
}

/// Sends numbered datagrams in batches and answers nothing.
#[derive(Default)]
struct Sender {
    batches: Vec<Transmit>,
    received: Vec<(Instant, usize)>,
    expected: usize,
}

impl DatagramPeer for Sender {
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.received.push((now, datagram.payload.len()));
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        self.batches.pop()
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    fn is_done(&self) -> bool {
        self.received.len() == self.expected
    }
}

#[test]
fn batches_are_cut_into_datagrams_and_paced() {
    let mut world = World::new(1);
    let (from, to) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
    let client = world.node("client", &["10.0.0.1".parse().unwrap()]);
    let server = world.node("server", &["10.0.0.2".parse().unwrap()]);
    world.connect(client, server, LinkConfig::with_delay(ms(10)));
    let batch = Datagram::new(from, to, Bytes::from(vec![0; 2_500]));
    let paced = Transmit {
        batch,
        segment_size: Some(1_200),
        release_at: Some(at(5)),
    };
    let small = Transmit::from(Datagram::new(from, to, Bytes::from(vec![0; 10])));
    let mut sim = Sim::new(world);
    let peer = Sender {
        batches: vec![paced, small],
        ..Sender::default()
    };
    let sender = sim.add(OnDatagrams::new(client, peer));
    sim.own_node(sender, client);
    let receiver = sim.add(OnDatagrams::new(
        server,
        Sender {
            expected: 4,
            ..Sender::default()
        },
    ));
    sim.own_node(receiver, server);
    sim.run(&Limits::default()).unwrap();
    let received = &sim.actor(receiver).peer.received;
    assert_eq!(
        *received,
        [
            (at(10), 10),
            (at(15), 1_200),
            (at(15), 1_200),
            (at(15), 100)
        ]
    );
}

/// Counts datagrams, and those it was given since its last turn.
#[derive(Default)]
struct Batches {
    waiting: usize,
    seen: Vec<(Instant, usize)>,
}

impl Actor for Batches {
    fn on_datagram(&mut self, _world: &mut World, _node: NodeId, _datagram: Datagram) {
        self.waiting += 1;
    }

    fn turn(&mut self, world: &mut World) {
        if self.waiting > 0 {
            self.seen
                .push((world.now(), std::mem::take(&mut self.waiting)));
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    fn is_done(&self) -> bool {
        self.seen.iter().map(|(_, count)| count).sum::<usize>() == 101
    }
}

#[test]
fn datagrams_of_one_instant_come_as_a_batch() {
    let mut world = World::new(1);
    let (from, to) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
    let client = world.node("client", &["10.0.0.1".parse().unwrap()]);
    let server = world.node("server", &["10.0.0.2".parse().unwrap()]);
    world.connect(client, server, LinkConfig::with_delay(ms(10)));
    for _ in 0..100 {
        world.send(client, Datagram::new(from, to, Bytes::from_static(b".")));
    }
    world.send_at(
        at(1),
        client,
        Datagram::new(from, to, Bytes::from_static(b".")),
    );
    let mut sim = Sim::new(world);
    let receiver = sim.add(Batches::default());
    sim.own_node(receiver, server);
    sim.run(&Limits::default()).unwrap();
    assert_eq!(
        sim.actor(receiver).seen,
        [(at(10), 64), (at(10), 36), (at(11), 1)]
    );
}

#[test]
fn a_thousand_pipes_over_a_minute() {
    let mut world = World::new(1);
    let config = PipeConfig {
        delay: ms(30),
        jitter: ms(5),
        ..PipeConfig::default()
    };
    let mut sim = {
        let pipes: Vec<_> = (0..1_000).map(|_| world.pipe(config.clone())).collect();
        let talkers: Vec<_> = (0..1_000)
            .map(|n| {
                let rng = |side: &str| world.rng(&format!("{side} {n}"));
                // About 240 messages of 500 bytes each way, one every 250 ms.
                let talker = |side| Talker::new(rng(side), 120_000, 120_000, ms(250));
                (talker("client"), talker("server"))
            })
            .collect();
        let mut sim = Sim::new(world);
        for (ends, peers) in pipes.into_iter().zip(talkers) {
            sim.add_pair(ends, peers);
        }
        sim
    };
    let report = sim.run(&Limits::default()).unwrap();
    assert!(
        report.at > at(50_000) && report.at < at(80_000),
        "{:?}",
        report.at
    );
    assert!(report.steps > 900_000, "{}", report.steps);
}

#[test]
fn a_run_in_many_seeds_keeps_its_promises() {
    check(50, |seed| {
        let mut world = World::new(seed);
        let mut rng = world.rng("shape");
        let config = PipeConfig::rough(&mut rng);
        let ends = world.pipe(config.clone());
        let talkers = ["client", "server"]
            .map(|name| Talker::new(world.rng(name), 20_000, 20_000, Duration::from_micros(500)));
        let mut sim = Sim::new(world);
        let [client, server] = talkers;
        sim.add_pair(ends, (client, server));
        sim.check_each_turn(move |turn| {
            let fits = [ends.0, ends.1]
                .into_iter()
                .all(|end| turn.world.outstanding(end) <= config.buffer);
            if fits {
                Ok(())
            } else {
                Err("more in the pipe than fits".to_owned())
            }
        });
        sim.run(&Limits::default()).unwrap();
        sim.run_idle(&Limits::default()).unwrap();
    });
}
