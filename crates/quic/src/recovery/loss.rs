//! Which packets are lost (RFC 9002 sections 6.1 and 7.6), and what leaves without being lost.

use weir_core::congestion::{AckSample, LossSample};
use weir_core::delivery::PacketRate;
use weir_core::time::{Duration, Instant};

use super::path::PathRecovery;
use super::sent::{Flags, Packet};
use super::{GRANULARITY, LostPacket, Outcome, PathLookup, Recovery, SpaceState};
use crate::limits::MAX_REMEMBERED_LOST;
use crate::path::PathId;
use crate::wire::Space;

/// A lost packet is remembered for this many probe time-outs.
const REMEMBERED_PTOS: u32 = 3;

/// A packet that was declared lost and might still be acknowledged.
#[derive(Copy, Clone, Debug)]
pub(super) struct LateLoss {
    pub(super) pn: u64,
    pub(super) sent_at: Instant,
    lost_at: Instant,
    pub(super) path: PathId,
    pub(super) size: u16,
    pub(super) by_time: bool,
    pub(super) arrived: bool,
}

/// What one acknowledgement, or one time-out, did on one path.
#[derive(Copy, Clone, Debug)]
pub(super) struct PathRound {
    path: PathId,
    /// Bytes in flight before.
    prior_in_flight: u64,
    pub(super) acked_bytes: u64,
    pub(super) acked_sent_at: Instant,
    acked_seq: u64,
    /// The first of the acknowledged packets in the order of sending.
    pub(super) first_seq: u64,
    /// Acknowledged packets that were marked ECT(0).
    pub(super) marked: u64,
    pub(super) largest_size: u16,
    /// Acknowledged packets were part of a flight that filled the window.
    pub(super) limited: bool,
    pub(super) latest_rtt: Option<Duration>,
    lost_bytes: u64,
    lost_sent_at: Instant,
    lost_seq: u64,
    lost_rate: Option<PacketRate>,
    persistent: bool,
}

impl PathRound {
    #[inline]
    pub(super) fn new(path: PathId, prior_in_flight: u64) -> PathRound {
        PathRound {
            path,
            prior_in_flight,
            acked_bytes: 0,
            acked_sent_at: Instant::ZERO,
            acked_seq: 0,
            first_seq: u64::MAX,
            marked: 0,
            largest_size: 0,
            limited: false,
            latest_rtt: None,
            lost_bytes: 0,
            lost_sent_at: Instant::ZERO,
            lost_seq: 0,
            lost_rate: None,
            persistent: false,
        }
    }

    /// The oldest and the newest packet in flight that were acknowledged.
    #[inline]
    pub(super) fn set_acked(&mut self, first_seq: u64, newest: &Packet) {
        self.acked_sent_at = newest.sent_at;
        self.acked_seq = newest.seq;
        self.first_seq = first_seq;
    }

    fn add_lost(&mut self, packet: &Packet) {
        self.lost_bytes = self.lost_bytes.saturating_add(u64::from(packet.size));
        if packet.seq >= self.lost_seq {
            self.lost_sent_at = packet.sent_at;
            self.lost_seq = packet.seq;
            self.lost_rate = Some(packet.rate);
        }
    }
}

/// What one call did, by path. Nearly always one path.
#[derive(Debug, Default)]
pub(super) struct Round {
    paths: Vec<PathRound>,
}

impl Round {
    #[inline]
    pub(super) fn begin(&mut self) {
        self.paths.clear();
    }

    pub(super) fn release(&mut self) {
        self.paths = Vec::new();
    }

    fn find(&mut self, path: PathId) -> Option<&mut PathRound> {
        self.paths.iter_mut().find(|round| round.path == path)
    }

    /// The path's part; `prior_in_flight` when it has none yet.
    pub(super) fn path(&mut self, path: PathId, prior_in_flight: u64) -> &mut PathRound {
        let at = self.paths.iter().position(|round| round.path == path);
        let at = at.unwrap_or(self.paths.len());
        if at == self.paths.len() {
            self.paths.push(PathRound::new(path, prior_in_flight));
        }
        #[expect(clippy::indexing_slicing, reason = "found or just pushed")]
        &mut self.paths[at]
    }

    /// Adds what a run of one path acknowledged. Runs come from the newest down.
    #[inline]
    pub(super) fn merge(&mut self, run: &PathRound) {
        let Some(sum) = self.find(run.path) else {
            self.paths.push(*run);
            return;
        };
        if sum.acked_bytes == 0 || run.acked_seq > sum.acked_seq {
            sum.acked_seq = run.acked_seq;
            sum.acked_sent_at = run.acked_sent_at;
        }
        sum.acked_bytes = sum.acked_bytes.saturating_add(run.acked_bytes);
        sum.first_seq = sum.first_seq.min(run.first_seq);
        sum.marked = sum.marked.saturating_add(run.marked);
        sum.largest_size = sum.largest_size.max(run.largest_size);
        sum.limited |= run.limited;
    }

    /// Acknowledged packets that were marked.
    pub(super) fn marked(&self) -> u64 {
        let marked = self.paths.iter().map(|round| round.marked);
        marked.fold(0, u64::saturating_add)
    }

    /// The path of all marked packets that were acknowledged, if it is one.
    pub(super) fn only_marked_path(&self) -> Option<PathId> {
        let mut marked = self.paths.iter().filter(|round| round.marked > 0);
        let first = marked.next()?;
        marked.next().is_none().then_some(first.path)
    }

    /// Tells the controllers: first what was lost, then what was acknowledged.
    pub(super) fn finish<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        for round in &self.paths {
            let Some(path) = paths.recovery(round.path) else {
                continue;
            };
            if round.lost_bytes > 0 {
                report_loss(now, round, path);
                if round.persistent {
                    out.persistent_congestion = Some(round.path);
                }
            }
            if round.acked_bytes > 0 {
                report_ack(now, round, path);
            }
        }
    }
}

fn report_loss(now: Instant, round: &PathRound, path: &mut PathRecovery) {
    path.rate.on_lost(round.lost_bytes);
    path.controller.on_loss(&LossSample {
        now,
        bytes_lost: round.lost_bytes,
        largest_lost_sent_at: round.lost_sent_at,
        largest_lost_seq: round.lost_seq,
        in_flight: path.in_flight,
        is_persistent: round.persistent,
        lost_rate: round.lost_rate,
        total_lost: path.rate.lost(),
    });
    if round.persistent {
        path.on_persistent_congestion();
    }
}

#[inline]
fn report_ack(now: Instant, round: &PathRound, path: &mut PathRecovery) {
    let rate = path.rate.finish_ack(now, path.rtt.min());
    path.controller.on_ack(&AckSample {
        now,
        bytes_acked: round.acked_bytes,
        largest_sent_at: round.acked_sent_at,
        largest_seq: round.acked_seq,
        prior_in_flight: round.prior_in_flight,
        in_flight: path.in_flight,
        rtt: &path.rtt,
        latest_rtt: round.latest_rtt,
        rate: rate.as_ref(),
        is_cwnd_limited: round.limited,
    });
}

/// Thresholds of the path that is being looked at.
#[derive(Copy, Clone)]
struct Thresholds {
    path: PathId,
    packets: u64,
    delay: Duration,
    first_sample_at: Option<Instant>,
    persistent: Duration,
}

/// Lost packets with nothing acknowledged between them (RFC 9002 section 7.6.2).
struct LostRun {
    path: PathId,
    start: Instant,
}

impl Recovery {
    /// Declares lost what is too far, or too long, before the largest acknowledged packet of
    /// `space` (RFC 9002 section 6.1), and finds when the next will be.
    pub(super) fn detect_lost<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        let state = self.spaces.get_mut(space);
        // What is acknowledged in front of all that waits is nothing to look at.
        state.sent.pop_done();
        state.loss_time = None;
        let Some(largest) = state.largest_acked else {
            return;
        };
        let mut thresholds: Option<Thresholds> = None;
        let mut run: Option<LostRun> = None;
        let mut next: Option<Instant> = None;
        let mut at = 0usize;
        while let Some(&packet) = self.spaces.get(space).sent.get(at) {
            if packet.pn >= largest {
                break;
            }
            let index = at;
            at = at.saturating_add(1);
            if packet.is_done() {
                if packet.is_acked() {
                    run = None;
                }
                continue;
            }
            let limits = match thresholds {
                Some(known) if known.path == packet.path => known,
                _ => *thresholds.insert(self.thresholds(packet.path, paths)),
            };
            let overtaken = largest.saturating_sub(packet.pn);
            let left_out = match space {
                Space::Data => self.skipper.between(packet.pn, largest),
                Space::Initial | Space::Handshake => 0,
            };
            let by_packets = overtaken.saturating_sub(left_out) >= limits.packets;
            let lost_at = packet.sent_at + limits.delay;
            if !by_packets && lost_at > now {
                if packet.is_in_flight() {
                    next = Some(next.map_or(lost_at, |next| next.min(lost_at)));
                }
                continue;
            }
            if self.follows_run(space, &packet, &limits, &mut run) {
                self.round.path(packet.path, 0).persistent = true;
            }
            self.declare_lost(now, space, index, !by_packets, paths, out);
        }
        out.steps = out.steps.saturating_add(at as u64);
        let state = self.spaces.get_mut(space);
        state.loss_time = next;
        state.sent.pop_done();
        self.forget_late(now, space, paths);
    }

    fn thresholds<P: PathLookup + ?Sized>(&self, id: PathId, paths: &mut P) -> Thresholds {
        let max_ack_delay = self.frequency.peer_max_ack_delay();
        match paths.recovery(id) {
            Some(path) => Thresholds {
                path: id,
                packets: path.packet_threshold(),
                delay: path.loss_delay(),
                first_sample_at: path.first_sample_at,
                persistent: path.persistent_congestion(max_ack_delay),
            },
            // The path is gone: the one in use tells how long to wait.
            None => Thresholds {
                path: id,
                packets: 3,
                delay: paths.active_rtt().rto(GRANULARITY),
                first_sample_at: None,
                persistent: Duration::MAX,
            },
        }
    }

    /// Whether the loss of `packet` establishes persistent congestion with those lost before it in
    /// the same look (RFC 9002 section 7.6.2, Q148).
    fn follows_run(
        &self,
        space: Space,
        packet: &Packet,
        limits: &Thresholds,
        run: &mut Option<LostRun>,
    ) -> bool {
        let counts = packet.is_ack_eliciting() && !packet.flags.has(Flags::MTU_PROBE);
        let measured = limits.first_sample_at.is_some_and(|at| packet.sent_at > at);
        if !counts || !measured {
            return false;
        }
        let begin = LostRun {
            path: packet.path,
            start: packet.sent_at,
        };
        let Some(known) = run.as_ref().filter(|run| run.path == packet.path) else {
            *run = Some(begin);
            return false;
        };
        // Something of another space arrived in between.
        let between = Space::ALL
            .into_iter()
            .filter(|other| *other != space)
            .any(|other| {
                let acked = self.spaces.get(other).acked_sent_at;
                acked.is_some_and(|at| known.start < at && at < packet.sent_at)
            });
        if between {
            *run = Some(begin);
            return false;
        }
        packet.sent_at.saturating_duration_since(known.start) > limits.persistent
    }

    fn declare_lost<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        index: usize,
        by_time: bool,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        let state = self.spaces.get_mut(space);
        let Some(packet) = state.sent.get_mut(index) else {
            return;
        };
        packet.give_up();
        let packet = *packet;
        if !packet.is_in_flight() {
            // Nobody waits for it and nothing is congested: it is only not remembered any more.
            state.ack_only = state.ack_only.saturating_sub(1);
            return;
        }
        state.sent.copy_frames(index, &mut out.lost);
        let is_mtu_probe = packet.flags.has(Flags::MTU_PROBE);
        if packet.is_ack_eliciting() {
            state.eliciting_in_flight = state.eliciting_in_flight.saturating_sub(1);
        }
        let size = u64::from(packet.size);
        self.in_flight = self.in_flight.saturating_sub(size);
        out.lost_packets.push(LostPacket {
            pn: packet.pn,
            size: packet.size,
            path: packet.path,
            sent_at: packet.sent_at,
            is_mtu_probe,
            by_time,
        });
        if let Some(path) = paths.recovery(packet.path) {
            let round = self.round.path(packet.path, path.in_flight);
            path.in_flight = path.in_flight.saturating_sub(size);
            if packet.flags.has(Flags::ECT0) && path.ecn.on_marked_lost() {
                out.ecn = Some((packet.path, path.ecn.phase()));
            }
            // RFC 9000 section 14.4: a lost probe was too large, that is all it says.
            if !is_mtu_probe {
                round.add_lost(&packet);
            }
        }
        if !is_mtu_probe {
            remember(state, now, &packet, by_time);
        }
    }

    /// Forgets lost packets whose acknowledgement is not to be expected any more.
    fn forget_late<P: PathLookup + ?Sized>(&mut self, now: Instant, space: Space, paths: &P) {
        let state = self.spaces.get_mut(space);
        if state.late.is_empty() {
            return;
        }
        let max_ack_delay = self.frequency.peer_max_ack_delay();
        let pto = paths.active_rtt().pto(GRANULARITY, max_ack_delay);
        let keep = pto.saturating_mul(REMEMBERED_PTOS);
        while let Some(oldest) = state.late.front() {
            if !oldest.arrived && now.saturating_duration_since(oldest.lost_at) < keep {
                break;
            }
            state.late.pop_front();
        }
    }

    /// The keys of `space` are dropped: what was sent in it leaves bytes in flight, neither
    /// acknowledged nor lost, and the backoff begins anew (RFC 9002 section 6.4, Q141).
    pub(crate) fn discard_space<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        paths: &mut P,
    ) {
        let state = self.spaces.get_mut(space);
        for packet in state.sent.iter() {
            if packet.is_done() || !packet.is_in_flight() {
                continue;
            }
            let size = u64::from(packet.size);
            self.in_flight = self.in_flight.saturating_sub(size);
            if let Some(path) = paths.recovery(packet.path) {
                path.in_flight = path.in_flight.saturating_sub(size);
            }
        }
        let (next, end) = (state.next, state.end);
        let (largest_acked, acked_sent_at) = (state.largest_acked, state.acked_sent_at);
        *state = SpaceState {
            next,
            end,
            largest_acked,
            acked_sent_at,
            discarded: true,
            ..SpaceState::default()
        };
        self.reset_pto();
        self.progress_at = now;
    }

    /// A Retry came (RFC 9002 section 6.3): what was sent in the Initial space and in 0-RTT packets
    /// is to be sent again, without congestion having been seen; numbers go on.
    pub(crate) fn on_retry<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        out.clear();
        self.take_back(now, Space::Initial, |_| true, paths, out);
        self.take_back(now, Space::Data, |_| true, paths, out);
    }

    /// 0-RTT was rejected, so nothing of the data space has arrived: all of it is to be sent again
    /// (RFC 9002 section 6.4, RFC 9001 section 4.6.2). Called before the first 1-RTT packet.
    pub(crate) fn on_zero_rtt_rejected<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        out.clear();
        self.take_back(now, Space::Data, |_| true, paths, out);
    }

    /// A path is given up: what is in flight on it is to be sent on another.
    pub(crate) fn on_path_gone<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        gone: PathId,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        out.clear();
        self.take_back(now, Space::Data, |path| path == gone, paths, out);
    }

    /// Gives up packets without their loss being a sign of congestion; frames go to `out.lost`.
    fn take_back<P: PathLookup + ?Sized>(
        &mut self,
        now: Instant,
        space: Space,
        which: impl Fn(PathId) -> bool,
        paths: &mut P,
        out: &mut Outcome,
    ) {
        let state = self.spaces.get_mut(space);
        let mut at = 0usize;
        while let Some(packet) = state.sent.get_mut(at) {
            let index = at;
            at = at.saturating_add(1);
            if packet.is_done() || !which(packet.path) {
                continue;
            }
            packet.give_up();
            let packet = *packet;
            if !packet.is_in_flight() {
                state.ack_only = state.ack_only.saturating_sub(1);
                continue;
            }
            state.sent.copy_frames(index, &mut out.lost);
            if packet.is_ack_eliciting() {
                state.eliciting_in_flight = state.eliciting_in_flight.saturating_sub(1);
            }
            let size = u64::from(packet.size);
            self.in_flight = self.in_flight.saturating_sub(size);
            if let Some(path) = paths.recovery(packet.path) {
                path.in_flight = path.in_flight.saturating_sub(size);
            }
        }
        state.sent.pop_done();
        if state.eliciting_in_flight == 0 {
            state.loss_time = None;
        }
        self.reset_pto();
        self.progress_at = now;
    }
}

/// Keeps a lost packet in mind, by ascending number; the oldest is forgotten for it when there are
/// many.
fn remember(state: &mut SpaceState, now: Instant, packet: &Packet, by_time: bool) {
    if state.late.len() >= MAX_REMEMBERED_LOST {
        state.late.pop_front();
    }
    let late = LateLoss {
        pn: packet.pn,
        sent_at: packet.sent_at,
        lost_at: now,
        path: packet.path,
        size: packet.size,
        by_time,
        arrived: false,
    };
    // Nearly always the largest so far: only a path with a longer delay comes later.
    let mut at = state.late.len();
    while let Some(before) = at.checked_sub(1) {
        if state
            .late
            .get(before)
            .is_none_or(|known| known.pn < late.pn)
        {
            break;
        }
        at = before;
    }
    state.late.insert(at, late);
}
