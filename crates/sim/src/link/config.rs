//! What a link is like.

use weir_core::rng::{Rng, between, chance};
use weir_core::time::{Duration, Instant};

use crate::error::ConfigError;
use crate::random::one_in;
use crate::schedule::Schedule;

/// One direction of a link. The default is a perfect one: no delay, no limit, no loss.
///
/// A packet meets the parts in this order: outage, MTU, numbered drops, queue and transmission at
/// `rate`, then loss, corruption, duplication, delay, jitter and reordering on the wire. A packet
/// that is lost has used the link all the same.
///
/// ```
/// use weir_core::time::Duration;
/// use weir_sim::LinkConfig;
///
/// let dsl = LinkConfig {
///     rate: Some(20_000_000),
///     delay: Duration::from_millis(25),
///     loss: 0.02,
///     ..LinkConfig::default()
/// };
/// assert!(dsl.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Bits per second; `None` transmits in no time and so never queues.
    pub rate: Option<u64>,
    /// One-way propagation delay.
    pub delay: Duration,
    /// Extra delay, uniform in `0..=jitter`. Order is kept: a packet waits for the one before it.
    pub jitter: Duration,
    /// Probability that a packet is lost, each by itself.
    pub loss: f64,
    /// Loss in bursts, in addition.
    pub burst: Option<GilbertElliott>,
    /// The most packets in a row that `loss` takes, and the most in a row that `corrupt` changes:
    /// the next one passes without a draw. `None` sets no bound.
    pub run_limit: Option<u32>,
    /// These packets are dropped, by number: 1 is the first that the link is offered.
    pub drop_numbers: Vec<u64>,
    /// Every n-th packet is dropped; 0 drops none.
    pub drop_every: u64,
    /// Probability that a packet is held back by `reorder_by`, so that others overtake it.
    pub reorder: f64,
    /// How long a held-back packet is late.
    pub reorder_by: Duration,
    /// Probability that a packet arrives twice. The copy takes its own jitter.
    pub duplicate: f64,
    /// Probability that a packet is changed as [`crate::Packet::corrupt`] says: one bit flips, as a
    /// rule.
    pub corrupt: f64,
    /// Greatest packet in bytes, headers included ([`crate::Packet::wire_len`]); greater ones
    /// vanish without a word, as in a path with broken path MTU discovery.
    pub mtu: usize,
    /// What may wait for transmission; a packet that finds the queue full is dropped (drop-tail).
    pub queue: QueueLimit,
    /// Bytes waiting from which on ECN-capable packets are marked CE (RFC 3168, the step marking
    /// of RFC 8257 section 3.1).
    pub ecn_threshold: Option<usize>,
    /// What the path does to ECN bits besides.
    pub ecn: EcnTreatment,
    /// When the link is down: what is offered then is dropped; what was sent before arrives.
    pub outages: Schedule,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            rate: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            run_limit: None,
            drop_numbers: Vec::new(),
            drop_every: 0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(10),
            duplicate: 0.0,
            corrupt: 0.0,
            mtu: usize::MAX,
            queue: QueueLimit::default(),
            ecn_threshold: None,
            ecn: EcnTreatment::Pass,
            outages: Schedule::never(),
        }
    }
}

impl LinkConfig {
    /// A link that only delays.
    #[must_use]
    pub fn with_delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// A link of `rate` bits per second and `delay`, with a queue of one bandwidth-delay product
    /// over the round trip (if the way back is as long), and of at least ten full packets.
    #[must_use]
    pub fn bottleneck(rate: u64, delay: Duration) -> Self {
        let product = u128::from(rate) / 8 * (2 * delay).as_nanos() / 1_000_000_000;
        let bytes = usize::try_from(product).unwrap_or(usize::MAX).max(15_000);
        let queue = QueueLimit {
            bytes,
            packets: usize::MAX,
        };
        Self {
            rate: Some(rate),
            delay,
            queue,
            ..Self::default()
        }
    }

    /// A path such as there are, some of them bad: for campaigns over many seeds. Loss stays at or
    /// below 30 %, packets of 1,280 bytes and less pass, and outages are shorter than three seconds.
    #[must_use]
    pub fn rough(rng: &mut Rng) -> Self {
        let delay = Duration::from_micros(between(rng, 0, 150_000));
        let mut config = Self::with_delay(delay);
        if chance(rng, 1, 2) {
            // 256 kbit/s to 256 Mbit/s, as many slow ones as fast ones.
            config = Self::bottleneck(256_000 << between(rng, 0, 10), delay);
            config.ecn_threshold = chance(rng, 1, 3).then_some(config.queue.bytes / 2);
        }
        config.jitter = one_in(rng, 3, |rng| Duration::from_micros(between(rng, 0, 20_000)));
        config.loss = one_in(rng, 3, |rng| between(rng, 1, 200) as f64 / 1_000.0);
        config.burst = one_in(rng, 4, |rng| {
            Some(GilbertElliott::bursts(0.1, between(rng, 1, 10) as f64))
        });
        config.reorder = one_in(rng, 4, |rng| between(rng, 1, 100) as f64 / 1_000.0);
        config.reorder_by = Duration::from_micros(between(rng, 100, 30_000));
        config.duplicate = one_in(rng, 4, |rng| between(rng, 1, 100) as f64 / 1_000.0);
        config.corrupt = one_in(rng, 4, |rng| between(rng, 1, 50) as f64 / 1_000.0);
        config.mtu = if chance(rng, 1, 2) {
            1_500
        } else {
            between(rng, 1_280, 9_000) as usize
        };
        config.outages = one_in(rng, 4, |rng| {
            let from = Instant::from_millis(between(rng, 0, 10_000));
            Schedule::once(from, Duration::from_millis(between(rng, 1, 3_000)))
        });
        config
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range, with its value and the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(rate) = self.rate {
            ConfigError::positive("rate", rate)?;
        }
        ConfigError::probability("loss", self.loss)?;
        ConfigError::probability("reorder", self.reorder)?;
        ConfigError::probability("duplicate", self.duplicate)?;
        ConfigError::probability("corrupt", self.corrupt)?;
        ConfigError::positive("mtu", self.mtu as u64)?;
        ConfigError::positive("queue.packets", self.queue.packets as u64)?;
        ConfigError::positive("queue.bytes", self.queue.bytes as u64)?;
        if let Some(burst) = &self.burst {
            burst.validate()?;
        }
        self.outages.validate("outages")
    }
}

/// How much may wait in front of a link; both bounds hold. The packet in transmission does not
/// count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimit {
    /// Bytes on the wire, headers included.
    pub bytes: usize,
    /// Packets.
    pub packets: usize,
}

impl Default for QueueLimit {
    /// No limit.
    fn default() -> Self {
        Self {
            bytes: usize::MAX,
            packets: usize::MAX,
        }
    }
}

/// Loss in bursts: a good and a bad state, and a step between them for each packet (Gilbert 1960,
/// Elliott 1963).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GilbertElliott {
    /// Probability, for each packet, to go from good to bad.
    pub enter: f64,
    /// Probability, for each packet, to go from bad to good.
    pub leave: f64,
    /// Probability of loss in the good state.
    pub loss_good: f64,
    /// Probability of loss in the bad state.
    pub loss_bad: f64,
}

impl GilbertElliott {
    /// Bursts that lose everything, of `length` packets on average, so that `loss` of all packets
    /// are lost over a long time. `loss` below 1.0, `length` at least 1.0.
    #[must_use]
    pub fn bursts(loss: f64, length: f64) -> Self {
        let leave = 1.0 / length;
        Self {
            enter: leave * loss / (1.0 - loss),
            leave,
            loss_good: 0.0,
            loss_bad: 1.0,
        }
    }

    /// The share of packets that is lost over a long time.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        let bad = self.enter / (self.enter + self.leave);
        bad * self.loss_bad + (1.0 - bad) * self.loss_good
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::probability("burst.enter", self.enter)?;
        ConfigError::probability("burst.leave", self.leave)?;
        ConfigError::probability("burst.loss_good", self.loss_good)?;
        ConfigError::probability("burst.loss_bad", self.loss_bad)
    }
}

/// What paths are known to do to ECN bits (the failures that RFC 9000 section 13.4.2 validates
/// against).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnTreatment {
    /// Leaves them alone.
    #[default]
    Pass,
    /// Clears them.
    Bleach,
    /// Turns ECT(0) into ECT(1).
    Ect0ToEct1,
    /// Marks every ECN-capable packet CE.
    MarkAll,
}
