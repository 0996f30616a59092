//! Below IP: Ethernet, ARP and NDP, and the cache of neighbours.

mod address;
mod arp;
mod cache;
mod identifier;
mod ndp;
mod resolve;
mod router;

pub(crate) use self::cache::{Neighbor, Neighbors, Pending};
pub(crate) use self::identifier::IDGEN_RETRIES;
pub use self::identifier::IdentifierSecret;
pub(crate) use self::ndp::{Heard, NDP_HOP_LIMIT};
pub(crate) use self::resolve::Resolved;
pub use crate::wire::ethernet::Mac;
