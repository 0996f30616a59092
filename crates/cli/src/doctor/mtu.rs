//! The greatest packet that a path carries.

use super::probe::{Answer, LEAST, Prober};
use std::time::Duration;

/// UDP payloads to try first: what Ethernet carries, what jumbo frames carry, and all there is.
/// Most paths end at one of these.
const LIKELY_PACKETS: [usize; 3] = [1_500, 9_000, 65_535];

/// What a path was found to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathMtu {
    /// Greatest UDP payload that was answered, in bytes.
    pub(super) payload: usize,
    /// The IP packet around it.
    pub(super) packet: usize,
    /// Datagrams that were asked with.
    pub(super) sizes: u32,
}

/// Searches between [`LEAST`], which must have been answered within `round_trip` before, and the
/// greatest UDP datagram. Stops on the exact byte.
pub(super) async fn search(prober: &mut Prober, overhead: usize, round_trip: Duration) -> PathMtu {
    // Three questions have to be lost before a size counts as too great. RFC 8899 section 5.1.2
    // has as many probes; its timer is for paths that carry traffic meanwhile.
    let limit = (round_trip * 14).clamp(Duration::from_millis(350), Duration::from_secs(4));
    let mut bounds = Bounds::new(overhead);
    let mut sizes = 0;
    while let Some(size) = bounds.next() {
        sizes += 1;
        let answered = matches!(prober.ask(size, None, limit).await, Answer::Negotiated(_));
        bounds.learn(size, answered);
    }
    PathMtu {
        payload: bounds.passes,
        packet: bounds.passes + overhead,
        sizes,
    }
}

/// What is known so far, in bytes of UDP payload.
#[derive(Debug)]
struct Bounds {
    passes: usize,
    /// The least that is known not to pass.
    fails: usize,
    overhead: usize,
}

impl Bounds {
    fn new(overhead: usize) -> Self {
        Self {
            passes: LEAST,
            // One more than an IP packet can hold: IPv4 counts its header in, IPv6 does not, but a
            // socket takes no more over either.
            fails: 65_536_usize.saturating_sub(overhead),
            overhead,
        }
    }

    /// What to try now; `None` when it is known.
    fn next(&self) -> Option<usize> {
        if self.fails - self.passes <= 1 {
            return None;
        }
        let likely = LIKELY_PACKETS
            .iter()
            .map(|packet| packet.saturating_sub(self.overhead))
            .find(|&size| size > self.passes);
        // Behind a likely size that failed, the middle is as good a guess as any.
        match likely {
            Some(size) if size < self.fails => Some(size),
            _ => Some(self.passes + (self.fails - self.passes) / 2),
        }
    }

    fn learn(&mut self, size: usize, passes: bool) {
        if passes {
            self.passes = size;
        } else {
            self.fails = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a path that carries IP packets of `mtu` bytes; what was found, and in how many steps.
    fn found(mtu: usize, overhead: usize) -> (usize, u32) {
        let mut bounds = Bounds::new(overhead);
        let mut steps = 0;
        while let Some(size) = bounds.next() {
            bounds.learn(size, size + overhead <= mtu);
            steps += 1;
            assert!(steps < 30, "{bounds:?}");
        }
        (bounds.passes + overhead, steps)
    }

    #[test]
    fn every_mtu_is_found_to_the_byte() {
        for overhead in [28, 48] {
            for mtu in (LEAST + overhead)..9_100 {
                assert_eq!(found(mtu, overhead).0, mtu);
            }
            assert_eq!(found(65_535, overhead).0, 65_535);
            assert_eq!(found(1_000_000, overhead).0, 65_535);
        }
    }

    #[test]
    fn the_usual_paths_take_few_steps() {
        assert_eq!(found(65_535, 28).1, 3, "loopback");
        // 1,500 passes, then the search between it and the jumbo frame that fails.
        assert!(found(1_500, 28).1 <= 15);
        assert!(found(1_400, 28).1 <= 10, "a tunnel on the path");
    }
}
