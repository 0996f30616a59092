//! The model itself.

use std::collections::VecDeque;

use weir_core::rng::Rng;
use weir_core::time::{Duration, Instant};

use super::{DropReason, EcnTreatment, GilbertElliott, LinkConfig, LinkStats};
use crate::datagram::{Ecn, Packet};
use crate::error::ConfigError;
use crate::random::{Chance, duration_up_to};

/// One direction of a link.
///
/// Time must not run backwards from call to call; a `now` before that of an earlier call is taken
/// for that earlier one.
///
/// ```
/// use bytes::Bytes;
/// use weir_core::time::{Duration, Instant};
/// use weir_sim::{LinkConfig, LinkModel, split};
///
/// let config = LinkConfig::with_delay(Duration::from_millis(25));
/// let mut link = LinkModel::new(config, split(7, "up"))?;
/// let mut arrivals = Vec::new();
/// let fate = link.offer(Instant::ZERO, Bytes::from_static(b"ping"), |at, packet| arrivals.push((at, packet)));
/// assert_eq!(fate, Ok(()));
/// assert_eq!(arrivals, [(Instant::ZERO + Duration::from_millis(25), Bytes::from_static(b"ping"))]);
/// # Ok::<(), weir_sim::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct LinkModel {
    config: LinkConfig,
    chances: Chances,
    rng: Rng,
    stats: LinkStats,
    /// A switch besides the schedule.
    down: bool,
    in_burst: bool,
    /// Packets in a row that random loss took.
    lost_run: u32,
    /// Packets in a row that were corrupted.
    corrupted_run: u32,
    now: Instant,
    /// When the packet sent last leaves the transmitter.
    busy_until: Instant,
    /// When the latest packet arrives that was not held back: nothing overtakes it.
    last_arrival: Instant,
    /// Packets that wait: when their transmission starts, and their size.
    waiting: VecDeque<(Instant, usize)>,
    waiting_bytes: usize,
}

/// The configuration's probabilities, ready to draw.
#[derive(Clone, Copy, Debug)]
struct Chances {
    loss: Chance,
    reorder: Chance,
    duplicate: Chance,
    corrupt: Chance,
    enter: Chance,
    leave: Chance,
    loss_good: Chance,
    loss_bad: Chance,
}

impl LinkModel {
    /// A link that behaves as `config` says, with the random numbers of `rng`.
    ///
    /// # Errors
    /// When [`LinkConfig::validate`] finds fault.
    pub fn new(config: LinkConfig, rng: Rng) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            chances: Chances::new(&config),
            config,
            rng,
            stats: LinkStats::default(),
            down: false,
            in_burst: false,
            lost_run: 0,
            corrupted_run: 0,
            now: Instant::ZERO,
            busy_until: Instant::ZERO,
            last_arrival: Instant::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        })
    }

    /// What it is like now.
    #[must_use]
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Makes it another link from now on. What waits or travels keeps the times it was given.
    ///
    /// # Errors
    /// When [`LinkConfig::validate`] finds fault; the link stays as it was.
    pub fn reconfigure(&mut self, config: LinkConfig) -> Result<(), ConfigError> {
        config.validate()?;
        self.chances = Chances::new(&config);
        self.config = config;
        Ok(())
    }

    /// Takes the link down, or up again, besides its schedule of outages.
    pub fn set_down(&mut self, down: bool) {
        self.down = down;
    }

    /// Whether packets pass at `now`.
    #[must_use]
    pub fn is_up(&self, now: Instant) -> bool {
        !self.down && !self.config.outages.is_active(now)
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// Bytes and packets that wait for transmission at `now`.
    pub fn queued(&mut self, now: Instant) -> (usize, usize) {
        self.start_transmissions(now);
        (self.waiting_bytes, self.waiting.len())
    }

    /// Offers a packet at `now`. `deliver` is called with the time of arrival and the packet: once
    /// as a rule, twice when it is duplicated.
    ///
    /// # Errors
    /// Why the packet never arrives.
    pub fn offer<P: Packet>(
        &mut self,
        now: Instant,
        mut packet: P,
        mut deliver: impl FnMut(Instant, P),
    ) -> Result<(), DropReason> {
        let now = self.now.max(now);
        self.now = now;
        let size = packet.wire_len();
        self.stats.offered += 1;
        self.stats.offered_bytes += size as u64;
        let sent = self.admit(now, size).and_then(|()| {
            self.treat_ecn(&mut packet);
            self.transmit(now, size)
        });
        let departed = match sent.and_then(|departed| self.lose().map(|()| departed)) {
            Ok(departed) => departed,
            Err(reason) => {
                self.stats.count_drop(reason);
                return Err(reason);
            }
        };
        let corrupt = packet.is_corruptible()
            && draw_within(
                self.chances.corrupt,
                &mut self.corrupted_run,
                self.config.run_limit,
                &mut self.rng,
            );
        if corrupt {
            self.stats.corrupted += 1;
            packet.corrupt(&mut self.rng);
        }
        let copy = self
            .chances
            .duplicate
            .draw(&mut self.rng)
            .then(|| packet.clone());
        deliver(self.arrival(departed), packet);
        self.forwarded(size);
        if let Some(copy) = copy {
            self.stats.duplicated += 1;
            deliver(self.arrival(departed), copy);
            self.forwarded(size);
        }
        Ok(())
    }

    /// Counts a packet that a filter took before the link saw it.
    pub(crate) fn count_filtered(&mut self, size: usize) {
        self.stats.offered += 1;
        self.stats.offered_bytes += size as u64;
        self.stats.count_drop(DropReason::Filter);
    }

    fn forwarded(&mut self, size: usize) {
        self.stats.forwarded += 1;
        self.stats.forwarded_bytes += size as u64;
    }

    /// What stands before the queue.
    fn admit(&mut self, now: Instant, size: usize) -> Result<(), DropReason> {
        if !self.is_up(now) {
            return Err(DropReason::Outage);
        }
        if size > self.config.mtu {
            return Err(DropReason::Mtu);
        }
        let number = self.stats.offered;
        let nth = self.config.drop_every > 0 && number.is_multiple_of(self.config.drop_every);
        if nth || self.config.drop_numbers.contains(&number) {
            return Err(DropReason::Numbered);
        }
        self.start_transmissions(now);
        if self.busy_until > now {
            let bytes = self.waiting_bytes.saturating_add(size);
            let limit = self.config.queue;
            if bytes > limit.bytes || self.waiting.len() >= limit.packets {
                return Err(DropReason::Queue);
            }
        }
        Ok(())
    }

    /// Lets those out of the queue whose transmission has begun.
    fn start_transmissions(&mut self, now: Instant) {
        while let Some(&(start, size)) = self.waiting.front() {
            if start > now {
                break;
            }
            self.waiting.pop_front();
            self.waiting_bytes -= size;
        }
    }

    /// Queues and transmits; returns when the last bit is out.
    fn transmit(&mut self, now: Instant, size: usize) -> Result<Instant, DropReason> {
        let Some(rate) = self.config.rate else {
            return Ok(now);
        };
        let start = self.busy_until.max(now);
        if start > now {
            self.waiting.push_back((start, size));
            self.waiting_bytes += size;
            self.stats.peak_queue_bytes = self.stats.peak_queue_bytes.max(self.waiting_bytes);
            self.stats.peak_queue_packets = self.stats.peak_queue_packets.max(self.waiting.len());
            let wait = start.saturating_duration_since(now);
            self.stats.longest_wait = self.stats.longest_wait.max(wait);
        }
        self.busy_until = start + transmission_time(size, rate);
        Ok(self.busy_until)
    }

    fn treat_ecn(&mut self, packet: &mut impl Packet) {
        let was = packet.ecn();
        let queue_marks = self.config.ecn_threshold.is_some_and(|threshold| {
            self.config.rate.is_some()
                && self.waiting_bytes >= threshold
                && self.busy_until > self.now
        });
        let becomes = match self.config.ecn {
            EcnTreatment::Bleach => Ecn::NotEct,
            EcnTreatment::MarkAll if was.is_capable() => Ecn::Ce,
            _ if queue_marks && was.is_capable() => Ecn::Ce,
            EcnTreatment::Ect0ToEct1 if was == Ecn::Ect0 => Ecn::Ect1,
            _ => was,
        };
        if becomes == was {
            return;
        }
        packet.set_ecn(becomes);
        if becomes == Ecn::Ce {
            self.stats.marked += 1;
        } else {
            self.stats.bleached += 1;
        }
    }

    /// Loss on the wire.
    fn lose(&mut self) -> Result<(), DropReason> {
        if self.config.burst.is_some() {
            let step = if self.in_burst {
                self.chances.leave
            } else {
                self.chances.enter
            };
            self.in_burst ^= step.draw(&mut self.rng);
            let loss = if self.in_burst {
                self.chances.loss_bad
            } else {
                self.chances.loss_good
            };
            if loss.draw(&mut self.rng) {
                return Err(DropReason::Burst);
            }
        }
        let (loss, limit) = (self.chances.loss, self.config.run_limit);
        if draw_within(loss, &mut self.lost_run, limit, &mut self.rng) {
            return Err(DropReason::Loss);
        }
        Ok(())
    }

    /// When a packet arrives whose last bit left at `departed`.
    fn arrival(&mut self, departed: Instant) -> Instant {
        let jitter = duration_up_to(&mut self.rng, self.config.jitter);
        let in_order = self.last_arrival.max(departed + self.config.delay + jitter);
        if self.chances.reorder.draw(&mut self.rng) {
            self.stats.reordered += 1;
            return in_order + self.config.reorder_by;
        }
        self.last_arrival = in_order;
        in_order
    }
}

impl Chances {
    fn new(config: &LinkConfig) -> Self {
        let never = GilbertElliott {
            enter: 0.0,
            leave: 0.0,
            loss_good: 0.0,
            loss_bad: 0.0,
        };
        let burst = config.burst.unwrap_or(never);
        Self {
            loss: Chance::new(config.loss),
            reorder: Chance::new(config.reorder),
            duplicate: Chance::new(config.duplicate),
            corrupt: Chance::new(config.corrupt),
            enter: Chance::new(burst.enter),
            leave: Chance::new(burst.leave),
            loss_good: Chance::new(burst.loss_good),
            loss_bad: Chance::new(burst.loss_bad),
        }
    }
}

/// Draws, unless it has come true `limit` times in a row: then it does not, without a draw.
fn draw_within(chance: Chance, run: &mut u32, limit: Option<u32>, rng: &mut Rng) -> bool {
    let hit = limit.is_none_or(|limit| *run < limit) && chance.draw(rng);
    *run = if hit { run.saturating_add(1) } else { 0 };
    hit
}

/// How long `size` bytes occupy a line of `rate` bits per second, rounded up.
pub(crate) fn transmission_time(size: usize, rate: u64) -> Duration {
    let bits = u128::from(size as u64) * 8;
    let nanos = (bits * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
