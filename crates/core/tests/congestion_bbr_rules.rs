//! BBR's rules that a steady path does not show: marks, losses that were none, ends of a probe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use weir_core::congestion::{AckSample, Bbr, Config, Controller, LossSample};
use weir_core::delivery::{PacketRate, RateSampler, bytes_in};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

const MSS: u64 = 1200;
/// What the path carries in bytes per second, and in how long: 25,000 bytes fit.
const RATE: u64 = 1_250_000;
const RTT: Duration = Duration::from_millis(20);

/// A path that delivers each round of packets a round trip later, at `RATE` or slower.
struct Path {
    bbr: Bbr,
    rtt: Rtt,
    rates: RateSampler,
    now: Instant,
    seq: u64,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    rate: PacketRate,
}

impl Path {
    fn new() -> Path {
        Path {
            bbr: Bbr::new(Instant::ZERO, &Config::new(MSS, 7)),
            rtt: Rtt::default(),
            rates: RateSampler::new(),
            now: Instant::ZERO,
            seq: 0,
        }
    }

    /// Sends a window in this instant.
    fn send(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut in_flight = 0;
        while in_flight + MSS <= self.bbr.window() {
            self.seq += 1;
            self.bbr.on_sent(self.now, MSS, in_flight, self.seq);
            let rate = self.rates.on_sent(self.now, in_flight, MSS);
            sent.push(Sent { at: self.now, rate });
            in_flight += MSS;
        }
        sent
    }

    /// Loses the first `lost` of `sent`, one acknowledgement noticing each, and acknowledges the
    /// rest as the path delivers them. Returns the states named on the way.
    fn deliver(&mut self, sent: &[Sent], lost: usize) -> Vec<&'static str> {
        let mut in_flight = sent.len() as u64 * MSS;
        let mut states = Vec::new();
        self.now += RTT;
        for (n, packet) in sent.iter().enumerate().skip(lost) {
            self.now += Duration::from_nanos(MSS * 1_000_000_000 / RATE);
            let lost_now = (n - lost < lost).then(|| sent[n - lost]);
            if let Some(lost) = lost_now {
                in_flight -= MSS;
                self.lose(&lost, in_flight);
            }
            self.rates.on_acked(self.now, packet.at, MSS, &packet.rate);
            let prior_in_flight = in_flight;
            in_flight -= MSS;
            let latest = self.now.saturating_duration_since(packet.at);
            self.rtt.update(latest, Duration::ZERO);
            let rate = self.rates.finish_ack(self.now, self.rtt.min());
            self.bbr.on_ack(&AckSample {
                now: self.now,
                bytes_acked: MSS,
                largest_sent_at: packet.at,
                largest_seq: self.seq,
                prior_in_flight,
                in_flight,
                rtt: &self.rtt,
                latest_rtt: Some(latest),
                rate: rate.as_ref(),
                is_cwnd_limited: true,
            });
            states.push(self.bbr.state());
        }
        states
    }

    fn lose(&mut self, packet: &Sent, in_flight: u64) {
        self.rates.on_lost(MSS);
        self.bbr.on_loss(&LossSample {
            now: self.now,
            bytes_lost: MSS,
            largest_lost_sent_at: packet.at,
            largest_lost_seq: self.seq,
            in_flight,
            is_persistent: false,
            lost_rate: Some(packet.rate),
            total_lost: self.rates.lost(),
        });
    }

    /// Rounds without loss until it is in `state`.
    fn until(&mut self, state: &str) {
        for _ in 0..400 {
            if self.bbr.state() == state {
                return;
            }
            let sent = self.send();
            let mut rest = &sent[..];
            // Stops in the middle of a round if need be.
            while let Some((first, others)) = rest.split_first() {
                self.deliver(std::slice::from_ref(first), 0);
                rest = others;
                if self.bbr.state() == state {
                    return;
                }
                self.now -= RTT;
            }
            self.now += RTT;
        }
        panic!("never in {state}, but in {}", self.bbr.state());
    }
}

// draft-ietf-ccwg-bbr 5.3.1.3: six losses over two percent in a round of recovery end Startup, and
// what was delivered is the bound.
#[test]
fn high_loss_ends_startup() {
    let mut path = Path::new();
    let sent = path.send();
    path.deliver(&sent, 0);
    let mut states = Vec::new();
    for _ in 0..3 {
        let sent = path.send();
        states.extend(path.deliver(&sent, 7));
    }
    assert!(states.contains(&"drain"), "{states:?}");
    assert!(path.bbr.inflight_longterm().is_some());
    // Fewer than six are noise.
    let mut path = Path::new();
    let sent = path.send();
    path.deliver(&sent, 0);
    for _ in 0..2 {
        let sent = path.send();
        assert!(!path.deliver(&sent, 5).contains(&"drain"));
    }
    assert_eq!(path.bbr.inflight_longterm(), None);
}

// draft-ietf-ccwg-bbr 3.7: a mark is congestion. It ends Startup; a report without one does not.
#[test]
fn a_mark_ends_startup() {
    let mut path = Path::new();
    let sent = path.send();
    path.deliver(&sent, 0);
    path.bbr.on_ecn_ce(path.now, sent[0].at, 0, 0);
    assert_eq!(path.bbr.state(), "startup");
    path.bbr.on_ecn_ce(path.now, sent[0].at, 0, 1);
    assert_eq!(path.bbr.state(), "drain");
}

// draft-ietf-ccwg-bbr 5.5.10.3: outside a probe, a round with a mark lowers rate and flight, by at
// most three tenths.
#[test]
fn a_mark_while_cruising_lowers_the_rate() {
    let mut path = Path::new();
    path.until("probe_bw_cruise");
    let (before, window) = (path.bbr.pacing_rate(&path.rtt).unwrap(), path.bbr.window());
    let sent = path.send();
    path.bbr.on_ecn_ce(path.now, sent[0].at, 0, 1);
    path.deliver(&sent, 0);
    let after = path.bbr.pacing_rate(&path.rtt).unwrap();
    assert!(after < before, "{after} {before}");
    assert!(after >= before * 69 / 100, "{after} {before}");
    assert!(path.bbr.window() <= window);
}

// draft-ietf-ccwg-bbr 5.3.3.7, A.18: losses over two percent end the probe at once and bound what
// may be in flight; if they were none, it probes again and the bound is gone.
#[test]
fn losses_end_a_probe_and_spurious_ones_do_not() {
    let mut path = Path::new();
    path.until("probe_bw_up");
    assert_eq!(path.bbr.inflight_longterm(), None);
    let sent = path.send();
    path.now += RTT;
    path.lose(&sent[1], 0);
    path.lose(&sent[2], 0);
    assert_eq!(path.bbr.state(), "probe_bw_down");
    // Lost were the first of the round, but it goes no lower than CUBIC would.
    let fits = bytes_in(path.bbr.max_bw(), path.bbr.min_rtt().unwrap());
    assert_eq!(path.bbr.inflight_longterm(), Some(fits * 70 / 100));
    path.bbr.on_spurious_loss(path.now, MSS, sent[1].at);
    assert_eq!(path.bbr.state(), "probe_bw_down");
    path.bbr.on_spurious_loss(path.now, MSS, sent[2].at);
    assert_eq!(path.bbr.state(), "probe_bw_refill");
    assert_eq!(path.bbr.inflight_longterm(), None);
}

// draft-ietf-ccwg-bbr 5.5.11.2: losses that were none lead back to Startup.
#[test]
fn spurious_losses_lead_back_to_startup() {
    let mut path = Path::new();
    let sent = path.send();
    path.deliver(&sent, 0);
    let mut lost = Vec::new();
    for _ in 0..3 {
        let sent = path.send();
        lost.extend_from_slice(&sent[..7]);
        if path.deliver(&sent, 7).contains(&"drain") {
            break;
        }
    }
    assert!(path.bbr.inflight_longterm().is_some());
    for packet in lost {
        path.bbr.on_spurious_loss(path.now, MSS, packet.at);
    }
    assert_eq!(path.bbr.state(), "startup");
    assert_eq!(path.bbr.inflight_longterm(), None);
}

// draft-ietf-ccwg-bbr 5.4.1: after a pause in ProbeBW it paces at the rate itself, one percent off.
#[test]
fn a_restart_from_idle_paces_at_the_rate() {
    let mut path = Path::new();
    path.until("probe_bw_up");
    let probing = path.bbr.pacing_rate(&path.rtt).unwrap();
    path.bbr.on_sent(path.now, MSS, 0, path.seq + 1);
    let restarted = path.bbr.pacing_rate(&path.rtt).unwrap();
    assert_eq!(restarted, path.bbr.max_bw() * 99 / 100);
    assert!(restarted < probing);
}

// draft-ietf-ccwg-bbr 5.6.2: before a round trip is known only the window holds; then the initial
// window a round trip times 2.77.
#[test]
fn the_first_pacing_rate() {
    let bbr = Bbr::new(Instant::ZERO, &Config::new(MSS, 7));
    let mut rtt = Rtt::default();
    assert_eq!(bbr.pacing_rate(&rtt), None);
    rtt.update(Duration::from_millis(100), Duration::ZERO);
    assert_eq!(bbr.pacing_rate(&rtt), Some(12_000 * 10 * 277 / 100));
}

// draft-ietf-ccwg-bbr 5.6.4.3: four datagrams stay in flight whatever the losses.
#[test]
fn four_datagrams_stay() {
    let mut path = Path::new();
    for _ in 0..60 {
        let sent = path.send();
        let half = sent.len() / 2;
        path.deliver(&sent, half);
        assert!(path.bbr.window() >= 4 * MSS);
    }
    path.bbr.on_mtu(9_000);
    assert!(path.bbr.window() >= 4 * 9_000);
}

// Without a rate sample (an owner that has none yet) it neither panics nor shrinks.
#[test]
fn an_acknowledgement_without_a_sample() {
    let mut path = Path::new();
    path.rtt.update(RTT, Duration::ZERO);
    let before = path.bbr.window();
    path.bbr.on_ack(&AckSample {
        now: Instant::from_millis(20),
        bytes_acked: MSS,
        largest_sent_at: Instant::ZERO,
        largest_seq: 1,
        prior_in_flight: MSS,
        in_flight: 0,
        rtt: &path.rtt,
        latest_rtt: Some(RTT),
        rate: None,
        is_cwnd_limited: true,
    });
    assert!(path.bbr.window() >= before);
}
