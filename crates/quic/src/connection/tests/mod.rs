//! Two connections joined by a network in memory, under virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod attacks;
mod basics;
mod closing;
mod fairness;
mod fuzzed;
mod handshaking;
mod judge;
mod levels;
mod matrix;
mod negotiation;
mod packets;
pub(crate) mod pair;
mod refusals;
mod silence;
mod sim;
mod trace;
mod unreachable;
