//! What weir asks of the operating system: what a process used so far ([`usage()`]), the socket
//! options that the standard library does not have ([`socket`]), the way to an address ([`route`]), and
//! what the network reports about datagrams that did not get through ([`reports`]).
//!
//! Everything here is safe code over `socket2` and `nix`.

pub mod reports;
pub mod route;
pub mod socket;
mod usage;

pub use usage::{Usage, lift_open_files, resident_kib, usage};
