//! Two sessions with applications that do at random what applications do, over simulated pipes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test code, of which each binary uses a part"
)]

pub mod app;
pub mod plan;
pub mod side;
pub mod truth;

pub use plan::Plan;
pub use side::drive;
