//! What weir asks of the operating system: what a process used so far ([`usage()`]), and the socket
//! options that the standard library does not have ([`socket`]).
//!
//! Everything here is safe code over `socket2` and `nix`.

pub mod socket;
mod usage;

pub use usage::{Usage, lift_open_files, resident_kib, usage};
