//! The tunnel that `weir listen` and `weir connect` run.

mod backoff;
mod destination;
pub mod protocol;
mod rules;
mod socks_wire;
mod spec;
