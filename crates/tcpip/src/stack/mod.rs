//! Interfaces, sockets and connections of one host: what the rest of the crate is assembled into.

mod counters;

pub use counters::Counters;
