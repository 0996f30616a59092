//! Connections in TIME-WAIT: what is kept of them, and no more.

use std::net::IpAddr;
#[cfg(test)]
use std::net::{Ipv6Addr, SocketAddr};

use weir_core::slab::{Key, Slab};

use crate::tcp::interface::Tuple;
use crate::tcp::time_wait::TimeWait;

/// No entry.
const NONE: u32 = u32::MAX;

/// Both ends of a connection in 36 bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Ends {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
}

impl Ends {
    fn new(tuple: &Tuple) -> Ends {
        Ends {
            local: octets(tuple.local.ip()),
            remote: octets(tuple.remote.ip()),
            local_port: tuple.local.port(),
            remote_port: tuple.remote.port(),
        }
    }

    #[cfg(test)]
    fn tuple(&self) -> Tuple {
        Tuple {
            local: SocketAddr::new(address(self.local), self.local_port),
            remote: SocketAddr::new(address(self.remote), self.remote_port),
        }
    }
}

/// IPv4 as IPv6 maps it: no packet of IPv6 has such addresses, they are dropped.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
fn address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Waiting {
    ends: Ends,
    pub(crate) wait: TimeWait,
    /// Of the table of ends.
    pub(crate) hash: u32,
    /// Its wake-up.
    pub(crate) timer: Option<Key>,
    older: u32,
    newer: u32,
}

impl Waiting {
    #[cfg(test)]
    pub(crate) fn tuple(&self) -> Tuple {
        self.ends.tuple()
    }
}

/// All of them, and in which order they came.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    slab: Slab<Waiting>,
    oldest: u32,
    newest: u32,
}

impl Default for TimeWaits {
    fn default() -> TimeWaits {
        TimeWaits {
            slab: Slab::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl TimeWaits {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Keeps one. The index is its place until it is removed.
    pub(crate) fn insert(&mut self, tuple: &Tuple, hash: u32, wait: TimeWait) -> u32 {
        let key = self.slab.insert(Waiting {
            ends: Ends::new(tuple),
            wait,
            hash,
            timer: None,
            older: self.newest,
            newer: NONE,
        });
        match self.slab.get_at_mut(self.newest) {
            Some(before) => before.newer = key.index,
            None => self.oldest = key.index,
        }
        self.newest = key.index;
        key.index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Waiting> {
        let removed = self.slab.remove(self.slab.key_at(index)?)?;
        match self.slab.get_at_mut(removed.older) {
            Some(older) => older.newer = removed.newer,
            None => self.oldest = removed.newer,
        }
        match self.slab.get_at_mut(removed.newer) {
            Some(newer) => newer.older = removed.older,
            None => self.newest = removed.older,
        }
        Some(removed)
    }

    /// The one that has been there longest.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    #[inline]
    pub(crate) fn is(&self, index: u32, tuple: &Tuple) -> bool {
        let waiting = self.slab.get_at(index);
        waiting.is_some_and(|waiting| waiting.ends == Ends::new(tuple))
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Waiting> {
        self.slab.get_at(index)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Waiting> {
        self.slab.get_at_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::time_wait::TimeWaitInit;
    use weir_core::time::{Duration, Instant};

    fn wait() -> TimeWait {
        let init = TimeWaitInit {
            snd_nxt: 1,
            rcv_nxt: 2,
            rcv_wnd: 3,
            timestamp_offset: 0,
            recent: None,
            lasts: Duration::from_secs(60),
            dscp: 0,
        };
        TimeWait::new(Instant::ZERO, &init)
    }

    fn tuple(n: u16) -> Tuple {
        Tuple {
            local: "10.0.0.1:80".parse().unwrap(),
            remote: SocketAddr::new("fd00::2".parse().unwrap(), n),
        }
    }

    #[test]
    fn the_oldest_is_known_whichever_leaves() {
        let mut waits = TimeWaits::default();
        let indices: Vec<u32> = (0..5).map(|n| waits.insert(&tuple(n), 0, wait())).collect();
        assert_eq!(waits.oldest(), Some(indices[0]));
        waits.remove(indices[1]);
        waits.remove(indices[0]);
        assert_eq!(waits.oldest(), Some(indices[2]));
        waits.remove(indices[4]);
        waits.remove(indices[2]);
        assert_eq!(waits.oldest(), Some(indices[3]));
        let again = waits.insert(&tuple(9), 0, wait());
        waits.remove(indices[3]);
        assert_eq!((waits.oldest(), waits.len()), (Some(again), 1));
        waits.remove(again);
        assert_eq!(waits.oldest(), None);
    }

    #[test]
    fn ends_are_kept_exactly() {
        let mut waits = TimeWaits::default();
        let index = waits.insert(&tuple(7), 0, wait());
        assert!(waits.is(index, &tuple(7)) && !waits.is(index, &tuple(8)));
        assert_eq!(waits.get(index).unwrap().tuple(), tuple(7));
    }

    // T156: what a connection in TIME-WAIT costs.
    #[test]
    fn one_is_small() {
        assert!(size_of::<Waiting>() <= 128, "{}", size_of::<Waiting>());
    }
}
