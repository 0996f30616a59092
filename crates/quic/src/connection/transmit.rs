//! What is sent when: batches of datagrams of one size for one path.

use weir_core::time::Instant;

use super::packet::Building;
use super::trace::Cause;
use super::write::Gate;
use super::{Connection, State};
use crate::crypto::{Level, TAG_LEN};
use crate::error::TransportError;
use crate::limits::MIN_DATAGRAM;
use crate::path::PathId;
use crate::recovery::PathLookup;
use crate::sent::SentFrame;
use crate::transmit::{Ecn, MAX_BATCH_BYTES, Transmit, TransmitBuf};
use crate::wire::frame::encode;
use crate::wire::{Side, Space};

/// Bytes that have to be left in a datagram for another packet to be begun in it: the longest header
/// without a token, and some frames.
const LEAST_COALESCED: usize = 128;

/// One batch in the making.
struct Batch {
    path: PathId,
    /// Size of its first datagram; 0 before it.
    segment: usize,
    datagrams: usize,
    /// Bytes that the pacer lets go now.
    paced: u64,
}

/// Bytes at the end of a datagram that a STREAM frame is not begun in: the largest header, and the
/// least that a frame is worth.
const LEAST_REST: usize = 40;

/// Bytes of a PATH_CHALLENGE or PATH_RESPONSE (RFC 9000 19.17).
const PATH_FRAME: usize = 9;

/// A datagram that is written: what went into it so far.
#[derive(Default)]
struct Contents {
    /// It must not be smaller than 1,200 bytes (RFC 9000 14.1).
    expand: bool,
}

impl Connection {
    /// Writes one batch of datagrams to `out`, which is empty, and says where it goes. To be called
    /// until `None`; what is written has to be sent, or counts as lost.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<Transmit> {
        self.outbox.marks = None;
        let transmit = self.transmit(now, out);
        self.trace_changes(now, Cause::Local);
        transmit
    }

    fn transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<Transmit> {
        match self.state {
            State::Handshaking | State::Established { .. } => {}
            State::Closing(_) => return self.transmit_close(now, out),
            State::Draining { .. } | State::Drained { .. } => return None,
        }
        match self.transmit_next(now, out) {
            Ok(transmit) => transmit,
            Err(error) => {
                out.clear();
                self.fail(now, error);
                self.transmit_close(now, out)
            }
        }
    }

    fn transmit_next(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
    ) -> Result<Option<Transmit>, TransportError> {
        self.prepare(now)?;
        if let Some(transmit) = self.transmit_probe(now, out)? {
            return Ok(Some(transmit));
        }
        // Ahead of the data: a transfer that fills every window would leave no room behind it.
        if let Some(transmit) = self.transmit_mtu_probe(now, out)? {
            return Ok(Some(transmit));
        }
        let batch = self.transmit_batch(now, out)?;
        if batch.is_none() {
            self.note_idle_window();
        }
        Ok(batch)
    }

    /// Nothing waits and the window has room: what is measured now says how fast the application
    /// is, not the path (draft-ietf-ccwg-bbr, "Detecting application-limited phases").
    fn note_idle_window(&mut self) {
        if self.clock.pacing.is_some() || self.wants_batch() {
            return;
        }
        let path = self.paths.active();
        let size = self.datagram_size() as u64;
        if let Some(recovery) = self.paths.recovery(path)
            && recovery.window_left() >= size
        {
            recovery.on_app_limited();
        }
    }

    /// True when [`Connection::poll_transmit`] may have something to send.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        match &self.state {
            State::Closing(closing) => closing.is_pending(),
            State::Draining { .. } | State::Drained { .. } => false,
            State::Handshaking | State::Established { .. } => {
                self.paths.wants_probe() || self.wants_batch()
            }
        }
    }

    fn wants_batch(&self) -> bool {
        let now = self.clock.received;
        let open = [
            Level::Initial,
            Level::Handshake,
            Level::ZeroRtt,
            Level::OneRtt,
        ];
        open.into_iter()
            .any(|level| self.protection.has_send(level) && self.has_frames(now, level, Gate::Open))
    }

    /// What changes by itself before packets are written.
    fn prepare(&mut self, now: Instant) -> Result<(), TransportError> {
        if self.protection.update_wanted(now) {
            self.initiate_key_update(now);
        }
        self.clock.pacing = None;
        self.protection.check_limits()
    }

    /// The datagrams of the active path.
    fn transmit_batch(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
    ) -> Result<Option<Transmit>, TransportError> {
        let path = self.paths.active();
        let size = self.datagram_size();
        let mut batch = Batch {
            path,
            segment: 0,
            datagrams: 0,
            paced: self.paced_bytes(now, path),
        };
        while batch.datagrams < out.max_segments() {
            let start = out.data.len();
            let room = match batch.segment {
                0 => size,
                segment => segment,
            };
            if start.saturating_add(room) > MAX_BATCH_BYTES.max(size) {
                break;
            }
            let written = self.write_datagram(now, &mut batch, room, out)?;
            if written == 0 {
                break;
            }
            batch.datagrams = batch.datagrams.saturating_add(1);
            batch.paced = batch.paced.saturating_sub(written as u64);
            if batch.segment == 0 {
                batch.segment = written;
            }
            if written < room {
                // A short one ends the batch: the next may be full again, and all but the last of a
                // batch have one size.
                break;
            }
        }
        if batch.datagrams == 0 {
            return Ok(None);
        }
        let has_more = self.wants_batch();
        if let Some(recovery) = self.paths.recovery(path) {
            recovery.pacer.on_sent(now, out.data.len() as u64);
            if !has_more && recovery.window_left() > 0 {
                // What the path could carry is not shown by what there was to send.
                recovery.on_app_limited();
            }
        }
        Ok(self.finish_batch(path, batch.segment, out))
    }

    /// Bytes that may leave now for all that pacing knows (RFC 9002 7.7).
    fn paced_bytes(&mut self, now: Instant, path: PathId) -> u64 {
        if !self.config.pacing {
            return u64::MAX;
        }
        match self.paths.recovery(path) {
            Some(recovery) => recovery.pacing_budget(now),
            None => 0,
        }
    }

    pub(super) fn finish_batch(
        &mut self,
        path: PathId,
        segment: usize,
        out: &TransmitBuf,
    ) -> Option<Transmit> {
        let len = out.data.len();
        let addr = self.paths.addr(path)?;
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(len as u64);
        Some(Transmit {
            path: addr,
            ecn: self.ecn_mark(path),
            segment_size: segment,
            len,
            release_at: None,
        })
    }

    fn ecn_mark(&mut self, path: PathId) -> Option<Ecn> {
        self.batch_marks(path).then_some(Ecn::Ect0)
    }

    /// Decides whether the packets of the batch that is written are marked: all of them or none,
    /// since they leave in one call. One of them may be what ends the test of the path.
    pub(super) fn batch_marks(&mut self, path: PathId) -> bool {
        let marks = self.marks_ecn(path);
        self.outbox.marks = Some(marks);
        marks
    }

    /// Whether packets on a path are marked now.
    pub(super) fn marks_ecn(&self, path: PathId) -> bool {
        self.outbox.marks.unwrap_or_else(|| {
            let path = self.paths.get(path);
            self.config.ecn && path.is_some_and(|path| path.recovery.ecn.marks())
        })
    }

    /// What congestion control and pacing let into the next datagram.
    fn gate(&mut self, now: Instant, batch: &Batch, size: usize) -> Gate {
        let has_probe = self.outbox.probes.iter().any(|count| *count > 0);
        if has_probe || self.handshake_starves() {
            return Gate::Open;
        }
        if !self.recovery.may_send(Space::Data) {
            return Gate::AckOnly;
        }
        // Without pacing's leave nothing goes; only who has something to send is held back by that.
        let is_paced = batch.paced < size as u64;
        let is_held_back = is_paced && self.wants_batch();
        let Some(recovery) = self.paths.recovery(batch.path) else {
            return Gate::AckOnly;
        };
        if recovery.window_left() < size as u64 {
            recovery.on_window_limited();
            return Gate::AckOnly;
        }
        if is_held_back {
            recovery.on_window_limited();
            self.clock.pacing = recovery.next_release(now);
        }
        if is_paced {
            return Gate::AckOnly;
        }
        Gate::Open
    }

    /// Handshake bytes wait, and nothing is in flight that a time-out would be set for: the window
    /// may be taken by 1-RTT packets, for which none is before the handshake is confirmed (RFC 9002
    /// 6.2.1). One packet goes as a probe would.
    fn handshake_starves(&self) -> bool {
        !self.is_confirmed()
            && [Level::Initial, Level::Handshake].into_iter().any(|level| {
                let space = level.space();
                self.protection.has_send(level)
                    && self.handshake.crypto_pending(space)
                    && !self.recovery.has_eliciting_in_flight(space)
            })
    }

    /// One datagram of as many coalesced packets as have something to say, at most `room` bytes.
    /// Returns its size, 0 when there is nothing to send.
    fn write_datagram(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        room: usize,
        out: &mut TransmitBuf,
    ) -> Result<usize, TransportError> {
        let start = out.data.len();
        // RFC 9000 8.1: three times what was received, counted in every datagram.
        let allowance = self.paths.send_allowance(batch.path);
        let room = room.min(usize::try_from(allowance).unwrap_or(usize::MAX));
        let open = self.gate(now, batch, room);
        let mut contents = Contents::default();
        let mut last = None;
        for level in [
            Level::Initial,
            Level::Handshake,
            Level::ZeroRtt,
            Level::OneRtt,
        ] {
            // RFC 9000 14.1: a server's Initial that elicits an acknowledgement is expanded, or waits.
            let gate = match level {
                Level::Initial if room < MIN_DATAGRAM => Gate::AckOnly,
                _ => open,
            };
            if !self.may_send(level) || !self.has_frames(now, level, gate) {
                continue;
            }
            if let Some(former) = last.take() {
                let end = out.data.len().saturating_add(TAG_LEN);
                if room.saturating_sub(end.saturating_sub(start)) < LEAST_COALESCED {
                    last = Some(former);
                    break;
                }
                self.finish_packet(now, former, None, out)?;
            }
            let used = out.data.len().saturating_sub(start);
            let left = room.saturating_sub(used);
            last = self.write_packet(now, batch.path, level, gate, left, &mut contents, out);
        }
        if let Some(last) = last {
            let full = start.saturating_add(room);
            let pad_to = if contents.expand {
                Some(full.min(start.saturating_add(MIN_DATAGRAM)))
            } else {
                self.ends_short_of(&last, full, out).then_some(full)
            };
            self.finish_packet(now, last, pad_to, out)?;
        }
        let written = out.data.len().saturating_sub(start);
        if written > 0 {
            self.paths.on_datagram_sent(batch.path, written);
            self.stats.datagrams_sent = self.stats.datagrams_sent.saturating_add(1);
        }
        Ok(written)
    }

    /// Whether a packet leaves a rest of the datagram that the next frame has no room in: unfilled, it
    /// would end the batch, whose datagrams are of one size.
    fn ends_short_of(&self, packet: &Building, full: usize, out: &TransmitBuf) -> bool {
        let end = out.data.len().saturating_add(TAG_LEN);
        packet.ack_eliciting
            && !packet.has_open_end
            && packet.level == Level::OneRtt
            && full.saturating_sub(end) <= LEAST_REST
            && end < full
            && self.streams.has_stream_data_to_send()
    }

    /// Whether packets of a level are sent at all now.
    fn may_send(&self, level: Level) -> bool {
        self.protection.has_send(level)
            && (level != Level::ZeroRtt || !self.protection.has_send(Level::OneRtt))
            && (level != Level::OneRtt || !self.side.is_client() || !self.is_handshaking())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the place where a packet is described"
    )]
    fn write_packet(
        &mut self,
        now: Instant,
        path: PathId,
        level: Level,
        gate: Gate,
        room: usize,
        contents: &mut Contents,
        out: &mut TransmitBuf,
    ) -> Option<Building> {
        let space = level.space();
        let begin = out.data.len();
        let mut packet = self.begin_packet(space, level, path, room, out)?;
        let end = begin.saturating_add(room).saturating_sub(TAG_LEN);
        // What is last in a datagram that needs no padding may leave its length out.
        let fills = level == Level::OneRtt && !contents.expand;
        let says_something = self.write_frames(now, &mut packet, gate, end, fills, out);
        // The datagram may have to be expanded: a packet of padding does that, too.
        if !says_something && !contents.expand {
            self.abandon_packet(&packet, out);
            return None;
        }
        // RFC 9000 14.1: the client's Initials, and the server's that elicit acknowledgements.
        contents.expand |=
            level == Level::Initial && (self.side == Side::Client || packet.ack_eliciting);
        Some(packet)
    }

    /// A challenge or answer for a path, in a datagram of its own (RFC 9000 8.2).
    fn transmit_probe(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
    ) -> Result<Option<Transmit>, TransportError> {
        if !self.protection.has_send(Level::OneRtt) || self.is_handshaking() {
            return Ok(None);
        }
        let Some(probe) = self.paths.poll_probe(now, &mut self.rng) else {
            return Ok(None);
        };
        let path = probe.path;
        let allowance = usize::try_from(self.paths.send_allowance(path)).unwrap_or(usize::MAX);
        let room = MIN_DATAGRAM.min(allowance);
        let Some(mut packet) = self.begin_packet(Space::Data, Level::OneRtt, path, room, out)
        else {
            return Ok(None);
        };
        let end = packet.start.saturating_add(room).saturating_sub(TAG_LEN);
        if let Some(challenge) = probe.challenge {
            encode::path_challenge(&mut out.data, challenge);
            self.log.push(SentFrame::PathChallenge { path });
        }
        for response in probe.responses.iter() {
            // What has no room is left out: the peer asks again.
            if end.saturating_sub(out.data.len()) > PATH_FRAME {
                encode::path_response(&mut out.data, *response);
            }
        }
        if probe.non_probing && out.data.len() < end {
            encode::ping(&mut out.data);
        }
        packet.ack_eliciting = true;
        let pad_to = probe.expand.then_some(room);
        self.finish_packet(now, packet, pad_to, out)?;
        let len = out.data.len();
        self.paths.on_datagram_sent(path, len);
        self.stats.datagrams_sent = self.stats.datagrams_sent.saturating_add(1);
        Ok(self.finish_batch(path, len, out))
    }

    /// A datagram that is larger than the path is known to carry (RFC 8899).
    fn transmit_mtu_probe(
        &mut self,
        now: Instant,
        out: &mut TransmitBuf,
    ) -> Result<Option<Transmit>, TransportError> {
        if !self.is_confirmed() {
            return Ok(None);
        }
        let active = self.paths.active_path();
        if active.is_none_or(|path| path.recovery.window_left() < path.mtu.current().into()) {
            return Ok(None);
        }
        let Some((path, size)) = self.paths.poll_mtu_probe(now) else {
            return Ok(None);
        };
        let room = usize::from(size);
        let Some(mut packet) = self.begin_packet(Space::Data, Level::OneRtt, path, room, out)
        else {
            return Ok(None);
        };
        encode::ping(&mut out.data);
        self.log.push(SentFrame::MtuProbe { path, size });
        packet.ack_eliciting = true;
        packet.mtu_probe = true;
        self.finish_packet(now, packet, Some(room), out)?;
        let len = out.data.len();
        self.paths.on_datagram_sent(path, len);
        self.stats.datagrams_sent = self.stats.datagrams_sent.saturating_add(1);
        Ok(self.finish_batch(path, len, out))
    }
}
