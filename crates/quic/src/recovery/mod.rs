//! What was sent, what was received, what is lost (RFC 9002).
//!
//! | file | what it is |
//! |---|---|
//! | `sent` | the packets of one space that are neither acknowledged nor given up, and their frames |
//! | `ack` | an ACK frame: what it newly acknowledges, and what follows from it |
//! | `loss` | which packets are lost; what leaves without being lost |
//! | `pto` | the one timer, and what to do when it expires |
//! | `ecn` | whether a path carries congestion marks |
//! | `path` | what is known of one path: round trip, window, pacing, thresholds |
//! | `received` | what was received, and when to acknowledge it |
//! | `ack_frequency` | asking the peer for fewer acknowledgements, and doing as it asks |
//!
//! The calls: [`Recovery::next_packet_number`] and [`Recovery::on_packet_sent`] for each packet,
//! [`Recovery::on_ack_ranges`] for each ACK frame, [`Recovery::on_timeout`] when [`Recovery::timer`] says
//! so. The last two fill an [`Outcome`] that the caller reads and hands in again next time.

mod ack;
pub(crate) mod ack_frequency;
mod ecn;
mod loss;
mod path;
mod pto;
pub(crate) mod received;
mod sent;

use std::collections::VecDeque;

use weir_core::delivery::RateSampler;
use weir_core::rng::{Rng, between};
use weir_core::time::{Duration, Instant};

use crate::limits::{
    ACK_ONLY_RUN, FIRST_SKIP_PERIOD, MAX_SENT_PACKETS, MAX_SKIP_PERIOD, MAX_SKIPPED,
    MAX_TRACKED_ACK_ONLY,
};
use crate::path::PathId;
use crate::sent::SentFrame;
use crate::wire::{Side, Space};

pub(crate) use {
    ack::AckInfo,
    ecn::{EcnFailure, EcnPhase},
    path::{GRANULARITY, PathLookup, PathRecovery, RecoveryConfig},
    pto::LossTimer,
};

use ack_frequency::AckFrequency;
use ecn::EcnSpace;
use loss::{LateLoss, Round};
use sent::{Flags, Packet, SentPackets};

/// The largest packet number (RFC 9000 section 12.3).
pub(crate) const MAX_PACKET_NUMBER: u64 = (1 << 62) - 1;

/// A packet that goes out now.
#[derive(Copy, Clone, Debug)]
pub(crate) struct SentPacket {
    /// Its number, from [`Recovery::next_packet_number`].
    pub(crate) pn: u64,
    /// Its bytes, header and tag included.
    pub(crate) size: u16,
    /// The path it is sent on.
    pub(crate) path: PathId,
    /// Whether it has a frame that is acknowledged without delay for long (RFC 9002 section 2).
    pub(crate) ack_eliciting: bool,
    /// Whether it counts in flight: it is ack-eliciting or has PADDING.
    pub(crate) in_flight: bool,
    /// Whether it is marked ECT(0).
    pub(crate) ecn: bool,
    /// Whether it probes for a larger datagram: its loss is no sign of congestion.
    pub(crate) is_mtu_probe: bool,
}

/// A packet that was declared lost.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostPacket {
    /// Its number.
    pub(crate) pn: u64,
    /// Its bytes.
    pub(crate) size: u16,
    /// The path it was sent on.
    pub(crate) path: PathId,
    /// When it was sent.
    pub(crate) sent_at: Instant,
    /// Whether it was a probe for a larger datagram.
    pub(crate) is_mtu_probe: bool,
    /// By the time threshold, else by the packet threshold.
    pub(crate) by_time: bool,
}

/// What an acknowledgement or a time-out brought about. The buffers are the caller's and are used
/// again: each call begins by clearing them.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Frames of newly acknowledged packets.
    pub(crate) acked: Vec<SentFrame>,
    /// Frames of packets that were declared lost: what still matters of them is to be sent again.
    pub(crate) lost: Vec<SentFrame>,
    /// Frames of the oldest packets that wait, when a probe is due: not lost, but as good as
    /// anything to send now, when there is nothing new (RFC 9002 section 6.2.4). With the space of
    /// their packets.
    pub(crate) resend: Vec<(Space, SentFrame)>,
    /// The packets behind `lost`.
    pub(crate) lost_packets: Vec<LostPacket>,
    /// Ack-eliciting packets to send in each space at once, past the window (RFC 9002 section 7.5).
    pub(crate) probes: [u8; 3],
    /// The largest packet number that was newly acknowledged.
    pub(crate) largest_newly_acked: Option<u64>,
    /// How many packets were newly acknowledged.
    pub(crate) acked_packets: u64,
    /// The largest datagram payload that arrived, with its path: sizes up to it work there.
    pub(crate) largest_acked_size: Option<(PathId, u16)>,
    /// A round trip was measured on this path.
    pub(crate) rtt_updated: Option<PathId>,
    /// This path's marks are judged otherwise than before.
    pub(crate) ecn: Option<(PathId, EcnPhase)>,
    /// Packets newly reported as marked by congestion.
    pub(crate) newly_ce: u64,
    /// Persistent congestion was established on this path.
    pub(crate) persistent_congestion: Option<PathId>,
    /// Packets that were declared lost before and are acknowledged now.
    pub(crate) spurious: u64,
    /// Ranges and packets that were looked at: the cost of the call.
    pub(crate) steps: u64,
}

impl Outcome {
    /// Empties it; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.acked.clear();
        self.lost.clear();
        self.resend.clear();
        self.lost_packets.clear();
        let (acked, lost) = (
            std::mem::take(&mut self.acked),
            std::mem::take(&mut self.lost),
        );
        let resend = std::mem::take(&mut self.resend);
        let lost_packets = std::mem::take(&mut self.lost_packets);
        *self = Outcome {
            acked,
            lost,
            resend,
            lost_packets,
            ..Outcome::default()
        };
    }
}

/// One packet number space.
#[derive(Debug, Default)]
struct SpaceState {
    sent: SentPackets,
    /// Packets declared lost not long ago, by ascending number.
    late: VecDeque<LateLoss>,
    /// The number that is given out next.
    next: u64,
    /// One more than the largest number sent.
    end: u64,
    largest_acked: Option<u64>,
    /// When the newest acknowledged packet was sent.
    acked_sent_at: Option<Instant>,
    /// When the last ack-eliciting packet was sent.
    eliciting_sent_at: Instant,
    eliciting_in_flight: u64,
    /// Remembered packets that elicit no acknowledgement and are not in flight.
    ack_only: usize,
    /// Packets in a row that elicit no acknowledgement.
    ack_only_run: u32,
    /// When the earliest packet will be lost by the time threshold.
    loss_time: Option<Instant>,
    ecn: EcnSpace,
    discarded: bool,
}

#[derive(Debug, Default)]
struct Spaces([SpaceState; 3]);

impl Spaces {
    #[inline]
    fn get(&self, space: Space) -> &SpaceState {
        let [initial, handshake, data] = &self.0;
        match space {
            Space::Initial => initial,
            Space::Handshake => handshake,
            Space::Data => data,
        }
    }

    #[inline]
    fn get_mut(&mut self, space: Space) -> &mut SpaceState {
        let [initial, handshake, data] = &mut self.0;
        match space {
            Space::Initial => initial,
            Space::Handshake => handshake,
            Space::Data => data,
        }
    }
}

/// Loss recovery of one connection: three spaces, any number of paths.
#[derive(Debug)]
pub(crate) struct Recovery {
    side: Side,
    spaces: Spaces,
    skipper: Skipper,
    /// Acknowledgement frequency asked of the peer.
    frequency: AckFrequency,
    pto_count: u32,
    /// When it expired last, while the count is not 0.
    expired_at: Option<Instant>,
    confirmed: bool,
    has_handshake_keys: bool,
    /// When something was sent or acknowledged last: the client's probe for a blocked server waits
    /// from here.
    progress_at: Instant,
    in_flight: u64,
    round: Round,
}

impl Recovery {
    /// A connection that has sent nothing. The peer's max_ack_delay is the default until
    /// [`set_peer_max_ack_delay`](Recovery::set_peer_max_ack_delay).
    pub(crate) fn new(
        side: Side,
        now: Instant,
        config: &RecoveryConfig,
        rng: &mut Rng,
    ) -> Recovery {
        Recovery {
            side,
            spaces: Spaces::default(),
            skipper: Skipper::new(config.skip_packet_numbers, rng),
            frequency: AckFrequency::default(),
            pto_count: 0,
            expired_at: None,
            confirmed: false,
            has_handshake_keys: false,
            progress_at: now,
            in_flight: 0,
            round: Round::default(),
        }
    }

    /// The number of the next packet of `space`, the same until it is sent; `None` when all are
    /// used up: the connection ends then without a word (RFC 9000 section 12.3, Q6). In the data
    /// space a number is left out now and then: who acknowledges it has not received it
    /// (RFC 9000 section 21.4).
    #[inline]
    pub(crate) fn next_packet_number(&mut self, space: Space, rng: &mut Rng) -> Option<u64> {
        let state = self.spaces.get_mut(space);
        if space == Space::Data && state.next >= self.skipper.next {
            state.next = self.skipper.skip(state.next, rng);
        }
        (state.next <= MAX_PACKET_NUMBER).then_some(state.next)
    }

    /// A packet goes out; `frames` are what it carries that matters later, and are drained.
    #[inline]
    pub(crate) fn on_packet_sent<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        packet: SentPacket,
        frames: &mut Vec<SentFrame>,
        paths: &mut P,
    ) {
        let state = self.spaces.get_mut(space);
        state.end = packet.pn.saturating_add(1);
        state.next = state.end;
        let size = u64::from(packet.size);
        let mut path = paths.recovery(packet.path);
        if packet.ecn {
            state.ecn.on_marked_sent();
            if let Some(path) = &mut path {
                path.ecn.on_marked_sent();
            }
        }
        if packet.ack_eliciting {
            state.eliciting_sent_at = now;
            state.eliciting_in_flight = state.eliciting_in_flight.saturating_add(1);
            state.ack_only_run = 0;
            self.progress_at = now;
        } else {
            state.ack_only_run = state.ack_only_run.saturating_add(1);
        }
        if !packet.in_flight {
            if state.ack_only >= MAX_TRACKED_ACK_ONLY {
                // Its acknowledgement would tell nothing that those remembered do not.
                frames.clear();
                return;
            }
            state.ack_only = state.ack_only.saturating_add(1);
        }
        let counted = match path {
            Some(path) if packet.in_flight => path.on_in_flight(now, size),
            // Not counted; or on a path that is gone, which nobody sends on.
            _ => (0, RateSampler::new().on_sent(now, 0, 0)),
        };
        if packet.in_flight {
            self.in_flight = self.in_flight.saturating_add(size);
        }
        let flags = Flags::default()
            .with(Flags::ACK_ELICITING, packet.ack_eliciting)
            .with(Flags::IN_FLIGHT, packet.in_flight)
            .with(Flags::ECT0, packet.ecn)
            .with(Flags::MTU_PROBE, packet.is_mtu_probe);
        let packet = Packet::new(packet.pn, packet.path, now, packet.size, flags, counted);
        state.sent.push(packet, frames);
    }

    /// Whether one more packet in flight can be remembered in `space`
    /// ([`MAX_SENT_PACKETS`]). Packets that only acknowledge, and probes, may go in any case.
    #[inline]
    pub(crate) fn may_send(&self, space: Space) -> bool {
        self.spaces.get(space).sent.len() < MAX_SENT_PACKETS
    }

    /// Whether the next packet of `space`, if it would elicit no acknowledgement, should have a
    /// PING: otherwise the peer never tells which ACKs it has seen (RFC 9000 section 13.2.4).
    /// Once in many packets, so that two peers cannot keep each other busy.
    #[inline]
    pub(crate) fn wants_ping(&self, space: Space) -> bool {
        self.spaces.get(space).ack_only_run >= ACK_ONLY_RUN
    }

    /// The largest number of `space` that the peer acknowledged: packet numbers are encoded
    /// against it.
    #[inline]
    pub(crate) fn largest_acked(&self, space: Space) -> Option<u64> {
        self.spaces.get(space).largest_acked
    }

    /// One more than the largest number sent in `space`.
    pub(crate) fn end(&self, space: Space) -> u64 {
        self.spaces.get(space).end
    }

    /// Bytes in flight over all paths.
    #[inline]
    pub(crate) fn in_flight_total(&self) -> u64 {
        self.in_flight
    }

    /// Whether ack-eliciting packets of `space` wait for acknowledgement.
    #[inline]
    pub(crate) fn has_eliciting_in_flight(&self, space: Space) -> bool {
        self.spaces.get(space).eliciting_in_flight > 0
    }

    /// The keys for Handshake packets are there.
    pub(crate) fn on_handshake_keys(&mut self) {
        self.has_handshake_keys = true;
    }

    /// The handshake is confirmed (RFC 9001 section 4.1.2).
    pub(crate) fn on_handshake_confirmed(&mut self) {
        self.confirmed = true;
    }

    /// The peer's transport parameter max_ack_delay.
    pub(crate) fn set_peer_max_ack_delay(&mut self, delay: Duration) {
        self.frequency.set_peer_max_ack_delay(delay);
    }

    /// What is asked of the peer about its acknowledgements.
    pub(crate) fn ack_frequency(&mut self) -> &mut AckFrequency {
        &mut self.frequency
    }

    /// The connection is quiet: gives back memory that is not in use, and what is only remembered
    /// to recognise late packets.
    pub(crate) fn release_memory(&mut self) {
        for state in &mut self.spaces.0 {
            if state.sent.is_empty() {
                state.late = VecDeque::new();
            }
            state.sent.shrink();
            state.late.shrink_to_fit();
        }
        self.round.release();
    }

    /// Bytes allocated, without the struct itself.
    #[cfg(any(test, feature = "measure"))]
    pub(crate) fn memory(&self) -> usize {
        let spaces = self.spaces.0.iter().map(|state| {
            let late = state.late.capacity().saturating_mul(size_of::<LateLoss>());
            state.sent.memory().saturating_add(late)
        });
        spaces.fold(self.skipper.memory(), usize::saturating_add)
    }

    /// The backoff begins anew.
    fn reset_pto(&mut self) {
        self.pto_count = 0;
        self.expired_at = None;
    }

    /// Whether the peer has surely validated our address (RFC 9002 section 6.2.2.1): servers need
    /// not be asked, clients know by an acknowledged Handshake packet.
    fn peer_validated_address(&self) -> bool {
        let handshake = self.spaces.get(Space::Handshake);
        self.side == Side::Server || self.confirmed || handshake.largest_acked.is_some()
    }
}

/// Leaves packet numbers out, ever more rarely, and remembers which.
#[derive(Debug)]
struct Skipper {
    next: u64,
    period: u64,
    /// The last few, ascending.
    skipped: Vec<u64>,
}

impl Skipper {
    fn new(enabled: bool, rng: &mut Rng) -> Skipper {
        let period = FIRST_SKIP_PERIOD;
        let next = match enabled {
            // Not the first packets, which a handshake waits for.
            true => between(rng, period / 4, period),
            false => u64::MAX,
        };
        Skipper {
            next,
            period,
            skipped: Vec::new(),
        }
    }

    /// Leaves `pn` out; the number to use instead.
    #[cold]
    fn skip(&mut self, pn: u64, rng: &mut Rng) -> u64 {
        if self.skipped.len() >= MAX_SKIPPED {
            self.skipped.remove(0);
        }
        self.skipped.push(pn);
        self.period = self.period.saturating_mul(2).min(MAX_SKIP_PERIOD);
        let distance = between(rng, 2, self.period);
        self.next = pn.saturating_add(distance);
        pn.saturating_add(1)
    }

    /// How many of the numbers between `low` and `high` were left out.
    #[inline]
    fn between(&self, low: u64, high: u64) -> u64 {
        let inside = |&&pn: &&u64| low < pn && pn < high;
        self.skipped.iter().rev().filter(inside).count() as u64
    }

    #[cfg(any(test, feature = "measure"))]
    fn memory(&self) -> usize {
        self.skipped.capacity().saturating_mul(size_of::<u64>())
    }
}

#[cfg(test)]
impl Recovery {
    /// The sizes of all packets that are in flight, counted anew; on one path only, if one is given.
    pub(crate) fn unacknowledged(&self, path: Option<crate::path::PathId>) -> u64 {
        let spaces = self.spaces.0.iter();
        let packets = spaces.flat_map(|space| space.sent.iter());
        packets
            .filter(|packet| packet.is_in_flight() && !packet.is_done())
            .filter(|packet| path.is_none_or(|path| packet.path == path))
            .map(|packet| u64::from(packet.size))
            .sum()
    }
}

#[cfg(test)]
mod ack_tests;
#[cfg(test)]
mod congestion_tests;
#[cfg(test)]
mod ecn_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod pto_tests;
#[cfg(test)]
mod received_tests;
#[cfg(test)]
mod testing;
