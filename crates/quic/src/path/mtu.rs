//! How large a datagram of one path may be: discovery by probes (RFC 8899, RFC 9000 section 14.3).
//!
//! Sizes are UDP payloads in bytes. What has not been proven is not used: a path begins at 1200,
//! and a larger size holds once a probe of that size, PING and PADDING, is acknowledged. The search
//! first tries what most links carry, then the bound, then halves the interval in between.

use weir_core::time::Instant;

use crate::limits::{
    BLACK_HOLE_HOLD, BLACK_HOLE_PTOS, BLACK_HOLE_ROUNDS, MAX_DATAGRAM, MIN_DATAGRAM,
    MTU_MAX_PROBES, MTU_RAISE_AFTER, MTU_SEARCH_GAP,
};

/// The size that every path carries, as a `u16`.
pub(crate) const BASE: u16 = MIN_DATAGRAM as u16;
/// The largest UDP payload, as a `u16`.
const LARGEST: u16 = MAX_DATAGRAM as u16;
/// What Ethernet leaves for UDP over IPv6: asked before anything else.
const ETHERNET: u16 = 1452;
/// What is worth asking before the interval is halved: Ethernet under IPv4, jumbo frames under IPv6
/// and IPv4, and loopback interfaces of 16 KiB.
const LIKELY: [u16; 4] = [1472, 8952, 8972, 16_336];

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum State {
    /// Until the handshake is through and the path validated (RFC 9000 section 14.3.1).
    Disabled,
    Searching,
    /// Nothing is asked before this time: the search is through, or a black hole was found.
    Resting(Instant),
}

/// The size of datagrams on one path.
///
/// No timer stands behind it: [`wants_probe`](Mtu::wants_probe) is asked when something is sent
/// anyway, so that an idle connection is not woken for probes (RFC 8899 section 5.1.1).
#[derive(Clone, Debug)]
pub(crate) struct Mtu {
    state: State,
    /// Proven.
    current: u16,
    /// What the configuration, or the driver, allows.
    bound: u16,
    /// The peer's max_udp_payload_size.
    peer_max: u16,
    /// The largest size that has not been found too large.
    ceiling: u16,
    /// The probe on its way.
    probed: Option<u16>,
    /// The size last asked, and how often it was lost.
    asked: u16,
    losses: u8,
    black_hole: BlackHole,
}

/// Signs that datagrams over 1200 bytes do not arrive any more.
#[derive(Copy, Clone, Debug, Default)]
struct BlackHole {
    /// Large packets up to this number were acknowledged; losses before it say nothing.
    acked: u64,
    /// Flights in a row whose large packets were lost.
    rounds: u8,
    /// Losses of packets after this number belong to the next flight.
    flight_end: u64,
    /// How often one was found.
    found: u8,
}

impl Mtu {
    /// A path on which 1200 bytes pass. `bound` is the largest size to look for, in bytes.
    pub(crate) fn new(bound: u16) -> Mtu {
        let mut mtu = Mtu {
            state: State::Disabled,
            current: BASE,
            bound,
            peer_max: LARGEST,
            ceiling: BASE,
            probed: None,
            asked: 0,
            losses: 0,
            black_hole: BlackHole::default(),
        };
        mtu.ceiling = mtu.limit();
        mtu
    }

    /// The size of a full datagram.
    #[inline]
    pub(crate) fn current(&self) -> u16 {
        self.current
    }

    /// Begins the search: the handshake is through, and the path carries 1200 bytes. Does nothing
    /// the second time.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.state == State::Disabled {
            self.state = State::Searching;
            self.settle(now);
        }
    }

    /// The peer's max_udp_payload_size (RFC 9000 section 18.2): nothing larger is sent. Returns
    /// whether [`current`](Self::current) changed.
    pub(crate) fn set_peer_max(&mut self, now: Instant, max: u64) -> bool {
        self.peer_max = u16::try_from(max).unwrap_or(LARGEST);
        self.on_limit_changed(now)
    }

    /// The largest size to look for, in bytes: the driver learnt what the interface carries.
    /// Returns whether [`current`](Self::current) changed.
    pub(crate) fn set_bound(&mut self, now: Instant, bound: u16) -> bool {
        self.bound = bound;
        self.on_limit_changed(now)
    }

    /// Whether a probe should go out now.
    #[inline]
    pub(crate) fn wants_probe(&self, now: Instant) -> bool {
        match self.state {
            State::Disabled => false,
            State::Searching => self.probed.is_none(),
            State::Resting(until) => {
                until <= now && self.probed.is_none() && self.current < self.limit()
            }
        }
    }

    /// The size of the probe to send now, which counts as on its way. At most one is.
    pub(crate) fn poll_probe(&mut self, now: Instant) -> Option<u16> {
        if !self.wants_probe(now) {
            return None;
        }
        if let State::Resting(_) = self.state {
            // The raise timer: the path may carry more by now (RFC 8899 section 5.1.1).
            self.search_anew();
        }
        let size = self.next_size();
        if size != self.asked {
            self.asked = size;
            self.losses = 0;
        }
        self.probed = Some(size);
        Some(size)
    }

    /// A probe of `size` bytes was acknowledged. Returns whether [`current`](Self::current) grew.
    pub(crate) fn on_probe_acked(&mut self, now: Instant, size: u16) -> bool {
        if self.probed != Some(size) {
            // It counted as lost, or was sent before a black hole was found.
            return false;
        }
        self.probed = None;
        if size <= self.current || size > self.limit() {
            return false;
        }
        self.current = size;
        self.ceiling = self.ceiling.max(size);
        self.settle(now);
        true
    }

    /// A probe of `size` bytes was lost. That is no sign of congestion; a size that is lost three
    /// times is too large.
    pub(crate) fn on_probe_lost(&mut self, now: Instant, size: u16) {
        if self.probed != Some(size) {
            return;
        }
        self.probed = None;
        self.losses = self.losses.saturating_add(1);
        if self.losses >= MTU_MAX_PROBES {
            self.refuse(now, size.saturating_sub(1));
        }
    }

    /// A packet in a datagram of `size` bytes, no probe, was acknowledged. The caller may tell only
    /// of the largest number that an ACK frame acknowledges for the first time at over 1200 bytes.
    #[inline]
    pub(crate) fn on_acked(&mut self, packet_number: u64, size: u16) {
        if size > BASE && packet_number >= self.black_hole.acked {
            self.black_hole.acked = packet_number;
            self.black_hole.rounds = 0;
        }
    }

    /// A packet in a datagram of `size` bytes, no probe, was lost; `largest_sent` is the highest
    /// number sent so far. Returns whether [`current`](Self::current) fell.
    ///
    /// A queue that overflows drops a whole flight of large packets, too. A black hole drops those
    /// of several flights in a row, each sent after the losses of the one before were noticed,
    /// while what is small arrives: without that, no loss but by time-out would be noticed.
    pub(crate) fn on_lost(
        &mut self,
        now: Instant,
        packet_number: u64,
        size: u16,
        largest_sent: u64,
    ) -> bool {
        let hole = &mut self.black_hole;
        if size <= BASE || self.current <= BASE || packet_number < hole.acked {
            return false;
        }
        if hole.rounds > 0 && packet_number <= hole.flight_end {
            return false;
        }
        hole.rounds = hole.rounds.saturating_add(1);
        hole.flight_end = largest_sent;
        if hole.rounds < BLACK_HOLE_ROUNDS {
            return false;
        }
        self.on_black_hole(now)
    }

    /// The probe time-out expired `count` times in a row: nothing arrives, perhaps for its size.
    /// Returns whether [`current`](Self::current) fell.
    pub(crate) fn on_pto(&mut self, now: Instant, count: u32) -> bool {
        count >= BLACK_HOLE_PTOS && self.current > BASE && self.on_black_hole(now)
    }

    /// An ICMP message says that the path carries datagrams of `size` bytes. **Only** for messages
    /// whose quoted packet was found to be one that this connection sent on this path: addresses,
    /// ports and connection ID (RFC 9000 section 14.2.1). Ignored below 1200, and when it would
    /// allow more. Returns whether [`current`](Self::current) fell.
    pub(crate) fn on_verified_too_big(&mut self, now: Instant, size: u16) -> bool {
        if size < BASE || size >= self.ceiling {
            return false;
        }
        let fell = size < self.current;
        self.current = self.current.min(size);
        if self.probed.is_some_and(|probed| probed > size) {
            self.probed = None;
        }
        self.losses = 0;
        self.refuse(now, size);
        fell
    }

    /// The largest size that may be sent at all.
    fn limit(&self) -> u16 {
        self.bound.min(self.peer_max).clamp(BASE, LARGEST)
    }

    fn on_limit_changed(&mut self, now: Instant) -> bool {
        let limit = self.limit();
        let fell = limit < self.current;
        self.current = self.current.min(limit);
        if self.probed.is_some_and(|probed| probed > limit) {
            self.probed = None;
        }
        match self.state {
            State::Disabled => self.ceiling = limit,
            // Only what is new is asked for: what was refused below the old bound stays refused.
            _ if limit > self.ceiling => {
                self.ceiling = limit;
                self.state = State::Searching;
            }
            _ => self.ceiling = limit,
        }
        if self.state == State::Searching {
            self.settle(now);
        }
        fell
    }

    /// What to ask next, between what is proven and what is refused.
    fn next_size(&self) -> u16 {
        // A size that was lost is asked again before the search goes on.
        if self.losses > 0 && self.asked > self.current && self.asked <= self.ceiling {
            return self.asked;
        }
        if self.current < ETHERNET && ETHERNET <= self.ceiling {
            return ETHERNET;
        }
        if self.ceiling == self.limit() {
            return self.ceiling;
        }
        let within = |size: &&u16| **size > self.current && **size <= self.ceiling;
        if let Some(likely) = LIKELY.iter().find(within) {
            return *likely;
        }
        let half = self.ceiling.saturating_sub(self.current).div_ceil(2);
        self.current.saturating_add(half)
    }

    /// Nothing over `ceiling` passes.
    fn refuse(&mut self, now: Instant, ceiling: u16) {
        self.ceiling = ceiling.max(self.current);
        self.losses = 0;
        self.settle(now);
    }

    /// Ends the search when what is left to gain is small.
    fn settle(&mut self, now: Instant) {
        let gap = self.ceiling.saturating_sub(self.current);
        // At the bound itself there may be little left, and one probe gets it.
        let small = MTU_SEARCH_GAP.max(self.current >> 6);
        let done = match self.ceiling == self.limit() {
            true => gap == 0,
            false => gap < small,
        };
        if done && self.state == State::Searching {
            self.state = State::Resting(now + MTU_RAISE_AFTER);
        }
    }

    fn search_anew(&mut self) {
        self.state = State::Searching;
        self.ceiling = self.limit();
        self.losses = 0;
    }

    fn on_black_hole(&mut self, now: Instant) -> bool {
        let fell = self.current > BASE;
        self.current = BASE;
        self.probed = None;
        self.losses = 0;
        let hole = &mut self.black_hole;
        hole.rounds = 0;
        // An outage looks the same, and is over soon; what happens again is worth less haste.
        let hold = BLACK_HOLE_HOLD.saturating_mul(1 << hole.found.min(10));
        hole.found = hole.found.saturating_add(1);
        self.ceiling = self.limit();
        self.state = State::Resting(now + hold.min(MTU_RAISE_AFTER));
        fell
    }
}
