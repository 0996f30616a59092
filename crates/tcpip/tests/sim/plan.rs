//! What happens in a run, drawn from its seed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, between, chance};
use weir_core::time::{Duration, Instant};
use weir_core::window::WindowConfig;
use weir_sim::{LinkConfig, split};
use weir_tcpip::{KeepAlive, SendBufferConfig, TcpConfig};

/// What the devices do for their stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloading {
    None,
    /// They cut super-segments and make checksums.
    Cut,
    /// They carry super-segments as they are, without checksums: two machines on one host.
    Whole,
}

/// How an application ends its side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Finishes behind its last byte, and reads to the end.
    Finish,
    /// Closes, as soon as all is written and the peer's end was read.
    Close,
    /// Closes at a time, whatever is unread or unsent.
    CloseAt(Instant),
    /// Aborts at a time.
    AbortAt(Instant),
}

impl Ending {
    fn draw(rng: &mut Rng) -> Ending {
        let at = Instant::from_millis(between(rng, 0, 20_000));
        match between(rng, 0, 7) {
            0 => Ending::AbortAt(at),
            1 => Ending::CloseAt(at),
            2 | 3 => Ending::Close,
            _ => Ending::Finish,
        }
    }

    /// The peer may see an end before the stream's.
    pub fn is_rough(self) -> bool {
        matches!(self, Ending::CloseAt(_) | Ending::AbortAt(_))
    }
}

/// One side of a connection.
#[derive(Clone, Debug)]
pub struct Side {
    /// Bytes to be sent.
    pub bytes: u64,
    pub ending: Ending,
    /// Bytes read at a time, and the pause between.
    pub read: (usize, Duration),
    /// Bytes written at a time.
    pub write: usize,
    pub config: TcpConfig,
}

/// A connection. Its number is its place in the plan.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Which of the two stacks connects.
    pub client: usize,
    pub begins: Instant,
    /// Client, server.
    pub sides: [Side; 2],
}

impl Flow {
    pub fn port(number: usize) -> u16 {
        1_000 + u16::try_from(number).unwrap()
    }

    /// Both must see every byte and each other's end.
    pub fn is_gentle(&self) -> bool {
        self.sides.iter().all(|side| !side.ending.is_rough())
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub v6: bool,
    pub mtu: u16,
    pub offloading: [Offloading; 2],
    pub links: [LinkConfig; 2],
    pub flows: Vec<Flow>,
    /// An interruption of both directions.
    pub partition: Option<(Instant, Duration)>,
}

impl Plan {
    pub fn random(seed: u64) -> Plan {
        let rng = &mut split(seed, "plan");
        let v6 = chance(rng, 1, 2);
        let least = if v6 { 1_280 } else { 576 };
        let mtu = match between(rng, 0, 3) {
            0 => between(rng, least, 9_000),
            1 => 9_000,
            _ => 1_500,
        };
        let offloading = *[
            Offloading::None,
            Offloading::None,
            Offloading::Cut,
            Offloading::Whole,
        ]
        .get(usize::try_from(between(rng, 0, 3)).unwrap())
        .unwrap();
        let mut links = [LinkConfig::rough(rng), LinkConfig::rough(rng)];
        for link in &mut links {
            // Path MTUs are another matter: here everything that the interface allows passes.
            link.mtu = usize::MAX;
        }
        let count = between(rng, 1, 4);
        let flows = (0..count).map(|_| Plan::flow(rng)).collect();
        let partition = chance(rng, 1, 4).then(|| {
            let from = Instant::from_millis(between(rng, 0, 10_000));
            (from, Duration::from_millis(between(rng, 100, 20_000)))
        });
        Plan {
            seed,
            v6,
            mtu: u16::try_from(mtu).unwrap(),
            offloading: [offloading, offloading],
            links,
            flows,
            partition,
        }
    }

    fn flow(rng: &mut Rng) -> Flow {
        Flow {
            client: usize::from(chance(rng, 1, 2)),
            begins: Instant::from_millis(between(rng, 1, 3_000)),
            sides: [Plan::side(rng), Plan::side(rng)],
        }
    }

    fn side(rng: &mut Rng) -> Side {
        let bytes = match between(rng, 0, 4) {
            0 => 0,
            1 => between(rng, 1, 3_000),
            2 | 3 => between(rng, 1, 60_000),
            _ => between(rng, 1, 400_000),
        };
        let slow = chance(rng, 1, 5);
        Side {
            bytes,
            ending: Ending::draw(rng),
            read: match slow {
                true => (
                    usize::try_from(between(rng, 2_000, 20_000)).unwrap(),
                    // A few pause for so long that the window closes and is probed.
                    match between(rng, 1, 400) {
                        millis @ 300.. => Duration::from_millis(millis * 20),
                        millis => Duration::from_millis(millis),
                    },
                ),
                false => (usize::MAX, Duration::ZERO),
            },
            write: usize::try_from(between(rng, 1, 100_000))
                .unwrap()
                .max(bytes as usize / 500),
            config: config(rng),
        }
    }

    pub fn address(&self, stack: usize) -> IpAddr {
        let last = u8::try_from(stack).unwrap() + 1;
        match self.v6 {
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            false => Ipv4Addr::new(192, 0, 2, last).into(),
        }
    }
}

/// The byte at an offset of a stream: what one side of a connection sends.
pub fn byte(flow: usize, side: usize, offset: u64) -> u8 {
    let mixed = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29;
    (mixed as u8) ^ (offset as u8).wrapping_add((flow * 31 + side * 101) as u8)
}

fn config(rng: &mut Rng) -> TcpConfig {
    let mut most = |low: u32, high: u32| 1_u64 << between(rng, low.into(), high.into());
    let (window, buffer) = (most(12, 17), most(12, 17));
    let (window_max, buffer_max) = (window << between(rng, 0, 4), buffer << between(rng, 0, 4));
    let algorithms = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];
    TcpConfig {
        congestion: algorithms[usize::try_from(between(rng, 0, 2)).unwrap()],
        pacing: chance(rng, 1, 2),
        nodelay: chance(rng, 1, 2),
        // A reset that is lost leaves the peer waiting: keep-alive finds out. Bursts of loss count
        // packets, not time: what is sent once a minute may be lost for half an hour, and neither
        // probes nor time-outs may take that for the peer's end (RFC 9293 3.8.4).
        keepalive: Some(KeepAlive {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            count: 255,
        }),
        user_timeout: Duration::from_secs(4 * 3600),
        syn_timeout: Duration::from_secs(4 * 3600),
        send_buffer: SendBufferConfig {
            initial: buffer,
            max: buffer_max,
        },
        receive_window: WindowConfig::new(window, window_max),
        ecn: chance(rng, 1, 2),
        timestamps: chance(rng, 3, 4),
        sack: chance(rng, 3, 4),
        window_scale: chance(rng, 3, 4),
        ..TcpConfig::default()
    }
}
