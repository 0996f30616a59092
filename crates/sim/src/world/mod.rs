//! The world: a clock, what is to happen, and the networks and pipes that it happens to.

mod network;
mod pipes;

use std::collections::{HashMap, VecDeque};
use std::fmt;

use weir_core::rng::Rng;
use weir_core::time::Instant;

use crate::capture::Capture;
use crate::digest::Digest;
use crate::queue::EventQueue;
use crate::random::split;

pub use network::{Filter, LinkId, NatId, NetworkStats, NodeId, NodeStats};
pub use pipes::{PipeEnd, Side};

use network::Network;
use pipes::Pipe;

/// A network in memory with a clock of its own.
///
/// Nothing moves but in [`World::step`] and its kin, which take the next event, set the clock to
/// its time and tell what became ready. Everything random comes from the seed: the same calls on
/// a world of the same seed give the same run, to the last bit ([`World::digest`]).
///
/// Methods panic when they are given the identifier of another world's part or a configuration that
/// does not validate: both are mistakes of the test.
///
/// ```
/// use bytes::Bytes;
/// use weir_core::time::{Duration, Instant};
/// use weir_sim::{PipeConfig, Read, Wake, World};
///
/// let mut world = World::new(1);
/// let delay = Duration::from_millis(20);
/// let (client, server) = world.pipe(PipeConfig { delay, ..PipeConfig::default() });
/// world.write(client, &mut Bytes::from_static(b"hello"))?;
/// assert_eq!(world.read(server, 1024), Read::Blocked);
/// assert_eq!(world.step(), Some(Wake::Readable(server)));
/// assert_eq!(world.now(), Instant::ZERO + delay);
/// assert_eq!(world.read(server, 1024), Read::Data(Bytes::from_static(b"hello")));
/// # Ok::<(), weir_sim::WriteError>(())
/// ```
pub struct World {
    seed: u64,
    now: Instant,
    events: EventQueue<Event>,
    wakes: VecDeque<Wake>,
    handled: u64,
    network: Network,
    pipes: Vec<Pipe>,
    /// How often each name was given, so that two parts of one name draw different numbers.
    names: HashMap<String, u32>,
    digest: Digest,
    capture: Option<Capture>,
}

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// A datagram waits at a node: [`World::receive`].
    Datagram(NodeId),
    /// There is something to read at this end of a pipe, if only its end.
    Readable(PipeEnd),
    /// An end whose write was refused may write again, or learns that it never will.
    Writable(PipeEnd),
    /// The time has come that was asked for with this token: [`World::wake_at`].
    Timer(u64),
}

/// What is to happen.
enum Event {
    /// A datagram has come to the end of a link.
    Hop(u32),
    /// A datagram is released by its sender.
    Release(u32),
    /// Something moves in one direction of a pipe: that which is written at this end.
    Flow(PipeEnd),
    /// A pipe is cut as this end's configuration says.
    Cut(PipeEnd),
    Timer(u64),
    Call(Box<dyn FnOnce(&mut World)>),
}

impl World {
    /// An empty world. When the environment variable `WEIR_SIM_PCAP` names a directory, all that is
    /// delivered is recorded, and written there when the world is dropped.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::ZERO,
            events: EventQueue::new(),
            wakes: VecDeque::new(),
            handled: 0,
            network: Network::default(),
            pipes: Vec::new(),
            names: HashMap::new(),
            digest: Digest::new(),
            capture: Capture::from_environment(seed),
        }
    }

    /// The seed it was made with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A generator of its own for a part of the test: an engine, an application. The same label
    /// gives the same numbers under one seed, whatever else the world contains.
    #[must_use]
    pub fn rng(&self, label: &str) -> Rng {
        split(self.seed, label)
    }

    /// A hash of everything that was delivered, dropped and timed so far. Two runs that differ in
    /// anything differ in it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// Events handled so far.
    #[must_use]
    pub fn events_handled(&self) -> u64 {
        self.handled
    }

    /// When the next event happens; `None` when nothing will ever happen by itself.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        if self.wakes.is_empty() {
            self.events.next_time()
        } else {
            Some(self.now)
        }
    }

    /// Goes on to the next thing that becomes ready; `None` when nothing will.
    pub fn step(&mut self) -> Option<Wake> {
        self.step_until(Instant::MAX)
    }

    /// Goes on to the next thing that becomes ready at `until` or before. The clock stays at the
    /// last event; with `None` it may be anywhere up to `until`.
    pub fn step_until(&mut self, until: Instant) -> Option<Wake> {
        loop {
            if let Some(wake) = self.wakes.pop_front() {
                return Some(wake);
            }
            let (at, event) = self.events.pop_due(until)?;
            self.now = self.now.max(at);
            self.handled += 1;
            self.happen(event);
        }
    }

    /// Lets time pass up to and including `until`. What became ready is not told: a test that
    /// drives the world by hand looks for itself.
    pub fn advance_to(&mut self, until: Instant) {
        while self.step_until(until).is_some() {}
        self.now = self.now.max(until);
    }

    /// Asks for [`Wake::Timer`] with `token` at `at`, or at once when that is over. There is no
    /// way to take it back: whoever asks checks whether it still wants it.
    pub fn wake_at(&mut self, at: Instant, token: u64) {
        self.events.push(at.max(self.now), Event::Timer(token));
    }

    /// Has `change` done to the world at `at`: a link reconfigured, a pipe cut, a node moved.
    pub fn at(&mut self, at: Instant, change: impl FnOnce(&mut World) + 'static) {
        self.events
            .push(at.max(self.now), Event::Call(Box::new(change)));
    }

    /// Records all deliveries from now on.
    pub fn record(&mut self) {
        self.capture.get_or_insert_with(Capture::in_memory);
    }

    /// What was recorded, as a pcapng file: raw IP packets with made-up headers, their times those
    /// of the world's clock. `None` when nothing is recorded.
    #[must_use]
    pub fn recording(&self) -> Option<&[u8]> {
        self.capture.as_ref().map(Capture::bytes)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hop(flight) => self.next_hop(flight),
            Event::Release(flight) => self.release(flight),
            Event::Flow(writer) => self.move_flow(writer),
            Event::Cut(end) => self.cut_as_configured(end),
            Event::Timer(token) => {
                self.digest.event(b'T', self.now, token, 0, &[]);
                self.wakes.push_back(Wake::Timer(token));
            }
            Event::Call(change) => change(self),
        }
    }

    /// `name`, with a number behind it when it was given before.
    fn unique_name(&mut self, name: String) -> String {
        let count = self.names.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            name
        } else {
            format!("{name}#{count}")
        }
    }
}

impl fmt::Debug for World {
    /// The state in lines for a person: what a failed run prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.next_event();
        writeln!(
            f,
            "world: seed {}, at {:?}, next event {next:?}",
            self.seed, self.now
        )?;
        self.describe_network(f)?;
        self.describe_pipes(f)
    }
}
