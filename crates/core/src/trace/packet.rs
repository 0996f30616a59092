//! Packets and what becomes of them, for every protocol that sends packets of its own.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::{Direction, Field};
use crate::time::Duration;

/// One packet that was sent, or received and understood.
#[derive(Copy, Clone, Debug)]
pub struct PacketEvent<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// The protocol ("quic", "tcp", ..).
    pub family: &'static str,
    /// The packet's type in the protocol's word ("1RTT", "initial", ..).
    pub kind: &'static str,
    /// Its number, where packets have one.
    pub number: Option<u64>,
    /// Its size with header and protection, in bytes.
    pub length: usize,
    /// The path it took, counted from 0.
    pub path: u64,
    /// Its ECN mark, when it had one ("ECT(0)", "ECT(1)", "CE").
    pub ecn: Option<&'static str>,
    /// What made it be sent or read now, when that is not the usual course.
    pub trigger: Option<&'static str>,
    /// Sent to find out whether the path carries its size.
    pub is_mtu_probe: bool,
    /// What else its header says.
    pub header: &'a [Field<'a>],
    /// What it carries.
    pub frames: &'a dyn Frames,
}

/// The frames of a packet, read anew for each sink that looks: nothing is stored for those that do
/// not.
/// Shared between threads, because an event that waits in an engine moves with it.
pub trait Frames: fmt::Debug + Sync {
    /// Shows each frame in the order in which they stand in the packet.
    fn each(&self, show: &mut dyn FnMut(&FrameInfo<'_>));
}

/// One frame of a packet.
#[derive(Copy, Clone)]
pub struct FrameInfo<'a> {
    /// Its type in the protocol's word, as qlog spells it ("stream", "ack", ..).
    pub kind: &'static str,
    /// The whole frame in words for a log line ("STREAM 0 off 0 len 7 FIN").
    pub words: &'a (dyn fmt::Display + Sync),
    /// Its fields.
    pub fields: &'a [Field<'a>],
}

impl fmt::Debug for FrameInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.words)
    }
}

impl Frames for Vec<FrameInfo<'_>> {
    fn each(&self, show: &mut dyn FnMut(&FrameInfo<'_>)) {
        self.iter().for_each(show);
    }
}

/// A packet that was received and thrown away.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DroppedEvent {
    /// The packet's type, when that could be read.
    pub kind: Option<&'static str>,
    /// Its size in bytes, when it is known.
    pub length: Option<usize>,
    /// The class of the reason, in qlog's word ("duplicate", "decryption_failure", ..).
    pub trigger: &'static str,
    /// The reason in words.
    pub why: &'static str,
    /// How many were thrown away so far.
    pub count: u64,
}

/// A packet that was sent and is taken for lost.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LostEvent {
    /// Its type, as in [`PacketEvent::kind`].
    pub kind: &'static str,
    /// Its number.
    pub number: u64,
    /// Its size in bytes.
    pub length: usize,
    /// The path it took.
    pub path: u64,
    /// What made it count as lost, in qlog's word, when known ("reordering_threshold", ..).
    pub trigger: Option<&'static str>,
    /// It only probed for a size: the path is not to blame.
    pub is_mtu_probe: bool,
}

/// Where a path stands: only what has changed since the last time.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The path, counted from 0.
    pub path: u64,
    /// The least round trip seen.
    pub min_rtt: Option<Duration>,
    /// The smoothed round trip.
    pub smoothed_rtt: Option<Duration>,
    /// The last round trip.
    pub latest_rtt: Option<Duration>,
    /// How much round trips vary.
    pub rtt_variance: Option<Duration>,
    /// Probe time-outs in a row.
    pub pto_count: Option<u32>,
    /// Bytes that may be in flight.
    pub congestion_window: Option<u64>,
    /// Bytes that are.
    pub bytes_in_flight: Option<u64>,
    /// The window at which slow start ends, in bytes.
    pub ssthresh: Option<u64>,
    /// Bits per second at which packets are let out.
    pub pacing_rate: Option<u64>,
    /// How long nothing may be acknowledged before all is taken for lost (RFC 6298).
    pub retransmission_timeout: Option<Duration>,
    /// How late a segment may be before it counts as lost (RFC 8985).
    pub reordering_window: Option<Duration>,
    /// What the peer is ready to take, in bytes.
    pub send_window: Option<u64>,
}

impl Metrics {
    /// What of it is not as in `before`; `None` when all is.
    #[must_use]
    pub fn since(&self, before: &Metrics) -> Option<Metrics> {
        fn news<T: Copy + PartialEq>(now: Option<T>, before: Option<T>) -> Option<T> {
            now.filter(|_| now != before)
        }
        let news = Metrics {
            path: self.path,
            min_rtt: news(self.min_rtt, before.min_rtt),
            smoothed_rtt: news(self.smoothed_rtt, before.smoothed_rtt),
            latest_rtt: news(self.latest_rtt, before.latest_rtt),
            rtt_variance: news(self.rtt_variance, before.rtt_variance),
            pto_count: news(self.pto_count, before.pto_count),
            congestion_window: news(self.congestion_window, before.congestion_window),
            bytes_in_flight: news(self.bytes_in_flight, before.bytes_in_flight),
            ssthresh: news(self.ssthresh, before.ssthresh),
            pacing_rate: news(self.pacing_rate, before.pacing_rate),
            retransmission_timeout: news(
                self.retransmission_timeout,
                before.retransmission_timeout,
            ),
            reordering_window: news(self.reordering_window, before.reordering_window),
            send_window: news(self.send_window, before.send_window),
        };
        let nothing = Metrics {
            path: self.path,
            ..Metrics::default()
        };
        (news != nothing).then_some(news)
    }
}

/// What happened to a timer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TimerChange {
    /// It runs, and is due after so long.
    Set(Duration),
    /// It was due.
    Expired,
    /// It runs no more.
    Cancelled,
}

/// A timer's event.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TimerEvent {
    /// Its name, in qlog's word where there is one ("pto", "loss_timeout", ..).
    pub kind: &'static str,
    /// The packet number space it is for, where that matters.
    pub space: Option<&'static str>,
    /// What happened to it.
    pub change: TimerChange,
}

/// What happened to a key. The key itself is never told.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// Which one, in qlog's word ("client_1rtt_secret", ..).
    pub kind: &'static str,
    /// False: it came into use; true: it was forgotten.
    pub discarded: bool,
    /// How often it had been replaced, for keys that are.
    pub phase: Option<u64>,
    /// What caused it, in qlog's word ("tls", "remote_update", "local_update").
    pub trigger: &'static str,
}

/// What happened to a path.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PathEvent {
    /// The path, counted from 0.
    pub path: u64,
    /// What happened.
    pub change: PathChange,
    /// The address here, when it is known.
    pub local: Option<IpAddr>,
    /// The peer's address.
    pub remote: Option<SocketAddr>,
}

/// See [`PathEvent`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// The connection begins on it.
    Started,
    /// It is known now.
    Assigned,
    /// It is forgotten.
    Abandoned,
    /// It is tried, without being used yet.
    ProbingStarted,
    /// It answered.
    ProbingSuccessful,
    /// It did not answer.
    ProbingAbandoned,
    /// Packets go there now.
    MigrationStarted,
    /// Packets went there, and go elsewhere again.
    MigrationAbandoned,
    /// It is used, and the old one is not.
    MigrationComplete,
}

impl PathChange {
    /// The word of qlog's migration states, where it is one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PathChange::Started => "started",
            PathChange::Assigned => "assigned",
            PathChange::Abandoned => "abandoned",
            PathChange::ProbingStarted => "probing_started",
            PathChange::ProbingSuccessful => "probing_successful",
            PathChange::ProbingAbandoned => "probing_abandoned",
            PathChange::MigrationStarted => "migration_started",
            PathChange::MigrationAbandoned => "migration_abandoned",
            PathChange::MigrationComplete => "migration_complete",
        }
    }
}
