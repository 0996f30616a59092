//! Fast Open's cookies (RFC 7413): given out by this side, and kept for the next connection to a
//! server.

use std::collections::VecDeque;
use std::net::IpAddr;

use weir_core::rng::Rng;
use weir_core::time::{Duration, Instant};

use crate::limits::MAX_FAST_OPEN_COOKIES;
use crate::stack::secret::Secret;
use crate::wire::tcp::FastOpen;

/// How long cookies are made with one key. They are taken for one more such time (RFC 7413 4.1.2:
/// servers should expire cookies).
const KEY_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// The server's side: makes and checks cookies.
#[derive(Debug)]
pub(crate) struct FastOpenKeys {
    present: Secret,
    former: Secret,
    since: Instant,
}

/// What a cookie in a SYN is worth.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// Data may be taken.
    Good,
    /// The same, but the client should have a new one.
    Old,
    /// Nothing.
    Bad,
}

impl FastOpenKeys {
    pub(crate) fn new(rng: &mut Rng, now: Instant) -> FastOpenKeys {
        FastOpenKeys {
            present: Secret::new(rng),
            former: Secret::new(rng),
            since: now,
        }
    }

    /// The cookie of a client at `remote`.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        local: IpAddr,
        remote: IpAddr,
    ) -> Option<FastOpen> {
        self.rotate(now, rng);
        FastOpen::new(&self.present.addresses(local, remote).to_le_bytes())
    }

    /// What `cookie` is worth, from a client at `remote`.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        local: IpAddr,
        remote: IpAddr,
        cookie: &FastOpen,
    ) -> Worth {
        self.rotate(now, rng);
        let is_by = |secret: &Secret| {
            let expected = secret.addresses(local, remote).to_le_bytes();
            let given = cookie.cookie();
            // Every byte is looked at: the time it takes must not tell how many are right.
            let pairs = given.iter().zip(&expected);
            let differ = pairs.fold(0, |differ, (a, b)| differ | (a ^ b));
            given.len() == expected.len() && differ == 0
        };
        if is_by(&self.present) {
            Worth::Good
        } else if is_by(&self.former) {
            Worth::Old
        } else {
            Worth::Bad
        }
    }

    fn rotate(&mut self, now: Instant, rng: &mut Rng) {
        let age = now.saturating_duration_since(self.since);
        if age < KEY_PERIOD {
            return;
        }
        let last = core::mem::replace(&mut self.present, Secret::new(rng));
        // After a longer rest the last key is too old as well.
        self.former = if age < KEY_PERIOD.saturating_mul(2) {
            last
        } else {
            Secret::new(rng)
        };
        self.since = now;
    }
}

/// The client's side: cookies of servers, the newest of a bounded number.
#[derive(Debug, Default)]
pub(crate) struct FastOpenCache {
    cookies: VecDeque<(IpAddr, FastOpen)>,
}

impl FastOpenCache {
    /// The cookie of the server at `remote`.
    pub(crate) fn get(&self, remote: IpAddr) -> Option<FastOpen> {
        let mut cookies = self.cookies.iter();
        cookies
            .find(|(address, _)| *address == remote)
            .map(|(_, cookie)| *cookie)
    }

    /// Keeps a server's cookie in place of its former one, or of the oldest of all.
    pub(crate) fn put(&mut self, remote: IpAddr, cookie: FastOpen) {
        self.cookies.retain(|(address, _)| *address != remote);
        if self.cookies.len() >= MAX_FAST_OPEN_COOKIES {
            self.cookies.pop_front();
        }
        self.cookies.push_back((remote, cookie));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    // T38: RFC 7413 4.1.1: a cookie is good from one address alone.
    #[test]
    fn a_cookie_is_good_for_its_client() {
        let mut rng = rng_from_seed(1);
        let mut keys = FastOpenKeys::new(&mut rng, Instant::ZERO);
        let now = Instant::from_millis(1);
        let cookie = keys.make(now, &mut rng, address(1), address(2)).unwrap();
        let mut worth = |remote, cookie: &FastOpen| {
            keys.check(now, &mut rng, address(1), address(remote), cookie)
        };
        assert_eq!(worth(2, &cookie), Worth::Good);
        assert_eq!(worth(3, &cookie), Worth::Bad);
        assert_eq!(worth(2, &FastOpen::REQUEST), Worth::Bad);
        let short = FastOpen::new(cookie.cookie().get(..4).unwrap()).unwrap();
        assert_eq!(worth(2, &short), Worth::Bad);
    }

    // T38: RFC 7413 4.1.2: keys change, and one change does not make cookies bad.
    #[test]
    fn a_cookie_ages_with_its_key() {
        let mut rng = rng_from_seed(1);
        let mut keys = FastOpenKeys::new(&mut rng, Instant::ZERO);
        let (local, remote) = (address(1), address(2));
        let cookie = keys.make(Instant::ZERO, &mut rng, local, remote).unwrap();
        let later = Instant::ZERO + KEY_PERIOD;
        assert_eq!(
            keys.check(later, &mut rng, local, remote, &cookie),
            Worth::Old
        );
        let fresh = keys.make(later, &mut rng, local, remote).unwrap();
        assert_eq!(
            keys.check(later, &mut rng, local, remote, &fresh),
            Worth::Good
        );
        let much_later = later + KEY_PERIOD;
        assert_eq!(
            keys.check(much_later, &mut rng, local, remote, &cookie),
            Worth::Bad
        );
        let rested = much_later + KEY_PERIOD * 5;
        assert_eq!(
            keys.check(rested, &mut rng, local, remote, &fresh),
            Worth::Bad
        );
    }

    // threats C4
    #[test]
    fn cookies_of_ever_more_servers_are_bounded() {
        let mut cache = FastOpenCache::default();
        let cookie = FastOpen::new(&[7; 8]).unwrap();
        let server = |n: usize| IpAddr::from(u128::to_be_bytes(n as u128 + 1));
        for n in 0..2 * MAX_FAST_OPEN_COOKIES {
            cache.put(server(n), cookie);
            cache.put(server(n), cookie);
        }
        assert_eq!(cache.cookies.len(), MAX_FAST_OPEN_COOKIES);
        assert_eq!(cache.get(server(0)), None);
        assert_eq!(
            cache.get(server(2 * MAX_FAST_OPEN_COOKIES - 1)),
            Some(cookie)
        );
    }
}
