//! Which frames go into a packet.

use weir_core::time::Instant;

use super::packet::Building;
use super::{Connection, EndpointEvent};
use crate::crypto::Level;
use crate::limits::ACK_DELAY_EXPONENT;
use crate::sent::SentFrame;
use crate::stream::datagrams::Written;
use crate::transmit::TransmitBuf;
use crate::wire::frame::{AckFrequency, NewConnectionId, encode};
use crate::wire::{ConnectionId, Space, varint};

/// What may go into packets now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Everything.
    Open,
    /// Only what is not congestion-controlled: acknowledgements (RFC 9002 section 7).
    AckOnly,
}

/// Bytes of a STREAM or CRYPTO frame's header at most.
const FRAME_HEADER: usize = 1 + 8 + 8 + 4;

impl Connection {
    /// Whether a packet of the level has anything to say.
    pub(super) fn has_frames(&self, now: Instant, level: Level, gate: Gate) -> bool {
        let space = level.space();
        if level != Level::ZeroRtt && self.ack_wanted(now, space) {
            return true;
        }
        if gate == Gate::AckOnly {
            return false;
        }
        if self.probes(space) > 0 {
            return true;
        }
        match level {
            Level::Initial | Level::Handshake => self.handshake.crypto_pending(space),
            Level::ZeroRtt => self.streams.wants_transmit() || self.datagrams.wants_transmit(),
            Level::OneRtt => self.has_data_frames(),
        }
    }

    fn has_data_frames(&self) -> bool {
        self.streams.wants_transmit()
            || self.datagrams.wants_transmit()
            || self.outbox.ping
            || self.handshake.crypto_pending(Space::Data)
            || self.outbox.handshake_done.is_pending()
            || self.outbox.new_token.is_pending()
            || self.local_cids.wants_issue()
            || self.paths.remote_cids.wants_retire()
    }

    /// Whether an acknowledgement should go now even if nothing else does.
    pub(super) fn ack_wanted(&self, now: Instant, space: Space) -> bool {
        let received = self.received.get(space.index());
        received.is_some_and(|received| received.ack_due(now))
    }

    /// Fills a packet up to `end` (an index into the buffer). Returns whether it says anything.
    pub(super) fn write_frames(
        &mut self,
        now: Instant,
        packet: &mut Building,
        gate: Gate,
        end: usize,
        fills_datagram: bool,
        out: &mut TransmitBuf,
    ) -> bool {
        let data = &mut out.data;
        let before = data.len();
        let others = gate == Gate::Open && self.has_frames_besides_ack(packet.level);
        if packet.level != Level::ZeroRtt {
            self.write_ack(now, packet.space, others, end, data);
        }
        if gate == Gate::Open {
            let elicits_from = data.len();
            match packet.level {
                Level::Initial | Level::Handshake => {
                    // What the first probe said the second says again: either may be lost.
                    if self.probes(packet.space) > 0 && !self.handshake.crypto_pending(packet.space)
                    {
                        self.say_again(packet.space);
                    }
                    self.write_crypto(packet.space, end, data);
                }
                Level::ZeroRtt => {
                    packet.has_open_end = self.write_application(now, end, fills_datagram, data);
                }
                Level::OneRtt => {
                    self.write_crypto(Space::Data, end, data);
                    self.write_control(now, end, packet.start == 0, data);
                    packet.has_open_end = self.write_application(now, end, fills_datagram, data);
                }
            }
            packet.ack_eliciting = data.len() > elicits_from;
            self.write_probe(packet, end, data);
        }
        if data.len() > before && !packet.ack_eliciting && self.ping_for_acks(packet.space) {
            packet.ack_eliciting = write_ping(end, data);
        }
        data.len() > before
    }

    /// Probes of a time-out that are still to be sent.
    fn probes(&self, space: Space) -> u8 {
        let probes = self.outbox.probes.get(space.index());
        probes.copied().unwrap_or(0)
    }

    fn has_frames_besides_ack(&self, level: Level) -> bool {
        let space = level.space();
        self.probes(space) > 0
            || match level {
                Level::Initial | Level::Handshake => self.handshake.crypto_pending(space),
                Level::ZeroRtt => true,
                Level::OneRtt => self.has_data_frames(),
            }
    }

    /// An ACK when one is due, or when there is news and other frames go anyway.
    fn write_ack(
        &mut self,
        now: Instant,
        space: Space,
        rides: bool,
        end: usize,
        data: &mut Vec<u8>,
    ) {
        let room = end.saturating_sub(data.len());
        let [initial, handshake, data_space] = &mut self.received;
        let received = match space {
            Space::Initial => initial,
            Space::Handshake => handshake,
            Space::Data => data_space,
        };
        if !(received.ack_due(now) || rides && received.has_something_to_ack()) {
            return;
        }
        let Some(fields) = received.ack_fields(now, ACK_DELAY_EXPONENT) else {
            return;
        };
        let written = encode::ack(data, room, received.ranges(), fields.delay, fields.ecn);
        if let Some(largest) = written {
            received.on_ack_written(largest, &mut self.log);
        }
    }

    fn write_crypto(&mut self, space: Space, end: usize, data: &mut Vec<u8>) {
        let Some(send) = self.handshake.send(space) else {
            return;
        };
        loop {
            let room = end.saturating_sub(data.len()).saturating_sub(FRAME_HEADER);
            if room == 0 {
                return;
            }
            let next = send.next_range(u64::MAX);
            let end = next.end.min(next.start.saturating_add(room as u64));
            let range = next.start..end;
            if range.is_empty() {
                return;
            }
            let len = range.end.saturating_sub(range.start);
            send.on_sent(&range);
            encode::crypto_header(data, range.start, len as usize);
            send.copy_range(range.clone(), data);
            self.log.push(SentFrame::Crypto {
                offset: range.start,
                len: len as u32,
            });
        }
    }

    /// Frames of the connection itself, in the order in which the peer needs them.
    fn write_control(&mut self, now: Instant, end: usize, is_first: bool, data: &mut Vec<u8>) {
        let room = |data: &Vec<u8>| end.saturating_sub(data.len());
        if room(data) >= 1
            && let Some(_once) = self.outbox.handshake_done.poll()
        {
            encode::handshake_done(data);
            self.log.push(SentFrame::HandshakeDone);
        }
        self.write_connection_ids(now, end, data);
        let token = self.outbox.token.len();
        if room(data) >= token.saturating_add(1 + varint::size(token as u64))
            && let Some(_once) = self.outbox.new_token.poll()
        {
            encode::new_token(data, &self.outbox.token);
            self.log.push(SentFrame::NewToken);
        }
        if is_first {
            // What it goes by changes with acknowledgements, not within a batch.
            self.write_ack_frequency(now, end, data);
        }
    }

    /// RETIRE_CONNECTION_ID and NEW_CONNECTION_ID.
    fn write_connection_ids(&mut self, now: Instant, end: usize, data: &mut Vec<u8>) {
        const RETIRE: usize = 1 + 8;
        const NEW: usize = 1 + 8 + 8 + 1 + ConnectionId::MAX_LEN + 16;
        while end.saturating_sub(data.len()) >= RETIRE
            && let Some(sequence) = self.paths.remote_cids.poll_retire()
        {
            encode::retire_connection_id(data, sequence);
            self.log.push(SentFrame::RetireConnectionId { sequence });
        }
        while end.saturating_sub(data.len()) >= NEW
            && let Some(new) = self.local_cids.poll_issue(now, &mut self.rng)
        {
            if new.fresh {
                self.endpoint_events
                    .push_back(EndpointEvent::NewCid(new.cid));
            }
            let frame = NewConnectionId {
                sequence: new.sequence,
                retire_prior_to: new.retire_prior_to,
                id: new.cid,
                reset_token: *new.token.as_bytes(),
            };
            encode::new_connection_id(data, &frame);
            self.log.push(SentFrame::NewConnectionId {
                sequence: new.sequence,
            });
        }
    }

    /// ACK_FREQUENCY, when the window or the round trip has changed much (ack-frequency draft).
    fn write_ack_frequency(&mut self, now: Instant, end: usize, data: &mut Vec<u8>) {
        const SIZE: usize = 2 + 8 + 8 + 8 + 8;
        if end.saturating_sub(data.len()) < SIZE || !self.config.ack_frequency {
            return;
        }
        let Some(path) = self.paths.active_path() else {
            return;
        };
        let frequency = self.recovery.ack_frequency();
        let Some(request) = frequency.poll(now, &path.recovery, path.mtu.current()) else {
            return;
        };
        let micros = request.max_ack_delay.as_micros();
        let frame = AckFrequency {
            sequence: request.sequence,
            ack_eliciting_threshold: request.threshold,
            requested_max_ack_delay: u64::try_from(micros).unwrap_or(u64::MAX),
            reordering_threshold: request.reordering,
        };
        encode::ack_frequency(data, &frame);
        self.log.push(SentFrame::AckFrequency {
            sequence: request.sequence,
        });
        frequency.on_sent(now, request);
    }

    /// DATAGRAM and STREAM frames. Whether the last one says no length, so that nothing may follow it.
    fn write_application(
        &mut self,
        now: Instant,
        end: usize,
        fills_datagram: bool,
        data: &mut Vec<u8>,
    ) -> bool {
        if self.datagrams.wants_transmit() {
            let whole = self.frame_room();
            loop {
                let room = end.saturating_sub(data.len());
                let written =
                    self.datagrams
                        .write_frame(data, room, whole, fills_datagram, &mut self.log);
                match written {
                    Written::Frame => {}
                    Written::LastFrame => return true,
                    Written::Nothing => break,
                }
            }
        }
        if self.streams.wants_transmit() {
            let rtt = self.rtt();
            let room = end.saturating_sub(data.len());
            self.streams
                .write_frames(now, rtt, data, room, fills_datagram, &mut self.log);
        }
        // STREAM frames without a length go to the packet's very end.
        data.len() == end
    }

    /// RFC 9002 6.2.4: a probe elicits an acknowledgement, by a PING when there is nothing better.
    pub(super) fn write_probe(&mut self, packet: &mut Building, end: usize, data: &mut Vec<u8>) {
        let index = packet.space.index();
        let Some(probes) = self.outbox.probes.get_mut(index) else {
            return;
        };
        let wanted = *probes > 0 || self.outbox.ping && packet.level == Level::OneRtt;
        if wanted && !packet.ack_eliciting {
            packet.ack_eliciting = write_ping(end, data);
        }
        if packet.ack_eliciting {
            if let Some(probes) = self.outbox.probes.get_mut(index) {
                *probes = probes.saturating_sub(1);
            }
            if packet.level == Level::OneRtt {
                self.outbox.ping = false;
            }
        }
    }

    /// RFC 9000 13.2.4: who only acknowledges asks for an acknowledgement now and then, so that its
    /// ranges do not grow for ever.
    fn ping_for_acks(&mut self, space: Space) -> bool {
        space == Space::Data && self.recovery.wants_ping(space)
    }
}

/// A PING, unless the packet is full: whether it was written.
fn write_ping(end: usize, data: &mut Vec<u8>) -> bool {
    let has_room = data.len() < end;
    if has_room {
        encode::ping(data);
    }
    has_room
}
