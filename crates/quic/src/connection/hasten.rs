//! Handshake bytes are said again before a time-out when the client shows that it lacks them (RFC
//! 9002 section 6.2.3), and by every probe of a time-out.

use weir_core::time::Instant;

use super::Connection;
use super::handshake::TlsState;
use crate::limits::MAX_HASTENED;
use crate::wire::header::PacketType;
use crate::wire::{Side, Space};

/// How often a server's handshake bytes were said again before their time, and when they went last.
#[derive(Debug, Default)]
pub(super) struct Hasten {
    count: u8,
    said_at: Option<Instant>,
}

impl Hasten {
    /// A time-out has had all said again that was said before.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        if let Some(said_at) = &mut self.said_at {
            *said_at = now;
        }
    }
}

impl Connection {
    /// The server's handshake bytes are on their way.
    pub(super) fn on_handshake_said(&mut self, now: Instant) {
        self.handshake.hasten.said_at = Some(now);
    }

    /// Server: an Initial packet was processed. A client that still asks with Initial packets, while
    /// it should long have what was said, has not got it: neither its probes nor its ClientHello
    /// told again would be of use to one that can write Handshake packets.
    pub(super) fn hasten(&mut self, now: Instant, kind: PacketType, ack_eliciting: bool) {
        let hasten = &self.handshake.hasten;
        let Some(said_at) = hasten.said_at else {
            return;
        };
        // What crossed with our own packets says nothing: a part of the time-out has to be over.
        let some_time = self.pto().checked_div(4).unwrap_or_default();
        let may = self.side == Side::Server
            && kind == PacketType::Initial
            && ack_eliciting
            && hasten.count < MAX_HASTENED
            && matches!(self.handshake.tls, TlsState::Running(_))
            && now >= said_at + some_time;
        if !may {
            return;
        }
        self.handshake.hasten.count = self.handshake.hasten.count.saturating_add(1);
        self.on_handshake_said(now);
        for space in [Space::Initial, Space::Handshake] {
            self.say_again(space);
        }
    }

    /// All handshake bytes of a space that are not acknowledged go out again.
    pub(super) fn say_again(&mut self, space: Space) {
        if let Some(send) = self.handshake.send(space) {
            send.reset_all_unacked();
        }
    }
}
