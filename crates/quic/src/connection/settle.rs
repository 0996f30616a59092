//! What acknowledgement and loss mean for the frames of a packet (RFC 9000 section 13.3).

use weir_core::time::Instant;

use super::Connection;
use crate::sent::SentFrame;
use crate::wire::Space;

impl Connection {
    /// Hands what an ACK or a time-out brought to the parts that sent it.
    pub(super) fn settle(&mut self, now: Instant, space: Space) {
        let mut outcome = std::mem::take(&mut self.outcome);
        for frame in &outcome.acked {
            self.on_frame_acked(now, space, frame);
        }
        for frame in &outcome.lost {
            self.on_frame_lost(now, space, frame);
        }
        self.streams.after_acks();
        self.trace_lost(now, space, &outcome);
        let lost = outcome.lost_packets.len() as u64;
        self.stats.packets_lost = self.stats.packets_lost.saturating_add(lost);
        if space == Space::Data {
            self.note_sizes(now, &outcome);
            self.take_path_events(now);
        }
        outcome.clear();
        self.outcome = outcome;
    }

    fn on_frame_acked(&mut self, now: Instant, space: Space, frame: &SentFrame) {
        match *frame {
            SentFrame::Crypto { offset, len } => {
                let end = offset.saturating_add(len.into());
                self.handshake.on_acked(space, offset..end);
            }
            SentFrame::Ack { largest } => self.received(space).on_ack_of_ack(largest),
            SentFrame::HandshakeDone => self.outbox.handshake_done.on_acked(1),
            SentFrame::NewToken => {
                self.outbox.new_token.on_acked(1);
                self.outbox.token = bytes::Bytes::new();
            }
            SentFrame::NewConnectionId { sequence } => self.local_cids.on_acked(sequence),
            SentFrame::RetireConnectionId { sequence } => self.paths.remote_cids.on_acked(sequence),
            SentFrame::AckFrequency { sequence } => {
                self.recovery.ack_frequency().on_acked(sequence)
            }
            SentFrame::Datagram { .. } => self.datagrams.on_acked(frame),
            SentFrame::PathChallenge { .. } => {}
            SentFrame::MtuProbe { path, size } => self.paths.on_mtu_probe_acked(now, path, size),
            SentFrame::Stream { .. }
            | SentFrame::ResetStream { .. }
            | SentFrame::StopSending { .. }
            | SentFrame::MaxData { .. }
            | SentFrame::MaxStreamData { .. }
            | SentFrame::MaxStreams { .. }
            | SentFrame::DataBlocked { .. }
            | SentFrame::StreamDataBlocked { .. }
            | SentFrame::StreamsBlocked { .. } => self.streams.on_acked(frame),
        }
    }

    pub(super) fn on_frame_lost(&mut self, now: Instant, space: Space, frame: &SentFrame) {
        match *frame {
            SentFrame::Crypto { offset, len } => {
                if let Some(send) = self.handshake.send(space) {
                    send.on_lost(offset..offset.saturating_add(len.into()));
                }
            }
            SentFrame::HandshakeDone => self.outbox.handshake_done.on_lost(1),
            SentFrame::NewToken => self.outbox.new_token.on_lost(1),
            SentFrame::NewConnectionId { sequence } => self.local_cids.on_lost(sequence),
            SentFrame::RetireConnectionId { sequence } => self.paths.remote_cids.on_lost(sequence),
            SentFrame::AckFrequency { sequence } => self.recovery.ack_frequency().on_lost(sequence),
            SentFrame::Datagram { .. } => self.datagrams.on_lost(frame),
            SentFrame::MtuProbe { path, size } => self.paths.on_mtu_probe_lost(now, path, size),
            // Never sent again as they were: the next ACK says more, the next challenge is another.
            SentFrame::Ack { .. } | SentFrame::PathChallenge { .. } => {}
            SentFrame::Stream { .. }
            | SentFrame::ResetStream { .. }
            | SentFrame::StopSending { .. }
            | SentFrame::MaxData { .. }
            | SentFrame::MaxStreamData { .. }
            | SentFrame::MaxStreams { .. }
            | SentFrame::DataBlocked { .. }
            | SentFrame::StreamDataBlocked { .. }
            | SentFrame::StreamsBlocked { .. } => self.streams.on_lost(frame),
        }
    }
}
