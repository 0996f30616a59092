//! Hostile peers, by class of threat: malformed input (C1), floods that ask for replies (C3), work
//! out of proportion (C5), tracing as a way in (C10). C2 is the matrix, C4 the caps, C11 the
//! pressure, each in a file of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;

use bytes::Bytes;
use proof::frames::{ACK, DATA, FIN, Frame, GO_AWAY, PING, RST, SYN, UPDATE};
use proof::{Peer, quiet};
use weir_core::budget::Budget;
use weir_core::rng::{Rng, between, fill, rng_from_seed};
use weir_core::time::{Duration, Instant};
use weir_core::trace::Tracer;
use weir_yamux::{Config, Input, Key, Role, Session, TransmitBuf};

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    let last = u64::try_from(from.len()).unwrap() - 1;
    from[usize::try_from(between(rng, 0, last)).unwrap()]
}

/// Whatever came, the session is whole: within its memory, and over for a reason or alive.
#[track_caller]
fn assert_sane(peer: &mut Peer) {
    let used = peer.budget.used();
    let limit = peer.session.stats().memory_limit;
    assert!(used <= limit, "{used} of {limit} bytes");
    let closed = peer.closed().cloned();
    let out = peer.recv();
    let over = out
        .iter()
        .any(|frame| frame.kind == GO_AWAY && frame.length != 0);
    match closed {
        Some(reason) => assert!(!reason.to_string().is_empty()),
        None => assert!(!over, "go-away without an end"),
    }
    peer.events();
}

#[test]
fn c1_random_bytes_as_a_session() {
    // Y54
    for seed in 0..600 {
        let mut rng = rng_from_seed(seed);
        let role = pick(&mut rng, &[Role::Client, Role::Server]);
        let mut peer = Peer::of(role, quiet());
        let mut bytes = vec![0; 600];
        fill(&mut rng, &mut bytes);
        // A header that is right now and then, so that not all ends at the first byte.
        let frames = usize::try_from(between(&mut rng, 0, 8)).unwrap();
        let mut input: Vec<u8> = (0..frames).flat_map(|_| likely(&mut rng).bytes()).collect();
        input.extend(bytes);
        let mut rest = &input[..];
        while !rest.is_empty() {
            let cut = usize::try_from(between(&mut rng, 1, 40))
                .unwrap()
                .min(rest.len());
            let (part, behind) = rest.split_at(cut);
            peer.send_bytes(part);
            rest = behind;
        }
        assert_sane(&mut peer);
        peer.session.handle_input(peer.now, Input::End);
        assert!(peer.closed().is_some());
    }
}

/// A frame as a hostile peer with knowledge of the protocol sends it.
fn likely(rng: &mut Rng) -> Frame {
    let kind = pick(rng, &[DATA, DATA, UPDATE, UPDATE, PING, GO_AWAY]);
    let flags = pick(
        rng,
        &[
            0,
            0,
            SYN,
            SYN,
            ACK,
            FIN,
            RST,
            SYN | FIN,
            SYN | RST,
            15,
            0xfff0,
        ],
    );
    let id = u32::try_from(between(rng, 1, 12)).unwrap();
    let length = u32::try_from(between(rng, 0, 300)).unwrap();
    match kind {
        DATA => Frame::data(flags, id, &vec![7; length as usize]),
        UPDATE => Frame::update(flags, id, pick(rng, &[0, 1, 1 << 16, u32::MAX])),
        PING => Frame::ping(flags, length),
        _ => Frame {
            flags,
            ..Frame::go_away(0)
        },
    }
}

#[test]
fn c1_every_header_of_a_structured_generator() {
    // Y1, Y2, Y3, Y5, Y7, Y8: alone, and behind a stream that is open.
    let ids = [
        0,
        1,
        2,
        3,
        4,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX - 1,
        u32::MAX,
    ];
    let lengths = [
        0,
        1,
        12,
        65_536,
        262_143,
        262_144,
        262_145,
        1 << 31,
        u32::MAX,
    ];
    let mut walked = 0;
    for opened in [false, true] {
        for version in [0, 1, 255] {
            for kind in [0, 1, 2, 3, 4, 255] {
                for flags in (0..16).chain([0xfff0, 0xffff]) {
                    for (id, length) in ids.iter().flat_map(|id| lengths.map(|len| (*id, len))) {
                        let frame = Frame {
                            version,
                            ..Frame::new(kind, flags, id, length)
                        };
                        one_header(opened, &frame);
                        walked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(walked, 2 * 3 * 6 * 18 * 9 * 9);
}

fn one_header(opened: bool, frame: &Frame) {
    let mut peer = Peer::of_server();
    if opened {
        peer.send(&[Frame::update(SYN, 1, 0)]);
        peer.accept();
        peer.open();
        peer.recv();
    }
    peer.send(std::slice::from_ref(frame));
    let legal = frame.version == 0
        && match frame.kind {
            DATA | UPDATE => frame.id != 0,
            PING | GO_AWAY => frame.id == 0,
            _ => false,
        };
    if !legal {
        peer.assert_protocol_error();
    }
    assert_sane(&mut peer);
}

#[test]
fn c1_garbage_at_each_stage_of_an_exchange() {
    // Y54: a peer that is well-behaved up to some byte, and then is not.
    let exchange: Vec<u8> = [
        Frame::update(SYN, 1, 4_096),
        Frame::data(0, 1, b"a request"),
        Frame::ping(SYN, 7),
        Frame::data(SYN | FIN, 3, b"another"),
        Frame::update(ACK, 2, 0),
        Frame::data(FIN, 1, b""),
        Frame::update(RST, 2, 0),
        Frame::go_away(0),
    ]
    .iter()
    .flat_map(Frame::bytes)
    .collect();
    for cut in 0..=exchange.len() {
        for seed in 0..4 {
            let mut peer = Peer::of_server();
            let key = peer.open();
            peer.write(key, b"hello").unwrap();
            peer.recv();
            peer.send_bytes(&exchange[..cut]);
            while peer.accept().is_some() {}
            let mut garbage = vec![0; 64];
            fill(&mut rng_from_seed(seed * 1_000 + cut as u64), &mut garbage);
            peer.send_bytes(&garbage);
            assert_sane(&mut peer);
        }
    }
}

/// Floods a session that cannot send, and says how much memory it used early and late, and how
/// much it has to say in the end.
fn flood(config: Config, role: Role, frame: impl Fn(u32) -> Vec<Frame>) -> (u64, u64, usize) {
    let mut peer = Peer::of(role, config);
    let mut early = 0;
    let count = 60_000;
    for n in 0..count {
        peer.send(&frame(n));
        assert!(peer.closed().is_none(), "{n}: {:?}", peer.closed());
        if n == count / 10 {
            early = peer.session.stats().memory_used;
        }
        // The application does what it always does, but nothing goes out.
        peer.events();
    }
    let late = peer.session.stats().memory_used;
    (early, late, peer.recv_bytes().len())
}

/// What is flooded, the frames of its n-th turn, and how many bytes may wait to be sent at most.
type Flood = (&'static str, fn(u32) -> Vec<Frame>, usize);

#[test]
fn c3_floods_while_our_output_is_blocked_leave_memory_flat() {
    // Y45
    let few = || Config {
        accept_backlog: 8,
        max_streams: 8,
        ..quiet()
    };
    let cases: [Flood; 7] = [
        ("pings", |n| vec![Frame::ping(SYN, n)], 32 * 12),
        ("answers nobody asked for", |n| vec![Frame::ping(ACK, n)], 0),
        (
            "SYNs over the backlog",
            |n| vec![Frame::update(SYN, 1 + 2 * n, 0)],
            60_000 * 12,
        ),
        (
            "updates",
            |n| vec![Frame::update(u16::from(n == 0), 1, 1)],
            0,
        ),
        (
            "data of strangers",
            |n| vec![Frame::data(0, 1 + 2 * n, b"x")],
            60_000 * 12,
        ),
        (
            "empty data",
            |n| vec![Frame::data(u16::from(n == 0), 1, b"")],
            0,
        ),
        ("go-aways", |_| vec![Frame::go_away(0)], 0),
    ];
    for (name, frame, most) in cases {
        let (early, late, said) = flood(few(), Role::Server, frame);
        assert_eq!(early, late, "{name}");
        assert!(said <= most, "{name}: {said} bytes to say");
    }
}

#[test]
fn c3_reading_under_blocked_output_keeps_one_update_per_stream() {
    // Y28: credit adds up in one frame however often it comes due.
    let mut peer = Peer::of_server();
    peer.send(&[Frame::update(SYN, 1, 0)]);
    let key = peer.accept().unwrap();
    peer.recv();
    let chunk = vec![1; 1_000];
    let mut sent = 0;
    while peer.session.stream_stats(key).unwrap().recv_window >= 1_000 && sent < 10_000 {
        peer.send(&[Frame::data(0, 1, &chunk)]);
        peer.read_all(key);
        sent += 1;
    }
    let updates: Vec<Frame> = peer
        .recv()
        .into_iter()
        .filter(|frame| frame.kind == UPDATE)
        .collect();
    assert_eq!(updates.len(), 1, "{updates:?}");
}

#[test]
fn c3_resets_we_owe_are_bounded_by_the_streams_there_are() {
    // Streams that the application drops while nothing goes out: a slot each until the RST is out,
    // and the peer's next SYNs are refused.
    let mut peer = Peer::of(
        Role::Server,
        Config {
            max_streams: 100,
            ..quiet()
        },
    );
    for n in 0..20_000 {
        peer.send(&[Frame::data(SYN, 1 + 2 * n, b"x")]);
        while let Some(key) = peer.accept() {
            peer.session.reset(peer.now, key, 1);
            release(&mut peer, key);
        }
        let stats = peer.session.stats();
        assert!(
            stats.slots <= 100 && stats.memory_used <= 100 * 1_000,
            "{stats:?}"
        );
    }
    assert!(peer.session.stats().streams_refused > 19_000);
    peer.assert_alive();
}

fn release(peer: &mut Peer, key: Key) {
    peer.session.release(peer.now, key, weir_yamux::Half::Send);
    peer.session.release(peer.now, key, weir_yamux::Half::Recv);
}

/// Time that this thread spent on a processor, as the kernel counts it; `None` where it does not.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

/// The least processor time of a few runs.
fn least_time(run: impl Fn()) -> Option<Duration> {
    (0..3)
        .map(|_| {
            let before = cpu_time()?;
            run();
            Some(cpu_time()?.saturating_sub(before))
        })
        .min()?
}

/// Work must grow as the number of frames: eight runs of 2,000 take about as long as one of
/// 16,000, in which a quadratic cost would be eight times as much. The kernel counts in ticks of some
/// milliseconds.
#[track_caller]
fn assert_in_proportion(name: &str, run: impl Fn(u32)) {
    let (Some(few), Some(many)) = (
        least_time(|| (0..8).for_each(|_| run(2_000))),
        least_time(|| run(16_000)),
    ) else {
        return;
    };
    eprintln!("{name}: {few:?} for 8 x 2,000, {many:?} for 16,000");
    let most = few * 3 + Duration::from_millis(12);
    assert!(
        many < most,
        "{name}: {few:?} for 8 x 2,000, {many:?} for 16,000"
    );
}

/// A session without a tracer, with so many streams of the peer.
fn plain(config: Config, streams: u32) -> Session {
    let now = Instant::ZERO;
    let budget = Budget::root("process", 1 << 40);
    let rng = rng_from_seed(3);
    let mut session = Session::new(Role::Server, config, &budget, rng, now).unwrap();
    for n in 0..streams {
        input(&mut session, &[Frame::update(SYN, 1 + 2 * n, 0)]);
    }
    session
}

fn input(session: &mut Session, frames: &[Frame]) {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    session.handle_input(Instant::ZERO, Input::Data(Bytes::from(bytes)));
}

fn wide() -> Config {
    Config {
        accept_backlog: 16_384,
        reset_burst: 1 << 20,
        ..quiet()
    }
}

#[test]
fn c5_work_is_in_proportion_to_the_input() {
    // Y6
    assert_in_proportion("1-byte frames", |count| {
        let mut session = plain(wide(), 1);
        let one = Frame::data(0, 1, b"x");
        input(&mut session, &vec![one; count as usize * 8]);
    });
    assert_in_proportion("empty frames", |count| {
        let mut session = plain(wide(), 1);
        let none = Frame::data(0, 1, b"");
        input(&mut session, &vec![none; count as usize * 8]);
    });
    assert_in_proportion("input cut into single bytes", |count| {
        let mut session = plain(wide(), 1);
        for byte in Frame::data(0, 1, b"x").bytes().repeat(count as usize) {
            session.handle_input(Instant::ZERO, Input::Data(Bytes::copy_from_slice(&[byte])));
        }
    });
    assert_in_proportion("streams in turns", |count| {
        let mut session = plain(wide(), count);
        for round in 0..4 {
            for n in 0..count {
                input(&mut session, &[Frame::data(0, 1 + 2 * n, &[round])]);
            }
        }
    });
    assert_in_proportion("opened and reset", |count| {
        let mut session = plain(wide(), 0);
        for n in 0..count * 4 {
            let id = 1 + 2 * n;
            input(
                &mut session,
                &[Frame::update(SYN, id, 0), Frame::update(RST, id, 0)],
            );
        }
    });
    assert_in_proportion("ids with gaps", |count| {
        let mut session = plain(wide(), 0);
        for n in 0..count * 4 {
            input(&mut session, &[Frame::update(SYN | RST, 1 + 4 * n, 0)]);
        }
    });
}

#[test]
fn c5_what_is_answered_is_in_proportion_too() {
    assert_in_proportion("accepted, answered and ended", |count| {
        let mut session = plain(wide(), count);
        let mut batch = TransmitBuf::new();
        while let Some(key) = session.accept(Instant::ZERO) {
            let mut data = Bytes::from_static(b"answer");
            assert_eq!(session.write(Instant::ZERO, key, &mut data), Ok(6));
            session.finish(Instant::ZERO, key);
        }
        while session.poll_transmit(Instant::ZERO, &mut batch) {
            batch.clear();
        }
        assert_eq!(session.stats().unaccepted, 0);
    });
    assert_in_proportion("memory full", |count| {
        // Every stream asks for more when there is no more: what is looked for must not be looked
        // for among all of them every time.
        let config = Config {
            session_budget: 4 << 20,
            ..wide()
        };
        let mut session = plain(config, count);
        for n in 0..count * 4 {
            let id = 1 + 2 * (n % count);
            input(&mut session, &[Frame::data(0, id, &[1; 4_000])]);
        }
    });
    assert_in_proportion("many with credit, none with data", |count| {
        let mut session = plain(wide(), count);
        let mut batch = TransmitBuf::new();
        for n in 0..count * 4 {
            input(&mut session, &[Frame::update(0, 1 + 2 * (n % count), 1)]);
            session.poll_transmit(Instant::ZERO, &mut batch);
            batch.clear();
        }
    });
}

#[test]
fn c5_many_idle_streams_cost_the_busy_one_nothing() {
    // Y53
    let work = |idle: u32| {
        let mut session = plain(wide(), idle + 1);
        let id = 1 + 2 * idle;
        let mut key = None;
        while let Some(next) = session.accept(Instant::ZERO) {
            key = Some(next);
        }
        let mut batch = TransmitBuf::new();
        while session.poll_transmit(Instant::ZERO, &mut batch) {
            batch.clear();
        }
        let key = key.unwrap();
        least_time_with(&mut session, |session| {
            for _ in 0..10_000 {
                input(session, &[Frame::data(0, id, b"tick")]);
                while let Ok(Some(_)) = session.read(Instant::ZERO, key, 100) {}
                session.poll_transmit(Instant::ZERO, &mut batch);
                batch.clear();
            }
        })
    };
    let (Some(few), Some(many)) = (work(10), work(10_000)) else {
        return;
    };
    assert!(
        many < few * 3 + Duration::from_millis(12),
        "{few:?} among 10, {many:?} among 10,000"
    );
}

fn least_time_with(session: &mut Session, mut run: impl FnMut(&mut Session)) -> Option<Duration> {
    let mut least = None;
    for _ in 0..5 {
        let before = cpu_time()?;
        run(session);
        let took = cpu_time()?.saturating_sub(before);
        least = Some(least.map_or(took, |least: Duration| least.min(took)));
    }
    least
}

#[test]
fn c10_tracing_changes_nothing_but_what_is_seen() {
    // The same input with every sink on and with none: the same bytes out.
    for seed in 0..300 {
        let run = |traced: bool| {
            let mut rng = rng_from_seed(seed);
            let mut peer = Peer::of_server();
            if !traced {
                peer.session.set_tracer(peer.now, Tracer::off());
            }
            let mut out = Vec::new();
            for _ in 0..60 {
                peer.send(&[likely(&mut rng)]);
                if let Some(key) = peer.accept() {
                    let _taken = peer.write(key, b"answer");
                    peer.read_all(key);
                }
                out.extend(peer.recv_bytes());
                peer.pass(Duration::from_millis(10));
            }
            let heard = peer.heard.with(|heard| heard.frames + heard.events);
            (out, peer.closed().cloned(), heard)
        };
        let (with, without) = (run(true), run(false));
        assert_eq!(with.0, without.0, "seed {seed}");
        assert_eq!(with.1, without.1, "seed {seed}");
        assert!(with.2 > without.2 && without.2 <= 1, "seed {seed}");
    }
}

#[test]
fn c10_refusals_do_not_fill_logs() {
    // A line for each refused stream would let a peer write as much as it likes.
    let mut peer = Peer::of(
        Role::Server,
        Config {
            accept_backlog: 1,
            ..quiet()
        },
    );
    peer.session.set_tracer(peer.now, peer.heard.tracer());
    for n in 0..20_000 {
        peer.send(&[Frame::update(SYN, 1 + 2 * n, 0)]);
    }
    let (events, frames) = peer.heard.with(|heard| (heard.events, heard.frames));
    assert_eq!(frames, 20_000);
    assert!(events < 100, "{events} lines");
}
