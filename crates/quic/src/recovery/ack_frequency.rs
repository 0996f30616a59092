//! The acknowledgement frequency extension (draft-ietf-quic-ack-frequency), both roles: what the
//! peer asked of us, and what we ask of it.

use std::collections::VecDeque;

use weir_core::time::{Duration, Instant};

use super::path::{GRANULARITY, PathRecovery};
use crate::error::{TransportError, code};

/// The type of ACK_FREQUENCY frames.
const ACK_FREQUENCY_FRAME: u64 = 0xaf;
/// Values of max_ack_delay from here on are invalid (RFC 9000 section 18.2).
const MAX_ACK_DELAY_LIMIT: Duration = Duration::from_millis(1 << 14);
/// The default of max_ack_delay (RFC 9000 section 18.2).
pub(crate) const DEFAULT_MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// Acknowledgements that are wanted for each window of data and each round trip: enough to send on
/// smoothly and to see losses early; a receiver that acknowledges every second packet sends tens.
const ACKS_PER_WINDOW: u64 = 8;
/// As many in slow start, which grows by them, and which [`HyStart`](weir_core::congestion::HyStart)
/// leaves by eight measurements of the round trip in one round (RFC 9406 section 4.2): with as few
/// as that the window could outgrow the path unnoticed.
const ACKS_PER_WINDOW_IN_SLOW_START: u64 = 16;
/// Nobody is asked to let more packets pass than this.
const MAX_THRESHOLD: u64 = 128;
/// Requests in flight that are kept in mind; while there are this many, none is made.
const MAX_OUTSTANDING: usize = 4;

/// How the peer wants its packets acknowledged (section 4 of the draft; before it asked, as
/// RFC 9000 section 13.2 says).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct AckPolicy {
    /// Ack-eliciting packets that may arrive without being acknowledged.
    pub(crate) threshold: u64,
    /// The longest an acknowledgement waits.
    pub(crate) max_delay: Duration,
    /// Reordering of this many packets is told at once; 0: never.
    pub(crate) reordering: u64,
    largest_sequence: Option<u64>,
}

impl AckPolicy {
    /// What holds until the peer asks: every second packet, within our max_ack_delay, and
    /// reordering at once.
    pub(crate) fn new(max_ack_delay: Duration) -> AckPolicy {
        AckPolicy {
            threshold: 1,
            max_delay: max_ack_delay,
            reordering: 1,
            largest_sequence: None,
        }
    }

    /// An ACK_FREQUENCY frame. `delay` is the field Requested Max Ack Delay in microseconds,
    /// `min_ack_delay` what we announced. A delay that is not valid is an error; a frame older than
    /// one that was seen is ignored.
    pub(crate) fn on_frame(
        &mut self,
        sequence: u64,
        threshold: u64,
        delay: u64,
        reordering: u64,
        min_ack_delay: Duration,
    ) -> Result<(), TransportError> {
        let delay = Duration::from_micros(delay);
        if delay < min_ack_delay || delay >= MAX_ACK_DELAY_LIMIT {
            let words = "the requested max_ack_delay is out of range";
            return Err(
                TransportError::new(code::PROTOCOL_VIOLATION, words).in_frame(ACK_FREQUENCY_FRAME)
            );
        }
        if self.largest_sequence.is_some_and(|seen| sequence <= seen) {
            return Ok(());
        }
        *self = AckPolicy {
            threshold,
            max_delay: delay,
            reordering,
            largest_sequence: Some(sequence),
        };
        Ok(())
    }
}

/// An ACK_FREQUENCY frame to send.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its sequence number.
    pub(crate) sequence: u64,
    /// Ack-Eliciting Threshold.
    pub(crate) threshold: u64,
    /// Requested Max Ack Delay.
    pub(crate) max_ack_delay: Duration,
    /// Reordering Threshold.
    pub(crate) reordering: u64,
}

/// What we ask of the peer.
#[derive(Debug)]
pub(crate) struct AckFrequency {
    /// Its transport parameter.
    announced: Duration,
    /// Its transport parameter min_ack_delay; `None`: it does not know the extension.
    peer_min: Option<Duration>,
    /// What it uses now, as far as is known.
    current: Duration,
    /// Sent and not yet acknowledged, by ascending sequence.
    outstanding: VecDeque<Request>,
    last: Option<Request>,
    /// The sequence number of the request whose delay is `current`.
    current_sequence: Option<u64>,
    next_sequence: u64,
    asked_at: Instant,
    /// The last request was lost.
    again: bool,
}

impl Default for AckFrequency {
    fn default() -> AckFrequency {
        AckFrequency {
            announced: DEFAULT_MAX_ACK_DELAY,
            peer_min: None,
            current: DEFAULT_MAX_ACK_DELAY,
            outstanding: VecDeque::new(),
            last: None,
            current_sequence: None,
            next_sequence: 0,
            asked_at: Instant::ZERO,
            again: false,
        }
    }
}

impl AckFrequency {
    pub(super) fn set_peer_max_ack_delay(&mut self, delay: Duration) {
        self.announced = delay;
        self.current = delay;
    }

    /// The peer takes ACK_FREQUENCY and IMMEDIATE_ACK, and delays no less than this.
    pub(crate) fn set_peer_min_ack_delay(&mut self, delay: Duration) {
        self.peer_min = Some(delay);
    }

    /// The longest the peer delays acknowledgements on purpose: what its stated delays are capped
    /// by, and losses judged by.
    #[inline]
    pub(crate) fn peer_max_ack_delay(&self) -> Duration {
        self.max_ack_delay_for_pto()
    }

    /// The largest of what holds and what is asked for and not yet acknowledged (section 6 of the
    /// draft).
    #[inline]
    pub(crate) fn max_ack_delay_for_pto(&self) -> Duration {
        let asked = self.outstanding.iter().map(|request| request.max_ack_delay);
        asked.fold(self.current, Duration::max)
    }

    /// What to ask now, if there is reason to: the window or the round trip has changed by half
    /// since it was asked last, at most once a round trip. The caller sends it and then calls
    /// [`on_sent`](AckFrequency::on_sent).
    pub(crate) fn poll(&mut self, now: Instant, path: &PathRecovery, mtu: u16) -> Option<Request> {
        let least = self.peer_min?;
        let smoothed = path.rtt.smoothed()?;
        let waits = now.saturating_duration_since(self.asked_at) < smoothed;
        let too_soon = waits && self.last.is_some() && !self.again;
        if too_soon || self.outstanding.len() >= MAX_OUTSTANDING {
            return None;
        }
        let packets = path.controller.window() / u64::from(mtu.max(1));
        let acks = match path.controller.in_slow_start() {
            true => ACKS_PER_WINDOW_IN_SLOW_START,
            false => ACKS_PER_WINDOW,
        };
        let most = self.announced.max(least);
        let request = Request {
            sequence: self.next_sequence,
            threshold: (packets / acks).clamp(1, MAX_THRESHOLD),
            // Less than a timer's granularity is not a wish that can be met.
            max_ack_delay: (smoothed / 4).max(GRANULARITY).clamp(least, most),
            // What is reported earlier than it can be declared lost is reported for nothing.
            reordering: path.packet_threshold(),
        };
        let changed = self.last.is_none_or(|last| differs(&last, &request));
        (changed || self.again).then_some(request)
    }

    /// The request went out.
    pub(crate) fn on_sent(&mut self, now: Instant, request: Request) {
        self.next_sequence = request.sequence.saturating_add(1);
        self.asked_at = now;
        self.again = false;
        self.last = Some(request);
        self.outstanding.push_back(request);
    }

    /// The packet with the request `sequence` was acknowledged: its delay holds now.
    pub(crate) fn on_acked(&mut self, sequence: u64) {
        let known = |request: &&Request| request.sequence == sequence;
        if let Some(request) = self.outstanding.iter().find(known)
            && self.current_sequence.is_none_or(|newest| newest < sequence)
        {
            self.current = request.max_ack_delay;
            self.current_sequence = Some(sequence);
        }
        self.outstanding
            .retain(|request| request.sequence != sequence);
    }

    /// The packet with the request `sequence` was lost: the newest is made again.
    pub(crate) fn on_lost(&mut self, sequence: u64) {
        self.outstanding
            .retain(|request| request.sequence != sequence);
        self.again |= self.last.is_some_and(|last| last.sequence == sequence);
    }
}

/// Whether a new request says something else by half or more.
fn differs(old: &Request, new: &Request) -> bool {
    let by_half = |old: u64, new: u64| {
        let (less, more) = (old.min(new), old.max(new));
        more.saturating_sub(less) > less / 2
    };
    let nanos = weir_core::time::nanos;
    by_half(old.threshold, new.threshold)
        || by_half(nanos(old.max_ack_delay), nanos(new.max_ack_delay))
        || old.reordering != new.reordering
}
