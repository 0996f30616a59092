//! What a connection tells its tracer: segments, states, how the path looks.

use weir_core::trace::{Direction, Level, Metrics};

use super::connection::Connection;
use super::interface::{Context, Received};
use super::recovery::Sent;
use super::state::State;
use crate::ip::Ecn;
use crate::trace::{self, Told};
use crate::wire::seq;
use crate::wire::tcp::{Flags, Header};

/// What is told of a segment beside its header.
#[derive(Copy, Clone, Debug)]
pub(super) struct Going {
    /// Its first offset.
    pub(super) offset: u64,
    /// Bytes of data.
    pub(super) len: u64,
    /// How many segments it is cut into.
    pub(super) segments: u64,
    /// Its mark.
    pub(super) ecn: Ecn,
    /// Why it goes, out of the usual course.
    pub(super) trigger: Option<&'static str>,
}

impl Going {
    /// One without data.
    pub(super) const fn bare(offset: u64, trigger: Option<&'static str>) -> Going {
        Going {
            offset,
            len: 0,
            segments: 1,
            ecn: Ecn::NotEct,
            trigger,
        }
    }
}

impl Connection {
    /// A segment arrived.
    #[inline]
    pub(super) fn tell_received(&self, cx: &mut Context<'_>, received: &Received<'_>) {
        trace::segment(cx.tracer, cx.now, &self.tuple, || {
            let segment = &received.segment;
            let shift = if segment.flags.contains(Flags::SYN) {
                0
            } else {
                self.send.shift
            };
            let initial = if self.state == State::SynSent {
                segment.seq
            } else {
                self.receive.irs
            };
            Told {
                direction: Direction::Received,
                flags: segment.flags,
                seq: seq::widen(initial, segment.seq, self.receive.next()).unwrap_or(0),
                ack: seq::widen(self.numbers.iss, segment.ack, self.send.una).unwrap_or(0),
                ack_initial: self.numbers.iss,
                window: u32::from(segment.window) << shift,
                length: segment.payload.len(),
                segments: received.segments,
                options: &received.segment.options,
                ecn: received.ecn,
                state: self.state,
                trigger: None,
            }
        });
    }

    /// A segment goes out.
    #[inline]
    pub(super) fn tell_sent(&self, cx: &mut Context<'_>, header: &Header, going: &Going) {
        trace::segment(cx.tracer, cx.now, &self.tuple, || {
            let shift = if header.flags.contains(Flags::SYN) {
                0
            } else {
                self.receive.shift
            };
            Told {
                direction: Direction::Sent,
                flags: header.flags,
                seq: going.offset,
                ack: self.receive.next(),
                ack_initial: self.receive.irs,
                window: u32::from(header.window) << shift,
                length: usize::try_from(going.len).unwrap_or(usize::MAX),
                segments: u16::try_from(going.segments).unwrap_or(u16::MAX),
                options: &header.options,
                ecn: going.ecn,
                state: self.state,
                trigger: going.trigger,
            }
        });
    }

    /// Why data goes out, if it is not new. Asked for traces only.
    #[inline]
    pub(super) fn trigger(&self, cx: &Context<'_>, kind: Sent) -> Option<&'static str> {
        if cx.tracer.enabled(Level::Frame) {
            self.trigger_of(kind)
        } else {
            None
        }
    }

    #[cold]
    fn trigger_of(&self, kind: Sent) -> Option<&'static str> {
        match kind {
            Sent::New => None,
            Sent::Handshake => Some("syn"),
            Sent::Probe => Some("tlp"),
            Sent::WindowProbe => Some("window_probe"),
            Sent::Retransmit => Some(match self.recovery.stats().phase {
                "loss" => "rto",
                _ if self.sack => "rack",
                _ => "dup_ack",
            }),
        }
    }

    /// How the path looks now, as far as it changed.
    #[inline]
    pub(super) fn tell_metrics(&mut self, cx: &mut Context<'_>) {
        let (recovery, backoff) = (&self.recovery, self.recovery.consecutive_timeouts());
        self.told.tell(cx.tracer, cx.now, &self.tuple, || {
            let stats = recovery.stats();
            Metrics {
                min_rtt: stats.min_rtt,
                smoothed_rtt: stats.rtt,
                rtt_variance: stats.rttvar,
                pto_count: Some(backoff),
                congestion_window: Some(stats.window),
                bytes_in_flight: Some(stats.in_flight),
                ssthresh: stats.ssthresh,
                pacing_rate: stats.pacing_rate.map(|bytes| bytes.saturating_mul(8)),
                retransmission_timeout: Some(stats.rto),
                reordering_window: Some(stats.reordering_window),
                ..Metrics::default()
            }
        });
    }
}
