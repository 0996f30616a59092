//! What one run is like, drawn from its seed.

use weir_core::rng::{Rng, between, rng_from_seed};
use weir_core::time::{Duration, Instant};
use weir_sim::{Chunking, Cut, CutAt, Ending as PipeEnding, PipeConfig, split};
use weir_yamux::Config;

/// How the session of a run ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// One side closes when both have done all they wanted.
    WhenDone { client: bool },
    /// One side says go-away at a time, both finish, and it closes.
    Drain { client: bool, at: Instant },
    /// One side closes at a time, whatever goes on.
    Close { client: bool, at: Instant },
    /// The pipe is cut.
    Cut,
}

/// How much an application does, and how fast.
#[derive(Copy, Clone, Debug)]
pub struct Habits {
    pub streams: u32,
    /// Most bytes of a stream's direction.
    pub most_bytes: u64,
    /// Most milliseconds between the steps of one thing.
    pub pause: u64,
    /// Of a hundred streams, how many are reset, stopped or dropped on the way.
    pub unruly: u64,
}

pub struct Plan {
    pub seed: u64,
    pub forward: PipeConfig,
    pub backward: PipeConfig,
    pub client: Config,
    pub server: Config,
    pub client_habits: Habits,
    pub server_habits: Habits,
    pub ending: Ending,
    /// Whether the pipe's bytes are looked at frame by frame.
    pub checked: bool,
}

pub fn chance(rng: &mut Rng, percent: u64) -> bool {
    between(rng, 0, 99) < percent
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    let last = u64::try_from(from.len()).unwrap() - 1;
    from[usize::try_from(between(rng, 0, last)).unwrap()]
}

fn millis(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(between(rng, low, high))
}

impl Plan {
    /// A run of the campaign: everything is at random.
    pub fn random(seed: u64) -> Plan {
        let mut pipes = split(seed, "plan pipes");
        let mut configs = split(seed, "plan configs");
        let mut rest = split(seed, "plan");
        let (forward, mut backward) = (pipe(&mut pipes), pipe(&mut pipes));
        let client = chance(&mut rest, 50);
        let at = Instant::ZERO + millis(&mut rest, 0, 3_000);
        let ending = match between(&mut rest, 0, 9) {
            0..=5 => Ending::WhenDone { client },
            6 => Ending::Drain { client, at },
            7 => Ending::Close { client, at },
            _ => Ending::Cut,
        };
        if ending == Ending::Cut {
            let how = pick(&mut rest, &[PipeEnding::Eof, PipeEnding::Reset]);
            let bytes = CutAt::Bytes(between(&mut rest, 0, 300_000));
            let when = if chance(&mut rest, 50) {
                CutAt::Time(at)
            } else {
                bytes
            };
            backward.cut = Some(Cut { when, how });
        }
        Plan {
            seed,
            forward,
            backward,
            client: config(&mut configs),
            server: config(&mut configs),
            client_habits: habits(&mut rest),
            server_habits: habits(&mut rest),
            ending,
            checked: true,
        }
    }

    /// One of many quiet sessions: a few small streams over minutes, and pings in between.
    pub fn quiet(seed: u64, until: Duration) -> Plan {
        let mut rng = rng_from_seed(seed);
        let streams = u32::try_from(between(&mut rng, 1, 3)).unwrap();
        let pause = u64::try_from(until.as_millis()).unwrap() / 8;
        let habits = Habits {
            streams,
            most_bytes: 4_000,
            pause,
            unruly: 10,
        };
        let delay = millis(&mut rng, 1, 200);
        let pipe = PipeConfig {
            rate: Some(10_000_000),
            delay,
            ..PipeConfig::default()
        };
        let config = Config {
            keepalive: Some(Duration::from_secs(10)),
            ..Config::default()
        };
        Plan {
            seed,
            forward: pipe.clone(),
            backward: pipe,
            client: config.clone(),
            server: config,
            client_habits: habits,
            server_habits: habits,
            ending: Ending::WhenDone {
                client: chance(&mut rng, 50),
            },
            checked: true,
        }
    }
}

fn pipe(rng: &mut Rng) -> PipeConfig {
    let high = usize::try_from(between(rng, 1, 40_000)).unwrap();
    let small = usize::try_from(between(rng, 1, 40)).unwrap();
    let chunking = match between(rng, 0, 3) {
        0 => Chunking::Coalesced,
        1 => Chunking::AsWritten,
        2 => Chunking::Random { low: 1, high },
        _ => Chunking::Random {
            low: 1,
            high: small * 100,
        },
    };
    PipeConfig {
        rate: pick(
            rng,
            &[None, Some(1_000_000_000), Some(20_000_000), Some(4_000_000)],
        ),
        delay: millis(rng, 0, 80),
        jitter: millis(rng, 0, 20),
        buffer: pick(rng, &[256 * 1024, 64 * 1024, 4_096, 1_400]),
        segment: pick(rng, &[16 * 1024, 1_400]),
        chunking,
        ..PipeConfig::default()
    }
}

fn config(rng: &mut Rng) -> Config {
    let receive_window = pick(rng, &[256 * 1024, 256 * 1024, 300_000, 1 << 20]);
    let max_frame = pick(rng, &[65_536, 65_536, 16_384, 1_024, 5_000]);
    let send_buffer = max_frame.max(pick(rng, &[65_536, 300_000, 512 * 1024]));
    // Few at once in some runs: openers wait, or are refused.
    let tight = chance(rng, 25);
    let backlog = |rng: &mut Rng| {
        if tight {
            u32::try_from(between(rng, 1, 4)).unwrap()
        } else {
            256
        }
    };
    Config {
        receive_window,
        max_receive_window: receive_window.max(pick(rng, &[256 * 1024, 2 << 20, 16 << 20])),
        max_streams: if tight {
            pick(rng, &[2, 5, 16_384])
        } else {
            16_384
        },
        ack_backlog: backlog(rng),
        accept_backlog: backlog(rng),
        max_frame,
        fair_frame: max_frame.min(pick(rng, &[16_384, 1_024])),
        send_buffer,
        keepalive: pick(
            rng,
            &[
                None,
                Some(Duration::from_secs(1)),
                Some(Duration::from_secs(30)),
            ],
        ),
        session_budget: pick(rng, &[1 << 20, 2 << 20, 64 << 20]),
        ..Config::default()
    }
}

fn habits(rng: &mut Rng) -> Habits {
    Habits {
        streams: u32::try_from(between(rng, 0, 12)).unwrap(),
        most_bytes: pick(rng, &[2_000, 50_000, 400_000]),
        pause: pick(rng, &[0, 5, 50]),
        unruly: pick(rng, &[0, 30, 70]),
    }
}
