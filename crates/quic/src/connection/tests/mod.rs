//! Two connections joined by a network in memory, under virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod basics;
mod negotiation;
pub(crate) mod pair;
