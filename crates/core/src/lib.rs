//! What every weir engine shares: windows, budgets, buffers, schedulers, timers, traces.
//!
//! Nothing in this crate does I/O, reads a clock, spawns a task or contains `unsafe`. Time comes in
//! as a [`time::Instant`], randomness as a seeded [`rng::Rng`], so that a run replays exactly. No
//! module knows the words of one protocol: what only one engine needs stays in that engine.
//!
//! | module | what it is |
//! |---|---|
//! | [`time`], [`rng`] | the two things an engine may not fetch for itself |
//! | [`close`], [`limits`], [`trace`] | why something ended, every cap by name, what is seen |
//! | [`budget`], [`window`] | memory as a tree with a hard limit; flow-control credit out of it |
//! | [`slab`], [`idmap`] | where streams live, and how a peer's number finds one |
//! | [`sched`] | whose turn it is |

pub mod budget;
pub mod close;
pub mod idmap;
pub mod limits;
pub mod rng;
pub mod sched;
pub mod slab;
pub mod time;
pub mod trace;
pub mod window;
