//! What goes in and out of recovery.

use core::ops::Range;

use weir_core::congestion::Algorithm;
use weir_core::time::{Duration, Instant};

/// What a connection's recovery is built from.
#[derive(Copy, Clone, Debug)]
pub(crate) struct RecoveryConfig {
    /// Which congestion controller.
    pub(crate) algorithm: Algorithm,
    /// The payload of a full segment in bytes (SMSS of RFC 5681), options already taken off.
    pub(crate) smss: u32,
    /// The least that the retransmission time-out allows for variation: 200 ms is our choice
    /// (RFC 6298 2.4 asks for a floor of one second, which nobody keeps).
    pub(crate) min_rto: Duration,
    /// The most it becomes by backing off (RFC 6298 2.5: at least 60 s).
    pub(crate) max_rto: Duration,
    /// What it is before anything was measured (RFC 6298 2.1: one second).
    pub(crate) initial_rto: Duration,
    /// Whether what goes out is spread over the round trip.
    pub(crate) pacing: bool,
    /// What the controller draws random numbers from.
    pub(crate) seed: u64,
    /// SACK was agreed (see also [`Recovery::on_agreed`](super::Recovery::on_agreed)).
    pub(crate) sack: bool,
    /// Timestamps were agreed.
    pub(crate) timestamps: bool,
}

impl Default for RecoveryConfig {
    fn default() -> RecoveryConfig {
        RecoveryConfig {
            algorithm: Algorithm::default(),
            smss: 536,
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            initial_rto: Duration::from_secs(1),
            pacing: true,
            seed: 0,
            sack: false,
            timestamps: false,
        }
    }
}

/// Why something goes out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// For the first time.
    New,
    /// Again: a range that [`Recovery::next_range`](super::Recovery::next_range) gave.
    Retransmit,
    /// A tail loss probe, new data or the last segment again ([`Timeout::Probe`]).
    Probe,
    /// A byte or more beyond the peer's window. It does not count in flight, no timer of recovery
    /// waits for it, and its range is to be sent (as [`Sent::Retransmit`]) when the window opens.
    WindowProbe,
    /// A SYN or SYN,ACK, first or repeated: offset 0.
    Handshake,
}

/// One acknowledgement whose numbers the connection has checked.
#[derive(Clone, Debug)]
pub(crate) struct Ack<'a> {
    /// The first offset not yet received in order.
    pub(crate) offset: u64,
    /// The SACK blocks in the order of the option, without a DSACK block. Each is judged on its own:
    /// what is no part of the outstanding data is ignored.
    pub(crate) sack: &'a [Range<u64>],
    /// The first block, if it reports a duplicate (RFC 2883).
    pub(crate) dsack: Option<Range<u64>>,
    /// The time since the segment was sent whose timestamp is echoed, in the timestamp clock's
    /// granularity.
    pub(crate) echoed_rtt: Option<Duration>,
    /// The segment changed the send window.
    pub(crate) is_window_update: bool,
    /// The segment carries data, SYN or FIN: it is no duplicate ACK (RFC 5681 section 2).
    pub(crate) carries_data: bool,
    /// ECE is set, and ECN was agreed.
    pub(crate) ece: bool,
}

impl Ack<'_> {
    /// A bare acknowledgement of all below `offset`.
    #[cfg(test)]
    pub(crate) const fn cumulative(offset: u64) -> Ack<'static> {
        Ack {
            offset,
            sack: &[],
            dsack: None,
            echoed_rtt: None,
            is_window_update: false,
            carries_data: false,
            ece: false,
        }
    }
}

/// What happened in recovery that counters tell.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecoveryNews {
    /// A fast recovery began.
    pub(crate) began: bool,
    /// A tail loss probe repaired what was lost.
    pub(crate) probe_repaired: bool,
    /// A time-out turned out to be spurious.
    pub(crate) spurious_timeout: bool,
}

/// What an acknowledgement brought about.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Bytes of sequence space that the cumulative acknowledgement moved.
    pub(crate) newly_acked: u64,
    /// Bytes newly reported above it.
    pub(crate) newly_sacked: u64,
    /// Bytes declared lost by it.
    pub(crate) newly_lost: u64,
    /// A duplicate acknowledgement by RFC 5681 section 2.
    pub(crate) is_duplicate: bool,
    /// A retransmission turned out to have been unnecessary, and its consequences are undone.
    pub(crate) spurious: bool,
    /// The window was reduced because of ECE: the next new data carries CWR (RFC 3168 6.1.2).
    pub(crate) send_cwr: bool,
    /// A round trip was measured.
    pub(crate) rtt: Option<Duration>,
}

/// How much may go now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Bytes, new and retransmitted together.
    pub(crate) bytes: u64,
    /// Why it is less than was wanted.
    pub(crate) blocked: Option<Blocked>,
}

/// What holds back.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The congestion window, or proportional rate reduction: an acknowledgement goes on.
    Congestion,
    /// The pacer, until then ([`RecoveryTimer::Pace`]).
    Pacing(Instant),
}

/// What the one timer waits for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecoveryTimer {
    /// Nothing was heard for so long that all has to be taken for lost (RFC 6298).
    Retransmit,
    /// The tail of what was sent may be lost (TLP, RFC 8985 section 7).
    Probe,
    /// Segments are lost unless they were reordered by more than this (RACK, RFC 8985 section 6).
    Reorder,
    /// The pacer lets the next batch go.
    Pace,
}

/// What the connection has to do when the timer has expired.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// Nothing: it was called too early.
    Nothing,
    /// Try to transmit: something became lost, or the pacer lets go.
    Transmit,
    /// The retransmission timer expired: transmit what
    /// [`Recovery::next_range`](super::Recovery::next_range) says, and judge R1, R2 and the user
    /// time-out by [`Recovery::consecutive_timeouts`](super::Recovery::consecutive_timeouts).
    Retransmit,
    /// Send one segment as [`Sent::Probe`], past the congestion window: new data if the peer's
    /// window takes it, else [`Recovery::probe_range`](super::Recovery::probe_range).
    Probe,
}

/// What is seen of a connection's sending, as `ss -ti` shows it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecoveryStats {
    /// The algorithm's name.
    pub(crate) algorithm: &'static str,
    /// `open`, `disorder`, `recovery` or `loss`.
    pub(crate) phase: &'static str,
    /// The controller's own state.
    pub(crate) state: &'static str,
    /// The congestion window in bytes.
    pub(crate) window: u64,
    /// Where slow start ends, if that is known.
    pub(crate) ssthresh: Option<u64>,
    /// Bytes in flight.
    pub(crate) in_flight: u64,
    /// The smoothed round trip.
    pub(crate) rtt: Option<Duration>,
    /// Its variation.
    pub(crate) rttvar: Option<Duration>,
    /// The least round trip.
    pub(crate) min_rtt: Option<Duration>,
    /// The time-out with its backoff.
    pub(crate) rto: Duration,
    /// How long RACK waits for reordered segments.
    pub(crate) reordering_window: Duration,
    /// Bytes per second at which data goes out, if it is paced.
    pub(crate) pacing_rate: Option<u64>,
    /// Bytes ever declared lost.
    pub(crate) lost: u64,
    /// Bytes ever sent again.
    pub(crate) retransmitted: u64,
    /// Retransmission time-outs ever.
    pub(crate) timeouts: u64,
    /// Tail loss probes ever.
    pub(crate) probes: u64,
    /// Recoveries and time-outs that turned out to be spurious.
    pub(crate) undone: u64,
}
