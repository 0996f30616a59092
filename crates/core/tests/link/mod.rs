//! A bottleneck in virtual time: one queue of a rate, a delay and a buffer, shared by flows that
//! each run a controller, a pacer, a rate sampler and the loss detection of RFC 9002.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use weir_core::congestion::{AckSample, Algorithm, Controller, LossSample};
use weir_core::delivery::{PacketRate, RateSampler};
use weir_core::pacer::Pacer;
use weir_core::rng::{Rng, chance, rng_from_seed};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

pub(crate) const DATAGRAM: u64 = 1200;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// The path all flows share.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// Bytes per second.
    pub(crate) rate: u64,
    /// Round trip without queueing.
    pub(crate) rtt: Duration,
    /// Datagrams the queue holds.
    pub(crate) buffer: u64,
    /// Chance of loss in ten thousand.
    pub(crate) loss: u64,
    /// Nothing passes from the first to the second.
    pub(crate) blackout: Option<(Instant, Instant)>,
    /// Acknowledgements leave the receiver only at multiples of this.
    pub(crate) ack_every: Option<Duration>,
}

impl Path {
    /// 10 Mbit/s, 30 ms, 25 datagrams.
    pub(crate) fn usual() -> Path {
        Path {
            rate: 1_250_000,
            rtt: ms(30),
            buffer: 25,
            loss: 0,
            blackout: None,
            ack_every: None,
        }
    }
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    rate: PacketRate,
}

/// One sender.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) cc: Box<dyn Controller>,
    pub(crate) rtt: Rtt,
    pub(crate) rates: RateSampler,
    pub(crate) pacer: Pacer,
    pub(crate) starts: Instant,
    /// Bytes per second that the application makes; `None`: always more.
    pub(crate) app_rate: Option<u64>,
    app_credit: u64,
    app_at: Instant,
    next_seq: u64,
    sent: BTreeMap<u64, Sent>,
    pub(crate) in_flight: u64,
    largest_acked: u64,
    last_acked_sent_at: Instant,
    limited: bool,
    pto_count: u32,
    pto_at: Instant,
    /// Whether an event for the time-out is on its way.
    pto_is_set: bool,
    wake_at: Instant,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    /// Every state the controller has named, in order, without repetition.
    pub(crate) states: Vec<(Instant, &'static str)>,
    pub(crate) max_window: u64,
    pub(crate) min_window: u64,
    /// The longest time in a row in which the flight was bigger than the window.
    pub(crate) persistent: u32,
}

impl Flow {
    pub(crate) fn new(algorithm: Algorithm, starts: Instant, seed: u64) -> Flow {
        let cc = algorithm.controller(starts, DATAGRAM, seed);
        Flow {
            cc,
            rtt: Rtt::default(),
            rates: RateSampler::new(),
            pacer: Pacer::new(starts, DATAGRAM),
            starts,
            app_rate: None,
            app_credit: 0,
            app_at: starts,
            next_seq: 1,
            sent: BTreeMap::new(),
            in_flight: 0,
            largest_acked: 0,
            last_acked_sent_at: Instant::ZERO,
            limited: true,
            pto_count: 0,
            pto_at: Instant::MAX,
            pto_is_set: false,
            wake_at: Instant::MAX,
            delivered: 0,
            lost: 0,
            states: Vec::new(),
            max_window: 0,
            min_window: u64::MAX,
            persistent: 0,
        }
    }

    fn has_data(&mut self, now: Instant) -> bool {
        let Some(rate) = self.app_rate else {
            return true;
        };
        let elapsed = now.saturating_duration_since(self.app_at);
        self.app_credit += (u128::from(rate) * elapsed.as_nanos() / 1_000_000_000) as u64;
        self.app_at = now;
        self.app_credit >= DATAGRAM
    }

    fn set_pto(&mut self, now: Instant) {
        self.pto_at = now + self.rtt.pto(ms(1), ms(25)) * (1 << self.pto_count.min(6));
    }

    fn note(&mut self, now: Instant) {
        let state = self.cc.state();
        if self.states.last().is_none_or(|last| last.1 != state) {
            self.states.push((now, state));
        }
        self.max_window = self.max_window.max(self.cc.window());
        self.min_window = self.min_window.min(self.cc.window());
    }

    fn on_ack(&mut self, now: Instant, seqs: &[u64]) {
        let prior_in_flight = self.in_flight;
        let mut newly: Vec<(u64, Sent)> = Vec::new();
        for seq in seqs {
            if let Some(sent) = self.sent.remove(seq) {
                newly.push((*seq, sent));
            }
        }
        let Some(&(largest_seq, Sent { at: sent_at, .. })) =
            newly.iter().max_by_key(|(seq, _)| *seq)
        else {
            return;
        };
        let latest_rtt = (largest_seq > self.largest_acked).then(|| {
            self.largest_acked = largest_seq;
            let sample = now.saturating_duration_since(sent_at);
            self.rtt.update(sample, Duration::ZERO);
            sample
        });
        for (_, sent) in &newly {
            self.rates.on_acked(now, sent.at, DATAGRAM, &sent.rate);
            self.in_flight -= DATAGRAM;
            self.delivered += DATAGRAM;
        }
        self.detect_losses(now);
        self.last_acked_sent_at = self.last_acked_sent_at.max(sent_at);
        let rate = self.rates.finish_ack(now, self.rtt.min());
        self.cc.on_ack(&AckSample {
            now,
            bytes_acked: newly.len() as u64 * DATAGRAM,
            largest_sent_at: sent_at,
            largest_seq,
            prior_in_flight,
            in_flight: self.in_flight,
            rtt: &self.rtt,
            latest_rtt,
            rate: rate.as_ref(),
            is_cwnd_limited: self.limited,
        });
        self.pto_count = 0;
        self.set_pto(now);
        self.note(now);
    }

    /// The packet threshold of RFC 9002 6.1.1; the order of sending is never changed here.
    fn detect_losses(&mut self, now: Instant) {
        let below = self.largest_acked.saturating_sub(2);
        let lost: Vec<(u64, Sent)> = {
            let rest = self.sent.split_off(&below);
            std::mem::replace(&mut self.sent, rest)
                .into_iter()
                .collect()
        };
        let (Some((_, first)), Some((seq, last))) = (lost.first(), lost.last()) else {
            return;
        };
        let bytes = lost.len() as u64 * DATAGRAM;
        self.in_flight -= bytes;
        self.lost += bytes;
        self.rates.on_lost(bytes);
        let span = last
            .at
            .saturating_duration_since(first.at.max(self.last_acked_sent_at));
        let is_persistent = span > self.rtt.pto(ms(1), ms(25)) * 3;
        self.persistent += u32::from(is_persistent);
        self.cc.on_loss(&LossSample {
            now,
            bytes_lost: bytes,
            largest_lost_sent_at: last.at,
            largest_lost_seq: *seq,
            in_flight: self.in_flight,
            is_persistent,
            lost_rate: Some(last.rate),
            total_lost: self.rates.lost(),
        });
        self.note(now);
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ack(usize, u64),
    Wake(usize),
    Timeout(usize),
}

/// The path and its flows.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) path: Path,
    pub(crate) flows: Vec<Flow>,
    pub(crate) now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    counter: u64,
    busy_until: Instant,
    rng: Rng,
    /// Sum of queueing delays in ns, and packets queued, since [`Net::reset_queue`].
    queued: (u64, u64),
    /// Acknowledged packets that wait at the receiver, by moment and flow.
    held: BTreeMap<(Instant, usize), Vec<u64>>,
}

impl Net {
    pub(crate) fn new(path: Path, flows: Vec<Flow>) -> Net {
        let mut net = Net {
            path,
            flows: Vec::new(),
            now: Instant::ZERO,
            events: BinaryHeap::new(),
            counter: 0,
            busy_until: Instant::ZERO,
            rng: rng_from_seed(1),
            queued: (0, 0),
            held: BTreeMap::new(),
        };
        for (index, flow) in flows.into_iter().enumerate() {
            net.push(flow.starts, Event::Wake(index));
            net.flows.push(flow);
        }
        net
    }

    pub(crate) fn one(path: Path, algorithm: Algorithm) -> Net {
        Net::new(path, vec![Flow::new(algorithm, Instant::ZERO, 1)])
    }

    fn push(&mut self, when: Instant, event: Event) {
        self.counter += 1;
        self.events.push(Reverse((when, self.counter, event)));
    }

    /// Runs until `end`.
    pub(crate) fn run_to(&mut self, end: Instant) {
        while let Some(Reverse((when, _, _))) = self.events.peek() {
            if *when > end {
                break;
            }
            let Some(Reverse((when, _, event))) = self.events.pop() else {
                break;
            };
            self.now = when;
            match event {
                Event::Ack(flow, seq) => {
                    let mut seqs = self.held.remove(&(when, flow)).unwrap_or_default();
                    if self.path.ack_every.is_none() {
                        seqs.push(seq);
                    }
                    self.flows[flow].on_ack(when, &seqs);
                    self.send(flow);
                }
                Event::Wake(flow) => {
                    if self.flows[flow].wake_at <= when {
                        self.flows[flow].wake_at = Instant::MAX;
                    }
                    self.send(flow);
                }
                Event::Timeout(index) => {
                    let flow = &mut self.flows[index];
                    flow.pto_is_set = false;
                    if flow.in_flight > 0 && flow.pto_at <= when {
                        flow.pto_count += 1;
                        self.transmit(index);
                    }
                    self.arm(index);
                }
            }
        }
        self.now = end;
    }

    /// Starts measuring the queue anew.
    pub(crate) fn reset_queue(&mut self) {
        self.queued = (0, 0);
    }

    /// The mean queueing delay since.
    pub(crate) fn mean_queue(&self) -> Duration {
        Duration::from_nanos(self.queued.0 / self.queued.1.max(1))
    }

    /// Bytes per second that `flow` gets delivered from now on for `time`.
    pub(crate) fn goodput(&mut self, flow: usize, time: Duration) -> u64 {
        let before = self.flows[flow].delivered;
        self.run_to(self.now + time);
        let bytes = self.flows[flow].delivered - before;
        (u128::from(bytes) * 1_000_000_000 / time.as_nanos()) as u64
    }

    fn send(&mut self, index: usize) {
        let now = self.now;
        loop {
            let flow = &mut self.flows[index];
            if !flow.has_data(now) {
                flow.limited = false;
                flow.rates.set_app_limited(flow.in_flight);
                self.wake(index, now + ms(1));
                break;
            }
            let window = flow.cc.window();
            if flow.in_flight + DATAGRAM > window {
                flow.limited = true;
                break;
            }
            let rate = flow.cc.pacing_rate(&flow.rtt);
            if let Some(release) = flow.pacer.next_release(now, rate, window, DATAGRAM) {
                // A driver's timers tick in milliseconds.
                let tick = release.as_nanos().div_ceil(1_000_000);
                self.wake(index, Instant::from_millis(tick));
                break;
            }
            let budget = flow.pacer.budget(now, rate, window);
            let burst = (budget / DATAGRAM).min((window - flow.in_flight) / DATAGRAM);
            for _ in 0..burst {
                if !self.flows[index].has_data(now) {
                    break;
                }
                self.transmit(index);
            }
        }
        self.arm(index);
        self.flows[index].note(now);
    }

    /// Sees to it that the time-out's event comes, not before the time-out.
    fn arm(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        if flow.in_flight > 0 && !flow.pto_is_set {
            flow.pto_is_set = true;
            let when = flow.pto_at;
            self.push(when, Event::Timeout(index));
        }
    }

    fn wake(&mut self, index: usize, when: Instant) {
        if when < self.flows[index].wake_at {
            self.flows[index].wake_at = when;
            self.push(when, Event::Wake(index));
        }
    }

    fn transmit(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let seq = flow.next_seq;
        flow.next_seq += 1;
        flow.app_credit = flow.app_credit.saturating_sub(DATAGRAM);
        flow.cc.on_sent(now, DATAGRAM, flow.in_flight, seq);
        let rate = flow.rates.on_sent(now, flow.in_flight, DATAGRAM);
        flow.pacer.on_sent(now, DATAGRAM);
        flow.in_flight += DATAGRAM;
        flow.sent.insert(seq, Sent { at: now, rate });
        flow.set_pto(now);

        let is_dark = self
            .path
            .blackout
            .is_some_and(|(from, to)| now >= from && now < to);
        let waiting = self.busy_until.saturating_duration_since(now);
        let per_datagram = Duration::from_nanos(DATAGRAM * 1_000_000_000 / self.path.rate);
        let is_full = waiting > per_datagram * self.path.buffer as u32;
        if is_dark || is_full || chance(&mut self.rng, self.path.loss, 10_000) {
            return;
        }
        self.queued.0 += waiting.as_nanos() as u64;
        self.queued.1 += 1;
        self.busy_until = self.busy_until.max(now) + per_datagram;
        let mut arrives = self.busy_until + self.path.rtt;
        if let Some(every) = self.path.ack_every {
            let every = every.as_nanos() as u64;
            arrives = Instant::from_nanos(arrives.as_nanos().div_ceil(every) * every);
            let held = self.held.entry((arrives, index)).or_default();
            held.push(seq);
            if held.len() > 1 {
                return;
            }
        }
        self.push(arrives, Event::Ack(index, seq));
    }
}
