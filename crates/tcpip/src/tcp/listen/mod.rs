//! Listeners, and what answers a SYN without a connection.
//!
//! | file | what it is |
//! |---|---|
//! | `mod` | listeners, found by where a SYN goes |
//! | `cookie` | SYN cookies (RFC 4987 section 3.6) |
//! | `fast_open` | Fast Open's cookies, given out and kept (RFC 7413) |

pub(crate) mod cookie;
pub(crate) mod fast_open;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use weir_core::slab::{Key, Slab};

use super::TcpConfig;
use crate::stack::demux::{Demux, Target};
use crate::stack::secret::Spread;
use crate::wire::tcp::MAX_WINDOW_SHIFT;

/// Who takes connections at one place.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where. The address may be unspecified; for a listener to any place the port is 0.
    pub(crate) local: SocketAddr,
    /// How connections behave.
    pub(crate) config: Arc<TcpConfig>,
    /// Connections and attempts that may wait.
    pub(crate) backlog: usize,
    /// Attempts are put before the application first.
    pub(crate) defer: bool,
    /// Established and not accepted.
    pub(crate) ready: VecDeque<Key>,
    /// In SYN-RECEIVED, or waiting for a decision.
    pub(crate) half_open: usize,
}

impl Listener {
    /// True when no more connections may wait to be accepted (T35).
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() >= self.backlog
    }
}

/// The places that a destination can be listened at, the most exact first: itself, every address of
/// its version, every address (an IPv6 listener to all addresses takes IPv4 as well), any place of
/// its version.
pub(crate) fn places(local: &SocketAddr) -> [SocketAddr; 4] {
    let port = local.port();
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let own = if local.is_ipv4() { v4 } else { v6 };
    [
        *local,
        SocketAddr::new(own, port),
        SocketAddr::new(v6, port),
        SocketAddr::new(own, 0),
    ]
}

/// All listeners of a stack.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    slab: Slab<Listener>,
    by_place: Demux,
}

impl Listeners {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// All of them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.slab.iter().map(|(key, _)| key)
    }

    pub(crate) fn insert(&mut self, spread: &Spread, listener: Listener) -> Key {
        let hash = spread.place(&listener.local);
        let key = self.slab.insert(listener);
        self.by_place.insert(hash, Target::Listener(key.index));
        key
    }

    pub(crate) fn remove(&mut self, spread: &Spread, key: Key) -> Option<Listener> {
        let listener = self.slab.remove(key)?;
        let hash = spread.place(&listener.local);
        self.by_place.remove(hash, Target::Listener(key.index));
        Some(listener)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Listener> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Listener> {
        self.slab.get_mut(key)
    }

    /// The listener at exactly this place.
    pub(crate) fn at(&self, spread: &Spread, place: &SocketAddr) -> Option<Key> {
        let found = self.by_place.find(spread.place(place), |target| {
            matches!(target, Target::Listener(index)
                if self.slab.get_at(index).is_some_and(|listener| listener.local == *place))
        })?;
        match found {
            Target::Listener(index) => self.slab.key_at(index),
            _ => None,
        }
    }

    /// Who takes a connection to `local`.
    pub(crate) fn find(&self, spread: &Spread, local: &SocketAddr) -> Option<Key> {
        if self.slab.is_empty() {
            return None;
        }
        places(local)
            .iter()
            .find_map(|place| self.at(spread, place))
    }

    /// True when somebody listens on the port at this address or at all (T31).
    pub(crate) fn is_bound(&self, spread: &Spread, local: &SocketAddr) -> bool {
        let mut exact = places(local).into_iter().take(3);
        !self.slab.is_empty() && exact.any(|place| self.at(spread, &place).is_some())
    }
}

/// The least shift with which a window of `most` bytes can be told (RFC 7323 2.3).
pub(crate) fn shift_for(most: u64) -> u8 {
    let bits = u64::BITS.saturating_sub(most.leading_zeros());
    u8::try_from(bits.saturating_sub(u16::BITS))
        .map_or(MAX_WINDOW_SHIFT, |shift| shift.min(MAX_WINDOW_SHIFT))
}
