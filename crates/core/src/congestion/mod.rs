//! How much may be in flight, and how fast it may go out: congestion control behind one trait.
//!
//! A [`Controller`] looks at one path. Its owner counts bytes in flight, finds losses and keeps the
//! round trip time; the controller hears of it in sample structs and answers with a window and a
//! pacing rate. The owner's calls, for one acknowledgement, in the order of RFC 9002 A.7:
//!
//! 1. [`on_spurious_loss`](Controller::on_spurious_loss) for packets that were thought lost and
//!    are now acknowledged after all,
//! 2. [`on_ecn_ce`](Controller::on_ecn_ce) when the peer reports new marks,
//! 3. [`on_loss`](Controller::on_loss) once, for all packets this lets be declared lost,
//! 4. [`on_ack`](Controller::on_ack) once, for all packets it newly acknowledges (not called when
//!    it acknowledges nothing that was in flight).
//!
//! Everything is counted in bytes as they count against the window. A sequence number `seq` names
//! each packet in the order of sending (the packet number will do where there is one space); rounds
//! are told by it. Probes that may pass the window (RFC 9002 7.5) are sent and counted by the owner.
//!
//! | module | what it is | source |
//! |---|---|---|
//! | `newreno` | halve on loss, one datagram a round | RFC 9002 section 7 |
//! | `cubic` | grows by time since the last loss | RFC 9438 |
//! | `hystart` | leaves slow start when the delay rises | RFC 9406 |
//! | `bbr` | a model of the path's rate and round trip | draft-ietf-ccwg-bbr |
//! | `recovery`, `base` | what the window-based ones share | RFC 9002 7.2, 7.3.2 |

mod base;
mod bbr;
mod cubic;
mod hystart;
mod newreno;
mod recovery;

use core::fmt;
use core::str::FromStr;

use crate::delivery::{PacketRate, RateSample};
use crate::rtt::Rtt;
use crate::time::{Duration, Instant};

pub use base::{initial_window, minimum_window};
pub use bbr::Bbr;
pub use cubic::Cubic;
pub use hystart::{HyStart, Verdict};
pub use newreno::NewReno;

/// One acknowledgement that newly acknowledged something in flight.
#[derive(Clone, Copy, Debug)]
pub struct AckSample<'a> {
    /// When it arrived.
    pub now: Instant,
    /// Bytes it newly acknowledged that were in flight.
    pub bytes_acked: u64,
    /// When the newest packet it newly acknowledged was sent.
    pub largest_sent_at: Instant,
    /// The sequence number of that packet, as told to [`Controller::on_sent`].
    pub largest_seq: u64,
    /// Bytes in flight before it.
    pub prior_in_flight: u64,
    /// Bytes in flight after it and after the losses it showed.
    pub in_flight: u64,
    /// The path's round trip time, this acknowledgement's measurement included.
    pub rtt: &'a Rtt,
    /// The measurement of this acknowledgement, if it gave one.
    pub latest_rtt: Option<Duration>,
    /// The delivery rate it shows ([`crate::delivery`]); only BBR looks at it.
    pub rate: Option<&'a RateSample>,
    /// False when the application or flow control, not this window and not pacing, held back what
    /// was sent in the last round: the window must not grow then (RFC 9002 7.8).
    pub is_cwnd_limited: bool,
}

/// What was declared lost at one moment.
#[derive(Clone, Copy, Debug)]
pub struct LossSample {
    /// When it was declared.
    pub now: Instant,
    /// Bytes in flight that were declared lost.
    pub bytes_lost: u64,
    /// When the newest packet among them was sent.
    pub largest_lost_sent_at: Instant,
    /// The sequence number of that packet.
    pub largest_lost_seq: u64,
    /// Bytes in flight without them.
    pub in_flight: u64,
    /// Whether the losses establish persistent congestion (RFC 9002 7.6.2). TCP's time-outs come as
    /// [`TimeoutSample`].
    pub is_persistent: bool,
    /// The snapshot of the newest packet among them; only BBR looks at it.
    pub lost_rate: Option<PacketRate>,
    /// All bytes ever declared lost on the path, these among them
    /// ([`RateSampler::lost`](crate::delivery::RateSampler::lost)); only BBR looks at it.
    pub total_lost: u64,
}

/// A retransmission time-out of TCP (RFC 5681 section 3.1, RFC 6298 section 5).
#[derive(Clone, Copy, Debug)]
pub struct TimeoutSample {
    /// When the timer expired.
    pub now: Instant,
    /// Bytes in flight that are taken for lost by it.
    pub bytes_lost: u64,
    /// When the newest segment among them was sent.
    pub largest_lost_sent_at: Instant,
    /// Bytes in flight without them.
    pub in_flight: u64,
    /// What the window becomes: one full segment (LW of RFC 5681).
    pub loss_window: u64,
    /// The first of its loss event. What was before it is kept, to return to when it turns out to
    /// have been spurious; the window of a repeated one falls once more, the threshold stays.
    pub is_first: bool,
    /// The losses were not answered yet: the threshold falls too.
    pub reduces: bool,
}

/// A congestion controller of one path. The module says who calls what when.
pub trait Controller: Send + fmt::Debug {
    /// `bytes` go out, `in_flight` bytes being in flight before them; `seq` is the sequence number
    /// of the last packet among them. For each packet, or once for a batch.
    fn on_sent(&mut self, now: Instant, bytes: u64, in_flight: u64, seq: u64);

    /// An acknowledgement. The window grows here.
    fn on_ack(&mut self, ack: &AckSample<'_>);

    /// Losses. At most one reduction per recovery period (RFC 9002 7.3.2).
    fn on_loss(&mut self, loss: &LossSample);

    /// The peer reports `newly_ce` more packets that arrived with a congestion mark; the newest
    /// packet acknowledged by the report was sent at `sent_at` (RFC 9002 7.1, B.7). Counts as a
    /// loss does.
    fn on_ecn_ce(&mut self, now: Instant, sent_at: Instant, in_flight: u64, newly_ce: u64);

    /// A packet of `bytes`, sent at `sent_at`, was told as lost and is acknowledged now. When all
    /// that was lost in the last episode has turned up, the reduction is undone (RFC 9438 4.9.2).
    fn on_spurious_loss(&mut self, now: Instant, bytes: u64, sent_at: Instant);

    /// No more than `flight_size` bytes were in use when the losses that follow were found: TCP's
    /// reductions start from there (RFC 5681 section 3.1, RFC 7661). Before
    /// [`on_loss`](Controller::on_loss) or [`on_timeout`](Controller::on_timeout). A model of the path
    /// does not need it.
    fn limit_to_flight(&mut self, _flight_size: u64) {}

    /// A retransmission time-out of TCP.
    fn on_timeout(&mut self, timeout: &TimeoutSample);

    /// The last time-out was spurious: what it took is given back (RFC 5682, RFC 4015).
    fn on_spurious_timeout(&mut self, now: Instant);

    /// TCP was idle for longer than its time-out, or its handshake met losses: the window is at most
    /// `window` bytes, which may be less than two segments; the threshold stays (RFC 5681 section
    /// 4.1, RFC 6928 section 2). A controller that paces by a model of the path does without.
    fn on_restart(&mut self, _window: u64) {}

    /// The largest datagram (or segment) is now `max_datagram` bytes.
    fn on_mtu(&mut self, max_datagram: u64);

    /// Bytes that may be in flight.
    fn window(&self) -> u64;

    /// Bytes per second at which to send; `None` before a round trip time is known, when only the
    /// window holds.
    fn pacing_rate(&self, rtt: &Rtt) -> Option<u64>;

    /// The most bytes worth handing down in one piece, at least one datagram.
    fn send_quantum(&self) -> u64;

    /// Whether it still looks for the path's capacity by doubling.
    fn in_slow_start(&self) -> bool;

    /// The window at which slow start ends; `None` while unlimited or where there is none.
    fn ssthresh(&self) -> Option<u64>;

    /// The state in a word: `slow_start`, `congestion_avoidance`, `recovery`, or BBR's own.
    fn state(&self) -> &'static str;

    /// The algorithm's name, as [`Algorithm`] writes it.
    fn name(&self) -> &'static str;
}

/// Which algorithm.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 9002 section 7.
    NewReno,
    /// RFC 9438, with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// BBRv3, draft-ietf-ccwg-bbr.
    Bbr,
}

/// What a controller is built from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The largest datagram (or segment) in bytes.
    pub max_datagram: u64,
    /// The window to begin with, in bytes; `None` for [`initial_window`] of `max_datagram`. Never
    /// below [`minimum_window`].
    pub initial_window: Option<u64>,
    /// Where slow start ends, in bytes, if that is known from before; a model of the path does
    /// without.
    pub ssthresh: Option<u64>,
    /// Seed of the random numbers that an algorithm may draw (BBR spreads its probing by them).
    pub seed: u64,
}

impl Config {
    /// The default for datagrams of `max_datagram` bytes.
    #[must_use]
    pub fn new(max_datagram: u64, seed: u64) -> Config {
        Config {
            max_datagram,
            initial_window: None,
            ssthresh: None,
            seed,
        }
    }

    /// The window a new path begins with.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.initial_window
            .unwrap_or_else(|| initial_window(self.max_datagram))
            .max(minimum_window(self.max_datagram))
    }
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 3] = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];

    /// The name, as it is written in configurations and traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::NewReno => "newreno",
            Algorithm::Cubic => "cubic",
            Algorithm::Bbr => "bbr",
        }
    }

    /// A controller for a new path, with the initial window of RFC 9002 7.2.
    #[must_use]
    pub fn controller(self, now: Instant, max_datagram: u64, rng_seed: u64) -> Box<dyn Controller> {
        self.with_config(now, &Config::new(max_datagram, rng_seed))
    }

    /// A controller for a new path.
    #[must_use]
    pub fn with_config(self, now: Instant, config: &Config) -> Box<dyn Controller> {
        match self {
            Algorithm::NewReno => Box::new(NewReno::new(config)),
            Algorithm::Cubic => Box::new(Cubic::new(config)),
            Algorithm::Bbr => Box::new(Bbr::new(now, config)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no algorithm's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no congestion control is called {0:?}: it is newreno, cubic or bbr")]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Algorithm, UnknownAlgorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownAlgorithm(name.chars().take(64).collect()))
    }
}
