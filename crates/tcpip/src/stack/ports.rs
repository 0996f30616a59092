//! Ports for whoever has none (RFC 6056).

use core::ops::RangeInclusive;

use weir_core::rng::{self, Rng};

/// Random ports that are tried before every port is, one after the other.
const RANDOM_TRIES: usize = 32;

/// A port of `range` for which `is_free` holds, chosen at random (RFC 6056 3.3.2, algorithm 2); where
/// nearly all are taken, the next free one above a random one (3.3.1, algorithm 1).
pub(crate) fn pick(
    rng: &mut Rng,
    range: &RangeInclusive<u16>,
    mut is_free: impl FnMut(u16) -> bool,
) -> Option<u16> {
    let (first, last) = (u64::from(*range.start()), u64::from(*range.end()));
    for _ in 0..RANDOM_TRIES {
        let port = u16::try_from(rng::between(rng, first, last)).ok()?;
        if is_free(port) {
            return Some(port);
        }
    }
    let from = u16::try_from(rng::between(rng, first, last)).ok()?;
    let mut ports = (from..=*range.end()).chain(*range.start()..from);
    ports.find(|port| is_free(*port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use weir_core::rng::rng_from_seed;

    // T31: RFC 6056 3.2: the whole range, at random.
    #[test]
    fn ports_spread_over_the_whole_range() {
        let mut rng = rng_from_seed(1);
        let mut eighths = [0u32; 8];
        let mut last = 0;
        let mut successive = 0;
        for _ in 0..8000 {
            let port = pick(&mut rng, &(32_768..=65_535), |_| true).unwrap();
            eighths[usize::from((port - 32_768) / 4096)] += 1;
            successive += u32::from(port.wrapping_sub(last) <= 8);
            last = port;
        }
        assert!(
            eighths.iter().all(|n| (850..1150).contains(n)),
            "{eighths:?}"
        );
        assert!(successive < 20, "{successive}");
    }

    // T31: the last free port is found, and none when there is none.
    #[test]
    fn every_port_is_given_out_once() {
        let mut rng = rng_from_seed(2);
        let mut taken = HashSet::new();
        for _ in 0..500 {
            let port = pick(&mut rng, &(1000..=1499), |port| !taken.contains(&port)).unwrap();
            assert!((1000..=1499).contains(&port) && taken.insert(port));
        }
        assert_eq!(
            pick(&mut rng, &(1000..=1499), |port| !taken.contains(&port)),
            None
        );
    }
}
