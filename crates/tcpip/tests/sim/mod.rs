//! Two stacks over simulated links, with everything at random.
#![allow(dead_code, unreachable_pub, reason = "a part of one test binary")]

pub mod plan;
pub mod run;
pub mod watch;
pub mod wire;
