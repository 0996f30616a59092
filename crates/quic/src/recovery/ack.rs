//! An ACK frame: what it newly acknowledges, and what follows from it
//! (RFC 9002 section 5 and appendix A.7, RFC 9000 sections 13.4 and 21.4).

use std::ops::RangeInclusive;

use weir_core::time::{Duration, Instant};

use super::loss::{PathRound, Round};
use super::sent::Flags;
use super::{EcnPhase, Outcome, PathLookup, Recovery, SpaceState};
use crate::error::{TransportError, code};
use crate::path::PathId;
use crate::wire::Space;
use crate::wire::frame::EcnCounts;

/// The type of ACK frames, for errors.
const ACK_FRAME: u64 = 0x02;

/// An ACK frame without its ranges.
#[derive(Copy, Clone, Debug)]
pub(crate) struct AckInfo {
    /// The largest number acknowledged.
    pub(crate) largest: u64,
    /// How long the peer says it waited, scaled by its exponent.
    pub(crate) delay: Duration,
    /// Its counts of marked packets.
    pub(crate) ecn: Option<EcnCounts>,
}

/// What one frame newly acknowledged.
#[derive(Default)]
struct Acked {
    /// When the packet with the largest acknowledged number was sent and where, if that is new.
    newest: Option<(Instant, PathId)>,
    eliciting: u64,
}

impl Recovery {
    /// Takes an ACK frame: `ranges` from the largest down, disjoint, as the wire's order has them.
    /// An acknowledgement of a number that was never sent is an error (Q134).
    ///
    /// The cost is that of what is new: ranges below everything that still waits are not looked at,
    /// and within what waits little is done (the type [`Outcome`] tells the steps).
    pub(crate) fn on_ack_ranges<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        ack: AckInfo,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        paths: &mut P,
        out: &mut Outcome,
    ) -> Result<(), TransportError> {
        out.clear();
        let state = self.spaces.get_mut(space);
        if state.discarded {
            return Ok(());
        }
        if ack.largest >= state.end {
            return Err(never_sent("a packet was acknowledged that was never sent"));
        }
        self.round.begin();
        let before = state.largest_acked;
        let raised = before.is_none_or(|largest| ack.largest > largest);
        let acked = self.take_ranges(now, space, ack.largest, ranges, paths, out)?;
        let state = self.spaces.get_mut(space);
        if raised {
            state.largest_acked = Some(ack.largest);
        }
        if out.acked_packets == 0 && out.spurious == 0 {
            return Ok(());
        }
        state.eliciting_in_flight = state.eliciting_in_flight.saturating_sub(acked.eliciting);
        self.progress_at = now;
        self.sample_rtt(now, space, ack.delay, &acked, paths, out);
        if raised {
            self.judge_ecn(now, space, ack.ecn, &acked, paths, out);
        }
        self.detect_lost(now, space, paths, out);
        self.round.finish(now, paths, out);
        if out.acked_packets > 0 && self.peer_validated_address() {
            self.reset_pto();
        }
        Ok(())
    }

    /// Marks what the ranges newly acknowledge.
    fn take_ranges<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        largest: u64,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        paths: &mut P,
        out: &mut Outcome,
    ) -> Result<Acked, TransportError> {
        let state = self.spaces.get_mut(space);
        let before = state.largest_acked;
        let waiting = state.sent.first_pn().unwrap_or(u64::MAX);
        let late = state.late.front().map_or(u64::MAX, |late| late.pn);
        let skipped: &[u64] = match space {
            Space::Data => &self.skipper.skipped,
            Space::Initial | Space::Handshake => &[],
        };
        let mut skipped = skipped.iter().rev().peekable();
        let mut acked = Acked::default();
        for range in ranges {
            out.steps = out.steps.saturating_add(1);
            // Both lists descend: each skipped number is passed once.
            while skipped.next_if(|&pn| pn > range.end()).is_some() {}
            if skipped.peek().is_some_and(|&pn| pn >= range.start()) {
                return Err(never_sent(
                    "a packet number that was left out was acknowledged",
                ));
            }
            if *range.end() < waiting && *range.end() < late {
                break;
            }
            if *range.end() >= late {
                late_arrivals(state, now, &range, before, paths, &mut self.round, out);
            }
            let in_flight = take_range(
                state,
                now,
                (range, largest),
                paths,
                &mut self.round,
                &mut acked,
                out,
            );
            self.in_flight = self.in_flight.saturating_sub(in_flight);
        }
        Ok(acked)
    }

    /// A round trip is measured by the largest number, if it is new and something in the frame was
    /// to be acknowledged without long delay (RFC 9002 section 5.1, Q136).
    fn sample_rtt<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        delay: Duration,
        acked: &Acked,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        let Some((sent_at, path)) = acked.newest.filter(|_| acked.eliciting > 0) else {
            return;
        };
        // RFC 9002 section 5.3, Q135: peers do not delay Initial packets, and once they have
        // promised a limit and can be held to it, more than the limit is theirs to count.
        let delay = match space {
            Space::Initial => Duration::ZERO,
            _ if self.confirmed => delay.min(self.frequency.peer_max_ack_delay()),
            _ => delay,
        };
        let sample = now.saturating_duration_since(sent_at);
        if let Some(recovery) = paths.recovery(path) {
            recovery.on_rtt_sample(now, sample, delay);
            self.round.path(path, recovery.in_flight).latest_rtt = Some(sample);
            out.rtt_updated = Some(path);
        }
    }

    /// Holds the peer's counts against what was marked (RFC 9000 section 13.4.2.1), and tells the
    /// controller of new congestion marks (RFC 9002 section 7.1).
    fn judge_ecn<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        counts: Option<EcnCounts>,
        acked: &Acked,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        let marked = self.round.marked();
        let verdict = self.spaces.get_mut(space).ecn.validate(counts, marked);
        // Counts are told for the space, marks are a matter of paths: when packets of two paths are
        // acknowledged at once, nobody can say whose marks are missing.
        let path = match (self.round.only_marked_path(), acked.newest) {
            (Some(path), _) => path,
            (None, Some((_, path))) if marked == 0 => path,
            (None, _) => return,
        };
        let Some(recovery) = paths.recovery(path) else {
            return;
        };
        let changed = match verdict {
            Ok(newly_ce) => {
                let changed = recovery.ecn.on_valid(marked, newly_ce);
                let believed = !matches!(recovery.ecn.phase(), EcnPhase::Failed(_) | EcnPhase::Off);
                if newly_ce > 0 && believed {
                    out.newly_ce = newly_ce;
                    let sent_at = match acked.newest {
                        Some((sent_at, newest)) if newest == path => sent_at,
                        _ => self.round.path(path, recovery.in_flight).acked_sent_at,
                    };
                    let in_flight = recovery.in_flight;
                    let controller = &mut recovery.controller;
                    controller.on_ecn_ce(now, sent_at, in_flight, newly_ce);
                }
                changed
            }
            Err(failure) => recovery.ecn.fail(failure),
        };
        if changed {
            out.ecn = Some((path, recovery.ecn.phase()));
        }
    }
}

/// Acknowledges what waits in `range`; the bytes that were in flight.
#[inline]
fn take_range<P: PathLookup + ?Sized>(
    state: &mut SpaceState,
    now: Instant,
    (range, largest): (RangeInclusive<u64>, u64),
    paths: &mut P,
    round: &mut Round,
    acked: &mut Acked,
    out: &mut Outcome,
) -> u64 {
    let end = *range.end();
    let mut at = state.sent.at_or_after(*range.start());
    let mut in_flight = 0u64;
    // Runs of packets of one path; nearly always there is one path and one run.
    while let Some(first) = state.sent.get(at).filter(|packet| packet.pn <= end) {
        let begin = at;
        let path = first.path;
        let mut recovery = paths.recovery(path);
        let prior = recovery.as_ref().map_or(0, |recovery| recovery.in_flight);
        let mut sum = PathRound::new(path, prior);
        let (mut eliciting, mut ack_only, mut count) = (0u64, 0usize, 0u64);
        // The first and the last in flight: a run is in the order of sending.
        let (mut oldest, mut newest, mut last) = (None, begin, begin);
        at = state
            .sent
            .acknowledge(at, end, path, &mut out.acked, |here, packet| {
                count += 1;
                last = here;
                eliciting += u64::from(packet.is_ack_eliciting());
                sum.marked += u64::from(packet.flags.has(Flags::ECT0));
                sum.largest_size = sum.largest_size.max(packet.size);
                if packet.is_in_flight() {
                    sum.acked_bytes += u64::from(packet.size);
                    oldest.get_or_insert(packet.seq);
                    newest = here;
                } else {
                    ack_only += 1;
                }
            });
        out.steps = out.steps.saturating_add(at.saturating_sub(begin) as u64);
        let last = state.sent.get(last).filter(|_| count > 0);
        let Some((pn, sent_at)) = last.map(|last| (last.pn, last.sent_at)) else {
            continue;
        };
        if let (Some(first_seq), Some(packet)) = (oldest, state.sent.get(newest)) {
            sum.set_acked(first_seq, packet);
            if let Some(recovery) = &mut recovery {
                // The sampler wants the sum, and the newest packet's snapshot.
                let (bytes, sent_at) = (sum.acked_bytes, packet.sent_at);
                recovery.rate.on_acked(now, sent_at, bytes, &packet.rate);
            }
        }
        if pn == largest {
            acked.newest = Some((sent_at, path));
        }
        if let Some(recovery) = recovery {
            recovery.in_flight = recovery.in_flight.saturating_sub(sum.acked_bytes);
            sum.limited = recovery.was_window_limited(sum.first_seq);
        }
        in_flight = in_flight.saturating_add(sum.acked_bytes);
        round.merge(&sum);
        acked.eliciting = acked.eliciting.saturating_add(eliciting);
        state.ack_only = state.ack_only.saturating_sub(ack_only);
        state.acked_sent_at = state.acked_sent_at.max(Some(sent_at));
        out.acked_packets = out.acked_packets.saturating_add(count);
        out.largest_newly_acked = out.largest_newly_acked.max(Some(pn));
        note_size(out, path, sum.largest_size);
    }
    in_flight
}

/// Keeps the size of the largest packet that was acknowledged on the path that came last.
#[inline]
fn note_size(out: &mut Outcome, path: PathId, size: u16) {
    let before = out.largest_acked_size.filter(|(of, _)| *of == path);
    let size = before.map_or(0, |(_, before)| before).max(size);
    out.largest_acked_size = Some((path, size));
}

/// Packets in `range` that were declared lost and are acknowledged after all: the declaration was
/// too early (RFC 9002 section 6.1, Q143).
#[cold]
fn late_arrivals<P: PathLookup + ?Sized>(
    state: &mut SpaceState,
    now: Instant,
    range: &RangeInclusive<u64>,
    largest_before: Option<u64>,
    paths: &mut P,
    round: &mut Round,
    out: &mut Outcome,
) {
    let from = state.late.partition_point(|late| late.pn < *range.start());
    for late in state.late.range_mut(from..) {
        out.steps = out.steps.saturating_add(1);
        if late.pn > *range.end() {
            break;
        }
        if std::mem::replace(&mut late.arrived, true) {
            continue;
        }
        out.spurious = out.spurious.saturating_add(1);
        if let Some(recovery) = paths.recovery(late.path) {
            // How far it was overtaken before this frame; within it, the order is not known.
            let distance = largest_before.unwrap_or(0).saturating_sub(late.pn);
            recovery.on_spurious(distance, late.by_time);
            let size = u64::from(late.size);
            let controller = &mut recovery.controller;
            controller.on_spurious_loss(now, size, late.sent_at);
            round.path(late.path, recovery.in_flight);
        }
    }
    while state.late.front().is_some_and(|late| late.arrived) {
        state.late.pop_front();
    }
}

fn never_sent(words: &'static str) -> TransportError {
    TransportError::new(code::PROTOCOL_VIOLATION, words).in_frame(ACK_FRAME)
}
