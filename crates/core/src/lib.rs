//! What every weir engine shares: windows, budgets, buffers, schedulers, timers, traces.
//!
//! Nothing in this crate does I/O, reads a clock, spawns a task or contains `unsafe`. Time comes in
//! as a [`time::Instant`], randomness as a seeded [`rng::Rng`], so that a run replays exactly. No
//! module knows the words of one protocol: what only one engine needs stays in that engine.
//!
//! | module | what it is |
//! |---|---|
//! | [`time`], [`rng`] | the two things an engine may not fetch for itself |
//! | [`budget`] | memory as a tree with a hard limit at the top |
//! | [`window`] | flow-control credit, tuned to the path, paid out of the budget |
//! | [`buf`] | chunks to read into, and slices of them for readers; bytes kept until acknowledged, bytes put back in order |
//! | [`sched`] | whose turn it is |
//! | [`deliver`] | keep the peer told of the latest value, once, until acknowledged |
//! | [`ranges`] | an ordered set of ranges with a bound |
//! | [`rtt`], [`timer`] | how long a round trip takes, when to wake up |
//! | [`congestion`], [`pacer`] | how much may be in flight, and when the next of it goes |
//! | [`delivery`] | how fast the path delivers |
//! | [`slab`], [`idmap`] | where streams live, and how a peer's number finds one |
//! | [`close`], [`limits`], [`trace`] | why something ended, every cap by name, what is seen |
//! | [`pcapng`] | captures for Wireshark, encoded in memory |

pub mod budget;
pub mod buf;
pub mod close;
pub mod congestion;
pub mod deliver;
pub mod delivery;
pub mod idmap;
pub mod limits;
pub mod pacer;
pub mod pcapng;
pub mod ranges;
pub mod rng;
pub mod rtt;
pub mod sched;
pub mod slab;
pub mod time;
pub mod timer;
pub mod trace;
pub mod window;
