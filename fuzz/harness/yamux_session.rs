//! A session against a peer and an application that both do anything: the input is a list of
//! operations, a byte each and what they need behind it. Tracing is on.

use bytes::Bytes;
use std::fmt::Write as _;
use std::io::IoSlice;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::sched::Priority;
use weir_core::time::{Duration, Instant};
use weir_core::trace::{Event as Trace, Level, Sink, Tracer};
use weir_yamux::wire::{HEADER_LEN, Header};
use weir_yamux::{CarrierState, Config, Event, Half, Input, Key, Role, Session, TransmitBuf};

/// Most operations of one input, so that every input is quick.
const MAX_OPS: usize = 2_000;

/// Runs the operations in `data`.
pub fn run(data: &[u8]) {
    let mut ops = Ops(data);
    let mut driver = Driver::new(ops.byte());
    for _ in 0..MAX_OPS {
        if ops.0.is_empty() {
            break;
        }
        driver.step(&mut ops);
        driver.check();
    }
    driver.end();
}

/// The input, read from the front; zeros when it is used up.
struct Ops<'a>(&'a [u8]);

impl<'a> Ops<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Writes every event out, as a log would.
#[derive(Default)]
struct Log(String);

impl Sink for Log {
    fn event(&mut self, now: Instant, event: &Trace<'_>) {
        self.0.clear();
        let _ = write!(self.0, "{now:?} {event:?}");
        if let Trace::Closed(reason) = event {
            let _ = write!(self.0, "{reason}");
        }
    }

    fn wants(&self, _: Level) -> bool {
        true
    }
}

struct Driver {
    session: Session,
    process: Budget,
    limit: u64,
    now: Instant,
    batch: TransmitBuf,
    keys: Vec<Key>,
    closed: bool,
    /// Bytes handed out that are no whole frame yet.
    sent: Vec<u8>,
}

impl Driver {
    fn new(choice: u8) -> Driver {
        let role = if choice & 1 == 0 {
            Role::Client
        } else {
            Role::Server
        };
        let small = choice & 2 != 0;
        let config = Config {
            max_streams: if small { 4 } else { 1_000 },
            ack_backlog: if small { 2 } else { 256 },
            accept_backlog: if small { 2 } else { 256 },
            session_budget: if choice & 4 != 0 { 1 << 20 } else { 64 << 20 },
            receive_window: if choice & 8 != 0 { 1 << 20 } else { 256 * 1024 },
            keepalive: (choice & 16 != 0).then_some(Duration::from_secs(1)),
            reset_burst: if small { 3 } else { 1_024 },
            reset_rate: if small { 1 } else { 256 },
            ..Config::default()
        };
        let limit = config.session_budget;
        let process = Budget::root("process", 1 << 40);
        let now = Instant::ZERO;
        let session = Session::new(role, config, &process, rng_from_seed(7), now);
        let Ok(mut session) = session else {
            unreachable!("every choice is valid")
        };
        session.set_tracer(now, Tracer::new(Box::new(Log::default())));
        let batch = TransmitBuf::new();
        let (keys, sent) = (Vec::new(), Vec::new());
        Driver {
            session,
            process,
            limit,
            now,
            batch,
            keys,
            closed: false,
            sent,
        }
    }

    fn input(&mut self, bytes: &[u8]) {
        self.session
            .handle_input(self.now, Input::Data(Bytes::copy_from_slice(bytes)));
    }

    fn step(&mut self, ops: &mut Ops<'_>) {
        let now = self.now;
        match ops.byte() % 24 {
            0..=1 => {
                let count = usize::from(ops.byte());
                self.input(ops.bytes(count));
            }
            2..=6 => self.frame(ops),
            7 => self.keys.extend(self.session.open(now)),
            8 => self.keys.extend(self.session.accept(now)),
            9 => self.time(ops),
            10 => self.session.ping(now),
            11 => self.transmit(),
            12 => self.events(),
            13 => self.ending(ops),
            14 => {
                let state = if ops.byte() & 1 == 0 {
                    CarrierState::Blocked
                } else {
                    CarrierState::Ready
                };
                self.session.handle_carrier(now, state);
            }
            15 => self.session.set_pinned(u64::from(ops.byte()) << 20),
            _ => self.stream(ops),
        }
    }

    /// A frame that is well formed, for one of a few ids.
    fn frame(&mut self, ops: &mut Ops<'_>) {
        let (kind, flags) = (ops.byte() % 4, ops.byte());
        let id = if kind < 2 {
            u32::from(ops.byte() % 32)
        } else {
            0
        };
        let length = match ops.byte() % 8 {
            0 => 0,
            1..=3 => u32::from(ops.byte()),
            4 => 262_144,
            5 => 65_536,
            6 => u32::MAX - u32::from(ops.byte()),
            _ => ops.u32(),
        };
        let mut bytes = vec![0, kind, 0, flags & 15];
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        if kind == 0 {
            let whole = usize::try_from(length).unwrap_or(0).min(300_000);
            let part = if flags & 128 == 0 { whole } else { whole / 2 };
            bytes.resize(HEADER_LEN + part, 0x5a);
        }
        self.input(&bytes);
    }

    /// What the application does with a stream.
    fn stream(&mut self, ops: &mut Ops<'_>) {
        let (what, choice, amount) = (ops.byte(), ops.byte(), ops.byte());
        let (now, session) = (self.now, &mut self.session);
        let count = self.keys.len().max(1);
        let Some(key) = self.keys.get(usize::from(choice) % count).copied() else {
            return;
        };
        match what % 12 {
            0..=2 => {
                let mut data = Bytes::from(vec![choice; usize::from(amount) << (what % 9)]);
                let whole = data.len();
                if let Ok(taken) = session.write(now, key, &mut data) {
                    assert_eq!(taken + data.len(), whole);
                }
            }
            3..=5 => {
                let most = usize::from(amount) << (what % 11);
                if let Ok(Some(bytes)) = session.read(now, key, most) {
                    assert!(bytes.len() <= most);
                }
            }
            6 => session.finish(now, key),
            7 => session.reset(now, key, amount.into()),
            8 => session.stop(now, key, amount.into()),
            9 => session.release(
                now,
                key,
                if amount & 1 == 0 {
                    Half::Send
                } else {
                    Half::Recv
                },
            ),
            10 => {
                let priority = Priority {
                    urgency: amount % 8,
                    incremental: amount & 8 == 0,
                };
                session.set_priority(key, priority);
            }
            _ => {
                session.is_acknowledged(key);
            }
        }
    }

    fn time(&mut self, ops: &mut Ops<'_>) {
        self.now += Duration::from_millis(1 << (ops.byte() % 20));
        self.session.handle_timeout(self.now);
        let next = self.session.poll_timeout();
        assert!(
            next.is_none_or(|(at, _)| at > self.now),
            "{next:?} is due still"
        );
    }

    fn ending(&mut self, ops: &mut Ops<'_>) {
        let now = self.now;
        match ops.byte() % 8 {
            0 => self.session.close(now, 0, "closed"),
            1 => self.session.handle_input(now, Input::End),
            2 => self.session.handle_input(now, Input::Lost("lost".into())),
            3..=5 => self.session.go_away(now),
            _ => {}
        }
    }

    /// Takes what is to be sent, and reads it as a peer would.
    fn transmit(&mut self) {
        for _ in 0..1_000 {
            self.session.poll_transmit(self.now, &mut self.batch);
            if self.batch.is_empty() {
                return self.decode();
            }
            while !self.batch.is_empty() {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = self.batch.fill_slices(&mut slices);
                let before = self.sent.len();
                for slice in slices.iter().take(filled) {
                    self.sent.extend_from_slice(slice);
                }
                let written = self.sent.len() - before;
                assert!(written > 0);
                self.batch.advance(written);
            }
        }
        unreachable!("the session never stops sending");
    }

    fn decode(&mut self) {
        let mut at = 0;
        while let Some(header) = self.sent.get(at..).and_then(|rest| rest.first_chunk()) {
            let header = match Header::decode(header) {
                Ok(header) => header,
                Err(error) => unreachable!("sent a header that is none: {error}"),
            };
            assert_eq!(header.flags.bits() & !15, 0);
            at += HEADER_LEN;
            if header.kind as u8 == 0 {
                assert!(header.length <= 65_536);
                at += usize::try_from(header.length).unwrap_or(usize::MAX);
            }
        }
        assert_eq!(at, self.sent.len(), "frames leave whole");
        self.sent.clear();
    }

    fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "{event:?} after Closed");
            self.closed = matches!(event, Event::Closed(_));
        }
    }

    /// What holds after every operation.
    fn check(&self) {
        assert!(
            self.process.used() <= self.limit,
            "{} bytes",
            self.process.used()
        );
        let stats = self.session.stats();
        assert!(stats.memory_used <= self.process.used(), "{stats:?}");
        assert!(stats.streams_open <= stats.slots, "{stats:?}");
        if let Some(stats) = self
            .keys
            .last()
            .and_then(|key| self.session.stream_stats(*key))
        {
            assert!(stats.buffered <= stats.received, "{stats:?}");
        }
    }

    /// Ends everything: nothing is left.
    fn end(&mut self) {
        self.transmit();
        self.events();
        self.session.close(self.now, 0, "the end");
        self.transmit();
        self.events();
        assert!(self.closed && self.session.poll_timeout().is_none());
        while let Some(key) = self.session.accept(self.now) {
            self.keys.push(key);
        }
        for key in std::mem::take(&mut self.keys) {
            self.session.release(self.now, key, Half::Send);
            self.session.release(self.now, key, Half::Recv);
        }
        let stats = self.session.stats();
        assert_eq!((stats.slots, stats.memory_used), (0, 0), "{stats:?}");
    }
}
