//! What the proofs share: a second, independent reading of the wire, a peer that speaks frames by
//! hand, and a checker that looks on.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends by panic"
)]
#![allow(unreachable_pub, reason = "included by several test binaries")]

pub mod checker;
pub mod frames;
pub mod pattern;
pub mod peer;
pub mod recorder;

#[allow(unused_imports, reason = "every test binary uses a part of it")]
pub use peer::{Peer, ReadEnd, quiet};
