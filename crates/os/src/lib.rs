//! What weir asks of the operating system: what a process used so far ([`usage()`]), the socket
//! options that the standard library does not have ([`socket`]), the way to an address ([`route`]),
//! what the network reports about datagrams that did not get through ([`reports`]); and on Linux
//! network devices of its own ([`tun`]), interfaces, addresses and routes ([`netlink`]) and commands in
//! network namespaces of their own ([`namespace`]).
//!
//! This is the one crate that may hold `unsafe`, and does in few places: where a system call has no safe
//! form, in functions that give it one.

mod cidr;
mod fault;
#[cfg(target_os = "linux")]
pub mod kept;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod netlink;
pub mod reports;
pub mod route;
#[cfg(target_os = "linux")]
pub mod signals;
pub mod socket;
#[cfg(target_os = "linux")]
pub mod tun;
mod usage;
#[cfg(target_os = "linux")]
mod watch;

pub use cidr::Cidr;
pub use fault::SystemError;
pub use usage::{Usage, lift_open_files, resident_kib, usage};
#[cfg(target_os = "linux")]
pub use watch::{Watchable, Watched, watch};
