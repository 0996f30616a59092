//! SYN cookies (RFC 4987 section 3.6): all that a SYN said, in the numbers of its answer.
//!
//! ```text
//!  initial sequence number:  | period (4) | MSS (4) | keyed hash (24) |   the upper 8 masked
//!  TSval of the SYN,ACK:     | clock, a little late (26) | ECN | SACK | shift (4) |
//! ```
//!
//! The hash covers both ends, the client's sequence number, the period, the MSS and the six bits of
//! the timestamp: none of them can be changed on the way back. A client without timestamps gets a
//! connection without window scale, SACK and ECN, as Linux does it.

use std::net::SocketAddr;

use weir_core::time::{Duration, Instant, nanos};

use crate::stack::secret::Secret;
use crate::tcp::interface::Agreed;

/// How long one key period lasts. A cookie is good in its period and the next.
const PERIOD: Duration = Duration::from_secs(64);

/// Segment sizes that a cookie can tell: those of common links, of both versions. The largest that is
/// no larger than the client's counts.
const SIZES: [u16; 16] = [
    48, 216, 536, 900, 1200, 1220, 1300, 1360, 1400, 1420, 1440, 1460, 4036, 8940, 16_344, 65_475,
];

/// The bits of a timestamp that carry options.
const OPTION_BITS: u32 = 6;
const OPTION_MASK: u32 = (1 << OPTION_BITS) - 1;
/// The shift that stands for none.
const NO_SHIFT: u32 = 0xf;
const SACK: u32 = 0x10;
const ECN: u32 = 0x20;

/// Makes and checks cookies.
#[derive(Debug)]
pub(crate) struct Cookies {
    secret: Secret,
    /// When one was last sent; before that, and long after, no ACK is taken for one (T37).
    last: Option<Instant>,
}

/// The numbers of a SYN,ACK that carry a cookie.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) iss: u32,
    /// TSval, where the client sent timestamps.
    pub(crate) timestamp: Option<u32>,
}

impl Cookies {
    pub(crate) fn new(secret: Secret) -> Cookies {
        Cookies { secret, last: None }
    }

    /// A cookie for a SYN with the sequence number `client`. `agreed` is what both sides want;
    /// `clock` what the timestamp would be without a cookie. What of `agreed` the cookie cannot
    /// carry must not be offered in the SYN,ACK: [`Cookies::carried`].
    pub(crate) fn make(
        &mut self,
        now: Instant,
        local: &SocketAddr,
        remote: &SocketAddr,
        client: u32,
        agreed: &Agreed,
        clock: u32,
    ) -> Cookie {
        self.last = Some(now);
        let bits = option_bits(agreed);
        let size = SIZES.partition_point(|size| *size <= agreed.mss);
        let size = size.saturating_sub(1) as u32;
        let period = period(now) & 0xf;
        Cookie {
            iss: self.number(local, remote, client, period, size, bits),
            timestamp: agreed.timestamps.then(|| with_bits(clock, bits)),
        }
    }

    /// The part of `agreed` that a cookie brings back.
    pub(crate) fn carried(agreed: &Agreed) -> Agreed {
        if agreed.timestamps {
            return *agreed;
        }
        Agreed {
            mss: agreed.mss,
            window_scale: None,
            sack: false,
            timestamps: false,
            ecn: false,
        }
    }

    /// What was agreed, when `iss` is a cookie of this stack's that is not too old. `client` is the
    /// client's first sequence number, `echo` the TSecr of the ACK, where it has one.
    pub(crate) fn check(
        &self,
        now: Instant,
        local: &SocketAddr,
        remote: &SocketAddr,
        client: u32,
        iss: u32,
        echo: Option<u32>,
    ) -> Option<Agreed> {
        let bits = echo.map_or(NO_SHIFT, |echo| echo & OPTION_MASK);
        let fields = (iss ^ self.mask(local, remote)) >> 24;
        let (period_bits, size) = (fields >> 4, fields & 0xf);
        let present = period(now);
        let is_recent = [present, present.wrapping_sub(1)]
            .iter()
            .any(|period| period & 0xf == period_bits);
        if !is_recent || iss != self.number(local, remote, client, period_bits, size, bits) {
            return None;
        }
        let shift = bits & NO_SHIFT;
        Some(Agreed {
            mss: SIZES.get(size as usize).copied()?,
            window_scale: (shift != NO_SHIFT).then_some(shift as u8),
            sack: bits & SACK != 0,
            timestamps: echo.is_some(),
            ecn: bits & ECN != 0,
        })
    }

    /// True while an ACK may bring a cookie back.
    pub(crate) fn is_outstanding(&self, now: Instant) -> bool {
        self.last
            .is_some_and(|last| now.saturating_duration_since(last) <= PERIOD.saturating_mul(2))
    }

    fn number(
        &self,
        local: &SocketAddr,
        remote: &SocketAddr,
        client: u32,
        period: u32,
        size: u32,
        bits: u32,
    ) -> u32 {
        let fields = period << 4 | size;
        let covered = u64::from(client) << 16 | u64::from(fields) << 8 | u64::from(bits);
        // Bit 63 keeps it apart from the mask's input.
        let hash = self.secret.pair(local, remote, 1 << 63 | covered);
        (fields << 24 ^ self.mask(local, remote)) | (hash as u32 & 0x00ff_ffff)
    }

    /// Hides period and size: the number is to look random.
    fn mask(&self, local: &SocketAddr, remote: &SocketAddr) -> u32 {
        self.secret.pair(local, remote, 0) as u32 & 0xff00_0000
    }
}

fn period(now: Instant) -> u32 {
    now.as_nanos().checked_div(nanos(PERIOD)).unwrap_or(0) as u32
}

fn option_bits(agreed: &Agreed) -> u32 {
    if !agreed.timestamps {
        return NO_SHIFT;
    }
    let shift = agreed
        .window_scale
        .map_or(NO_SHIFT, |shift| u32::from(shift).min(14));
    let sack = if agreed.sack { SACK } else { 0 };
    let ecn = if agreed.ecn { ECN } else { 0 };
    shift | sack | ecn
}

/// The latest time not after `clock` that ends in `bits`: a timestamp must not go back when the
/// connection goes on with its own clock.
fn with_bits(clock: u32, bits: u32) -> u32 {
    let value = clock & !OPTION_MASK | bits;
    if value & OPTION_MASK > clock & OPTION_MASK {
        value.wrapping_sub(1 << OPTION_BITS)
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::{below, next_u64, rng_from_seed};

    fn ends() -> (SocketAddr, SocketAddr) {
        (
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:5000".parse().unwrap(),
        )
    }

    fn cookies() -> Cookies {
        Cookies::new(Secret::new(&mut rng_from_seed(1)))
    }

    fn full(mss: u16) -> Agreed {
        Agreed {
            mss,
            window_scale: Some(7),
            sack: true,
            timestamps: true,
            ecn: true,
        }
    }

    // T36: RFC 4987 3.6.
    #[test]
    fn a_cookie_brings_back_what_was_agreed() {
        let (local, remote) = ends();
        let mut cookies = cookies();
        let now = Instant::from_millis(1_000_000);
        for mss in [1460, 1440, 536, 8940] {
            for (ecn, sack) in [(true, true), (false, true), (true, false)] {
                for window_scale in [None, Some(0), Some(7), Some(14)] {
                    let agreed = Agreed {
                        window_scale,
                        sack,
                        ecn,
                        ..full(mss)
                    };
                    let cookie = cookies.make(now, &local, &remote, 77, &agreed, 123_456);
                    let back = cookies.check(
                        now + PERIOD,
                        &local,
                        &remote,
                        77,
                        cookie.iss,
                        cookie.timestamp,
                    );
                    assert_eq!(back, Some(agreed));
                }
            }
        }
    }

    // T36: RFC 9293 3.7.1: never more than the client can take.
    #[test]
    fn the_segment_size_is_rounded_down() {
        let (local, remote) = ends();
        let mut cookies = cookies();
        for (mss, told) in [
            (1459, 1440),
            (1461, 1460),
            (65_535, 65_475),
            (100, 48),
            (20, 48),
        ] {
            let cookie = cookies.make(Instant::ZERO, &local, &remote, 1, &full(mss), 0);
            let back = cookies
                .check(
                    Instant::ZERO,
                    &local,
                    &remote,
                    1,
                    cookie.iss,
                    cookie.timestamp,
                )
                .unwrap();
            assert_eq!(back.mss, told, "{mss}");
        }
    }

    // T36
    #[test]
    fn without_timestamps_only_the_segment_size_comes_back() {
        let (local, remote) = ends();
        let mut cookies = cookies();
        let agreed = Agreed {
            timestamps: false,
            ..full(1460)
        };
        let cookie = cookies.make(Instant::ZERO, &local, &remote, 1, &agreed, 99);
        assert_eq!(cookie.timestamp, None);
        let back = cookies.check(Instant::ZERO, &local, &remote, 1, cookie.iss, None);
        assert_eq!(back, Some(Cookies::carried(&agreed)));
        assert_eq!(back.unwrap().window_scale, None);
    }

    // T36, threats C7: old, foreign, guessed and altered ones are none.
    #[test]
    fn a_cookie_is_good_for_its_ends_its_client_and_its_time() {
        let (local, remote) = ends();
        let mut cookies = cookies();
        let now = Instant::from_millis(64_000 * 100);
        let cookie = cookies.make(now, &local, &remote, 77, &full(1460), 5_000);
        let check = |cookies: &Cookies, now, remote: &SocketAddr, client, iss, echo| {
            cookies
                .check(now, &local, remote, client, iss, echo)
                .is_some()
        };
        let echo = cookie.timestamp;
        assert!(check(&cookies, now, &remote, 77, cookie.iss, echo));
        assert!(!check(
            &cookies,
            now + PERIOD * 2,
            &remote,
            77,
            cookie.iss,
            echo
        ));
        assert!(!check(&cookies, now, &remote, 78, cookie.iss, echo));
        assert!(!check(&cookies, now, &remote, 77, cookie.iss, None));
        assert!(!check(
            &cookies,
            now,
            &remote,
            77,
            cookie.iss,
            echo.map(|echo| echo ^ SACK)
        ));
        let other = "10.0.0.2:5001".parse().unwrap();
        assert!(!check(&cookies, now, &other, 77, cookie.iss, echo));
        let mut rng = rng_from_seed(9);
        let guessed = (0..100_000).filter(|_| {
            let (iss, echo) = (next_u64(&mut rng) as u32, next_u64(&mut rng) as u32);
            check(&cookies, now, &remote, 77, iss, Some(echo))
        });
        // One in 2^27: two periods of sixteen, 24 bits.
        assert!(guessed.count() <= 1);
    }

    // T37
    #[test]
    fn cookies_are_looked_for_only_after_one_was_sent() {
        let (local, remote) = ends();
        let mut cookies = cookies();
        let now = Instant::from_millis(500_000);
        assert!(!cookies.is_outstanding(now));
        cookies.make(now, &local, &remote, 1, &full(1460), 0);
        assert!(cookies.is_outstanding(now + PERIOD));
        assert!(!cookies.is_outstanding(now + PERIOD * 3));
    }

    // T112, RFC 7323 5.4: the clock of the connection goes on from the cookie's.
    #[test]
    fn a_timestamp_with_options_is_never_ahead_of_the_clock() {
        let mut rng = rng_from_seed(2);
        for _ in 0..10_000 {
            let clock = next_u64(&mut rng) as u32;
            let bits = below(&mut rng, 64) as u32;
            let value = with_bits(clock, bits);
            assert_eq!(value & OPTION_MASK, bits);
            assert!(clock.wrapping_sub(value) < 64);
        }
    }
}
