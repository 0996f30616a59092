//! Connection IDs that are random.

use weir_core::rng::{self, Rng};
use weir_core::time::Duration;

use crate::cid::ConnectionIdGenerator;
use crate::wire::ConnectionId;

/// Connection IDs of random bytes: nothing to be read from them by anyone.
#[derive(Copy, Clone, Debug)]
pub struct RandomCids {
    len: usize,
    lifetime: Option<Duration>,
}

impl RandomCids {
    /// Of `len` bytes, 0 to 20; `None` for other lengths. Of a server's, 8 bytes are few enough
    /// for every packet and too many for two to be alike; 0 bytes are for a client that has no
    /// other connection on its port.
    #[must_use]
    pub const fn new(len: usize) -> Option<RandomCids> {
        if len > ConnectionId::MAX_LEN {
            return None;
        }
        Some(RandomCids {
            len,
            lifetime: None,
        })
    }

    /// With another connection ID in place of each that was in use for `lifetime`.
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> RandomCids {
        self.lifetime = Some(lifetime);
        self
    }
}

impl Default for RandomCids {
    /// Of 8 bytes.
    fn default() -> RandomCids {
        RandomCids {
            len: 8,
            lifetime: None,
        }
    }
}

impl ConnectionIdGenerator for RandomCids {
    fn generate(&self, rng: &mut Rng) -> ConnectionId {
        random(rng, self.len)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
}

/// `len` random bytes, at most 20.
pub(super) fn random(rng: &mut Rng, len: usize) -> ConnectionId {
    let mut bytes = [0; ConnectionId::MAX_LEN];
    let bytes = bytes.get_mut(..len).unwrap_or_default();
    rng::fill(rng, bytes);
    ConnectionId::new(bytes).unwrap_or(ConnectionId::EMPTY)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_length_from_0_to_20_and_no_other() {
        // Q103, RFC 9000 5.1
        let mut rng = rng::rng_from_seed(1);
        for len in 0..=20 {
            let cids = RandomCids::new(len).unwrap();
            assert_eq!(cids.len(), len);
            assert_eq!(cids.generate(&mut rng).len(), len);
        }
        assert!(RandomCids::new(21).is_none());
    }

    #[test]
    fn no_two_are_alike() {
        // Q103, RFC 9000 5.1
        let mut rng = rng::rng_from_seed(2);
        let cids = RandomCids::default();
        let made: std::collections::HashSet<_> =
            (0..10_000).map(|_| cids.generate(&mut rng)).collect();
        assert_eq!(made.len(), 10_000);
    }
}
