//! Byte pipes: order, cutting, back-pressure, ends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking"
)]

use bytes::Bytes;
use weir_core::rng::{below, between};
use weir_core::time::{Duration, Instant};
use weir_sim::{
    Chunking, Cut, CutAt, Ending, Flow, PipeConfig, PipeEnd, Read, Schedule, Wake, World,
    WriteError, check, split,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn data(text: &'static str) -> Read {
    Read::Data(Bytes::from_static(text.as_bytes()))
}

/// Everything that can be read now, and how it ended, if it did.
fn drain(world: &mut World, end: PipeEnd) -> (Vec<u8>, Read) {
    let mut bytes = Vec::new();
    loop {
        match world.read(end, usize::MAX) {
            Read::Data(data) => bytes.extend_from_slice(&data),
            other => return (bytes, other),
        }
    }
}

#[test]
fn bytes_arrive_after_delay_and_transmission() {
    let mut world = World::new(1);
    // 1,000 bytes a second, segments of 100 bytes.
    let config = PipeConfig {
        rate: Some(8_000),
        delay: ms(50),
        segment: 100,
        ..PipeConfig::default()
    };
    let (a, b) = world.pipe(config);
    assert_eq!(world.write(a, &mut Bytes::from(vec![7; 250])), Ok(250));
    let mut seen = Vec::new();
    while let Some(wake) = world.step() {
        assert_eq!(wake, Wake::Readable(b));
        let Read::Data(data) = world.read(b, 1_000) else {
            panic!("nothing to read")
        };
        seen.push((world.now(), data.len()));
    }
    assert_eq!(seen, [(at(150), 100), (at(250), 100), (at(300), 50)]);
}

#[test]
fn every_byte_arrives_once_and_in_order_in_every_cut() {
    check(40, |seed| {
        let mut world = World::new(seed);
        let mut rng = world.rng("test");
        let chunking = match seed % 4 {
            0 => Chunking::Coalesced,
            1 => Chunking::AsWritten,
            2 => Chunking::Fixed(1 + below(&mut rng, 9) as usize),
            _ => Chunking::Random { low: 1, high: 50 },
        };
        let config = PipeConfig {
            rate: Some(between(&mut rng, 8_000, 8_000_000)),
            delay: Duration::from_micros(below(&mut rng, 50_000)),
            jitter: ms(below(&mut rng, 5)),
            buffer: between(&mut rng, 1, 2_000) as usize,
            segment: between(&mut rng, 1, 500) as usize,
            chunking,
            ..PipeConfig::default()
        };
        let (a, b) = world.pipe(config.clone());
        let sent: Vec<u8> = (0..10_000u32).map(|n| (n * 7 + n / 256) as u8).collect();
        let mut left = Bytes::from(sent.clone());
        let mut received = Vec::new();
        loop {
            while !left.is_empty() && world.write(a, &mut left).unwrap() > 0 {}
            if left.is_empty() {
                world.finish(a);
            }
            assert!(world.outstanding(a) <= config.buffer);
            assert!(world.readable(b) <= config.buffer);
            // A reader that takes a few bytes now and then.
            if below(&mut rng, 3) == 0 {
                world.step();
                continue;
            }
            match world.read(b, 100) {
                Read::Data(data) => received.extend_from_slice(&data),
                Read::End => break,
                Read::Blocked => assert!(world.step().is_some(), "stuck: {world:?}"),
                Read::Reset => panic!("nobody resets"),
            }
        }
        assert!(
            received == sent,
            "{} of {} bytes, or others",
            received.len(),
            sent.len()
        );
        assert_eq!(world.flow_stats(a).read, 10_000);
    });
}

#[test]
fn reads_are_cut_as_asked() {
    let cases: [(Chunking, &[&'static str]); 4] = [
        (Chunking::Coalesced, &["abcdefgh"]),
        (Chunking::AsWritten, &["abc", "defgh"]),
        (Chunking::Fixed(3), &["abc", "def", "gh"]),
        (Chunking::Random { low: 5, high: 5 }, &["abcde", "fgh"]),
    ];
    for (chunking, expected) in cases {
        let mut world = World::new(1);
        let (a, b) = world.pipe(PipeConfig {
            chunking,
            ..PipeConfig::default()
        });
        for part in ["abc", "defgh"] {
            world.write(a, &mut text(part)).unwrap();
        }
        world.advance_to(Instant::ZERO);
        for part in expected {
            assert_eq!(world.read(b, 1_000), data(part), "{chunking:?}");
        }
        assert_eq!(world.read(b, 1_000), Read::Blocked);
    }
}

#[test]
fn a_slow_reader_stops_the_writer() {
    let mut world = World::new(1);
    let (a, b) = world.pipe(PipeConfig {
        buffer: 4,
        delay: ms(10),
        ..PipeConfig::default()
    });
    let mut left = text("abcdefgh");
    assert_eq!(world.write(a, &mut left), Ok(4));
    assert_eq!(world.write(a, &mut left), Ok(0), "the pipe is full");
    assert_eq!(world.step(), Some(Wake::Readable(b)));
    world.advance_to(at(1_000));
    assert_eq!(world.room(a), 0, "arriving makes no room");
    assert_eq!(world.read(b, 3), data("abc"));
    assert_eq!(world.room(a), 0, "the writer does not know yet");
    assert_eq!(world.step(), Some(Wake::Writable(a)));
    assert_eq!((world.now(), world.room(a)), (at(1_010), 3));
    assert_eq!(world.write(a, &mut left), Ok(3));
    assert_eq!(left, "h");
    assert_eq!(world.flow_stats(a).peak, 4);
    assert_eq!(world.flow_stats(a).refused, 3);
    // The other direction has its own room.
    assert_eq!(world.write(b, &mut text("back")), Ok(4));
}

#[test]
fn throughput_is_one_buffer_a_round_trip() {
    let mut world = World::new(1);
    let (a, b) = world.pipe(PipeConfig {
        buffer: 1_000,
        delay: ms(50),
        ..PipeConfig::default()
    });
    let mut left = Bytes::from(vec![0; 10_000]);
    let mut received = 0;
    while received < 10_000 {
        let _ = world.write(a, &mut left);
        assert!(world.step().is_some());
        received += drain(&mut world, b).0.len();
    }
    // Nine round trips to fill the pipe again, and the last way there.
    assert_eq!(world.now(), at(950));
}

#[test]
fn half_close_leaves_the_other_direction() {
    let mut world = World::new(1);
    let (a, b) = world.pipe(PipeConfig {
        delay: ms(5),
        ..PipeConfig::default()
    });
    world.write(a, &mut text("request")).unwrap();
    world.finish(a);
    assert_eq!(world.write(a, &mut text("x")), Err(WriteError::Finished));
    world.advance_to(at(5));
    assert_eq!(drain(&mut world, b), (b"request".to_vec(), Read::End));
    world.write(b, &mut text("answer")).unwrap();
    world.finish(b);
    world.advance_to(at(10));
    assert_eq!(drain(&mut world, a), (b"answer".to_vec(), Read::End));
    assert_eq!(world.step(), None);
}

#[test]
fn an_abort_reaches_the_peer_after_the_delay() {
    let mut world = World::new(1);
    let (a, b) = world.pipe(PipeConfig {
        delay: ms(5),
        ..PipeConfig::default()
    });
    world.write(a, &mut text("lost with the reset")).unwrap();
    world.write(b, &mut text("never read")).unwrap();
    world.abort(a);
    assert_eq!(world.read(a, 100), Read::Reset);
    assert_eq!(world.write(a, &mut text("x")), Err(WriteError::Reset));
    world.advance_to(at(4));
    assert_eq!(world.write(b, &mut text("not known yet")), Ok(13));
    world.advance_to(at(5));
    assert_eq!(world.read(b, 100), Read::Reset);
    assert_eq!(world.write(b, &mut text("x")), Err(WriteError::Reset));
}

#[test]
fn a_pipe_is_cut_at_a_time() {
    for (how, seen, error) in [
        (
            Ending::Eof,
            (b"early".to_vec(), Read::End),
            WriteError::Closed,
        ),
        (Ending::Reset, (Vec::new(), Read::Reset), WriteError::Reset),
    ] {
        let mut world = World::new(1);
        let cut = Some(Cut {
            when: CutAt::Time(at(20)),
            how,
        });
        let (a, b) = world.pipe(PipeConfig {
            delay: ms(10),
            cut,
            ..PipeConfig::default()
        });
        world.write(a, &mut text("early")).unwrap();
        world.advance_to(at(15));
        world.write(a, &mut text("too late")).unwrap();
        let mut wakes = Vec::new();
        while let Some(wake) = world.step_until(at(20)) {
            wakes.push(wake);
        }
        let told = [
            Wake::Readable(a),
            Wake::Writable(a),
            Wake::Readable(b),
            Wake::Writable(b),
        ];
        assert!(told.iter().all(|wake| wakes.contains(wake)), "{wakes:?}");
        assert_eq!(world.now(), at(20));
        assert_eq!(drain(&mut world, b), seen);
        assert_eq!(world.write(a, &mut text("x")), Err(error));
        assert_eq!(world.write(b, &mut text("x")), Err(error));
    }
}

#[test]
fn a_pipe_is_cut_after_a_byte() {
    for limit in 0..=10u64 {
        let mut world = World::new(1);
        let cut = Some(Cut {
            when: CutAt::Bytes(limit),
            how: Ending::Eof,
        });
        let forward = PipeConfig {
            cut,
            ..PipeConfig::default()
        };
        let (a, b) = world.pipe_of(forward, PipeConfig::default());
        for part in ["012", "3456", "789"] {
            world.write(a, &mut text(part)).unwrap();
        }
        world.advance_to(Instant::ZERO);
        let expected = b"0123456789"[..limit as usize].to_vec();
        assert_eq!(drain(&mut world, b), (expected, Read::End));
        assert_eq!(drain(&mut world, a), (Vec::new(), Read::End));
    }
}

#[test]
fn a_stall_delays_and_loses_nothing() {
    let mut world = World::new(1);
    let stalls = Schedule::once(at(100), ms(900));
    let (a, b) = world.pipe(PipeConfig {
        delay: ms(10),
        stalls,
        ..PipeConfig::default()
    });
    for time in [80, 95, 500] {
        world.advance_to(at(time));
        world.write(a, &mut text(".")).unwrap();
    }
    world.advance_to(at(999));
    assert_eq!(drain(&mut world, b).0.len(), 1);
    world.advance_to(at(1_000));
    assert_eq!(drain(&mut world, b).0.len(), 2);
}

#[test]
fn large_pieces_pass_without_a_copy() {
    let mut world = World::new(1);
    let (a, b) = world.pipe(PipeConfig::default());
    let payload = Bytes::from(vec![1; 10_000]);
    world.write(a, &mut payload.clone()).unwrap();
    world.advance_to(Instant::ZERO);
    let Read::Data(read) = world.read(b, 100_000) else {
        panic!("nothing to read")
    };
    assert_eq!(read.as_ptr(), payload.as_ptr());
}

#[test]
#[should_panic(expected = "a pipe's configuration: buffer is 0, which must be at least 1")]
fn a_pipe_without_room_is_refused() {
    World::new(1).pipe(PipeConfig {
        buffer: 0,
        ..PipeConfig::default()
    });
}

#[test]
fn loss_is_delay_to_those_who_read() {
    let config = PipeConfig {
        loss: 0.2,
        recovery: ms(30),
        delay: ms(10),
        segment: 10,
        ..PipeConfig::default()
    };
    let mut flow = Flow::new(config, split(1, "lossy")).unwrap();
    let mut written = Bytes::from(vec![7; 1_000]);
    assert_eq!(flow.write(at(0), &mut written), Ok(1_000));
    let mut arrivals = Vec::new();
    flow.advance(at(100_000), |at, _| arrivals.push(at));
    assert_eq!(arrivals.len(), 100);
    assert!(arrivals.is_sorted());
    // With 100 segments and one in five lost, some are lost once, and one or more twice.
    assert!(
        arrivals
            .iter()
            .all(|at| (at.as_nanos() - 10_000_000) % 30_000_000 == 0)
    );
    assert!(*arrivals.last().unwrap() >= at(70), "{:?}", arrivals.last());
    assert_eq!(
        flow.read(at(100_000), 2_000),
        Read::Data(Bytes::from(vec![7; 1_000]))
    );
}
