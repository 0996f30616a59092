//! What a connection is doing, in numbers.

use weir_core::time::Duration;
use weir_core::trace::HeldBy;

use super::{Connection, State};
use crate::recovery::{EcnFailure, EcnPhase, PathLookup};
use crate::stream::{DatagramStats, StreamStats, StreamsStats};

/// Counters that the connection keeps itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) datagrams_sent: u64,
    pub(super) datagrams_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) packets_sent: u64,
    pub(super) packets_received: u64,
    pub(super) packets_lost: u64,
    pub(super) packets_dropped: u64,
    pub(super) packets_held: u64,
    pub(super) retries: u64,
    pub(super) migrations: u64,
    pub(super) key_updates: u64,
    pub(super) tokens_received: u64,
}

/// Counters of a connection since its start, and where its active path stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// UDP datagrams received.
    pub datagrams_received: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// QUIC packets sent.
    pub packets_sent: u64,
    /// QUIC packets received, opened and processed.
    pub packets_received: u64,
    /// QUIC packets sent and taken for lost.
    pub packets_lost: u64,
    /// QUIC packets received and dropped: not authentic, duplicates, without keys.
    pub packets_dropped: u64,
    /// Retry packets that were followed.
    pub retries: u64,
    /// Times that packets began to go to another address.
    pub migrations: u64,
    /// Key updates by either side.
    pub key_updates: u64,
    /// Smoothed round trip of the active path, once measured.
    pub rtt: Option<Duration>,
    /// The least round trip seen on it.
    pub min_rtt: Option<Duration>,
    /// Congestion window of the active path, in bytes.
    pub congestion_window: u64,
    /// Bytes in flight on it.
    pub in_flight: u64,
    /// Size of the datagrams that it carries, in bytes.
    pub datagram_size: usize,
    /// The congestion controller and its state, in its own words.
    pub congestion: (&'static str, &'static str),
    /// What became of the active path's ECN marks.
    pub ecn: EcnReport,
    /// Bytes of memory that streams and windows hold now, and may hold.
    pub memory_used: u64,
    /// See [`ConnectionStats::memory_used`].
    pub memory_limit: u64,
    /// What the streams did, all together.
    pub streams: StreamsStats,
    /// What became of datagrams (RFC 9221).
    pub datagrams: DatagramStats,
}

/// What is known of the ECN marks that this side puts on its packets (RFC 9000 section 13.4.2).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EcnReport {
    /// Nothing is marked: it was not asked for, or the system cannot.
    #[default]
    Off,
    /// The first packets are marked, and not all answered for.
    Testing,
    /// Marks arrive and are reported.
    Works,
    /// Marks are taken off on the way, or the peer does not report them.
    Cleared,
    /// Marked packets do not arrive.
    Dropped,
    /// Other marks are reported than were sent.
    Wrong,
}

impl EcnReport {
    fn of(phase: EcnPhase) -> EcnReport {
        use EcnFailure::{AllCongested, BlackHole, Decreased, Missing, TooFew, TooMany};
        match phase {
            EcnPhase::Off => EcnReport::Off,
            EcnPhase::Testing | EcnPhase::Unknown => EcnReport::Testing,
            EcnPhase::Capable => EcnReport::Works,
            EcnPhase::Failed(Missing | TooFew) => EcnReport::Cleared,
            EcnPhase::Failed(BlackHole) => EcnReport::Dropped,
            EcnPhase::Failed(Decreased | TooMany | AllCongested) => EcnReport::Wrong,
        }
    }

    /// In a word, as status pages show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EcnReport::Off => "off",
            EcnReport::Testing => "testing",
            EcnReport::Works => "works",
            EcnReport::Cleared => "cleared",
            EcnReport::Dropped => "dropped",
            EcnReport::Wrong => "wrong",
        }
    }
}

impl Connection {
    /// The connection's counters, and where it stands now.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        let counters = &self.stats;
        let mut stats = ConnectionStats {
            datagrams_sent: counters.datagrams_sent,
            datagrams_received: counters.datagrams_received,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            packets_sent: counters.packets_sent,
            packets_received: counters.packets_received,
            packets_lost: counters.packets_lost,
            packets_dropped: counters.packets_dropped,
            retries: counters.retries,
            migrations: counters.migrations,
            key_updates: counters.key_updates,
            datagram_size: self.datagram_size(),
            memory_used: self.memory.used(),
            memory_limit: self.memory.limit(),
            streams: self.streams.stats(),
            datagrams: self.datagrams.stats(),
            ..ConnectionStats::default()
        };
        if let Some(path) = self.paths.active_path() {
            let recovery = &path.recovery;
            stats.rtt = recovery.rtt.smoothed();
            stats.min_rtt = recovery.rtt.min();
            stats.congestion_window = recovery.controller.window();
            stats.in_flight = recovery.in_flight;
            stats.congestion = (recovery.controller.name(), recovery.controller.state());
            stats.ecn = EcnReport::of(recovery.ecn.phase());
        }
        stats
    }

    /// Smoothed round trip of the active path, once measured.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.paths.active_rtt().smoothed()
    }

    /// A stream that could send as far as flow control goes may still be held by the path.
    pub(super) fn add_path_holds(&self, stats: &mut StreamStats) {
        if stats.held_by.send != HeldBy::Nothing || stats.queued == 0 {
            return;
        }
        let Some(path) = self.paths.active_path() else {
            return;
        };
        if path.recovery.window_left() < self.datagram_size() as u64 {
            stats.held_by.send = HeldBy::Congestion;
        } else if self.clock.pacing.is_some() {
            stats.held_by.send = HeldBy::Pacing;
        }
    }

    /// The state's name, as traces and status pages show it.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Handshaking => "handshaking",
            State::Established { confirmed: false } => "established",
            State::Established { confirmed: true } => "confirmed",
            State::Closing(_) => "closing",
            State::Draining { .. } => "draining",
            State::Drained { .. } => "drained",
        }
    }
}
