//! Keyed hashing: of what strangers choose, and of what they must not guess.
//!
//! Two kinds. [`Spread`] is quick and spreads connections over a table; nothing that goes out tells
//! of it. [`Secret`] is SipHash-2-4 (Aumasson and Bernstein, 2012), whose results may be seen:
//! initial sequence numbers, cookies.

use std::net::{IpAddr, SocketAddr};

use weir_core::rng::{self, Rng};

/// The key of a table's hash: four words that nobody else knows.
#[derive(Clone)]
pub(crate) struct Spread {
    words: [u64; 4],
}

impl Spread {
    pub(crate) fn new(rng: &mut Rng) -> Spread {
        // A multiplier has to be odd, or the lowest bits of every product are zero.
        Spread {
            words: core::array::from_fn(|_| rng::next_u64(rng) | 1),
        }
    }

    /// The place of a connection of two ends.
    #[inline]
    pub(crate) fn pair(&self, local: &SocketAddr, remote: &SocketAddr) -> u32 {
        let [add, multiply, ..] = self.words;
        let ports = u64::from(local.port()) << 16 | u64::from(remote.port());
        let hash = match (local.ip(), remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits())
            }
            (local, remote) => {
                let [a, b] = halves(local);
                let [c, d] = halves(remote);
                let hash = folded(a ^ add, multiply ^ b.rotate_left(1));
                folded(hash ^ c, multiply ^ d.rotate_left(1))
            }
        };
        self.end(folded(hash ^ add, multiply) ^ ports)
    }

    /// The place of an address and port.
    #[inline]
    pub(crate) fn place(&self, place: &SocketAddr) -> u32 {
        let [add, multiply, ..] = self.words;
        let [a, b] = halves(place.ip());
        let address = folded(a ^ add, multiply) ^ b;
        // The version is told apart from an address that looks mapped.
        let version = u64::from(place.is_ipv4()) << 16;
        self.end(folded(address ^ add, multiply) ^ version ^ u64::from(place.port()))
    }

    /// The place of one address.
    #[inline]
    pub(crate) fn address(&self, address: IpAddr) -> u32 {
        let [add, multiply, ..] = self.words;
        let [a, b] = halves(address);
        self.end(folded(a ^ add, multiply) ^ b)
    }

    #[inline]
    fn end(&self, hash: u64) -> u32 {
        // Two rounds: after one, what differs in a few bits can still agree in many.
        let [more, multiply_more, add, multiply] = self.words;
        let once = folded(hash ^ add, multiply);
        folded(once ^ more, multiply_more) as u32
    }
}

/// An address as two words; those of IPv4 as IPv6 maps them, so that no two are the same.
#[inline]
fn halves(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// The two halves of a 128-bit product, folded: every bit of `a` reaches every bit of the result.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product as u64) ^ ((product >> 64) as u64)
}

/// A key for SipHash-2-4.
#[derive(Clone)]
pub(crate) struct Secret {
    key: [u64; 2],
}

impl Secret {
    pub(crate) fn new(rng: &mut Rng) -> Secret {
        Secret {
            key: core::array::from_fn(|_| rng::next_u64(rng)),
        }
    }

    /// One with a key that is known.
    pub(crate) const fn from_key(key: [u64; 2]) -> Secret {
        Secret { key }
    }

    /// The hash of `words`, each eight bytes in little-endian order.
    pub(crate) fn hash(&self, words: &[u64]) -> u64 {
        let mut state = Sip::new(self.key);
        for word in words {
            state.absorb(*word);
        }
        // The last word of the algorithm holds the length in bytes and the bytes left over: none.
        state.absorb((words.len() as u64).wrapping_mul(8) << 56);
        state.finish()
    }

    /// The hash of a connection's two ends and one more word.
    pub(crate) fn pair(&self, local: &SocketAddr, remote: &SocketAddr, more: u64) -> u64 {
        let ports = u64::from(local.port()) << 16 | u64::from(remote.port());
        match (local.ip(), remote.ip()) {
            // Half as many words, and so no input of IPv6: the length is a part of the hash.
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let both = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
                self.hash(&[both, ports, more])
            }
            (local, remote) => {
                let [a, b] = halves(local);
                let [c, d] = halves(remote);
                self.hash(&[a, b, c, d, ports, more])
            }
        }
    }

    /// The hash of two addresses.
    pub(crate) fn addresses(&self, local: IpAddr, remote: IpAddr) -> u64 {
        let [a, b] = halves(local);
        let [c, d] = halves(remote);
        self.hash(&[a, b, c, d])
    }
}

/// SipHash's four words of state.
struct Sip {
    v: [u64; 4],
}

impl Sip {
    fn new([k0, k1]: [u64; 2]) -> Sip {
        // The constants spell "somepseudorandomlygeneratedbytes".
        Sip {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.rounds(2);
        self.v[0] ^= word;
    }

    fn finish(mut self) -> u64 {
        self.v[2] ^= 0xff;
        self.rounds(4);
        let [a, b, c, d] = self.v;
        a ^ b ^ c ^ d
    }

    #[inline]
    fn rounds(&mut self, count: u32) {
        let [mut a, mut b, mut c, mut d] = self.v;
        for _ in 0..count {
            a = a.wrapping_add(b);
            c = c.wrapping_add(d);
            b = b.rotate_left(13) ^ a;
            d = d.rotate_left(16) ^ c;
            a = a.rotate_left(32);
            c = c.wrapping_add(b);
            a = a.wrapping_add(d);
            b = b.rotate_left(17) ^ c;
            d = d.rotate_left(21) ^ a;
            c = c.rotate_left(32);
        }
        self.v = [a, b, c, d];
    }
}

// Keys are secrets: they do not belong into a log.
impl core::fmt::Debug for Spread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Spread(..)")
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    // The vectors of SipHash-2-4's authors: key 00 01 .. 0f, messages 00 01 .. of whole words.
    #[test]
    fn siphash_gives_the_published_values() {
        let secret = Secret {
            key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
        };
        assert_eq!(secret.hash(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(secret.hash(&[0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }

    // C5: patterned addresses and ports spread as evenly as random ones, for every key.
    #[test]
    fn patterned_connections_spread_evenly() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let makers: [fn(u16) -> (String, String); 4] = [
            |n| ("10.0.0.1:80".into(), format!("10.0.0.2:{n}")),
            |n| {
                (
                    "10.0.0.1:80".into(),
                    format!("10.0.{}.{}:5", n >> 8, n & 255),
                )
            },
            |n| ("[fd00::1]:80".into(), format!("[fd00::{n:x}]:9")),
            |n| ("[fd00::1]:80".into(), format!("[fd00:{n:x}::1]:9")),
        ];
        for seed in 0..8 {
            let spread = Spread::new(&mut rng_from_seed(seed));
            for make in makers {
                let mut buckets = [0u32; 256];
                for n in 1..=4096 {
                    let (local, remote) = make(n);
                    let hash = spread.pair(&address(&local), &address(&remote));
                    buckets[(hash & 0xff) as usize] += 1;
                }
                // 16 expected in each; 48 would be eight standard deviations.
                assert!(buckets.iter().all(|&n| n < 48), "seed {seed}: {buckets:?}");
            }
        }
    }

    #[test]
    fn another_key_is_another_hash() {
        let local = "10.0.0.1:80".parse().unwrap();
        let remote = "10.0.0.2:81".parse().unwrap();
        let one = Secret::new(&mut rng_from_seed(1));
        let other = Secret::new(&mut rng_from_seed(2));
        assert_ne!(one.pair(&local, &remote, 0), other.pair(&local, &remote, 0));
        assert_ne!(one.pair(&local, &remote, 0), one.pair(&local, &remote, 1));
        assert_ne!(one.pair(&local, &remote, 0), one.pair(&remote, &local, 0));
    }
}
