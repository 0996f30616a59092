//! What is known of path MTUs (RFC 1191, RFC 8201).

use std::collections::HashMap;
use std::net::IpAddr;

use weir_core::rng::Rng;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

use crate::ip::hash::Keyed;
use crate::limits::MAX_PATH_MTUS;

/// How long a smaller MTU is believed before a larger one is tried again (RFC 1191 section 6.3: ten
/// minutes, RFC 8201 section 5.3 the same).
pub(crate) const PATH_MTU_LIFETIME: Duration = Duration::from_secs(600);

/// The least that a link of IPv4 carries whole (RFC 791 section 3.2).
pub(crate) const MIN_MTU_V4: u16 = 68;
/// The least that a link of IPv6 carries whole (RFC 8200 section 5).
pub(crate) const MIN_MTU_V6: u16 = 1280;

/// Common MTUs, for routers that do not say theirs (RFC 1191 section 7.1).
const PLATEAUS: [u16; 11] = [
    65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68,
];

/// Destinations whose path takes less than the first link.
#[derive(Debug)]
pub(crate) struct PathMtus {
    paths: HashMap<IpAddr, Path, Keyed>,
}

#[derive(Copy, Clone, Debug)]
struct Path {
    mtu: u16,
    expires: Instant,
    /// Its timer, among those of the stack.
    timer: Option<Key>,
}

/// A path that takes less than was thought.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lowered {
    pub(crate) mtu: u16,
    /// When to [look](PathMtus::expire) at it again.
    pub(crate) expires: Instant,
    /// The timer that it has already, to be set to then.
    pub(crate) timer: Option<Key>,
    /// The timer of a path that had to go for it.
    pub(crate) evicted: Option<Key>,
}

impl PathMtus {
    pub(crate) fn new(rng: &mut Rng) -> PathMtus {
        PathMtus {
            paths: HashMap::with_hasher(Keyed::new(rng)),
        }
    }

    /// How many destinations there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The MTU of the path to `dst`, when it is less than the first link's.
    #[inline]
    pub(crate) fn get(&self, dst: IpAddr) -> Option<u16> {
        if self.paths.is_empty() {
            return None;
        }
        self.paths.get(&dst).map(|path| path.mtu)
    }

    /// A router says that packets to `dst` of `size` bytes are too big, and that `reported` bytes are
    /// not (0: it does not say). `current` is what was thought until now. `None` when the report is
    /// ignored (T134).
    pub(crate) fn lower(
        &mut self,
        now: Instant,
        dst: IpAddr,
        reported: u32,
        size: u16,
        current: u16,
    ) -> Option<Lowered> {
        let least = if dst.is_ipv4() {
            MIN_MTU_V4
        } else {
            MIN_MTU_V6
        };
        let reported = match reported {
            0 if dst.is_ipv4() => plateau_below(size.min(current)),
            reported => u16::try_from(reported).unwrap_or(u16::MAX),
        };
        if reported < least || reported >= current {
            return None;
        }
        let mut evicted = None;
        if self.paths.len() >= MAX_PATH_MTUS && !self.paths.contains_key(&dst) {
            // Any other goes: it is found again by the next packet that is too big.
            let other = self.paths.keys().next().copied();
            let other = other.and_then(|other| self.paths.remove(&other));
            evicted = other.and_then(|other| other.timer);
        }
        let timer = self.paths.get(&dst).and_then(|path| path.timer);
        let lowered = Lowered {
            mtu: reported,
            expires: now + PATH_MTU_LIFETIME,
            timer,
            evicted,
        };
        let path = Path {
            mtu: reported,
            expires: lowered.expires,
            timer,
        };
        self.paths.insert(dst, path);
        Some(lowered)
    }

    /// Says which timer a path has.
    pub(crate) fn set_timer(&mut self, dst: IpAddr, timer: Key) {
        if let Some(path) = self.paths.get_mut(&dst) {
            path.timer = Some(timer);
        }
    }

    /// Forgets what is known of `dst` if it is too old by `now`. True when it was.
    pub(crate) fn expire(&mut self, now: Instant, dst: IpAddr) -> bool {
        match self.paths.get(&dst) {
            Some(path) if path.expires <= now => self.paths.remove(&dst).is_some(),
            _ => false,
        }
    }
}

/// The next smaller common MTU below a packet's size.
fn plateau_below(size: u16) -> u16 {
    let smaller = PLATEAUS.into_iter().find(|plateau| *plateau < size);
    smaller.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use weir_core::rng::rng_from_seed;

    use super::*;

    fn four() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn six() -> IpAddr {
        "2001:db8::1".parse().unwrap()
    }

    // T133, T134
    #[test]
    fn only_a_smaller_and_possible_mtu_is_taken() {
        let mut paths = PathMtus::new(&mut rng_from_seed(1));
        let now = Instant::ZERO;
        assert_eq!(paths.lower(now, four(), 67, 1500, 1500), None);
        assert_eq!(paths.lower(now, four(), 1500, 1500, 1500), None);
        assert_eq!(paths.lower(now, four(), 9000, 1500, 1500), None);
        assert_eq!(paths.lower(now, six(), 1279, 1500, 1500), None);
        assert_eq!(paths.lower(now, six(), 0, 1500, 1500), None);
        assert_eq!(paths.len(), 0);
        assert!(paths.lower(now, four(), 1400, 1500, 1500).is_some());
        assert_eq!((paths.get(four()), paths.get(six())), (Some(1400), None));
        assert!(paths.lower(now, six(), 1280, 1500, 1500).is_some());
        assert_eq!(paths.get(six()), Some(1280));
    }

    // T133: RFC 1191 section 5: a router that does not say its MTU.
    #[test]
    fn an_old_router_makes_a_step_down_the_plateaus() {
        let mut paths = PathMtus::new(&mut rng_from_seed(1));
        let lowered = |paths: &mut PathMtus, size, current| {
            let lowered = paths.lower(Instant::ZERO, four(), 0, size, current);
            lowered.map(|lowered| lowered.mtu)
        };
        assert_eq!(lowered(&mut paths, 1500, 1500), Some(1492));
        assert_eq!(lowered(&mut paths, 1492, 1492), Some(1006));
        assert_eq!(lowered(&mut paths, 68, 1006), None);
    }

    // T136
    #[test]
    fn after_ten_minutes_it_is_forgotten() {
        let mut paths = PathMtus::new(&mut rng_from_seed(1));
        let lowered = paths
            .lower(Instant::ZERO, four(), 1400, 1500, 1500)
            .unwrap();
        assert_eq!(lowered.expires, Instant::from_millis(600_000));
        assert!(!paths.expire(Instant::from_millis(599_999), four()));
        assert_eq!(paths.get(four()), Some(1400));
        assert!(paths.expire(lowered.expires, four()));
        assert_eq!(paths.get(four()), None);
    }

    // C7, C4
    #[test]
    fn path_mtus_are_bounded() {
        let mut paths = PathMtus::new(&mut rng_from_seed(1));
        for n in 0..3 * MAX_PATH_MTUS as u32 {
            let dst = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            assert!(paths.lower(Instant::ZERO, dst, 1400, 1500, 1500).is_some());
            assert_eq!(paths.get(dst), Some(1400));
        }
        assert_eq!(paths.len(), MAX_PATH_MTUS);
    }
}
