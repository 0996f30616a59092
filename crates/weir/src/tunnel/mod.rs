//! The tunnel that `weir listen` and `weir connect` run: TCP connections carried over streams.

mod access;
mod backoff;
mod destination;
pub mod protocol;
mod rules;
#[cfg(test)]
mod socks_wire;
mod spec;

pub use access::{Admission, AllowPeers};
pub use backoff::{Backoff, BackoffConfig};
pub use destination::{Destination, DestinationError, Host, MAX_NAME, Name};
pub use rules::{AllowListen, AllowTo, Rule, RuleError};
pub use spec::{ForwardError, LocalForward, RemoteForward, SocksForward};
