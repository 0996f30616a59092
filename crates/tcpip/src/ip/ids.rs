//! Identifications of datagrams that may be fragmented (RFC 6864, RFC 8200 section 4.5).

use std::net::IpAddr;

use weir_core::rng::Rng;

use crate::ip::hash::Keyed;
use crate::limits::ID_COUNTERS;

/// Counters, each shared by the destinations that a keyed hash puts there, plus an offset of each
/// (source, destination, protocol) by another: the third algorithm of RFC 7739 section 5. An
/// identification comes again for the same three only after all others were used (T155), and what an
/// observer sees at one destination says nothing about those sent to another.
#[derive(Debug)]
pub(crate) struct Ids {
    counters: Vec<u32>,
    place: Keyed,
    offset: Keyed,
}

impl Ids {
    pub(crate) fn new(rng: &mut Rng) -> Ids {
        Ids {
            counters: vec![0; ID_COUNTERS],
            place: Keyed::new(rng),
            offset: Keyed::new(rng),
        }
    }

    /// The first of `count` identifications in a row for a datagram that is to be fragmented, or may be
    /// on the way. IPv4 uses the low 16 bits.
    pub(crate) fn next(&mut self, src: IpAddr, dst: IpAddr, protocol: u8, count: u32) -> u32 {
        let key = (src, dst, protocol);
        let place = self.place.of(&key) as usize % ID_COUNTERS;
        let Some(counter) = self.counters.get_mut(place) else {
            return 0;
        };
        let id = counter.wrapping_add(self.offset.of(&key) as u32);
        *counter = counter.wrapping_add(count.max(1));
        id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use weir_core::rng::rng_from_seed;

    use super::*;

    // T155, T80
    #[test]
    fn an_identification_comes_again_after_all_others_only() {
        let mut ids = Ids::new(&mut rng_from_seed(1));
        let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut seen = HashSet::new();
        for _ in 0..65_536 {
            assert!(seen.insert(ids.next(src, dst, 17, 1) as u16));
        }
        assert!(!seen.insert(ids.next(src, dst, 17, 1) as u16));
    }

    // T155
    #[test]
    fn one_destination_tells_nothing_of_another() {
        let mut ids = Ids::new(&mut rng_from_seed(2));
        let src = "10.0.0.1".parse().unwrap();
        let first: Vec<u32> = (2..200u8)
            .map(|last| ids.next(src, IpAddr::from([10, 0, 0, last]), 17, 1))
            .collect();
        let close = first
            .windows(2)
            .filter(|two| two[0].abs_diff(two[1]) < 1000);
        assert!(close.count() < 3, "{first:?}");
    }
}
