//! The connection by itself: segments made by hand, or two connections that exchange theirs.

mod acceptance;
mod closing;
mod ecn;
mod errors;
mod opening;
mod options;
mod pair;
mod receiving;
mod sending;
mod sleeping;
mod timeouts;
mod waiting;

use core::ops::Range;
use std::sync::Arc;

use weir_core::budget::Budget;
use weir_core::buf::{Chunks, SendBuffer};
use weir_core::rng::{Rng, rng_from_seed};
use weir_core::time::{Duration, Instant};
use weir_core::trace::Tracer;

use super::config::TcpConfig;
use super::connection::{Connection, Making};
use super::interface::{
    Context, FastOpenReply, News, Numbers, PathInfo, Received, SegmentSink, TcpTimer, Tuple,
};
use super::state::State;
use crate::ip::Ecn;
use crate::stack::Counters;
use crate::wire::tcp::{FastOpen, Flags, Header, Options, Segment, Timestamps};

/// Our initial sequence number: data wraps soon.
const OURS: u32 = u32::MAX - 5000;
/// The peer's.
const THEIRS: u32 = u32::MAX - 300;
/// The MSS of the peer that segments are made for by hand.
const MSS: u64 = 1000;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;
const PSH: Flags = Flags::PSH;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One emission: a header and its data.
#[derive(Clone, Debug)]
struct Out {
    header: Header,
    ecn: Ecn,
    size: u16,
    data: Vec<u8>,
    /// As offsets in our direction.
    seq: u64,
    /// As an offset in the peer's direction.
    ack: u64,
}

impl Out {
    fn flags(&self) -> Flags {
        self.header.flags
    }

    fn end(&self) -> u64 {
        self.seq + self.data.len() as u64
    }
}

/// Keeps what is sent.
#[derive(Debug)]
struct Recorder {
    out: Vec<Out>,
    max: usize,
    full_at: usize,
    ours: u32,
    theirs: u32,
}

impl SegmentSink for Recorder {
    fn max_segment_payload(&self) -> usize {
        self.max
    }

    fn is_full(&self) -> bool {
        self.out.len() >= self.full_at
    }

    fn emit(
        &mut self,
        header: &Header,
        ecn: Ecn,
        size: u16,
        data: Option<(&mut SendBuffer, Range<u64>)>,
    ) {
        let mut bytes = Vec::new();
        if let Some((buffer, range)) = data {
            let len = (range.end - range.start) as usize;
            buffer.copy_range(range, &mut bytes);
            assert_eq!(bytes.len(), len, "the buffer has what is sent");
            assert!(size > 0 && header.len() + usize::from(size) <= 1480);
        }
        self.out.push(Out {
            header: *header,
            ecn,
            size,
            data: bytes,
            seq: u64::from(header.seq.wrapping_sub(self.ours)),
            ack: u64::from(header.ack.wrapping_sub(self.theirs)),
        });
    }
}

/// One connection and all that it borrows.
struct Host {
    now: Instant,
    chunks: Chunks,
    budget: Budget,
    rng: Rng,
    counters: Counters,
    tracer: Tracer,
    sink: Recorder,
    connection: Option<Connection>,
    news: News,
}

fn tuple() -> Tuple {
    Tuple {
        local: "10.0.0.1:1000".parse().unwrap(),
        remote: "10.0.0.2:2000".parse().unwrap(),
    }
}

const PATH: PathInfo = PathInfo {
    mtu: 1500,
    link_mtu: 1500,
};

/// What the tests begin with: nothing that adds bytes to segments, and no quiet waiting.
fn plain() -> TcpConfig {
    TcpConfig {
        timestamps: false,
        window_scale: false,
        ecn: false,
        ..TcpConfig::default()
    }
}

/// What the peer's SYN says unless a test says otherwise.
fn peer_options() -> Options {
    Options {
        mss: Some(MSS as u16),
        sack_permitted: true,
        ..Options::default()
    }
}

macro_rules! with {
    ($host:expr, |$connection:ident, $cx:ident| $body:expr) => {{
        let host: &mut Host = &mut $host;
        let mut connection = host.connection.take().expect("a connection");
        let result = {
            #[allow(unused_mut)]
            let mut context = host.cx();
            let $cx = &mut context;
            let $connection = &mut connection;
            $body
        };
        host.connection = Some(connection);
        result
    }};
}
use with;

/// What a connection is made of whose memory is new.
fn making(tuple: Tuple, config: Arc<TcpConfig>, numbers: Numbers) -> Making {
    Making {
        tuple,
        config,
        numbers,
        path: PATH,
        spare: None,
    }
}

impl Host {
    fn new() -> Host {
        Host {
            now: Instant::from_millis(10_000),
            chunks: Chunks::new(1 << 24),
            budget: Budget::root("test", 1 << 26),
            rng: rng_from_seed(7),
            counters: Counters::default(),
            tracer: Tracer::off(),
            sink: Recorder {
                out: Vec::new(),
                max: 65_000,
                full_at: usize::MAX,
                ours: OURS,
                theirs: THEIRS,
            },
            connection: None,
            news: News::default(),
        }
    }

    fn cx(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            chunks: &mut self.chunks,
            budget: &self.budget,
            rng: &mut self.rng,
            counters: &mut self.counters,
            tracer: &mut self.tracer,
        }
    }

    /// A connection in SYN-SENT whose SYN was not sent yet.
    fn connecting(config: TcpConfig, fast_open: Option<FastOpen>) -> Host {
        let mut host = Host::new();
        let connection = Connection::connect(
            &mut host.cx(),
            making(tuple(), Arc::new(config), numbers(OURS)),
            fast_open,
        );
        host.connection = Some(*connection);
        host
    }

    /// A connection in SYN-RECEIVED that answered the peer's SYN.
    fn accepting(config: TcpConfig, options: Options, flags: Flags) -> Host {
        let mut host = Host::new();
        let mut syn = In::new(flags).seq(0);
        syn.options = options;
        syn.window = 60_000;
        host.accept(config, &syn, FastOpenReply::default());
        host
    }

    fn accept(&mut self, config: TcpConfig, syn: &In, reply: FastOpenReply) {
        let received = syn.received();
        let config = Arc::new(config);
        let connection = Connection::accept(
            &mut self.cx(),
            making(tuple(), config, numbers(OURS)),
            &received,
            reply,
        );
        self.connection = Some(*connection);
        self.flush();
    }

    /// An open connection (actively opened), nothing pending.
    fn open(config: TcpConfig) -> Host {
        Host::open_with(config, peer_options(), 60_000)
    }

    fn open_with(config: TcpConfig, options: Options, window: u16) -> Host {
        let mut host = Host::connecting(config, None);
        host.flush();
        let mut answer = In::new(SYN | ACK).seq(0).ack(1);
        answer.options = options;
        answer.window = window;
        host.receive(&answer);
        assert_eq!(host.state(), State::Established);
        host.take();
        host.news = News::default();
        host
    }

    fn conn(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a connection")
    }

    fn state(&self) -> State {
        self.connection.as_ref().expect("a connection").state()
    }

    /// A segment arrives, and what follows from it is sent.
    fn receive(&mut self, segment: &In) {
        self.receive_all(core::slice::from_ref(segment));
    }

    /// Several segments arrive in one batch.
    fn receive_all(&mut self, segments: &[In]) {
        for segment in segments {
            let received = segment.received();
            with!(*self, |c, cx| c.handle_segment(cx, &received));
        }
        self.flush();
    }

    /// Everything that can go goes out.
    fn flush(&mut self) {
        let mut connection = self.connection.take().expect("a connection");
        let news = connection.take_news();
        self.news.readable |= news.readable;
        self.news.writable |= news.writable;
        self.news.connected |= news.connected;
        self.news.closed |= news.closed;
        self.news.suspect |= news.suspect;
        let mut cx = Context {
            now: self.now,
            chunks: &mut self.chunks,
            budget: &self.budget,
            rng: &mut self.rng,
            counters: &mut self.counters,
            tracer: &mut self.tracer,
        };
        while connection.wants_transmit() && !self.sink.is_full() {
            connection.poll_transmit(&mut cx, &mut self.sink);
        }
        self.connection = Some(connection);
    }

    /// What was sent since the last call.
    fn take(&mut self) -> Vec<Out> {
        core::mem::take(&mut self.sink.out)
    }

    /// The only segment that was sent since the last call.
    fn take_one(&mut self) -> Out {
        let mut out = self.take();
        assert_eq!(out.len(), 1, "{out:#?}");
        out.pop().unwrap()
    }

    /// Time passes, timers go off when they are due.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..10_000 {
            match self.connection.as_ref().unwrap().poll_timeout() {
                Some((at, _)) if at <= end => {
                    self.now = self.now.max(at);
                    with!(*self, |c, cx| c.handle_timeout(cx));
                    self.flush();
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("timers never rest");
    }

    fn next_timer(&self) -> Option<(Duration, TcpTimer)> {
        let connection = self.connection.as_ref().unwrap();
        let next = connection.poll_timeout();
        // What the stack arms is what is due first.
        let at = next.map_or(Instant::MAX, |(at, _)| at);
        assert_eq!(connection.wake_at(), at);
        let (at, timer) = next?;
        Some((at.saturating_duration_since(self.now), timer))
    }

    fn write(&mut self, data: &[u8]) -> usize {
        let written = with!(*self, |c, cx| c.write_slice(cx, data));
        self.flush();
        written.unwrap()
    }

    /// Everything that can be read now.
    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(Some(bytes)) = with!(*self, |c, cx| c.read(cx, 1 << 20)) {
            all.extend_from_slice(&bytes);
        }
        self.flush();
        all
    }

    fn finish(&mut self) {
        with!(*self, |c, cx| c.finish(cx));
        self.flush();
    }

    fn close(&mut self) {
        with!(*self, |c, cx| c.close(cx));
        self.flush();
    }
}

fn numbers(iss: u32) -> Numbers {
    Numbers {
        iss,
        timestamp_offset: 0xffff_f000,
    }
}

/// A segment made by hand, in offsets.
#[derive(Clone, Debug)]
struct In {
    flags: Flags,
    seq: u32,
    ack: u32,
    window: u16,
    options: Options,
    data: Vec<u8>,
    ecn: Ecn,
    segments: u16,
}

impl In {
    fn new(flags: Flags) -> In {
        In {
            flags,
            seq: THEIRS.wrapping_add(1),
            ack: OURS.wrapping_add(1),
            window: 60_000,
            options: Options::default(),
            data: Vec::new(),
            ecn: Ecn::NotEct,
            segments: 1,
        }
    }

    fn seq(mut self, offset: u64) -> In {
        self.seq = THEIRS.wrapping_add(offset as u32);
        self
    }

    fn ack(mut self, offset: u64) -> In {
        self.ack = OURS.wrapping_add(offset as u32);
        self
    }

    fn window(mut self, window: u16) -> In {
        self.window = window;
        self
    }

    fn data(mut self, data: &[u8]) -> In {
        self.data = data.to_vec();
        self
    }

    fn stamps(mut self, value: u32, echo: u32) -> In {
        self.options.timestamps = Some(Timestamps { value, echo });
        self
    }

    fn marked(mut self, ecn: Ecn) -> In {
        self.ecn = ecn;
        self
    }

    fn received(&self) -> Received<'_> {
        Received {
            segment: Segment {
                src_port: 2000,
                dst_port: 1000,
                seq: self.seq,
                ack: self.ack,
                flags: self.flags,
                window: self.window,
                urgent: 0,
                options: self.options,
                payload: &self.data,
            },
            ecn: self.ecn,
            segments: self.segments,
        }
    }
}

/// Bytes that tell where they belong.
fn pattern(range: Range<u64>) -> Vec<u8> {
    range
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}
