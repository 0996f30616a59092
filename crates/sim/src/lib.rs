//! A network in memory on a clock of its own.
//!
//! Engines without sockets and clocks are driven here as a driver would drive them, only that time is
//! a number and the network a model. A run of minutes takes milliseconds, and one seed replays it
//! exactly.
//!
//! | what | for |
//! |---|---|
//! | [`World`] | the clock, nodes, datagram links, byte pipes: can be driven by hand |
//! | [`Sim`] | runs [`Actor`]s in a world, finds deadlocks, checks invariants at each turn |
//! | [`PipePeer`], [`OnPipe`] | an engine and its application over a byte pipe |
//! | [`DatagramPeer`], [`OnDatagrams`] | an engine and its application over datagrams |
//! | [`LinkModel`], [`Flow`] | the models of a link and of a pipe's direction, usable without a world |
//! | [`script`] | packets in and out as text, against anything that speaks IP |
//! | [`conformance`] | pages that say which test shows which rule |
//! | [`check()`] | runs a test over seeds, and prints the command that replays the one that failed |
//!
//! # An engine over a pipe
//!
//! Two peers that greet each other: what a multiplexer's test does with its session in the place of
//! `Greeter`.
//!
//! ```
//! use bytes::Bytes;
//! use weir_core::time::{Duration, Instant};
//! use weir_sim::{Chunking, Limits, OnPipe, PipeConfig, PipeInput, PipePeer, Sim, World, check};
//!
//! #[derive(Default)]
//! struct Greeter {
//!     greeted: bool,
//!     heard: Vec<u8>,
//! }
//!
//! impl PipePeer for Greeter {
//!     fn handle_input(&mut self, _now: Instant, input: PipeInput) {
//!         if let PipeInput::Data(bytes) = input {
//!             self.heard.extend_from_slice(&bytes);
//!         }
//!     }
//!     fn handle_timeout(&mut self, _now: Instant) {}
//!     fn poll_transmit(&mut self, _now: Instant, out: &mut Vec<Bytes>) {
//!         if !std::mem::replace(&mut self.greeted, true) {
//!             out.push(Bytes::from_static(b"hello"));
//!         }
//!     }
//!     fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
//!         None
//!     }
//!     fn is_done(&self) -> bool {
//!         self.heard == b"hello"
//!     }
//! }
//!
//! check(10, |seed| {
//!     let mut world = World::new(seed);
//!     let ends = world.pipe(PipeConfig {
//!         delay: Duration::from_millis(20),
//!         chunking: Chunking::Random { low: 1, high: 3 },
//!         ..PipeConfig::default()
//!     });
//!     let mut sim: Sim<OnPipe<Greeter>> = Sim::new(world);
//!     let (client, _server) = sim.add_pair(ends, (Greeter::default(), Greeter::default()));
//!     let report = sim.run(&Limits::default()).unwrap();
//!     assert_eq!(sim.actor(client).peer.heard, b"hello");
//!     assert_eq!(report.at, Instant::ZERO + Duration::from_millis(20));
//! });
//! ```
//!
//! # Environment
//!
//! `WEIR_SIM_SEED=n` runs one seed, `WEIR_SIM_SEEDS=n` that many, `WEIR_SIM_PCAP=DIR` writes a pcapng
//! file of each world's traffic into the directory.

mod actor;
mod capture;
mod check;
pub mod conformance;
mod datagram;
mod digest;
mod engine;
mod error;
mod flow;
mod link;
mod nat;
mod outcome;
mod queue;
mod random;
mod schedule;
pub mod script;
mod sim;
mod world;

pub use actor::Actor;
pub use check::{SEED_VARIABLE, SEEDS_VARIABLE, Seeds, check, check_named};
pub use datagram::{Datagram, Ecn, Packet};
pub use engine::{DatagramPeer, OnDatagrams, OnPipe, PipeClose, PipeInput, PipePeer, Transmit};
pub use error::ConfigError;
pub use flow::{
    Chunking, Cut, CutAt, Ending, Flow, FlowStats, PipeConfig, Progress, Read, Segment, WriteError,
};
pub use link::{
    DropReason, EcnTreatment, GilbertElliott, LinkConfig, LinkModel, LinkStats, QueueLimit,
};
pub use nat::{Nat, NatConfig};
pub use outcome::{Failure, Limits, Report, RunError};
pub use queue::EventQueue;
pub use random::split;
pub use schedule::{Rebinding, Schedule};
pub use sim::{ActorId, Sim, Turn};
pub use world::{
    Filter, LinkId, NatId, NetworkStats, NodeId, NodeStats, PipeEnd, Side, Wake, World,
};
