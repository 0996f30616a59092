//! How fast the path delivers: one rate sample for each acknowledgement.
//!
//! The algorithm of draft-cheng-iccrg-delivery-rate-estimation-02, in the refined form of
//! draft-ietf-ccwg-bbr section 4.1: every sent packet keeps a [`PacketRate`], a snapshot of the
//! connection's counters; when it is acknowledged, the difference to the counters now, divided by
//! the longer of the time it took to send and the time it took to be acknowledged, is the rate.
//!
//! The order of calls for one acknowledgement: [`on_acked`](RateSampler::on_acked) for each packet
//! it newly acknowledges, [`on_lost`](RateSampler::on_lost) for what it lets be declared lost, then
//! [`finish_ack`](RateSampler::finish_ack) once. All counts are bytes in flight: what congestion
//! control does not count (bare acknowledgements) is not told here.

use crate::time::{Duration, Instant, nanos};

/// What one sent packet remembers of the moment it was sent. 40 bytes, kept with the packet until
/// it is acknowledged or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRate {
    delivered: u64,
    delivered_time: Instant,
    first_sent_time: Instant,
    lost: u64,
    /// Bytes in flight with this packet, shifted left by one, and the application-limited flag
    /// in the lowest bit: a `bool` of its own would cost eight bytes for each packet.
    in_flight_and_limited: u64,
}

impl PacketRate {
    /// Bytes in flight just after this packet was sent, itself among them.
    #[inline]
    #[must_use]
    pub fn tx_in_flight(&self) -> u64 {
        self.in_flight_and_limited >> 1
    }

    /// Whether the application had run out of data while this packet was sent.
    #[inline]
    #[must_use]
    pub fn is_app_limited(&self) -> bool {
        self.in_flight_and_limited & 1 == 1
    }

    /// Bytes delivered over the connection's life when this packet was sent.
    #[inline]
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes declared lost over the connection's life when this packet was sent.
    #[inline]
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// What one acknowledgement says about the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RateSample {
    /// Bytes delivered over [`interval`](RateSample::interval).
    pub delivered: u64,
    /// The time over which they were: the longer of the sending and the acknowledging.
    pub interval: Duration,
    /// Bytes per second; `None` when the interval is shorter than a round trip can be, so that
    /// nothing reliable can be said.
    pub rate: Option<u64>,
    /// Whether the application and not the path may have set the rate.
    pub is_app_limited: bool,
    /// The connection's delivered count when the newest packet acknowledged was sent: what
    /// packet-timed rounds are counted by.
    pub prior_delivered: u64,
    /// Bytes this acknowledgement newly acknowledged.
    pub newly_acked: u64,
    /// Bytes declared lost since the sample before.
    pub newly_lost: u64,
    /// Bytes declared lost between the sending of the newest packet acknowledged and now.
    pub lost: u64,
    /// Bytes in flight just after the newest packet acknowledged was sent.
    pub tx_in_flight: u64,
    /// All bytes delivered so far, these among them.
    pub total_delivered: u64,
}

/// The newest packet that the acknowledgement being read has named.
#[derive(Clone, Copy, Debug)]
struct Newest {
    packet: PacketRate,
    sent_at: Instant,
}

/// The counters of one path.
#[derive(Clone, Debug, Default)]
pub struct RateSampler {
    delivered: u64,
    delivered_time: Instant,
    first_sent_time: Instant,
    lost: u64,
    /// While set, packets are marked application-limited; it ends when `delivered` passes it.
    app_limited_until: Option<u64>,
    newest: Option<Newest>,
    newly_acked: u64,
    newly_lost: u64,
}

impl RateSampler {
    /// Nothing sent yet.
    #[must_use]
    pub fn new() -> RateSampler {
        RateSampler::default()
    }

    /// A packet of `bytes` goes out, with `in_flight_before` bytes in flight without it. The answer
    /// is kept with the packet.
    #[inline]
    pub fn on_sent(&mut self, now: Instant, in_flight_before: u64, bytes: u64) -> PacketRate {
        if in_flight_before == 0 {
            // Nothing in flight: the time since the last delivery says nothing about the path.
            self.first_sent_time = now;
            self.delivered_time = now;
        }
        let in_flight = in_flight_before.saturating_add(bytes);
        PacketRate {
            delivered: self.delivered,
            delivered_time: self.delivered_time,
            first_sent_time: self.first_sent_time,
            lost: self.lost,
            in_flight_and_limited: (in_flight << 1) | u64::from(self.app_limited_until.is_some()),
        }
    }

    /// A packet is newly acknowledged. Once for each, before [`finish_ack`](Self::finish_ack).
    #[inline]
    pub fn on_acked(&mut self, now: Instant, sent_at: Instant, bytes: u64, packet: &PacketRate) {
        self.delivered = self.delivered.saturating_add(bytes);
        self.delivered_time = now;
        self.newly_acked = self.newly_acked.saturating_add(bytes);
        let is_newest = self.newest.is_none_or(|newest| {
            // Packets of one batch share their time of sending; the flight grows from one to the
            // next.
            (sent_at, packet.delivered, packet.tx_in_flight())
                > (
                    newest.sent_at,
                    newest.packet.delivered,
                    newest.packet.tx_in_flight(),
                )
        });
        if is_newest {
            self.newest = Some(Newest {
                packet: *packet,
                sent_at,
            });
        }
    }

    /// `bytes` in flight are declared lost.
    #[inline]
    pub fn on_lost(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_add(bytes);
        self.newly_lost = self.newly_lost.saturating_add(bytes);
    }

    /// The end of one acknowledgement: its sample, or `None` when it acknowledged nothing new.
    /// `min_rtt` is the least round trip seen on the path.
    #[inline]
    pub fn finish_ack(&mut self, now: Instant, min_rtt: Option<Duration>) -> Option<RateSample> {
        if self
            .app_limited_until
            .is_some_and(|until| self.delivered > until)
        {
            self.app_limited_until = None;
        }
        let Newest { packet, sent_at } = self.newest.take()?;
        let send_elapsed = sent_at.saturating_duration_since(packet.first_sent_time);
        let ack_elapsed = now.saturating_duration_since(packet.delivered_time);
        self.first_sent_time = sent_at;
        let interval = send_elapsed.max(ack_elapsed);
        let delivered = self.delivered.saturating_sub(packet.delivered);
        let is_reliable =
            interval >= min_rtt.unwrap_or(Duration::ZERO) && interval > Duration::ZERO;
        Some(RateSample {
            delivered,
            interval,
            rate: is_reliable.then(|| bytes_per_second(delivered, interval)),
            is_app_limited: packet.is_app_limited(),
            prior_delivered: packet.delivered,
            newly_acked: core::mem::take(&mut self.newly_acked),
            newly_lost: core::mem::take(&mut self.newly_lost),
            lost: self.lost.saturating_sub(packet.lost),
            tx_in_flight: packet.tx_in_flight(),
            total_delivered: self.delivered,
        })
    }

    /// The application has nothing more to send although the window would allow it, with
    /// `in_flight` bytes in flight: what is sent until these are delivered says nothing about how
    /// fast the path could be (section 3.4 of the draft: called when nothing is unsent, nothing
    /// waits below, the window has room, and all that was lost is sent again).
    #[inline]
    pub fn set_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = Some(self.delivered.saturating_add(in_flight).max(1));
    }

    /// Whether what is sent now counts as limited by the application.
    #[inline]
    #[must_use]
    pub fn is_app_limited(&self) -> bool {
        self.app_limited_until.is_some()
    }

    /// All bytes delivered so far.
    #[inline]
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// All bytes declared lost so far.
    #[inline]
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// `bytes` in `time`, as bytes per second; [`u64::MAX`] when it does not fit.
#[inline]
#[must_use]
pub fn bytes_per_second(bytes: u64, time: Duration) -> u64 {
    let time = nanos(time).max(1);
    // The usual case without a 128-bit division: less than 18 GB in one interval.
    if let Some(product) = bytes.checked_mul(1_000_000_000) {
        return product / time;
    }
    let product = u128::from(bytes).saturating_mul(1_000_000_000);
    u64::try_from(product / u128::from(time)).unwrap_or(u64::MAX)
}

/// What `rate` bytes per second give in `time`, in bytes; [`u64::MAX`] when it does not fit.
#[inline]
#[must_use]
pub fn bytes_in(rate: u64, time: Duration) -> u64 {
    let time = nanos(time);
    if let Some(product) = rate.checked_mul(time) {
        return product / 1_000_000_000;
    }
    let product = u128::from(rate).saturating_mul(u128::from(time));
    u64::try_from(product / 1_000_000_000).unwrap_or(u64::MAX)
}
