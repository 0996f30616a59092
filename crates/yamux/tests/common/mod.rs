//! Two sessions connected in memory, and a peer that speaks frames by hand, in virtual time.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test file uses a part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use bytes::Bytes;
use std::io::IoSlice;
pub use weir_core::budget::Budget;
pub use weir_core::rng::rng_from_seed;
pub use weir_core::time::{Duration, Instant};
pub use weir_yamux::wire::{Flags, Header};
use weir_yamux::wire::{FrameType, HEADER_LEN};
pub use weir_yamux::{
    CarrierState, Config, Event, Half, Input, Key, OpenError, ReadError, Role, Session, State,
    Timer, TransmitBuf, WriteError,
};

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// A frame in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub header: Header,
    pub payload: Vec<u8>,
}

/// Cuts the bytes of whole frames into them.
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
        let length = if header.kind == FrameType::Data {
            header.length as usize
        } else {
            0
        };
        let payload = bytes[HEADER_LEN..HEADER_LEN + length].to_vec();
        frames.push(Frame { header, payload });
        bytes = &bytes[HEADER_LEN + length..];
    }
    frames
}

/// The header of a frame in short: type, flags, stream, length.
pub fn head(frame: &Frame) -> (FrameType, Flags, u32, u32) {
    let Header {
        kind,
        flags,
        stream_id,
        length,
    } = frame.header;
    (kind, flags, stream_id, length)
}

pub fn heads(frames: &[Frame]) -> Vec<(FrameType, Flags, u32, u32)> {
    frames.iter().map(head).collect()
}

pub const DATA: FrameType = FrameType::Data;
pub const UPDATE: FrameType = FrameType::WindowUpdate;
pub const PING: FrameType = FrameType::Ping;
pub const AWAY: FrameType = FrameType::GoAway;
pub const NONE: Flags = Flags::NONE;
pub const SYN: Flags = Flags::SYN;
pub const ACK: Flags = Flags::ACK;
pub const FIN: Flags = Flags::FIN;
pub const RST: Flags = Flags::RST;

/// The bytes of a frame without a payload.
pub fn raw(kind: FrameType, flags: Flags, stream_id: u32, length: u32) -> Vec<u8> {
    Header {
        kind,
        flags,
        stream_id,
        length,
    }
    .encode()
    .to_vec()
}

/// The bytes of a Data frame.
pub fn data(flags: Flags, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = raw(
        DATA,
        flags,
        stream_id,
        u32::try_from(payload.len()).unwrap(),
    );
    bytes.extend_from_slice(payload);
    bytes
}

/// Bytes that differ from place to place, so that a mix-up is seen.
pub fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8)) as u8)
        .collect::<Vec<u8>>()
        .into()
}

/// Takes everything a batch holds.
pub fn take(batch: &mut TransmitBuf) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batch.len());
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = batch.fill_slices(&mut slices);
        let before = bytes.len();
        for slice in &slices[..count] {
            bytes.extend_from_slice(slice);
        }
        batch.advance(bytes.len() - before);
    }
    bytes
}

/// Takes at most `most` bytes of a batch.
pub fn take_some(batch: &mut TransmitBuf, most: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let count = batch.fill_slices(&mut slices);
    let all = slices[..count]
        .iter()
        .flat_map(|slice| slice.iter().copied());
    let bytes: Vec<u8> = all.take(most).collect();
    batch.advance(bytes.len());
    bytes
}

/// One session and its driver.
pub struct Node {
    pub session: Session,
    pub batch: TransmitBuf,
    pub events: Vec<Event>,
}

impl Node {
    pub fn new(role: Role, config: Config) -> Node {
        Node::in_budget(role, config, &Budget::unlimited("process"))
    }

    pub fn in_budget(role: Role, config: Config, budget: &Budget) -> Node {
        let session = Session::new(role, config, budget, rng_from_seed(7), Instant::ZERO).unwrap();
        Node {
            session,
            batch: TransmitBuf::new(),
            events: Vec::new(),
        }
    }

    pub fn server() -> Node {
        Node::new(Role::Server, Config::default())
    }

    pub fn client() -> Node {
        Node::new(Role::Client, Config::default())
    }

    /// Bytes of the peer arrive.
    pub fn feed(&mut self, now: Instant, bytes: impl AsRef<[u8]>) {
        self.session
            .handle_input(now, Input::Data(Bytes::copy_from_slice(bytes.as_ref())));
        self.collect();
    }

    pub fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    /// The events since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        self.collect();
        std::mem::take(&mut self.events)
    }

    /// All bytes that wait to be sent.
    pub fn flush(&mut self, now: Instant) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.session.poll_transmit(now, &mut self.batch) {
            bytes.extend(take(&mut self.batch));
        }
        self.collect();
        bytes
    }

    /// The frames of what the batch holds.
    pub fn frames_of_batch(&mut self) -> Vec<Frame> {
        frames(&take(&mut self.batch))
    }

    /// All frames that wait to be sent.
    pub fn frames(&mut self, now: Instant) -> Vec<Frame> {
        frames(&self.flush(now))
    }

    pub fn open_all(&mut self, now: Instant, count: usize) -> Vec<Key> {
        (0..count)
            .map(|_| self.session.open(now).unwrap())
            .collect()
    }

    /// Streams whose SYN is out already.
    pub fn open(&mut self, now: Instant, count: usize) -> Vec<Key> {
        let keys = (0..count)
            .map(|_| self.session.open(now).unwrap())
            .collect();
        self.flush(now);
        keys
    }

    pub fn write(&mut self, now: Instant, key: Key, bytes: impl Into<Bytes>) -> usize {
        let mut bytes = bytes.into();
        let all = bytes.len();
        while !bytes.is_empty() {
            if self.session.write(now, key, &mut bytes).is_err() {
                break;
            }
        }
        all - bytes.len()
    }

    /// Everything that can be read of a stream now, and how it went on.
    pub fn read(&mut self, now: Instant, key: Key) -> (Vec<u8>, Result<(), ReadError>) {
        let mut bytes = Vec::new();
        loop {
            match self.session.read(now, key, usize::MAX) {
                Ok(Some(more)) => bytes.extend_from_slice(&more),
                Ok(None) => return (bytes, Ok(())),
                Err(error) => return (bytes, Err(error)),
            }
        }
    }

    /// The code and words of the close reason.
    pub fn closed(&self) -> Option<(u64, String)> {
        self.session
            .close_reason()
            .map(|reason| (reason.code, reason.to_string()))
    }

    pub fn held(&self, key: Key) -> weir_yamux::Holds {
        self.session.stream_stats(key).unwrap().held_by
    }

    pub fn state(&self, key: Key) -> State {
        self.session.stream_stats(key).unwrap().state
    }

    pub fn memory(&self) -> u64 {
        self.session.stats().memory_used
    }

    /// Lets time pass up to `until`, with every timer when it is due.
    pub fn sleep(&mut self, until: Instant) {
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= until) {
            self.session.handle_timeout(at);
            self.collect();
        }
    }
}

/// Two sessions back to back.
pub struct Pair {
    pub now: Instant,
    pub client: Node,
    pub server: Node,
}

impl Pair {
    pub fn new() -> Pair {
        Pair::with(Config::default(), Config::default())
    }

    pub fn with(client: Config, server: Config) -> Pair {
        Pair {
            now: Instant::ZERO,
            client: Node::new(Role::Client, client),
            server: Node::new(Role::Server, server),
        }
    }

    /// Carries bytes both ways until neither side has any; says how many.
    pub fn pump(&mut self) -> usize {
        let mut carried = 0;
        loop {
            let there = self.client.flush(self.now);
            let back = self.server.flush(self.now);
            if there.is_empty() && back.is_empty() {
                return carried;
            }
            carried += there.len() + back.len();
            self.server.feed(self.now, there);
            self.client.feed(self.now, back);
        }
    }

    /// A stream open at both ends and acknowledged: the client's key and the server's.
    pub fn stream(&mut self) -> (Key, Key) {
        let ours = self.client.session.open(self.now).unwrap();
        self.pump();
        let theirs = self.server.session.accept(self.now).unwrap();
        self.pump();
        (ours, theirs)
    }

    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        self.client.sleep(self.now);
        self.server.sleep(self.now);
    }
}

pub fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub const T0: Instant = Instant::ZERO;
